"""Augmentation keeps the truth true, and every sample depends on its own generator alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.tiny_flow import stacked
from kinema.data.transforms import (
    ColourJitter,
    Eraser,
    FlowPairs,
    crop,
    erase,
    flip,
    jitter_colours,
    leaves_frame,
)
from kinema.errors import UsageError
from kinema.ops.warp import backward_warp


def pairs(count=3):
    batch = stacked([(4, number) for number in range(count)])
    size = (count, 1, *batch["flow"].shape[-2:])
    return FlowPairs(**batch, valid=torch.ones(size, dtype=torch.bool), hidden=leaves_frame(batch["flow"]))


def rngs(*seeds):
    return [np.random.default_rng(seed) for seed in seeds]


def photometric(given):
    """Mean error of frame 2 fetched along the flow against frame 1, where the point can be seen."""
    error = (backward_warp(given.image2, given.flow) - given.image1).abs().mean(1, keepdim=True)
    seen = given.valid & ~given.hidden
    return float(error[seen].mean())


def test_the_truth_explains_the_pairs_to_begin_with():
    assert photometric(pairs()) < 0.02


def test_crops_keep_the_truth_and_mark_what_leaves():
    given = pairs()
    got = crop(given, (32, 40), rngs(1, 2, 3))
    assert got.size_hw == (32, 40)
    assert photometric(got) < 0.02
    assert torch.equal(got.hidden & leaves_frame(got.flow), leaves_frame(got.flow))
    assert got.hidden.float().mean() > given.hidden.float().mean()
    with pytest.raises(UsageError, match="64x32 does not fit in frames of 48x48"):
        crop(given, (32, 64), rngs(1, 2, 3))


def test_leaving_by_hand():
    flow = torch.zeros(1, 2, 2, 3)
    flow[0, 0, 0] = torch.tensor([2.0, 2.0, -2.5])
    flow[0, 1, 1] = torch.tensor([0.0, 0.1, -1.0])
    assert leaves_frame(flow)[0, 0].tolist() == [[False, True, True], [False, True, False]]


@pytest.mark.parametrize(("horizontal", "vertical"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_mirrored_pairs_keep_the_truth(horizontal, vertical):
    given = pairs()
    got = flip(given, rngs(1, 2, 3), horizontal=horizontal, vertical=vertical)
    axes = [axis for axis, chance in ((3, horizontal), (2, vertical)) if chance]
    assert torch.equal(got.image1, given.image1.flip(axes))
    assert photometric(got) == pytest.approx(photometric(given), abs=1e-4)
    sign = -1 if horizontal else 1
    assert torch.equal(got.flow[:, 0], sign * given.flow[:, 0].flip([axis - 1 for axis in axes]))
    again = flip(got, rngs(1, 2, 3), horizontal=horizontal, vertical=vertical)
    assert torch.equal(again.flow, given.flow)


def test_some_are_mirrored_and_some_are_not():
    given = pairs(1)
    turned = [not torch.equal(flip(given, rngs(seed)).image1, given.image1) for seed in range(60)]
    assert 20 <= sum(turned) <= 45


def test_equal_colours_keep_the_pair_alike():
    got = jitter_colours(pairs(), rngs(1, 2, 3), jitter=ColourJitter(asymmetric=0.0))
    assert photometric(got) < 0.03
    other = jitter_colours(pairs(), rngs(1, 2, 3), jitter=ColourJitter(asymmetric=1.0))
    assert photometric(other) > 2 * photometric(got)
    for images in (got.image1, got.image2, other.image1, other.image2):
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1


def test_colours_without_strength_change_nothing():
    none = ColourJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, asymmetric=0.5)
    got = jitter_colours(pairs(), rngs(1, 2, 3), jitter=none)
    assert torch.allclose(got.image1, pairs().image1, atol=1e-6)
    assert torch.allclose(got.image2, pairs().image2, atol=1e-6)


def test_grey_stays_grey_and_brightness_is_a_factor():
    given = pairs(1)
    grey = torch.full_like(given.image1, 0.4)
    flat = FlowPairs(image1=grey, image2=grey, flow=given.flow, valid=given.valid, hidden=given.hidden)
    turned = jitter_colours(flat, rngs(5), jitter=ColourJitter(brightness=0.0))
    assert torch.allclose(
        turned.image1, grey, atol=1e-5
    )  # contrast, saturation and hue leave flat grey alone
    bright = jitter_colours(flat, rngs(5), jitter=ColourJitter(contrast=0.0, saturation=0.0, hue=0.0))
    values = bright.image1.unique()
    assert len(values) <= 3
    assert 0.4 * 0.6 - 1e-5 <= values.min() <= values.max() <= 0.4 * 1.4 + 1e-5


def test_erased_patches_hide_what_ends_in_them():
    given = pairs()
    still = FlowPairs(
        image1=given.image1,
        image2=given.image2,
        flow=torch.full_like(given.flow, 2.0),
        valid=given.valid,
        hidden=torch.zeros_like(given.valid),
    )
    got = erase(still, rngs(1, 2, 3), eraser=Eraser(probability=1.0, shortest=8, longest=16))
    changed = (got.image2 != given.image2).any(1, keepdim=True)
    assert changed.any()
    assert torch.equal(got.image1, given.image1)
    moved = torch.zeros_like(changed)
    moved[..., :-2, :-2] = changed[..., 2:, 2:]  # the points that end there
    assert torch.equal(got.hidden, moved)
    none = erase(still, rngs(1, 2, 3), eraser=Eraser(probability=0.0))
    assert torch.equal(none.image2, still.image2)


def everything(given, generators):
    eraser = Eraser(shortest=5, longest=10)
    return erase(jitter_colours(flip(given, generators), generators), generators, eraser=eraser)


def test_a_sample_depends_on_its_own_generator_alone():
    whole = everything(pairs(3), rngs(7, 8, 9)).tensors()
    for slot, seed in enumerate((7, 8, 9)):
        given = {name: tensor[slot : slot + 1] for name, tensor in pairs(3).tensors().items()}
        alone = everything(FlowPairs(**given), rngs(seed)).tensors()
        for name, tensor in alone.items():
            assert torch.equal(tensor, whole[name][slot : slot + 1]), name
