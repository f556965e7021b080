"""Images as bytes: PNM by our own coder, everything else by OpenCV, always RGB and upright."""

from __future__ import annotations

import cv2
import numpy as np

from kinema.errors import InputError, OutputError
from kinema.io.formats.image_headers import ImageHeader, inspect_image
from kinema.io.formats.pnm import decode_pnm, encode_pnm
from kinema.io.formats.quiet import quiet_opencv

__all__ = ["decode_image", "encode_image"]

_QUALITY = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 95],
}
# IMREAD_UNCHANGED would keep palettes and alpha; without ANYDEPTH 16 bits become 8. The rotation is done
# here, by one rule for all formats, so that image_size_hw needs no decoding.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


def decode_image(data: bytes, *, name: str) -> np.ndarray:
    """Decode the content of an image file.

    Args:
        data: the file.
        name: its name, for messages.

    Returns:
        (H, W, 3) RGB, contiguous; uint8 or uint16 as stored. See `kinema.io.images.read_image`.

    Raises:
        InputError: the data are damaged, of another format, or hold floating point or signed numbers.
    """
    header = inspect_image(data, name=name)
    image = _decode_pnm(header, name) if header.kind == "pnm" else _decode_with_opencv(header, name)
    return np.ascontiguousarray(image)


def encode_image(image: np.ndarray, suffix: str, *, name: str) -> bytes:
    """Encode an image; JPEG and WebP with quality 95, the others without loss.

    Args:
        image: (H, W) grey or (H, W, 3) RGB, uint8 or uint16, of a kind that the format can hold.
        suffix: says the format: one of `kinema.io.images.IMAGE_SUFFIXES`, lower case.
        name: the file's name, for messages.

    Returns:
        The content of the file.

    Raises:
        OutputError: the encoder refuses the image.
    """
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
        raise OutputError(f"{name} cannot be encoded as {suffix}; use .png")
    return data.tobytes()


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
