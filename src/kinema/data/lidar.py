"""Laser points of a KITTI car, and the sparse depth that they give a camera."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from kinema.errors import InputError
from kinema.io.files import read_bytes

DepthValue = Literal["camera_z", "velodyne_x"]
"""What a depth is: z in the camera, or how far ahead of the laser scanner (published depth protocols)."""


def read_velodyne(path: Path | str) -> np.ndarray:
    """Read the points of one turn of the laser scanner.

    Args:
        path: a KITTI ``.bin`` file.

    Returns:
        (N, 4) float32: x ahead, y to the left, z up, in metres from the scanner; reflectance in [0, 1].

    Raises:
        InputError: when the file cannot be read or is cut off.
    """
    data = read_bytes(path)
    if len(data) % 16:
        raise InputError(f"{path}: {len(data)} bytes are no whole number of points of 16; copy it again")
    return np.frombuffer(data, dtype="<f4").reshape(-1, 4)


def lidar_depth(
    points: np.ndarray,
    P_from_velodyne: np.ndarray,
    size_hw: tuple[int, int],
    *,
    value: DepthValue = "camera_z",
) -> np.ndarray:
    """Project laser points into a camera.

    Only points at or ahead of the scanner (x >= 0) count. A point belongs to the pixel that its position,
    rounded and less 1, names: KITTI's development kit counts from 1. Of several in one pixel the nearest
    stays.

    Args:
        points: (N, 3 or 4), as `read_velodyne` gives them.
        P_from_velodyne: (3, 4), pixels from points: P_rect T_rect_from_camera0 T_camera0_from_velodyne.
        size_hw: height and width of the picture.
        value: what is stored.

    Returns:
        (H, W) float32 metres; 0 where no point falls.
    """
    ahead = points[points[:, 0] >= 0, :3].astype(np.float64)
    u, v, z = P_from_velodyne @ np.concatenate([ahead, np.ones((len(ahead), 1))], axis=1).T
    with np.errstate(divide="ignore", invalid="ignore"):
        column, row = np.round(u / z) - 1, np.round(v / z) - 1
    height, width = size_hw
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    depth = ahead[:, 0] if value == "velodyne_x" else z
    if value == "camera_z":
        inside &= z > 0
    nearest = np.full(size_hw, np.inf)
    place = row[inside].astype(np.int64), column[inside].astype(np.int64)
    np.minimum.at(nearest, place, depth[inside])
    known: np.ndarray = np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)
    return known
