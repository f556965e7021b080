"""Rendered clips as a user asks for them: repeatable, with the effects and the motion that were named."""

import math
from dataclasses import fields

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kinema.data.procedural.world.clip import RenderedClip, render_clip
from kinema.data.procedural.world.config import RESERVED_WORLDS, WorldConfig
from kinema.data.procedural.world.lighting import plan_look
from kinema.data.procedural.world.worlds import plan_world
from kinema.errors import UsageError

SIZE = (48, 80)
SMALL = WorldConfig(size_hw=SIZE, bank_textures=1, static_share=0.0)
TRUTH = [
    field.name
    for field in fields(RenderedClip)
    if field.name not in ("images", "blurred", "places", "seconds")
]


def only(place, **changes):
    names = ("street", "walk", "room", "yard")
    return SMALL.model_copy(update={"place_shares": tuple(float(n == place) for n in names)} | changes)


ROOM = only("room")
LOUD = {
    "photometric": True,
    "shading_share": 1.0,
    "moving_light_share": 1.0,
    "gloss_share": 1.0,
    "exposure_share": 1.0,
    "noise_share": 1.0,
    "jpeg_share": 1.0,
}


def row(clip, number):
    return RenderedClip(
        **{
            field.name: value[number : number + 1]
            if (value := getattr(clip, field.name)) is not None
            else None
            for field in fields(RenderedClip)
        }
    )


@pytest.mark.parametrize("place", ["room", pytest.param("street", marks=pytest.mark.slow)])
def test_a_clip_depends_on_nothing_but_its_number(place):
    config = only(place)
    both = render_clip(config, 4, [7, 2], frames=2)
    alone = render_clip(config, 4, [2], frames=2)
    second = row(both, 1)
    things = alone.T_world_from_thing.shape[2]
    assert torch.equal(second.T_world_from_thing[:, :, :things], alone.T_world_from_thing)
    for name in (*TRUTH, "images"):
        if name != "T_world_from_thing":
            assert torch.equal(getattr(second, name), getattr(alone, name)), name
    assert not torch.equal(both.images[0], both.images[1])
    other = render_clip(config, 5, [2], frames=2)
    assert not torch.equal(other.images, alone.images)


@pytest.mark.parametrize("place", ["room", pytest.param("street", marks=pytest.mark.slow)])
def test_a_longer_clip_begins_with_the_shorter_one(place):
    config = only(place)
    short, long = render_clip(config, 1, [3], frames=2), render_clip(config, 1, [3], frames=4)
    things = short.T_world_from_thing.shape[2]
    assert torch.equal(short.T_world_from_thing, long.T_world_from_thing[:, :2, :things])
    for name in (*TRUTH, "images", "seconds"):
        a, b = getattr(short, name), getattr(long, name)
        if name == "K":
            assert torch.equal(a, b)
        elif name != "T_world_from_thing":
            assert torch.equal(a, b[:, : a.shape[1]]), name


@pytest.mark.parametrize("place", ["room", pytest.param("street", marks=pytest.mark.slow)])
def test_effects_change_pictures_and_never_the_truth(place):
    plain = render_clip(only(place, photometric=False), 1, [0], frames=2)
    loud = render_clip(only(place, **LOUD), 1, [0], frames=2)
    for name in TRUTH:
        assert torch.equal(getattr(plain, name), getattr(loud, name)), name
    assert (plain.images - loud.images).abs().mean() > 0.005


def test_shapes_types_and_ranges():
    clip = render_clip(SMALL, 0, [0, 1], frames=3)
    assert clip.images.shape == (2, 3, 3, *SIZE)
    assert clip.images.dtype == torch.float32
    levels = clip.images * 255
    assert (levels - levels.round()).abs().max() < 1e-4
    assert 0 <= clip.images.min() <= clip.images.max() <= 1
    assert clip.blurred is None
    assert clip.depth.shape == (2, 3, 1, *SIZE)
    assert torch.equal(clip.depth == 0, clip.sky)
    assert (clip.depth >= 0).all()
    assert clip.depth.isfinite().all()
    assert clip.instance.dtype == torch.int16
    assert clip.instance.max() < clip.T_world_from_thing.shape[2]
    for name in ("flow_forward", "flow_backward", "rigid_forward", "rigid_backward"):
        assert getattr(clip, name).shape == (2, 2, 2, *SIZE)
        assert getattr(clip, name).isfinite().all()
    for way in ("forward", "backward"):
        for name in ("valid", "rigid_valid", "occluded", "in_frame", "visible"):
            assert getattr(clip, f"{name}_{way}").shape == (2, 2, 1, *SIZE)
        valid = getattr(clip, f"valid_{way}")
        assert (getattr(clip, f"flow_{way}") * ~valid == 0).all()
        assert not (getattr(clip, f"in_frame_{way}") & ~valid).any()
    assert clip.K.dtype == clip.T_world_from_camera.dtype == torch.float64
    eye = torch.eye(4, dtype=torch.float64).expand(2, 3, 4, 4)
    torch.testing.assert_close(clip.T_camera_from_world @ clip.T_world_from_camera, eye)
    turn = clip.T_world_from_thing[..., :3, :3]
    torch.testing.assert_close(turn @ turn.transpose(-1, -2), torch.eye(3).double().expand(turn.shape))
    assert len(clip) == len(clip.places) == 2


