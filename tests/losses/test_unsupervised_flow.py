"""The objective without truth: what it sees, what it leaves out, what it survives, what it teaches."""

from __future__ import annotations

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.wavy_frames import coarse_flows, enlarged, wavy_frame
from kinema.errors import UsageError
from kinema.losses.unsupervised_flow import (
    TERMS,
    Surround,
    UnsupervisedFlowLosses,
    UnsupervisedFlowSettings,
    collapse_report,
    unsupervised_flow_losses,
)
from kinema.ops.occlusion import estimate_occlusion
from kinema.ops.resize import resize_flow
from kinema.ops.warp import in_frame
from kinema.outputs import TwoWayFlow

ALL = UnsupervisedFlowSettings(photometric=1.0, ssim=1.0, smooth2=1.0)


def flows_of(flow: Tensor, backward: Tensor) -> TwoWayFlow:
    """Flows of the full grid, with their quarter."""
    quarter = (max(flow.shape[-2] // 4, 1), max(flow.shape[-1] // 4, 1))
    return TwoWayFlow(flow, backward, resize_flow(flow, quarter), resize_flow(backward, quarter))


def steady(u: float, v: float, size_hw: tuple[int, int], *, batch: int = 1) -> Tensor:
    return torch.tensor([float(u), float(v)]).view(1, 2, 1, 1).repeat(batch, 1, *size_hw)


def texture(h: int, w: int, *, seed: int = 0) -> Tensor:
    """(1, 3, H, W) smooth enough to be warped."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, h // 4 + 2, w // 4 + 2, generator=g)
    return F.interpolate(coarse, (h, w), mode="bicubic", align_corners=True).clamp(0, 1)


def losses(image1: Tensor, image2: Tensor, flows: TwoWayFlow, **options: object) -> UnsupervisedFlowLosses:
    return unsupervised_flow_losses(image1, image2, flows, **{"settings": ALL, **options})


# --- what is computed -----------------------------------------------------------------------------


def test_only_terms_with_a_weight_are_computed() -> None:
    image1, image2, flows = wavy_frame(0), wavy_frame(1), enlarged(*coarse_flows())
    default = losses(image1, image2, flows, settings=UnsupervisedFlowSettings())
    assert list(default.terms) == ["census", "smooth1"]
    one = UnsupervisedFlowSettings(census=1e-7, smooth1=0.0, ssim=2.0)
    found = losses(image1, image2, flows, settings=one)
    assert list(found.terms) == ["ssim"]
    assert found.total.item() == pytest.approx(2 * found.terms["ssim"].item())
    none = losses(image1, image2, flows, settings=UnsupervisedFlowSettings(census=0.0, smooth1=0.0))
    assert none.terms == {}
    assert none.total.item() == 0


def test_census_is_the_same_with_and_without_colours() -> None:
    """Alone it fetches grey levels, beside others it makes grey what was fetched."""
    image1, image2, flows = wavy_frame(0), wavy_frame(1), enlarged(*coarse_flows())
    alone = losses(image1, image2, flows, settings=UnsupervisedFlowSettings())
    beside = losses(image1, image2, flows)
    torch.testing.assert_close(alone.terms["census"], beside.terms["census"], atol=1e-5, rtol=1e-5)


def test_directions_can_be_swapped() -> None:
    image1, image2, flows = wavy_frame(0), wavy_frame(1), enlarged(*coarse_flows())
    swapped = TwoWayFlow(flows.backward, flows.flow, flows.coarse_backward, flows.coarse)
    one, other = losses(image1, image2, flows), losses(image2, image1, swapped)
    for name in TERMS:
        torch.testing.assert_close(one.terms[name], other.terms[name])
    assert torch.equal(one.visible, other.visible_backward)
    assert torch.equal(one.occluded_share, other.occluded_share.flip(0))


def test_a_batch_of_twins_costs_what_one_costs() -> None:
    image1, image2, flows = wavy_frame(0), wavy_frame(1), enlarged(*coarse_flows())
    twins = TwoWayFlow(*(getattr(flows, n).repeat(3, 1, 1, 1) for n in vars(flows)))
    one = losses(image1, image2, flows)
    three = losses(image1.repeat(3, 1, 1, 1), image2.repeat(3, 1, 1, 1), twins)
    for name in TERMS:
        torch.testing.assert_close(one.terms[name], three.terms[name])
    assert three.visible.shape == (3, 1, 64, 96)


def test_what_is_visible_is_told() -> None:
    size = (32, 40)
    flow = steady(4, 0, size)
    found = losses(texture(*size), texture(*size), flows_of(flow, -flow))
    expected = in_frame(flow) * (1 - estimate_occlusion(flow, -flow, method="wang"))
    assert torch.equal(found.visible, expected)
    assert found.valid_share.tolist() == pytest.approx([0.9, 0.9])
    assert found.occluded_share.tolist() == pytest.approx([0.1, 0.1])
    early = losses(texture(*size), texture(*size), flows_of(flow, -flow), occlusion_active=False)
    assert torch.equal(early.visible, in_frame(flow))
    assert early.occluded_share.tolist() == [0, 0]


def test_the_true_flow_costs_least() -> None:
    large = texture(48, 64)
    image1, image2 = large[..., 4:-4, 4:-4], large[..., 6:-2, 1:-7]  # content moves by (3, -2)
    size = (image1.shape[-2], image1.shape[-1])
    costs = {
        uv: losses(image1, image2, flows_of(steady(*uv, size), steady(-uv[0], -uv[1], size))).terms
        for uv in ((3, -2), (0, 0), (2, -2), (3, -1), (-3, 2))
    }
    for name in ("census", "photometric", "ssim"):
        assert min(costs, key=lambda uv: costs[uv][name].item()) == (3, -2)
    assert costs[3, -2]["photometric"].item() == pytest.approx(0.003, rel=1e-3)  # 0.001 for each channel


def test_hidden_points_are_not_compared() -> None:
    """A patch of other content, which no flow of frame 2 points back to."""
    size = (32, 40)
    image1 = texture(*size)
    image2 = image1.clone()
    image2[..., 10:20, 10:20] = torch.rand(1, 3, 10, 10)
    backward = torch.zeros(1, 2, *size)
    backward[..., 10:20, 10:20] = 100.0
    flows = flows_of(torch.zeros(1, 2, *size), backward)
    settings = UnsupervisedFlowSettings(census=0.0, photometric=1.0, smooth1=0.0)
    masked = losses(image1, image2, flows, settings=settings)
    assert masked.terms["photometric"].item() == pytest.approx(0.003, rel=1e-3)
    assert not masked.visible[..., 10:20, 10:20].any()
    unmasked = losses(image1, image2, flows, settings=settings, occlusion_active=False)
    assert unmasked.terms["photometric"].item() > 0.01


# --- gradients ------------------------------------------------------------------------------------


def test_gradients_reach_flow_and_not_the_source_of_the_warp() -> None:
    images = [wavy_frame(t).requires_grad_() for t in (0, 1)]
    leaves = [flow.requires_grad_() for flow in coarse_flows()]
    losses(*images, enlarged(*leaves)).total.backward()
    assert all(leaf.grad.abs().sum() > 0 for leaf in leaves)
    assert all(image.grad is None for image in images)


def test_a_detached_mask_teaches_nothing() -> None:
    """Where everything looks alike only the mask could be changed to lower the loss."""
    flow, backward = (f.detach().requires_grad_() for f in coarse_flows())
    even = torch.full((1, 3, 64, 96), 0.5)
    settings = UnsupervisedFlowSettings(smooth1=0.0, occlusion="wang")
    losses(even, even, enlarged(flow, backward), settings=settings).total.backward()
    inner = (..., slice(4, -4), slice(4, -4))
    assert not flow.grad[inner].any()


@pytest.mark.parametrize(
    "method", [None, "none", "brox", "fb_abs", "wang", "wang4", "wangthres", "uflow", "geonet"]
)
@pytest.mark.parametrize("detach", [True, False])
def test_every_mask_gives_finite_gradients(method: str | None, detach: bool) -> None:
    leaves = [flow.requires_grad_() for flow in coarse_flows()]
    settings = UnsupervisedFlowSettings(occlusion=method, detach_mask=detach, photometric=1.0, ssim=1.0)
    losses(wavy_frame(0), wavy_frame(1), enlarged(*leaves), settings=settings).total.backward()
    assert all(leaf.grad.isfinite().all() and leaf.grad.any() for leaf in leaves)


@pytest.mark.parametrize("kind", ["identical", "black", "white", "black and white"])
@pytest.mark.parametrize("length", [0.0, 0.3, 500.0])
def test_static_and_even_frames_are_finite(kind: str, length: float) -> None:
    size = (32, 40)
    image1 = {"identical": texture(*size), "white": torch.ones(1, 3, *size)}.get(
        kind, torch.zeros(1, 3, *size)
    )
    image2 = 1 - image1 if kind == "black and white" else image1
    leaves = [steady(length, 0, size).requires_grad_(), steady(-length, 0, size).requires_grad_()]
    for method in ("wang", "brox", "uflow"):
        settings = UnsupervisedFlowSettings(photometric=1.0, ssim=1.0, smooth2=1.0, occlusion=method)
        found = losses(image1, image2, flows_of(*leaves), settings=settings)
        found.total.backward()
        assert all(term.isfinite() for term in found.terms.values())
        assert all(leaf.grad.isfinite().all() for leaf in leaves)
        if length > 100:  # nothing is visible
            assert all(found.terms[name] == 0 for name in ("census", "photometric", "ssim"))


def test_odd_and_tiny_sizes() -> None:
    for size in ((37, 51), (9, 8), (5, 4)):
        leaves = [(3 * torch.rand(2, 2, *size)).requires_grad_() for _ in range(2)]
        images = [torch.rand(2, 3, *size) for _ in range(2)]
        flows = TwoWayFlow(*leaves, *(resize_flow(leaf, (3, 4)) for leaf in leaves))
        found = losses(*images, flows)
        found.total.backward()
        assert found.total.isfinite()
        assert all(leaf.grad.isfinite().all() for leaf in leaves)


# --- the pictures around a crop -------------------------------------------------------------------


def test_what_leaves_the_crop_is_found_around_it() -> None:
    """Content moves by (6, 2); the crop loses six columns of it, the larger picture does not."""
    first = texture(60, 72)
    second = first.roll((2, 6), (2, 3))
    window = (..., slice(12, 44), slice(16, 56))
    size = (32, 40)
    flow, backward = steady(6, 2, size), steady(-6, -2, size)
    crops = first[window], second[window]
    plain = losses(*crops, flows_of(flow, backward))
    around = Surround(image1=first, image2=second, offset=(12, 16))
    whole = losses(*crops, flows_of(flow, backward), surround=around)
    assert plain.valid_share.tolist() == pytest.approx([30 * 34 / 1280] * 2)
    assert whole.valid_share.tolist() == [1, 1]
    assert whole.occluded_share.tolist() == [0, 0]
    assert whole.visible.all()
    assert whole.terms["photometric"].item() == pytest.approx(0.003, rel=1e-3)
    each = Surround(image1=first, image2=second, offset=torch.tensor([[12, 16]]))
    assert losses(*crops, flows_of(flow, backward), surround=each).total == whole.total


def test_the_border_of_the_larger_picture_still_counts() -> None:
    first = texture(40, 48)
    window = (..., slice(4, 36), slice(4, 44))
    flow = steady(6, 0, (32, 40))
    around = Surround(image1=first, image2=first, offset=(4, 4))
    found = losses(first[window], first[window], flows_of(flow, -flow), surround=around)
    assert found.valid_share.tolist() == pytest.approx([38 / 40] * 2)  # two columns leave the large picture
    assert not found.visible[..., 38:].any()
    assert found.visible[..., :38].all()


def test_a_surround_without_margin_fetches_the_same() -> None:
    image1, image2, flows = wavy_frame(0), wavy_frame(1), enlarged(*coarse_flows())
    around = Surround(image1=image1, image2=image2, offset=(0, 0))
    settings = UnsupervisedFlowSettings(occlusion=None)
    one = losses(image1, image2, flows, settings=settings)
    other = losses(image1, image2, flows, settings=settings, surround=around)
    assert torch.equal(one.total, other.total)


# --- collapse -------------------------------------------------------------------------------------


def report(image1: Tensor, image2: Tensor, flow: Tensor, backward: Tensor) -> tuple[str, ...]:
    flows = flows_of(flow, backward)
    found = losses(image1, image2, flows)
    return collapse_report(found, flows, image1=image1, image2=image2)


def test_collapse_has_names() -> None:
    size = (32, 40)
    image1, image2 = texture(*size), texture(*size, seed=1)
    still, far, wild = steady(0, 0, size), steady(400, 0, size), steady(1, 1, size)
    meeting = -torch.stack(torch.meshgrid(torch.arange(40.0), torch.arange(32.0), indexing="xy"))[None]
    assert report(image1, image2, wild, -wild) == ()
    assert report(image1, image2, still, still) == ("zero_flow",)
    assert report(image1, image1, still, still) == ("static_frames",)
    assert "all_outside" in report(image1, image2, far, -far)
    assert report(image1, image2, meeting, meeting) == ("all_occluded",)
    wild = wild.clone()
    wild[0, 0, 3, 3] = math.nan
    assert "non_finite" in report(image1, image2, wild, -wild)


# --- learning -------------------------------------------------------------------------------------


def test_descent_on_the_objective_finds_the_motion() -> None:
    large = texture(80, 96)
    image1, image2 = large[..., 8:-8, 8:-8], large[..., 9:-7, 6:-10]  # content moves by (2, -1)
    coarse = [torch.zeros(1, 2, 16, 20).requires_grad_() for _ in range(2)]
    optimizer = torch.optim.Adam(coarse, lr=0.02)
    settings = UnsupervisedFlowSettings(smooth1=2.0, edge_constant=1.0)
    for _ in range(80):
        optimizer.zero_grad()
        losses(image1, image2, enlarged(*coarse), settings=settings).total.backward()
        optimizer.step()
    flows = enlarged(*coarse)
    for found, true in ((flows.flow, (2, -1)), (flows.backward, (-2, 1))):
        error = (found - steady(*true, (64, 80))).norm(dim=1).mean().item()
        assert error < 0.5 * math.hypot(*true)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"occlusion": "magic"}, "occlusion 'magic' is unknown: use one of none, brox"),
        ({"edge_weighting": "sharp"}, "edge_weighting 'sharp'"),
        ({"photometric_norm": "l3"}, "photometric_norm 'l3'"),
        ({"census": -1.0}, "census is -1.0"),
        ({"smooth1": math.nan}, "smooth1 is nan"),
        ({"edge_constant": math.inf}, "edge_constant is inf"),
        ({"census_radius": 0}, "census_radius is 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, object], words: str) -> None:
    plain = inspect.unwrap(UnsupervisedFlowSettings.__init__)  # past the run-time type check
    with pytest.raises(UsageError, match=words):
        plain(object.__new__(UnsupervisedFlowSettings), **options)


def test_sizes_that_do_not_fit_are_refused() -> None:
    plain = getattr(unsupervised_flow_losses, "__wrapped__", unsupervised_flow_losses)
    flows = flows_of(steady(0, 0, (16, 20)), steady(0, 0, (16, 20)))
    with pytest.raises(UsageError, match="flow is"):
        plain(torch.rand(1, 3, 16, 24), torch.rand(1, 3, 16, 24), flows, settings=ALL)
