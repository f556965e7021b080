"""TIFF directories: the layout of a TIFF image, and the orientation that EXIF stores in the same form."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["ORIENTATION", "exif_orientation", "first_directory", "with_value"]

ORIENTATION = 274
_INTEGER_CODES = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG
_MOST_VALUES = 16  # nothing that is asked for here is a longer list


def first_directory(data: bytes) -> dict[int, tuple[int, ...]]:
    """Unsigned integer entries of the first directory of a TIFF stream (TIFF 6.0, section 2).

    Args:
        data: the stream from its byte-order mark on.

    Returns:
        Values by tag; entries of another type, empty and longer lists, and what points outside are left out.

    Raises:
        ValueError: this is no TIFF stream, or it ends before its directory does.
    """
    entries: dict[int, tuple[int, ...]] = {}
    try:
        for order, tag, kind, length, place in _entries(data):
            values = _values(data, order, place, kind, length)
            if values is not None:
                entries.setdefault(tag, values)
    except struct.error:
        raise ValueError("it ends inside its TIFF directory") from None
    return entries


def with_value(data: bytes, tag: int, value: int) -> bytes:
    """Change a single number in the first directory of a TIFF stream.

    Args:
        data: a stream that `first_directory` accepts.
        tag: the entry; nothing happens where it is missing, or is no single SHORT or LONG.
        value: its new value.

    Returns:
        The changed stream.
    """
    for order, found, kind, length, place in _entries(data):
        if found == tag and kind in (3, 4) and length == 1:
            packed = struct.pack(f"{order}{_INTEGER_CODES[kind]}", value)
            return data[:place] + packed + data[place + len(packed) :]
    return data


def exif_orientation(block: bytes) -> int:
    """Orientation from an EXIF block (Exif 2.3, section 4.6.4).

    Args:
        block: EXIF data, with or without the six bytes "Exif" and two zeros before it.

    Returns:
        1 to 8; 1 (upright) where the block says nothing or is damaged.
    """
    try:
        values = first_directory(block.removeprefix(b"Exif\0\0")).get(ORIENTATION, (1,))
    except ValueError:
        return 1
    return values[0] if 1 <= values[0] <= 8 else 1


def _entries(data: bytes) -> Iterator[tuple[str, int, int, int, int]]:
    """Byte order, tag, type, number of values and place of the values of each entry."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise ValueError("no TIFF header")
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(f"{order}HHI", data, place)
        yield order, tag, kind, length, place + 8


def _values(data: bytes, order: str, place: int, kind: int, length: int) -> tuple[int, ...] | None:
    """The values of one entry: inside it when they fit in four bytes, else where it points to."""
    code = _INTEGER_CODES.get(kind)
    if code is None or not 0 < length <= _MOST_VALUES:
        return None
    layout = f"{order}{length}{code}"
    if struct.calcsize(layout) > 4:
        (place,) = struct.unpack_from(f"{order}I", data, place)
        if place + struct.calcsize(layout) > len(data):
            return None
    return struct.unpack_from(layout, data, place)
