"""UFlow's losses, masks, warps and resizing against numbers of the original system."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from helpers.wavy_frames import coarse_flows, enlarged, wavy_flows, wavy_frame
from kinema.data.transforms.pairs import FlowPairs
from kinema.data.transforms.views import about_centre, chained, look
from kinema.losses.appearance import census_loss, photometric_loss, ssim_loss
from kinema.losses.self_supervision import self_supervision_loss
from kinema.losses.unsupervised_flow import UnsupervisedFlowSettings, unsupervised_flow_losses
from kinema.ops.census import census_distance, grey_levels
from kinema.ops.occlusion import estimate_occlusion, forward_backward_error
from kinema.ops.resize import resize_flow, resize_image, resize_sparse_flow
from kinema.ops.robust import robust_l1, robust_power
from kinema.ops.smoothness import edge_weights, smoothness
from kinema.ops.warp import backward_warp, in_frame, range_map, sample


def approx(value: float, *, rel: float = 2e-6, off: float = 1e-6) -> object:
    """As close as the printed digits and float32 allow."""
    return pytest.approx(value, rel=rel, abs=off)


def steady(u: float, v: float, size_hw: tuple[int, int]) -> Tensor:
    return torch.tensor([float(u), float(v)]).view(1, 2, 1, 1).repeat(1, 1, *size_hw)


def every_term(**changes: object) -> UnsupervisedFlowSettings:
    ones = {"census": 1.0, "photometric": 1.0, "ssim": 1.0, "smooth1": 1.0, "smooth2": 1.0}
    return UnsupervisedFlowSettings(**{**ones, **changes})


# --- penalties, census, resizing, sampling --------------------------------------------------------


def test_penalties() -> None:
    assert robust_l1(torch.zeros(1)).item() == approx(0.001, rel=1e-6)
    assert robust_power(torch.zeros(1)).item() == approx(0.158489)
    assert robust_power(torch.ones(1)).item() == approx(1.003988)


def test_census_of_even_pictures() -> None:
    one, other, seen = (
        torch.full((1, 1, 32, 32), 20.0),
        torch.full((1, 1, 32, 32), 230.0),
        torch.ones(1, 1, 32, 32),
    )
    assert census_loss(one, other, seen).item() == approx(0.158489)


def test_census_of_one_white_pixel() -> None:
    black = torch.zeros(1, 3, 32, 32)
    dotted = black.clone()
    dotted[..., 16, 16] = 1.0
    first, second = grey_levels(black), grey_levels(dotted)
    distance = census_distance(first, second)[0, 0]
    assert distance[16, 16].item() == approx(43.63631)
    expected = torch.zeros(32, 32)
    expected[13:20, 13:20] = 0.909090
    expected[16, 16] = 43.63631
    torch.testing.assert_close(distance, expected, atol=2e-6, rtol=2e-6)
    assert census_loss(first, second, torch.ones(1, 1, 32, 32)).item() == approx(0.222350)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 1], [0, 0.25, 0.75, 1]),
        (range(8), [0.5, 2.5, 4.5, 6.5]),
        (range(8), [1.5, 5.5]),
        (range(8), [0.8333, 3.5, 6.1667]),
    ],
)
def test_bilinear_resizing(given: range, expected: list[float]) -> None:
    row = torch.tensor([float(value) for value in given]).view(1, 1, 1, -1)
    resized = resize_image(row, (1, len(expected)), antialias=False)
    assert resized.flatten().tolist() == pytest.approx(expected, abs=5e-5)


def test_sampling() -> None:
    image = torch.arange(1.0, 13.0).view(1, 1, 3, 4)
    rows_columns = [(0.5, 0.5), (2, 3), (2.5, 3), (-0.5, 0), (1, 3.25), (-1, -1)]
    points = torch.tensor([(x, y) for y, x in rows_columns]).T.reshape(1, 2, 1, -1)
    assert sample(image, points).flatten().tolist() == pytest.approx([3.5, 12, 6, 0.5, 6, 0], abs=1e-6)


def test_masked_resizing() -> None:
    flow, valid = torch.full((1, 2, 8, 8), 9.0), torch.zeros(1, 1, 8, 8)
    flow[0, :, 0, 0] = torch.tensor([1.0, 0.0])
    valid[..., 0, 0] = 1
    small, known = resize_sparse_flow(flow, valid, (2, 2))
    assert small[0, :, 0, 0].tolist() == [0.25, 0]
    assert small.abs().sum().item() == 0.25
    assert known[0, 0].tolist() == [[1, 0], [0, 0]]


def test_range_maps() -> None:
    flow = steady(1.5, 0, (1, 6))
    assert range_map(flow).flatten().tolist() == [0, 0.5, 1, 1, 1, 1]
    flow[0, 0, 0] = -0.5 * torch.arange(6)
    assert range_map(flow).flatten().tolist() == [1.5, 2, 2, 0.5, 0, 0]


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
def test_occlusion_of_a_shift(method: str, consistent: float, halved: float) -> None:
    flow = steady(4, 4, (64, 64))
    assert in_frame(flow).sum().item() == 3600
    assert estimate_occlusion(flow, -flow, method=method).sum().item() == approx(consistent, off=1e-3)
    assert estimate_occlusion(flow, -flow / 2, method=method).sum().item() == approx(halved, off=1e-3)
    if method == "wang":
        hidden = torch.zeros(1, 1, 64, 64)
        hidden[..., 62:, :] = hidden[..., :, 62:] = 1
        assert torch.equal(estimate_occlusion(flow, -flow / 2, method=method), hidden)


def test_resampling_a_batch() -> None:
    maps = torch.tensor([[[1.0, 2], [3, 4]], [[5, 6], [7, 8]]]).permute(2, 0, 1)[None]
    points = torch.tensor([[1, 1.5], [0.4, 1], [10, 20]]).T.reshape(1, 2, 1, 3)
    found = sample(maps, points)[0, :, 0].T.tolist()
    assert found == [pytest.approx(pair) for pair in ([3.5, 4], [5.8, 6.8], [0, 0])]


# --- masks and losses of the wavy frames ----------------------------------------------------------


def test_means_of_the_wavy_frames() -> None:
    (flow, backward), first, second = wavy_flows(), wavy_frame(0), wavy_frame(1)
    assert first.mean().item() == approx(0.498166)
    assert backward_warp(second, flow).mean().item() == approx(0.476540)
    assert in_frame(flow).sum().item() == 5810
    assert forward_backward_error(flow, backward).mean().item() == approx(0.579620)
    lengths = flow.square() + backward_warp(backward, flow).square()
    assert lengths.sum(1).mean().item() == approx(14.11990)


@pytest.mark.parametrize(
    ("method", "forward", "reverse"),
    [
        ("brox", 305, 300),
        ("fb_abs", 262, 253),
        ("wang", 374.654, 369.245),
        ("wang4", 165.813, 145.610),
        ("wangthres", 295, 315),
        ("uflow", 219.000, 193.001),
    ],
)
def test_occlusion_of_the_wavy_frames(method: str, forward: float, reverse: float) -> None:
    flow, backward = wavy_flows()
    assert estimate_occlusion(flow, backward, method=method).sum().item() == approx(forward, off=1e-3)
    assert estimate_occlusion(backward, flow, method=method).sum().item() == approx(reverse, off=1e-3)


def test_losses_of_one_direction() -> None:
    (flow, backward), first, second = wavy_flows(), wavy_frame(0), wavy_frame(1)
    warped = backward_warp(second, flow)
    visible = (1 - estimate_occlusion(flow, backward, method="wang")) * in_frame(flow)
    assert visible.sum().item() == approx(5702.854, off=1e-3)
    assert census_loss(grey_levels(first), grey_levels(warped), visible).item() == approx(2.498681)
    assert photometric_loss(first, warped, visible).item() == approx(0.708047)
    assert ssim_loss(first, warped, visible).item() == approx(0.796675, off=3e-6)


def test_losses_of_both_directions() -> None:
    flows = enlarged(*coarse_flows())
    found = unsupervised_flow_losses(wavy_frame(0), wavy_frame(1), flows, settings=every_term())
    terms = {name: term.item() for name, term in found.terms.items()}
    assert terms["photometric"] == approx(0.702119)
    assert terms["ssim"] == approx(0.789299, off=3e-6)
    assert terms["census"] == approx(2.506562)
    assert terms["smooth1"] == approx(1.82177e-5, rel=1e-5, off=0)
    assert terms["smooth2"] == approx(8.69905e-7, rel=1e-5, off=0)
    assert found.total.item() == approx(sum(terms.values()))


@pytest.mark.parametrize(
    ("weighting", "constant", "first", "second"),
    [("exponential", 10.0, 5.06343e-3, 6.50158e-4), ("gaussian", 150.0, 3.94902e-6, None)],
)
def test_smoothness_of_other_edges(
    weighting: str, constant: float, first: float, second: float | None
) -> None:
    settings = every_term(edge_weighting=weighting, edge_constant=constant)
    flows = enlarged(*coarse_flows())
    terms = unsupervised_flow_losses(wavy_frame(0), wavy_frame(1), flows, settings=settings).terms
    assert terms["smooth1"].item() == approx(first, rel=2e-5, off=0)
    if second is not None:
        assert terms["smooth2"].item() == approx(second, rel=2e-5, off=0)


@pytest.mark.parametrize("order", [1, 2])
def test_smoothness_of_steady_flow(order: int) -> None:
    image = resize_image(wavy_frame(0), (16, 24), antialias=False)
    weights = edge_weights(image, constant=10.0, stride=order)
    expected = 0.001 * sum(weight.mean().item() for weight in weights) / 2
    found = smoothness(steady(3, -2, (16, 24)), image, order=order, edge_constant=10.0)
    assert found.item() == approx(expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 0.0227902),
        ({"sigma_teacher": 0.05, "sigma_student": 0.05}, 0.104376),
        ({"mask": "ddflow"}, 0.104135),
    ],
)
def test_self_supervision(options: dict[str, object], expected: float) -> None:
    flow, backward = coarse_flows()
    teacher, student = enlarged(flow, backward), enlarged(flow / 2, backward / 2)
    assert self_supervision_loss(teacher, student, crop=16, **options).item() == approx(expected, rel=5e-6)


def test_the_teacher_s_crop() -> None:
    flow, _ = coarse_flows()
    u, v = flow.mean((0, 2, 3)).tolist()
    assert (v, u) == (approx(0.373636), approx(-0.483014))
    u, v = resize_flow(flow[..., 4:-4, 4:-4], (16, 24)).mean((0, 2, 3)).tolist()
    assert (v, u) == (approx(0.749656), approx(-0.639862))


@pytest.mark.parametrize(
    ("options", "loss", "norms"),
    [
        ({}, 2.506562, (0.082793, 0.075326)),
        ({"detach_mask": False}, 2.506562, (0.089551, 0.083225)),
        ({"occlusion": "brox"}, 2.505697, (0.083288, 0.075668)),
        ({"smooth1": 4.0}, 2.506635, (0.082795, 0.075345)),
    ],
)
def test_gradients(options: dict[str, object], loss: float, norms: tuple[float, float]) -> None:
    leaves = [flow.requires_grad_() for flow in coarse_flows()]
    settings = UnsupervisedFlowSettings(**{"smooth1": 0.0, **options})
    found = unsupervised_flow_losses(wavy_frame(0), wavy_frame(1), enlarged(*leaves), settings=settings)
    found.total.backward()
    assert found.total.item() == approx(loss)
    assert [leaf.grad.norm().item() for leaf in leaves] == [pytest.approx(norm, rel=1e-4) for norm in norms]


# --- augmentation ---------------------------------------------------------------------------------

VIEWS = {
    "none": ({}, {}),
    "larger": ({"zoom": 1.3}, {}),
    "turned": ({"angle": math.radians(15)}, {}),
    "second frame larger": ({}, {"zoom": 1.05}),
    "second frame turned": ({}, {"angle": math.radians(3)}),
    "second frame shifted": ({}, {"shift_xy": (1.0, -1.0)}),
    "all": (
        {"zoom": 1.2, "angle": math.radians(-10)},
        {"zoom": 0.97, "angle": 0.05, "shift_xy": (-1.0, 0.0)},
    ),
}


@pytest.mark.parametrize("mirrored", [(), (3,), (2,), (2, 3)])
@pytest.mark.parametrize("name", VIEWS)
def test_flow_still_explains_an_augmented_pair(name: str, mirrored: tuple[int, ...]) -> None:
    """A white square of 2x2 moves by (2, 2)."""
    first, second = torch.zeros(1, 3, 6, 6), torch.zeros(1, 3, 6, 6)
    first[..., 1:3, 1:3] = 1
    second[..., 3:5, 3:5] = 1
    flow = torch.zeros(1, 2, 6, 6)
    flow[..., 1:3, 1:3] = 2
    signs = torch.tensor([-1.0 if 3 in mirrored else 1.0, -1.0 if 2 in mirrored else 1.0]).view(1, 2, 1, 1)
    pairs = FlowPairs(
        image1=first.flip(mirrored),
        image2=second.flip(mirrored),
        flow=(flow * signs).flip(mirrored),
        valid=torch.ones(1, 1, 6, 6, dtype=torch.bool),
        hidden=torch.zeros(1, 1, 6, 6, dtype=torch.bool),
    )
    common, change = (about_centre((6, 6), **options) for options in VIEWS[name])
    seen = look(pairs, [common], (6, 6), views2=[chained(common, change)])
    explained = (backward_warp(seen.image2, seen.flow) - seen.image1).abs().mean()
    assert explained < (seen.image2 - seen.image1).abs().mean()
