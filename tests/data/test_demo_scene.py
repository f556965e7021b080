from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch

from kinema.data.procedural.demo_scene import RenderedClip, demo_layers, render_clip
from kinema.data.procedural.layers import Layer, layer_truth, render
from kinema.data.procedural.motion import Path, Wave
from kinema.data.procedural.shapes import Bar, Disc, Everywhere, Ring, Shape, Star
from kinema.data.procedural.textures import dead_leaves, hex_colours, noise, ramp, smoothed
from kinema.errors import UsageError
from kinema.ops.warp import backward_warp

SIZE = (120, 216)
CLIP_FRAMES = 5


@pytest.fixture(scope="module")
def clip() -> RenderedClip:
    return render_clip(3, frames=CLIP_FRAMES, size_hw=SIZE)


def plain(shape: Shape, path: Path, *, level: float = 0.5, name: str = "thing") -> Layer:
    return Layer(name, shape, np.full((3, 32, 32), level, np.float32), path)


# Motion of known layers, checked by hand. Time 1 is a quarter of the waves' period: from 0 to the top.


def flow_of(path: Path, size_hw: tuple[int, int] = (40, 50)) -> np.ndarray:
    return layer_truth([plain(Everywhere(), path)], 0, 1, size_hw=size_hw).flow


def test_a_sway_is_a_translation():
    flow = flow_of(Path((20, 20), sway=(Wave(5.5, 4), Wave(-3, 4))))
    assert np.allclose(flow, [5.5, -3])


def test_a_quarter_turn_is_clockwise_on_the_screen():
    flow = flow_of(Path((20, 10), spin=90))
    assert np.allclose(flow[10, 20], 0, atol=1e-5)
    assert np.allclose(flow[10, 23], [-3, 3], atol=1e-5)  # from the right of the centre to below it
    assert np.allclose(flow[14, 20], [-4, -4], atol=1e-5)  # from below to the left


def test_breathing_is_a_zoom_about_the_centre():
    flow = flow_of(Path((20, 10), breathe=Wave(math.log(1.5), 4)))
    assert np.allclose(flow[10, 20], 0, atol=1e-5)
    assert np.allclose(flow[30, 44], [0.5 * 24, 0.5 * 20], atol=1e-4)


def test_a_slant_moves_x_along_with_y():
    flow = flow_of(Path((20, 10), slant=Wave(0.2, 4)))
    assert np.allclose(flow[25, 7], [0.2 * 15, 0], atol=1e-5)


def test_a_fixed_angle_or_size_is_no_motion():
    assert np.allclose(flow_of(Path((20, 10), angle=33, size=1.7)), 0, atol=1e-5)


def test_the_way_back_undoes_the_way_there():
    there = Path((30, 20), angle=12, spin=4, sway=(Wave(9, 16), Wave(4, 11)), slant=Wave(0.1, 9, 0.2))
    first, second = there.at(2), there.at(5)
    points = np.random.default_rng(0).uniform(-50, 50, (2, 100))
    moved = second.after(first.inverse()).apply(first.apply(points))
    assert np.allclose(moved, second.apply(points))
    assert np.allclose(first.after(second.inverse()).apply(moved), first.apply(points))


def test_scale_of_a_map_is_the_root_of_its_area():
    assert Path((0, 0), size=2, angle=30).at(0).scale() == pytest.approx(2)
    assert Path((0, 0), size=3, slant=Wave(0.5, 4)).at(1).scale() == pytest.approx(3)


def test_what_a_moving_disc_hides_and_what_leaves():
    ground = plain(Everywhere(), Path((0, 0)))
    disc = plain(Disc(8.2), Path((20, 20), sway=(Wave(10, 4), Wave())))
    truth = layer_truth([ground, disc], 0, 1, size_hw=(40, 50))
    y, x = np.mgrid[0:40, 0:50]
    before, after = np.hypot(x - 20, y - 20) <= 8.2, np.hypot(x - 30, y - 20) <= 8.2
    assert np.array_equal(truth.layer, before)
    assert np.allclose(truth.flow[before], [10, 0], atol=1e-5)
    assert (truth.flow[~before] == 0).all()
    assert np.array_equal(truth.occluded, after & ~before)
    assert truth.in_frame.all()


