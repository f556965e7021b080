"""EDVR against numbers computed by BasicSR's architecture with pseudo-weights (see the fixtures' README)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.edvr_weights import GOLDEN, golden_input, golden_network
from kinema.models.edvr import EdvrOutput
from kinema.models.edvr_parts import OFFSET_LEVELS

STORED = 1e-7  # the reference is float64, rounded to float32
TOLERANCE = {torch.float64: STORED, torch.float32: 1e-6}


def run(name: str, dtype: torch.dtype) -> EdvrOutput:
    with torch.inference_mode():
        return golden_network(name, dtype=dtype)(golden_input(name, dtype=dtype), keep_offsets=True)


def last_offsets(output: EdvrOutput, frames: int) -> dict[str, float]:
    """Mean length of one coordinate, of the last frame of each window."""
    means = {}
    for level, offsets in zip(OFFSET_LEVELS, output.offsets, strict=True):
        means[level] = offsets[frames - 1 :: frames].abs().mean().item()
    return means


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("name", list(GOLDEN))
def test_the_frame_is_that_of_the_reference(name: str, dtype: torch.dtype, shared: Path) -> None:
    path = shared / "fixtures" / "edvr" / f"golden_{name}.npz"
    expected = np.load(path, allow_pickle=False)["output"]
    frame = run(name, dtype).frame
    assert frame.dtype == dtype
    assert frame.shape == expected.shape
    assert np.abs(frame.numpy() - expected).max() < TOLERANCE[dtype]


@pytest.mark.parametrize("name", list(GOLDEN))
def test_the_networks_have_the_references_size(name: str) -> None:
    assert sum(p.numel() for p in golden_network(name).parameters()) == GOLDEN[name].parameters


def test_numbers_of_the_medium_network() -> None:
    """These stand in the specification too, so this test needs no files."""
    output = run("M", torch.float64)
    frame = output.frame
    assert frame.mean().item() == pytest.approx(0.569053227, abs=1e-8)
    assert frame.std().item() == pytest.approx(0.208163049, abs=1e-8)
    assert frame.min().item() == pytest.approx(-0.062015, abs=1e-6)
    assert frame.max().item() == pytest.approx(1.174684, abs=1e-6)
    assert frame[0, :, 0, 0].tolist() == pytest.approx([-0.03125924, 0.86816152, 0.94525945], abs=1e-8)
    offsets = last_offsets(output, 5)
    assert list(offsets.values()) == pytest.approx([0.8777, 1.2181, 1.9003, 3.1453], abs=6e-5)
    assert list(offsets) == ["l3", "l2", "l1", "cascade"]


def test_numbers_without_attention() -> None:
    frame = run("M_wotsa", torch.float64).frame
    assert frame.mean().item() == pytest.approx(0.567500395, abs=1e-8)
    assert frame.std().item() == pytest.approx(0.206859424, abs=1e-8)


def turned(offsets: Tensor) -> Tensor:
    """x where y belongs."""
    n, _, h, w = offsets.shape
    return offsets.reshape(n, -1, 2, h, w).flip(2).reshape(n, -1, h, w)


def planar(offsets: Tensor) -> Tensor:
    """Read as all x of a tap list after all y."""
    n, c, h, w = offsets.shape
    return offsets.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


@pytest.mark.parametrize(
    ("wrong", "largest"),
    [("turned", 0.031), ("planar", 0.031), ("unmodulated", 0.058)],
)
def test_wrong_conventions_would_be_seen(wrong: str, largest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """By how much each changes the frame at most: the reference tells them from the right one."""
    import kinema.models.edvr_parts as parts

    right, convolve = run("M", torch.float64).frame, parts.deform_conv2d

    def changed(x: Tensor, offset: Tensor, *arguments: Tensor, modulation: Tensor, **settings: int) -> Tensor:
        offset = {"turned": turned, "planar": planar}.get(wrong, lambda same: same)(offset)
        modulation = torch.ones_like(modulation) if wrong == "unmodulated" else modulation
        return convolve(x, offset, *arguments, modulation=modulation, **settings)

    monkeypatch.setattr(parts, "deform_conv2d", changed)
    assert (run("M", torch.float64).frame - right).abs().max().item() == pytest.approx(largest, rel=0.05)
