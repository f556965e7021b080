"""Occlusion masks and confidence, against values computed with the original systems."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from helpers.compiled import run_compiled
from kinema.errors import UsageError
from kinema.ops.occlusion import (
    absolute_occlusion,
    combined_occlusion,
    confidence,
    consistency_occlusion,
    estimate_occlusion,
    forward_backward_error,
    forward_backward_occlusion,
    gaussian_consistency,
    range_occlusion,
)
from kinema.ops.warp import in_frame

METHODS = ["none", "brox", "fb_abs", "wang", "wang4", "wangthres", "wang4thres", "uflow", "geonet"]


def constant_flow(u, v, size_hw):
    return torch.tensor([float(u), float(v)]).view(1, 2, 1, 1).repeat(1, 1, *size_hw)


def wavy_pair():
    """The synthetic 64x96 pair that the values of the original were computed on."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    flow = torch.stack((-2 + torch.cos(0.08 * y - 0.03 * x), 1.5 + torch.sin(0.1 * x + 0.05 * y)))[None]
    return flow, -flow + 0.4 * torch.stack((torch.sin(0.15 * y), torch.cos(0.2 * x)))[None]


# --- values of the originals ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "forward", "backward", "tolerance"),
    [
        ("none", 0, 0, 0),
        ("brox", 305, 300, 0),
        ("fb_abs", 262, 253, 0),
        ("wang", 374.654, 369.245, 1e-3),
        ("wang4", 165.813, 145.610, 1e-3),
        ("wangthres", 295, 315, 0),
        ("uflow", 219.000, 193.001, 1e-3),
    ],
)
def test_occluded_sums_on_the_wavy_pair(method, forward, backward, tolerance):
    one, two = wavy_pair()
    assert estimate_occlusion(one, two, method=method).sum().item() == pytest.approx(forward, abs=tolerance)
    assert estimate_occlusion(two, one, method=method).sum().item() == pytest.approx(backward, abs=tolerance)


def test_error_and_validity_on_the_wavy_pair():
    flow, backward = wavy_pair()
    assert forward_backward_error(flow, backward).mean().item() == pytest.approx(0.579620, abs=1e-6)
    assert in_frame(flow).sum().item() == 5810


@pytest.mark.parametrize(
    ("method", "consistent", "halved"),
    [
        ("brox", 496, 4096),
        ("fb_abs", 496, 4096),
        ("wang", 496, 252),
        ("wang4", 252, 63.75),
        ("uflow", 496, 4096),
    ],
)
def test_occluded_sums_of_a_shift(method, consistent, halved):
    flow = constant_flow(4, 4, (64, 64))
    assert estimate_occlusion(flow, -flow, method=method).sum().item() == pytest.approx(consistent, abs=1e-3)
    assert estimate_occlusion(flow, -flow / 2, method=method).sum().item() == pytest.approx(halved, abs=1e-3)


def test_geonet_mask_counts():
    flow = constant_flow(4, 0, (128, 416))
    assert (1 - consistency_occlusion(flow, -flow)).sum().item() == 127 * 411
    slow = constant_flow(2, 0, (128, 416))
    assert not consistency_occlusion(slow, -slow).any()  # less than alpha is always tolerated
    assert (1 - consistency_occlusion(slow, -slow, scale=2.0)).sum().item() == 127 * 413


# --- what the masks mean --------------------------------------------------------------------------


def test_a_moving_square_hides_what_it_moves_onto():
    """A 4x4 square moves 3 to the right over a still background: 12 background pixels get hidden."""
    flow, backward = torch.zeros(1, 2, 10, 14), torch.zeros(1, 2, 10, 14)
    flow[0, 0, 3:7, 3:7] = 3.0
    backward[0, 0, 3:7, 6:10] = -3.0
    hidden = torch.zeros(1, 1, 10, 14)
    hidden[0, 0, 3:7, 7:10] = 1.0
    assert torch.equal(forward_backward_occlusion(flow, backward), hidden)
    assert torch.equal(absolute_occlusion(flow, backward), hidden)
    assert torch.equal(range_occlusion(backward), hidden)
    assert torch.equal(range_occlusion(backward, threshold=0.75), hidden)
    assert torch.equal(combined_occlusion(flow, backward).round()[..., 7:10], hidden[..., 7:10])


def test_pixels_that_leave_the_frame_are_occluded_unless_left_out():
    flow = constant_flow(0.5, 0, (4, 6))
    exits = torch.zeros(1, 1, 4, 6)
    exits[..., -1] = 1
    assert torch.equal(forward_backward_occlusion(flow, -flow), exits)
    assert not forward_backward_occlusion(flow, -flow, frame_exit=False).any()  # 0.0625 is within 0.5


