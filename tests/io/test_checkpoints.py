"""Safetensors files: exact, whole, the same bytes for the same content."""

from __future__ import annotations

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from kinema.errors import InputError, OutputError
from kinema.io.checkpoints import load_tensors, save_tensors


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 6, generator=generator)
    return {
        "weight": base,
        "tied": base,
        "view": base[1:3],
        "columns": base.T,
        "double": base.double(),
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "step": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
        "trained": torch.nn.Parameter(base.clone()),
    }


def test_round_trip(tmp_path, tensors):
    save_tensors(tmp_path / "a.safetensors", tensors, metadata={"model": "tvnet", "ü": "日本"})
    back, metadata = load_tensors(tmp_path / "a.safetensors")
    assert metadata == {"model": "tvnet", "ü": "日本"}
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)
        assert not back[name].requires_grad
    back["tied"].zero_()
    assert torch.equal(back["weight"], tensors["weight"])


def test_other_readers_and_writers(tmp_path, tensors):
    save_tensors(tmp_path / "ours.safetensors", tensors, metadata={})
    theirs = load_file(tmp_path / "ours.safetensors")
    assert all(torch.equal(theirs[name], tensor) for name, tensor in tensors.items())
    save_file({"a": torch.arange(5)}, tmp_path / "theirs.safetensors")
    back, metadata = load_tensors(tmp_path / "theirs.safetensors")
    assert torch.equal(back["a"], torch.arange(5))
    assert metadata == {}


def test_same_content_same_bytes(tmp_path, tensors):
    metadata = {letter: letter for letter in "abcdefghijkl"}
    for name in ("a", "b"):
        save_tensors(tmp_path / name, tensors, metadata=metadata)
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    assert length % 8 == 0
    assert list(json.loads(data[8 : 8 + length])["__metadata__"]) == list(metadata)


def test_hand_built(tmp_path):
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    data = struct.pack("<Q", len(header)) + header + struct.pack("<2f", 1.5, -2)
    (tmp_path / "a").write_bytes(data)
    back, metadata = load_tensors(tmp_path / "a")
    assert back["x"].tolist() == [1.5, -2]
    assert metadata == {}


def test_loaded_tensors_outlive_the_file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.arange(1000)}, metadata={})
    back, _ = load_tensors(path)
    with path.open("r+b") as file:
        file.truncate(10)
    assert torch.equal(back["x"], torch.arange(1000))


def test_existing_file_needs_overwrite(tmp_path):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.ones(1)}, metadata={}, overwrite=False)
    with pytest.raises(OutputError, match="--overwrite"):
        save_tensors(path, {"x": torch.zeros(1)}, metadata={}, overwrite=False)
    assert load_tensors(path)[0]["x"].item() == 1


def build(header, payload=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + payload


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        b"this is a text, not a checkpoint",
        build(b"{", length=2**63),
        build(b"{}", length=2**40),
        build(b"not json"),
        build({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(7)),
        build({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(9)),
        build({"x": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, bytes(8)),
        build({"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}, bytes(8)),
        build({"x": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}}, bytes(8)),
        build({"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, bytes(8)),
        b"\x80\x04\x95" + bytes(30),  # a pickle
    ],
)
def test_damaged_files(tmp_path, data):
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.safetensors"):
        load_tensors(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_tensors(tmp_path / "a")
    with pytest.raises(InputError, match="is a folder"):
        load_tensors(tmp_path)
