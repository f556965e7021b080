"""Does a flow explain its pair of frames? Measured by warping, against other readings of the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

SHOWN_BY_NAME = {
    "negated": "its sign is turned round",
    "backward": "it leads from the second frame to the first, or the two frames are exchanged",
    "swapped": "x and y are exchanged",
    "swapped and negated": "x and y are exchanged and the sign is turned round",
    "x mirrored": "the sign of x is turned round",
    "y mirrored": "the sign of y is turned round",
    "halved": "it is twice as long as the motion",
    "doubled": "it is half as long as the motion",
    "in frame sizes": "it is told in frame sizes, not in pixels",
    "in half frame sizes": "it is told in halves of the frame's size, not in pixels",
}
"""What is wrong with a flow that would be right if it were read this way."""

_LEAST = 300  # pixels that a verdict needs
_MOVING = 0.5  # pixels: what moves less is explained by no motion as well
_CAP = 1.5  # contrasts: one pixel says no more than that it does not fit
_TEXTURE = 0.012  # of white: flat places fit to anything
_BETTER = 0.85
_EXPLAINS = 0.75  # of the difference without motion: by another reading, which must be right then
_HARDLY = 0.92  # of the same: the flow as it is
_CLOSE = 0.1  # a difference that is small whatever is compared
_NORMALISED = 1.5  # longest flow that may be told in frame sizes


@dataclass(frozen=True)
class Verdict:
    """How well a flow explains its frames.

    Attributes:
        reading: ``as it is``, ``zero`` when no motion explains more, or a key of `SHOWN_BY_NAME`; empty when
            too few pixels move or have texture.
        fits: mean difference by the flow as it is, in contrasts of the neighbourhood.
        still: the same by no motion, at the same pixels.
        best: the same by the reading.
    """

    reading: str
    fits: float = 0.0
    still: float = 0.0
    best: float = 0.0


@dataclass(frozen=True)
class _Fit:
    """Differences of one reading, and where its points lie inside the other frame."""

    apart: np.ndarray
    inside: np.ndarray


def flow_verdict(image1: np.ndarray, image2: np.ndarray, flow: np.ndarray, usable: np.ndarray) -> Verdict:
    """Find the reading of a flow that explains a pair of frames best.

    Frames are compared by what stands out from its neighbourhood, in units of the local contrast, so that
    exposure does not count.

    Args:
        image1: (H, W, 3) uint8 or uint16.
        image2: as `image1`.
        flow: (H, W, 2) pixels, from frame 1 to frame 2.
        usable: (H, W) bool: where it is known and not hidden.

    Returns:
        The verdict.
    """
    first, contrast = local_contrast(image1)
    second, _ = local_contrast(image2)
    field = np.where(usable[..., None], flow, 0).astype(np.float32)
    longest = float(np.abs(field).max(initial=0))
    reach = field * np.float32(flow.shape[1]) if longest <= _NORMALISED else field
    moving = np.hypot(reach[..., 0], reach[..., 1]) > _MOVING
    counted = usable & moving & (contrast > _TEXTURE)
    if counted.sum() < _LEAST:
        return Verdict("")
    fits = {name: _fit(first, second, other, counted) for name, other in _readings(field, longest).items()}
    fits["backward"] = _fit(second, first, field, counted)
    fits["zero"] = _fit(first, second, np.zeros_like(field), counted)
    return _judge(fits)


def _readings(flow: np.ndarray, longest: float) -> dict[str, np.ndarray]:
    turned = flow[..., ::-1]
    mirror = np.array([-1, 1], np.float32)
    readings = {
        "as it is": flow,
        "negated": -flow,
        "swapped": turned,
        "swapped and negated": -turned,
        "x mirrored": flow * mirror,
        "y mirrored": -flow * mirror,
        "halved": flow / 2,
        "doubled": flow * 2,
    }
    if longest <= _NORMALISED:
        size = np.array([flow.shape[1], flow.shape[0]], np.float32)
        readings |= {"in frame sizes": flow * size, "in half frame sizes": flow * size / 2}
    return readings


def _judge(fits: Mapping[str, _Fit]) -> Verdict:
    """Of two readings only pixels count whose points lie inside the frame by both."""
    best = "as it is"
    for name in fits:
        if name not in (best, "zero"):
            other, now = _compare(fits[name], fits[best])
            if other < _BETTER * now:
                best = name
    if best in ("negated", "backward"):  # alike where motion is slow: the smaller of the two
        forth, back = _compare(fits["negated"], fits["backward"])
        best = "negated" if forth <= back else "backward"
    fit, still = _compare(fits["as it is"], fits["zero"])
    told, nothing = _compare(fits[best], fits["zero"])
    if best != "as it is" and told < _EXPLAINS * nothing:
        return Verdict(best, fit, still, told)
    reading = "as it is" if fit <= max(_HARDLY * still, _CLOSE) else "zero"
    return Verdict(reading, fit, still, min(fit, still))


def _compare(one: _Fit, other: _Fit) -> tuple[float, float]:
    both = one.inside & other.inside
    if both.sum() < _LEAST // 3:
        return 1.0, 1.0
    return float(one.apart[both].mean()), float(other.apart[both].mean())


def _fit(target: np.ndarray, source: np.ndarray, flow: np.ndarray, counted: np.ndarray) -> _Fit:
    apart, inside = differences(target, source, flow)
    return _Fit(apart[counted], inside[counted])


def differences(target: np.ndarray, source: np.ndarray, flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fetch a frame along a flow and compare.

    Args:
        target: (H, W) float32, as `local_contrast` gives it.
        source: the frame that the flow leads to, of the same size.
        flow: (H, W, 2) pixels.

    Returns:
        (H, W) float32, how far they are apart, capped; and (H, W) bool, where the point lies inside.
    """
    height, width = target.shape
    x = np.arange(width, dtype=np.float32)[None] + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    fetched = cv2.remap(source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.minimum(np.abs(fetched - target), _CAP), inside


def local_contrast(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What stands out from its neighbourhood, whatever the exposure.

    Args:
        image: (H, W, 3) uint8 or uint16.

    Returns:
        (H, W) float32, deviations from the local mean in units of the local contrast; and that contrast,
        white being 1.
    """
    grey = image.mean(axis=2, dtype=np.float32) / np.float32(np.iinfo(image.dtype).max)
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    mean = cv2.boxFilter(smooth, -1, (15, 15))
    power = cv2.boxFilter(smooth * smooth, -1, (15, 15))
    contrast: np.ndarray = np.sqrt(np.maximum(power - mean * mean, 0))
    return (smooth - mean) / (contrast + np.float32(0.01)), contrast


def hidden_fit(
    image1: np.ndarray, image2: np.ndarray, flow: np.ndarray, *, valid: np.ndarray, marked: np.ndarray
) -> tuple[float, float] | None:
    """Compare how well a flow explains the pixels that a mask marks and the others.

    Args:
        image1: (H, W, 3).
        image2: as `image1`.
        flow: (H, W, 2) pixels.
        valid: (H, W) bool, where it is known.
        marked: (H, W) bool, of the mask.

    Returns:
        Mean differences of marked and of other pixels; None when one of the two is hardly there.
    """
    first, contrast = local_contrast(image1)
    second, _ = local_contrast(image2)
    apart, inside = differences(first, second, np.where(valid[..., None], flow, 0).astype(np.float32))
    counted = valid & inside & (contrast > _TEXTURE)
    groups = [apart[counted & marked], apart[counted & ~marked]]
    if min(group.size for group in groups) < _LEAST // 3:
        return None
    return float(groups[0].mean()), float(groups[1].mean())
