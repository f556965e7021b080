"""Neighbouring frames of a clip: copies, cuts to another scene, and a camera that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from kinema.data.checks.finding import Finding, warning
from kinema.data.frame_changes import SMALL_HW, dissimilarity, is_repeat
from kinema.errors import InputError

_CUT = 0.85
_CELL = 4
_UNMOVED = 2.0  # levels of 255: more than noise, less than any motion of a textured place
_TEXTURED = 3.0
_STATIC = 0.75  # of the textured cells
_CHECKED_CELLS = 40


def compare_neighbours(
    read: Callable[[int], np.ndarray],
    pairs: Sequence[tuple[int, int]],
    *,
    name_of: Callable[[int], str],
    static: bool = False,
) -> list[Finding]:
    """Compare frames with the frames after them.

    Args:
        read: gives a frame, (H, W, 3) uint8 or uint16, by its place.
        pairs: places to compare.
        name_of: names a frame in findings.
        static: whether a camera that stands still is a finding.

    Returns:
        What was found; frames that cannot be read or differ in size are passed over.
    """
    findings: list[Finding] = []
    still, seen = [], 0
    for first, second in pairs:
        try:
            before, after = small(read(first)), small(read(second))
        except InputError:
            continue
        seen += 1
        if is_repeat(before, after):
            findings.append(
                warning(
                    "duplicate frames",
                    name_of(second),
                    "shows the same as the frame before",
                    "remove repeated frames; learning from them teaches no motion",
                )
            )
        elif dissimilarity(coarse(before), coarse(after)) > _CUT:
            findings.append(
                warning(
                    "scenes mixed",
                    name_of(second),
                    "shows another scene than the frame before",
                    "put each scene into a folder of its own",
                )
            )
        elif stands_still(before, after):
            still.append(second)
    if static and still and len(still) >= max(0.5 * seen, 1):
        findings.append(_static(name_of(still[0]), len(still), seen))
    return findings


def _static(place: str, still: int, seen: int) -> Finding:
    return warning(
        "static camera",
        place,
        f"the camera stands still in {still} of {seen} pairs of frames that were looked at",
        "leave these frames out: depth and camera motion cannot be learned from them",
    )


def small(image: np.ndarray) -> np.ndarray:
    """Shrink a frame for comparing.

    Args:
        image: (H, W, 3) uint8 or uint16.

    Returns:
        `SMALL_HW` + (3,) float32 levels of 255.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    shrunk = cv2.resize(image, SMALL_HW[::-1], interpolation=cv2.INTER_AREA)
    levels: np.ndarray = shrunk.astype(np.float32)
    return levels


def coarse(picture: np.ndarray) -> np.ndarray:
    """Means of cells of 4x4.

    Args:
        picture: as `small` gives it.

    Returns:
        (18, 32, 3) float32.
    """
    means: np.ndarray = _cells(picture).mean((1, 3))
    return means


def _cells(picture: np.ndarray) -> np.ndarray:
    height, width = SMALL_HW
    return picture.reshape(height // _CELL, _CELL, width // _CELL, _CELL, -1)


def stands_still(before: np.ndarray, after: np.ndarray) -> bool:
    """Tell whether most of what has texture stays where it is, while something moves.

    Args:
        before: as `small` gives it.
        after: the next frame.

    Returns:
        True when three quarters of the textured cells hardly change.
    """
    greys = [picture.mean(axis=2, keepdims=True) for picture in (before, after)]
    apart = _cells(np.abs(greys[0] - greys[1])).max((1, 3))[..., 0]
    texture = _cells(greys[0]).std((1, 3))[..., 0]
    textured = texture > _TEXTURED
    if textured.sum() < _CHECKED_CELLS:
        return False
    return bool((apart[textured] < _UNMOVED).mean() > _STATIC)


def neighbours(count: int, places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pair chosen frames with the ones after them.

    Args:
        count: frames of the clip.
        places: chosen ones.

    Yields:
        Places of a frame and the next one.
    """
    yield from ((place, place + 1) for place in places if place + 1 < count)
