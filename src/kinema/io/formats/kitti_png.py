"""KITTI flow: a 16-bit PNG of u, v and a valid flag, in steps of 1/64 pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinema.errors import InputError
from kinema.io.files import read_bytes, write_bytes
from kinema.io.formats.flow_field import FlowField, checked_flow
from kinema.io.formats.image_codec import decode_image, encode_image
from kinema.io.formats.png import parse_png

__all__ = ["read_kitti_flow", "write_kitti_flow"]

_STEPS = 64.0
_ZERO = 32768.0


def read_kitti_flow(path: Path | str) -> FlowField:
    """Read a KITTI flow map: u = (R - 2^15) / 64, v = (G - 2^15) / 64, valid where B is not 0.

    Args:
        path: a PNG with three channels of 16 bits.

    Returns:
        The flow in pixels, multiples of 1/64 from -512 to 511.984375.

    Raises:
        InputError: the file is missing, damaged, has bytes after its end, or is another kind of PNG.
    """
    data = read_bytes(path)
    try:
        png = parse_png(data)
    except ValueError as error:
        raise InputError(f"{path} is no KITTI flow: {error}; copy it again") from None
    if png.bit_depth != 16 or png.channels != 3 or png.orientation != 1:
        raise InputError(
            f"{path} is a {png.bit_depth}-bit PNG with {png.channels} channels, no KITTI flow (16-bit,"
            " 3 channels); a colour picture of flow cannot be read back"
        )
    if png.trailing:
        raise InputError(f"{path} is damaged: {png.trailing} bytes follow its end; copy it again")
    stored = decode_image(data, name=str(path))
    valid: np.ndarray = stored[:, :, 2] != 0
    flow = (stored[:, :, :2].astype(np.float32) - np.float32(_ZERO)) / np.float32(_STEPS)
    flow[~valid] = 0
    return FlowField(flow, valid)


def write_kitti_flow(
    path: Path | str, flow: np.ndarray, *, valid: np.ndarray | None = None, overwrite: bool = True
) -> None:
    """Write a KITTI flow map.

    The format rounds to 1/64 pixel and ends at -512 and 511.984375 pixels: a pixel beyond is stored as not
    valid, which is the format's own word for a missing value. Use another format where that matters.

    Args:
        path: the file to be, ``.png``.
        flow: (H, W, 2) in pixels, x to the right and y down.
        valid: (H, W) bool; None where all is known.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: wrong shapes, or values in valid pixels that are not finite or beyond 1e9.
        OutputError: see `kinema.io.files.replacing`.
    """
    field = checked_flow(flow, valid, name=str(path))
    steps = np.rint(field.flow.astype(np.float64) * _STEPS + _ZERO)
    valid = field.valid & np.all((steps >= 0) & (steps <= 65535), axis=2)
    stored = np.zeros((*valid.shape, 3), np.uint16)  # a pixel that is not valid is 0 in all channels
    stored[valid, :2], stored[valid, 2] = steps[valid], 1
    write_bytes(path, encode_image(stored, ".png", name=str(path)), overwrite=overwrite)
