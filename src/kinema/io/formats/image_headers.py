"""Image headers, read before anything is decoded: no small file may make a decoder ask for gigabytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kinema.errors import InputError
from kinema.io.formats.png import SIGNATURE, parse_png
from kinema.io.formats.pnm import parse_pnm
from kinema.io.formats.tiff import ORIENTATION, exif_orientation, first_directory, with_value

__all__ = ["MOST_PIXELS", "ImageHeader", "inspect_image"]

MOST_PIXELS = 2**28
# Pixels of one colour cost nothing in WebP and in some kinds of TIFF: this many are believed.
_ALLOWANCE = 2**25
_TIFF_RATIO = 4096
_ROWS_PER_STRIP, _EXTRA_SAMPLES = 278, 338
_JPEG_PIXELS_PER_BYTE = 2048  # one bit for each 8x8 block, with room for arithmetic coding
_WEBP_PIXELS_PER_BYTE = 8192

Kind = Literal["png", "jpeg", "pnm", "tiff", "webp", "bmp"]


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says about itself, as far as its size makes it believable.

    Attributes:
        kind: the format, from the content; the name of the file does not matter.
        stored_hw: height and width as stored.
        orientation: EXIF orientation, 1 to 8; 5 and above exchange height and width.
        bits: of one sample, as stored.
        data: what to hand to a decoder.
    """

    kind: Kind
    stored_hw: tuple[int, int]
    orientation: int
    bits: int
    data: bytes

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width after rotation."""
        height, width = self.stored_hw
        return (width, height) if self.orientation >= 5 else (height, width)


def inspect_image(data: bytes, *, name: str) -> ImageHeader:
    """Read the header of an image file.

    Args:
        data: the file.
        name: its name, for messages.

    Returns:
        The header.

    Raises:
        InputError: the format is not known, or the header is damaged, or asks for more than the file can
            hold.
    """
    try:
        header = _header(data)
        if header is None:
            raise InputError(
                f"{name} is not an image that kinema reads; use PNG, JPEG, PPM, TIFF, WebP or BMP"
            )
        height, width = header.stored_hw
        if height <= 0 or width <= 0:
            raise ValueError(f"its header says {width}x{height} pixels")
        if height * width > MOST_PIXELS:
            raise ValueError(f"its header says {width}x{height} pixels; at most {MOST_PIXELS} are read")
    except struct.error:
        raise InputError(f"{name} cannot be used: it is cut off; copy or export it again") from None
    except ValueError as error:
        raise InputError(f"{name} cannot be used: {error}; copy or export it again") from None
    return header


def _header(data: bytes) -> ImageHeader | None:
    if data.startswith(SIGNATURE):
        png = parse_png(data)
        return ImageHeader("png", png.size_hw, png.orientation, png.bit_depth, png.essential)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data[:2] in (b"P2", b"P3", b"P5", b"P6"):
        pnm = parse_pnm(data)
        return ImageHeader("pnm", pnm.size_hw, 1, 16 if pnm.maximum > 255 else 8, data)
    if data.startswith((b"II*\0", b"MM\0*")):
        return _tiff(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    return None


def _jpeg(data: bytes) -> ImageHeader:
    """ITU T.81, annex B: segments up to the first scan, which some end-of-image marker must follow."""
    size_hw, orientation = None, 1
    for marker, start, length in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and size_hw is None:
            size_hw = struct.unpack_from(">HH", data, start + 1)
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", start):
            orientation = exif_orientation(data[start : start + length])
    if size_hw is None:
        raise ValueError("it has no frame header")
    _check_believable(size_hw, _JPEG_PIXELS_PER_BYTE * len(data))
    return ImageHeader("jpeg", (size_hw[0], size_hw[1]), orientation, 8, data)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, first byte and length of each segment before the first scan."""
    place = 2
    while True:
        filled, marker = struct.unpack_from("BB", data, place)
        if filled != 0xFF:
            raise ValueError(f"a marker is missing at byte {place}")
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        place += 2
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            continue
        (length,) = struct.unpack_from(">H", data, place)
        if marker == 0xD9 or length < 2:
            raise ValueError(f"it has no picture after byte {place}")
        yield marker, place + 2, length - 2
        place += length
        if marker == 0xDA:
            if data.find(b"\xff\xd9", place) < 0:
                raise ValueError("it is cut off")
            return


def _tiff(data: bytes) -> ImageHeader:
    """TIFF 6.0: the first directory; samples are compressed in many ways, of which the best is believed."""
    entries = first_directory(data)
    (width, *_), (height, *_) = entries.get(256, (0,)), entries.get(257, (0,))
    samples, bits = max(entries.get(277, (1,))), max(entries.get(258, (1,)))
    orientation = entries.get(ORIENTATION, (1,))[0]
    limit = _TIFF_RATIO * len(data) + _ALLOWANCE
    if width * height * max(1, samples * bits // 8) > limit:
        raise ValueError(f"its header says {width}x{height} pixels, but the file has only {len(data)} bytes")
    if entries.get(322, (0,))[0] * entries.get(323, (0,))[0] * max(1, samples * bits // 8) > limit:
        raise ValueError("its tiles are larger than the file can hold")
    if not 1 <= orientation <= 8:
        orientation = 1
    # A strip that claims more rows than there are makes OpenCV reserve them; unassociated alpha (2), which it
    # would multiply into the colours, is declared as associated (1).
    if entries.get(_ROWS_PER_STRIP, (0,))[0] > height:
        data = with_value(data, _ROWS_PER_STRIP, height)
    if entries.get(_EXTRA_SAMPLES) == (2,):
        data = with_value(data, _EXTRA_SAMPLES, 1)
    return ImageHeader("tiff", (height, width), orientation, bits, data)


def _webp(data: bytes) -> ImageHeader:
    """RFC 9649: lossy, lossless, or extended with a canvas size and EXIF."""
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise ValueError("it is cut off")
    kind, orientation = data[12:16], 1
    if kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        struct.unpack_from("30s", data)
        width, height = (1 + int.from_bytes(data[place : place + 3], "little") for place in (24, 27))
        orientation = _webp_orientation(data)
    else:
        raise ValueError("its first chunk is unknown")
    _check_believable((height, width), _WEBP_PIXELS_PER_BYTE * len(data) + _ALLOWANCE)
    return ImageHeader("webp", (height, width), orientation, 8, data)


def _webp_orientation(data: bytes) -> int:
    place = 12
    while place + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, place)
        if kind == b"EXIF":
            return exif_orientation(data[place + 8 : place + 8 + length])
        place += 8 + length + length % 2
    return 1


def _bmp(data: bytes) -> ImageHeader:
    """Windows and OS/2 bitmaps; a negative height means rows from the top."""
    (header_length,) = struct.unpack_from("<I", data, 14)
    if header_length == 12:
        (width, height, _, bits), compression = struct.unpack_from("<HHHH", data, 18), 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    if compression in (1, 2):  # run lengths: one byte says at most 255 pixels
        _check_believable((height, width), 255 * len(data))
    elif height * ((width * bits + 31) // 32 * 4) > len(data):
        raise ValueError(f"its header says {width}x{height} pixels, but the file has only {len(data)} bytes")
    return ImageHeader("bmp", (height, width), 1, 8, data)


def _check_believable(size_hw: tuple[int, ...], most_pixels: int) -> None:
    height, width = size_hw
    if height * width > most_pixels:
        raise ValueError(f"its header says {width}x{height} pixels, more than a file of this size can hold")
