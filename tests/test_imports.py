"""Imports: every module can be imported, cheap ones stay cheap, and none has a side effect."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import kinema

HEAVY = ("torch", "numpy", "cv2", "av", "numba", "rich", "scipy", "accelerate")
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(kinema.__path__, "kinema.") if "__main__" not in m.name
)
# Packages that a module may need at import although they are not always installed.
OPTIONAL = {"triton"}

IMPORT_ALL = f"""
import importlib, os, random, sys, threading
import numpy, torch, cv2, av, numba
def state():
    return (os.getcwd(), dict(os.environ), threading.active_count(), random.getstate(), sys.path[:],
            torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads(),
            torch.random.get_rng_state().sum().item(), cv2.getNumThreads())
before = state()
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as error:
        if error.name not in {OPTIONAL!r}:
            raise
after = state()
assert before == after, [(a, b) for a, b in zip(before, after) if a != b]
"""


def _python(code: str, *argv: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "module",
    ["kinema", "kinema.errors", "kinema.cli", "kinema.cli.main", "kinema.cli.console", "kinema.__main__"],
)
def test_light_modules_load_nothing_heavy(module):
    if module == "kinema.__main__":  # it runs when imported
        code = "import runpy, sys; sys.argv = ['kinema', '--version']\ntry: runpy.run_module('kinema')\n"
        code += "except SystemExit: pass\n"
    else:
        code = f"import sys, {module}\n"
    out = _python(code + f"print([m for m in {HEAVY} if m in sys.modules])")
    assert out.splitlines()[-1] == "[]"


def test_parsing_needs_no_torch():
    out = _python("import sys, kinema.cli.parsing; print([m for m in ('torch', 'av') if m in sys.modules])")
    assert out == "[]\n"


def test_all_modules_import_without_side_effects():
    assert len(MODULES) > 30
    assert _python(IMPORT_ALL, *MODULES) == ""


def test_public_names_exist():
    assert set(dir(kinema)) >= {"load", "list_models", "flow", "__version__"}
    for name in kinema.__all__:
        assert getattr(kinema, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'depht'"):
        kinema.depht  # noqa: B018
