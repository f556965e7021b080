"""Camera paths in and out: KITTI, TUM and COLMAP text files, read strictly.

In memory a path is always ``T_world_from_camera``: the 4x4 matrix that takes a point from the camera at that
time into the world, x_world = T x_camera. KITTI and TUM files hold the same; COLMAP holds the inverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kinema.errors import InputError, UsageError
from kinema.io.files import write_bytes
from kinema.io.formats.colmap import read_colmap_images, write_colmap_model
from kinema.io.formats.number_lines import exact_lines, read_number_lines
from kinema.io.formats.quaternion import quaternions_from_rotations, rotations_from_quaternions

__all__ = [
    "POSE_FORMATS",
    "PoseFormat",
    "Trajectory",
    "invert_poses",
    "read_colmap",
    "read_kitti_poses",
    "read_poses",
    "read_times",
    "read_tum",
    "write_colmap",
    "write_kitti_poses",
    "write_times",
    "write_tum",
]

PoseFormat = Literal["tum", "kitti", "colmap"]
POSE_FORMATS: tuple[PoseFormat, ...] = ("tum", "kitti", "colmap")

_RIGID = 1e-3  # files with three digits pass; a swapped column or a scaled matrix does not
_UNIT = 1e-2


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A camera path.

    Attributes:
        T_world_from_camera: (N, 4, 4) float64, rigid: a rotation and a translation, in the source's unit of
            length (KITTI and TUM: metres).
        times: (N,) float64 seconds, strictly increasing; None where the file has none.
    """

    T_world_from_camera: np.ndarray
    times: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_rigid(self.T_world_from_camera, "the trajectory")
        if self.times is not None and self.times.shape != (len(self),):
            raise InputError(f"the trajectory has {len(self)} poses but times of shape {self.times.shape}")

    def __len__(self) -> int:
        return len(self.T_world_from_camera)

    def seen_from(self, index: int) -> np.ndarray:
        """Express the path in the camera of one of its frames.

        Args:
            index: which frame becomes the world.

        Returns:
            (N, 4, 4) ``T_reference_from_camera``; the identity at `index`.
        """
        T: np.ndarray = invert_poses(self.T_world_from_camera[[index]]) @ self.T_world_from_camera
        return T


def invert_poses(T_b_from_a: np.ndarray) -> np.ndarray:
    """Invert rigid motions.

    The rotation is inverted as the matrix that it is: files hold six or seven digits, and a transpose of
    those would leave a camera a few micrometres away from itself.

    Args:
        T_b_from_a: (N, 4, 4).

    Returns:
        (N, 4, 4) ``T_a_from_b``.
    """
    T_a_from_b = np.zeros_like(T_b_from_a)
    rotation = np.linalg.inv(T_b_from_a[:, :3, :3])
    T_a_from_b[:, :3, :3] = rotation
    T_a_from_b[:, :3, 3:] = -rotation @ T_b_from_a[:, :3, 3:]
    T_a_from_b[:, 3, 3] = 1
    return T_a_from_b


def read_kitti_poses(path: Path | str) -> Trajectory:
    """Read a KITTI pose file: 12 numbers a line, the first three rows of ``T_world_from_camera``.

    Args:
        path: such as ``poses/00.txt``.

    Returns:
        The path, without times; the numbers are those of the file, to the bit.

    Raises:
        InputError: when the file cannot be read, or a line is no rigid motion.
    """
    return Trajectory(_from_rows(read_number_lines(path, columns=(12,)), path))


def write_kitti_poses(path: Path | str, T_world_from_camera: np.ndarray, *, overwrite: bool = True) -> None:
    """Write a KITTI pose file; `read_kitti_poses` gives back the same numbers to the bit.

    Args:
        path: the file to be.
        T_world_from_camera: (N, 4, 4) rigid motions.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: when they are not rigid.
        OutputError: when the file cannot be written.
    """
    _check_rigid(T_world_from_camera, "the poses")
    rows = np.asarray(T_world_from_camera, dtype=np.float64)[:, :3].reshape(-1, 12)
    write_bytes(path, exact_lines(rows).encode(), overwrite=overwrite)


def read_times(path: Path | str) -> np.ndarray:
    """Read a KITTI ``times.txt``: one time a line.

    Args:
        path: the file.

    Returns:
        (N,) float64 seconds, strictly increasing.

    Raises:
        InputError: when the file cannot be read, or time stands still or runs back.
    """
    times: np.ndarray = read_number_lines(path, columns=(1,))[:, 0]
    _check_increasing(times, path)
    return times


def write_times(path: Path | str, times: np.ndarray, *, overwrite: bool = True) -> None:
    """Write a KITTI ``times.txt``; `read_times` gives back the same numbers to the bit.

    Args:
        path: the file to be.
        times: (N,) seconds.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: when the file cannot be written.
    """
    rows = np.asarray(times, dtype=np.float64).reshape(-1, 1)
    write_bytes(path, exact_lines(rows).encode(), overwrite=overwrite)


def read_tum(path: Path | str) -> Trajectory:
    """Read a TUM trajectory: ``time tx ty tz qx qy qz qw`` a line, comments after ``#``.

    Args:
        path: the file.

    Returns:
        The path with its times. Quaternions are normalised.

    Raises:
        InputError: when the file cannot be read, a quaternion is not of length 1 (within 1 %), or time stands
            still or runs back.
    """
    return _from_tum(read_number_lines(path, columns=(8,), comments="#"), path)


