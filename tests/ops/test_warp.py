"""Backward warp and forward splat: exactness, border rules, gradients, robustness."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from helpers.compiled import run_compiled
from kinema.errors import UsageError
from kinema.ops.warp import _splat_corners, backward_warp, forward_splat, in_frame, range_map, sample

BORDERS = ["zeros", "replicate", "reflect", "pwcnet", "geonet", "tvnet"]
RULES = [(border, mode) for border in BORDERS for mode in ("bilinear", "bicubic", "nearest")]
RULES = [(border, mode) for border, mode in RULES if border != "tvnet" or mode == "bilinear"]


def constant_flow(u, v, size_hw, dtype=torch.float32):
    return torch.tensor([u, v], dtype=dtype).view(1, 2, 1, 1).expand(1, 2, *size_hw)


def at(image, points, **options):
    """The values of a one-channel image at a list of (x, y)."""
    xy = torch.tensor(points, dtype=image.dtype).T.reshape(1, 2, 1, -1)
    return sample(image[None, None], xy, **options).flatten().tolist()


# --- exactness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("border", "mode"), RULES)
@pytest.mark.parametrize("size_hw", [(2, 3), (5, 7), (37, 101), (64, 64), (97, 333)])
def test_zero_flow_returns_the_image_bit_for_bit(border, mode, dtype, size_hw):
    image = torch.rand(2, 3, *size_hw, dtype=dtype, generator=torch.Generator().manual_seed(1))
    expected = image.clone()
    if border == "geonet":  # its frame ends before the last column and row
        expected[..., -1, :] = 0
        expected[..., :, -1] = 0
    warped = backward_warp(
        image, constant_flow(0, 0, size_hw, dtype).expand(2, -1, -1, -1), border=border, mode=mode
    )
    assert torch.equal(warped, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("border", "mode"), [rule for rule in RULES if rule[0] in ("zeros", "replicate", "reflect")]
)
@pytest.mark.parametrize(("u", "v"), [(1, 0), (0, 1), (-3, 2), (17, -11), (200, 0)])
def test_whole_pixel_flow_shifts_bit_for_bit(border, mode, dtype, u, v):
    height, width = 31, 119
    image = np.random.default_rng(2).random((height, width))
    pad = {"zeros": "constant", "replicate": "edge", "reflect": "reflect"}[border]
    padded = np.pad(image, 220, mode=pad)
    expected = padded[220 + v : 220 + v + height, 220 + u : 220 + u + width]
    warped = backward_warp(
        torch.from_numpy(image).to(dtype)[None, None],
        constant_flow(u, v, (height, width), dtype),
        border=border,
        mode=mode,
    )
    assert torch.equal(warped[0, 0], torch.from_numpy(expected).to(dtype))


@pytest.mark.parametrize("border", ["zeros", "replicate", "reflect", "pwcnet"])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 9), (9, 1)])
def test_one_pixel_wide_images(border, size_hw):
    image = torch.rand(1, 1, *size_hw)
    assert torch.equal(backward_warp(image, constant_flow(0, 0, size_hw), border=border), image)
    assert backward_warp(image, constant_flow(0.5, 0.5, size_hw), border=border).isfinite().all()


def test_float32_stays_close_to_float64_on_a_wide_frame():
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, 1, 9, 1242, dtype=torch.float64, generator=generator)
    flow = 20 * torch.randn(1, 2, 9, 1242, dtype=torch.float64, generator=generator).round(decimals=2)
    # Pixel + flow alone rounds by up to 6e-5 at x = 1242, times a slope of 1 grey level per pixel at most.
    error = backward_warp(image.float(), flow.float(), border="replicate") - backward_warp(
        image, flow, border="replicate"
    )
    assert error.abs().max() < 3e-4
    assert error.abs().mean() < 2e-5


# --- border rules ---------------------------------------------------------------------------------


def slow_bilinear(image, x, y, border):
    """Every border rule written down once more, one pixel at a time."""
    height, width = image.shape
    if border == "pwcnet" and not (0 <= x <= width - 1 and 0 <= y <= height - 1):
        return 0.0
    if border == "geonet" and not (0 <= x < width - 1 and 0 <= y < height - 1):
        return 0.0
    if border == "replicate":
        x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    if border == "reflect":
        x, y = fold(x, width - 1), fold(y, height - 1)
    total = 0.0
    for row, row_weight in corners(y, height, border):
        for column, column_weight in corners(x, width, border):
            if 0 <= row < height and 0 <= column < width:
                total += image[row, column] * row_weight * column_weight
    return total


def corners(x, size, border):
    low = math.floor(x)
    if border != "tvnet":
        return [(low, low + 1 - x), (low + 1, x - low)]
    x0, x1 = min(max(low, 0), size - 2), min(max(low + 1, 0), size - 1)
    return [(x0, x1 - x), (x1, x - x0)]


def fold(x, last):
    while not 0 <= x <= last:
        x = -x if x < 0 else 2 * last - x
    return x


@pytest.mark.parametrize("border", BORDERS)
def test_border_rules_match_a_slow_reference(border):
    rng = np.random.default_rng(4)
    image = rng.random((5, 7))
    flow = rng.uniform(-14, 14, (2, 5, 7))
    flow[:, 0] = np.round(flow[:, 0])  # whole pixels too
    displacement = flow * np.array([6 / 7, 4 / 5]).reshape(2, 1, 1) if border == "tvnet" else flow
    expected = [
        [slow_bilinear(image, c + displacement[0, r, c], r + displacement[1, r, c], border) for c in range(7)]
        for r in range(5)
    ]
    warped = backward_warp(torch.from_numpy(image)[None, None], torch.from_numpy(flow)[None], border=border)
    np.testing.assert_allclose(warped[0, 0].numpy(), expected, atol=1e-13)


def test_uflow_resampler_values():
    image = torch.arange(1.0, 13.0).view(3, 4)
    points_row_col = [(0.5, 0.5), (2, 3), (2.5, 3), (-0.5, 0), (1, 3.25), (-1, -1)]
    values = at(image, [(col, row) for row, col in points_row_col], border="zeros")
    assert values == pytest.approx([3.5, 12, 6, 0.5, 6, 0], abs=1e-5)


def test_uflow_resampler_values_for_two_channels():
    maps = torch.tensor([[[1.0, 3.0], [5.0, 7.0]], [[2.0, 4.0], [6.0, 8.0]]])[None]
    points = torch.tensor([[1.0, 0.4, 10.0], [1.5, 1.0, 20.0]]).view(1, 2, 1, 3)
    expected = torch.tensor([[3.5, 5.8, 0.0], [4.0, 6.8, 0.0]]).view(1, 2, 1, 3)
    torch.testing.assert_close(sample(maps, points, border="zeros"), expected)


def test_geonet_sampler_values():
    image = torch.arange(12.0).view(3, 4)
    points = [(0.5, 0.5), (1.25, 1.75), (3, 2), (2, 2), (-0.5, 1), (3.5, 1)]
    assert at(image, points, border="geonet") == pytest.approx([2.5, 8.25, 0, 0, 0, 0], abs=1e-5)


def test_tvnet_rule_is_zero_before_and_extrapolates_behind():
    image = torch.tensor([[0.0, 1.0, 4.0], [0.0, 1.0, 4.0]])
    points = [(-0.25, 0.0), (-7.0, 0.5), (2.0, 0.0), (3.0, 0.0), (4.5, 0.5), (1.0, -0.5)]
    assert at(image, points, border="tvnet") == pytest.approx([0, 0, 4, 7, 11.5, 0])
    ramp = torch.tensor([0.0, 1.0, 2.0, 3.0]).view(1, 1, 1, 4).repeat(1, 1, 2, 1)
    shifted = backward_warp(ramp, constant_flow(1.0, 0.0, (2, 4)), border="tvnet")  # 1 pixel shrinks to 3 / 4
    torch.testing.assert_close(shifted[0, 0, 0], torch.tensor([0.75, 1.75, 2.75, 3.75]))


def test_pwcnet_rule_keeps_the_last_pixel_and_drops_the_next():
    image = torch.ones(3, 4)
    points = [(3.0, 2.0), (3.001, 2.0), (0.0, 0.0), (-0.001, 0.0), (1.5, 1.5)]
    assert at(image, points, border="pwcnet") == [1, 0, 1, 0, 1]


def test_tfoptflow_warp_is_replicate_with_opposite_sign_and_order():
    image = torch.arange(20.0).view(1, 1, 4, 5)
    flow = torch.zeros(1, 2, 4, 5)
    flow[:, 0], flow[:, 1] = 1.0, -2.0
    # tfoptflow samples at (row - flow[0], column - flow[1]), clamped to the image.
    rows = (torch.arange(4) - 1).clamp(0, 3)
    columns = (torch.arange(5) + 2).clamp(0, 4)
    expected = image[..., rows, :][..., columns]
    assert torch.equal(backward_warp(image, -flow.flip(1), border="replicate"), expected)


def test_bicubic_is_cubic_convolution_with_a_minus_three_quarters():
    rng = np.random.default_rng(5)
    image = rng.random((8, 9))

    def kernel(t, a=-0.75):
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    points = rng.uniform(1.5, 5.5, (20, 2))
    expected = [
        sum(image[r, c] * kernel(x - c) * kernel(y - r) for r in range(8) for c in range(9))
        for x, y in points
    ]
    values = at(torch.from_numpy(image), points.tolist(), border="replicate", mode="bicubic")
    assert values == pytest.approx(expected, abs=1e-12)


def test_nearest_takes_the_closest_pixel():
    image = torch.arange(6.0).view(2, 3)
    assert at(image, [(0.4, 0.6), (1.6, 0.4), (2.4, 1.4)], border="replicate", mode="nearest") == [3, 2, 5]


# --- robustness -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("border", "mode"), RULES)
def test_flow_that_is_not_finite_gives_zero_and_leaves_the_rest_alone(border, mode):
    image = torch.rand(1, 2, 4, 5)
    flow = torch.zeros(1, 2, 4, 5, requires_grad=True)
    with torch.no_grad():
        flow[0, 0, 1, 1], flow[0, 1, 2, 2], flow[0, 0, 0, 3] = math.nan, math.inf, -math.inf
    bad = ~flow.isfinite().all(dim=1, keepdim=True)
    warped = backward_warp(image, flow, border=border, mode=mode)
    clean = backward_warp(image, flow.nan_to_num(0, 0, 0), border=border, mode=mode)
    assert torch.equal(warped, torch.where(bad, 0.0, clean))
    warped.sum().backward()
    assert flow.grad.isfinite().all()
    assert torch.equal(in_frame(flow), (~bad).float())


@pytest.mark.parametrize("border", ["zeros", "replicate", "reflect", "pwcnet", "geonet"])
def test_enormous_flow_does_no_harm(border):
    image = torch.rand(1, 1, 4, 5)
    for size in (1e6, 1e12, 3e38):
        warped = backward_warp(image, constant_flow(size, -size, (4, 5)), border=border)
        assert warped.isfinite().all()
        assert warped.min() >= 0
        assert warped.max() <= 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("border", BORDERS)
def test_half_precision_images_are_sampled_in_float32(dtype, border):
    image = torch.rand(1, 2, 9, 300).to(dtype)
    flow = constant_flow(0.5, 0.25, (9, 300))
    warped = backward_warp(image, flow, border=border)
    assert warped.dtype == dtype
    assert torch.equal(warped, backward_warp(image.float(), flow, border=border).to(dtype))


def test_inputs_are_left_alone():
    image, flow = torch.rand(1, 1, 4, 4), torch.randn(1, 2, 4, 4)
    copies = image.clone(), flow.clone()
    backward_warp(image, flow, border="replicate")
    forward_splat(image, flow, mode="average")
    assert torch.equal(image, copies[0])
    assert torch.equal(flow, copies[1])


@pytest.mark.parametrize("mode", ["bicubic", "nearest"])
def test_tvnet_rule_is_bilinear_only(mode):
    with pytest.raises(UsageError, match="mode='bilinear' only"):
        backward_warp(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 4), border="tvnet", mode=mode)


def test_in_frame_includes_the_outermost_pixel_centres():
    flow = torch.zeros(1, 2, 2, 4)
    flow[0, 0, 0] = torch.tensor([0.0, 2.0, 1.25, -3.0])  # to x = 0, 3, 3.25, 0
    flow[0, 1, 1] = torch.tensor([0.0, 0.25, -1.0, -1.5])  # to y = 1, 1.25, 0, -0.5
    assert in_frame(flow)[0, 0].tolist() == [[1, 1, 0, 1], [1, 0, 1, 0]]


# --- gradients ------------------------------------------------------------------------------------


def smooth_case(generator_seed=6, size_hw=(4, 5)):
    """Positions clear of whole and half pixels, where interpolation has kinks; some of them outside."""
    generator = torch.Generator().manual_seed(generator_seed)
    image = torch.rand(1, 2, *size_hw, dtype=torch.float64, generator=generator)
    whole = torch.randint(-3, 3, (1, 2, *size_hw), generator=generator)
    fraction = 0.1 + 0.3 * torch.rand(1, 2, *size_hw, dtype=torch.float64, generator=generator)
    return image.requires_grad_(), (whole + fraction).requires_grad_()


@pytest.mark.parametrize(("border", "mode"), RULES)
def test_warp_gradients(border, mode):
    image, flow = smooth_case()
    if border == "tvnet":  # its shrunken displacement moves the kinks
        shrunk = flow.detach() * torch.tensor([5 / 4, 4 / 3], dtype=torch.float64).view(2, 1, 1)
        flow = shrunk.requires_grad_()
    assert gradcheck(lambda i, f: backward_warp(i, f, border=border, mode=mode), (image, flow))


@pytest.mark.parametrize("mode", ["sum", "average"])
def test_splat_gradients(mode):
    values, flow = smooth_case()
    assert gradcheck(lambda v, f: forward_splat(v, f, mode=mode), (values, flow))


@pytest.mark.parametrize("factor", [1, 2])
def test_range_map_gradients(factor):
    _, flow = smooth_case()
    assert gradcheck(lambda f: range_map(f, factor=factor), (2 * flow.detach().clone()).requires_grad_())


def test_replicated_border_has_no_slope():
    image = torch.rand(1, 1, 3, 4, dtype=torch.float64)
    flow = constant_flow(10.0, -10.0, (3, 4), torch.float64).clone().requires_grad_()
    backward_warp(image, flow, border="replicate").sum().backward()
    assert not flow.grad.any()


# --- splatting ------------------------------------------------------------------------------------


def test_splat_is_the_adjoint_of_the_warp():
    image, flow = smooth_case(7, (9, 11))
    values = torch.rand(1, 2, 9, 11, dtype=torch.float64)
    gathered = (backward_warp(image, flow, border="zeros") * values).sum()
    scattered = (image * forward_splat(values, flow)).sum()
    torch.testing.assert_close(gathered, scattered)


def test_splat_shares_a_value_among_four_pixels():
    values = torch.zeros(1, 1, 3, 3)
    values[0, 0, 1, 0] = 8.0
    splatted = forward_splat(values, constant_flow(0.75, 0.5, (3, 3)))
    assert splatted[0, 0].tolist() == [[0, 0, 0], [1, 3, 0], [1, 3, 0]]


def test_average_splat_divides_by_what_arrived_and_leaves_holes_at_zero():
    values = torch.tensor([2.0, 4.0, 6.0, 8.0]).view(1, 1, 1, 4)
    flow = torch.zeros(1, 2, 1, 4)
    flow[0, 0, 0] = torch.tensor([1.0, 0.0, 0.0, 5.0])  # 2 joins 4; 8 leaves the frame
    assert forward_splat(values, flow, mode="average").flatten().tolist() == [0, 3, 6, 0]
    assert forward_splat(values, flow).flatten().tolist() == [0, 6, 6, 0]


def test_splat_drops_flow_that_is_not_finite():
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, 0, 0, 0], flow[0, 1, 1, 1] = math.nan, math.inf
    assert forward_splat(torch.ones(1, 1, 2, 2), flow)[0, 0].tolist() == [[0, 1], [1, 0]]


def test_splat_is_repeatable_to_the_bit():
    generator = torch.Generator().manual_seed(8)
    values = torch.rand(2, 3, 64, 80, generator=generator)
    flow = 10 * torch.randn(2, 2, 64, 80, generator=generator)
    first = forward_splat(values, flow)
    assert all(torch.equal(first, forward_splat(values, flow)) for _ in range(5))


def test_splat_finds_its_pixel_beyond_the_whole_numbers_of_float32():
    point = torch.tensor([4999.0, 4998.0]).view(1, 2, 1)  # in an image of 25 million pixels
    index, weight = next(_splat_corners(point, (5000, 5000)))
    assert (index.item(), weight.item()) == (4998 * 5000 + 4999, 1.0)


def test_range_map_values():
    flow = torch.zeros(1, 2, 1, 6)
    flow[0, 0] = 1.5
    assert range_map(flow).flatten().tolist() == [0, 0.5, 1, 1, 1, 1]
    flow[0, 0, 0] = -0.5 * torch.arange(6)
    assert range_map(flow).flatten().tolist() == [1.5, 2, 2, 0.5, 0, 0]


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_zero_flow_reaches_every_pixel_once(factor):
    torch.testing.assert_close(range_map(torch.zeros(2, 2, 24, 48), factor=factor), torch.ones(2, 1, 24, 48))


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("size_hw", [(5, 7), (37, 101), (64, 48)])
def test_range_map_is_the_same_with_and_without_gradient(factor, size_hw):
    flow = 20 * torch.randn(3, 2, *size_hw)
    flow[0, 0, 1, 2], flow[1, 1, 3, 3], flow[2, 0, 0, 0] = math.nan, math.inf, 3e38
    flow[0, :, 2, :2] = torch.tensor([[-2.0, -3.0], [-1.0, 1.0]])  # to the border, and just beyond
    fast = range_map(flow, factor=factor)
    torch.testing.assert_close(range_map(flow.requires_grad_(), factor=factor), fast, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert torch.equal(range_map(flow, factor=factor), fast)


@pytest.mark.parametrize("factor", [0, -1, 7])
def test_range_map_refuses_a_factor_that_cannot_be(factor):
    with pytest.raises(UsageError, match="between 1 and 6"):
        range_map(torch.zeros(1, 2, 6, 9), factor=factor)


# --- compile and export ---------------------------------------------------------------------------


@pytest.mark.slow
def test_warp_and_splat_compile_into_one_graph():
    run_compiled(
        """
        from kinema.ops.warp import backward_warp, forward_splat, range_map
        image, flow = torch.rand(1, 3, 21, 33), 4 * torch.randn(1, 2, 21, 33)
        for border in ("zeros", "replicate", "reflect", "pwcnet", "geonet", "tvnet"):
            check(lambda i, f: backward_warp(i, f, border=border), image, flow)
        check(lambda i, f: forward_splat(i, f, mode="average"), image, flow)
        check(lambda f: range_map(f, factor=4), flow)
        """
    )


@pytest.mark.slow
def test_warp_exports_for_any_size():
    run_compiled(
        """
        from kinema.ops.warp import backward_warp
        class Warp(torch.nn.Module):
            def forward(self, image, flow):
                return backward_warp(image, flow, border="replicate")
        sizes = {2: torch.export.Dim("h", min=4, max=4096), 3: torch.export.Dim("w", min=4, max=4096)}
        example = torch.rand(1, 3, 20, 28), torch.randn(1, 2, 20, 28)
        program = torch.export.export(Warp(), example, dynamic_shapes=(sizes, sizes)).module()
        image, flow = torch.rand(1, 3, 35, 17), torch.randn(1, 2, 35, 17)
        torch.testing.assert_close(program(image, flow), Warp()(image, flow), atol=1e-4, rtol=0)
        """
    )
