"""GeoNet's snippets and EDVR's windows: cameras that follow their frames, crops that fit each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.smooth_pairs import rngs, scene
from kinema.data.driving_sample import DrivingSample
from kinema.data.restoration_sample import RestorationSample
from kinema.data.transforms.edvr import EdvrStyle, Windows, edvr, posed, windows_of
from kinema.data.transforms.geonet import (
    GeoNetStyle,
    Snippets,
    augment_snippets,
    geonet,
    geonet_modern,
    geonet_original,
    snippet_sets,
    snippets_of,
)
from kinema.errors import InputError, UsageError

SIZE = (48, 80)
K = torch.tensor([[70.0, 0.0, 41.0], [0.0, 75.0, 22.0], [0.0, 0.0, 1.0]])


def planes(count: int = 2, size_hw: tuple[int, int] = SIZE) -> Snippets:
    """A slanted textured plane seen by a camera at rest: colour and depth are functions of the ray."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float64)
    picture = torch.from_numpy(scene(x, y, 3)).permute(2, 0, 1).float()
    depth = torch.from_numpy(10 / (1 + 0.004 * x + 0.006 * y))[None].float()
    frames = picture.expand(count, 3, 3, *size_hw)
    return Snippets(frames=frames, K=K.repeat(count, 1, 1), depth=depth.expand(count, 3, 1, *size_hw))


def space(snippets: Snippets, points: torch.Tensor) -> torch.Tensor:
    """The points in space that pixels show: K^-1 (x, y, 1) depth."""
    x, y = points.unbind(1)
    depth = snippets.depth[:, 1, 0][:, y, x]
    rays = torch.stack((x, y, torch.ones_like(x)), 1).float() @ torch.linalg.inv(snippets.K).mT
    return rays * depth[..., None]


@pytest.mark.parametrize("mirrored", [0.0, 1.0])
@pytest.mark.parametrize("from_hw", [SIZE, (71, 101)])
def test_reprojected_points_agree(mirrored: float, from_hw: tuple[int, int]):
    """A pixel of the result, taken into space by its K and depth, projects onto where it came from."""
    source = planes(4, from_hw)
    style = GeoNetStyle(zoom=(1.0, 1.15), mirrored=mirrored, recoloured=0.0)
    got = style.geometric(source, SIZE, rngs(1, 2, 3, 4))
    assert got.frames.shape == (4, 3, 3, *SIZE)
    assert (got.K[:, 0, 0] > 0).all()
    assert (got.K[:, 1, 1] > 0).all()
    pixels = torch.tensor([[5, 7], [40, 20], [75, 44], [12, 40]])
    points = space(got, pixels)
    if mirrored:
        points = points * torch.tensor([-1.0, 1.0, 1.0])
    seen = points @ source.K.mT
    at, depth = seen[..., :2] / seen[..., 2:], points[..., 2]
    expected = scene(at[..., 0].numpy(), at[..., 1].numpy(), 3)
    x, y = pixels.unbind(1)
    shown = got.frames[:, 1][:, :, y, x].permute(0, 2, 1).numpy()
    np.testing.assert_allclose(shown, expected, atol=0.02)
    plane = 10 / (1 + 0.004 * at[..., 0] + 0.006 * at[..., 1])
    torch.testing.assert_close(depth, plane, atol=0.1, rtol=0)  # not blended: half a pixel of place


def test_the_two_rules_differ_by_half_a_pixel_of_zoom():
    source = planes(2)
    one, two = (
        GeoNetStyle(intrinsics=rule, recoloured=0.0).geometric(source, SIZE, rngs(5, 6))
        for rule in ("half_pixel", "plain")
    )
    assert torch.equal(one.frames, two.frames)
    zoom = one.K[:, [0, 1], [0, 1]] / source.K[:, [0, 1], [0, 1]]
    torch.testing.assert_close(one.K[:, :2, 2] - two.K[:, :2, 2], 0.5 * (zoom - 1), atol=1e-5, rtol=0)
    assert (zoom > 1).all()
    assert (zoom <= 1.15).all()
    assert not torch.equal(zoom[:, 0], zoom[:, 1])  # x and y apart


def test_gains_are_one_set_per_snippet_unless_asked_otherwise():
    flat = replace(planes(6), frames=torch.full((6, 3, 3, *SIZE), 0.4))
    always = {"recoloured": 1.0}
    ours = replace(geonet(), **always).photometric(flat, rngs(*range(6)))
    assert torch.equal(ours.frames[:, 0], ours.frames[:, 2])
    assert not torch.equal(ours.frames[:, 0, 0], ours.frames[:, 0, 1])
    theirs = replace(geonet_original(), **always).photometric(flat, rngs(*range(6)))
    assert not torch.equal(theirs.frames[:, 0], theirs.frames[:, 2])
    low, high = 0.4**1.2 * 0.5 * 0.8, min(1, 0.4**0.8 * 2 * 1.2)
    for got in (ours, theirs):
        assert low - 1e-6 <= got.frames.min()
        assert got.frames.max() <= high + 1e-6
    modern = geonet_modern().photometric(flat, rngs(*range(6)))
    assert torch.equal(modern.frames[:, 0], modern.frames[:, 2])
    changed = [
        not torch.equal(geonet().photometric(flat, rngs(*[n] * 6)).frames, flat.frames) for n in range(40)
    ]
    assert 10 < sum(changed) < 30