def write_tum(
    path: Path | str, trajectory: Trajectory, *, decimals: int | None = None, overwrite: bool = True
) -> None:
    """Write a TUM trajectory; times and positions are read back to the bit, rotations within 2e-15.

    Args:
        path: the file to be.
        trajectory: the path, with times.
        decimals: digits after the point, 6 in the snippets of SfMLearner and GeoNet; None for all there are.
        overwrite: whether an existing file may be replaced.

    Raises:
        UsageError: when there are no times.
        OutputError: when the file cannot be written.
    """
    if trajectory.times is None:
        raise UsageError(f"{path}: TUM files need times, and this path has none; write KITTI poses instead")
    T = trajectory.T_world_from_camera
    columns = (trajectory.times[:, None], T[:, :3, 3], quaternions_from_rotations(T[:, :3, :3]))
    text = exact_lines(np.concatenate(columns, axis=1).astype(np.float64), decimals=decimals)
    write_bytes(path, text.encode(), overwrite=overwrite)


def read_poses(path: Path | str) -> Trajectory:
    """Read a pose file whose kind follows from how many numbers a line has.

    Args:
        path: 8 numbers a line are TUM, 12 are KITTI, 16 are whole matrices row by row.

    Returns:
        The path; with times for TUM only.

    Raises:
        InputError: when the file cannot be read, or a line is no rigid motion.
    """
    rows = read_number_lines(path, columns=(8, 12, 16), comments="#")
    return _from_tum(rows, path) if rows.shape[1] == 8 else Trajectory(_from_rows(rows, path))


def read_colmap(folder: Path | str) -> tuple[Trajectory, tuple[str, ...]]:
    """Read the poses of a COLMAP text model.

    Args:
        folder: holds ``images.txt``.

    Returns:
        The path, without times, in order of the image names; and these names.

    Raises:
        InputError: when the file cannot be read or does not follow the format.
    """
    names, xyzw, t = read_colmap_images(Path(folder) / "images.txt")
    _check_unit(xyzw, Path(folder) / "images.txt")
    T_world_from_camera = invert_poses(_matrices(rotations_from_quaternions(xyzw), t))
    order = sorted(range(len(names)), key=names.__getitem__)
    return Trajectory(T_world_from_camera[order]), tuple(names[index] for index in order)


def write_colmap(
    folder: Path | str,
    T_world_from_camera: np.ndarray,
    *,
    names: tuple[str, ...],
    K: np.ndarray,
    size_hw: tuple[int, int],
    overwrite: bool = True,
) -> None:
    """Write a COLMAP text model with one pinhole camera and no points.

    Args:
        folder: will hold ``cameras.txt``, ``images.txt`` and an empty ``points3D.txt``.
        T_world_from_camera: (N, 4, 4) rigid motions.
        names: file name of each image, without blanks at its ends.
        K: (3, 3) pixels; whole numbers are pixel centres. COLMAP counts from the corner of the top-left
            pixel: its principal point is half a pixel more.
        size_hw: height and width of the images in pixels.
        overwrite: whether existing files may be replaced.

    Raises:
        InputError: when the poses are not rigid.
        UsageError: when names and poses differ in number.
        OutputError: when a file cannot be written.
    """
    _check_rigid(T_world_from_camera, "the poses")
    if len(names) != len(T_world_from_camera):
        raise UsageError(f"{folder}: {len(T_world_from_camera)} poses but {len(names)} image names")
    T_camera_from_world = invert_poses(np.asarray(T_world_from_camera, dtype=np.float64))
    write_colmap_model(
        Path(folder),
        names=names,
        xyzw=quaternions_from_rotations(T_camera_from_world[:, :3, :3]),
        t=T_camera_from_world[:, :3, 3],
        K=K,
        size_hw=size_hw,
        overwrite=overwrite,
    )


def _from_tum(rows: np.ndarray, path: Path | str) -> Trajectory:
    _check_unit(rows[:, 4:], path)
    _check_increasing(rows[:, 0], path)
    return Trajectory(_matrices(rotations_from_quaternions(rows[:, 4:]), rows[:, 1:4]), rows[:, 0].copy())


def _from_rows(rows: np.ndarray, path: Path | str) -> np.ndarray:
    T = np.zeros((len(rows), 4, 4))
    T[:, 3, 3] = 1
    T[:, : rows.shape[1] // 4] = rows.reshape(len(rows), -1, 4)
    _check_rigid(T, str(path))
    return T


def _matrices(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    T = np.zeros((len(R), 4, 4))
    T[:, :3, :3], T[:, :3, 3], T[:, 3, 3] = R, t, 1
    return T


def _check_rigid(T: np.ndarray, source: str) -> None:
    if T.ndim != 3 or T.shape[1:] != (4, 4):
        raise InputError(f"{source}: poses of shape {T.shape} were given; use (N, 4, 4)")
    R = T[:, :3, :3]
    with np.errstate(all="ignore"):  # enormous numbers are refused below, not warned about
        off = np.abs(R @ np.swapaxes(R, 1, 2) - np.eye(3)).max((1, 2), initial=0)
        bad = ~((off < _RIGID) & (np.linalg.det(R) > 0) & (T[:, 3] == (0, 0, 0, 1)).all(1))
    bad |= ~np.isfinite(T).all((1, 2))
    if bad.any():
        raise InputError(
            f"{source}: pose {int(bad.argmax()) + 1} is no rigid motion (rotation and translation)"
        )


def _check_unit(xyzw: np.ndarray, path: Path | str) -> None:
    with np.errstate(over="ignore"):
        bad = np.abs(np.linalg.norm(xyzw, axis=1) - 1) > _UNIT
    if bad.any():
        raise InputError(f"{path}: the quaternion of pose {int(bad.argmax()) + 1} is not of length 1")


def _check_increasing(times: np.ndarray, path: Path | str) -> None:
    bad = np.diff(times) <= 0
    if bad.any():
        raise InputError(f"{path}: time does not increase after pose {int(bad.argmax()) + 1}; sort the lines")
