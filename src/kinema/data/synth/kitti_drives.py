"""KITTI raw and odometry: drives with cameras, times, poses and laser points."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cache
from itertools import count, islice
from pathlib import Path

import numpy as np

from kinema.data.kitti_lists import eigen_test_frames, eigen_test_scenes, static_frames, stereo_test_scenes
from kinema.data.procedural.world.camera import intrinsics
from kinema.data.synth.kitti_rig import (
    cam_to_cam,
    drive_config,
    drive_rig,
    projections,
    row,
    write_camera,
    write_text,
)
from kinema.data.synth.plan import SynthPlan
from kinema.data.synth.rig import COLOUR_ASIDE, T_CAMERA0_FROM_SCANNER
from kinema.io.files import write_bytes
from kinema.io.poses import invert_poses, write_kitti_poses, write_times

DATE = "2011_09_26"
SEQUENCES = ("00", "09", "01", "10", "02", "03", "04", "05", "06", "07", "08")
"""The order in which odometry sequences are written: two of them are for training and testing at once."""

_TEST_EVERY = 4  # drives; the second one is the first of them
_START = datetime(2011, 9, 26, 12)


def drive_name(index: int) -> str:
    """Name a raw drive. Every fourth one is named as a test scene of Eigen's split while there are some.

    Args:
        index: of the drive.

    Returns:
        Such as ``2011_09_26_drive_0001``. Other drives have names that no published list speaks of.
    """
    tests, rounds = _test_drives(), index // _TEST_EVERY
    if index % _TEST_EVERY == 1 and rounds < len(tests):
        return tests[rounds]
    used = min((index + _TEST_EVERY - 2) // _TEST_EVERY, len(tests))  # names of tests before this one
    return _free_drives(index - used + 1)[-1]


@cache
def _test_drives() -> tuple[str, ...]:
    """Test scenes whose first frame is a test frame, so that a short drive has one."""
    return tuple(sorted(name for name, frame in eigen_test_frames() if frame == 0 and name.startswith(DATE)))


@cache
def _free_drives(number: int) -> tuple[str, ...]:
    taken = eigen_test_scenes() | stereo_test_scenes() | static_frames().keys()
    names = (f"{DATE}_drive_{drive:04d}" for drive in count(1))
    return tuple(islice((name for name in names if name not in taken), number))


def write_raw_calibration(plan: SynthPlan, folder: Path) -> None:
    """Write the calibration of the date; all drives have the same cameras.

    Args:
        plan: what is written.
        folder: that the layout begins in.
    """
    # With one field of view and the principal point in the middle nothing of it is drawn at random.
    K = intrinsics(drive_config(plan), np.random.default_rng(0))
    date = folder / DATE
    write_text(date / "calib_cam_to_cam.txt", cam_to_cam(K, plan.size_hw))
    T = T_CAMERA0_FROM_SCANNER
    text = "calib_time: 01-Jan-2000 00:00:00\n" + row("R", T[:3, :3]) + row("T", T[:3, 3])
    write_text(date / "calib_velo_to_cam.txt", text)


def write_raw_drive(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one drive of KITTI raw.

    Args:
        plan: what is written.
        index: of the drive.
        folder: that the layout begins in.
    """
    rig, drive = drive_rig(plan, index), folder / DATE / f"{drive_name(index)}_sync"
    for camera, shots in (("02", rig.left), ("03", rig.right)):
        write_camera(drive / f"image_{camera}" / "data", shots.images, digits=10)
    points = drive / "velodyne_points"
    for number in range(plan.frames):
        scan = rig.scan(number).astype("<f4")
        write_bytes(points / "data" / f"{number:010d}.bin", scan.tobytes())
    stamps = "".join(f"{_stamp(seconds)}\n" for seconds in rig.left.seconds.tolist())
    for place in (drive / "image_02", drive / "image_03", points):
        write_text(place / "timestamps.txt", stamps)


def _stamp(seconds: float) -> str:
    return (_START + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S.%f") + "000"


def write_odometry_sequence(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one sequence of KITTI odometry.

    Args:
        plan: what is written.
        index: of the sequence in the order of `SEQUENCES`.
        folder: that the layout begins in.
    """
    rig, name = drive_rig(plan, index), SEQUENCES[index]
    sequence = folder / "sequences" / name
    for camera, shots in ((2, rig.left), (3, rig.right)):
        write_camera(sequence / f"image_{camera}", shots.images, digits=6)
    rows = [row(f"P{int(camera)}", P) for camera, P in projections(rig.left.K).items()]
    write_text(sequence / "calib.txt", "".join([*rows, row("Tr", T_CAMERA0_FROM_SCANNER[:3])]))
    write_times(sequence / "times.txt", rig.left.seconds)
    write_kitti_poses(folder / "poses" / f"{name}.txt", grey_poses(rig.left.T_world_from_camera))


def grey_poses(T_world_from_colour: np.ndarray) -> np.ndarray:
    """Poses of the left grey camera in the world that it is itself at the first frame, as the files tell.

    Args:
        T_world_from_colour: (T, 4, 4) of the left colour camera, in any world.

    Returns:
        (T, 4, 4); the first is the identity.
    """
    T_colour_from_grey = np.eye(4)
    T_colour_from_grey[0, 3] = COLOUR_ASIDE
    T = T_world_from_colour @ T_colour_from_grey
    poses: np.ndarray = invert_poses(T[:1]) @ T
    poses[0] = np.eye(4)
    return poses
