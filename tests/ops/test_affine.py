"""Views: exact where no blending is needed, equal on every path, and true to the flow between them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import UsageError
from kinema.ops.affine import (
    affine_flow,
    affine_flow_reference,
    affine_image,
    affine_image_reference,
    affine_points,
    inverted,
)
from kinema.ops.resize import resize_flow, resize_image
from kinema.ops.warp import backward_warp


def view(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float64)


def half_pixel(from_hw: tuple[int, int], to_hw: tuple[int, int]) -> torch.Tensor:
    y, x = from_hw[0] / to_hw[0], from_hw[1] / to_hw[1]
    return view((x, 0, 0.5 * x - 0.5), (0, y, 0.5 * y - 0.5))


def some_views(rng: np.random.Generator, count: int, size_hw: tuple[int, int]) -> torch.Tensor:
    matrices = np.zeros((count, 2, 3))
    matrices[:, :, :2] = np.eye(2) + rng.uniform(-0.5, 0.5, (count, 2, 2))
    matrices[:, :, 2] = rng.uniform(-0.3, 0.3, (count, 2)) * size_hw[::-1]
    return torch.from_numpy(matrices)


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(SIZES, SIZES, st.integers(0, 2**31))
def test_the_compiled_image_is_the_reference(size: tuple[int, int], out: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.integers(0, 256, (2, 3, *size), np.uint8))
    views = some_views(rng, 2, size)
    expected = affine_image_reference(image, views, out)
    margin = (affine_points(views, out) + 0.5).abs()  # on the very edge the two may differ
    far = torch.tensor([size[1], size[0]]).view(1, 2, 1, 1)
    clear = ((margin > 1e-6) & ((margin - far).abs() > 1e-6)).all(1, keepdim=True)
    for given_image in (image, image.float() / 255):
        got = affine_image(given_image, views, out)
        torch.testing.assert_close(got * clear, expected * clear, atol=2e-4, rtol=0)


@given(SIZES, SIZES, st.integers(0, 2**31))
def test_the_compiled_flow_is_the_reference(size: tuple[int, int], out: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    flow = torch.from_numpy(rng.normal(0, 5, (2, 2, *size)).astype(np.float32))
    valid, hidden = (torch.from_numpy(rng.random((2, 1, *size)) < share) for share in (0.8, 0.3))
    one, two = some_views(rng, 2, size), some_views(rng, 2, size)
    got = affine_flow(flow, valid, hidden, one, two, out)
    expected = affine_flow_reference(flow, valid, hidden, one, two, out)
    same = got[1] == expected[1]
    assert int((~same).sum()) <= 1 + 0.01 * same.numel()  # positions within rounding of a pixel or an edge
    scale = 1 + expected[0].abs().amax()
    torch.testing.assert_close(got[0] * same / scale, expected[0] * same / scale, atol=1e-4, rtol=0)
    assert int((got[2] != expected[2])[same].sum()) <= 2 + 0.01 * int(same.sum())


def test_whole_pixels_are_kept_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (1, 3, 37, 53), np.uint8))
    flow = torch.from_numpy(rng.normal(0, 1e-3, (1, 2, 37, 53)).astype(np.float32))
    known = torch.ones(1, 1, 37, 53, dtype=torch.bool)
    cut = view((1, 0, 11), (0, 1, 5))
    assert torch.equal(affine_image(image, cut, (20, 30)), image[..., 5:25, 11:41] / 255)
    got, valid, _ = affine_flow(flow, known, ~known, cut, cut, (20, 30))
    assert torch.equal(got, flow[..., 5:25, 11:41])
    assert valid.all()
    mirror = view((-1, 0, 52), (0, 1, 0))
    got, *_ = affine_flow(flow, known, ~known, mirror, mirror, (37, 53))
    assert torch.equal(got[:, 0], -flow[:, 0].flip(-1))
    assert torch.equal(got[:, 1], flow[:, 1].flip(-1))


@pytest.mark.parametrize("to_hw", [(24, 36), (9, 50), (33, 20), (64, 96)])
def test_a_scale_is_a_resize(to_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    image = torch.from_numpy(rng.random((1, 3, 24, 36)).astype(np.float32))
    flow = torch.from_numpy(rng.normal(0, 3, (1, 2, 24, 36)).astype(np.float32))
    known = torch.ones(1, 1, 24, 36, dtype=torch.bool)
    scale = half_pixel((24, 36), to_hw)
    torch.testing.assert_close(
        affine_image(image, scale, to_hw), resize_image(image, to_hw, antialias=False), atol=1e-5, rtol=0
    )
    got, valid, _ = affine_flow(flow, known, ~known, scale, scale, to_hw)
    assert valid.all()
    torch.testing.assert_close(got, resize_flow(flow, to_hw), atol=1e-4, rtol=0)


def test_a_quarter_turn_by_hand() -> None:
    """The view's x runs along the source's y: what moved right by 3 moves down the view by 3, and so on."""
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0], flow[:, 1] = 3.0, -1.0
    known = torch.ones(1, 1, 4, 6, dtype=torch.bool)
    transposed = view((0, 1, 0), (1, 0, 0))
    got, *_ = affine_flow(flow, known, ~known, transposed, transposed, (6, 4))
    assert torch.equal(got[0, :, 0, 0], torch.tensor([-1.0, 3.0]))
    turned = view((0, 1, 0), (-1, 0, 3))
    image = torch.arange(24.0).view(1, 1, 4, 6)
    assert torch.equal(affine_image(image, turned, (6, 4))[0, 0], image[0, 0].rot90(-1))
    got, *_ = affine_flow(flow, known, ~known, turned, turned, (6, 4))
    assert torch.equal(got[0, :, 0, 0], torch.tensor([1.0, 3.0]))


def test_relative_views_move_the_second_frame() -> None:
    """The second view looks 2 to the right: its content, and with it the flow, moves 2 to the left."""
    flow = torch.zeros(1, 2, 8, 8)
    known = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    one, two = view((1, 0, 0), (0, 1, 0)), view((1, 0, 2), (0, 1, 0))
    got, valid, hidden = affine_flow(flow, known, ~known, one, two, (8, 8))
    assert torch.equal(got[0, :, 3, 3], torch.tensor([-2.0, 0.0]))
    assert valid.all()
    assert hidden[0, 0, 3].tolist() == [True, True] + [False] * 6


def test_unknown_flow_is_never_blended_in() -> None:
    flow = torch.ones(1, 2, 6, 6)
    known = torch.ones(1, 1, 6, 6, dtype=torch.bool)
    known[..., 2, 3] = False
    flow[..., 2, 3] = 100.0
    shift = view((1, 0, 0.25), (0, 1, 0))
    got, valid, _ = affine_flow(flow, known, ~known, shift, shift, (6, 5))
    assert valid[0, 0, 2].tolist() == [True, True, False, False, True]
    assert torch.equal(got[valid.expand_as(got)], torch.ones(int(2 * valid.sum())))
    assert (got[~valid.expand_as(got)] == 0).all()


def test_outside_is_black_and_not_known() -> None:
    image = torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    known = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    out = view((1, 0, -1.5), (0, 1, -0.25))
    assert affine_image(image, out, (4, 6))[0, 0, 0].tolist() == [0, 1, 1, 1, 1, 1]
    _, valid, hidden = affine_flow(torch.zeros(1, 2, 4, 4), known, ~known, out, out, (4, 6))
    assert valid[0, 0, 0].tolist() == [False, True, True, True, True, True]
    assert hidden[0, 0, 0, 0]


def test_flow_between_views_still_explains_them() -> None:
    """Smooth pictures, affine motion: frame 2 fetched along the new flow is frame 1."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(120.0), indexing="ij")
    motion = torch.stack((2 + 0.02 * x - 0.01 * y, -1 + 0.01 * x + 0.03 * y))[None]

    def scene(points: torch.Tensor) -> torch.Tensor:
        px, py = points.unbind(1)
        return torch.stack([0.5 + 0.4 * torch.sin(px / 9 + c) * torch.cos(py / 7 - c) for c in range(3)], 1)

    second = scene(torch.stack((x, y))[None])
    first = scene(torch.stack((x, y))[None] + motion)
    known = torch.ones(1, 1, 96, 120, dtype=torch.bool)
    rng = np.random.default_rng(3)
    one = some_views(rng, 1, (10, 10)) * 0.8 + view((0, 0, 20), (0, 0, 15))
    two = one + view((0.02, -0.03, 1.5), (0.03, 0.01, -1))
    flow, valid, hidden = affine_flow(motion, known, ~known, one, two, (60, 70))
    seen = (valid & ~hidden).expand(-1, 3, -1, -1)
    assert seen.float().mean() > 0.3
    error = backward_warp(affine_image(second, two, (60, 70)), flow) - affine_image(first, one, (60, 70))
    assert error.abs()[seen].max() < 0.01


def test_inverse_by_hand() -> None:
    views = some_views(np.random.default_rng(5), 4, (10, 10))
    bottom = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(4, 1, 3)
    product = torch.cat((views, bottom), 1) @ torch.cat((inverted(views), bottom), 1)
    torch.testing.assert_close(product, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))


def test_other_modes() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    got = affine_image(image, view((1, 0, 0.6), (0, 1, 0)), (3, 3), mode="nearest")
    assert torch.equal(got, image[..., 1:])
    with pytest.raises(UsageError, match="bilinear or nearest"):
        affine_image(image, view((1, 0, 0), (0, 1, 0)), (3, 3), mode="bicubic")