def test_the_last_columns_leave_the_frame():
    truth = layer_truth([plain(Everywhere(), Path((0, 0), sway=(Wave(5, 4), Wave())))], 0, 1, size_hw=(9, 20))
    assert truth.in_frame[:, :15].all()
    assert not truth.in_frame[:, 15:].any()
    assert not truth.occluded.any()
    assert np.array_equal(truth.visible, truth.in_frame)


def test_the_ground_is_seen_through_a_ring():
    ground, ring = (
        plain(Everywhere(), Path((0, 0)), level=0.25),
        plain(Ring(12, 6), Path((25, 20)), level=0.75),
    )
    truth = layer_truth([ground, ring], 0, 1, size_hw=(40, 50))
    assert [int(truth.layer[20, x]) for x in (25, 33, 37, 41)] == [0, 0, 1, 0]
    frame = render([ground, ring], 0, (40, 50))
    assert [int(frame[20, x, 0]) for x in (25, 33, 37, 41)] == [64, 64, 191, 64]


def test_the_nearest_layer_wins_and_hides_the_others():
    far, near = plain(Disc(10), Path((20, 20))), plain(Disc(5), Path((20, 20), sway=(Wave(7, 4), Wave())))
    truth = layer_truth([plain(Everywhere(), Path((0, 0))), far, near], 0, 1, size_hw=(40, 50))
    assert truth.layer[20, 20] == 2
    assert truth.layer[20, 27] == 1
    assert truth.occluded[20, 27]
    assert not truth.occluded[20, 20]


def test_outlines_are_blended_over_one_pixel():
    edge = plain(Disc(10), Path((20.25, 20)), level=0.9)
    row = render([plain(Everywhere(), Path((0, 0)), level=0.1), edge], 0, (40, 40))[20, :, 0]
    # The rim is at x = 30.25 and pixel 30 reaches from 29.5 to 30.5: three quarters of it are covered.
    assert row[29] == round(0.9 * 255)
    assert row[31] == round(0.1 * 255)
    assert row[30] == pytest.approx((0.1 + 0.75 * 0.8) * 255, abs=1)


def test_a_layer_out_of_sight_changes_nothing():
    ground = plain(Everywhere(), Path((0, 0)), level=0.3)
    away = plain(Disc(5), Path((500, 500)), level=0.9)
    assert np.array_equal(render([ground, away], 0, (20, 20)), render([ground], 0, (20, 20)))


@pytest.mark.parametrize(
    ("shape", "inside", "rim", "outside"),
    [
        (Disc(5), [(0, 0, -5), (3, 0, -2)], [(5, 0), (3, 4)], [(6, 8, 5)]),
        (Ring(10, 4), [(10, 0, -2), (0, -11, -1)], [(8, 0), (0, 12)], [(0, 0, 8), (15, 0, 3)]),
        (Bar(20, 4), [(0, 0, -2), (7, 1, -1)], [(10, 0), (3, 2), (-10, 0)], [(0, 5, 3), (13, 0, 3)]),
        (Star(10, 4, 0.2), [(0, 0, -12)], [(12, 0), (0, 12), (8 * math.sqrt(0.5), 8 * math.sqrt(0.5))], []),
    ],
)
def test_distances_by_hand(shape, inside, rim, outside):
    for x, y, distance in [*inside, *((x, y, 0) for x, y in rim), *outside]:
        assert shape.distance(np.array([[float(x)], [float(y)]]))[0] == pytest.approx(distance, abs=1e-9)


def test_the_distance_from_a_star_is_close_to_true_at_its_outline():
    star = Star(40, 5, 0.3)
    angle = np.linspace(0, 2 * math.pi, 4000)
    outline = 40 * (1 + 0.3 * np.cos(5 * angle)) * np.stack([np.cos(angle), np.sin(angle)])
    assert np.allclose(star.distance(outline), 0, atol=1e-9)
    near = outline[:, ::50, None] + np.random.default_rng(0).uniform(-0.7, 0.7, (2, 80, 1))
    true = np.hypot(*(near - outline[:, None])).min(axis=1)
    assert np.allclose(np.abs(star.distance(near[..., 0])), true, atol=0.06)


