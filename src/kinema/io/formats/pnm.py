"""PGM and PPM, read and written here because decoders differ on what the maximum value means."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

__all__ = ["Pnm", "decode_pnm", "encode_pnm", "parse_pnm"]

_GAP = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(
    rb"P([2356])" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,10})" + _GAP + rb"(\d{1,5})[ \t\r\n\v\f]"
)
_LONGEST_HEADER = 4096


@dataclass(frozen=True)
class Pnm:
    """Header of a PGM or PPM file.

    Attributes:
        size_hw: height and width in pixels.
        channels: 1 (PGM) or 3 (PPM).
        maximum: the sample value that means white, 1 to 65535.
        ascii_digits: whether samples are written as decimal numbers.
        start: the first byte of the samples.
    """

    size_hw: tuple[int, int]
    channels: int
    maximum: int
    ascii_digits: bool
    start: int


def parse_pnm(data: bytes) -> Pnm:
    """Check the header of a PGM or PPM file against the bytes that follow (netpbm's pgm(5) and ppm(5)).

    Args:
        data: the file.

    Returns:
        The header.

    Raises:
        ValueError: the header is malformed, or asks for more samples than there are.
    """
    match = _HEADER.match(data[:_LONGEST_HEADER])
    if match is None:
        raise ValueError("its header is not that of a PGM or PPM file")
    kind, width, height, maximum = (int(group) for group in match.groups())
    if not (width and height and 0 < maximum < 65536):
        raise ValueError(f"its header says {width}x{height} pixels with maximum {maximum}")
    channels, ascii_digits = 3 if kind in (3, 6) else 1, kind in (2, 3)
    rest = len(data) - match.end()
    count = width * height * channels
    needed = 2 * count - 1 if ascii_digits else count * (2 if maximum > 255 else 1)
    if needed > rest:
        raise ValueError(
            f"it is cut off: its header says {width}x{height} pixels, {rest} bytes of them are there"
        )
    return Pnm((height, width), channels, maximum, ascii_digits, match.end())


def decode_pnm(data: bytes) -> np.ndarray:
    """Decode a PGM or PPM file; a maximum other than 255 or 65535 is scaled up to it.

    Args:
        data: the file.

    Returns:
        (H, W) or (H, W, 3) RGB; uint8 for a maximum up to 255, else uint16.

    Raises:
        ValueError: the file is malformed, cut off, or a sample exceeds the maximum.
    """
    header = parse_pnm(data)
    count = header.size_hw[0] * header.size_hw[1] * header.channels
    if header.ascii_digits:
        samples = _ascii_samples(data[header.start :], count)
    else:
        stored = np.dtype(">u2" if header.maximum > 255 else "u1")
        samples = np.frombuffer(data, stored, count, header.start)
    if int(samples.max()) > header.maximum:
        raise ValueError(f"it holds the value {int(samples.max())}, above its own maximum {header.maximum}")
    kind, white = (np.uint16, 65535) if header.maximum > 255 else (np.uint8, 255)
    if header.maximum != white:
        samples = (samples.astype(np.int64) * white + header.maximum // 2) // header.maximum
    shape = header.size_hw if header.channels == 1 else (*header.size_hw, 3)
    return samples.astype(kind).reshape(shape)


def encode_pnm(image: np.ndarray) -> bytes:
    """Encode as binary PGM or PPM.

    Args:
        image: (H, W) or (H, W, 3) RGB, uint8 or uint16.

    Returns:
        The file.
    """
    magic = "P5" if image.ndim == 2 else "P6"
    maximum = np.iinfo(image.dtype).max
    stored = image.astype(image.dtype.newbyteorder(">"))
    return f"{magic}\n{image.shape[1]} {image.shape[0]}\n{maximum}\n".encode() + stored.tobytes()


def _ascii_samples(text: bytes, count: int) -> np.ndarray:
    """Decimal samples; comments may stand between them."""
    words = re.sub(rb"#[^\r\n]*", b" ", text).split(maxsplit=count)[:count]
    if len(words) < count:
        raise ValueError(f"it is cut off: {len(words)} of {count} samples are there")
    if any(not word.isdigit() or len(word) > 5 for word in words):
        raise ValueError("a sample is not a number up to 65535")
    return np.array([int(word) for word in words], np.int64)
