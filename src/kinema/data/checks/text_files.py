"""Calibration, poses and times by themselves: read before the set is opened, which one bad line prevents."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from kinema.data.checks.finding import Finding, error, warning
from kinema.data.checks.tree import Tree
from kinema.errors import InputError
from kinema.io.formats.number_lines import read_number_lines
from kinema.io.poses import read_poses

_TIMES = re.compile(r"(?:.*/)?image_0[0-3]/timestamps\.txt")
_CLOCK = re.compile(r"\S+\s+(\d+):(\d+):(\d+(?:\.\d+)?)")
_OFFICIAL_STEP = 0.1
_RATE = 0.2
_RIGID = 1e-3


def text_findings(tree: Tree, family: str) -> Iterator[Finding]:
    """Find files of numbers that cannot be right.

    Args:
        tree: the files.
        family: of the data set.

    Yields:
        Poses that are no rotations, calibration that is missing, times of another rate.
    """
    for name in tree.sizes:
        if (family == "kitti_odometry" and re.fullmatch(r"(?:.*/)?poses/\d\d\.txt", name)) or (
            family == "posed" and name == "poses.txt"
        ):
            yield from _poses(tree, name)
        elif family == "kitti_raw" and _TIMES.fullmatch(name):
            yield from _timestamps(tree, name)
    if family == "kitti_odometry":
        yield from _odometry(tree)
    elif family == "kitti_raw":
        yield from _raw_calibration(tree)


def _poses(tree: Tree, name: str) -> Iterator[Finding]:
    """The first line that is no rigid motion; other faults are those of the reader."""
    path = tree.path(name)
    try:
        rows = read_number_lines(path, columns=(8, 12, 16), comments="#")
    except InputError as problem:
        what = str(problem).removeprefix(str(path)).lstrip(": ")
        yield error("unreadable", name, what, "copy it again")
        return
    if rows.shape[1] == 8:
        try:
            read_poses(path)
        except InputError as problem:
            what = str(problem).removeprefix(str(path)).lstrip(": ")
            yield error("poses no rotations", name, what, "write the quaternion as qx qy qz qw, of length 1")
        return
    R = rows[:, :12].reshape(-1, 3, 4)[:, :, :3]
    apart = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    wrong = np.flatnonzero((apart > _RIGID) | (np.linalg.det(R) < 0))
    if len(wrong):
        yield error("poses no rotations", name, _why(R[wrong[0]], wrong), "write 12 numbers: rows of [R | t]")


def _why(R: np.ndarray, wrong: np.ndarray) -> str:
    count = f"{len(wrong)} poses are" if len(wrong) > 1 else "1 pose is"
    orthogonal = np.abs(R @ R.T - np.eye(3)).max() <= _RIGID
    cause = "mirrors" if orthogonal else "is scaled or its numbers are in another order"
    return f"{count} no rotation, first in line {wrong[0] + 1}: it {cause}"


def _odometry(tree: Tree) -> Iterator[Finding]:
    sequences = {
        match[1] for match in map(re.compile(r"((?:.*/)?sequences/\d\d)/.+").fullmatch, tree.sizes) if match
    }
    for folder in sorted(sequences):
        frames = [
            int(match[1])
            for match in map(re.compile(rf"{re.escape(folder)}/image_[02]/(\d+)\.\w+").fullmatch, tree.sizes)
            if match
        ]
        if not frames:
            continue
        if f"{folder}/calib.txt" not in tree.sizes:
            yield error(
                "no intrinsics", f"{folder}/", "there is no calib.txt", "copy it: the sequence is left out"
            )
        poses = f"{folder.rpartition('sequences/')[0]}poses/{folder[-2:]}.txt"
        for name, kind in ((poses, "poses"), (f"{folder}/times.txt", "times")):
            yield from _too_few(tree, name, kind, max(frames) + 1)


def _too_few(tree: Tree, name: str, kind: str, frames: int) -> Iterator[Finding]:
    if not tree.sizes.get(name):
        return
    lines = sum(bool(line.strip()) for line in tree.path(name).read_bytes().splitlines())
    if lines < frames:
        yield error(
            "truth and frames disagree",
            name,
            f"has {lines} {kind}, but frames are numbered up to {frames - 1}",
            "copy it again, or remove the frames that belong to another sequence",
        )


def _raw_calibration(tree: Tree) -> Iterator[Finding]:
    drive = re.compile(r"((?:.*/)?\d{4}_\d\d_\d\d)/\d{4}_\d\d_\d\d_drive_\d{4}_sync/image_0[0-3]/data/.+")
    dates = {match[1] for match in map(drive.fullmatch, tree.sizes) if match}
    for date in sorted(dates):
        name = f"{date}/calib_cam_to_cam.txt"
        if name not in tree.sizes:
            yield error(
                "no intrinsics",
                f"{date}/",
                "there is no calib_cam_to_cam.txt",
                f"fetch {date.rpartition('/')[2]}_calib.zip: all drives of the day are left out",
            )


def _timestamps(tree: Tree, name: str) -> Iterator[Finding]:
    text = tree.path(name).read_bytes().decode("ascii", errors="replace")
    clock = [match for match in map(_CLOCK.fullmatch, text.split("\n")) if match]
    seconds = np.array([3600 * float(m[1]) + 60 * float(m[2]) + float(m[3]) for m in clock])
    if len(seconds) < 3:
        return
    usual = float(np.median(np.diff(seconds)))
    if abs(usual / _OFFICIAL_STEP - 1) > _RATE:
        yield warning(
            "frame rate",
            name,
            f"the time stamps tell {1 / max(usual, 1e-6):.3g} frames per second, the recording has 10",
            "frames were left out or the times belong to others: take the official ones",
        )
