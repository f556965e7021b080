"""PSNR and SSIM of restored frames, in RGB or in luma."""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np

from kinema.errors import InputError
from kinema.evaluation.accumulators import Tally
from kinema.evaluation.records import Fact, RestorationProtocol

Channels = Literal["rgb", "y"]

IMAGE_METRICS: dict[str, Fact] = {
    "psnr": Fact("dB", "peak of 255 over the mean squared error"),
    "ssim": Fact("", "structural similarity, 11x11 Gaussian window"),
}
"""Every metric of restored frames by the name it has in JSON results."""

_LUMA = np.array([65.481, 128.553, 24.966]) / 255  # ITU-R BT.601, of 0..255 to 16..235
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def luma(image: np.ndarray) -> np.ndarray:
    """Take the luma of a picture, as MATLAB's rgb2ycbcr does, without rounding.

    Args:
        image: (H, W, 3) RGB in [0, 255].

    Returns:
        (H, W) float64 in [16, 235].
    """
    y: np.ndarray = 16.0 + image.astype(np.float64) @ _LUMA
    return y


def psnr(restored: np.ndarray, sharp: np.ndarray) -> float:
    """Peak signal-to-noise ratio.

    Args:
        restored: any shape, values in [0, 255].
        sharp: the same shape.

    Returns:
        dB; infinity for equal pictures.
    """
    squared = float(np.mean((restored.astype(np.float64) - sharp.astype(np.float64)) ** 2))
    return math.inf if squared == 0 else 10 * math.log10(255**2 / squared)


def ssim(restored: np.ndarray, sharp: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian of 1.5, inside the picture only.

    Args:
        restored: (H, W) or (H, W, C), values in [0, 255]; at least 11 pixels a side.
        sharp: the same shape.

    Returns:
        The mean over pixels, and over channels.
    """
    a, b = restored.astype(np.float64), sharp.astype(np.float64)
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a = _blurred(a * a) - mean_a**2
    variance_b = _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    similar = ((2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)) / (
        (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
    )
    return float(similar.mean())


def frame_tallies(
    restored: np.ndarray, sharp: np.ndarray, protocol: RestorationProtocol, *, name: str
) -> dict[str, Tally]:
    """Score one restored frame.

    Args:
        restored: (H, W, 3) RGB, uint8 or uint16 (which is brought to [0, 255] unrounded).
        sharp: the same size.
        protocol: says which channels, and what is left out along the edges.
        name: of the frame, for messages.

    Returns:
        Value and a count of 1 per metric.

    Raises:
        InputError: when the sizes differ, or the frame is too small.
    """
    if restored.shape != sharp.shape:
        raise InputError(
            f"{name}: the restored frame is {_size(restored)} but the sharp one is {_size(sharp)}; "
            "they must be of one size"
        )
    if min(sharp.shape[:2]) < _WINDOW + 2 * protocol.border:
        raise InputError(f"{name}: a frame of {_size(sharp)} is too small to be scored")
    a, b = (_prepared(image, protocol) for image in (restored, sharp))
    values = {"psnr": psnr, "ssim": ssim}
    return {metric: Tally(values[metric](a, b), 1) for metric in protocol.metrics}


def _prepared(image: np.ndarray, protocol: RestorationProtocol) -> np.ndarray:
    values = image.astype(np.float64) * (255 / np.iinfo(image.dtype).max)
    edge = protocol.border
    if edge:
        values = values[edge:-edge, edge:-edge]
    return luma(values) if protocol.channels == "y" else values


def _blurred(image: np.ndarray) -> np.ndarray:
    line = cv2.getGaussianKernel(_WINDOW, _SIGMA)
    edge = _WINDOW // 2
    blurred: np.ndarray = cv2.sepFilter2D(image, -1, line, line)[edge:-edge, edge:-edge]
    return blurred


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
