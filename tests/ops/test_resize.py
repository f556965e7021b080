"""Resizing of images, flow, depth and intrinsics."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from helpers.compiled import run_compiled
from kinema.errors import UsageError
from kinema.ops.resize import (
    matlab_bicubic,
    resize_depth,
    resize_flow,
    resize_image,
    resize_intrinsics,
    resize_sparse_flow,
)

KINDS = [
    {"antialias": False},
    {"antialias": True},
    {"antialias": False, "mode": "bicubic"},
    {"antialias": True, "mode": "bicubic"},
    {"antialias": True, "mode": "area"},
    {"antialias": False, "mode": "nearest"},
    {"antialias": False, "sampling": "corner_aligned"},
    {"antialias": False, "sampling": "tf1"},
]
SIZES = [(1, 1), (3, 5), (9, 11), (18, 7), (40, 44)]


def line(*values):
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def resized_line(values, count, **options):
    return resize_image(line(*values), (1, count), **{"antialias": False, **options}).flatten().tolist()


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("size_hw", SIZES)
def test_shape_type_and_constants(kind, size_hw, dtype):
    image = torch.full((2, 3, 9, 11), 0.25, dtype=dtype)
    resized = resize_image(image, size_hw, **kind)
    assert resized.shape == (2, 3, *size_hw)
    assert resized.dtype == dtype
    torch.testing.assert_close(resized, torch.full_like(resized, 0.25))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_same_size_returns_the_image_bit_for_bit(kind):
    image = torch.rand(1, 2, 7, 9)
    assert torch.equal(resize_image(image, (7, 9), **kind), image)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("size_hw", [(3, 4), (9, 6)])
def test_image_gradients(kind, size_hw):
    image = torch.rand(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda i: resize_image(i, size_hw, **kind), image)


def test_half_pixel_bilinear_values():
    assert resized_line([0, 1], 4) == [0, 0.25, 0.75, 1]
    assert resized_line(range(8), 4) == [0.5, 2.5, 4.5, 6.5]
    assert resized_line(range(8), 2) == [1.5, 5.5]
    assert resized_line(range(8), 3) == pytest.approx([5 / 6, 3.5, 37 / 6])


def test_corner_aligned_values():
    assert resized_line([0, 3, 9], 5, sampling="corner_aligned") == pytest.approx([0, 1.5, 3, 6, 9])
    assert resized_line(range(9), 4, sampling="corner_aligned") == pytest.approx([0, 8 / 3, 16 / 3, 8])


def test_tf1_values_start_at_the_first_pixel_and_repeat_the_last():
    assert resized_line([0, 4, 8], 12, sampling="tf1") == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8, 8]
    assert resized_line(range(8), 2, sampling="tf1") == [0, 4]  # a whole ratio takes every 4th pixel
    assert resized_line([0, 3, 6], 2, sampling="tf1") == [0, 4.5]


def test_antialias_averages_what_plain_bilinear_skips():
    stripes = [0, 0, 0, 8] * 4
    assert resized_line(stripes, 4) == [0, 0, 0, 0]
    inner = resized_line(stripes, 4, antialias=True)[1:-1]
    assert inner == pytest.approx([2, 2])  # the mean of the stripes


def test_nearest_takes_the_pixel_under_the_half_pixel_position():
    assert resized_line(range(6), 2, mode="nearest") == [1, 4]
    assert resized_line([1, 2], 6, mode="nearest") == [1, 1, 1, 2, 2, 2]


def test_area_is_the_mean_over_the_covered_pixels():
    assert resized_line([1, 3, 5, 11], 2, mode="area") == pytest.approx([2, 8])
    assert resized_line([1, 2, 6], 2, mode="area") == pytest.approx([(1 + 2 / 2) / 1.5, (2 / 2 + 6) / 1.5])
    assert resized_line([2, 8], 3, mode="area") == pytest.approx([2, 5, 8])


@pytest.mark.parametrize("size_hw", [(3, 3), (4, 5), (1, 1), (7, 10), (13, 23)])
def test_area_keeps_the_mean(size_hw):
    image = torch.rand(1, 1, 9, 11, dtype=torch.float64)
    torch.testing.assert_close(resize_image(image, size_hw, antialias=True, mode="area").mean(), image.mean())


def test_antialiased_bicubic_is_matlab_s_away_from_the_edges():
    image = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    ours = resize_image(image, (16, 16), antialias=True, mode="bicubic")
    torch.testing.assert_close(ours[..., 3:-3, 3:-3], matlab_bicubic(image, scale=0.25)[..., 3:-3, 3:-3])


@pytest.mark.parametrize("size_hw", [(0, 4), (4, -1)])
def test_refuses_an_empty_size(size_hw):
    with pytest.raises(UsageError, match="at least 1x1"):
        resize_image(torch.zeros(1, 1, 4, 4), size_hw, antialias=False)
    with pytest.raises(UsageError, match="at least 1x1"):
        resize_intrinsics(torch.eye(3)[None], (4, 4), size_hw)
    with pytest.raises(UsageError, match="at least 1x1"):
        matlab_bicubic(torch.zeros(4, 4), size_hw=size_hw)


@pytest.mark.parametrize(
    "kind",
    [
        {"antialias": True, "mode": "nearest"},
        {"antialias": True, "sampling": "tf1"},
        {"antialias": False, "mode": "bicubic", "sampling": "corner_aligned"},
        {"antialias": False, "mode": "area", "sampling": "tf1"},
    ],
    ids=str,
)
def test_refuses_combinations_that_are_not_defined(kind):
    with pytest.raises(UsageError, match="antialias"):
        resize_image(torch.zeros(1, 1, 4, 4), (2, 2), **kind)


# --- flow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_hw", [(6, 10), (3, 2), (24, 50), (7, 9)])
def test_resized_flow_still_points_to_the_same_spot(size_hw):
    """A zoom about the frame's centre is the same zoom at every size."""
    height, width = 12, 20

    def zoom(h, w):
        x, y = torch.arange(w) + 0.5 - w / 2, torch.arange(h) + 0.5 - h / 2
        return torch.stack((0.1 * x.expand(h, w), 0.2 * y[:, None].expand(h, w)))[None]

    inner = (..., slice(1, -1), slice(1, -1))  # bilinear enlargement is flat within half a pixel of the edge
    if size_hw[0] > height:
        inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(resize_flow(zoom(height, width), size_hw)[inner], zoom(*size_hw)[inner])


