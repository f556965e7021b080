"""TVNet as a solver: known motions, sizes, batches, clips, early stop, gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kinema.errors import InputError, UsageError
from kinema.models.tvnet import TVNet
from kinema.outputs import FlowOutput


def texture(h: int, w: int, *, seed: int = 0) -> torch.Tensor:
    """(1, 3, H, W): smooth noise with detail at several scales, in [0, 1]."""
    g = torch.Generator().manual_seed(seed)
    image = torch.zeros(1, 3, h, w)
    for cell, weight in ((32, 1.0), (12, 0.6), (5, 0.3)):
        coarse = torch.rand((1, 3, h // cell + 3, w // cell + 3), generator=g)
        image += weight * F.interpolate(coarse, (h, w), mode="bicubic", align_corners=True)
    return ((image - image.amin()) / (image.amax() - image.amin())).clamp(0, 1)


def shifted_pair(
    dx: int, dy: int, *, h: int = 96, w: int = 128, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two crops of one texture: the content moves by (dx, dy) pixels from the first to the second."""
    margin = 40
    canvas = texture(h + 2 * margin, w + 2 * margin, seed=seed)
    first = canvas[..., margin : margin + h, margin : margin + w]
    second = canvas[..., margin - dy : margin - dy + h, margin - dx : margin - dx + w]
    return first.contiguous(), second.contiguous()


def endpoint_error(flow: torch.Tensor, dx: float, dy: float, *, rim: int = 0) -> float:
    error = (flow - torch.tensor([dx, dy]).view(1, 2, 1, 1)).square().sum(1).sqrt()
    return float(error[:, rim : error.shape[1] - rim, rim : error.shape[2] - rim].mean())


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, -2), (3, -2), (8, 5), (16, 0)])
def test_whole_pixel_shifts_are_found(dx: int, dy: int) -> None:
    with torch.inference_mode():
        flow = TVNet()(*shifted_pair(dx, dy)).flow
    assert endpoint_error(flow, dx, dy) < 0.7  # what leaves the frame can only be guessed
    assert endpoint_error(flow, dx, dy, rim=20) < 0.03


def test_corrected_beats_reference_on_motion_that_leaves_the_frame() -> None:
    pair = shifted_pair(8, 5)
    with torch.inference_mode():
        corrected = endpoint_error(TVNet(scales=5)(*pair).flow, 8, 5)
        reference = endpoint_error(TVNet("reference")(*pair).flow, 8, 5)
    assert corrected < 0.25 * reference


def test_swapping_the_frames_turns_the_flow_round() -> None:
    first, second = shifted_pair(3, -2)
    with torch.inference_mode():
        assert endpoint_error(TVNet()(second, first).flow, -3, 2, rim=8) < 0.05


def test_equal_frames_do_not_move() -> None:
    first, _ = shifted_pair(0, 0)
    with torch.inference_mode():
        for preset in ("corrected", "reference"):
            assert TVNet(preset)(first, first).flow.abs().max() < 1e-3


def test_constant_frames_give_zero_and_no_nan() -> None:
    flat = torch.full((1, 3, 20, 30), 0.4)
    with torch.inference_mode():
        assert not TVNet()(flat, flat + 0.1).flow.any()
        assert TVNet("reference")(flat, flat).flow.abs().max() < 1e-3


@pytest.mark.parametrize("preset", ["corrected", "reference"])
@pytest.mark.parametrize(
    "size_hw", [(3, 3), (3, 40), (41, 3), (15, 17), (16, 16), (33, 47), (64, 64), (65, 97)]
)
def test_any_size_from_three_pixels(preset: str, size_hw: tuple[int, int]) -> None:
    image1, image2 = texture(*size_hw), texture(*size_hw, seed=1)
    with torch.inference_mode():
        output = TVNet(preset, warps=2, iterations=5)(image1, image2)
    assert isinstance(output, FlowOutput)
    assert output.flow.shape == (1, 2, *size_hw)
    assert output.residual is not None
    assert output.residual.shape == (1, 1, *size_hw)
    assert output.flow.isfinite().all()


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 50), (50, 2)])
def test_smaller_is_an_error_that_says_the_smallest(size_hw: tuple[int, int]) -> None:
    image = torch.zeros(1, 3, *size_hw)
    with pytest.raises(InputError, match="at least 3x3"):
        TVNet()(image, image)


def test_levels_stop_at_sixteen_pixels_and_obey_the_limit() -> None:
    assert TVNet().level_sizes((436, 1024)) == [(436, 1024), (218, 512), (109, 256), (55, 128), (27, 64)]
    assert TVNet(scales=2).level_sizes((436, 1024)) == [(436, 1024), (218, 512)]
    assert TVNet().level_sizes((17, 900)) == [(17, 900)]
    assert TVNet("reference").level_sizes((45, 61)) == [(45, 61), (23, 31), (11, 15), (6, 8), (3, 4)]


