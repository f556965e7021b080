"""Depth metrics after Eigen et al. (2014): crops, median scaling, limits, and the seven numbers."""

from __future__ import annotations

import cv2
import numpy as np

from kinema.errors import InputError
from kinema.evaluation.accumulators import Tally
from kinema.evaluation.records import Crop, DepthProtocol, Fact
from kinema.evaluation.scoring import ItemScore

DEPTH_METRICS: dict[str, Fact] = {
    "abs_rel": Fact("", "|error| / truth"),
    "sq_rel": Fact("m", "error² / truth"),
    "rmse": Fact("m", "root of the mean error²"),
    "rmse_log": Fact("", "the same of the natural logarithms"),
    "a1": Fact("%", "ratio to the truth below 1.25"),
    "a2": Fact("%", "ratio below 1.25²"),
    "a3": Fact("%", "ratio below 1.25³"),
    "scale": Fact("", "median of truth / median of prediction"),
}
"""Every depth metric by the name it has in JSON results."""

_CROPS = {  # top, bottom, left, right as shares of height and width
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
}


def crop_window(size_hw: tuple[int, int], crop: Crop) -> tuple[slice, slice]:
    """Find the part of a picture that counts.

    Args:
        size_hw: height and width in pixels.
        crop: which rule; bounds are cut off to whole pixels, as published.

    Returns:
        Rows and columns.
    """
    if crop == "none":
        return slice(None), slice(None)
    height, width = size_hw
    top, bottom, left, right = _CROPS[crop]
    return slice(int(top * height), int(bottom * height)), slice(int(left * width), int(right * width))


def scored_pixels(truth: np.ndarray, protocol: DepthProtocol) -> np.ndarray:
    """Find the pixels that a protocol looks at.

    Args:
        truth: (H, W) metres; 0 or not finite is unknown.
        protocol: with its crop and limits.

    Returns:
        (H, W) bool.
    """
    known = np.isfinite(truth) & (truth > (protocol.nearest if protocol.truth_within else 0))
    if protocol.truth_within and protocol.farthest is not None:
        known &= truth < protocol.farthest
    inside = np.zeros(truth.shape, bool)
    inside[crop_window((truth.shape[0], truth.shape[1]), protocol.crop)] = True
    scored: np.ndarray = known & inside
    return scored


def resized_depth(predicted: np.ndarray, size_hw: tuple[int, int], protocol: DepthProtocol) -> np.ndarray:
    """Bring a predicted depth to the truth's size, bilinear between pixel centres.

    Args:
        predicted: (h, w) metres or any unit.
        size_hw: height and width of the truth.
        protocol: says whether depth or its inverse is interpolated.

    Returns:
        (H, W) float64.
    """
    if predicted.shape == size_hw:
        return predicted.astype(np.float64)
    values: np.ndarray = predicted.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        if protocol.resizing == "inverse depth":
            values = 1 / values
        resized = cv2.resize(values, size_hw[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float64)
        found: np.ndarray = 1 / resized if protocol.resizing == "inverse depth" else resized
    return found


def score_depth(predicted: np.ndarray, truth: np.ndarray, protocol: DepthProtocol, *, name: str) -> ItemScore:
    """Score one predicted depth map, and a constant depth on the same truth.

    Args:
        predicted: (h, w), positive; brought to the truth's size.
        truth: (H, W) metres; 0 or not finite is unknown.
        protocol: how to score.
        name: of the picture, for messages.

    Returns:
        Sums and counts; empty counts where no pixel is scored.

    Raises:
        InputError: when an array is no depth map, or no scale can be found.
    """
    for what, array in (("the predicted depth", predicted), ("the true depth", truth)):
        if array.ndim != 2:
            raise InputError(f"{name}: {what} has shape {array.shape}; it must be (H, W)")
    scored = scored_pixels(truth, protocol)
    true = truth[scored].astype(np.float64)
    guess = resized_depth(predicted, (truth.shape[0], truth.shape[1]), protocol)[scored]
    if not true.size:
        empty = dict.fromkeys(protocol.metrics, Tally(0.0, 0))
        return ItemScore(empty, empty)
    bad = int((~np.isfinite(guess)).sum())
    constant = np.full_like(true, float(np.median(true)))
    if bad:
        return ItemScore(dict.fromkeys(protocol.metrics, Tally(float("nan"), true.size)), bad=bad)
    scale = _scale(guess, true, name=name) if protocol.scaling == "median" else 1.0
    tallies = _tallies(guess * scale, true, protocol)
    if "scale" in protocol.metrics:
        tallies["scale"] = Tally(scale * true.size, true.size)
    return ItemScore(tallies, _tallies(constant, true, protocol))


def _scale(guess: np.ndarray, true: np.ndarray, *, name: str) -> float:
    middle = float(np.median(guess))
    if middle <= 0:
        raise InputError(
            f"{name}: the median of the predicted depth is {middle:g}; depth is positive: is it inverse "
            "depth or of the wrong sign?"
        )
    return float(np.median(true)) / middle


def _tallies(guess: np.ndarray, true: np.ndarray, protocol: DepthProtocol) -> dict[str, Tally]:
    guess = np.clip(guess, protocol.nearest, protocol.farthest)
    error = guess - true
    ratio = np.maximum(guess / true, true / guess)
    values = {
        "abs_rel": float(np.mean(np.abs(error) / true)),
        "sq_rel": float(np.mean(error**2 / true)),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "rmse_log": float(np.sqrt(np.mean((np.log(guess) - np.log(true)) ** 2))),
        **{f"a{power}": 100 * float(np.mean(ratio < 1.25**power)) for power in (1, 2, 3)},
    }
    # A root is no sum over pixels: the count weighs it, so that the picture's own number comes out again.
    return {
        metric: Tally(values[metric] * true.size, true.size)
        for metric in protocol.metrics
        if metric in values
    }