def test_resized_flow_can_take_a_plain_factor():
    flow = torch.ones(1, 2, 3, 3)
    resized = resize_flow(flow, (5, 7), sampling="corner_aligned", factor=2.0)
    assert torch.equal(resized, torch.full((1, 2, 5, 7), 2.0))


def test_same_size_flow_is_unchanged():
    flow = torch.randn(1, 2, 5, 7)
    assert torch.equal(resize_flow(flow, (5, 7)), flow)


def test_sparse_flow_ignores_unknown_pixels():
    flow, valid = torch.full((1, 2, 8, 8), math.nan), torch.zeros(1, 1, 8, 8)
    flow[0, :, 0, 0], valid[0, 0, 0, 0] = torch.tensor([0.0, 1.0]), 1.0
    resized, known = resize_sparse_flow(flow, valid, (2, 2))
    torch.testing.assert_close(resized[0, 1], torch.tensor([[0.25, 0.0], [0.0, 0.0]]))
    assert not resized[0, 0].any()
    assert known[0, 0].tolist() == [[1, 0], [0, 0]]


def test_sparse_flow_of_a_constant_field_is_constant_where_known():
    generator = torch.Generator().manual_seed(1)
    flow = torch.tensor([3.0, -6.0]).view(1, 2, 1, 1).repeat(1, 1, 30, 40)
    valid = (torch.rand(1, 1, 30, 40, generator=generator) < 0.1).float()
    resized, known = resize_sparse_flow(flow * valid, valid, (10, 20))
    assert 0 < known.sum() < known.numel()
    torch.testing.assert_close(resized, torch.tensor([1.5, -2.0]).view(1, 2, 1, 1) * known)


