"""The named sets: each keeps its truth, has its source's numbers, and draws from its own generator."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.smooth_pairs import rngs, smooth_pairs, worst
from kinema.data.sample import FlowSample
from kinema.data.transforms import SETS, augment, joined, named_set, pairs_of, unlabelled
from kinema.data.transforms.colour import turned_hue
from kinema.data.transforms.eigen_colour import EigenColours, drawn_eigen, eigen_changed
from kinema.data.transforms.flownet2 import FlowNet2, flownet2
from kinema.data.transforms.raft import RaftStyle, raft_kitti
from kinema.data.transforms.tfoptflow import TfoptflowHeavy
from kinema.data.transforms.uflow import UflowColours, UflowStyle, uflow, uflow_all
from kinema.data.transforms.views import look
from kinema.errors import UsageError

SIZE = (48, 56)


def numbered(count: int, first: int = 0) -> list[np.random.Generator]:
    return rngs(*range(first, first + count))


@pytest.mark.parametrize("name", SETS)
def test_every_set_keeps_the_truth(name: str):
    pairs = smooth_pairs(12)
    moved = named_set(name).geometric(pairs, SIZE, numbered(12), step=0)
    assert moved.size_hw == SIZE
    assert worst(moved) < 0.02
    seen = named_set(name).photometric(moved, numbered(12), step=0)
    assert torch.equal(seen.flow, moved.flow)
    assert torch.equal(seen.valid, moved.valid)
    for image in (seen.image1, seen.image2):
        assert image.dtype == torch.float32
        assert image.isfinite().all()
        assert 0 <= float(image.min()) <= float(image.max()) <= 1


@pytest.mark.parametrize("name", SETS)
def test_a_sample_depends_on_its_own_generator_alone(name: str):
    pairs = smooth_pairs(3)
    together = augment(pairs, SIZE, rngs(7, 8, 9), by=named_set(name), step=1000).tensors()
    alone = augment(smooth_pairs(1, first=2), SIZE, rngs(9), by=named_set(name), step=1000).tensors()
    for key, tensor in alone.items():
        assert torch.equal(tensor, together[key][2:]), key
    if name != "crop":
        other = augment(smooth_pairs(1, first=2), SIZE, rngs(10), by=named_set(name), step=1000).tensors()
        assert not torch.equal(other["image1"], alone["image1"])


@pytest.mark.parametrize("name", SETS)
def test_frames_smaller_than_the_crop_are_enlarged(name: str):
    pairs = smooth_pairs(4, size_hw=(40, 70))
    got = named_set(name).geometric(pairs, (64, 64), numbered(4), step=0)
    assert got.size_hw == (64, 64)
    assert worst(got) < 0.02


@pytest.mark.parametrize("name", SETS)
def test_bytes_are_what_their_floats_are(name: str):
    pairs = smooth_pairs(2)
    stored = [(image * 255).round().byte() for image in (pairs.image1, pairs.image2)]
    floats = replace(pairs, image1=stored[0] / 255, image2=stored[1] / 255)
    as_bytes = replace(pairs, image1=stored[0], image2=stored[1])
    got, expected = (augment(p, SIZE, rngs(1, 2), by=named_set(name)) for p in (as_bytes, floats))
    torch.testing.assert_close(got.image1, expected.image1, atol=1e-4, rtol=0)
    torch.testing.assert_close(got.image2, expected.image2, atol=1e-4, rtol=0)


def test_unknown_names_are_told():
    with pytest.raises(UsageError, match="unknown augmentation 'raft'; choose from crop, flownet2"):
        named_set("raft")
    assert all("Returns:" in inspect.getdoc(function) for function in SETS.values())


# Spatial numbers are read off the views themselves.


def views_of(style, count: int = 400, source=(384, 512), size=(320, 448), step=10**9, monkeypatch=None):
    """The linear parts of both views, and where their centres lie."""
    tiny = smooth_pairs(1, size_hw=(8, 8))
    pairs = replace(
        tiny,
        **{
            name: torch.zeros(1, t.shape[1], 1, 1, dtype=t.dtype).expand(1, t.shape[1], *source)
            for name, t in tiny.tensors().items()
        },
    )
    kept = []

    def remember(pairs, views1, size_hw, *, views2=None):
        kept.append((views1[0], (views2 or views1)[0]))
        return pairs

    monkeypatch.setattr(inspect.getmodule(type(style)), "look", remember)
    for number in range(count):
        style.geometric(pairs, size, rngs(number), step=step)
    return np.array(kept)


def test_raft_numbers(monkeypatch):
    views = views_of(RaftStyle(), monkeypatch=monkeypatch)[:, 0]
    zoom = 1 / np.abs(views[:, [0, 1], [0, 1]])
    still = (zoom == 1).all(1)
    assert 0.14 < still.mean() < 0.26
    powers = np.log2(zoom[~still])
    assert powers.max() < 1.2
    assert powers.min() >= np.log2(456 / 512) - 1e-9  # the crop and eight pixels
    apart = np.abs(powers[:, 0] - powers[:, 1])
    assert apart.max() <= 0.4
    assert 0.12 < (apart == 0).mean() < 0.32
    assert 0.4 < (views[:, 0, 0] < 0).mean() < 0.6
    assert 0.06 < (views[:, 1, 1] < 0).mean() < 0.15
    kitti = views_of(raft_kitti(), monkeypatch=monkeypatch, source=(375, 1242), size=(320, 896))[:, 0]
    assert (kitti[:, 0, 0] == kitti[:, 1, 1]).all()
    assert (kitti[:, 0, 0] > 0).all()


def test_flownet2_numbers(monkeypatch):
    views = views_of(flownet2(), source=(2000, 3000), monkeypatch=monkeypatch)
    first = views[:, 0, :, :2]
    angle = np.arctan2(first[:, 1, 0], first[:, 0, 0])
    zoom = 1 / np.linalg.norm(first, axis=1)
    assert 0.35 < np.abs(angle).max() <= 0.4
    assert abs(np.log(zoom).mean() - 0.2) < 0.03
    assert np.abs(np.log(zoom).mean(1) - 0.2).max() <= 0.4
    assert 0.25 < np.abs(np.log(zoom[:, 0] / zoom[:, 1])).max() <= 0.3
    middle = np.array([223.5, 159.5, 1])
    shift = (views[:, 0] @ middle - [1499.5, 999.5]) * zoom / [448, 320]
    assert 0.38 < np.abs(shift).max() <= 0.4
    # Frame 2: the second view as the first sees it.
    change = np.linalg.inv(first) @ views[:, 1, :, :2]
    turn, growth = np.arctan2(change[:, 1, 0], change[:, 0, 0]), -np.log(np.sqrt(np.linalg.det(change)))
    assert 0.026 < turn.std() < 0.034
    assert 0.026 < growth.std() < 0.034
    weak = views_of(flownet2(), source=(2000, 3000), step=0, monkeypatch=monkeypatch)[:, 0, :, :2]
    assert 0.17 < np.abs(np.arctan2(weak[:, 1, 0], weak[:, 0, 0])).max() <= 0.2


def test_flownet2_grows_stronger():
    assert [FlowNet2().strength(step) for step in (0, 50_000)] == pytest.approx([0.5, 0.75])
    assert FlowNet2().strength(10**7) == pytest.approx(1)
    assert FlowNet2(half_life=0).strength(0) == 1


def test_tfoptflow_numbers(monkeypatch):
    views = views_of(TfoptflowHeavy(), monkeypatch=monkeypatch)
    zoom = 1 / np.abs(views[:, 0, 0, 0])
    assert 0.4 < (zoom == 1).mean() < 0.6
    assert 0.95 <= zoom.min() < 0.96
    assert 1.04 < zoom.max() <= 1.05
    assert 0.4 < (views[:, 0, 0, 0] < 0).mean() < 0.6
    assert 0.4 < (views[:, 0, 1, 1] < 0).mean() < 0.6
    shift = np.linalg.solve(views[:, 0, :, :2], (views[:, 1] - views[:, 0])[:, :, 2:])[..., 0]
    assert 0.4 < (shift == 0).all(1).mean() < 0.6
    assert 20 < np.abs(shift[:, 0]).max() <= 22.5
    assert 14 < np.abs(shift[:, 1]).max() <= 16.5


def test_a_shift_of_frame_2_is_added_to_the_flow():
    pairs = smooth_pairs(1, size_hw=SIZE)
    still = TfoptflowHeavy(horizontal=0, vertical=0, zoomed=0, shifted=0)
    moving = TfoptflowHeavy(horizontal=0, vertical=0, zoomed=0, shifted=1)
    for seed in range(5):
        plain, moved = (s.geometric(pairs, SIZE, rngs(seed), step=0) for s in (still, moving))
        difference = moved.flow - plain.flow
        shift = difference[0, :, 0, 0].round()
        assert torch.allclose(difference, shift.view(1, 2, 1, 1), atol=1e-4)
        assert moved.valid.all()  # points that end outside stay supervised
        inner = moved.image2[0, :, 10:-10, 10:-10]
        x, y = (int(s) for s in shift)
        assert torch.equal(inner, plain.image2[0, :, 10 - y : 38 - y, 10 - x : 46 - x])


def test_uflow_numbers(monkeypatch):
    default = views_of(uflow(), count=3, monkeypatch=monkeypatch)[:, 0]
    assert np.allclose(default, [[512 / 448, 0, 0.5 * 512 / 448 - 0.5], [0, 1.2, 0.1]])
    views = views_of(uflow_all(), source=(2000, 2000), monkeypatch=monkeypatch)
    first = views[:, 0, :, :2]
    zoom = 1 / np.linalg.norm(first, axis=1)
    assert 0.9 <= zoom.min() < 0.92
    assert 1.48 < zoom.max() <= 1.5 + 1e-9
    sign = np.where(first[:, 0, 0] < 0, -1, 1)
    angle = np.rad2deg(np.arctan2(first[:, 1, 0] * sign, first[:, 0, 0] * sign))
    assert 14.5 < np.abs(angle).max() <= 15
    change = np.linalg.inv(first) @ views[:, 1, :, :2]
    assert 2.9 < np.abs(np.rad2deg(np.arctan2(change[:, 1, 0], change[:, 0, 0]))).max() <= 3
    growth = 1 / np.sqrt(np.linalg.det(change))
    assert 0.95 <= growth.min() < 0.952
    assert 1.048 < growth.max() <= 1.05
    middle = np.array([223.5, 159.5, 1])
    offset = np.linalg.solve(first, ((views[:, 1] - views[:, 0]) @ middle)[..., None])[..., 0]
    assert set(np.rint(offset).astype(int).ravel()) == set(range(-5, 6))
    assert np.allclose(offset, np.rint(offset), atol=1e-6)


# Colours.


def test_uflow_permutes_and_turns():
    colours = UflowStyle(colours=UflowColours(hue=0.0))
    pairs = smooth_pairs(1)
    found = set()
    for seed in range(60):
        got = colours.photometric(pairs, rngs(seed), step=0)
        order = [
            next(c for c in range(3) if torch.equal(got.image1[0, k], pairs.image1[0, c])) for k in range(3)
        ]
        assert torch.equal(got.image2, pairs.image2[:, order])  # both frames alike
        found.add(tuple(order))
    assert len(found) == 6


def test_hue_by_hand():
    image = torch.tensor([[1.0, 0.2, 0.4]]).view(1, 3, 1, 1)
    third = torch.tensor([1 / 3])
    one = torch.ones(1)
    torch.testing.assert_close(turned_hue(image, third, one).flatten(), torch.tensor([0.4, 1.0, 0.2]))
    torch.testing.assert_close(turned_hue(image, third * 0, one * 0).flatten(), torch.ones(3))
    torch.testing.assert_close(
        turned_hue(image, third * 0, one * 0.5).flatten(), torch.tensor([1.0, 0.6, 0.7])
    )
    noise = torch.rand(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(turned_hue(noise, torch.zeros(2), torch.ones(2)), noise)
    back = turned_hue(
        turned_hue(noise, torch.tensor([0.3, -0.4]), torch.ones(2)), torch.tensor([-0.3, 0.4]), torch.ones(2)
    )
    torch.testing.assert_close(back, noise, atol=1e-5, rtol=0)
    grey = torch.full((1, 3, 2, 2), 0.3)
    assert torch.equal(turned_hue(grey, third, one), grey)


def test_hue_is_opencvs():
    import cv2

    image = np.random.default_rng(0).random((30, 40, 3)).astype(np.float32)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 0.2 * 360) % 360
    expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    got = turned_hue(torch.from_numpy(image).permute(2, 0, 1)[None], torch.tensor([0.2]), torch.ones(1))
    np.testing.assert_allclose(got[0].permute(1, 2, 0).numpy(), expected, atol=2e-4)


def test_eigen_colours_without_strength_change_nothing():
    frames = torch.rand(2, 2, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    quiet = EigenColours(luminance_power=(0.0, 0.4), saturation_factor=(0.0, 0.5))
    draw = drawn_eigen(quiet, rngs(1, 2), strength=0.0)
    torch.testing.assert_close(eigen_changed(frames, draw), frames, atol=1e-5, rtol=0)
    brighter = {**draw, "luminance_factor": torch.tensor([[1.1], [0.5]])}
    expected = frames * torch.tensor([1.1, 0.5]).view(2, 1, 1, 1, 1)
    torch.testing.assert_close(eigen_changed(frames, brighter), expected.clamp(max=1), atol=1e-5, rtol=0)
    grey = {**draw, "saturation_factor": torch.zeros(2, 1)}
    spread = eigen_changed(frames, grey)
    assert (spread.amax(2) - spread.amin(2)).max() < 1e-5
    turned = eigen_changed(frames, {**draw, "turn": torch.full((2, 1), 2 * torch.pi)})
    torch.testing.assert_close(turned, frames, atol=1e-4, rtol=0)


def test_eigen_draws_have_the_sources_numbers():
    draw = drawn_eigen(EigenColours(), numbered(2000), strength=1.0)
    log = {name: value.log() for name, value in draw.items() if not name.endswith(("offset", "turn"))}
    for name, mean, spread in (
        ("luminance_power", -0.2, 0.4),
        ("luminance_factor", 0.0, 0.4),
        ("saturation_power", 0.0, 0.4),
        ("saturation_factor", -0.3, 0.5),
    ):
        assert (log[name] - mean).abs().max() <= spread + 1e-5
        assert (log[name] - mean).abs().max() > 0.98 * spread
    for name, sigma in (
        ("axis_power", 0.4),
        ("axis_factor", 0.2),
        ("contrast_power", 0.4),
        ("contrast_factor", 0.4),
    ):
        assert float(log[name].std()) == pytest.approx(sigma, rel=0.06)
    assert float(draw["axis_offset"].std()) == pytest.approx(0.02, rel=0.06)
    assert float(draw["contrast_offset"].std()) == pytest.approx(0.04, rel=0.06)
    assert 0.98 < float(draw["turn"].abs().max()) <= 1
    half = drawn_eigen(EigenColours(), numbered(2000), strength=0.5)
    assert float(half["turn"].abs().max()) <= 0.5


def test_noise_and_its_absence():
    one = smooth_pairs(1, size_hw=(24, 32))
    parts = {name: tensor.expand(60, *tensor.shape[1:]) for name, tensor in one.tensors().items()}
    flat = torch.full((60, 3, 24, 32), 0.5)
    pairs = replace(one, **{**parts, "image1": flat, "image2": flat})
    spread = {}
    for name in ("flownet2", "pwcnet-plus-sintel", "pwcnet-plus-kitti"):
        got = named_set(name).photometric(pairs, numbered(60), step=0)
        spread[name] = got.image1.std((2, 3)).amax(1)
        assert torch.equal(got.image1, got.image2) is False
    assert 0.05 < float(spread["flownet2"].max()) < 0.065
    assert float(spread["flownet2"].min()) < 0.01
    assert float(spread["pwcnet-plus-sintel"].max()) < 1e-5
    assert 0.3 < float((spread["pwcnet-plus-kitti"] > 1e-4).float().mean()) < 0.7


# From files to pairs.


def sample(**parts):
    size = (6, 8)
    given = {
        "name": "a",
        "flow": np.zeros((*size, 2), np.float32),
        "valid": np.ones(size, np.bool_),
        "image1": np.zeros((*size, 3), np.uint8),
        "image2": np.full((*size, 3), 255, np.uint8),
    }
    return FlowSample(**{**given, **parts})


def test_pairs_of_a_sample():
    flow = np.zeros((6, 8, 2), np.float32)
    flow[0, 0], flow[1, 1], flow[2, 2] = (3000, 0), (-2, 0), (1, 1)
    flagged, occluded = np.zeros((6, 8), np.bool_), np.zeros((6, 8), np.bool_)
    flagged[3, 3], occluded[4, 4] = True, True
    pairs = pairs_of(sample(flow=flow, flagged=flagged, occluded=occluded))
    assert pairs.image1.dtype == torch.uint8
    assert (~pairs.valid[0, 0]).nonzero().tolist() == [[0, 0], [3, 3]]
    assert pairs.hidden[0, 0].nonzero().tolist() == [[1, 1], [4, 4]]
    assert pairs.flow[0, :, 0, 0].tolist() == [0, 0]
    assert pairs.flow[0, :, 2, 2].tolist() == [1, 1]
    assert not pairs.sparse


def test_kittis_truth_is_sparse():
    valid = np.zeros((6, 8), np.bool_)
    valid[::2, ::2] = True
    seen = valid.copy()
    seen[0, 0] = False
    flow = np.where(valid[..., None], np.float32(1), np.float32(np.nan)).repeat(2, -1)
    pairs = pairs_of(
        sample(flow=flow, valid=valid, valid_noc=seen, image1=np.full((6, 8, 3), 65535, np.uint16))
    )
    assert pairs.sparse
    assert pairs.flow.isfinite().all()
    assert pairs.hidden[0, 0, 0, 0]
    assert not pairs.hidden[0, 0, 2, 2]
    assert pairs.image1.dtype == torch.float32
    assert (pairs.image1 == 1).all()


def test_unlabelled_pairs_know_nothing():
    image = np.zeros((6, 8, 3), np.uint8)
    pairs = unlabelled(image, image)
    got = augment(pairs, (4, 4), rngs(1), by=uflow())
    assert not got.valid.any()
    assert len(joined([pairs, pairs])) == 2


def test_look_is_on_no_particular_device_or_batch():
    empty = look(smooth_pairs(2), [np.eye(2, 3)] * 2, (96, 120))
    assert torch.equal(empty.flow, smooth_pairs(2).flow)
