"""PFM: floating point images, rows from the bottom up; FlyingThings3D stores its flow in it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from kinema.errors import InputError
from kinema.io.files import read_bytes, write_bytes
from kinema.io.formats.flow_field import FlowField, checked_flow, known_flow

__all__ = ["read_pfm", "read_pfm_flow", "write_pfm", "write_pfm_flow"]

_HEADER = re.compile(rb"(PF|Pf)\s+(\d{1,10})\s+(\d{1,10})\s+([-+]?[0-9.eE+-]{1,24})\s")
_LONGEST_HEADER = 256


def read_pfm(path: Path | str) -> np.ndarray:
    """Read a PFM file (Debevec's format). The sign of its scale is the byte order; its size is not applied.

    Args:
        path: the file.

    Returns:
        (H, W, 3) for "PF", (H, W) for "Pf"; float32, rows from the top, values as stored (also NaN).

    Raises:
        InputError: the file is missing, or is no PFM file, or its length is not what its header says.
    """
    data = read_bytes(path)
    match = _HEADER.match(data[:_LONGEST_HEADER])
    if match is None:
        raise InputError(f"{path} is no PFM file: its header is not that of one; check the file")
    channels, width, height = 3 if match[1] == b"PF" else 1, int(match[2]), int(match[3])
    order = "<" if _scale(match[4], path) < 0 else ">"
    payload = len(data) - match.end()
    if width == 0 or height == 0 or 4 * channels * width * height != payload:
        raise InputError(
            f"{path} is damaged: its header says {width}x{height} pixels of {4 * channels} bytes,"
            f" it holds {payload}; copy it again"
        )
    values = np.frombuffer(data, f"{order}f4", offset=match.end()).reshape(height, width, channels)
    values = np.ascontiguousarray(values[::-1], dtype=np.float32)
    return values if channels == 3 else values[:, :, 0]


def write_pfm(path: Path | str, image: np.ndarray, *, overwrite: bool = True) -> None:
    """Write a PFM file, little-endian; float32 values come back bit for bit.

    Args:
        path: the file to be.
        image: (H, W) or (H, W, 3), any real type; stored as float32.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: another shape or type.
        OutputError: see `kinema.io.files.replacing`.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or image.size == 0:
        raise InputError(f"{path}: PFM holds (H, W) or (H, W, 3), not {image.shape}")
    if image.dtype.kind not in "fiub":
        raise InputError(f"{path}: PFM holds real numbers, not {image.dtype}")
    height, width = image.shape[:2]
    header = f"{'Pf' if image.ndim == 2 else 'PF'}\n{width} {height}\n-1.0\n"
    write_bytes(path, header.encode() + image[::-1].astype("<f4").tobytes(), overwrite=overwrite)


def read_pfm_flow(path: Path | str) -> FlowField:
    """Read flow from a PFM file as FlyingThings3D has it: u, v and a third channel without meaning.

    Args:
        path: the file.

    Returns:
        The flow in pixels; unknown (not valid) where u or v is not finite or beyond 1e9.

    Raises:
        InputError: see `read_pfm`; also for one channel.
    """
    image = read_pfm(path)
    if image.ndim != 3:
        raise InputError(f"{path} has one channel; flow in PFM has three: u, v and an unused one")
    return known_flow(image[:, :, :2])


def write_pfm_flow(
    path: Path | str, flow: np.ndarray, *, valid: np.ndarray | None = None, overwrite: bool = True
) -> None:
    """Write flow as PFM; the third channel is 0.

    Args:
        path: the file to be.
        flow: (H, W, 2) in pixels, x to the right and y down; stored as float32.
        valid: (H, W) bool; where False, infinity is stored in u and v.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: wrong shapes, or values in valid pixels that are not finite or beyond 1e9.
        OutputError: see `kinema.io.files.replacing`.
    """
    field = checked_flow(flow, valid, name=str(path))
    image = np.zeros((*field.valid.shape, 3), np.float32)
    image[:, :, :2] = np.where(field.valid[:, :, None], field.flow, np.float32(np.inf))
    write_pfm(path, image, overwrite=overwrite)


def _scale(text: bytes, path: Path | str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if scale == 0 or not math.isfinite(scale):
        raise InputError(f"{path} is damaged: the scale in its header is {text.decode()!r}; check the file")
    return scale