def test_sparse_flow_can_ask_for_a_minimum_share():
    flow, valid = torch.ones(1, 2, 4, 8), torch.ones(1, 1, 4, 8)
    valid[..., :4] = 0
    _, loose = resize_sparse_flow(flow, valid, (2, 4))
    _, strict = resize_sparse_flow(flow, valid, (2, 4), min_valid=0.5)
    assert loose[0, 0].tolist() == [[0, 1, 1, 1]] * 2
    assert strict[0, 0].tolist() == [[0, 0, 1, 1]] * 2


def test_fully_valid_sparse_flow_is_the_antialiased_resize():
    flow = torch.randn(1, 2, 12, 16, dtype=torch.float64)
    resized, known = resize_sparse_flow(flow, torch.ones(1, 1, 12, 16, dtype=torch.float64), (5, 9))
    torch.testing.assert_close(resized, resize_flow(flow, (5, 9), antialias=True))
    assert known.all()


def test_flow_gradients():
    flow = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    valid = (torch.rand(1, 1, 6, 6) < 0.7).double()
    assert gradcheck(lambda f: resize_flow(f, (3, 4)), flow)
    assert gradcheck(lambda f: resize_sparse_flow(f, valid, (3, 4))[0], flow)


# --- intrinsics and depth -------------------------------------------------------------------------


