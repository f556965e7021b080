"""Footage in two: blocks to learn from, and blocks to measure on, with time between them.

Neighbouring frames show the same things, so frames drawn at random would measure memory. Held-out frames lie
in contiguous blocks, and whatever is nearer to one than a second is used for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kinema.data.footage_clips import FootageClip
from kinema.errors import InputError

IMAGES_PER_SECOND = 25.0
"""Assumed of folders of images, which have no times."""

_BLOCK_SECONDS = 20.0  # a longer clip has one held-out block per this much
_MOST_BLOCKS = 6
_LEAST_SECONDS = 0.4  # of a held-out block


@dataclass(frozen=True)
class Stretch:
    """Frames in a row: no cut, no gap, no repeat between them.

    Attributes:
        clip: they belong to.
        frames: their numbers, rising.
    """

    clip: FootageClip
    frames: np.ndarray

    @property
    def pairs(self) -> int:
        """How many pairs of neighbours there are."""
        return max(0, len(self.frames) - 1)


@dataclass(frozen=True)
class FootageSplit:
    """What to learn from and what to measure on.

    Attributes:
        training: stretches to learn from.
        held_out: stretches to measure on; each at least `gap_seconds` away from all of the others.
        gap_seconds: the time between both kinds.
        notes: what was left out, and why.
    """

    training: tuple[Stretch, ...]
    held_out: tuple[Stretch, ...]
    gap_seconds: float
    notes: tuple[str, ...]


def split_footage(
    clips: Sequence[FootageClip],
    *,
    share: float = 0.2,
    gap_seconds: float = 1.0,
    stride: int = 1,
    span_seconds: tuple[float, float] = (0.0, float("inf")),
) -> FootageSplit:
    """Choose blocks of each clip to measure on.

    Every clip that is long enough gives the end of each of its parts of about 20 seconds; of clips that are
    too short for that, every fifth, the second at least, is held out whole.

    Args:
        clips: looked through.
        share: of each clip to hold out, 0 to 1.
        gap_seconds: nothing this near to a held-out block is learned from.
        stride: take every n-th frame.
        span_seconds: begin and end of what is used of each clip.

    Returns:
        The stretches of both kinds.

    Raises:
        InputError: when nothing is left to learn from or to measure on.
    """
    training: list[Stretch] = []
    held: list[Stretch] = []
    short: list[FootageClip] = []
    for clip in clips:
        first, last = _span(clip, span_seconds)
        blocks = _blocks(first, last, rate_of(clip), share=share, gap_seconds=gap_seconds)
        if not blocks:
            short.append(clip)
            continue
        near = round(gap_seconds * rate_of(clip))
        held += _stretches(clip, blocks, stride)
        training += _stretches(clip, _between(first, last, blocks, near), stride)
    for number, clip in enumerate(short):
        whole = [_span(clip, span_seconds)]
        (held if number % 5 == 1 else training).extend(_stretches(clip, whole, stride))
    if not training or not held:
        seconds = sum(clip.frame_count / rate_of(clip) for clip in clips)
        raise InputError(
            f"{seconds:.1f} s of usable footage in {len(clips)} clips cannot be split into a part to learn "
            f"from and one to measure on, {gap_seconds:g} s apart: give longer clips, or more of them"
        )
    return FootageSplit(tuple(training), tuple(held), gap_seconds, tuple(_notes(clips)))


def rate_of(clip: FootageClip) -> float:
    """Frames per second of a clip.

    Args:
        clip: a video, or images, of which `IMAGES_PER_SECOND` is assumed.

    Returns:
        Above 0.
    """
    return float(clip.video.info.rate) if clip.video is not None else IMAGES_PER_SECOND


def _span(clip: FootageClip, seconds: tuple[float, float]) -> tuple[int, int]:
    """First frame, and the one after the last."""
    rate = rate_of(clip)
    last = clip.frame_count if seconds[1] == float("inf") else min(clip.frame_count, round(seconds[1] * rate))
    return min(round(seconds[0] * rate), last), last


def _blocks(first: int, last: int, rate: float, *, share: float, gap_seconds: float) -> list[tuple[int, int]]:
    """Frames to hold out, as (first, one after the last); none of a clip that is too short."""
    seconds = (last - first) / rate
    count = int(np.clip(seconds // _BLOCK_SECONDS, 1, _MOST_BLOCKS))
    held = share * seconds / count
    if held < _LEAST_SECONDS or seconds / count - held - 2 * gap_seconds < held:
        return []
    borders = np.linspace(first, last, count + 1).round().astype(int)
    return [(int(end) - round(held * rate), int(end)) for end in borders[1:]]


def _between(
    first: int, last: int, blocks: Sequence[tuple[int, int]], near: int
) -> Iterator[tuple[int, int]]:
    """What lies at least `near` frames away from all blocks."""
    edges = [(first - near, first - near), *blocks, (last + near, last + near)]
    for (_, end), (begin, _) in pairwise(edges):
        if end + near < begin - near:
            yield end + near, begin - near


def _stretches(clip: FootageClip, parts: Iterable[tuple[int, int]], stride: int) -> list[Stretch]:
    """Cut parts at cuts and gaps, leave repeats out."""
    runs = clip.runs(drop_duplicates=True, split_at_cuts=True)
    found = []
    for begin, end in parts:
        for run in runs:
            frames = run[(run >= begin) & (run < end)][::stride]
            if len(frames) > 1:
                found.append(Stretch(clip, frames))
    return found


def _notes(clips: Sequence[FootageClip]) -> Iterator[str]:
    repeats, frames = sum(len(c.duplicates) for c in clips), sum(c.frame_count for c in clips)
    if repeats:
        yield f"{repeats} of {frames} frames repeat the one before and are left out"
    cuts = sum(len(clip.cuts) for clip in clips)
    if cuts:
        yield f"{cuts} cuts between scenes: no pair reaches across one"
    for clip in clips:
        if clip.damage:
            yield f"{clip.name}: only its first {clip.frame_count} frames: {clip.damage}"
