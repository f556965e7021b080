"""Pixel coordinates and their conversion for grid_sample."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from kinema.ops.grid import ALIGN_CORNERS, exact_canvas_hw, pixel_grid, to_sampling_grid


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_pixel_grid_counts_columns_then_rows(dtype):
    grid = pixel_grid((2, 3), dtype=dtype)
    assert grid.dtype == dtype
    assert grid[0].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert grid[1].tolist() == [[0, 0, 0], [1, 1, 1]]


def test_sampling_grid_puts_minus_one_and_one_on_the_outer_edges():
    edges = torch.tensor([[-0.5, 3.5], [-0.5, 1.5]]).view(
        1, 2, 1, 2
    )  # outer corners of an image 2 high, 4 wide
    assert to_sampling_grid(edges, (2, 4)).tolist() == [[[[-1.0, -1.0], [1.0, 1.0]]]]


def test_sampling_grid_is_what_grid_sample_reads():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    points = torch.tensor([[2.0, 0.5], [1.0, 1.5]]).view(1, 2, 1, 2)  # (2, 1) and (0.5, 1.5)
    read = F.grid_sample(image, to_sampling_grid(points, (3, 4)), align_corners=ALIGN_CORNERS)
    torch.testing.assert_close(read.flatten(), torch.tensor([6.0, 6.5]))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_canvas_is_the_next_power_of_two(height, width):
    for length, canvas in zip((height, width), exact_canvas_hw((height, width)), strict=True):
        assert length <= canvas < 2 * length
        assert canvas & (canvas - 1) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 2, 437, 1024, 4096])
def test_whole_pixels_survive_the_round_trip_on_the_canvas(dtype, width):
    canvas = exact_canvas_hw((1, width))
    points = torch.stack((torch.arange(-2, width + 2), torch.zeros(width + 4))).to(dtype).view(1, 2, 1, -1)
    back = ((to_sampling_grid(points, canvas)[..., 0] + 1) * canvas[1] - 1) / 2  # grid_sample's own formula
    assert torch.equal(back, points[:, 0])