# Textures.


def test_noise_keeps_to_its_band():
    field = noise((128, 256), np.random.default_rng(0), wavelengths=(6, 40), slope=1)
    assert field.mean() == pytest.approx(0, abs=1e-9)
    assert field.std() == pytest.approx(1)
    power = np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(256)[None])
    assert power[frequency > 1.3 / 6].sum() < 1e-3 * power.sum()
    assert power[frequency < 0.6 / 40].sum() < 1e-2 * power.sum()
    slow, fast = (power[(frequency > f) & (frequency < 1.3 * f)].mean() for f in (0.03, 0.1))
    assert slow / fast == pytest.approx((0.1 / 0.03) ** 2, rel=0.5)  # amplitudes fall like 1 / f


def test_smoothing_spreads_a_point_into_a_gaussian():
    point = np.zeros((41, 41))
    point[20, 20] = 1
    y, x = np.mgrid[-20:21, -20:21]
    wanted = np.exp(-(x**2 + y**2) / (2 * 2.0**2)) / (2 * math.pi * 2.0**2)
    assert np.allclose(smoothed(point, 2.0), wanted, atol=1e-6)


def test_ramp_goes_through_its_colours():
    colours = ramp(np.array([[-1.0, 0.0, 0.25, 0.5, 1.0, 2.0]]), hex_colours("000000 ff8000 ffffff"))
    assert np.allclose(colours[:, 0, :2], 0)
    assert np.allclose(colours[:, 0, 2], [0.5, 64 / 255, 0])
    assert np.allclose(colours[:, 0, 3], [1, 128 / 255, 0])
    assert np.allclose(colours[:, 0, 4:], 1)


def test_dead_leaves_follow_the_power_law():
    # With one leaf per picture the covered area tells the radius.
    rng, radii = np.random.default_rng(1), []
    for _ in range(300):
        picture = dead_leaves((64, 64), rng, colours=hex_colours("000000 ffffff"), radii=(3, 12), count=1)
        area = (picture.max(axis=0) > 0.4).sum()
        if picture[:, [0, -1], :].max() < 0.05 and picture[:, :, [0, -1]].max() < 0.05 and area > 4:
            radii.append(math.sqrt(area / math.pi))
    assert len(radii) > 50
    assert min(radii) > 2.5
    assert max(radii) < 12.5
    # Density r^-3 between 3 and 12: the median is (3^-2 - (3^-2 - 12^-2) / 2)^-1/2 = 4.1.
    assert np.median(radii) == pytest.approx(4.1, abs=0.5)


# The scene as a whole.


def test_a_frame_depends_on_seed_and_number_alone(clip):
    again = render_clip(3, frames=CLIP_FRAMES - 2, size_hw=SIZE)
    assert np.array_equal(again.frames, clip.frames[: CLIP_FRAMES - 2])
    assert np.array_equal(again.flow, clip.flow[: CLIP_FRAMES - 3])
    assert np.array_equal(render(demo_layers(3, SIZE), CLIP_FRAMES - 1, SIZE), clip.frames[-1])
    other = render_clip(4, frames=2, size_hw=SIZE)
    assert np.abs(other.frames[0].astype(float) - clip.frames[0]).mean() > 10


def test_shapes_and_types(clip):
    pairs = (CLIP_FRAMES - 1, *SIZE)
    assert (clip.frames.shape, clip.frames.dtype) == ((CLIP_FRAMES, *SIZE, 3), np.uint8)
    assert (clip.flow.shape, clip.flow.dtype) == ((*pairs, 2), np.float32)
    for mask in (clip.occluded, clip.in_frame, clip.visible):
        assert (mask.shape, mask.dtype) == (pairs, np.bool_)
    assert (clip.layer.shape, clip.layer.dtype) == (pairs, np.uint8)
    assert clip.names == ("background", "ring", "star", "disc", "bar")
    assert set(np.unique(clip.layer)) == set(range(5))


