"""KITTI odometry: 22 drives of one camera, the first eleven with true poses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kinema.data.driving_sample import CameraSequence, DrivingDataset, all_targets
from kinema.data.family import Facts, Family
from kinema.data.frame_list import FrameList, frame_numbers, frames_in
from kinema.data.kitti_calibration import matrix_of, read_calibration, rigid_matrix
from kinema.data.layout import first_root, list_names, nothing_usable
from kinema.data.spec import DataSpec
from kinema.errors import InputError
from kinema.io.poses import invert_poses, read_kitti_poses, read_times

LAYOUT = (
    "sequences/NN/{image_2 or image_0}/NNNNNN.png with sequences/NN/{calib.txt,times.txt} and poses/NN.txt"
)
FRAMES = {
    "00": 4541,
    "01": 1101,
    "02": 4661,
    "03": 801,
    "04": 271,
    "05": 2761,
    "06": 1101,
    "07": 1101,
    "08": 4071,
    "09": 1591,
    "10": 1201,
}
SPLITS: dict[str | None, tuple[str, ...]] = {
    "train": tuple(FRAMES)[:9],
    "test": tuple(FRAMES)[9:],
    None: tuple(FRAMES),
} | {name: (name,) for name in FRAMES}

# The left colour camera first; the left grey one serves where colour is absent.
_CAMERAS = (2, 0)
_SEQUENCE = re.compile(r"\d{2}")


def open_kitti_odometry(spec: DataSpec, path: Path) -> DrivingDataset:
    """Open the odometry set where it lies.

    Args:
        spec: ``@train`` is sequences 00 to 08, ``@test`` 09 and 10, ``@NN`` one of them, no split all eleven.
        path: the folder that holds ``sequences`` and ``poses``.

    Returns:
        The frames that are present, with intrinsics, and with times and poses where the copy has them. A pose
        is that of the camera whose picture is read, in a world that is the left grey camera at the first
        frame: the files tell the grey camera's poses, the calibration where the colour camera sits.

    Raises:
        InputError: when no sequence of the split has frames and a calibration.
    """
    root = first_root(path, ("", "dataset"), needed=("sequences",))
    if root is None:
        raise nothing_usable(spec, path, LAYOUT, sample="sequence")
    present = sorted(filter(_SEQUENCE.fullmatch, list_names(root / "sequences")))
    told: dict[str, list[str]] = {}
    found = [_sequence(root, name, told) for name in SPLITS[spec.split] if name in present]
    sequences = tuple(sequence for sequence in found if sequence is not None)
    notes = tuple(f"{what}: {', '.join(names)}" for what, names in told.items())
    if not sequences:
        reason = f"sequences present: {', '.join(present) or 'none'}; none of the split is usable"
        raise nothing_usable(spec, path, LAYOUT, reason="; ".join([reason, *notes]), sample="sequence")
    official = sum(FRAMES[name] for name in SPLITS[spec.split])
    return DrivingDataset(spec, sequences, all_targets(sequences), official, notes)


def _sequence(root: Path, name: str, told: dict[str, list[str]]) -> CameraSequence | None:
    """One sequence, or None where it cannot be used; `told` collects names by what is to be said of them."""
    folder = root / "sequences" / name
    camera, frames, numbers = _frames(folder)
    calibration = folder / "calib.txt"
    if not numbers or not calibration.is_file():
        what = "calib.txt" if numbers else "frames"
        told.setdefault(f"sequences without {what} are left out", []).append(name)
        return None
    if camera == 0:
        told.setdefault("sequences are read from the grey camera (image_0)", []).append(name)
    if len(numbers) < FRAMES[name]:
        counts = f"{name} with {len(numbers)} of {FRAMES[name]}"
        told.setdefault("sequences lack frames", []).append(counts)
    rows = read_calibration(calibration, unnamed=("P0", "P1", "P2", "P3"))
    P = matrix_of(rows, f"P{camera}", path=calibration)
    return CameraSequence(
        name,
        frames,
        np.array(numbers, dtype=np.int64),
        P[:, :3].copy(),
        times=_times(folder / "times.txt", numbers, told),
        T_world_from_camera=_poses(root / "poses" / f"{name}.txt", numbers, P, told),
    )


def _frames(folder: Path) -> tuple[int, FrameList, tuple[int, ...]]:
    for camera in _CAMERAS:
        frames = frames_in(folder / f"image_{camera}")
        numbers = frame_numbers(frames)
        if numbers:
            return camera, frames, numbers
    return 0, FrameList("", ()), ()


def _times(path: Path, numbers: Sequence[int], told: dict[str, list[str]]) -> np.ndarray | None:
    if not path.is_file():
        told.setdefault("sequences have no times.txt", []).append(path.parent.name)
        return None
    times = read_times(path)
    if numbers[-1] >= len(times):
        raise InputError(f"{path}: has {len(times)} times, but there is a frame {numbers[-1]}")
    picked: np.ndarray = times[np.array(numbers)]
    return picked


def _poses(
    path: Path, numbers: Sequence[int], P: np.ndarray, told: dict[str, list[str]]
) -> np.ndarray | None:
    """Poses of the camera with projection P; NaN for frames beyond the end of the file."""
    if not path.is_file():
        told.setdefault("sequences have no poses", []).append(path.stem)
        return None
    T_world_from_camera0 = read_kitti_poses(path).T_world_from_camera
    T = np.full((len(numbers), 4, 4), np.nan)
    known = np.array(numbers) < len(T_world_from_camera0)
    T_camera_from_camera0 = rigid_matrix(np.eye(3), np.linalg.solve(P[:, :3], P[:, 3]))
    T_camera0_from_camera = invert_poses(T_camera_from_camera0[None])[0]
    T[known] = T_world_from_camera0[np.array(numbers)[known]] @ T_camera0_from_camera
    if not known.all():
        counts = f"{path.stem} for {int(known.sum())} of {len(known)}"
        told.setdefault("sequences have poses for some frames only", []).append(counts)
    return T


FAMILY = Family(
    name="kitti_odometry",
    kind="driving",
    title="KITTI odometry, 11 drives with true poses",
    layout=LAYOUT,
    open=open_kitti_odometry,
    facts=Facts(
        holds="frames with intrinsics, times and poses",
        counts={split: sum(FRAMES[name] for name in SPLITS[split]) for split in ("train", "test")},
        unit="frames",
        size="about 1241x376",
        source="KIT and TTIC, KITTI vision benchmark suite",
        url="https://www.cvlibs.net/datasets/kitti/eval_odometry.php",
        terms="CC BY-NC-SA 3.0",
    ),
    splits=("train", "test", *FRAMES),
)
