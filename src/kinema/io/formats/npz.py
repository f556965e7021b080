"""npz: named arrays of numbers in a zip file, read without trust in any size that is written in it."""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from kinema.errors import InputError
from kinema.io.files import file_size, open_bytes, reading, replacing
from kinema.io.formats.flow_field import FlowField, checked_flow, known_flow

__all__ = ["read_npz", "read_npz_flow", "write_npz", "write_npz_flow"]

_DEFLATE_RATIO = 1032  # a deflate stream of n bytes holds at most this times as many
_LARGEST_MEMBER = 2**32
_LONGEST_HEADER = 4096
_CHUNK = 2**20
_NUMBERS = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248])")
_FIELD = re.compile(r"\s*'(descr|fortran_order|shape)'\s*:\s*('[^']*'|True|False|\([\d,\s]*\))\s*(?:,|$)")
_END_OF_ZIP = struct.Struct("<4s16xH")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # no clock in the file: the same arrays give the same bytes
# What zipfile and zlib raise on damaged files, apart from OSError.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def read_npz(path: Path | str, *, keys: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an npz file. Only numbers and booleans are read: no text, no records, no pickle.

    Args:
        path: the file.
        keys: the arrays wanted, as far as they are there; None for all.

    Returns:
        The arrays by name, in native byte order.

    Raises:
        InputError: the file is missing, damaged, or claims more than it holds, or a wanted array is no array
            of numbers.
    """
    size = file_size(path)
    try:
        with reading(path), open_bytes(path) as file:
            _check_frame(file, size)
            with zipfile.ZipFile(file) as archive:
                wanted = _members(archive, size)
                return {n: _read_member(archive, m) for n, m in wanted.items() if keys is None or n in keys}
    except _ZIP_ERRORS as error:
        raise InputError(f"{path} is no whole npz file: {error}; copy or write it again") from None


def write_npz(path: Path | str, arrays: Mapping[str, np.ndarray], *, overwrite: bool = True) -> None:
    """Write arrays of numbers as compressed npz, which ``numpy.load`` reads; same arrays, same bytes.

    Args:
        path: the file to be.
        arrays: by name; numbers or booleans of any shape. Flow results use the names ``flow``, ``backward``,
            ``occluded``, ``confidence``.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: an array holds something else than numbers.
        OutputError: see `kinema.io.files.replacing`.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise InputError(f"{path}: the array {name!r} is of type {array.dtype}; npz holds numbers here")
    with replacing(path, overwrite=overwrite) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=False)


def read_npz_flow(path: Path | str) -> FlowField:
    """Read flow from the key ``flow`` of an npz file, with the mask of the key ``valid`` where there is one.

    Args:
        path: the file.

    Returns:
        The flow in pixels; not valid where ``valid`` is 0, or a component is not finite or beyond 1e9.

    Raises:
        InputError: see `read_npz`; also when ``flow`` is missing or is not (H, W, 2).
    """
    arrays = read_npz(path, keys=("flow", "valid"))
    flow = arrays.get("flow")
    if flow is None:
        raise InputError(f"{path} has no array 'flow'; write one of shape (H, W, 2)")
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.size == 0:
        raise InputError(f"{path}: 'flow' has shape {flow.shape}; it must be (H, W, 2)")
    field = known_flow(flow)
    if "valid" not in arrays:
        return field
    if arrays["valid"].shape != field.valid.shape:
        raise InputError(f"{path}: the shape of 'valid' is {arrays['valid'].shape}, not {field.valid.shape}")
    valid = field.valid & arrays["valid"].astype(bool)
    field.flow[~valid] = 0
    return FlowField(field.flow, valid)


def write_npz_flow(
    path: Path | str, flow: np.ndarray, *, valid: np.ndarray | None = None, overwrite: bool = True
) -> None:
    """Write flow under the key ``flow``; where a pixel is not valid, the mask under ``valid`` as well.

    Args:
        path: the file to be.
        flow: (H, W, 2) in pixels, x to the right and y down; stored as float32.
        valid: (H, W) bool; where False, 0 is stored.
        overwrite: whether an existing file may be replaced.

    Raises:
        InputError: wrong shapes, or values in valid pixels that are not finite or beyond 1e9.
        OutputError: see `kinema.io.files.replacing`.
    """
    field = checked_flow(flow, valid, name=str(path))
    arrays = {"flow": field.flow}
    if not field.valid.all():
        arrays["valid"] = field.valid
    write_npz(path, arrays, overwrite=overwrite)