def warped(clip: RenderedClip, pair: int, shift: float = 0.0) -> np.ndarray:
    """Frame pair + 1 brought back by the true flow, in grey levels; `shift` pixels added to the flow's x."""
    second = torch.from_numpy(clip.frames[pair + 1].astype(np.float32)).permute(2, 0, 1)[None]
    flow = torch.from_numpy(clip.flow[pair] + np.array([shift, 0], np.float32)).permute(2, 0, 1)[None]
    back = backward_warp(second, flow, border="replicate", mode="bicubic")
    return back[0].permute(1, 2, 0).numpy()


def clear_of_edges(clip: RenderedClip, pair: int) -> np.ndarray:
    """Visible pixels whose neighbours belong to the same thing and are visible too."""
    window = np.ones((7, 7), np.uint8)
    layer = clip.layer[pair]
    same = cv2.dilate(layer, window) == cv2.erode(layer, window)
    return same & (cv2.erode(clip.visible[pair].astype(np.uint8), window, borderValue=1) > 0)


@pytest.mark.parametrize("pair", range(CLIP_FRAMES - 1))
def test_the_true_flow_explains_what_is_visible(clip, pair):
    error = np.abs(warped(clip, pair) - clip.frames[pair]).mean(axis=2)
    clear = clear_of_edges(clip, pair)
    assert clear.mean() > 0.6
    for index in range(len(clip.names)):
        inside = clear & (clip.layer[pair] == index)
        if inside.sum() > 50:
            assert error[inside].mean() < 1.5  # of 255: the rounding of two frames and of bicubic reading
    assert error[clear].mean() < 1.0
    moved = np.abs(clip.frames[pair + 1].astype(float) - clip.frames[pair]).mean(axis=2)
    assert moved[clear].mean() > 10 * error[clear].mean()
    # Truth to a small part of a pixel: a tenth of one away, the error is already larger.
    shifted = np.abs(warped(clip, pair, shift=0.1) - clip.frames[pair]).mean(axis=2)
    assert shifted[clear].mean() > 1.2 * error[clear].mean()


def test_what_is_hidden_cannot_be_explained(clip):
    for pair in range(CLIP_FRAMES - 1):
        error = np.abs(warped(clip, pair) - clip.frames[pair]).mean(axis=2)
        hidden = clip.occluded[pair] & clip.in_frame[pair]
        assert hidden.sum() > 50
        assert error[hidden].mean() > 15 * error[clear_of_edges(clip, pair)].mean()


def test_in_frame_is_what_flow_says(clip):
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    for flow, inside in zip(clip.flow.astype(float), clip.in_frame, strict=True):
        end_x, end_y = x + flow[..., 0], y + flow[..., 1]
        beyond = np.maximum.reduce([-end_x, end_x - (SIZE[1] - 1), -end_y, end_y - (SIZE[0] - 1)])
        sure = np.abs(beyond) > 1e-4
        assert np.array_equal(inside[sure], (beyond < 0)[sure])


def test_speeds_are_a_mix():
    clip = render_clip(0, frames=3)
    assert clip.frames.shape == (3, 240, 432, 3)
    speed = np.hypot(clip.flow[..., 0], clip.flow[..., 1])
    assert speed.max() < 16
    assert speed.max() > 10
    assert np.percentile(speed, 5) < 1
    assert (clip.occluded.mean(axis=(1, 2)) > 0.01).all()
    assert (clip.occluded.mean(axis=(1, 2)) < 0.1).all()


def test_motion_grows_with_the_frame():
    small, large = (render_clip(1, frames=2, size_hw=size) for size in ((60, 108), (120, 216)))
    assert np.abs(large.flow[0]).mean() == pytest.approx(2 * np.abs(small.flow[0]).mean(), rel=0.1)


@pytest.mark.parametrize(
    "options", [{"frames": 1}, {"size_hw": (31, 64)}, {"size_hw": (64, 8)}, {"seed": -1}]
)
def test_too_little_to_render(options):
    with pytest.raises(UsageError, match="2 frames of 32x32"):
        render_clip(**({"seed": 0, "frames": 2, "size_hw": (32, 32)} | options))


def test_the_smallest_scene():
    clip = render_clip(0, frames=2, size_hw=(32, 32))
    assert np.isfinite(clip.flow).all()
    assert clip.frames.std() > 5
