"""Middlebury .flo: magic number, width, height, then (u, v) row by row, all little-endian of four bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from kinema.errors import InputError
from kinema.io.files import read_bytes, write_bytes
from kinema.io.formats.flow_field import FlowField, checked_flow, known_flow

__all__ = ["encode_flo", "read_flo", "write_flo"]

_MAGIC = struct.pack("<f", 202021.25)  # b"PIEH"
_UNKNOWN = 1e10
_HEADER_BYTES = 12


def read_flo(path: Path | str) -> FlowField:
    """Read a Middlebury .flo file (Baker et al. 2011; format of the benchmark's flow-code).

    Args:
        path: the file.

    Returns:
        The flow in pixels; unknown (not valid) where a component is not finite or beyond 1e9.

    Raises:
        InputError: the file is missing, or is no .flo file, or its length is not what its header says.
    """
    data = read_bytes(path)
    if data[:4] != _MAGIC or len(data) < _HEADER_BYTES:
        raise InputError(f"{path} is no .flo flow: it does not begin with the bytes PIEH; check the file")
    width, height = struct.unpack_from("<ii", data, 4)
    if width <= 0 or height <= 0 or _HEADER_BYTES + 8 * width * height != len(data):
        raise InputError(
            f"{path} is damaged: its header says {width}x{height} pixels, which does not fit"
            f" its {len(data)} bytes; copy it again"
        )
    return known_flow(np.frombuffer(data, "<f4", offset=_HEADER_BYTES).reshape(height, width, 2))


def write_flo(
    path: Path | str, flow: np.ndarray, *, valid: np.ndarray | None = None, overwrite: bool = True
) -> None:
    """Write a Middlebury .flo file; known values come back bit for bit.

    Args:
        path: the file to be.
        flow: (H, W, 2) in pixels, x to the right and y down; stored as float32.
        valid: (H, W) bool; where False, 1e10 is stored.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: wrong shapes, or values in valid pixels that are not finite or beyond 1e9.
        OutputError: see `kinema.io.files.replacing`.
    """
    write_bytes(path, encode_flo(flow, valid, name=str(path)), overwrite=overwrite)


def encode_flo(flow: np.ndarray, valid: np.ndarray | None, *, name: str) -> bytes:
    """Make the content of a Middlebury .flo file; known values come back bit for bit.

    Args:
        flow: (H, W, 2) in pixels, x to the right and y down; stored as float32.
        valid: (H, W) bool; where False, 1e10 is stored. None where all is known.
        name: what to call the flow in an error.

    Returns:
        The content of the file.

    Raises:
        InputError: wrong shapes, or values in valid pixels that are not finite or beyond 1e9.
    """
    field = checked_flow(flow, valid, name=name)
    stored = np.where(field.valid[:, :, None], field.flow, np.float32(_UNKNOWN)).astype("<f4")
    height, width = field.valid.shape
    return _MAGIC + struct.pack("<ii", width, height) + stored.tobytes()
