"""Tiles cover exactly, their weights sum to one, and a network that does nothing gives the image back."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from kinema.errors import UsageError
from kinema.ops.tiling import Tile, TileMerger, ramp_weights, tiles


@st.composite
def layouts(draw, longest=90, largest_share=1.0):
    """Any layout, with overlaps up to a share of the tile; at most a few hundred tiles."""
    size_hw = draw(st.integers(1, longest)), draw(st.integers(1, longest))
    tile = draw(st.integers(1, longest + 10))
    overlap = draw(st.integers(0, min(tile - 1, int(tile * largest_share))))
    counts = [max(1, math.ceil((length - overlap) / (tile - overlap))) for length in size_hw]
    assume(counts[0] * counts[1] <= 300)
    return size_hw, tile, overlap


@given(layouts())
def test_tiles_lie_inside_overlap_enough_and_leave_no_gap(layout):
    (height, width), tile, overlap = layout
    found = tiles((height, width), tile, overlap)
    assert len(set(found)) == len(found)
    for axis, length in (("top", height), ("left", width)):
        size = min(tile, length)
        starts = sorted({getattr(t, axis) for t in found})
        assert starts[0] == 0
        assert starts[-1] == length - size
        assert all(one + size - other >= min(overlap, size) for one, other in pairwise(starts))
    assert {(t.height, t.width) for t in found} == {(min(tile, height), min(tile, width))}
    rows, columns = {t.top for t in found}, {t.left for t in found}
    assert len(found) == len(rows) * len(columns)


@pytest.mark.parametrize("ramp", ["linear", "raised"])
@given(layout=layouts())
def test_weights_sum_to_one_everywhere(ramp, layout):
    check_weights(layout, ramp, torch.float64, 1e-12)


@pytest.mark.parametrize("ramp", ["linear", "raised"])
@given(layout=layouts(largest_share=0.5))
def test_weights_sum_to_one_in_float32(ramp, layout):
    check_weights(layout, ramp, torch.float32, 1e-6)


def check_weights(layout, ramp, dtype, tolerance):
    size_hw, tile, overlap = layout
    found = tiles(size_hw, tile, overlap)
    total = torch.zeros(size_hw, dtype=dtype)
    for one in found:
        weights = ramp_weights(one, found, ramp=ramp, dtype=dtype)
        assert weights.shape == (one.height, one.width)
        assert weights.min() > 0
        assert weights.max() <= 1 + 1e-6
        one.crop(total).add_(weights)
    torch.testing.assert_close(total, torch.ones_like(total), atol=tolerance, rtol=0)


@pytest.mark.parametrize("ramp", ["linear", "raised"])
@given(layout=layouts(60, largest_share=0.5))
def test_tiled_identity_gives_the_image_back(ramp, layout):
    size_hw, tile, overlap = layout
    image = torch.rand(2, 3, *size_hw, generator=torch.Generator().manual_seed(1))
    merger = TileMerger(size_hw, tile=tile, overlap=overlap, ramp=ramp)
    for one in reversed(merger.tiles):
        merger.add(one, one.crop(image))
    torch.testing.assert_close(merger.result(), image, atol=1e-6, rtol=1e-6)


def test_one_pixel_remainder_is_spread_over_the_overlaps():
    assert [t.left for t in tiles((4, 9), 4, 0)] == [0, 2, 5]
    assert [t.left for t in tiles((4, 8), 4, 0)] == [0, 4]


def test_tile_larger_than_the_image_is_the_image():
    assert tiles((5, 7), 100, 20) == [Tile(0, 0, 5, 7)]
    assert torch.equal(ramp_weights(Tile(0, 0, 5, 7), tiles((5, 7), 100, 20)), torch.ones(5, 7))


def test_tiles_come_row_by_row():
    assert [(t.top, t.left) for t in tiles((6, 6), 4, 2)] == [(0, 0), (0, 2), (2, 0), (2, 2)]


def test_linear_ramps_rise_evenly_and_stay_flat_where_alone():
    layout = tiles((2, 10), 6, 2)
    assert [t.left for t in layout] == [0, 4]
    torch.testing.assert_close(
        ramp_weights(layout[0], layout, ramp="linear")[0], torch.tensor([1, 1, 1, 1, 0.75, 0.25])
    )
    raised = ramp_weights(layout[0], layout, ramp="raised")[0]
    torch.testing.assert_close(raised[4] + raised[5], torch.tensor(1.0))
    assert raised[4] > 0.75


def test_blending_hides_an_offset_between_tiles():
    """Two tiles that disagree by 1: the step is spread over the whole overlap."""
    merger = TileMerger((1, 60), tile=40, overlap=20, ramp="linear")
    for index, one in enumerate(merger.tiles):
        merger.add(one, torch.full((1, 1, 1, 40), float(index)))
    line = merger.result().flatten()
    assert line[0] == 0
    assert line[-1] == 1
    assert line.diff().max() < 0.06


def test_merger_keeps_the_type_and_holds_one_image():
    merger = TileMerger((8, 8), tile=4, overlap=2)
    for one in merger.tiles:
        merger.add(one, torch.ones(1, 2, 4, 4, dtype=torch.float64))
    result = merger.result()
    assert result.dtype == torch.float64
    assert result.shape == (1, 2, 8, 8)
    tensors = [value for value in vars(merger).values() if isinstance(value, torch.Tensor)]
    assert len(tensors) == 1
    assert tensors[0] is result


@pytest.mark.parametrize(
    ("size_hw", "tile", "overlap", "message"),
    [
        ((0, 5), 4, 1, "at least 1x1"),
        ((5, 5), 0, 0, "at least 1 pixel, not 0"),
        ((5, 5), -3, 0, "at least 1 pixel, not -3"),
        ((5, 5), 4, -1, "at least 0 and less than the tile"),
        ((5, 5), 4, 4, "less than the tile"),
        ((5, 5), 4, 9, "less than the tile"),
    ],
)
def test_refuses_layouts_that_cannot_be(size_hw, tile, overlap, message):
    with pytest.raises(UsageError, match=message):
        tiles(size_hw, tile, overlap)


def test_merger_refuses_strange_repeated_and_missing_tiles():
    merger = TileMerger((4, 6), tile=4, overlap=2)
    first, second = merger.tiles
    with pytest.raises(UsageError, match="2 of 2 tiles"):
        merger.result()
    with pytest.raises(UsageError, match="values of 3x4 pixels"):
        merger.add(first, torch.zeros(1, 1, 3, 4))
    merger.add(first, torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="not one of the tiles"):
        merger.add(first, torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="not one of the tiles"):
        merger.add(Tile(1, 1, 4, 4), torch.zeros(1, 1, 4, 4))
    with pytest.raises(UsageError, match="1 of 2 tiles"):
        merger.result()
    merger.add(second, torch.zeros(1, 1, 4, 4))
    assert not merger.result().any()
