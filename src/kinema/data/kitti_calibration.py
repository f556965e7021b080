"""KITTI's calibration files: one named row of numbers a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinema.errors import InputError
from kinema.io.files import read_bytes

__all__ = ["matrix_of", "read_calibration", "rigid_matrix"]


def read_calibration(path: Path | str, *, unnamed: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Read a calibration file.

    Args:
        path: such as ``calib_cam_to_cam.txt``, ``calib_velo_to_cam.txt`` or ``calib.txt``.
        unnamed: names of the rows, in order, of a file that gives none, as some copies of the odometry set.

    Returns:
        Numbers by name, (n,) float64. Rows that hold text, such as ``calib_time``, are left out.

    Raises:
        InputError: when the file cannot be read, or holds no such row.
    """
    found: dict[str, np.ndarray] = {}
    names = iter(unnamed)
    for line in read_bytes(path).decode("ascii", errors="replace").splitlines():
        name, colon, rest = line.partition(":")
        numbers = _numbers(rest if colon else line)
        key = name.strip() if colon else next(names, "")
        if key and numbers.size:
            found[key] = numbers
    if not found:
        raise InputError(f"{path}: holds no calibration; expected lines such as P0: 7.18e+02 0 6.07e+02 ...")
    return found


def matrix_of(
    calibration: dict[str, np.ndarray], name: str, *, path: Path | str, shape: tuple[int, int] = (3, 4)
) -> np.ndarray:
    """Take a matrix out of a calibration.

    Args:
        calibration: as `read_calibration` gives it.
        name: of the row.
        path: the file it came from, for messages.
        shape: of the matrix, which is stored row by row.

    Returns:
        The matrix, float64 and finite.

    Raises:
        InputError: when the row is missing or has another number of values.
    """
    row = calibration.get(name)
    if row is None:
        raise InputError(f"{path}: has no line {name}; found {', '.join(calibration)}")
    if row.size != shape[0] * shape[1] or not np.isfinite(row).all():
        raise InputError(f"{path}: {name} has {row.size} numbers; expected {shape[0] * shape[1]}")
    return row.reshape(shape)


def rigid_matrix(R: np.ndarray, t: np.ndarray | None = None) -> np.ndarray:
    """Make a 4x4 matrix of a rotation and a translation.

    Args:
        R: (3, 3).
        t: three numbers; zero when None.

    Returns:
        (4, 4) float64.
    """
    T = np.eye(4)
    T[:3, :3] = R
    if t is not None:
        T[:3, 3] = np.ravel(t)
    return T


def _numbers(text: str) -> np.ndarray:
    try:
        return np.array([float(word) for word in text.split()], dtype=np.float64)
    except ValueError:
        return np.empty(0)
