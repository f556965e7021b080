"""Low and sharp frames brought together into clips, and what is said about those that do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kinema.data.frame_list import FrameList, by_stem, frame_numbers, unbroken_runs
from kinema.data.restoration_sample import RestorationClip


def pair_clip(
    name: str, low: FrameList, sharp: FrameList, *, step: int | None = None
) -> RestorationClip | None:
    """Pair the frames of a clip by name.

    Args:
        name: of the clip.
        low: the low frames.
        sharp: the sharp frames; low frames without one serve as neighbours only.
        step: from one frame number to the next; None takes the most common one.

    Returns:
        The part of the clip without a gap that has the most sharp frames, so that no window bridges a gap;
        None when no frame has its twin, or names have no numbers.
    """
    numbers = (0,) if len(low) == 1 else frame_numbers(low)
    if numbers is None:
        return None
    twins = by_stem(sharp)
    best: tuple[range, list[int]] = (range(0), [])
    for run in unbroken_runs(numbers, step=step):
        targets = [place for place, index in enumerate(run) if low.stem(index) in twins]
        best = max(best, (run, targets), key=lambda found: len(found[1]))
    run, targets = best
    if not targets:
        return None
    whole = len(run) == len(low)
    kept = low if whole else low.take(run)
    sharp = sharp if _same_frames(kept, sharp) else sharp.take(twins[kept.stem(place)] for place in targets)
    complete = len(targets) == len(kept)
    return RestorationClip(name, kept, sharp, range(len(kept)) if complete else tuple(targets))


def pair_clips(
    low: Mapping[str, FrameList], sharp: Mapping[str, FrameList], *, step: int | None = None
) -> tuple[list[RestorationClip], list[str]]:
    """Pair the clips of two folders by name.

    Args:
        low: low frames by clip.
        sharp: sharp frames by clip.
        step: from one frame number to the next; None takes the most common one.

    Returns:
        The clips that could be paired, in the order of `sharp`; and the names of the others.
    """
    clips: list[RestorationClip] = []
    unpaired = [name for name in low if name not in sharp]
    for name, frames in sharp.items():
        clip = pair_clip(name, low[name], frames, step=step) if name in low else None
        if clip is None:
            unpaired.append(name)
        else:
            clips.append(clip)
    return clips, sorted(unpaired)


def clip_notes(
    clips: Sequence[RestorationClip], unpaired: Sequence[str], *, frames: Mapping[str, int] | int | None
) -> tuple[str, ...]:
    """Tell what is missing from a copy.

    Args:
        clips: the usable ones.
        unpaired: names of clips whose other half is missing.
        frames: how many frames each clip has officially, or all have; None where nothing is official.

    Returns:
        Sentences with counts.
    """
    notes = []
    if unpaired:
        number = "1 clip" if len(unpaired) == 1 else f"{len(unpaired)} clips"
        notes.append(f"{number} without low or without sharp frames left out: {_few(unpaired)}")
    short = [
        f"{clip.name} {len(clip.targets)} of {official}"
        for clip in clips
        if (official := frames if isinstance(frames, int) else (frames or {}).get(clip.name)) is not None
        and len(clip.targets) < official
    ]
    if short:
        clips_are = "clip is" if len(short) == 1 else "clips are"
        notes.append(f"{len(short)} {clips_are} incomplete, in frames without a gap: {_few(short)}")
    return tuple(notes)


def _same_frames(low: FrameList, sharp: FrameList) -> bool:
    if len(low) != len(sharp):
        return False
    return low.names == sharp.names or all(low.stem(i) == sharp.stem(i) for i in range(len(low)))


def _few(names: Sequence[str], count: int = 4) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
