"""Losses of restored frames and the guard of offsets, by numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.edvr_weights import golden_input, golden_network
from kinema.errors import UsageError
from kinema.losses.restoration import EPSILON, offset_excess, offset_lengths, restoration_loss

# Two samples of one pixel each; differences 0.3, -0.4, 0 and 0, 0, 1.
RESTORED = torch.tensor([[0.5, 0.2, 0.7], [0.1, 0.0, 1.0]], dtype=torch.float64).view(2, 3, 1, 1)
SHARP = torch.tensor([[0.2, 0.6, 0.7], [0.1, 0.0, 0.0]], dtype=torch.float64).view(2, 3, 1, 1)


@pytest.mark.parametrize(
    ("penalty", "epsilon", "total"),
    [
        ("l1", 0.1, 1.7),
        ("l2", 0.1, 1.25),
        ("marginal_l1", 0.1, 1.7 + 3 * 0.1),
        ("charbonnier", 0.0, 1.7),
        ("charbonnier", 0.0225, math.sqrt(0.1125) + math.sqrt(0.1825) + 3 * 0.15 + math.sqrt(1.0225)),
    ],
)
def test_the_sum_and_its_means(penalty: str, epsilon: float, total: float) -> None:
    for reduction, count in (("sum", 1), ("samples", 2), ("mean", 6)):
        loss = restoration_loss(RESTORED, SHARP, penalty=penalty, reduction=reduction, epsilon=epsilon)  # type: ignore[arg-type]
        assert loss.item() == pytest.approx(total / count, abs=1e-12)


def test_the_published_scale() -> None:
    """Four samples of 256x256 that are off by 0.03 cost about 2.4e4, as the authors' logs have it."""
    sharp = torch.full((4, 3, 256, 256), 0.5)
    assert restoration_loss(sharp + 0.03, sharp, reduction="sum").item() == pytest.approx(
        4 * 3 * 65536 * 0.03
    )
    assert restoration_loss(sharp, sharp).item() == pytest.approx(math.sqrt(EPSILON))


def test_the_slope_is_finite_where_nothing_is_wrong() -> None:
    restored = SHARP.clone().requires_grad_()
    restoration_loss(restored, SHARP).backward()
    assert torch.equal(restored.grad, torch.zeros_like(SHARP))
    close = (SHARP + 0.05).requires_grad_()
    restoration_loss(close, SHARP, penalty="marginal_l1", epsilon=0.1).backward()
    assert not close.grad.any()


@pytest.mark.parametrize("penalty", ["charbonnier", "l1", "l2", "marginal_l1"])
def test_gradients(penalty: str) -> None:
    restored = RESTORED.clone().requires_grad_()
    torch.autograd.gradcheck(
        lambda x: restoration_loss(x, SHARP - 0.25, penalty=penalty, epsilon=1e-3),  # type: ignore[arg-type]
        restored,
    )


def test_half_precision_is_summed_in_float32() -> None:
    restored, sharp = torch.full((1, 3, 64, 64), 0.5).bfloat16(), torch.full((1, 3, 64, 64), 0.502)
    loss = restoration_loss(restored, sharp, reduction="sum")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(3 * 64 * 64 * 0.002, rel=1e-4)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown penalty 'l3'.*use one of charbonnier"):
        restoration_loss(RESTORED, SHARP, penalty="l3")  # type: ignore[arg-type]
    with pytest.raises(
        UsageError, match=r"restored frames of \(2, 3, 1, 1\) and sharp ones of \(1, 3, 1, 1\)"
    ):
        restoration_loss(RESTORED, SHARP[:1])


def test_lengths_of_offsets_are_those_of_the_reference() -> None:
    with torch.inference_mode():
        offsets = golden_network("M")(golden_input("M"), keep_offsets=True).offsets
    lengths = offset_lengths([offset[4:] for offset in offsets])  # of the last frame
    assert lengths.tolist() == pytest.approx([0.8777, 1.2181, 1.9003, 3.1453], abs=6e-5)
    assert not lengths.requires_grad


def test_what_is_too_long_is_called_back_and_nothing_else_is() -> None:
    first = torch.tensor([1.0, -12.0, 9.9, 40.0]).view(1, 4, 1, 1).requires_grad_()
    second = torch.tensor([0.0, -3.0]).view(1, 2, 1, 1).requires_grad_()
    excess = offset_excess((first, second), limit=10.0)
    assert excess.item() == pytest.approx((2 + 30) / 4 / 2)
    excess.backward()
    assert first.grad.flatten().tolist() == [0, -0.125, 0, 0.125]
    assert not second.grad.any()
    assert offset_excess((), limit=10.0).item() == 0
    with pytest.raises(UsageError, match=r"limit of offsets is 0\.0"):
        offset_excess((first,), limit=0.0)


def test_taps_that_have_left_the_frame_come_back() -> None:
    """All offsets begin 60 pixels outside of a frame of 8: the frame alone has no slope, the term has."""
    network = golden_network("tiny_7f", dtype=torch.float32)
    layer = network.pcd_align.cas_dcnpack.conv_offset
    layer.weight.data.zero_()
    layer.bias.data[:144] = 60.0
    layer.requires_grad_()
    frames = golden_input("tiny_7f", dtype=torch.float32)
    network(frames).frame.sum().backward()
    assert not layer.bias.grad[:144].any()
    optimizer = torch.optim.Adam([layer.bias], lr=2.0)
    for _ in range(40):
        optimizer.zero_grad()
        offset_excess(network(frames, keep_offsets=True).offsets, limit=5.0).backward()
        optimizer.step()
    with torch.inference_mode():
        lengths = offset_lengths(network(frames, keep_offsets=True).offsets)
    assert lengths[3] < 10