@pytest.mark.parametrize("stop_below", [0.0, 0.01])
def test_a_batch_is_its_samples(stop_below: float) -> None:
    pairs = [shifted_pair(dx, 1, h=48, w=56, seed=dx) for dx in (0, 2, 5)]
    first, second = (torch.cat(frames) for frames in zip(*pairs, strict=True))
    model = TVNet(warps=3, iterations=30, stop_below=stop_below)
    with torch.inference_mode():
        together = model(first, second).flow
        for n, pair in enumerate(pairs):
            torch.testing.assert_close(together[n : n + 1], model(*pair).flow, atol=1e-4, rtol=1e-4)


def test_early_stop_changes_little_and_zero_runs_everything() -> None:
    pair = shifted_pair(3, -2)
    with torch.inference_mode():
        full = TVNet()(*pair).flow
        early = TVNet(stop_below=0.003)(*pair).flow
        lazy = TVNet(stop_below=1e9)(*pair).flow
    assert 0 < (full - early).abs().mean() < 0.02
    assert (full - lazy).abs().mean() > (full - early).abs().mean()


def test_initial_flow_of_any_size_is_in_its_own_pixels() -> None:
    first, second = shifted_pair(12, 0, h=64, w=96)
    model = TVNet(scales=1, warps=3)
    full = torch.zeros(1, 2, 64, 96)
    full[:, 0] = 12
    with torch.inference_mode():
        cold = endpoint_error(model(first, second).flow, 12, 0, rim=16)
        warm = endpoint_error(model(first, second, initial_flow=full).flow, 12, 0, rim=16)
        half = endpoint_error(model(first, second, initial_flow=full[..., ::2, ::2] / 2).flow, 12, 0, rim=16)
    assert cold > 2
    assert warm < 0.05
    assert half < 0.05


def test_clips_give_one_flow_per_neighbouring_pair() -> None:
    canvas = texture(120, 160)
    frames = torch.stack([canvas[..., 20:84, 40 - 2 * t : 136 - 2 * t] for t in range(4)], 1)
    model = TVNet(warps=3, iterations=30)
    with torch.inference_mode():
        for warm_start in (True, False):
            flows = model.clip(frames, warm_start=warm_start)
            assert flows.shape == (1, 3, 2, 64, 96)
            assert endpoint_error(flows[0], 2, 0, rim=4) < 0.05
        torch.testing.assert_close(flows[:, 1], model(frames[:, 1], frames[:, 2]).flow)
    with pytest.raises(InputError, match="at least two frames"):
        model.clip(frames[:, :1])


def test_gradients_reach_the_images_of_the_corrected_preset() -> None:
    first, second = shifted_pair(1, 0, h=24, w=32)
    first.requires_grad_()
    second.requires_grad_()
    output = TVNet(warps=2, iterations=4)(first, second)
    output.flow.square().sum().backward()
    for image in (first, second):
        assert image.grad is not None
        assert image.grad.isfinite().all()
        assert image.grad.abs().sum() > 0


def test_kernels_are_parameters_on_request() -> None:
    model = TVNet("reference", scales=1, warps=1, iterations=50, kernels="per_iteration")
    assert sum(p.numel() for p in model.parameters()) == 800
    assert not list(TVNet().parameters())
    first, second = shifted_pair(1, 0, h=24, w=32)
    fixed = TVNet("reference", scales=1, warps=1, iterations=50)(first, second).flow
    torch.testing.assert_close(model(first, second).flow, fixed, atol=1e-4, rtol=1e-4)


def test_state_round_trip() -> None:
    model = TVNet(scales=2, warps=1, iterations=2, kernels="per_iteration")
    with torch.no_grad():
        model.kernels.taps.mul_(0.9)
    again = TVNet(scales=2, warps=1, iterations=2, kernels="per_iteration")
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.kernels.taps, model.kernels.taps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scales": 0}, "scales must be at least 1"),
        ({"warps": -1}, "warps must be at least 1"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"tau": 0.3}, "tau must lie in"),
        ({"theta": 0.0}, "theta must lie in"),
        ({"zoom": 1.0}, "zoom must lie between"),
        ({"median": 4}, "odd window side"),
        ({"stop_below": -0.1}, "must not be negative"),
        ({"kernels": "per_iteration"}, "scales=N"),
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TVNet(**settings)


def test_repeated_runs_are_bit_equal() -> None:
    pair = shifted_pair(3, 1)
    model = TVNet(warps=2, iterations=20)
    with torch.inference_mode():
        assert torch.equal(model(*pair).flow, model(*pair).flow)