def test_intrinsics_keep_a_scene_point_on_the_same_spot():
    K = torch.tensor([[[100.0, 0.5, 31.5], [0.0, 90.0, 23.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    point = torch.tensor([0.2, -0.1, 1.0], dtype=torch.float64)
    x, y, _ = (K[0] @ point).tolist()
    small = resize_intrinsics(K, (48, 64), (24, 16))
    expected = [(x + 0.5) / 4 - 0.5, (y + 0.5) / 2 - 0.5, 1.0]
    assert (small[0] @ point).tolist() == pytest.approx(expected)


def test_plain_intrinsics_are_scaled_as_they_are():
    K = torch.tensor([[[100.0, 0.0, 31.5], [0.0, 90.0, 23.0], [0.0, 0.0, 1.0]]])
    halved = resize_intrinsics(K, (48, 64), (24, 32), convention="plain")
    assert halved[0].tolist() == [[50, 0, 15.75], [0, 45, 11.5], [0, 0, 1]]


def test_depth_nearest_keeps_measured_values():
    depth = torch.tensor([[1.0, 2.0, 0.0], [math.nan, 5.0, -3.0]]).view(1, 1, 2, 3)
    enlarged = resize_depth(depth, (4, 6))
    assert enlarged[0, 0, ::2, ::2].tolist() == [[1, 2, 0], [0, 5, 0]]


@pytest.mark.parametrize("mode", ["area", "bilinear"])
def test_depth_averages_known_pixels_only(mode):
    depth = torch.tensor([[4.0, 0.0, 0.0, 0.0], [8.0, math.inf, 0.0, -1.0]]).view(1, 1, 2, 4)
    torch.testing.assert_close(resize_depth(depth, (1, 2), mode=mode).flatten(), torch.tensor([6.0, 0.0]))


@pytest.mark.parametrize("mode", ["nearest", "area", "bilinear"])
def test_depth_gradients(mode):
    depth = (1 + torch.rand(1, 1, 4, 6, dtype=torch.float64)).requires_grad_()
    assert gradcheck(lambda d: resize_depth(d, (2, 5), mode=mode), depth)


# --- MATLAB ---------------------------------------------------------------------------------------


def slow_matlab(image, out, scale):
    """``imresize`` on one axis, written as the loop over output pixels that its manual describes."""

    def kernel(t):
        t = abs(t)
        if t <= 1:
            return 1.5 * t**3 - 2.5 * t**2 + 1
        return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0

    stretch = min(scale, 1.0)
    mirrored = np.concatenate((image, image[::-1]))
    result = []
    for i in range(out):
        centre = (i + 0.5) / scale - 0.5
        reach = range(math.floor(centre - 2 / stretch) - 1, math.ceil(centre + 2 / stretch) + 2)
        weights = [kernel(stretch * (centre - j)) for j in reach]
        values = [mirrored[j % len(mirrored)] for j in reach]
        result.append(np.dot(weights, values) / sum(weights))
    return np.array(result)


@pytest.mark.parametrize(
    ("n", "scale"), [(17, 0.25), (9, 1 / 3), (6, 2.0), (5, 4.0), (12, 0.7), (2, 0.5), (1, 3.0)]
)
def test_matlab_matches_a_slow_reference(n, scale):
    image = np.random.default_rng(n).random((n, n))
    out = math.ceil(scale * n)
    rows = np.stack([slow_matlab(column, out, scale) for column in image.T], axis=1)
    expected = np.stack([slow_matlab(row, out, scale) for row in rows])
    np.testing.assert_allclose(matlab_bicubic(image, scale=scale), expected, atol=1e-12)


def test_matlab_layouts_and_types_agree():
    image = np.random.default_rng(1).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    small = matlab_bicubic(image, scale=0.5)
    assert small.shape == (6, 10, 3)
    assert small.dtype == np.uint8
    assert small.flags.c_contiguous
    assert np.array_equal(small[..., 1], matlab_bicubic(image[..., 1], scale=0.5))
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    assert np.array_equal(matlab_bicubic(tensor, scale=0.5).permute(1, 2, 0).numpy(), small)
    unrounded = matlab_bicubic(image.astype(np.float64), scale=0.5)
    assert np.array_equal(np.floor(unrounded + 0.5).clip(0, 255).astype(np.uint8), small)
    assert matlab_bicubic(image.astype(np.float32), scale=0.5).dtype == np.float32
    wide = matlab_bicubic(image.astype(np.uint16) * 257, scale=0.5)
    assert wide.dtype == np.uint16
    np.testing.assert_allclose(wide / 257.0, unrounded.clip(0, 255), atol=0.51 / 257)


def test_matlab_integers_are_clipped_at_overshoots():
    step = np.zeros((8, 8), dtype=np.uint8)
    step[:, 4:] = 255
    enlarged = matlab_bicubic(step, scale=2.0)
    assert matlab_bicubic(step.astype(np.float64), scale=2.0).min() < -1
    assert enlarged.min() == 0
    assert enlarged.max() == 255


def test_matlab_size_sets_a_scale_for_each_axis():
    image = np.random.default_rng(2).random((10, 6))
    resized = matlab_bicubic(image, size_hw=(5, 12))
    columns = np.stack([slow_matlab(column, 5, 0.5) for column in image.T], axis=1)
    expected = np.stack([slow_matlab(row, 12, 2.0) for row in columns])
    np.testing.assert_allclose(resized, expected, atol=1e-12)
    assert matlab_bicubic(np.zeros((7, 7)), scale=0.25).shape == (2, 2)  # sizes are rounded up


def test_matlab_gradients():
    image = torch.rand(2, 6, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda i: matlab_bicubic(i, scale=0.5), image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either scale or size_hw"),
        ({"scale": 2.0, "size_hw": (2, 2)}, "either scale or size_hw"),
        ({"scale": 0.0}, "positive"),
        ({"scale": -1.0}, "positive"),
        ({"scale": math.nan}, "positive"),
        ({"scale": math.inf}, "positive"),
    ],
    ids=str,
)
def test_matlab_refuses_sizes_that_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        matlab_bicubic(np.zeros((4, 4)), **options)


def test_matlab_refuses_other_layouts_and_types():
    with pytest.raises(UsageError, match="not 4 dimensions"):
        matlab_bicubic(np.zeros((1, 4, 4, 3)), scale=2.0)
    with pytest.raises(UsageError, match="int64"):
        matlab_bicubic(np.zeros((4, 4), dtype=np.int64), scale=2.0)


@pytest.mark.slow
def test_resizing_compiles_into_one_graph():
    run_compiled(
        """
        from kinema.ops.resize import resize_depth, resize_flow, resize_image, resize_sparse_flow
        image, flow = torch.rand(1, 1, 12, 17), torch.randn(1, 2, 12, 17)
        for mode in ("bilinear", "bicubic", "area"):
            check(lambda i: resize_image(i, (5, 9), antialias=True, mode=mode), image)
        check(lambda i: resize_image(i, (24, 34), antialias=False, sampling="tf1"), image)
        check(lambda f: resize_flow(f, (24, 34)), flow)
        check(lambda f, i: resize_sparse_flow(f, (i > 0.5).float(), (6, 8)), flow, image)
        check(lambda i: resize_depth(i, (6, 8), mode="area"), image)
        """
    )
