"""Fixtures shared by all tests: where the reference numbers lie, run-time shape checks, hypothesis."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Shapes written in the types are checked at run time in the tests. Modules with compiled kernels are left
# out: their functions are compiled by numba or Triton and must not be wrapped.
install_import_hook(
    [
        "kinema.ops.grid",
        "kinema.ops.warp",
        "kinema.ops.affine",
        "kinema.ops.resize",
        "kinema.ops.occlusion",
        "kinema.ops.robust",
        "kinema.ops.census",
        "kinema.ops.ssim",
        "kinema.ops.smoothness",
        "kinema.ops.tiling",
        "kinema.ops.variational",
        "kinema.ops.correlation",
        "kinema.ops.flow_head",
        "kinema.models.tvnet",
        "kinema.models.geonet_blocks",
        "kinema.models.geonet_faithful",
        "kinema.models.geonet_matching",
        "kinema.models.geonet_modern",
        "kinema.models.edvr_parts",
        "kinema.losses.supervised_flow",
        "kinema.losses.appearance",
        "kinema.losses.self_supervision",
        "kinema.losses.unsupervised_flow",
        "kinema.ops.camera",
        "kinema.ops.pose",
        "kinema.ops.epipolar",
        "kinema.losses.snippet",
        "kinema.losses.rigid_motion",
        "kinema.losses.snippet_flow",
        "kinema.losses.depth_supervised",
        "kinema.data.transforms.colour",
        "kinema.data.transforms.edvr",
        "kinema.data.transforms.eigen_colour",
        "kinema.data.transforms.geonet",
        "kinema.data.transforms.pairs",
        "kinema.data.transforms.views",
        "kinema.inference.flow",
        "kinema.inference.tiles",
        "kinema.outputs",
    ],
    "beartype.beartype",
)

# CI repeats the same examples, so that a change is judged by what it changes; elsewhere they are new.
settings.register_profile(
    "kinema",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("kinema")

# A shell starts background jobs with Ctrl-C ignored, and their children inherit it: the tests that interrupt
# a command need it as a terminal has it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

SHARED = Path(os.environ.get("KINEMA_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same random numbers, whichever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def shared() -> Path:
    """The folder of reference numbers and real data; the test is skipped, and counted, where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs reference data: set KINEMA_SHARED (looked in {SHARED.name})")
    return SHARED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests lacked what they need, so that a green run cannot hide them."""
    for need, told in (
        ("needs reference data", "reference data absent (set KINEMA_SHARED)"),
        ("needs tensorflow", "tensorflow absent (pip install 'kinema[tensorflow]')"),
    ):
        reports = terminalreporter.stats.get("skipped", [])
        skipped = [report for report in reports if need in str(report.longrepr)]
        if skipped:
            terminalreporter.write_line(f"{len(skipped)} tests skipped: {told}")


@pytest.fixture(autouse=True)
def _plain_logger():
    """A command sets the package's logger up for itself; each test finds it as it is in a new process."""
    logger = logging.getLogger("kinema")
    logger.setLevel(logging.NOTSET)
    logger.propagate, logger.handlers[:] = True, []