def test_one_frame_has_no_flow():
    clip = render_clip(ROOM, 0, [0], frames=1)
    assert clip.images.shape[1] == 1
    assert clip.flow_forward.shape == (1, 0, 2, *SIZE)
    assert clip.occluded_backward.shape == (1, 0, 1, *SIZE)
    assert clip.occluded_backward.dtype == torch.bool


@pytest.mark.parametrize("case", [(-1, [0], 2), (0, [-1], 2), (0, [], 2), (0, [0], 0)])
def test_what_cannot_be_rendered_is_said(case):
    seed, indices, frames = case
    with pytest.raises(UsageError, match="must be 0 or more"):
        render_clip(ROOM, seed, indices, frames=frames)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_hw": (16, 640)},
        {"place_shares": (0.5, 0.5, 0.5, 0.0)},
        {"fov_degrees": (90.0, 60.0)},
        {"fov_degrees": (60.0, 170.0)},
        {"drive_speed": (5.0, 2.0)},
        {"blur_samples": 1},
        {"blur_exposure": (0.5, 1.5)},
        {"jpeg_quality": (0, 50)},
        {"no_such_knob": 1},
    ],
)
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ValidationError):
        WorldConfig(**wrong)


# --- cameras -------------------------------------------------------------------------------------------


def test_fields_of_view_cover_what_was_asked_for():
    config = ROOM.model_copy(update={"size_hw": (192, 640)})
    angles = []
    for index in range(120):
        K = plan_world(config, 0, index, frames=2).K
        assert K[0, 0] == K[1, 1]
        assert abs(K[0, 2] - 319.5) <= 0.02 * 640
        assert abs(K[1, 2] - 95.5) <= 0.02 * 192
        angles.append(math.degrees(2 * math.atan(320 / K[0, 0])))
    assert 35 <= min(angles) < 42
    assert 103 < max(angles) <= 110
    assert abs(np.mean(angles) - 72.5) < 5


def speeds_of(world, frames):
    times = np.arange(frames) / world.hz
    poses = np.stack([world.camera(t) for t in times])
    return np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) * world.hz, poses


@pytest.mark.slow
def test_drives_keep_to_their_speeds_and_are_smooth():
    config, fastest = only("street"), []
    for index in range(12):
        world = plan_world(config, 0, index, frames=40)
        assert world.hz == 10
        speeds, poses = speeds_of(world, 40)
        assert 0.5 < speeds.min() <= speeds.max() < 20 * 1.5
        assert np.abs(np.diff(speeds)).max() < 1.2  # metres per second, from frame to frame
        turn = np.einsum("tij,tik->tjk", poses[:-1, :3, :3], poses[1:, :3, :3])
        angle = np.degrees(np.arccos(np.clip((np.trace(turn, axis1=1, axis2=2) - 1) / 2, -1, 1)))
        assert angle.max() < 12
        assert (poses[:, 1, 3] > -2.0).all()
        assert (poses[:, 1, 3] < -1.1).all()
        fastest.append(speeds.max())
    assert min(fastest) < 6
    assert max(fastest) > 9


def test_hands_move_slowly_and_stay_in_the_room():
    for index in range(12):
        world = plan_world(ROOM, 0, index, frames=60)
        assert world.hz == 30
        speeds, poses = speeds_of(world, 60)
        assert 0.02 < np.sqrt((speeds**2).mean()) < 2.5
        assert np.abs(poses[:, [0, 2], 3]).max() < 5
        assert (poses[:, 1, 3] < -0.7).all()


def test_a_camera_on_a_tripod_sees_only_things_move():
    config = only("room", static_share=1.0, tumbling=(3, 3), photometric=False)
    clip = render_clip(config, 0, [1], frames=3)
    assert torch.equal(clip.T_world_from_camera[:, 0], clip.T_world_from_camera[:, 2])
    assert clip.rigid_forward.abs().max() < 1e-4
    still = ~clip.moving[:, 0] & ~clip.moving[:, 1] & ~clip.moving[:, 2]
    wide = torch.nn.functional.max_pool2d((~still).float(), 3, 1, padding=1) == 0
    assert wide.sum() > 500
    assert ((clip.images[:, 0] - clip.images[:, 2]).abs() * wide).max() == 0


def test_places_come_in_their_shares():
    config = SMALL.model_copy(update={"place_shares": (0.0, 0.0, 0.7, 0.3), "tumbling": (2, 4)})
    worlds = [plan_world(config, 3, index, frames=2) for index in range(60)]
    kinds = [world.kind for world in worlds]
    assert kinds.count("room") / 60 == pytest.approx(0.7, abs=0.15)
    assert set(kinds) == {"room", "yard"}
    assert {len(world.things) for world in worlds} == {2, 3, 4}


# --- light and effects ---------------------------------------------------------------------------------


