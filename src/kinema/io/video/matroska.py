"""The shape of pixels in Matroska and WebM headers, which PyAV has no way to hand to FFmpeg's muxer."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

__all__ = ["ROOM", "declare_pixel_aspect"]

ROOM = " " * 24
"""A track title that keeps room in the header; `declare_pixel_aspect` puts the shape there instead."""

_SEGMENT, _TRACKS, _TRACK, _VIDEO = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_TITLE, _VOID, _CHECKSUM = b"\x53\x6e", b"\xec", b"\xbf"
_HEADER_BYTES = 2**20  # the tracks come before the pictures, within the first kilobytes


def declare_pixel_aspect(path: Path, size_hw: tuple[int, int], aspect: Fraction) -> None:
    """Say in a finished file that its pixels are not square (RFC 9559, section 5.1.4.1.28).

    Nothing moves: the first track's display size takes the place of its title.

    Args:
        path: a file whose first track is a video with the title `ROOM`.
        size_hw: height and width of its pictures in pixels.
        aspect: width of one pixel over its height. The width on the screen is rounded to whole pixels.

    Raises:
        ValueError: the file is laid out in another way.
    """
    with path.open("r+b") as file:
        data = file.read(_HEADER_BYTES)
        _, start, end = _find(data, 0, len(data), _SEGMENT)
        _, tracks, tracks_end = _find(data, start, min(end, len(data)), _TRACKS)
        _, track, track_end = _find(data, tracks, tracks_end, _TRACK)
        entry = _with_display_size(data[track:track_end], size_hw, aspect)
        file.seek(track)
        file.write(entry)
        kind, checksum, checked = next(_elements(data, tracks, tracks_end))
        if kind == _CHECKSUM:
            rest = data[checked:track] + entry + data[track_end:tracks_end]
            file.seek(checksum)
            file.write(zlib.crc32(rest).to_bytes(4, "little"))


def _with_display_size(track: bytes, size_hw: tuple[int, int], aspect: Fraction) -> bytes:
    """The same track, as long as before, with a display size and without a title."""
    changed = b""
    for kind, start, end in _elements(track, 0, len(track)):
        content = track[start:end]
        if kind == _VIDEO:
            stated = (_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT)
            kept = [(k, content[a:b]) for k, a, b in _elements(content, 0, len(content)) if k not in stated]
            shown = (_DISPLAY_WIDTH, round(size_hw[1] * aspect)), (_DISPLAY_HEIGHT, size_hw[0])
            kept += [(k, min(max(1, value), 0xFFFFFF).to_bytes(3, "big")) for k, value in shown]
            content = b"".join(_element(k, inner) for k, inner in kept)
        if kind != _TITLE:
            changed += _element(kind, content)
    spare = len(track) - len(changed) - 2
    if not 0 <= spare < 127:
        raise ValueError("no room for the shape of the pixels in the header")
    return changed + _element(_VOID, bytes(spare))


def _find(data: bytes, start: int, end: int, wanted: bytes) -> tuple[bytes, int, int]:
    for element in _elements(data, start, end):
        if element[0] == wanted:
            return element
    raise ValueError("no Matroska file as expected")


def _elements(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Identifier, first byte and end of the content of each element (RFC 8794, section 6)."""
    while start < end:
        width = 9 - data[start].bit_length()
        kind, start = data[start : start + width], start + width
        width = 9 - data[start].bit_length()
        length = int.from_bytes(data[start : start + width], "big") & ((1 << 7 * width) - 1)
        start += width
        yield kind, start, start + length
        start += length


def _element(kind: bytes, content: bytes) -> bytes:
    """Identifier, length in as few bytes as possible, content."""
    width = 1
    while len(content) >= (1 << 7 * width) - 1:
        width += 1
    return kind + (len(content) | 1 << 7 * width).to_bytes(width, "big") + content
