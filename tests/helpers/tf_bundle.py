"""Checkpoints in TensorFlow's format, written without and with TensorFlow, to read them back."""

from __future__ import annotations

import importlib.util
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from kinema.io.formats.tf_bundle import _crc32c

TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def write_bundle(prefix: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """As TensorFlow writes it: one data file, keys in order that leave out what they share."""
    numbers, entries = b"", {b"": varfield(1, 1) + message(3, varfield(1, 1))}
    for name in sorted(arrays):
        array = arrays[name]
        data = array.tobytes()
        shape = b"".join(message(2, varfield(1, size)) for size in array.shape)
        entries[name.encode()] = (
            varfield(1, TYPES[array.dtype.name])
            + message(2, shape)
            + varfield(4, len(numbers))
            + varfield(5, len(data))
            + b"\x35"  # field 6, four bytes
            + struct.pack("<I", masked(_crc32c(data)))
        )
        numbers += data
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(numbers)
    prefix.with_name(f"{prefix.name}.index").write_bytes(table(entries))


def table(entries: Mapping[bytes, bytes], *, compression: int = 0) -> bytes:
    """A sorted table: blocks of at most 4 KiB or so, an index over them, a footer."""
    file, index, part = b"", {}, {}
    items = list(entries.items())
    for number, (key, value) in enumerate(items):
        part[key] = value
        if sum(map(len, part.values())) > 4096 or number == len(items) - 1:
            data = block(part)
            index[key] = varint(len(file)) + varint(len(data))
            file, part = file + sealed(data, compression), {}
    handles = b""
    for data in (block({}), block(index)):
        handles += varint(len(file)) + varint(len(data))
        file += sealed(data, compression)
    return file + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def block(entries: Mapping[bytes, bytes]) -> bytes:
    """Every sixteenth key is whole; the others begin with what they share with the one before."""
    data, restarts, before = b"", [0], b""
    for number, (key, value) in enumerate(entries.items()):
        shared = 0 if number % 16 == 0 else common(key, before)
        if number and number % 16 == 0:
            restarts.append(len(data))
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return data + b"".join(struct.pack("<I", n) for n in (*restarts, len(restarts)))


def common(key: bytes, other: bytes) -> int:
    """How many bytes two keys share at their beginning."""
    return next(
        (n for n, (a, b) in enumerate(zip(key, other, strict=False)) if a != b), min(len(key), len(other))
    )


def sealed(data: bytes, compression: int) -> bytes:
    whole = data + bytes([compression])
    return whole + struct.pack("<I", masked(_crc32c(whole)))


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varfield(number: int, value: int) -> bytes:
    """Absent when it is zero, as protocol buffers have it."""
    return varint(number << 3) + varint(value) if value else b""


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127)
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def need_tensorflow() -> None:
    """Skip the test, and have it counted, where TensorFlow is not installed."""
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs tensorflow: pip install 'kinema[tensorflow]'")


def save_by_tensorflow(prefix: Path, arrays: Mapping[str, np.ndarray], *, slots: bool = False) -> None:
    """By the Saver of TensorFlow 1, with the optimiser's variables if wanted."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    tf = tensorflow.compat.v1
    with tf.Graph().as_default(), tf.Session() as session:
        variables = [tf.get_variable(name, initializer=array) for name, array in arrays.items()]
        step = tf.train.get_or_create_global_step()
        if slots:
            loss = tf.add_n([tf.reduce_sum(v * v) for v in variables])
            tf.train.AdamOptimizer(1e-12).minimize(loss, global_step=step)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(prefix), write_meta_graph=False)