def _check_frame(file: BinaryIO, size: int) -> None:
    """A zip file may have foreign bytes before and after it: an npz file has none."""
    start = file.read(4)
    file.seek(max(0, size - _END_OF_ZIP.size))
    end = file.read(_END_OF_ZIP.size)
    if start not in (b"PK\3\4", b"PK\5\6") or len(end) < _END_OF_ZIP.size:
        raise ValueError("it does not begin as one")
    signature, comment = _END_OF_ZIP.unpack(end)
    if signature != b"PK\5\6" or comment:
        raise ValueError("it is cut off, or bytes follow its end")


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """The arrays that the directory lists, where it lists nothing that cannot be."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        ratio = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: _DEFLATE_RATIO}.get(member.compress_type)
        if ratio is None:
            raise ValueError(f"{name!r} is compressed in a way that npz does not use")
        if name in members:
            raise ValueError(f"there are two arrays {name!r}")
        stored = member.compress_size
        if member.header_offset + stored > size or member.file_size > min(ratio * stored, _LARGEST_MEMBER):
            raise ValueError(f"{name!r} claims {member.file_size} bytes, more than it can hold")
        members[name] = member
    return members


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as stream:
        dtype, columns_first, shape, start = _read_header(stream)
        count = math.prod(shape)
        if count * dtype.itemsize != member.file_size - start:
            raise ValueError(f"{member.filename!r} claims {shape} values, its length is another")
        flat = np.empty(count, np.uint8 if dtype.kind == "b" else dtype)
        _fill(flat.view(np.uint8), stream)
    if dtype.kind == "b":
        flat = flat != 0  # a byte that is neither 0 nor 1 must not become a boolean
    array = flat.reshape(shape[::-1]).T if columns_first else flat.reshape(shape)
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def _read_header(stream: IO[bytes]) -> tuple[np.dtype[np.generic], bool, tuple[int, ...], int]:
    """Type, order, shape and length of an npy header (NumPy's NEP 1), read without evaluating it."""
    magic = stream.read(8)
    layout = {b"\x93NUMPY\1\0": "<H", b"\x93NUMPY\2\0": "<I", b"\x93NUMPY\3\0": "<I"}.get(magic)
    if layout is None:
        raise ValueError("a member is no npy array")
    (length,) = struct.unpack(layout, stream.read(struct.calcsize(layout)))
    if length > _LONGEST_HEADER:
        raise ValueError(f"an array has a header of {length} bytes")
    text = stream.read(length).decode("ascii").strip()
    inner = text.removeprefix("{").removesuffix("}").strip()
    fields = dict(_FIELD.findall(inner))
    kind = fields.get("descr", "").strip("'")
    if len(fields) != 3 or _FIELD.sub("", inner).strip() or not _NUMBERS.fullmatch(kind):
        raise ValueError(f"an array is not one of numbers: {text[:100]}")
    shape = tuple(int(word) for word in fields["shape"].strip("()").replace(",", " ").split())
    if any(side >= 2**40 for side in shape):
        raise ValueError(f"an array claims the shape {shape}")
    return np.dtype(kind), fields["fortran_order"] == "True", shape, 8 + struct.calcsize(layout) + length


def _fill(target: np.ndarray, stream: IO[bytes]) -> None:
    """Read piece by piece: memory is touched only as data arrive."""
    place = 0
    while place < target.size:
        piece = stream.read(min(_CHUNK, target.size - place))
        if not piece:
            raise ValueError("an array is cut off")
        target[place : place + len(piece)] = np.frombuffer(piece, np.uint8)
        place += len(piece)
    if stream.read(1):  # reading on to the end is also what compares the checksum
        raise ValueError("bytes follow an array")
