"""MATLAB .mat (version 5): SciPy encodes and decodes; what is read has had its structure checked before."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kinema.errors import InputError, MissingExtraError
from kinema.io.files import read_bytes, write_bytes
from kinema.io.formats.flow_field import FlowField, checked_flow, known_flow

__all__ = ["read_mat_flow", "write_mat", "write_mat_flow"]

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_SAMPLE_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # by data type
_NUMERIC_CLASSES = range(6, 16)  # double, single, int8 to uint64
_COMPLEX = 0x0800
_DEFLATE_RATIO = 1032  # a deflate stream of n bytes holds at most this times as many
_LARGEST = 2**32


def read_mat_flow(path: Path | str) -> FlowField:
    """Read flow from the array ``flow`` of a MATLAB file of version 5 (``-v6`` or ``-v7``).

    Args:
        path: the file; ``flow`` is real, (H, W, 2), x to the right and y down.

    Returns:
        The flow in pixels; not valid where a component is not finite or beyond 1e9.

    Raises:
        InputError: the file is missing, damaged, of another version, or has no such array.
        MissingExtraError: SciPy is not installed.
    """
    scipy_io = _scipy_io()
    data = read_bytes(path)
    try:
        order = _checked_order(data)
        element = _flow_element(data, order)
        # SciPy sees this one array, plain and complete, behind a header that leaves it nothing to guess.
        single = b"MATLAB 5.0 MAT-file".ljust(124) + data[124:_HEADER_BYTES] + element
        flow = scipy_io.loadmat(io.BytesIO(single), variable_names=["flow"])["flow"]
    except (ValueError, TypeError, KeyError, struct.error, zlib.error, scipy_io.matlab.MatReadError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} holds no flow that can be read: {reason}; write it again") from None
    return known_flow(flow)


def write_mat(path: Path | str, arrays: Mapping[str, np.ndarray], *, overwrite: bool = True) -> None:
    """Write arrays of numbers as MATLAB has them by default: float64, and uint8 for what is true or false.

    Args:
        path: the file to be.
        arrays: by name; real numbers or booleans of any shape. Flow results use the names ``flow``,
            ``backward``, ``occluded``, ``confidence``.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: an array holds something else than real numbers.
        MissingExtraError: SciPy is not installed.
        OutputError: see `kinema.io.files.replacing`.
    """
    scipy_io = _scipy_io()
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise InputError(f"{path}: the array {name!r} is of type {array.dtype}; .mat holds numbers here")
    stored = {name: a.astype(np.uint8 if a.dtype == bool else np.float64) for name, a in arrays.items()}
    buffer = io.BytesIO()
    scipy_io.savemat(buffer, stored)
    write_bytes(path, buffer.getvalue(), overwrite=overwrite)


def write_mat_flow(
    path: Path | str, flow: np.ndarray, *, valid: np.ndarray | None = None, overwrite: bool = True
) -> None:
    """Write flow as the array ``flow`` of a MATLAB file of version 5: float64, (H, W, 2).

    Args:
        path: the file to be.
        flow: (H, W, 2) in pixels, x to the right and y down; rounded to float32 first, as everywhere.
        valid: (H, W) bool; where False, NaN is stored.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: wrong shapes, or values in valid pixels that are not finite or beyond 1e9.
        MissingExtraError: SciPy is not installed.
        OutputError: see `kinema.io.files.replacing`.
    """
    field = checked_flow(flow, valid, name=str(path))
    stored = np.where(field.valid[:, :, None], field.flow, np.float32(np.nan))
    write_mat(path, {"flow": stored}, overwrite=overwrite)


def _scipy_io() -> Any:
    try:
        import scipy.io
    except ImportError:
        raise MissingExtraError("scipy", "mat", "reading or writing .mat files") from None
    return scipy.io


def _checked_order(data: bytes) -> str:
    """Byte order of the file, from the end of its 128-byte header ("MAT-File Format", section 1)."""
    if data.startswith((b"MATLAB 7.3", b"\x89HDF\r\n\x1a\n")):
        raise ValueError("it is of MATLAB version 7.3, save it with -v7")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    # A zero among the first four bytes is how version 4 is told apart.
    if order is None or 0 in data[:4] or struct.unpack_from(f"{order}H", data, 124)[0] != 0x0100:
        raise ValueError("it is no MATLAB file of version 5")
    return order


def _flow_element(data: bytes, order: str) -> bytes:
    """The one array named ``flow``, uncompressed, when every length in it agrees with its dimensions."""
    found = []
    for kind, body in _elements(data, order):
        matrix = _inflated(body, order) if kind == _COMPRESSED else body
        if matrix is not None and _matrix_name(matrix, order) == b"flow":
            found.append(matrix)
    if len(found) != 1:
        raise ValueError("it has no array 'flow'" if not found else "it has two arrays 'flow'")
    _check_matrix(found[0], order)
    return struct.pack(f"{order}II", _MATRIX, len(found[0])) + found[0]


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and content of the elements after the header; the last one must end where the file does."""
    place = _HEADER_BYTES
    while place < len(data):
        kind, length = struct.unpack_from(f"{order}II", data, place)
        place += 8 + length
        if kind not in (_MATRIX, _COMPRESSED) or place > len(data):
            raise ValueError("it is cut off or damaged")
        yield kind, data[place - length : place]


