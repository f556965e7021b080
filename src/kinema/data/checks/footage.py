"""Videos and folders of frames: damage, repeats and the rate that they betray, a camera that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from kinema.data.checks.clips import small, stands_still
from kinema.data.checks.finding import Finding, below, error, note, warning
from kinema.data.checks.reading import cause_of, spread
from kinema.data.footage_clips import FootageClip, FootageSource, look_through
from kinema.errors import InputError

_MANY = 0.04  # of the frames: fewer repeats are pauses
_REGULAR = 0.3  # of the mean distance
_RATES = (5.0, 240.0)
_PAIRS = 6


def check_source(source: FootageSource, root: Path) -> tuple[FootageClip | None, list[Finding]]:
    """Look a clip through.

    Args:
        source: the clip.
        root: the folder that is checked.

    Returns:
        The clip, None when nothing of it can be read; and what was found.
    """
    name = below(source.path, root)
    try:
        clip = look_through(source, name)
    except InputError as problem:
        what = str(problem).removeprefix(str(source.path)).lstrip(": /").split(": all images")[0]
        if source.images and " but " in what:
            name = name if name != "." else source.images[0].name
            advice = "nothing if they are single pictures; the frames of a clip need one size"
            return None, [warning("no clip", name, f"{what}: the folder is left out", advice)]
        return None, [error(cause_of(problem), name, what, "copy or download it again; the clip is left out")]
    try:
        return clip, [*_damage(clip), *_repeats(clip), *_times(clip), *_static(clip)]
    finally:
        clip.close()


def _damage(clip: FootageClip) -> Iterator[Finding]:
    if clip.damage:
        yield error(
            "truncated",
            clip.name,
            f"only its first {clip.frame_count} frames can be read: {clip.damage}",
            "copy or download it again",
        )
    if clip.frame_count < 2:
        yield error("too short", clip.name, "has one frame only", "a clip needs two frames at least")


def _repeats(clip: FootageClip) -> Iterator[Finding]:
    repeats = np.array(clip.duplicates, dtype=np.int64)
    if len(repeats) == clip.frame_count - 1 and clip.frame_count > 1:
        yield warning("static camera", clip.name, "no frame differs from the first", "leave this clip out")
        return
    if len(repeats) < max(2, _MANY * clip.frame_count):
        if len(repeats):
            yield note(
                "duplicate frames",
                f"{clip.name}, frame {repeats[0]}",
                f"{len(repeats)} of {clip.frame_count} frames repeat the one before",
                "nothing: footage leaves them out",
            )
        return
    distances = np.diff(repeats)
    regular = len(distances) > 1 and distances.std() < _REGULAR * distances.mean()
    if regular:
        yield _wrong_rate(clip, len(repeats))
        return
    yield warning(
        "duplicate frames",
        f"{clip.name}, frame {repeats[0]}",
        f"{len(repeats)} of {clip.frame_count} frames repeat the one before",
        "footage leaves them out; the motion before and after a pause may differ in speed",
    )


def _wrong_rate(clip: FootageClip, repeats: int) -> Finding:
    share = repeats / clip.frame_count
    what = f"every {1 / share:.2g}th frame repeats the one before"
    if clip.video is not None:
        told = float(clip.video.info.rate)
        what += f": the video says {told:.4g} frames per second, but shows {told * (1 - share):.3g} pictures"
    return warning(
        "frame rate",
        clip.name,
        what,
        "it was converted from a lower rate; take the original, or rely on footage, which leaves repeats out",
    )


def _times(clip: FootageClip) -> Iterator[Finding]:
    if clip.video is None:
        return
    rate = float(clip.video.info.rate)
    if not _RATES[0] <= rate <= _RATES[1]:
        yield warning(
            "frame rate",
            clip.name,
            f"{rate:.4g} frames per second",
            "the header may be wrong; motion between frames that are far apart cannot be followed",
        )
    if clip.gaps:
        yield warning(
            "missing frames",
            f"{clip.name}, frame {clip.gaps[0]}",
            f"by their times, frames are missing in {len(clip.gaps)} places",
            "no window reaches across one; take the original",
        )


def _static(clip: FootageClip) -> Iterator[Finding]:
    dropped = {*clip.duplicates, *(number + 1 for number in clip.duplicates)}
    kept = [number for number in range(1, clip.frame_count) if number not in {*clip.cuts, *dropped}]
    chosen = [kept[place] for place in spread(len(kept), _PAIRS)]
    if not chosen:
        return
    still = 0
    for number in chosen:
        try:
            before, after = clip.read(clip.name, (number - 1, number))
        except InputError:
            continue
        still += stands_still(small(before), small(after))
    if still * 2 > len(chosen):
        yield note(
            "static camera",
            clip.name,
            f"the camera stands still in {still} of {len(chosen)} pairs of frames that were looked at",
            "good for flow of moving things; of no use for depth and camera path",
        )


def check_sources(
    sources: Sequence[FootageSource], *, root: Path, advance: Callable[[], None]
) -> tuple[list[FootageClip], list[Finding]]:
    """Look all clips through.

    Args:
        sources: the clips.
        root: the folder that is checked.
        advance: told after each clip.

    Returns:
        The clips that can be read, and what was found.
    """
    clips: list[FootageClip] = []
    findings: list[Finding] = []
    for source in sources:
        clip, found = check_source(source, root)
        findings += found
        clips += [clip] if clip is not None else []
        advance()
    return clips, findings
