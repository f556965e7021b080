"""Pairs made of one's own pictures: the flow that comes with them is the true one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kinema.data.rewarped import Rewarp, noise_level
from kinema.ops.warp import backward_warp


def smooth_picture(seed, size_hw=(160, 200)):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size_hw[0], 0 : size_hw[1]].astype(np.float32)
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(0.02, 0.3, (3, 3))]
    return torch.from_numpy(np.stack(waves).astype(np.float32)) * 0.4 + 0.5


def near_edges(pair):
    """Within three pixels of where a layer begins, in either frame: edges are soft."""
    jumps = torch.zeros_like(pair.hidden, dtype=torch.float32)
    for dim in (-2, -1):
        jump = (pair.flow - pair.flow.roll(1, dim)).abs().amax(1, keepdim=True) > 0.5
        jumps = torch.maximum(jumps, jump.float())
    wide = F.max_pool2d(torch.maximum(jumps, pair.hidden.float()), 7, stride=1, padding=3)
    return wide > 0


@pytest.mark.parametrize("seed", range(6))
def test_warping_frame_2_by_the_flow_gives_frame_1_where_visible(seed):
    pictures = [smooth_picture(number) for number in range(3)]
    pair = Rewarp(size_hw=(96, 128), motions=(6.0,), things=(1, 2)).pair(
        pictures, np.random.default_rng(seed)
    )
    error = (backward_warp(pair.image2, pair.flow) - pair.image1).abs().mean(1, keepdim=True)
    inside = ~near_edges(pair)
    assert float(inside.float().mean()) > 0.3
    assert float((error[inside] < 0.01).float().mean()) > 0.99
    still = (pair.image2 - pair.image1).abs().mean(1, keepdim=True)[inside].mean()
    assert float(error[inside].mean()) < 0.05 * float(still)


def test_hidden_points_are_covered_or_outside():
    pictures = [smooth_picture(number) for number in range(3)]
    pair = Rewarp(size_hw=(96, 128), motions=(10.0,), things=(4, 4)).pair(pictures, np.random.default_rng(3))
    error = (backward_warp(pair.image2, pair.flow) - pair.image1).abs().mean(1, keepdim=True)
    assert 0.01 < float(pair.hidden.float().mean()) < 0.5
    assert float(error[pair.hidden].mean()) > 5 * float(error[~pair.hidden].mean())


def test_a_pair_is_a_function_of_its_generator():
    pictures, rewarp = [smooth_picture(0)], Rewarp(size_hw=(64, 96), noise=0.01)
    first, again, other = (rewarp.pair(pictures, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert torch.equal(first.image1, again.image1)
    assert torch.equal(first.flow, again.flow)
    assert not torch.equal(first.flow, other.flow)


def test_motion_follows_the_given_displacements():
    pictures = [smooth_picture(0)]
    lengths = []
    for motion in (1.0, 8.0):
        rewarp = Rewarp(size_hw=(96, 128), motions=(motion,), still_share=0.0)
        pairs = [rewarp.pair(pictures, np.random.default_rng(seed)) for seed in range(20)]
        lengths.append(np.median([float(pair.flow.norm(dim=1).mean()) for pair in pairs]))
    assert 0.5 < lengths[0] < 2.5
    assert 4.0 < lengths[1] < 20.0


def test_pictures_smaller_than_the_frames_go_on_as_in_a_mirror():
    pair = Rewarp(size_hw=(96, 128)).pair([smooth_picture(0, (40, 50))], np.random.default_rng(0))
    assert pair.image1.shape == (1, 3, 96, 128)
    assert torch.isfinite(pair.image1).all()


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.04])
def test_noise_is_measured(sigma):
    rng = np.random.default_rng(0)
    noisy = smooth_picture(1) + torch.from_numpy(rng.normal(0, sigma, (3, 160, 200)).astype(np.float32))
    # The mean over three channels has a third of the variance.
    assert noise_level(noisy) == pytest.approx(sigma / np.sqrt(3), abs=0.004)
