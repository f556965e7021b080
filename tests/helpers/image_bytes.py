"""Image and flow files built byte by byte from their specifications, apart from the code under test."""

from __future__ import annotations

import struct
import zipfile
import zlib
from io import BytesIO

import cv2
import numpy as np


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, *, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG of scan lines that carry their filter byte; `before` and `after` are whole chunks around IDAT."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + before
        + png_chunk(b"IDAT", zlib.compress(rows))
        + after
        + png_chunk(b"IEND", b"")
    )


def png_of(samples: np.ndarray, *, colour: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of (H, W) or (H, W, C) samples, 8 or 16 bit, without filtering."""
    height, width = samples.shape[:2]
    stored = samples.reshape(height, -1).astype(samples.dtype.newbyteorder(">"))
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    return png(width, height, samples.itemsize * 8, colour, rows, before=before, after=after)


def exif(orientation: int, *, order: str = "<") -> bytes:
    """A TIFF stream with nothing but an orientation."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHIHH", 274, 3, 1, orientation, 0)
    return mark + struct.pack(f"{order}IH", 8, 1) + entry + bytes(4)


def jpeg(image: np.ndarray, *, orientation: int | None = None, order: str = "<") -> bytes:
    """A JPEG of a BGR or grey image, with an EXIF segment when an orientation is given."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    if orientation is None:
        return data
    body = b"Exif\0\0" + exif(orientation, order=order)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def tiff(samples: np.ndarray, *, orientation: int = 1, sample_format: int = 1) -> bytes:
    """An uncompressed TIFF of one strip, (H, W) or (H, W, C)."""
    height, width = samples.shape[:2]
    count = 1 if samples.ndim == 2 else samples.shape[2]
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    entries = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [samples.itemsize * 8] * count),
        (259, 3, [1]),
        (262, 3, [1 if count < 3 else 2]),
        (273, 4, [8]),
        (274, 3, [orientation]),
        (277, 3, [count]),
        (278, 4, [height]),
        (279, 4, [len(data)]),
        *([(338, 3, [2])] if count in (2, 4) else []),
        (339, 3, [sample_format] * count),
    ]
    directory, tail = b"", b""
    place = 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        packed = struct.pack(f"<{len(values)}{'HI'[kind - 3]}", *values)
        if len(packed) > 4:
            packed, tail = struct.pack("<I", place + len(tail)), tail + packed
        directory += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    count_bytes = struct.pack("<H", len(entries))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + count_bytes + directory + bytes(4) + tail


def npy(descr: str, shape: tuple[int, ...], payload: bytes, *, fortran: bool = False) -> bytes:
    """An npy array of version 1.0 with any header one likes."""
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + payload


def npz(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def mat_element(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body)) + body + bytes(-len(body) % 8)


def mat_matrix(
    name: bytes, shape: tuple[int, ...], payload: bytes, *, kind: int = 9, mx_class: int = 6, flags: int = 0
) -> bytes:
    """A numeric array of a version 5 MAT file; payload in column order."""
    body = (
        mat_element(6, struct.pack("<II", mx_class | flags, 0))
        + mat_element(5, struct.pack(f"<{len(shape)}i", *shape))
        + mat_element(1, name)
        + mat_element(kind, payload)
    )
    return struct.pack("<II", 14, len(body)) + body


def mat(*elements: bytes, version: int = 0x0100) -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", version, b"IM") + b"".join(elements)


def mat_compressed(element: bytes) -> bytes:
    body = zlib.compress(element)
    return struct.pack("<II", 15, len(body)) + body
