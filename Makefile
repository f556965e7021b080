# Everything a visitor or a developer runs. Needs Python 3.11 or newer and make, nothing else.
#
#   make demo    set up .venv, render a moving scene, compute its flow, write one HTML report
#   make test    the fast tests            make test-slow   the others
#   make lint    style, types, imports     make docs        the documentation, into site/
#   make bench   speed on this machine     make clean       remove what the others made, but not .venv
#   make bench-peers   errors and speed beside OpenCV's methods, on the real pairs under DATA
#   make bench-ptlflow speed of PWC-Net beside ptlflow's
#
# PYTHON=python3.12       which Python makes .venv (otherwise the first of the list below that works)
# CONSTRAINTS=            keep the torch that is already in .venv, such as one for your GPU (see docs/installation.md)
# JOBS=8                  at most so many test processes, and no more than there are cores

VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
JOBS ?= 8
INSTALL := $(BIN)/python -m pip install -qq $(addprefix -c ,$(CONSTRAINTS))
NEEDS := pyproject.toml $(CONSTRAINTS)

DATA ?= ../shared/data
.PHONY: help demo test test-slow lint style types imports docs bench bench-peers bench-ptlflow clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.installed
	@$(BIN)/kinema demo -o demo --overwrite

# One thread per process: several test processes that each use every core only wait for one another.
test: $(VENV)/.installed-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses=$(JOBS)

test-slow: $(VENV)/.installed-dev
	@$(BIN)/python -m pytest -m slow

lint: style types imports

style: $(VENV)/.installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	@$(BIN)/mypy

imports: $(VENV)/.installed-dev
	@$(BIN)/lint-imports --no-logo

docs: $(VENV)/.installed-docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "documentation: site/index.html"

bench: $(VENV)/.installed
	@$(BIN)/kinema bench

# OpenCV's extra modules replace the OpenCV that kinema uses, so they get an environment of their own.
bench-peers: $(VENV)/.installed .venv-peers/.installed
	@$(BIN)/python benchmarks/flow_against_opencv.py --peer-python .venv-peers/bin/python --data $(DATA)

.venv-peers/.installed: | $(BIN)/python
	@$(BIN)/python -m venv .venv-peers
	@.venv-peers/bin/python -m pip install -qq opencv-contrib-python-headless numpy
	@touch $@

# ptlflow asks for torchvision, older packages and much else; its PWC-Net needs only these.
bench-ptlflow: $(VENV)/.installed .venv-ptlflow/.installed
	@$(BIN)/python benchmarks/pwcnet_against_ptlflow.py --peer-python .venv-ptlflow/bin/python

.venv-ptlflow/.installed: $(CONSTRAINTS) | $(BIN)/python
	@$(BIN)/python -m venv .venv-ptlflow
	@.venv-ptlflow/bin/python -m pip install -qq $(addprefix -c ,$(CONSTRAINTS)) torch numpy \
		einops jsonargparse lightning loguru requests scipy
	@.venv-ptlflow/bin/python -m pip install -qq --no-deps ptlflow==0.4.2
	@touch $@

clean:
	rm -rf demo site build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# A stamp is touched when its install has succeeded, and is out of date when the requirements change.
$(VENV)/.installed: $(NEEDS) | $(BIN)/python
	@echo "installing kinema into $(VENV): a minute or two, most of it for torch ..."
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(NEEDS) | $(BIN)/python
	@echo "installing kinema and its developer tools into $(VENV): a minute or two, most of it for torch ..."
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: $(NEEDS) | $(BIN)/python
	@echo "installing the documentation tools into $(VENV) ..."
	@$(INSTALL) -e '.[docs]'
	@touch $@

# The first Python that is new enough and can make environments. 3.11 comes first because kinema is tested most there.
$(BIN)/python:
	@for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python); do \
		if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "making $(VENV) with $$($$python --version)"; \
			exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "error: no Python 3.11 or newer with venv (tried $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python)):" \
		"install one, or name it: make demo PYTHON=/path/to/python" >&2; \
	exit 1
