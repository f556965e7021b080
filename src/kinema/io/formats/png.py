"""PNG as a list of chunks: checked before anything is decoded, and freed of what only makes decoders talk."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from kinema.io.formats.tiff import exif_orientation

__all__ = ["SIGNATURE", "Png", "parse_png"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEFLATE_RATIO = 1032  # a deflate stream of n bytes holds at most this times as many
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})


@dataclass(frozen=True)
class Png:
    """What a PNG says about itself, all of its chunks being whole.

    Attributes:
        size_hw: stored height and width, before any rotation.
        bit_depth: bits of one sample (of one index, with a palette).
        channels: samples of one pixel as stored: 1 grey or palette, 2 grey and alpha, 3 colour, 4 colour and
            alpha.
        has_palette: whether a sample is an index.
        orientation: EXIF orientation, 1 to 8.
        essential: the same picture with nothing but the chunks that make it: colour profiles and texts, about
            which decoders warn, are gone.
        trailing: bytes after the end of the picture.
    """

    size_hw: tuple[int, int]
    bit_depth: int
    channels: int
    has_palette: bool
    orientation: int
    essential: bytes
    trailing: int


def parse_png(data: bytes) -> Png:
    """Check a PNG stream as far as that goes without decoding it (PNG specification, section 5).

    Args:
        data: the file.

    Returns:
        Its header and the chunks worth decoding.

    Raises:
        ValueError: it is cut off, a checksum is wrong, or its header asks for more than its data can hold.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("it has no PNG signature")
    kept = [SIGNATURE]
    stored, end, orientation, header = 0, 0, 1, b""
    for kind, body, start, end in _chunks(data):
        if kind == b"IHDR" and not header:
            header = body
        elif kind == b"IDAT":
            stored += len(body)
        elif kind == b"eXIf":
            orientation = exif_orientation(body)
        if kind in _NEEDED:
            kept.append(data[start:end])
    width, height, depth, colour = _checked_header(header, stored)
    return Png(
        size_hw=(height, width),
        bit_depth=depth,
        channels=_CHANNELS[colour],
        has_palette=colour == 3,
        orientation=orientation,
        essential=b"".join(kept),
        trailing=len(data) - end,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Kind, body, first byte and end of every chunk up to IEND."""
    place = len(SIGNATURE)
    kind = b""
    while kind != b"IEND":
        if place + 12 > len(data):
            raise ValueError("it is cut off")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise ValueError("it is cut off")
        body = data[place + 8 : end - 4]
        if zlib.crc32(body, zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"a checksum is wrong at byte {place}")
        if place == len(SIGNATURE) and kind != b"IHDR":
            raise ValueError("its header is missing")
        yield kind, body, place, end
        place = end


def _checked_header(header: bytes, stored: int) -> tuple[int, int, int, int]:
    """Width, height, bit depth and colour type, when the stored bytes can hold them."""
    if len(header) != 13:
        raise ValueError("its header has a wrong length")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if width == 0 or height == 0 or width >= 2**31 or height >= 2**31:
        raise ValueError(f"its header says {width}x{height} pixels")
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise ValueError("its header has values that PNG does not know")
    needed = height * (1 + (width * _CHANNELS[colour] * depth + 7) // 8)
    if needed > _DEFLATE_RATIO * stored:
        raise ValueError(f"its header says {width}x{height} pixels, but it holds only {stored} bytes of them")
    return width, height, depth, colour
