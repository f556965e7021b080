"""Weights and other tensors in safetensors files: no code is executed on load."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from kinema.errors import InputError
from kinema.io.files import file_size, reading, write_bytes

__all__ = ["load_tensors", "save_tensors"]


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
    file_size(path)
    try:
        with reading(path), safetensors.safe_open(path, framework="pt", device="cpu") as file:
            # The copies outlive the file: what is read in place changes, or crashes, when the file does.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} is no whole safetensors file: {error}; copy or convert it again") from None


def _sorted_header(data: bytes) -> bytes:
    """The same file with the header's entries in a fixed order: the library's own changes between runs."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format aligns the tensors to eight bytes
    return struct.pack("<Q", len(text)) + text + data[8 + length :]
