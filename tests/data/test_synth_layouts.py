"""Every layout that is rendered, read back by its family's own reader and held against the renderer."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.photometric import fetched, mean_difference
from kinema.data import open_driving, open_flow, open_restoration, parse_spec
from kinema.data.kitti_stereo import BASELINE
from kinema.data.procedural.pairs import render_pair
from kinema.data.sample import load_disparity
from kinema.data.synth.kitti_drives import SEQUENCES, drive_name
from kinema.data.synth.kitti_flow import pair_place
from kinema.data.synth.kitti_rig import drive_rig
from kinema.data.synth.pairs import chairs_config, middlebury_config
from kinema.data.synth.plan import FACTS, LayoutName, SynthPlan, plan_synth
from kinema.data.synth.restoration import blurred_fourth, film_config, reds_clip
from kinema.data.synth.rig import Rig
from kinema.data.synth.scenes import BASELINE as THINGS_BASELINE
from kinema.data.synth.scenes import flyingthings_config, flyingthings_place, scene_name, sintel_config
from kinema.data.synth.writers import WRITERS
from kinema.io.flow import read_flow, read_pfm, write_flow
from kinema.io.images import read_image
from kinema.io.poses import read_kitti_poses
from kinema.ops.resize import matlab_bicubic

SIZE = (64, 96)


def written(root: Path, layout: LayoutName, *, count: int = 1, frames: int | None = None) -> SynthPlan:
    plan = plan_synth(layout, count=count, seed=3, size_hw=SIZE, frames=frames)
    writer = WRITERS[layout]
    if writer.shared is not None:
        writer.shared(plan, root)
    for index in range(count):
        writer.sample(plan, index, root)
    return plan


def flow_set(spec: str, root: Path):
    return open_flow(parse_spec(f"{spec}:{root}")[0])


@pytest.mark.parametrize(
    ("layout", "config"), [("flyingchairs", chairs_config), ("middlebury", middlebury_config)]
)
def test_planar_pairs_hold_the_renderers_truth_to_the_bit(tmp_path, layout, config):
    plan = written(tmp_path, layout, count=2)
    opened = flow_set(layout, tmp_path)
    assert len(opened) == 2
    truth = render_pair(config(plan), plan.render_seed, [0, 1])
    for row, sample in enumerate(opened):
        valid = truth.valid[row, 0].numpy()
        assert np.array_equal(sample.valid, valid)
        assert np.array_equal(sample.flow[valid], truth.flow[row].permute(1, 2, 0).numpy()[valid])
        assert np.array_equal(sample.image1, np.rint(truth.image1[row].permute(1, 2, 0).numpy() * 255))
        assert np.array_equal(sample.image2, np.rint(truth.image2[row].permute(1, 2, 0).numpy() * 255))
        explains(sample.image1, sample.image2, sample.flow, truth.visible[row, 0].numpy())


def explains(image1: np.ndarray, image2: np.ndarray, flow: np.ndarray, visible: np.ndarray) -> None:
    """Frame 2 fetched along the flow is nearer to frame 1 than frame 2 as it is."""
    along = mean_difference(image1, fetched(image2, flow), visible)
    still = mean_difference(image1, image2, visible)
    assert along < 0.05 * 255
    assert along < 0.7 * still or along < 0.012 * 255, (along, still)


def test_middlebury_and_chairs_names(tmp_path):
    written(tmp_path, "middlebury")
    written(tmp_path, "flyingchairs")
    assert (tmp_path / "other-data/Dimetrodon/frame11.png").is_file()
    assert (tmp_path / "other-gt-flow/Dimetrodon/flow10.flo").is_file()
    assert (tmp_path / "data/00001_img1.ppm").read_bytes()[:2] == b"P6"


@pytest.mark.slow
def test_sintel_has_both_passes_flow_and_masks(tmp_path):
    plan = written(tmp_path, "sintel", frames=3)
    clean, final = flow_set("sintel-clean", tmp_path), flow_set("sintel-final", tmp_path)
    assert [files.name for files in clean.files] == ["alley_1/frame_0001", "alley_1/frame_0002"]
    shots = Rig(sintel_config(plan), plan.render_seed, 0, frames=3).left
    for place, (sample, blurred) in enumerate(zip(clean, final, strict=True)):
        motion = shots.forward
        assert np.array_equal(sample.image1, shots.images[place])
        assert np.array_equal(blurred.image2, shots.blurred[place + 1])
        assert np.array_equal(sample.occluded, motion.occluded[place])
        assert np.array_equal(sample.flagged, ~motion.valid[place])
        assert np.array_equal(sample.flow[sample.valid], motion.flow[place][sample.valid])
        explains(sample.image1, sample.image2, sample.flow, motion.visible[place])
    assert not np.array_equal(clean[0].image1, final[0].image1)


@pytest.mark.slow
def test_flyingthings_has_two_cameras_and_two_directions(tmp_path):
    plan = written(tmp_path, "flyingthings", count=2, frames=3)
    both = flow_set("flyingthings-final", tmp_path)
    assert len(both) == 2 * 2 * 2 * 2  # clips, pairs, cameras, directions
    assert len(open_flow(parse_spec(f"flyingthings-clean@test:{tmp_path}")[0])) == 8
    rig = Rig(flyingthings_config(plan), plan.render_seed, 0, frames=3, baseline=THINGS_BASELINE)
    by_name = {files.name: number for number, files in enumerate(both.files)}
    clean = flow_set("flyingthings-clean", tmp_path)
    for camera, shots in (("left", rig.left), ("right", rig.right)):
        for way, motion, first, second in (
            ("future", shots.forward, 0, 1),
            ("past", shots.backward, 1, 0),
        ):
            sample = clean[by_name[f"TRAIN/A/0000/{camera}/{way}/{6 + first:04d}"]]
            assert np.array_equal(sample.image2, shots.images[second])
            assert np.array_equal(sample.flow[sample.valid], motion.flow[0][motion.valid[0]])
            explains(sample.image1, sample.image2, sample.flow, motion.visible[0])
    disparity = read_pfm(tmp_path / "disparity/TRAIN/A/0000/left/0006.pfm")
    exact, seen = rig.disparity(0)
    assert np.abs(disparity - exact).max() < 2e-3
    across = np.stack([-disparity, np.zeros_like(disparity)], axis=2)
    explains(rig.left.images[0], rig.right.images[0], across, seen)


@pytest.fixture(scope="module")
def kitti2015(tmp_path_factory) -> tuple[Path, SynthPlan]:
    root = tmp_path_factory.mktemp("kitti2015")
    return root, written(root, "kitti2015", frames=3)


def test_kitti_2015_flow_is_the_renderers_within_the_steps_of_the_format(kitti2015):
    root, plan = kitti2015
    (sample,) = flow_set("kitti2015", root)
    rig, place = drive_rig(plan, 0), pair_place(3)
    motion, measured = rig.left.forward, rig.measured(place)
    assert np.array_equal(sample.valid, measured & motion.valid[place])
    assert np.array_equal(sample.valid_noc, measured & motion.visible[place])
    assert 0.1 < sample.valid.mean() < 0.95  # sparse: no sky, nothing above the highest beam
    assert sample.valid_noc.sum() < sample.valid.sum()
    assert np.abs(sample.flow - motion.flow[place])[sample.valid].max() <= 0.5 / 64 + 1e-6
    assert np.array_equal(sample.image1, rig.left.images[place])
    explains(sample.image1, sample.image2, sample.flow, sample.valid_noc)
    numbers = sorted(path.name for path in (root / "training/image_2").iterdir())
    assert numbers == ["000000_09.png", "000000_10.png", "000000_11.png"]


def test_kitti_2015_disparity_is_focal_length_times_baseline_over_depth(kitti2015):
    root, plan = kitti2015
    (files,) = flow_set("kitti2015", root).files
    rig, place = drive_rig(plan, 0), pair_place(3)
    shots = rig.left
    found = load_disparity(files)
    focal = shots.K[0, 0]
    assert np.array_equal(found.valid, rig.measured(place) & (shots.depth[place] < focal * BASELINE * 512))
    expected = focal * BASELINE / shots.depth[place][found.valid]
    assert np.abs(found.values[found.valid] - expected).max() <= 0.5 / 256 + 1e-4
    noc = load_disparity(files, part="noc").valid
    assert noc.sum() < found.valid.sum()
    across = np.stack([-found.values, np.zeros_like(found.values)], axis=2)
    explains(shots.images[place], rig.right.images[place], across, noc)
    # The picture's reader takes the same numbers as metres.
    depth = open_driving(parse_spec(f"kitti_stereo:{root}")[0])[0].depth
    assert np.array_equal(depth > 0, found.valid)
    near = found.valid & (shots.depth[place] < 20)
    assert np.abs(depth / np.where(near, shots.depth[place], 1) - 1)[near].max() < 0.02


def test_kitti_2015_later_disparity_joins_both_frames(kitti2015):
    """A point goes along the flow and then across: it is in the right frame of the second moment."""
    root, plan = kitti2015
    (sample,) = flow_set("kitti2015", root)
    (files,) = flow_set("kitti2015", root).files
    later = load_disparity(files, part="second")
    rig, place = drive_rig(plan, 0), pair_place(3)
    both = sample.flow - np.stack([later.values, np.zeros_like(later.values)], axis=2)
    seen = read_image(root / "training/disp_noc_1/000000_10.png")[..., 0] > 0
    assert 0 < seen.sum() < later.valid.sum()
    explains(rig.left.images[place], rig.right.images[place + 1], both, seen & sample.valid)
    # What stands has the disparity of the depth that the camera's own motion gives it.
    left = rig.left
    standing = later.valid & (left.instance[place] == 0)
    rows, columns = np.nonzero(standing)
    pixels = np.stack([columns, rows, np.ones_like(rows)]) * left.depth[place][rows, columns]
    points = np.concatenate([np.linalg.solve(left.K, pixels), np.ones((1, len(rows)))])
    T = left.T_world_from_camera
    z = (np.linalg.inv(T[place + 1]) @ T[place] @ points)[2]
    expected = left.K[0, 0] * BASELINE / z
    assert len(rows) > 1000
    assert np.abs(later.values[rows, columns] - expected).max() <= 0.5 / 256 + 2e-4


@pytest.mark.slow
def test_kitti_2012_has_no_truth_of_what_moves(tmp_path):
    plan = written(tmp_path, "kitti2012", count=2)
    opened = flow_set("kitti2012", tmp_path)
    grey = read_image(tmp_path / "training/image_0/000001_11.png")
    assert np.array_equal(grey[..., 0], cv2.cvtColor(opened[1].image2, cv2.COLOR_RGB2GRAY))
    moving = 0
    for index, sample in enumerate(opened):
        rig = drive_rig(plan, index)
        still = rig.left.instance[0] == 0
        moving += int((~still).sum())
        assert np.array_equal(sample.valid, rig.measured(0) & still & rig.left.forward.valid[0])
        assert load_disparity(opened.files[index], part="noc").valid.sum() > 100
    assert moving > 0
    sequences = open_driving(parse_spec(f"kitti_stereo:{tmp_path}")[0]).sequences
    assert np.allclose(sequences[0].K, drive_rig(plan, 0).left.K, atol=1e-9)


@pytest.mark.slow
def test_kitti_raw_lasers_measure_the_depth_of_the_frames(tmp_path):
    plan = written(tmp_path, "kitti-raw", count=2, frames=2)
    opened = open_driving(parse_spec(f"kitti_raw:{tmp_path}")[0])
    assert len(opened) == 2 * 2 * 2  # drives, cameras, frames
    assert len(open_driving(parse_spec(f"kitti_raw@eigen_train:{tmp_path}")[0])) == 4
    test = open_driving(parse_spec(f"kitti_raw@eigen_test:{tmp_path}")[0])
    assert test[0].name.startswith(drive_name(1))
    rig = drive_rig(plan, 1)
    assert np.allclose(test[0].K, rig.left.K, atol=1e-9)
    assert np.array_equal(test[0].frames[0], rig.left.images[0])
    sparse, exact = test[0].depth, rig.left.depth[0]
    # KITTI's readers put a point one pixel up and left of where it is; away from edges that says little.
    moved = np.roll(sparse, (1, 1), axis=(0, 1))
    known = (moved > 0) & (exact > 0)
    known[0] = known[:, 0] = False
    error = np.abs(moved / np.where(known, exact, 1) - 1)[known]
    assert known.sum() > 500
    assert np.median(error) < 0.02
    assert (error < 0.1).mean() > 0.85
    scan = rig.scan(0)
    azimuth = np.degrees(np.arctan2(scan[:, 1], scan[:, 0]))
    assert azimuth.min() < -170  # all around
    assert azimuth.max() > 170
    assert np.linalg.norm(scan[:, :3], axis=1).max() <= 120.001


@pytest.mark.slow
def test_kitti_odometry_poses_and_intrinsics_are_those_of_the_camera(tmp_path):
    plan = written(tmp_path, "kitti-odometry", count=2, frames=3)
    opened = open_driving(parse_spec(f"kitti_odometry:{tmp_path}")[0])
    assert [sequence.name for sequence in opened.sequences] == sorted(SEQUENCES[:2])
    assert len(open_driving(parse_spec(f"kitti_odometry@test:{tmp_path}")[0])) == 3
    for index, sequence in enumerate(opened.sequences):
        left = drive_rig(plan, index).left
        T = left.T_world_from_camera
        read = sequence.T_world_from_camera
        assert np.allclose(np.linalg.inv(read[0]) @ read, np.linalg.inv(T[0]) @ T, atol=1e-9)
        assert np.allclose(sequence.K, left.K, atol=1e-9)
        assert np.allclose(sequence.times, [0, 0.1, 0.2])
    poses = read_kitti_poses(tmp_path / "poses/00.txt").T_world_from_camera
    assert np.array_equal(poses[0], np.eye(4))
    assert poses[2, 2, 3] > poses[1, 2, 3] > 0  # ahead


@pytest.mark.slow
def test_reds_low_frames_are_made_from_its_sharp_ones(tmp_path):
    plan = written(tmp_path, "reds", count=3, frames=2)
    sets = {spec: open_restoration(parse_spec(f"{spec}:{tmp_path}")[0]) for spec in FACTS["reds"].specs}
    assert {spec: len(opened) for spec, opened in sets.items()} == dict.fromkeys(sets, 3)
    assert [clip.name for clip in sets["reds-blur"].clips] == ["000", "001", "240"]
    assert len(open_restoration(parse_spec(f"reds@official_val:{tmp_path}")[0])) == 1
    shots = Rig(film_config(plan, blur=True), plan.render_seed, 0, frames=2).left
    low = {spec: opened.clips[0].low.read(1) for spec, opened in sets.items()}
    sharp = sets["reds-blur"].clips[0].sharp.read(1)
    assert np.array_equal(sharp, shots.images[1])
    assert np.array_equal(low["reds-blur"], shots.blurred[1])
    assert np.array_equal(low["reds-bicubic"], matlab_bicubic(sharp, scale=0.25))
    assert np.array_equal(low["reds-blur_bicubic"], matlab_bicubic(low["reds-blur"], scale=0.25))
    compressed = np.abs(low["reds-blur_comp"].astype(int) - low["reds-blur"]).mean()
    assert 0.1 < compressed < 12
    assert (
        np.abs(np.diff(low["reds-blur"].astype(int), axis=1)).mean()
        < np.abs(np.diff(sharp.astype(int), axis=1)).mean()
    )


def test_vid4_low_frames_are_made_from_its_sharp_ones(tmp_path):
    plan = written(tmp_path, "vid4", frames=2)
    bicubic = open_restoration(parse_spec(f"vid4:{tmp_path}")[0]).clips[0]
    blurred = open_restoration(parse_spec(f"vid4-bdx4:{tmp_path}")[0]).clips[0]
    sharp = Rig(film_config(plan, blur=False), plan.render_seed, 0, frames=2).left.images
    assert bicubic.name == "calendar"
    assert np.array_equal(bicubic.sharp.read(1), sharp[1])
    assert np.array_equal(bicubic.low.read(1), matlab_bicubic(sharp[1], scale=0.25))
    assert np.array_equal(blurred.low.read(1), blurred_fourth(sharp[1]))


def test_a_point_blurred_for_bdx4_is_a_gaussian_of_1_6_pixels():
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[16, 16] = 255
    low = blurred_fourth(frame)
    assert low.shape == (8, 8, 3)
    weights = np.exp(-0.5 * (np.arange(-6, 7) / 1.6) ** 2)
    weights /= weights.sum()
    assert low[4, 4, 0] == round(255 * weights[6] ** 2)
    assert low[4, 5, 1] == round(255 * weights[6] * weights[2])
    assert low[4, 6].max() == 0


def test_names_of_samples_are_unique_and_official():
    drives = [drive_name(index) for index in range(200)]
    assert len(set(drives)) == 200
    assert drives[:2] == ["2011_09_26_drive_0001", "2011_09_26_drive_0002"]
    things = [flyingthings_place(index) for index in range(100)]
    assert len(set(things)) == 100
    assert sum(place.startswith("TEST") for place in things) == 20
    clips = [reds_clip(index) for index in range(270)]
    assert sorted(name for part, name in clips if part == "train") == [f"{n:03d}" for n in range(240)]
    assert sorted(name for part, name in clips if part == "val") == [f"{n:03d}" for n in range(30)]
    assert len({scene_name(index) for index in range(60)}) == 60
    assert sorted(SEQUENCES) == [f"{number:02d}" for number in range(11)]


@pytest.mark.parametrize(("frames", "first"), [(2, 10), (3, 9), (4, 9), (21, 0)])
def test_the_kitti_pair_is_always_frames_10_and_11(frames, first):
    assert 10 - pair_place(frames) == first
    assert first + frames - 1 >= 11


def test_flow_beyond_the_format_is_not_valid(tmp_path):
    """KITTI's flow ends at 512 pixels: what is farther is unknown, not wrong."""
    flow = np.zeros((4, 5, 2), np.float32)
    flow[0, 0] = (600, 0)
    write_flow(tmp_path / "f.png", flow)
    assert not read_flow(tmp_path / "f.png").valid[0, 0]
