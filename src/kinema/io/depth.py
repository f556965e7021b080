"""Depth maps in: npz, npy, PFM and 16-bit pictures; the suffix decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinema.errors import InputError
from kinema.io.files import open_bytes, read_bytes, reading
from kinema.io.formats.npz import read_npz
from kinema.io.formats.pfm import read_pfm
from kinema.io.images import read_image

__all__ = ["DEPTH_SUFFIXES", "KITTI_STEPS", "read_depth", "read_depth_stack"]

DEPTH_SUFFIXES = (".npz", ".npy", ".pfm", ".png")
"""Formats of depth maps; where one name has several files the first of these is meant."""

KITTI_STEPS = 256.0
"""Steps per metre in the 16-bit pictures of the KITTI depth benchmark."""


def read_depth(path: Path | str, *, steps: float = KITTI_STEPS) -> np.ndarray:
    """Read a depth map.

    Args:
        path: ``.npz`` with the array ``depth``, ``.npy``, ``.pfm`` of one channel, or a 16-bit grey ``.png``.
        steps: of a picture, per metre: 256 in KITTI, 1000 where it holds millimetres.

    Returns:
        (H, W) float32, metres where the file says metres; 0 where a picture marks it as unknown.

    Raises:
        InputError: the suffix is unknown, or the file is missing, damaged or no depth map.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".png":
        return _from_picture(path, steps)
    if suffix == ".npz":
        arrays = read_npz(path, keys=("depth",))
        if "depth" not in arrays:
            raise InputError(f"{path} has no array 'depth'; write one of shape (H, W)")
        return _checked(arrays["depth"], path)
    if suffix == ".npy":
        return _checked(_read_npy(path), path)
    if suffix == ".pfm":
        return _checked(read_pfm(path), path)
    raise InputError(f"{path}: unknown depth suffix; use one of {' '.join(DEPTH_SUFFIXES)}")


def read_depth_stack(path: Path | str) -> np.ndarray:
    """Read the depth of many pictures from one file, as GeoNet and its kin write it.

    Args:
        path: ``.npy`` of shape (N, H, W) or (N, H, W, 1).

    Returns:
        (N, H, W), in the file's type; mapped, not read.

    Raises:
        InputError: the file is missing, damaged or holds something else.
    """
    stack = _read_npy(path, mapped=True)
    if stack.ndim == 4 and stack.shape[-1] == 1:
        stack = stack[..., 0]
    if stack.ndim != 3 or stack.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: an array of shape {stack.shape} and type {stack.dtype} is no (N, H, W) stack"
        )
    return stack


def _read_npy(path: Path | str, *, mapped: bool = False) -> np.ndarray:
    read_bytes(path, count=1)  # the plain sentences for what is missing or empty
    try:
        with reading(path):
            if mapped:
                array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
                return array
            with open_bytes(path) as file:
                whole: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
                return whole
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is no whole npy file of numbers: {error}; write it again") from None


def _from_picture(path: Path | str, steps: float) -> np.ndarray:
    stored = read_image(path)
    if stored.dtype != np.uint16:
        raise InputError(f"{path}: expected a depth map of 16 bits, this picture has 8; write it again")
    depth: np.ndarray = (stored[..., 0] / steps).astype(np.float32)
    return depth


def _checked(array: np.ndarray, path: Path | str) -> np.ndarray:
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: an array of shape {array.shape} and type {array.dtype} is no (H, W) depth map"
        )
    return array.astype(np.float32)