def _inflated(body: bytes, order: str) -> bytes | None:
    """The array in a compressed element; None for an element that is no array."""
    stream = zlib.decompressobj()
    tag = stream.decompress(body, 8)
    kind, length = struct.unpack(f"{order}II", tag)
    if kind != _MATRIX:
        return None
    if length > min(_DEFLATE_RATIO * len(body), _LARGEST):
        raise ValueError(f"an array claims {length} bytes, more than it can hold")
    matrix = stream.decompress(stream.unconsumed_tail, length + 1)
    if len(matrix) != length or not stream.eof or stream.unused_data:
        raise ValueError("an array is cut off or damaged")
    return matrix


def _part(matrix: bytes, order: str, place: int) -> tuple[int, int, int, int]:
    """Type, first byte, length and end of a part of an array; up to four bytes may lie inside its tag."""
    (word,) = struct.unpack_from(f"{order}I", matrix, place)
    if word >> 16:
        kind, length, start, end = word & 0xFFFF, word >> 16, place + 4, place + 8
        if length > 4:
            raise ValueError("an array is damaged")
    else:
        kind, (length,), start = word, struct.unpack_from(f"{order}I", matrix, place + 4), place + 8
        end = start + (length + 7) // 8 * 8
    if start + length > len(matrix):
        raise ValueError("an array is cut off or damaged")
    return kind, start, length, end


def _matrix_name(matrix: bytes, order: str) -> bytes:
    *_, end = _part(matrix, order, 0)  # flags
    *_, end = _part(matrix, order, end)  # dimensions
    _, start, length, _ = _part(matrix, order, end)
    return matrix[start : start + length]


def _check_matrix(matrix: bytes, order: str) -> None:
    """Real numbers of shape (H, W, 2), exactly as many as there is room for."""
    kind, start, length, end = _part(matrix, order, 0)
    if (kind, length) != (6, 8):
        raise ValueError("'flow' is damaged")
    (flags,) = struct.unpack_from(f"{order}I", matrix, start)
    if flags & 0xFF not in _NUMERIC_CLASSES or flags & _COMPLEX:
        raise ValueError("'flow' is no array of real numbers")
    kind, start, length, end = _part(matrix, order, end)
    shape = struct.unpack_from(f"{order}{length // 4}i", matrix, start)
    if kind != 5 or len(shape) != 3 or shape[2] != 2 or min(shape) <= 0:
        raise ValueError(f"'flow' has shape {shape}, it must be (H, W, 2)")
    *_, end = _part(matrix, order, end)  # the name
    kind, _, length, end = _part(matrix, order, end)
    if length != shape[0] * shape[1] * 2 * _SAMPLE_BYTES.get(kind, 0) or end != len(matrix):
        raise ValueError(f"'flow' claims the shape {shape}, its length is another")
