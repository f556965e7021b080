"""Any file of weights, whoever wrote it: its tensors by name, read without running code."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from kinema.errors import InputError
from kinema.io.checkpoints import TensorFact, load_tensors, tensor_facts
from kinema.io.files import file_size, reading
from kinema.io.formats.tf_bundle import TfBundle, bundle_prefix
from kinema.io.formats.torch_file import read_torch_file

__all__ = ["Checkpoint", "Kind", "open_checkpoint", "sha256_of"]

Kind = Literal["safetensors", "torch", "tensorflow"]
"""Who writes such files: safetensors, ``torch.save``, TensorFlow's Saver."""

_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64", "BOOL": "bool"}
_TABLE_END = bytes.fromhex("57fb808b247547db")  # of TensorFlow's tables, its old checkpoints among them


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights, open to be looked at.

    Attributes:
        path: the file; of TensorFlow's, the one with the names (``.index``).
        kind: how it is written.
        tensors: type and shape by name.
        metadata: texts in the header of a safetensors file.
        read: gives the tensors of some names, on the CPU.
    """

    path: Path
    kind: Kind
    tensors: Mapping[str, TensorFact]
    metadata: Mapping[str, str]
    read: Callable[[Iterable[str]], dict[str, Tensor]]


def open_checkpoint(path: Path | str) -> Checkpoint:
    """Look into a file of weights; which kind it is, its content decides.

    Args:
        path: safetensors; what ``torch.save`` wrote (.pth, .pt, .tar, .pkl); or a checkpoint of TensorFlow:
            the name that its files share, or one of them.

    Returns:
        What it holds.

    Raises:
        InputError: the file is missing, damaged, or nothing of that.
    """
    path = Path(path)
    if bundle_prefix(path) is not None:
        return _tensorflow(path)
    start, end = _ends(path)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _safetensors(path)
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return _torch(path)
    if end == _TABLE_END:
        raise InputError(
            f"{path} is TensorFlow's checkpoint of before 1.0: restore it there and save it again, "
            "tf.compat.v1.train.Saver().save(session, NAME)"
        )
    raise InputError(
        f"{path} is no file of weights that is known: neither safetensors, nor of torch.save, nor "
        "TensorFlow's (X.index beside X.data-00000-of-00001)"
    )


def sha256_of(path: Path) -> str:
    """A file's fingerprint.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        InputError: when it cannot be read.
    """
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ends(path: Path) -> tuple[bytes, bytes]:
    size = file_size(path)
    with reading(path), path.open("rb") as file:
        start = file.read(16)
        file.seek(max(0, size - 8))
        return start, file.read(8)


def _safetensors(path: Path) -> Checkpoint:
    stored, metadata = tensor_facts(path)
    facts = {name: TensorFact(_type_name(fact.dtype), fact.shape) for name, fact in stored.items()}

    def read(names: Iterable[str]) -> dict[str, Tensor]:
        tensors, _ = load_tensors(path)
        return {name: tensors[name] for name in names}

    return Checkpoint(path, "safetensors", facts, metadata, read)


def _type_name(name: str) -> str:
    """``I64`` -> ``int64``; types that torch does not have keep the file's name."""
    for letter, word in (("I", "int"), ("U", "uint")):
        if name[:1] == letter and name[1:].isdecimal():
            return word + name[1:]
    return _TYPES.get(name, name)


def _torch(path: Path) -> Checkpoint:
    tensors = read_torch_file(path)
    facts = {
        name: TensorFact(str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in tensors.items()
    }
    return Checkpoint(path, "torch", facts, {}, lambda names: {name: tensors[name] for name in names})


def _tensorflow(path: Path) -> Checkpoint:
    bundle = TfBundle(path)
    facts = {
        name: TensorFact("other" if variable.dtype is None else variable.dtype.name, variable.shape)
        for name, variable in bundle.variables.items()
    }

    def read(names: Iterable[str]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(bundle.read(name)) for name in names}

    return Checkpoint(bundle.index, "tensorflow", facts, {}, read)
