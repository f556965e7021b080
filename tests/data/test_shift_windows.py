"""Two windows of one frame: exact truth, places and shifts from each sample's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.data.transforms import FlowPairs, leaves_frame, shift_windows
from kinema.errors import UsageError


def frames(
    count: int = 3, size_hw: tuple[int, int] = (70, 90), dtype: torch.dtype = torch.float32
) -> FlowPairs:
    """Every pixel of frame 1 has a colour of its own; frame 2 and the truth are nonsense."""
    number = torch.arange(size_hw[0] * size_hw[1], dtype=torch.float32).reshape(size_hw)
    image = torch.stack((number % 251, (number / 251).floor() % 251, number % 7))
    image = image / 255 if dtype == torch.float32 else image.to(dtype)
    images = image.expand(count, -1, -1, -1).clone()
    nothing = torch.zeros(count, 1, *size_hw, dtype=torch.bool)
    wrong = torch.full((count, 2, *size_hw), 500.0)
    return FlowPairs(image1=images, image2=1 - images if dtype == torch.float32 else 255 - images,
                     flow=wrong, valid=nothing, hidden=~nothing)  # fmt: skip


def rngs(*seeds: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


def moved(pairs: FlowPairs, row: int) -> tuple[Tensor, Tensor]:
    """Frame 1 and frame 2 where both show the same thing, by the flow."""
    x, y = (int(value) for value in pairs.flow[row, :, 0, 0])
    height, width = pairs.size_hw
    rows, columns = height - abs(y), width - abs(x)
    if rows <= 0 or columns <= 0:  # farther than the window is large
        return pairs.image1[row][:, :0], pairs.image2[row][:, :0]
    here = (slice(None), slice(max(0, -y), max(0, -y) + rows), slice(max(0, -x), max(0, -x) + columns))
    there = (slice(None), slice(max(0, y), max(0, y) + rows), slice(max(0, x), max(0, x) + columns))
    return pairs.image1[row][here], pairs.image2[row][there]


@pytest.mark.parametrize("size_hw", [(32, 40), (70, 90), (1, 1), (70, 20), (33, 89)])
@pytest.mark.parametrize("largest", [0, 5, 48])
def test_what_both_windows_show_is_equal(size_hw: tuple[int, int], largest: int) -> None:
    got = shift_windows(frames(6), size_hw, rngs(*range(6)), largest=largest)
    assert got.size_hw == size_hw
    assert got.image1.dtype == got.flow.dtype == torch.float32
    for row in range(6):
        first, second = moved(got, row)
        assert torch.equal(first, second)
    flows = got.flow[:, :, :1, :1]
    assert torch.equal(got.flow, flows.expand_as(got.flow))
    assert torch.equal(flows, flows.round())
    assert flows.abs().max() <= largest
    assert got.valid.all()
    assert torch.equal(got.hidden, leaves_frame(got.flow))


def test_windows_that_fit_are_both_parts_of_the_frame() -> None:
    """With room for every shift no pixel comes from beyond an edge."""
    given = frames(40, (150, 160))
    got = shift_windows(given, (40, 50), rngs(*range(40)), largest=48)
    places = given.image1[0].reshape(3, -1).T
    known = {tuple(colour) for colour in places.tolist()}
    assert len(known) == len(places)
    for image in (got.image1, got.image2):
        for one in image:
            colours = one.reshape(3, -1).T.tolist()
            assert len({tuple(colour) for colour in colours}) == 40 * 50


def test_without_room_the_mirror_image_is_seen() -> None:
    """By hand: five columns, a shift of +2: frame 2 shows columns -2 and -1, which are 2 and 1."""
    image = torch.arange(5.0).expand(1, 3, 3, 5) / 255
    nothing = torch.zeros(1, 1, 3, 5, dtype=torch.bool)
    given = FlowPairs(image1=image, image2=image, flow=torch.zeros(1, 2, 3, 5), valid=nothing, hidden=nothing)
    seen = {}
    for seed in range(40):
        got = shift_windows(given, (3, 5), rngs(seed), largest=2)
        seen[int(got.flow[0, 0, 0, 0])] = (got.image2[0, 0, 0] * 255).round().int().tolist()
    assert seen == {
        -2: [2, 3, 4, 3, 2],
        -1: [1, 2, 3, 4, 3],
        0: [0, 1, 2, 3, 4],
        1: [1, 0, 1, 2, 3],
        2: [2, 1, 0, 1, 2],
    }


def test_all_shifts_are_equally_likely() -> None:
    got = shift_windows(frames(1000, (24, 24)), (8, 8), rngs(*range(1000)), largest=2)
    shifts = got.flow[:, :, 0, 0].int()
    for axis in (0, 1):
        counts = [int((shifts[:, axis] == shift).sum()) for shift in range(-2, 3)]
        assert sum(counts) == 1000
        assert min(counts) > 150
    assert abs(float(np.corrcoef(shifts.T.numpy())[0, 1])) < 0.1
    assert len({tuple(image.reshape(-1)[:6].tolist()) for image in got.image1}) > 100  # places differ too


def test_a_sample_depends_on_its_own_numbers_alone() -> None:
    given = frames(3)
    together = shift_windows(given, (32, 32), rngs(4, 5, 6))
    alone = shift_windows(frames(1), (32, 32), rngs(5))
    for name, tensor in together.tensors().items():
        assert torch.equal(tensor[1:2], alone.tensors()[name]), name


def test_bytes_become_numbers() -> None:
    got = shift_windows(frames(1, dtype=torch.uint8), (32, 32), rngs(0))
    assert got.image1.dtype == torch.float32
    assert got.image1.max() <= 1


def test_what_cannot_be() -> None:
    with pytest.raises(UsageError, match="a window of 100x32 does not fit in frames of 90x70"):
        shift_windows(frames(1), (32, 100), rngs(0))
    with pytest.raises(UsageError, match="shifts of up to 70 px are too long for frames of 90x70"):
        shift_windows(frames(1), (32, 32), rngs(0), largest=70)
