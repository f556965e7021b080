"""Images in and out: 8 and 16 bit, always RGB, always upright."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from kinema.errors import InputError, UsageError
from kinema.io.files import read_bytes, write_bytes
from kinema.io.formats.image_codec import decode_image, encode_image
from kinema.io.formats.image_headers import inspect_image

__all__ = [
    "IMAGE_SUFFIXES",
    "check_unit_range",
    "encode_image",
    "image_size_hw",
    "read_image",
    "to_unit_float",
    "write_image",
]

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".pnm", ".tif", ".tiff", ".bmp", ".webp"}
)
_WRITTEN = IMAGE_SUFFIXES - {".pnm"}
_SIXTEEN_BIT = frozenset({".png", ".ppm", ".pgm", ".tif", ".tiff"})
_LONGEST_SIDE = {".jpg": 65535, ".jpeg": 65535, ".webp": 16383}


def read_image(path: Path | str) -> np.ndarray:
    """Read an image file; the format follows from the content.

    Grey is repeated in three channels, palettes are resolved, alpha is dropped (the colours are those stored
    below it), colour profiles are ignored, and the EXIF orientation is applied. Samples of PGM and PPM with
    another maximum than 255 or 65535 are scaled to it.

    Args:
        path: a PNG, JPEG, PPM, PGM, TIFF, WebP or BMP file.

    Returns:
        (H, W, 3) RGB, contiguous; uint8 or uint16 as stored.

    Raises:
        InputError: the file is missing, damaged, of another format, or holds floating point or signed
            numbers.
    """
    return decode_image(read_bytes(path), name=str(path))


def image_size_hw(path: Path | str) -> tuple[int, int]:
    """Size of an image without decoding it.

    Args:
        path: an image file.

    Returns:
        Height and width in pixels, after the EXIF orientation: the shape that `read_image` gives.

    Raises:
        InputError: the file is missing, or its header damaged or of another format.
    """
    return inspect_image(read_bytes(path), name=str(path)).size_hw


def write_image(path: Path | str, image: np.ndarray, *, overwrite: bool = True) -> None:
    """Write an image in the format of the suffix; only JPEG and WebP (quality 95) lose something.

    Args:
        path: a name that ends in .png .jpg .jpeg .ppm .pgm .tif .tiff .bmp or .webp.
        image: (H, W) grey or (H, W, 3) RGB; uint8, or uint16 for PNG, PPM, PGM and TIFF.
        overwrite: whether an existing file may be replaced.

    Raises:
        UsageError: the suffix is unknown, or its format cannot hold this image.
        OutputError: the file exists and may not be replaced, or its place is full or not writable.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    _check_can_hold(path, suffix, image)
    write_bytes(path, encode_image(image, suffix, name=str(path)), overwrite=overwrite)


def to_unit_float(image: np.ndarray, *, name: str = "the image") -> np.ndarray:
    """Image values as float32 in [0, 1].

    Args:
        image: any shape; uint8 (divided by 255), uint16 (divided by 65535), or floating point within [0, 1].
        name: what to call it in an error.

    Returns:
        float32 of the same shape; a float32 array comes back as it is, not copied.

    Raises:
        InputError: another type, a value outside [0, 1], or one that is not finite.
    """
    if image.dtype.kind == "u" and image.dtype.itemsize <= 2:
        scaled: np.ndarray = np.divide(image, np.iinfo(image.dtype).max, dtype=np.float32)
        return scaled
    if image.dtype.kind != "f":
        raise InputError(f"{name} is {image.dtype}: use uint8, uint16, or floating point in [0, 1]")
    if image.size:
        check_unit_range(float(image.min()), float(image.max()), name=name)
    return image.astype(np.float32, copy=False)


def check_unit_range(low: float, high: float, *, name: str) -> None:
    """Check that floating-point image values lie in [0, 1].

    Args:
        low: the smallest value.
        high: the largest value; NaN where any value is.
        name: what to call the image in an error.

    Raises:
        InputError: when they do not, or are not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{name} holds values that are not finite (NaN or infinity)")
    if low < 0 or high > 1:
        advice = "divide by 255, or give uint8" if low >= 0 and 1 < high <= 255 else "scale it"
        raise InputError(
            f"{name} has values from {low:g} to {high:g}: floating-point images are in [0, 1]; {advice}"
        )


def _check_can_hold(path: Path, suffix: str, image: np.ndarray) -> None:
    if suffix not in _WRITTEN:
        raise UsageError(f"{path}: unknown image suffix {suffix!r}; use one of {' '.join(sorted(_WRITTEN))}")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3) or image.size == 0:
        raise UsageError(f"{path}: an image of shape {image.shape} was given; use (H, W) or (H, W, 3)")
    if image.dtype not in (np.uint8, np.uint16):
        raise UsageError(f"{path}: an image of type {image.dtype} was given; use uint8 or uint16")
    if image.dtype == np.uint16 and suffix not in _SIXTEEN_BIT:
        raise UsageError(f"{path}: {suffix} holds 8 bits only; use .png, .tiff or .ppm for 16")
    if suffix == ".pgm" and image.ndim == 3:
        raise UsageError(f"{path}: .pgm holds grey images only; use .ppm or .png")
    longest = _LONGEST_SIDE.get(suffix)
    if longest is not None and max(image.shape) > longest:
        raise UsageError(f"{path}: {suffix} holds at most {longest} pixels a side; use .png")
