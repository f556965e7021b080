"""Frames with camera: intrinsics, poses, times and depth that can be true, and that explain the frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from kinema.data.checks.clips import compare_neighbours
from kinema.data.checks.finding import Finding, below, error, warning
from kinema.data.checks.geometry import depth_findings, relative_motion
from kinema.data.checks.reading import spread, tried
from kinema.data.driving_sample import CameraSequence, DrivingDataset, DrivingSample, read_snippet
from kinema.data.snippets import SnippetStrips
from kinema.errors import InputError
from kinema.io.images import image_size_hw

RATES = {"kitti_raw": 10.0, "kitti_odometry": 10.0}
"""Frames per second of the official recordings."""

_FOCAL = (0.25, 6.0)  # of the width: 127 to 10 degrees
_CENTRE = 0.15  # of the size, from the middle
_PIXEL_SHAPE = 1.3
_RATE = 0.2
_JUMP = 6.0  # medians of the steps
_METRES = (0.05, 300.0)


def check_driving(
    dataset: DrivingDataset | SnippetStrips,
    indices: Sequence[int],
    *,
    root: Path,
    advance: Callable[[], None],
) -> list[Finding]:
    """Look at cameras, then at some frames.

    Args:
        dataset: the frames.
        indices: which.
        root: the folder that is checked.
        advance: told after each.

    Returns:
        What was found.
    """
    if isinstance(dataset, SnippetStrips):
        return _check_strips(dataset, indices, root, advance)
    findings: list[Finding] = []
    by_sequence: dict[int, list[int]] = {}
    for index in indices:
        number, place = (int(value) for value in dataset.targets[index])
        by_sequence.setdefault(number, []).append(place)
    for number, sequence in enumerate(dataset.sequences):
        findings += _camera(sequence, dataset.spec.name, root)
        if number in by_sequence:
            findings += _frames(sequence, by_sequence[number], root, advance)
    return findings


def _check_strips(
    dataset: SnippetStrips, indices: Sequence[int], root: Path, advance: Callable[[], None]
) -> list[Finding]:
    findings: list[Finding] = []
    for index in indices:
        name = dataset.name_of(index)
        sample = tried(
            lambda index=index: dataset[index],  # type: ignore[misc]
            name=name,
            paths=dataset.paths_of(index),
            root=root,
            findings=findings,
        )
        if sample is not None:
            findings += _strip(sample, name)
        advance()
    return findings


def _strip(sample: DrivingSample, name: str) -> list[Finding]:
    height, width = sample.frames.shape[1:3]
    found = list(intrinsics_findings(sample.K, (height, width), name))
    places = list(pairwise(range(len(sample.frames))))
    return found + compare_neighbours(
        lambda place: sample.frames[place],
        places,
        name_of=lambda place: f"{name}, frame {place + 1} of the strip",
    )


def _camera(sequence: CameraSequence, family: str, root: Path) -> Iterator[Finding]:
    """What the numbers beside the frames say."""
    if len(sequence.frames):
        try:
            size_hw = image_size_hw(sequence.frames.path(0))
        except InputError:
            size_hw = (0, 0)
        place = below(sequence.frames.folder, root)
        if min(size_hw):
            yield from intrinsics_findings(sequence.K, size_hw, place)
    if sequence.times is not None:
        yield from time_findings(sequence.times, sequence.numbers, sequence.name, rate=RATES.get(family))
    if sequence.T_world_from_camera is not None:
        yield from _path(sequence.T_world_from_camera, sequence.numbers, sequence.name, family)


def intrinsics_findings(K: np.ndarray | None, size_hw: tuple[int, int], place: str) -> Iterator[Finding]:
    """Judge intrinsics.

    Args:
        K: (3, 3) pixels, or None.
        size_hw: of the frames.
        place: what to call the camera.

    Yields:
        What is missing or cannot be true.
    """
    height, width = size_hw
    if K is None:
        yield error(
            "no intrinsics", place, "the focal length is not known", "copy the calibration files beside it"
        )
        return
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    if not np.isfinite(K).all() or min(fx, fy) <= 0:
        yield error(
            "intrinsics", place, f"focal lengths of {fx:g} and {fy:g} pixels", "copy the calibration again"
        )
        return
    shown = f"fx {fx:.0f}, fy {fy:.0f}, cx {cx:.0f}, cy {cy:.0f}"
    off_x, off_y = cx / max(width - 1, 1) - 0.5, cy / max(height - 1, 1) - 0.5
    if max(abs(off_x), abs(off_y)) > _CENTRE:
        yield error(
            "intrinsics",
            place,
            f"belong to frames of about {2 * cx + 1:.0f}x{2 * cy + 1:.0f}, not to {width}x{height} ({shown})",
            "scale K with the frames, or take the frames in the size of the calibration",
        )
    elif not _FOCAL[0] * width < fx < _FOCAL[1] * width or not 1 / _PIXEL_SHAPE < fx / fy < _PIXEL_SHAPE:
        angle = 2 * np.degrees(np.arctan(width / 2 / fx))
        yield error(
            "intrinsics",
            place,
            f"{shown} see {angle:.0f} degrees, with pixels {fy / fx:.2f} times as wide as high",
            "check K: both focal lengths are in pixels of these frames",
        )


def time_findings(
    times: np.ndarray, numbers: np.ndarray, place: str, *, rate: float | None
) -> Iterator[Finding]:
    """Judge time stamps.

    Args:
        times: (n,) seconds.
        numbers: (n,) of the frames.
        place: what to call the sequence.
        rate: official frames per second; None where there is none.

    Yields:
        A wrong rate, and times that jump.
    """
    if len(times) < 3:
        return
    steps = np.diff(times) / np.maximum(np.diff(numbers), 1)
    usual = float(np.median(steps))
    if usual <= 0 or (steps <= 0).any():
        yield error("times", place, "time stands still or runs back", "copy the times again")
        return
    if rate is not None and abs(usual * rate - 1) > _RATE:
        yield warning(
            "frame rate",
            place,
            f"the times tell {1 / usual:.3g} frames per second, the recording has {rate:g}",
            "frames were left out or the times belong to others: take the official ones",
        )
    jumps = np.flatnonzero(steps > 1.8 * usual)
    if len(jumps):
        yield warning(
            "times",
            place,
            f"{len(jumps)} steps are much longer than {usual:.3g} s, first after frame {numbers[jumps[0]]}",
            "frames are missing there: split the sequence",
        )


def _path(T: np.ndarray, numbers: np.ndarray, place: str, family: str) -> Iterator[Finding]:
    """A camera path that jumps, or leads backwards where cars go ahead."""
    known = np.flatnonzero(~np.isnan(T[:, 0, 0]))
    if len(known) < 3:
        return
    motion = relative_motion(T[known[:-1]], T[known[1:]])
    steps = np.linalg.norm(motion[:, :3, 3], axis=1) / np.maximum(np.diff(numbers[known]), 1)
    usual = float(np.median(steps))
    jumps = np.flatnonzero(steps > _JUMP * max(usual, 1e-3) + 0.5) if usual else np.empty(0, np.int64)
    if len(jumps):
        at = numbers[known[jumps[0] + 1]]
        yield warning(
            "poses jump",
            place,
            f"the camera moves {steps[jumps[0]]:.2f} at once before frame {at}; {usual:.2f} is usual",
            "poses and frames may be of different sequences, or frames are missing",
        )
    ahead = float(np.median(motion[:, 2, 3]))
    if family == "kitti_odometry" and ahead < -0.05:
        yield error(
            "poses inverted",
            place,
            "the car drives backwards: the poses seem to be camera from world",
            "write poses as world from camera (the camera's place in the world)",
        )


def _frames(
    sequence: CameraSequence, places: Sequence[int], root: Path, advance: Callable[[], None]
) -> list[Finding]:
    findings: list[Finding] = []
    frames = sequence.frames
    truths: list[DrivingSample] = []
    for place in places:
        sample = _sample(sequence, place, root, findings)
        if sample is not None and sample.depth is not None:
            truths.append(sample)
            findings += _depth_range(sample)
        advance()
    numbers = sequence.numbers
    last = len(frames) - 1
    pairs = [(p, p + 1) for p in places if p < last and numbers[p + 1] == numbers[p] + 1]
    findings += compare_neighbours(
        frames.read, pairs, name_of=lambda place: below(frames.path(place), root), static=True
    )
    if truths and sequence.T_world_from_camera is not None and sequence.K is not None:
        findings += depth_findings(sequence, [place for place in places if place < last])
    return findings


def _sample(
    sequence: CameraSequence, place: int, root: Path, findings: list[Finding]
) -> DrivingSample | None:
    stem = sequence.frames.stem(place)
    truth = sequence.truth if sequence.truth is not None and sequence.truth.has(stem) else None
    paths = {"frame": sequence.frames.path(place)} | ({"depth": truth.path(stem)} if truth else {})
    return tried(
        lambda: read_snippet(sequence, place, frames=1, depth="camera_z" if truth else None),
        name=f"{sequence.name}/{stem}",
        paths=paths,
        root=root,
        findings=findings,
    )


def _depth_range(sample: DrivingSample) -> Iterator[Finding]:
    assert sample.depth is not None
    known = sample.depth[sample.depth > 0]
    if not known.size:
        yield error("no depth", sample.name, "no pixel has a known depth", "copy the depth again")
        return
    middle = float(np.median(known))
    if not _METRES[0] < middle < _METRES[1]:
        yield error(
            "depth scale",
            sample.name,
            f"half of the depths are beyond {middle:.3g} m"
            if middle > 1
            else f"the median depth is {middle:.3g} m",
            "check the unit: 16-bit pictures hold millimetres (posed) or 256 times the disparity (KITTI)",
        )


def sampled(dataset: DrivingDataset | SnippetStrips, wanted: int | None) -> list[int]:
    """Choose samples, of every sequence at least two while that stays below twice the number wanted.

    Args:
        dataset: the frames.
        wanted: about how many; None for all.

    Returns:
        Indices.
    """
    chosen = spread(len(dataset), wanted)
    if wanted is None or isinstance(dataset, SnippetStrips):
        return chosen
    starts = np.flatnonzero(np.diff(dataset.targets[:, 0], prepend=-1)).tolist()
    more = [start for start in starts if start + 1 < len(dataset)] if len(starts) <= wanted else []
    return sorted({*chosen, *more})
