"""Anyone's own camera path: pictures, intrinsics, and where there are some poses and depth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.data.driving_sample import CameraSequence, DrivingDataset, all_targets
from kinema.data.family import Facts, Family
from kinema.data.frame_list import frame_numbers, frames_in, stem_of
from kinema.data.layout import list_names, nothing_usable
from kinema.data.lidar import DepthValue
from kinema.data.spec import DataSpec
from kinema.errors import InputError, UsageError
from kinema.io.formats.number_lines import read_number_lines
from kinema.io.images import read_image
from kinema.io.poses import read_poses

LAYOUT = (
    "images/NNNNN.png with K.txt (three lines of three numbers); where there are some, poses.txt (one line a"
    " picture: camera to world, 12 or 16 numbers, or TUM) and depth/NNNNN.png (16 bits, millimetres)"
)
MILLIMETRES = 1000.0


@dataclass(frozen=True, eq=False)
class DepthPictures:
    """Depth in 16-bit pictures, millimetres along the optical axis, 0 where unknown.

    Attributes:
        folder: holds them.
        present: names of the frames that have one.
    """

    folder: Path
    present: frozenset[str]

    def has(self, name: str) -> bool:
        """Tell whether a frame has a depth picture.

        Args:
            name: of the frame.

        Returns:
            True when there is a file.
        """
        return name in self.present

    def path(self, name: str) -> Path:
        """The depth picture of a frame.

        Args:
            name: of the frame.

        Returns:
            Where it is or would be.
        """
        return self.folder / f"{name}.png"

    def read(self, name: str, size_hw: tuple[int, int], *, value: DepthValue) -> np.ndarray:
        """Read a depth picture.

        Args:
            name: of the frame.
            size_hw: height and width of the picture it belongs to.
            value: ``"camera_z"``.

        Returns:
            (H, W) float32 metres, 0 is unknown.

        Raises:
            InputError: when it cannot be read, or has another size or 8 bits.
            UsageError: for another value.
        """
        if value != "camera_z":
            raise UsageError(f"depth pictures hold camera_z; they cannot give {value}")
        stored = read_image(self.path(name))
        if stored.dtype != np.uint16 or stored.shape[:2] != size_hw:
            raise InputError(
                f"{self.path(name)}: is {stored.shape[1]}x{stored.shape[0]} {stored.dtype}; expected 16 bits"
                f" and the picture's {size_hw[1]}x{size_hw[0]}"
            )
        depth: np.ndarray = (stored[..., 0] / MILLIMETRES).astype(np.float32)
        return depth


def open_posed(spec: DataSpec, path: Path) -> DrivingDataset:
    """Open one camera path.

    Args:
        spec: what was asked for.
        path: the folder that holds ``images`` and ``K.txt``.

    Returns:
        Every picture, with its pose and depth where there are some.

    Raises:
        InputError: when pictures or intrinsics are missing, or poses and pictures differ in number.
    """
    frames = frames_in(path / "images")
    if not len(frames) or not (path / "K.txt").is_file():
        reason = "there is no K.txt" if len(frames) else "there are no pictures in images/"
        raise nothing_usable(spec, path, LAYOUT, reason=reason, sample="sequence")
    poses = read_poses(path / "poses.txt") if (path / "poses.txt").is_file() else None
    if poses is not None and len(poses) != len(frames):
        raise InputError(
            f"{path / 'poses.txt'}: has {len(poses)} poses for {len(frames)} pictures in images/"
        )
    depths = frozenset(stem_of(name) for name in list_names(path / "depth") if name.endswith(".png"))
    numbers = frame_numbers(frames)
    sequence = CameraSequence(
        path.name or "path",
        frames,
        np.array(range(len(frames)) if numbers is None else numbers, dtype=np.int64),
        _intrinsics(path / "K.txt"),
        times=None if poses is None else poses.times,
        T_world_from_camera=None if poses is None else poses.T_world_from_camera,
        truth=DepthPictures(path / "depth", depths) if depths else None,
    )
    notes = [] if poses else ["there is no poses.txt"]
    without = sum(not sequence.truth.has(frames.stem(i)) for i in range(len(frames))) if sequence.truth else 0
    notes += [f"{without} of {len(frames)} pictures have no depth"] if without else []
    return DrivingDataset(spec, (sequence,), all_targets((sequence,)), None, tuple(notes))


def _intrinsics(path: Path) -> np.ndarray:
    K = read_number_lines(path, columns=(3,))
    pinhole = K.shape == (3, 3) and K[0, 0] > 0 and K[1, 1] > 0
    if not pinhole or (K[2] != (0, 0, 1)).any() or K[1, 0] != 0:
        raise InputError(f"{path}: is no camera matrix; expected the lines: fx 0 cx, 0 fy cy, 0 0 1")
    return K


FAMILY = Family(
    name="posed",
    kind="driving",
    title="your own pictures with intrinsics, poses and depth",
    layout=LAYOUT,
    open=open_posed,
    facts=Facts(
        holds="frames with intrinsics, and poses and depth where there are some",
        counts={},
        unit="frames",
        size="",
        source="your own",
        url="",
        terms="your own",
    ),
)
