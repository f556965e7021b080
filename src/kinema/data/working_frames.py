"""Pairs of footage as small pictures on disk: decoded once, the same at every start."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kinema.data.footage_clips import FootageClip
from kinema.data.footage_split import FootageSplit, Stretch
from kinema.data.frames import FrameDataset, FrameFiles
from kinema.data.spec import DataSpec
from kinema.errors import InputError
from kinema.io.files import read_bytes, write_json
from kinema.io.images import write_image

MANIFEST = "frames.json"
_PARTS = ("training", "held_out")


@dataclass(frozen=True)
class WorkingFrames:
    """Where the pairs lie.

    Attributes:
        folder: of the pictures.
        training: pairs to learn from.
        held_out: pairs to measure on.
        size_hw: of all pictures, but those of clips of another shape.
    """

    folder: Path
    training: FrameDataset
    held_out: FrameDataset
    size_hw: tuple[int, int]


def extract(
    split: FootageSplit,
    folder: Path,
    *,
    most_training: int,
    most_held_out: int,
    longest_side: int,
    progress: Callable[[], None] = lambda: None,
) -> WorkingFrames:
    """Write the pairs of a split as pictures, evenly spread over the footage.

    Args:
        split: of the footage.
        folder: where to; made if it is not there.
        most_training: how many pairs to learn from, at most.
        most_held_out: how many pairs to measure on, at most.
        longest_side: larger frames are reduced to this many pixels.
        progress: called after every pair.

    Returns:
        The pairs.

    Raises:
        InputError: when a frame cannot be read.
        OutputError: when a picture cannot be written.
    """
    record: dict[str, object] = {"longest_side": longest_side}
    most = {"training": most_training, "held_out": most_held_out}
    for part in _PARTS:
        stretches: Sequence[Stretch] = getattr(split, part)
        chosen = _spread(stretches, most[part])
        record[part] = [
            _write_pair(folder / part, number, clip, pair, longest_side, progress)
            for number, (clip, pair) in enumerate(chosen)
        ]
    for clip in {id(s.clip): s.clip for s in (*split.training, *split.held_out)}.values():
        clip.close()
    write_json(folder / MANIFEST, record)
    return read_working_frames(folder)


def read_working_frames(folder: Path) -> WorkingFrames:
    """Find what `extract` wrote.

    Args:
        folder: of the pictures.

    Returns:
        The pairs.

    Raises:
        InputError: when they were not all written.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder} holds no whole set of frames: {MANIFEST} is missing; begin again")
    record = json.loads(read_bytes(path))
    training, held_out = (_dataset(folder / part, record[part]) for part in _PARTS)
    return WorkingFrames(folder, training, held_out, tuple(record["training"][0]["size_hw"]))


def has_working_frames(folder: Path) -> bool:
    """Whether all pairs are there.

    Args:
        folder: of the pictures.

    Returns:
        True once `extract` is done.
    """
    return (folder / MANIFEST).is_file()


def _spread(stretches: Sequence[Stretch], most: int) -> list[tuple[FootageClip, tuple[int, int]]]:
    """Pairs evenly over all frames, in order, so that videos are read forward."""
    pairs = [
        (stretch.clip, (int(a), int(b)))
        for stretch in stretches
        for a, b in zip(stretch.frames[:-1], stretch.frames[1:], strict=True)
    ]
    count = min(most, len(pairs))
    return [pairs[len(pairs) * number // count] for number in range(count)]


def _write_pair(
    folder: Path,
    number: int,
    clip: FootageClip,
    pair: tuple[int, int],
    longest_side: int,
    progress: Callable[[], None],
) -> dict[str, object]:
    name = f"{clip.name}/{pair[0]:06d}"
    size_hw = (0, 0)
    for frame, letter in zip(clip.read(name, pair), "ab", strict=True):
        small = _reduced(frame, longest_side)
        size_hw = (small.shape[0], small.shape[1])
        write_image(folder / f"{number:05d}{letter}.png", small)
    progress()
    return {"name": name, "frames": list(pair), "size_hw": list(size_hw)}


def _reduced(frame: np.ndarray, longest_side: int) -> np.ndarray:
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    height, width = frame.shape[:2]
    scale = longest_side / max(height, width)
    if scale >= 1:
        return frame
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _dataset(folder: Path, records: Sequence[dict[str, object]]) -> FrameDataset:
    files = tuple(
        FrameFiles(str(record["name"]), tuple(folder / f"{number:05d}{letter}.png" for letter in "ab"))
        for number, record in enumerate(records)
    )
    return FrameDataset(DataSpec("footage", path=str(folder)), files, None)