@pytest.mark.parametrize("name", snippet_sets())
def test_a_snippet_depends_on_its_own_generator_alone(name: str):
    style = snippet_sets()[name]
    whole = augment_snippets(planes(3), SIZE, rngs(1, 2, 3), by=style)
    alone = augment_snippets(planes(1), SIZE, rngs(3), by=style)
    assert torch.equal(whole.frames[2:], alone.frames)
    assert torch.equal(whole.K[2:], alone.K)
    assert alone.frames.dtype == torch.float32


def test_snippets_of_files():
    frames = np.zeros((3, 24, 40, 3), np.uint8)
    depth = np.zeros((48, 80), np.float32)
    depth[10, 10] = 7
    sample = DrivingSample(name="a", frames=frames, numbers=(1, 2, 3), K=K.double().numpy(), depth=depth)
    got = snippets_of(sample)
    assert got.frames.shape == (1, 3, 3, 24, 40)
    assert got.frames.dtype == torch.uint8
    assert got.depth.shape == (1, 1, 1, 24, 40)
    assert augment_snippets(got, (16, 24), rngs(1), by=geonet()).depth.shape == (1, 1, 1, 16, 24)
    with pytest.raises(InputError, match="a: the intrinsics"):
        snippets_of(replace(sample, K=None))


# EDVR.


def windows(count: int = 3, scale: int = 4) -> Windows:
    """The truth's block of scale x scale pixels is the pixel below it."""
    low = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 5, 3, 30, 41), np.uint8))
    sharp = low[:, 2:3].repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    return Windows(low=low, sharp=sharp)


@pytest.mark.parametrize("scale", [1, 4])
def test_crops_fit_each_other(scale: int):
    given = windows(40, scale)
    got = edvr().geometric(given, (16, 16), rngs(*range(100, 140)))
    assert got.low.shape == (40, 5, 3, 16, 16)
    assert got.sharp.shape == (40, 1, 3, 16 * scale, 16 * scale)
    assert torch.equal(got.sharp[:, 0, :, ::scale, ::scale], got.low[:, 2])
    poses = set()
    for before, after in zip(given.low, got.low, strict=True):
        for number in range(8):
            back = after.transpose(-1, -2) if number & 4 else after
            back = back.flip([a for a, bit in ((-1, 1), (-2, 2)) if number & bit])
            hits = [
                (y, x)
                for y in range(15)
                for x in range(26)
                if torch.equal(before[..., y : y + 16, x : x + 16], back)
            ]
            poses |= {number} if hits else set()
    assert poses == set(range(8))


def test_poses_by_hand():
    picture = torch.tensor([[1, 2, 3], [4, 5, 6]])
    assert posed(picture, (True, False, False)).tolist() == [[3, 2, 1], [6, 5, 4]]
    assert posed(picture, (False, True, False)).tolist() == [[4, 5, 6], [1, 2, 3]]
    assert posed(picture, (False, False, True)).tolist() == [[1, 4], [2, 5], [3, 6]]
    assert torch.equal(posed(picture, (False, True, True)), picture.rot90(-1))


def test_windows_of_frames():
    style = EdvrStyle(intervals=(1, 2))
    rng = np.random.default_rng(0)
    drawn = [style.frames(100, 5, rng) for _ in range(3000)]
    steps = [window[1] - window[0] for window in drawn]
    assert set(steps) == {1, -1, 2, -2}
    assert 0.45 < np.mean(np.array(steps) > 0) < 0.55
    assert all(np.ptp(np.diff(window)) == 0 for window in drawn)
    assert {window[2] for window in drawn if abs(window[1] - window[0]) == 1} == set(range(2, 98))
    assert min(map(min, drawn)) == 0
    assert max(map(max, drawn)) == 99
    assert {style.frames(6, 5, rng)[2] for _ in range(50)} == {2, 3}  # interval 2 does not fit
    with pytest.raises(UsageError, match="a clip of 4 frames is too short for a window of 5 with interval 1"):
        style.frames(4, 5, rng)


def test_what_does_not_fit_is_told():
    with pytest.raises(UsageError, match="64x64 does not fit in frames of 41x30"):
        edvr().geometric(windows(), (64, 64), rngs(1, 2, 3))
    with pytest.raises(UsageError, match="has to be square"):
        edvr().geometric(windows(), (16, 20), rngs(1, 2, 3))
    assert EdvrStyle(transposed=0.0).geometric(windows(), (16, 20), rngs(1, 2, 3)).low.shape[-2:] == (16, 20)
    with pytest.raises(UsageError, match="frames of 41x30 do not fit a truth of 164x119"):
        Windows(low=windows().low, sharp=windows().sharp[..., 1:, :]).scale()


def test_windows_of_samples():
    low, sharp = np.zeros((5, 8, 9, 3), np.uint8), np.ones((1, 32, 36, 3), np.uint8)
    sample = RestorationSample(name="a", low=low, sharp=sharp, indices=(0, 1, 2, 3, 4), targets=(2,))
    got = windows_of(sample)
    assert got.low.shape == (1, 5, 3, 8, 9)
    assert got.scale() == 4