def test_without_effects_nothing_of_them_is_left():
    config = ROOM.model_copy(update={"photometric": False})
    for index in range(4):
        world = plan_world(config, 0, index, frames=2)
        look = plan_look(config, world)
        camera = world.camera(0.0)
        assert look.baked
        assert look.light(0.0, camera) is look.light(1.0, camera)
        assert (look.noise, look.grey, look.jpeg, look.video) == ((0.0, 0.0), False, 0, 0)


def test_effects_come_in_their_shares():
    looks = [plan_look(ROOM, plan_world(ROOM, 0, index, frames=2)) for index in range(150)]
    assert np.mean([look.noise[0] > 0 for look in looks]) == pytest.approx(0.5, abs=0.12)
    assert np.mean([look.jpeg > 0 for look in looks]) == pytest.approx(0.2, abs=0.1)
    assert np.mean([look.grey for look in looks]) < 0.15
    drifts = [look.develop(0.0) != look.develop(0.1) for look in looks]
    assert np.mean(drifts) == pytest.approx(0.35, abs=0.12)


def test_grey_clips_are_grey():
    clip = render_clip(only("room", grey_share=1.0), 0, [0], frames=1)
    assert (clip.images[:, :, 0] - clip.images[:, :, 2]).abs().max() == 0


def test_noise_differs_from_frame_to_frame():
    quiet = dict.fromkeys(("jpeg_share", "video_share", "exposure_share", "moving_light_share"), 0.0)
    noisy = {"noise_share": 1.0, "noise_sigma": (0.02, 0.02)}
    config = only("room", static_share=1.0, tumbling=(0, 0), **noisy, **quiet)
    clip = render_clip(config, 0, [0], frames=2)
    difference = (clip.images[0, 0] - clip.images[0, 1]).std()
    assert 0.02 < difference < 0.06


def test_videos_are_read_back_at_odd_sizes():
    config = only("room", size_hw=(51, 83), video_share=1.0, photometric=True)
    clip = render_clip(config, 0, [0], frames=3)
    plain = render_clip(config.model_copy(update={"video_share": 0.0}), 0, [0], frames=3)
    assert clip.images.shape == (1, 3, 3, 51, 83)
    assert 0 < (clip.images - plain.images).abs().mean() < 0.08


# --- motion blur ---------------------------------------------------------------------------------------


def test_blurred_frames_are_means_around_the_sharp_ones():
    config = only("room", photometric=False, blur_samples=9, blur_exposure=(0.9, 0.9))
    clip = render_clip(config, 2, [0], frames=2)
    assert clip.blurred is not None
    assert clip.blurred.shape == clip.images.shape

    def sharpness(frames):
        return (frames[..., 1:] - frames[..., :-1]).abs().mean()

    assert (clip.images.mean() - clip.blurred.mean()).abs() < 0.01
    assert sharpness(clip.blurred) < 0.98 * sharpness(clip.images)
    plain = render_clip(config.model_copy(update={"blur_samples": 0}), 2, [0], frames=2)
    assert torch.equal(plain.images, clip.images)


def test_what_stands_still_is_not_blurred():
    config = only("room", photometric=False, static_share=1.0, tumbling=(0, 0), blur_samples=3)
    clip = render_clip(config, 2, [0], frames=1)
    assert (clip.blurred - clip.images).abs().max() <= 1 / 255 + 1e-6


# --- families and own pictures -------------------------------------------------------------------------


@pytest.mark.parametrize("family", RESERVED_WORLDS)
def test_reserved_families_look_like_nothing_that_is_trained_on(family):
    config = ROOM.model_copy(update={"family": family, "photometric": False})
    clip = render_clip(config, 0, [0], frames=2)
    train = render_clip(ROOM.model_copy(update={"photometric": False}), 0, [0], frames=2)
    assert not torch.equal(clip.K, train.K)
    assert clip.valid_forward.float().mean() > 0.5
    if family == "night":
        light = plan_look(config, plan_world(config, 0, 0, frames=2)).light(0.0, np.eye(4))
        assert max(*light.above, *light.below, *light.sky) < 0.1
    if family == "corridor":
        assert clip.depth.max() > 15
        assert not clip.sky.any()


def test_pictures_of_a_folder_hang_on_the_walls(tmp_path):
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 2] = 255
    cv2.imwrite(str(tmp_path / "red.png"), red)
    config = only("yard", photometric=False, textures=tmp_path, textures_share=1.0, tumbling=(8, 8))
    clips = [render_clip(c, 0, [1], frames=1) for c in (config, config.model_copy(update={"textures": None}))]
    redness = [(c.images[:, :, 0] - c.images[:, :, 1:].amax(2) > 0.3).float().mean() for c in clips]
    assert redness[0] > redness[1] + 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_renders_the_same():
    here, there = (render_clip(ROOM, 0, [0], frames=2, device=device) for device in ("cpu", "cuda"))
    for name in ("images", "depth", "flow_forward"):
        error = (getattr(here, name) - getattr(there, name).cpu()).abs()
        assert (error > 0.02).float().mean() < 0.005, name
