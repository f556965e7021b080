"""Images in and out: 8 and 16 bit, always RGB, always upright."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from kinema.errors import InputError, OutputError, UsageError
from kinema.io.files import read_bytes, write_bytes
from kinema.io.image_headers import ImageHeader, inspect_image
from kinema.io.pnm import decode_pnm, encode_pnm
from kinema.io.quiet import quiet_opencv

__all__ = ["IMAGE_SUFFIXES", "decode_image", "image_size_hw", "read_image", "to_unit_float", "write_image"]

IMAGE_SUFFIXES: frozenset[str] = frozenset(
    {".png", ".jpg", ".jpeg", ".ppm", ".pgm", ".pnm", ".tif", ".tiff", ".bmp", ".webp"}
)
_WRITTEN = IMAGE_SUFFIXES - {".pnm"}
_SIXTEEN_BIT = frozenset({".png", ".ppm", ".pgm", ".tif", ".tiff"})
_LONGEST_SIDE = {".jpg": 65535, ".jpeg": 65535, ".webp": 16383}
_QUALITY = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
}
# IMREAD_UNCHANGED would keep palettes and alpha; without ANYDEPTH 16 bits become 8. The rotation is done
# here, by one rule for all formats, so that image_size_hw needs no decoding.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


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


def decode_image(data: bytes, *, name: str) -> np.ndarray:
    """Decode the content of an image file.

    Args:
        data: the file.
        name: its name, for messages.

    Returns:
        (H, W, 3) RGB, as `read_image` gives.

    Raises:
        InputError: see `read_image`.
    """
    header = inspect_image(data, name=name)
    image = _decode_pnm(header, name) if header.kind == "pnm" else _decode_with_opencv(header, name)
    return np.ascontiguousarray(image)


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
    write_bytes(path, _encode(path, suffix, image), overwrite=overwrite)


def to_unit_float(image: np.ndarray) -> np.ndarray:
    """Image values as float32 in [0, 1].

    Args:
        image: any shape; uint8 (divided by 255), uint16 (divided by 65535), or floating point within [0, 1].

    Returns:
        float32 of the same shape; a float32 array comes back as it is, not copied.

    Raises:
        InputError: another type, a value outside [0, 1], or one that is not finite.
    """
    if image.dtype in (np.uint8, np.uint16):
        scaled: np.ndarray = np.divide(image, np.iinfo(image.dtype).max, dtype=np.float32)
        return scaled
    if image.dtype.kind != "f":
        raise InputError(f"an image of type {image.dtype} was given; use uint8, uint16, or floats in [0, 1]")
    if image.size and not (image.min() >= 0 and image.max() <= 1):  # written so that NaN fails too
        raise InputError(
            f"a floating point image has values from {image.min():g} to {image.max():g}; scale it to [0, 1]"
        )
    return image.astype(np.float32, copy=False)


def _decode_pnm(header: ImageHeader, name: str) -> np.ndarray:
    try:
        image = decode_pnm(header.data)
    except ValueError as error:
        raise InputError(f"{name} cannot be used: {error}; copy or export it again") from None
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _decode_with_opencv(header: ImageHeader, name: str) -> np.ndarray:
    try:
        with quiet_opencv():
            image = cv2.imdecode(np.frombuffer(header.data, np.uint8), _FLAGS)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(
            f"{name} cannot be decoded: it is damaged or of an unusual kind; export it as PNG again"
        )
    if image.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{name} holds {image.dtype} samples; export it with 8 or 16 bit unsigned ones")
    if header.bits > 8 * image.itemsize or 8 < header.bits < 16:  # 12 bits would come out dark, unscaled
        raise InputError(f"{name} is a rare kind of image of {header.bits} bits; export it as 16-bit PNG")
    # The colour order is exchanged here: OpenCV 5.0 ignores IMREAD_COLOR_RGB for 16-bit TIFF.
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if header.kind != "tiff":  # OpenCV's TIFF reader always rotates, whatever the flags say
        image = _upright(image, header.orientation)
    if image.shape[:2] != header.size_hw:
        raise InputError(f"{name} cannot be used: its header and its picture differ in size; export it again")
    return image


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation: 5 to 8 are transposed, then rows and columns may run backwards."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


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


def _encode(path: Path, suffix: str, image: np.ndarray) -> bytes:
    if suffix == ".pgm":
        return encode_pnm(image)
    if suffix == ".ppm":
        return encode_pnm(image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2))
    bgr = image if image.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    try:
        with quiet_opencv():
            done, data = cv2.imencode(suffix, np.ascontiguousarray(bgr), _QUALITY.get(suffix, []))
    except cv2.error:
        done = False
    if not done:
        raise OutputError(f"{path} cannot be encoded as {suffix}; use .png")
    return data.tobytes()
