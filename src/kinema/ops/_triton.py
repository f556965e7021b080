"""Whether GPU kernels can be compiled here; importing it imports neither Triton nor numba."""

from __future__ import annotations

import importlib.util


def has_triton() -> bool:
    """Whether Triton is installed: CUDA builds of torch bring it along, on Linux."""
    return importlib.util.find_spec("triton") is not None
