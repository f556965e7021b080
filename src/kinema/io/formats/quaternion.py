"""Unit quaternions (x, y, z, w) and rotation matrices, in float64."""

from __future__ import annotations

import numpy as np

__all__ = ["quaternions_from_rotations", "rotations_from_quaternions"]


def rotations_from_quaternions(xyzw: np.ndarray) -> np.ndarray:
    """Rotation matrices of quaternions.

    Args:
        xyzw: (N, 4) float64, not zero; normalised here. q and -q are the same rotation.

    Returns:
        (N, 3, 3) float64, for column vectors: x_b = R x_a.
    """
    x, y, z, w = (xyzw / np.linalg.norm(xyzw, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def quaternions_from_rotations(R: np.ndarray) -> np.ndarray:
    """Quaternions of rotation matrices.

    Args:
        R: (N, 3, 3) float64, orthonormal up to rounding.

    Returns:
        (N, 4) float64 x, y, z, w of length 1 with w >= 0. Accurate at every angle: of the four ways to begin
        (at w, x, y or z) the one with the largest component is taken, so nothing small is divided by.
    """
    xx, yy, zz = R[:, 0, 0], R[:, 1, 1], R[:, 2, 2]
    # Four times the outer product of the quaternion with itself; any row is the quaternion, up to its length.
    outer = np.empty((len(R), 4, 4))
    outer[:, 0, 0], outer[:, 1, 1] = 1 + xx - yy - zz, 1 - xx + yy - zz
    outer[:, 2, 2], outer[:, 3, 3] = 1 - xx - yy + zz, 1 + xx + yy + zz
    outer[:, 0, 1] = outer[:, 1, 0] = R[:, 1, 0] + R[:, 0, 1]
    outer[:, 0, 2] = outer[:, 2, 0] = R[:, 0, 2] + R[:, 2, 0]
    outer[:, 1, 2] = outer[:, 2, 1] = R[:, 2, 1] + R[:, 1, 2]
    outer[:, 0, 3] = outer[:, 3, 0] = R[:, 2, 1] - R[:, 1, 2]
    outer[:, 1, 3] = outer[:, 3, 1] = R[:, 0, 2] - R[:, 2, 0]
    outer[:, 2, 3] = outer[:, 3, 2] = R[:, 1, 0] - R[:, 0, 1]
    largest = np.diagonal(outer, axis1=1, axis2=2).argmax(1)
    xyzw: np.ndarray = outer[np.arange(len(R)), largest]
    xyzw /= np.linalg.norm(xyzw, axis=1, keepdims=True)
    xyzw *= np.where(xyzw[:, 3:] < 0, -1.0, 1.0)
    return xyzw
