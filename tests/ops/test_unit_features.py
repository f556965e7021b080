"""Features of equal length: their length, what they do not depend on, types, gradients, nothing at all."""

from __future__ import annotations

import pytest
import torch

from kinema.ops.correlation import correlation, unit_features

LENGTH = 3.0  # mean square over channels
FLOOR = 0.02  # of the mean square of all


def maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)


def test_by_hand() -> None:
    """Two channels, two places: centred (3, 4) and (-3, -4), mean square 12.5 at both, floor 0.25."""
    features = torch.tensor([[[[13.0, 7.0]], [[-1.0, -9.0]]]])
    scale = (3 / (12.5 + 0.02 * 12.5 + 1e-12)) ** 0.5
    expected = torch.tensor([[[[3.0, -3.0]], [[4.0, -4.0]]]]) * scale
    torch.testing.assert_close(unit_features(features), expected)


@pytest.mark.parametrize("shape", [(2, 16, 7, 9), (1, 1, 5, 5), (3, 196, 6, 7)])
def test_every_place_has_one_length_as_far_as_there_is_contrast(shape: tuple[int, ...]) -> None:
    features = maps(*shape)
    features[:, :, 0] *= 1e-3
    features = features - features.mean((2, 3), keepdim=True)
    power = features.square().mean(1)
    got = unit_features(features).square().mean(1)
    mean = power.mean((1, 2), keepdim=True)
    torch.testing.assert_close(got, LENGTH * power / (power + FLOOR * mean), rtol=1e-4, atol=1e-4)
    strong = power > mean
    assert (got[strong] > LENGTH / (1 + FLOOR)).all()
    assert (got < LENGTH).all()


def test_weak_places_stay_weak() -> None:
    """A thousandth of the contrast is not raised to full length: it would be noise."""
    features = maps(1, 8, 20, 20)
    features[:, :, 2:] -= features[:, :, 2:].mean((2, 3), keepdim=True)
    features[:, :, :2] = 1e-3 * maps(1, 8, 2, 20, seed=1)
    got = unit_features(features).square().mean(1)
    assert got[:, :2].max() < 0.01
    assert got[:, 2:].median() > 2.8


@pytest.mark.parametrize("scale", [1e-2, 7.0, 1e4])
def test_neither_scale_nor_a_constant_of_a_channel_matters(scale: float) -> None:
    features = maps(2, 12, 9, 11)
    shift = 3 * maps(1, 12, 1, 1, seed=2)
    expected = unit_features(features)
    torch.testing.assert_close(unit_features(scale * (features + shift)), expected, rtol=1e-4, atol=1e-4)


def test_each_sample_is_by_itself() -> None:
    features = maps(3, 5, 6, 7) * torch.tensor([1.0, 50.0, 0.01])[:, None, None, None]
    alone = torch.cat([unit_features(one[None]) for one in features])
    torch.testing.assert_close(unit_features(features), alone)


def test_the_cost_of_a_place_with_itself_is_the_largest() -> None:
    """Cosines: no bright place beats the right one, as it does with products of raw features."""
    features = maps(1, 32, 24, 24)
    bright = features * torch.linspace(0.2, 20, 24)
    raw = correlation(bright, bright)[0, :, 5:-5, 5:-5].argmax(0)
    unit = correlation(*[unit_features(bright)] * 2)[0, :, 5:-5, 5:-5]
    assert (unit.argmax(0) == 40).all()
    assert not (raw == 40).all()
    assert unit.max() <= LENGTH


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 200.0])
def test_reduced_precision_is_close_and_keeps_its_type(dtype: torch.dtype, scale: float) -> None:
    features = (scale * maps(2, 32, 10, 12)).to(dtype)
    got, exact = unit_features(features), unit_features(features.float())
    assert got.dtype == dtype
    assert got.isfinite().all()
    torch.testing.assert_close(got.float(), exact, rtol=0.02, atol=0.03)


def test_channels_last_stays() -> None:
    features = maps(2, 8, 6, 6).to(memory_format=torch.channels_last)
    got = unit_features(features)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, unit_features(features.contiguous()))


def test_the_gradient() -> None:
    features = maps(2, 3, 4, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(unit_features, (features,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [0.0, 0.25])
def test_a_frame_of_one_colour_is_nothing_and_finite(dtype: torch.dtype, value: float) -> None:
    features = torch.full((1, 4, 5, 6), value, dtype=dtype).requires_grad_()
    got = unit_features(features)
    assert (got == 0).all()
    got.float().square().sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
