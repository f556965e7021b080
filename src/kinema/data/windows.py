"""Which frames stand around a centre frame, also where the clip begins and ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from kinema.errors import UsageError

__all__ = ["BORDERS", "Border", "centres_inside", "window_indices"]

Border = Literal["replicate", "reflection", "reflection_circle", "circle"]
BORDERS: tuple[Border, ...] = ("replicate", "reflection", "reflection_circle", "circle")

# What stands at a place before the first frame or behind the last one: (place, first and last place of the
# window, last frame). The window is counted on as if the clip went on.
_Rule = Callable[[int, int, int, int], int]


def _replicate(place: int, _first: int, _last: int, end: int) -> int:
    return min(max(place, 0), end)


def _reflection(place: int, _first: int, _last: int, end: int) -> int:
    return -place if place < 0 else 2 * end - place


def _reflection_circle(place: int, first: int, last: int, end: int) -> int:
    return last - place if place < 0 else first - (place - end)


def _circle(place: int, first: int, last: int, end: int) -> int:
    count = last - first + 1
    return place + count if place < 0 else place - count


_RULES: dict[Border, _Rule] = {
    "replicate": _replicate,
    "reflection": _reflection,
    "reflection_circle": _reflection_circle,
    "circle": _circle,
}


def window_indices(
    centre: int, length: int, *, frames: int, interval: int = 1, border: Border = "replicate"
) -> tuple[int, ...]:
    """List the frames of the window around a centre frame.

    With 5 frames around the first and the last of 100: ``replicate`` 0 0 0 1 2 and 97 98 99 99 99;
    ``reflection`` 2 1 0 1 2 and 97 98 99 98 97; ``reflection_circle`` (``new_info`` in EDVR's first code:
    frames that the window does not hold yet) 4 3 0 1 2 and 97 98 99 96 95; ``circle`` 3 4 0 1 2 and
    97 98 99 95 96. A clip too short for the rule is replicated instead.

    Args:
        centre: 0 to length - 1.
        length: frames in the clip.
        frames: in the window, odd.
        interval: from one frame of the window to the next, 1 or more; above 1 only ``replicate`` and
            ``reflection`` say what lies outside.
        border: the rule.

    Returns:
        `frames` indices in time order, the centre in the middle.

    Raises:
        UsageError: for an even or negative window, a centre outside the clip, or a rule that says nothing.
    """
    _check(frames, interval)
    if not 0 <= centre < length:
        raise UsageError(f"centre frame {centre} lies outside a clip of {length} frames")
    half = frames // 2 * interval
    places = range(centre - half, centre + half + 1, interval)
    end = length - 1
    if places[0] >= 0 and places[-1] <= end:
        return tuple(places)
    if interval > 1 and border not in ("replicate", "reflection"):
        raise UsageError(f"border {border!r} has no meaning with interval {interval}; use 'replicate'")
    rule = _RULES[border]
    found = [p if 0 <= p <= end else rule(p, places[0], places[-1], end) for p in places]
    if min(found) < 0 or max(found) > end:
        found = [_replicate(p, 0, 0, end) for p in places]
    return tuple(found)


def centres_inside(length: int, *, frames: int, interval: int = 1) -> range:
    """List the centre frames whose window lies inside the clip.

    Args:
        length: frames in the clip.
        frames: in the window, odd.
        interval: from one frame of the window to the next, 1 or more.

    Returns:
        The centres; empty when the clip is too short.

    Raises:
        UsageError: for an even or negative window or interval.
    """
    _check(frames, interval)
    half = frames // 2 * interval
    return range(half, max(length - half, half))


def _check(frames: int, interval: int) -> None:
    if frames < 1 or frames % 2 == 0:
        raise UsageError(f"a window of {frames} frames has no middle; use 1, 3, 5, 7 ...")
    if interval < 1:
        raise UsageError(f"interval {interval} between frames; use 1 or more")