def test_constants_set_the_threshold():
    flow, backward = constant_flow(3, 0, (8, 16)), constant_flow(-2, 0, (8, 16))  # d = 1, q = 13 inside
    inside = (..., slice(0, 12))
    assert forward_backward_occlusion(flow, backward)[inside].all()  # 1 > 0.13 + 0.5
    assert not forward_backward_occlusion(flow, backward, alpha2=0.9)[inside].any()
    assert not forward_backward_occlusion(flow, backward, alpha1=0.05)[inside].any()
    assert not absolute_occlusion(flow, backward)[inside].any()
    assert absolute_occlusion(flow, backward, threshold=0.9)[inside].all()


def test_confidence_falls_with_disagreement():
    flow = constant_flow(3, 0, (6, 12))
    inside, outside = (..., slice(0, 9)), (..., slice(9, None))
    assert torch.equal(confidence(flow, -flow)[inside], torch.ones(1, 1, 6, 9))
    assert not confidence(flow, -flow)[outside].any()
    backward = constant_flow(-2, 0, (6, 12))
    expected = math.exp(-1 / (0.01 * 13 + 0.5))
    assert confidence(flow, backward)[inside].mean().item() == pytest.approx(expected, rel=1e-6)


def test_confidence_below_one_over_e_is_the_occlusion_threshold():
    flow, backward = wavy_pair()
    doubtful = confidence(flow, backward) < math.exp(-1)
    assert torch.equal(doubtful.float(), forward_backward_occlusion(flow, backward))


def test_gaussian_consistency_is_relative_to_the_diagonal():
    flow, backward = constant_flow(0.3, 0, (3, 4)), constant_flow(0.2, 0, (3, 4))  # d = 0.25 inside
    value = gaussian_consistency(flow, backward, sigma=0.1)[0, 0, 0, 0].item()
    assert value == pytest.approx(math.exp(-0.25 / (0.01 * 25)), rel=1e-5)


# --- shapes, robustness, gradients ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size_hw", [(4, 4), (7, 9)])
def test_masks_are_one_channel_between_zero_and_one(method, dtype, size_hw):
    flow, backward = 3 * torch.randn(2, 2, 2, *size_hw, dtype=dtype)
    mask = estimate_occlusion(flow, backward, method=method)
    assert mask.shape == (2, 1, *size_hw)
    assert mask.dtype == dtype
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_flow_that_is_not_finite_is_occluded_and_without_confidence():
    flow, backward = torch.zeros(1, 2, 5, 5), torch.zeros(1, 2, 5, 5)
    flow[0, 0, 2, 2] = math.nan
    flow[0, 1, 1, 1] = math.inf
    bad = torch.zeros(1, 1, 5, 5)
    bad[0, 0, 2, 2] = bad[0, 0, 1, 1] = 1
    assert torch.equal(forward_backward_occlusion(flow, backward), bad)
    assert torch.equal(forward_backward_occlusion(flow, backward, frame_exit=False), bad)
    assert torch.equal(absolute_occlusion(flow, backward), bad)
    assert torch.equal(consistency_occlusion(flow, backward)[..., :4, :4], bad[..., :4, :4])
    assert torch.equal(confidence(flow, backward), 1 - bad)
    # Nothing points back from a pixel of frame 2 without flow.
    assert torch.equal(range_occlusion(flow), bad)


def test_unknown_method_is_a_clear_error():
    plain = getattr(estimate_occlusion, "__wrapped__", estimate_occlusion)  # past the run-time type check
    with pytest.raises(UsageError, match=r"'magic': use one of none, brox"):
        plain(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), method="magic")


@pytest.mark.parametrize(
    "function",
    [
        forward_backward_error,
        confidence,
        lambda f, b: gaussian_consistency(f, b, sigma=0.3),
        lambda f, b: range_occlusion(b),
        lambda f, b: combined_occlusion(f, b, weights=(1.0, 1.0, 10.0)),
    ],
    ids=["error", "confidence", "gaussian", "range", "combined"],
)
def test_soft_measures_have_gradients(function):
    generator = torch.Generator().manual_seed(5)
    fraction = 0.15 + 0.2 * torch.rand(1, 2, 5, 6, dtype=torch.float64, generator=generator)
    flow = (fraction + torch.randint(-1, 2, (1, 2, 5, 6), generator=generator)).requires_grad_()
    backward = (0.1 - fraction.roll(1, 3)).requires_grad_()
    assert gradcheck(function, (flow, backward))


def test_perfect_agreement_has_finite_gradients():
    flow = torch.zeros(1, 2, 4, 4, requires_grad=True)
    backward = torch.zeros(1, 2, 4, 4, requires_grad=True)
    total = combined_occlusion(flow, backward).sum() + confidence(flow, backward).sum()
    total.backward()
    assert flow.grad.isfinite().all()
    assert backward.grad.isfinite().all()


@pytest.mark.slow
def test_occlusion_compiles_into_one_graph():
    run_compiled(
        """
        from kinema.ops.occlusion import confidence, estimate_occlusion
        flow, backward = torch.randn(1, 2, 12, 17), torch.randn(1, 2, 12, 17)
        for method in ("brox", "wang4", "uflow", "geonet"):
            check(lambda f, b: estimate_occlusion(f, b, method=method), flow, backward)
        check(confidence, flow, backward)
        """
    )
