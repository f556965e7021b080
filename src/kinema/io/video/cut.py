"""Whether a video file was cut short, from what its container promises: seen before anything is decoded."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

__all__ = ["missing_bytes"]

_MOST_BOXES = 100_000
_ISO_STARTS = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"})
_ISO_NEEDED = frozenset({b"moov", b"mdat", b"moof"})  # a cut inside a trailing comment loses nothing
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(path: Path) -> int:
    """How many bytes the container announces beyond the end of the file.

    Understands MP4 and QuickTime (top-level boxes), Matroska and WebM (segment size) and AVI (RIFF size).
    Live recordings that announce no size, and all other containers, count as complete.

    Args:
        path: an existing file.

    Returns:
        0 for a complete file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[4:8] in _ISO_STARTS:
            promised = _iso_end(file, size)
        elif start[:4] == _EBML:
            promised = _matroska_end(file)
        elif start[:4] == b"RIFF":
            promised = 8 + int.from_bytes(start[4:8], "little")
        else:
            promised = 0
    return max(0, promised - size)


def _iso_end(file: BinaryIO, size: int) -> int:
    """End of the first box that does not fit; ISO/IEC 14496-12 section 4.2."""
    position = 0
    for _ in range(_MOST_BOXES):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return 0
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < 8:  # 0: the box reaches to the end of the file, whatever that is
            return 0
        position += length
        if position > size:
            return position if kind in _ISO_NEEDED else 0
    return 0


def _matroska_end(file: BinaryIO) -> int:
    """End of the segment; RFC 8794 section 4, RFC 9559 section 4.5."""
    file.seek(4)
    header = _variable_size(file)
    if header is None:
        return 0
    file.seek(header, 1)
    if file.read(4) != _SEGMENT:
        return 0
    segment = _variable_size(file)
    return 0 if segment is None else file.tell() + segment


def _variable_size(file: BinaryIO) -> int | None:
    """The EBML variable-size integer at the file's position; None when it says unknown or is no integer."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    width = 9 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + file.read(width - 1), "big")
    return None if value == (1 << (7 * width)) - 1 else value
