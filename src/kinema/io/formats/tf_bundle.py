"""TensorFlow's checkpoints (``X.index`` beside ``X.data-00000-of-00001``), read without TensorFlow.

The index is a sorted table, in LevelDB's format, from names to protocol buffers that say type, shape, place
and checksum. The data files hold numbers and nothing else. Neither holds code; every checksum is verified.
"""

from __future__ import annotations

import functools
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from kinema.errors import InputError
from kinema.io.files import file_size, read_bytes, reading

__all__ = ["TfBundle", "TfVariable", "bundle_prefix"]

_MAGIC = 0xDB4775248B80FB57  # at the end of every table
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5  # after each block: how it is compressed, checksum
_TYPES = {1: "f4", 2: "f8", 3: "i4", 4: "u1", 5: "i2", 6: "i1", 9: "i8", 10: "?", 19: "f2"}
_SLICE = b"\0"  # begins the key of each slice of a partitioned variable, which has an entry of its own too
_LARGEST_INDEX = 2**28  # bytes; that of PWC-Net with its optimiser has twenty thousand
_PARTS = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


@dataclass(frozen=True)
class TfVariable:
    """Where a variable lies.

    Attributes:
        dtype: of its numbers; None for texts and other types that are no plain numbers.
        shape: of the array.
        shard: number of the data file.
        offset: in that file, in bytes.
        size: in bytes.
        checksum: of these bytes: CRC-32C, masked.
        whole: False when it is stored in slices, as partitioned variables are.
    """

    dtype: np.dtype | None
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    whole: bool


def bundle_prefix(path: Path | str) -> Path | None:
    """The name that the files of a checkpoint share.

    Args:
        path: that name, or one of the files: ``X.index``, ``X.meta`` or ``X.data-00000-of-00001``.

    Returns:
        The name without the files' endings; None when no ``.index`` is there.
    """
    prefix = Path(_PARTS.sub("", str(path)))
    return prefix if _index_of(prefix).is_file() else None


class TfBundle:
    """A checkpoint of TensorFlow (its "V2" format, the default since 1.0).

    Args:
        path: see `bundle_prefix`.

    Attributes:
        index: the file with the names.
        variables: by name.

    Raises:
        InputError: a file is missing or damaged, or it is written in a way that is not read here.
    """

    def __init__(self, path: Path | str) -> None:
        prefix = bundle_prefix(path)
        if prefix is None:
            raise InputError(f"{path}: no such checkpoint: a file {path}.index belongs to it")
        self._prefix, self.index = prefix, _index_of(prefix)
        if file_size(self.index) > _LARGEST_INDEX:
            raise InputError(f"{self.index} is no index of a checkpoint: it is too large")
        try:
            table = dict(_table(read_bytes(self.index)))
            self._shards, order = _header(table.pop(b""))
            self.variables = {
                name.decode(): _variable(entry, order, self._shards)
                for name, entry in table.items()
                if not name.startswith(_SLICE)
            }
        except (ValueError, KeyError, IndexError, struct.error) as error:
            raise InputError(
                f"{self.index} is no index of a TensorFlow checkpoint: {error}; copy or write it again"
            ) from None

    def read(self, name: str) -> np.ndarray:
        """Read one variable.

        Args:
            name: one of `variables`.

        Returns:
            An array of its own, in this machine's byte order.

        Raises:
            InputError: the data file is missing, too short, or not as its checksum says; or the variable is
                no plain array of numbers.
        """
        variable = self.variables[name]
        if variable.dtype is None or not variable.whole:
            kind = "no plain numbers" if variable.dtype is None else "stored in slices"
            raise InputError(f"{self.index}: {name} is {kind}, which is not read here")
        path = Path(f"{self._prefix}.data-{variable.shard:05d}-of-{self._shards:05d}")
        if file_size(path) < variable.offset + variable.size:
            raise InputError(f"{path} is cut short: {name} is missing; copy it again")
        with reading(path), path.open("rb") as file:
            file.seek(variable.offset)
            data = file.read(variable.size)
        if _masked(_crc32c(data)) != variable.checksum:
            raise InputError(f"{path} is damaged: {name} differs from its checksum; copy it again")
        array = np.frombuffer(data, variable.dtype).reshape(variable.shape)
        return array.astype(variable.dtype.newbyteorder("="))


