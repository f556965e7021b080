"""Frames in a row, marks on a frame, and maps of errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.errors import InputError, UsageError

__all__ = [
    "FONT",
    "Picture",
    "checked_image",
    "checked_scale",
    "error_legend",
    "error_to_rgb",
    "mask_overlay",
    "side_by_side",
]

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB, or (H, W) grey where a function says so."""

FONT = cv2.FONT_HERSHEY_SIMPLEX
_GAP_GREY, _UNKNOWN_GREY = 24, 128


def side_by_side(images: Sequence[np.ndarray], labels: Sequence[str] = (), *, gap: int = 4) -> Picture:
    """Put pictures in a row.

    Args:
        images: uint8 (H, W, 3) RGB or (H, W) grey; shorter ones are filled up below.
        labels: a word for each, written into its upper left corner; none for no words.
        gap: dark pixels between two pictures.

    Returns:
        (H, W, 3) RGB.

    Raises:
        UsageError: when there are no images, or their number differs from that of the labels.
        InputError: when one is not an 8-bit image.
    """
    if not images or (labels and len(labels) != len(images)):
        raise UsageError(f"side by side: {len(images)} images and {len(labels)} labels")
    height = max(image.shape[0] for image in images)
    width = sum(image.shape[1] for image in images) + gap * (len(images) - 1)
    row = np.full((height, width, 3), _GAP_GREY, np.uint8)
    left = 0
    for index, image in enumerate(images):
        place = row[: image.shape[0], left : left + image.shape[1]]
        place[:] = _with_channels(image)
        if labels:
            _label(place, labels[index])
        left += image.shape[1] + gap
    return row


def _with_channels(image: np.ndarray) -> Picture:
    """(H, W, 3), or (H, W, 1) for grey, which broadcasts."""
    image = checked_image(image)
    return image[..., None] if image.ndim == 2 else image


def _label(picture: Picture, text: str) -> None:
    """Write white text on a darkened patch in the upper left corner, if there is room for it to be read."""
    text = text.encode("ascii", "replace").decode()
    scale = min(max(picture.shape[0] / 620, 0.36), 1.6)
    thickness = max(1, round(scale * 1.5))
    (width, height), base = cv2.getTextSize(text, FONT, scale, thickness)
    margin = max(4, round(height * 0.55))
    bottom, right = height + base // 2 + 2 * margin, width + 2 * margin
    if not text or bottom > picture.shape[0] or right > picture.shape[1]:
        return
    patch = np.ascontiguousarray((picture[:bottom, :right] * 0.38).astype(np.uint8))
    cv2.putText(patch, text, (margin, margin + height), FONT, scale, (255,) * 3, thickness, cv2.LINE_AA)
    picture[:bottom, :right] = patch


def error_to_rgb(
    error: np.ndarray, *, max_error: float | None = None, valid: np.ndarray | None = None
) -> Picture:
    """Show how wrong a result is, pixel by pixel: black is right, over purple and orange to yellow is wrong.

    Args:
        error: (H, W), 0 or above, such as endpoint errors in pixels.
        max_error: shown in the brightest colour, as are larger ones; None takes the largest in this map.
        valid: (H, W) bool; where False, or where the error is not finite, the colour is middle grey.

    Returns:
        (H, W, 3) RGB.

    Raises:
        InputError: when the shapes are wrong.
        UsageError: when `max_error` is not above 0.
    """
    if error.ndim != 2 or (valid is not None and valid.shape != error.shape):
        raise InputError(f"the errors have shape {error.shape}; they and valid must be (H, W)")
    known = np.isfinite(error) if valid is None else np.isfinite(error) & valid.astype(bool)
    values = np.where(known, error, 0).astype(np.float32)
    levels = np.clip(values / checked_scale(max_error, "max_error", values), 0, 1) * 255
    picture = cv2.cvtColor(
        cv2.applyColorMap(np.rint(levels).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB
    )
    picture[~known] = _UNKNOWN_GREY
    return np.asarray(picture, np.uint8)


def error_legend(size_hw: tuple[int, int], *, max_error: float) -> Picture:
    """Draw the colours of `error_to_rgb` from no error at the left to `max_error` at the right.

    Args:
        size_hw: height and width of the picture, in pixels.
        max_error: the scale, as given to `error_to_rgb`.

    Returns:
        (H, W, 3) RGB.

    Raises:
        UsageError: when `max_error` is not above 0.
    """
    ramp = np.linspace(0, checked_scale(max_error, "max_error", np.empty(0)), size_hw[1])
    return error_to_rgb(np.broadcast_to(ramp, size_hw), max_error=max_error)


def mask_overlay(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    colour: tuple[int, int, int] = (255, 72, 40),
    strength: float = 0.7,
) -> Picture:
    """Mark pixels of a frame, such as the occluded ones; the rest becomes pale grey, so that they stand out.

    Args:
        image: uint8 (H, W, 3) RGB or (H, W) grey.
        mask: (H, W) bool, the pixels to mark.
        colour: of the mark.
        strength: how much of the mark's colour, from 0 to 1.

    Returns:
        (H, W, 3) RGB.

    Raises:
        InputError: when the shapes are wrong.
    """
    rgb = np.broadcast_to(_with_channels(image), (*image.shape[:2], 3)).astype(np.float32)
    if mask.shape != rgb.shape[:2]:
        raise InputError(f"the mask has shape {mask.shape}, the image {rgb.shape[:2]}")
    grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    pale = np.repeat((70 + 0.6 * grey)[..., None], 3, axis=2)
    marked = (1 - strength) * grey[..., None] + strength * np.array(colour, np.float32)
    picture = np.where(mask.astype(bool)[..., None], marked, pale)
    return np.asarray(np.rint(np.clip(picture, 0, 255)), np.uint8)


def checked_image(image: np.ndarray) -> Picture:
    """Check that an array is an 8-bit picture.

    Args:
        image: should be uint8 (H, W, 3) RGB or (H, W) grey.

    Returns:
        The array itself.

    Raises:
        InputError: when it is something else.
    """
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise InputError(f"expected a uint8 (H, W, 3) or (H, W) image, got {image.dtype} {image.shape}")
    return image


def checked_scale(given: float | None, name: str, values: np.ndarray) -> float:
    """The value that is shown in the brightest colour.

    Args:
        given: as asked for, above 0; None for the largest of the values.
        name: of the argument, for the message.
        values: any shape, finite, 0 or above.

    Returns:
        A number above 0; 1 where all values are 0.

    Raises:
        UsageError: when it is not above 0, or not finite.
    """
    if given is None:
        return float(values.max(initial=0)) or 1.0
    if not (math.isfinite(given) and given > 0):
        raise UsageError(f"{name} is {given}; it must be a number above 0")
    return given
