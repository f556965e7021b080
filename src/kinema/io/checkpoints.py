"""Weights and other tensors in safetensors files: no code is executed on load."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
from torch import Tensor

from kinema.errors import InputError
from kinema.io.files import file_size, reading, write_bytes

__all__ = ["TensorFact", "load_tensors", "save_tensors", "tensor_facts"]


class TensorFact(NamedTuple):
    """What a file's header says about one tensor.

    Attributes:
        dtype: its type as the file names it, such as ``F16``.
        shape: its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def save_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str], overwrite: bool = True
) -> None:
    """Write tensors to a safetensors file; same tensors and metadata, same bytes.

    Args:
        path: the file to be, ``.safetensors``.
        tensors: by name, of any shape, type and device; views and shared tensors are stored each in full.
        metadata: texts by name, kept in the file's header.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: the file exists and may not be replaced, or its place is full or not writable.
    """
    # A copy of each: safetensors refuses tensors that share memory, as tied weights do.
    copies = {
        name: tensor.detach().to("cpu", copy=True).contiguous().resolve_conj().resolve_neg()
        for name, tensor in tensors.items()
    }
    data = safetensors.torch.save(copies, metadata=dict(metadata))
    write_bytes(path, _sorted_header(data), overwrite=overwrite)


def load_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read all tensors of a safetensors file to the CPU.

    Args:
        path: the file.

    Returns:
        The tensors by name, each with memory of its own, and the metadata.

    Raises:
        InputError: the file is missing, damaged, or no safetensors file.
    """
    with _opened(path) as file:
        # The copies outlive the file: what is read in place changes, or crashes, when the file does.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return tensors, dict(file.metadata() or {})


def tensor_facts(path: Path | str) -> tuple[dict[str, TensorFact], dict[str, str]]:
    """Read the header of a safetensors file, and no tensor.

    Args:
        path: the file.

    Returns:
        Type and shape of each tensor by name, and the metadata.

    Raises:
        InputError: the file is missing, damaged, or no safetensors file.
    """
    with _opened(path) as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        facts = {name: TensorFact(part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
        return facts, dict(file.metadata() or {})


@contextmanager
def _opened(path: Path | str) -> Iterator[Any]:
    file_size(path)
    try:
        with reading(path), safetensors.safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} is no whole safetensors file: {error}; copy or convert it again") from None


def _sorted_header(data: bytes) -> bytes:
    """The same file with the header's entries in a fixed order: the library's own changes between runs."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors to eight bytes
    return struct.pack("<Q", len(text)) + text + data[8 + length :]