def _index_of(prefix: Path) -> Path:
    return Path(f"{prefix}.index")


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every key and value of a sorted table."""
    if len(data) < _FOOTER_BYTES or struct.unpack_from("<Q", data, len(data) - 8)[0] != _MAGIC:
        raise ValueError("its end is not that of one")
    footer = data[-_FOOTER_BYTES:]
    _, place = _block_handle(footer, 0)
    (offset, size), _ = _block_handle(footer, place)
    for _, handle in _entries(_block(data, offset, size)):
        (offset, size), _ = _block_handle(handle, 0)
        yield from _entries(_block(data, offset, size))


def _block_handle(data: bytes, place: int) -> tuple[tuple[int, int], int]:
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return (offset, size), place


def _block(data: bytes, offset: int, size: int) -> bytes:
    end = offset + size
    if end + _TRAILER_BYTES > len(data):
        raise ValueError("it is cut short")
    compression, checksum = struct.unpack_from("<BI", data, end)
    if _masked(_crc32c(data[offset : end + 1])) != checksum:
        raise ValueError("a part of it differs from its checksum")
    if compression:
        raise ValueError("it is compressed: save it again with a current TensorFlow")
    return data[offset:end]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key leaves out what it shares with the key before."""
    (restarts,) = struct.unpack_from("<I", block, len(block) - 4)
    end = len(block) - 4 * (restarts + 1)
    place, key = 0, b""
    while place < end:
        shared, place = _varint(block, place)
        added, place = _varint(block, place)
        size, place = _varint(block, place)
        if shared > len(key) or place + added + size > end:
            raise ValueError("an entry does not fit its block")
        key = key[:shared] + block[place : place + added]
        place += added
        yield key, block[place : place + size]
        place += size


def _header(data: bytes) -> tuple[int, Literal["<", ">"]]:
    """How many data files there are, and the byte order of their numbers."""
    fields = _fields(data)
    return _number(fields, 1, default=1), ">" if _number(fields, 2) == 1 else "<"


def _variable(data: bytes, order: Literal["<", ">"], shards: int) -> TfVariable:
    fields = _fields(data)
    code = _TYPES.get(_number(fields, 1))
    dtype = None if code is None else np.dtype(code).newbyteorder(order)
    shape = tuple(_number(_fields(_message(dim)), 1) for dim in _fields(_message_at(fields, 2)).get(2, []))
    found = TfVariable(
        dtype=dtype,
        shape=shape,
        shard=_number(fields, 3),
        offset=_number(fields, 4),
        size=_number(fields, 5),
        checksum=_number(fields, 6),
        whole=7 not in fields,
    )
    if found.shard >= shards:
        raise ValueError("a variable lies in a file that it does not have")
    if dtype is not None and found.whole and math.prod(shape) * dtype.itemsize != found.size:
        raise ValueError("a variable's size is not that of its shape")
    return found


def _fields(data: bytes) -> dict[int, list[int | bytes]]:
    """A protocol buffer's fields by number: numbers, and bytes for what has a length."""
    found: dict[int, list[int | bytes]] = {}
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        value: int | bytes
        match key & 7:
            case 0:
                value, place = _varint(data, place)
            case 1:
                (value,), place = struct.unpack_from("<Q", data, place), place + 8
            case 2:
                size, place = _varint(data, place)
                value, place = data[place : place + size], place + size
            case 5:
                (value,), place = struct.unpack_from("<I", data, place), place + 4
            case kind:
                raise ValueError(f"a field of kind {kind}")
        if place > len(data):
            raise ValueError("a field is cut short")
        found.setdefault(key >> 3, []).append(value)
    return found


def _number(fields: Mapping[int, list[int | bytes]], number: int, *, default: int = 0) -> int:
    """A field that is absent has its default: protocol buffers leave those out."""
    value = fields.get(number, [default])[-1]
    if isinstance(value, bytes):
        raise ValueError("a number is a text")
    return value


def _message_at(fields: Mapping[int, list[int | bytes]], number: int) -> bytes:
    return _message(fields.get(number, [b""])[-1])


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a message is a number")
    return value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number is too long")


def _masked(crc: int) -> int:
    """A checksum as it is stored: that of data which contain checksums would say little otherwise."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc32c(data: bytes) -> int:
    return int(_compiled_crc32c()(np.frombuffer(data, np.uint8), _crc_table()))


@functools.cache
def _crc_table() -> np.ndarray:
    """CRC-32C (Castagnoli) of each byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1).astype(np.uint32)
    return table


@functools.cache
def _compiled_crc32c() -> Callable[[np.ndarray, np.ndarray], np.uint32]:
    """Byte by byte, compiled: a checkpoint has a hundred million."""
    import numba  # here: nothing else in this module needs it

    def crc32c(data: np.ndarray, table: np.ndarray) -> np.uint32:
        crc = np.uint32(0xFFFFFFFF)
        for byte in data:
            crc = table[(crc ^ byte) & np.uint32(255)] ^ (crc >> np.uint32(8))
        return crc ^ np.uint32(0xFFFFFFFF)

    compiled: Callable[[np.ndarray, np.ndarray], np.uint32] = numba.njit(crc32c)
    return compiled
