"""Files of torch.save: their tensors, and never their code."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import InputError
from kinema.io.formats.torch_file import read_torch_file

LEGACY = {"_use_new_zipfile_serialization": False}
STATE = {
    "weight": torch.arange(6.0).view(2, 3),
    "bias": torch.nn.Parameter(torch.ones(2)),
    "half": torch.ones(1).half(),
}


class Runs:
    """Leaves a file behind when it is loaded as pickles are."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("legacy", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "content",
    [STATE, OrderedDict(STATE), {"state_dict": STATE, "epoch": 3, "arch": "pwc", "best": 1.5}],
    ids=["plain", "ordered", "nested"],
)
def test_a_state_dict(tmp_path: Path, content: object, legacy: dict[str, bool]) -> None:
    torch.save(content, tmp_path / "a.pth.tar", **legacy)
    with warnings.catch_warnings(action="error"):
        back = read_torch_file(tmp_path / "a.pth.tar")
    assert list(back) == list(STATE)
    for name, tensor in STATE.items():
        assert torch.equal(back[name], tensor)
        assert back[name].dtype == tensor.dtype
        assert not back[name].requires_grad


def test_views_become_tensors_of_their_own(tmp_path: Path) -> None:
    """A hundred numbers in the file, three in the view: three are kept."""
    torch.save({"view": torch.arange(100.0)[10:13]}, tmp_path / "a.pt")
    back = read_torch_file(tmp_path / "a.pt")["view"]
    assert back.tolist() == [10, 11, 12]
    assert back.untyped_storage().nbytes() == 12


@pytest.mark.parametrize("legacy", [{}, LEGACY], ids=["zip", "legacy"])
def test_code_is_not_run(tmp_path: Path, legacy: dict[str, bool]) -> None:
    mark = tmp_path / "ran"
    torch.save({"state_dict": STATE, "more": Runs(mark)}, tmp_path / "a.pth", **legacy)
    with pytest.raises(InputError, match=r"a\.pth holds more than tensors.*mkdir.*runs no code"):
        read_torch_file(tmp_path / "a.pth")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.nn.Linear(2, 2), "Linear"),
        ({"state_dict": STATE, "best": np.float64(3)}, "numpy.*save the state dict alone"),
        ([torch.ones(1)], "no tensors by name"),
        ({}, "no tensors by name"),
        ({"a": 1}, "no tensors by name"),
        ({3: torch.ones(1)}, "no tensors by name"),
        ({"a": torch.ones(3).to_sparse()}, "no tensors by name"),
        (torch.ones(3), "no tensors by name"),
    ],
)
def test_what_is_no_state_dict(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=words):
        read_torch_file(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "data", [b"", b"text", b"PK\x03\x04" + bytes(30), b"\x80\x02" + bytes(30), bytes(99)]
)
def test_other_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.pth"):
        read_torch_file(tmp_path / "a.pth")
    with pytest.raises(InputError, match="no such file"):
        read_torch_file(tmp_path / "b.pth")
    with pytest.raises(InputError, match="is a folder"):
        read_torch_file(tmp_path)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("legacy", [{}, LEGACY], ids=["zip", "legacy"])
def test_damage_is_an_error_or_harmless(tmp_path_factory, data, legacy: dict[str, bool]) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.pth"
    torch.save(STATE, path, **legacy)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(InputError):
        assert all(isinstance(tensor, torch.Tensor) for tensor in read_torch_file(path).values())
