"""Flow files: one reader and one writer for all formats; the suffix decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from kinema.errors import InputError, UsageError
from kinema.io.formats.flo import encode_flo, read_flo, write_flo
from kinema.io.formats.flow_field import FlowField
from kinema.io.formats.kitti_png import read_kitti_flow, write_kitti_flow
from kinema.io.formats.mat import read_mat_flow, write_mat, write_mat_flow
from kinema.io.formats.npz import read_npz, read_npz_flow, write_npz, write_npz_flow
from kinema.io.formats.pfm import read_pfm, read_pfm_flow, write_pfm, write_pfm_flow

# The single formats are in `kinema.io.formats`; here are those among them that also hold other arrays.
__all__ = [
    "FLOW_SUFFIXES",
    "FlowField",
    "encode_flo",
    "read_flow",
    "read_npz",
    "read_pfm",
    "write_flow",
    "write_mat",
    "write_npz",
    "write_pfm",
]


class _FlowWriter(Protocol):
    def __call__(
        self, path: Path | str, flow: np.ndarray, *, valid: np.ndarray | None, overwrite: bool
    ) -> None: ...


_FORMATS: dict[str, tuple[Callable[[Path | str], FlowField], _FlowWriter]] = {
    ".flo": (read_flo, write_flo),
    ".png": (read_kitti_flow, write_kitti_flow),
    ".pfm": (read_pfm_flow, write_pfm_flow),
    ".npz": (read_npz_flow, write_npz_flow),
    ".mat": (read_mat_flow, write_mat_flow),
}
FLOW_SUFFIXES: frozenset[str] = frozenset(_FORMATS)


def read_flow(path: Path | str) -> FlowField:
    """Read a flow file.

    Args:
        path: a name that ends in .flo (Middlebury), .png (KITTI, 16 bit), .pfm, .npz or .mat.

    Returns:
        The flow in pixels, x to the right and y down, and where it is known.

    Raises:
        InputError: the suffix is unknown, or the file is missing, damaged or of another kind.
        MissingExtraError: a .mat file without SciPy.
    """
    read, _ = _FORMATS.get(Path(path).suffix.lower(), (None, None))
    if read is None:
        raise InputError(f"{path}: unknown flow suffix; use one of {' '.join(_FORMATS)}")
    return read(path)


def write_flow(
    path: Path | str, flow: np.ndarray, *, valid: np.ndarray | None = None, overwrite: bool = True
) -> None:
    """Write a flow file. All formats keep float32 values exactly, but for .png, which rounds to 1/64 pixel.

    Args:
        path: a name that ends in .flo (Middlebury), .png (KITTI, 16 bit), .pfm, .npz or .mat.
        flow: (H, W, 2) in pixels, x to the right and y down.
        valid: (H, W) bool, False where the flow is not known; None where all is known.
        overwrite: whether an existing file may be replaced.

    Raises:
        UsageError: the suffix is unknown.
        InputError: wrong shapes, or values in valid pixels that are not finite or beyond 1e9.
        OutputError: the file exists and may not be replaced, or its place is full or not writable.
        MissingExtraError: a .mat file without SciPy.
    """
    _, write = _FORMATS.get(Path(path).suffix.lower(), (None, None))
    if write is None:
        raise UsageError(f"{path}: unknown flow suffix; use one of {' '.join(_FORMATS)}")
    write(path, flow, valid=valid, overwrite=overwrite)
