"""Every flow family in its official layout: variants, splits, what stands in, what is left out."""

import shutil
import time

import numpy as np
import pytest

from helpers import flow_trees
from helpers.flow_trees import constant, frame, write_flo, write_picture
from kinema.data import FAMILIES, open_dataset, open_flow, open_footage, parse_spec
from kinema.data.chairs_split import PAIRS, validation_numbers
from kinema.data.sample import halved, load_before, load_disparity, load_sample
from kinema.data.sintel import (
    OFFICIAL_PAIRS,
    OFFICIAL_TEST_PAIRS,
    TRAINING_FRAMES,
    VALIDATION_SCENES,
    legacy_validation,
    official_pairs,
)
from kinema.errors import InputError, UsageError

SIZE = (6, 8)


def opened(text):
    return open_dataset(parse_spec(text)[0])


def names(text):
    dataset = opened(text)
    return [dataset.name_of(index) for index in range(len(dataset))]


# Sintel


def test_sintel_has_1041_pairs_of_23_scenes_and_552_test_pairs():
    assert (len(TRAINING_FRAMES), OFFICIAL_PAIRS, len(official_pairs())) == (23, 1041, 1041)
    assert OFFICIAL_TEST_PAIRS == 552
    assert set(TRAINING_FRAMES) > VALIDATION_SCENES


def sintel_tree(tmp_path):
    scenes = {"alley_1": [1, 2, 3], "cave_4": [1, 2], "my_scene": [1, 2]}
    return flow_trees.sintel(tmp_path, scenes, constant(SIZE, 1, 0))


def test_sintel_splits_share_no_scene(tmp_path):
    root = sintel_tree(tmp_path)
    assert names(f"sintel-clean@val:{root}") == ["cave_4/frame_0001"]
    train = names(f"sintel-clean@train:{root}")
    assert train == ["alley_1/frame_0001", "alley_1/frame_0002", "my_scene/frame_0001"]
    assert opened(f"sintel-clean@val:{root}").official_count == 20 + 19 + 49 + 49 + 39 + 49
    assert opened(f"sintel-clean@train:{root}").official_count == 1041 - 225
    assert len(opened(f"sintel-clean@training:{root}")) == len(opened(f"sintel-clean:{root}")) == 4


def test_sintel_legacy_split_is_3_percent_of_the_pairs_drawn_once(tmp_path):
    legacy = legacy_validation()
    assert len(legacy) == 32 == -(-1041 * 3 // 100)
    assert legacy <= set(official_pairs())
    # scikit-learn takes the first of a permutation by the legacy generator for the test part.
    first = np.random.RandomState(1969).permutation(1041)[0]
    assert official_pairs()[first] in legacy
    scene = next(iter(legacy)).split("/")[0]
    root = flow_trees.sintel(tmp_path, {scene: list(range(1, 51))}, constant((2, 2), 1, 0))
    val, train = names(f"sintel-clean@legacy-val:{root}"), names(f"sintel-clean@legacy-train:{root}")
    assert set(val) == {name for name in legacy if name.startswith(f"{scene}/")}
    assert not set(val) & set(train)
    assert len(val) + len(train) == 49
    assert opened(f"sintel-clean@legacy-train:{root}").official_count == 1009


def test_sintel_test_part_is_read_without_truth(tmp_path):
    for number in (1, 2, 3, 5):
        write_picture(tmp_path / f"test/final/ambush_1/frame_{number:04d}.png", frame(SIZE, number))
    dataset = opened(f"sintel-final@test:{tmp_path}")
    assert names(f"sintel-final@test:{tmp_path}") == ["ambush_1/frame_0001", "ambush_1/frame_0002"]
    assert dataset.official_count == 552
    assert dataset[1].frames[:, 0, 0, 0].tolist() == [2, 3]
    assert set(dataset.paths_of(0)) == {"image1", "image2"}
    assert len(opened(f"sintel-final@test:{tmp_path / 'test'}")) == 2
    assert [window.name for window in dataset[1:]] == ["ambush_1/frame_0002"]
    with pytest.raises(UsageError, match="no true flow; name another part"):
        open_flow(parse_spec(f"sintel-final@test:{tmp_path}")[0])


def test_the_training_folder_is_not_taken_for_the_test_folder(tmp_path):
    root = sintel_tree(tmp_path)
    with pytest.raises(InputError, match=r"expected .*test/clean/SCENE"):
        opened(f"sintel-clean@test:{root / 'training'}")


def test_sintel_albedo(tmp_path):
    root = flow_trees.sintel(tmp_path, {"alley_1": [1, 2]}, constant(SIZE, 1, 0), variant="albedo")
    assert names(f"sintel-albedo:{root}") == ["alley_1/frame_0001"]
    with pytest.raises(InputError, match=r"training/\{clean,flow\}"):
        opened(f"sintel-clean:{root}")


def test_sintel_flat_holds_frames_and_flow_together(tmp_path):
    scene = tmp_path / "MPISintel_train" / "alley_1"
    for number in (1, 2, 3):
        write_picture(scene / f"frame_{number:04d}.png", frame(SIZE, number))
    for number in (1, 2):
        write_flo(scene / f"frame_{number:04d}.flo", constant(SIZE, number, 0))
    write_picture(tmp_path / "MPISintel_test/temple_2/frame_0001.png", frame(SIZE, 1))
    write_picture(tmp_path / "MPISintel_test/temple_2/frame_0002.png", frame(SIZE, 2))
    dataset = opened(f"sintel-flat:{tmp_path}")
    assert [sample.name for sample in dataset] == ["alley_1/frame_0001", "alley_1/frame_0002"]
    assert dataset[1].flow[0, 0].tolist() == [2, 0]
    assert dataset.notes == ()
    assert names(f"sintel-flat:{tmp_path / 'MPISintel_train'}") == [
        "alley_1/frame_0001",
        "alley_1/frame_0002",
    ]
    assert names(f"sintel-flat@test:{tmp_path}") == ["temple_2/frame_0001"]


# FlyingChairs


def test_the_carried_split_is_the_published_one(shared):
    published = (shared / "data/flyingchairs/FlyingChairs_train_val.txt").read_text().split()
    assert len(published) == PAIRS == 22872
    assert validation_numbers() == {number for number, code in enumerate(published, start=1) if code == "2"}


def test_chairs_without_a_list_follow_the_published_one(tmp_path):
    assert (len(validation_numbers()), max(validation_numbers()) <= PAIRS) == (640, True)
    chosen = sorted(validation_numbers())[0]
    flow_trees.flyingchairs(tmp_path, [1, chosen], constant(SIZE, 1, 0), split=None)
    assert names(f"flyingchairs@val:{tmp_path}") == [f"{chosen:05d}"]
    assert names(f"flyingchairs@train:{tmp_path}") == ["00001"]
    assert opened(f"flyingchairs@val:{tmp_path}").official_count == 640


def test_chairs2_gives_both_directions(tmp_path):
    flow_trees.flyingchairs2(tmp_path, "train", [0, 1])
    flow_trees.flyingchairs2(tmp_path, "val", [5])
    dataset = opened(f"flyingchairs2:{tmp_path}")
    assert [files.name for files in dataset.files] == [
        "train/0000000_01", "train/0000000_10", "train/0000001_01", "train/0000001_10",
        "val/0000005_01", "val/0000005_10",
    ]  # fmt: skip
    backward = dataset[1]
    assert backward.image1[0, 0, 0] == 1
    assert backward.image2[0, 0, 0] == 0
    assert backward.flow[0, 0].tolist() == [-1, 0]
    assert backward.occluded is not None
    assert names(f"flyingchairs2@val:{tmp_path}") == ["val/0000005_01", "val/0000005_10"]
    assert opened(f"flyingchairs2@val:{tmp_path}").official_count == 1280
    (tmp_path / "val/0000005-img_1.png").unlink()
    with pytest.raises(InputError, match="no usable pair"):
        opened(f"flyingchairs2@val:{tmp_path}")


def test_chairs2_reads_a_published_sample(tmp_path, shared):
    (tmp_path / "train").mkdir()
    for file in (shared / "data/formats").glob("0000000-*"):
        shutil.copy(file, tmp_path / "train")
    dataset = opened(f"flyingchairs2@train:{tmp_path}")
    assert len(dataset) == 2
    forward = dataset[0]
    assert forward.flow.shape == (50, 50, 2)
    assert 0 < forward.occluded.mean() < 0.1


# FlyingThings3D


def test_things_pairs_run_both_ways_and_stay_in_their_scene(tmp_path):
    root = flow_trees.flyingthings(tmp_path, ["TRAIN/A/0000", "TEST/C/0007"])
    assert names(f"flyingthings-clean-left-future@train:{root}") == [
        f"TRAIN/A/0000/left/future/{number:04d}" for number in (6, 7, 8)
    ]
    past = opened(f"flyingthings-final-right-past@test:{root}")
    assert [sample.name for sample in past] == [
        f"TEST/C/0007/right/past/{number:04d}" for number in (7, 8, 9)
    ]
    sample = past[0]
    assert (sample.image1[0, 0, 0], sample.image2[0, 0, 0]) == (7, 6)
    assert sample.flow[0, 0].tolist() == [-7, 0]
    assert past.files[0].image1.parts[-6] == "frames_finalpass"
    everything = opened(f"flyingthings-clean:{root}")
    assert len(everything) == 2 * 4 * 3
    assert everything.official_count == 4 * (20151 + 3933)
    assert opened(f"flyingthings-clean-left@train:{root}").official_count == 2 * 20151
    assert everything.notes == ()


def test_things_leaves_out_what_the_published_list_names(tmp_path):
    root = flow_trees.flyingthings(tmp_path, ["TRAIN/A/0000"])
    (root / "frames_cleanpass/all_unused_files.txt").write_text("TRAIN/A/0000/left/0007.png\n")
    dataset = opened(f"flyingthings-clean-left-future:{root}")
    assert [files.name[-4:] for files in dataset.files] == ["0006", "0008"]
    assert dataset.notes == ("1 pairs are left out because all_unused_files.txt names their first frame",)


def test_things_with_a_hole_in_the_frames(tmp_path):
    root = flow_trees.flyingthings(tmp_path, ["TRAIN/A/0000"])
    (root / "frames_cleanpass/TRAIN/A/0000/left/0007.png").unlink()
    dataset = opened(f"flyingthings-clean-left-future:{root}")
    assert [files.name[-4:] for files in dataset.files] == ["0008"]
    assert "2 true flows have no image pair" in dataset.notes[0]


def test_things_at_half_size_halves_the_motion(tmp_path):
    root = flow_trees.flyingthings(tmp_path, ["TRAIN/A/0000"])
    sample = opened(f"flyingthings-clean-left-future-half:{root}")[0]
    assert sample.flow.shape == (3, 4, 2)
    assert sample.flow[0, 0].tolist() == [3, 0]
    assert sample.image1.shape == (3, 4, 3)
    window = open_footage(parse_spec(f"flyingthings-clean-left-future-half:{root}")[0])[0]
    np.testing.assert_array_equal(window.frames, [sample.image1, sample.image2])


def test_things_flow_may_be_flo(tmp_path):
    root = flow_trees.flyingthings(tmp_path, ["TRAIN/A/0000"])
    for pfm in list(root.rglob("*.pfm")):
        write_flo(pfm.with_suffix(".flo"), constant(SIZE, 0.5, 0))
        pfm.unlink()
    assert opened(f"flyingthings-clean-left-future:{root}")[0].flow[0, 0, 0] == 0.5


def test_halving_keeps_only_what_four_pixels_agree_on():
    flow = np.zeros((4, 6, 2), np.float32)
    flow[:2, :2, 0] = [[1, 2], [3, 6]]
    valid, hidden = np.ones((4, 6), bool), np.zeros((4, 6), bool)
    valid[0, 2], hidden[3, 5] = False, True
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:2, :2] = [[[10], [20]], [[30], [42]]]
    from kinema.data import FlowSample

    half = halved(
        FlowSample(name="x", flow=flow, valid=valid, occluded=hidden, image1=picture, image2=picture)
    )
    assert half.flow[0, 0].tolist() == [1.5, 0]
    assert half.valid.tolist() == [[True, False, True], [True, True, True]]
    assert half.occluded.tolist() == [[False, False, False], [False, False, True]]
    assert half.image1[0, 0].tolist() == [26, 26, 26]  # 25.5, to even
    assert half.image1.dtype == np.uint8


def test_subset_pairs_stay_in_their_scene(tmp_path):
    root = flow_trees.flyingthings_subset(tmp_path, "train", [range(3), range(3, 5)])
    assert names(f"flyingthings_subset-clean-left-future:{root}") == [
        f"train/left/future/{number:07d}" for number in (0, 1, 3)
    ]
    dataset = opened(f"flyingthings_subset-clean@train:{root}")
    assert len(dataset) == 2 * 2 * 3
    back = opened(f"flyingthings_subset-clean-right-past:{root}")[0]
    assert (back.name, back.image1[0, 0, 0], back.image2[0, 0, 0]) == ("train/right/past/0000001", 1, 0)
    assert back.occluded.sum() == 6
    with pytest.raises(InputError, match=r"\{train,val\}/image_clean"):
        opened(f"flyingthings_subset-clean@val:{root}")


def test_subset_with_one_direction_says_what_cannot_be_told(tmp_path):
    root = flow_trees.flyingthings_subset(tmp_path, "val", [range(3), range(3, 5)])
    shutil.rmtree(root / "val/flow/left/into_past")
    dataset = opened(f"flyingthings_subset-clean-left-future:{root}")
    assert len(dataset) == 4
    assert any("border of two scenes" in note for note in dataset.notes)


@pytest.mark.parametrize("variant", ["clean-up", "clean-left-left", "future", "half-clean"])
def test_unknown_views_are_named(tmp_path, variant):
    with pytest.raises(UsageError, match="unknown variant"):
        opened(f"flyingthings-{variant}:{tmp_path}")


# KITTI


def test_kitti2015_carries_disparity_calibration_and_the_frame_before(tmp_path):
    root = flow_trees.kitti2015(tmp_path, "000003", [9, 10, 11])
    dataset = opened(f"kitti2015:{root}")
    assert dataset.official_count == 200
    assert dataset.notes == ()
    files = dataset.files[0]
    assert set(dataset.paths_of(0)) == {
        "flow", "image1", "image2", "noc", "before",
        "disparity", "disparity_noc", "disparity2", "calibration",
    }  # fmt: skip
    assert dataset[0].flow[2, 2].tolist() == [2, -1]
    assert load_before(files)[0, 0, 0] == 9
    near = load_disparity(files)
    assert near.values[2, 2] == 5.5
    assert near.valid.sum() == 40
    assert load_disparity(files, part="second").values[2, 2] == 4.0


def test_missing_parts_of_kitti_are_named(tmp_path):
    root = flow_trees.kitti2015(tmp_path, "000003", [10, 11])
    shutil.rmtree(root / "training/disp_occ_1")
    files = opened(f"kitti2015:{root}").files[0]
    with pytest.raises(InputError, match="000003_10: the frame before"):
        load_before(files)
    with pytest.raises(InputError, match="no true disparity"):
        load_disparity(files, part="second")


def test_kitti_disparity_of_8_bits_is_refused(tmp_path):
    root = flow_trees.kitti2015(tmp_path, "000003", [10, 11])
    write_picture(root / "training/disp_occ_0/000003_10.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(InputError, match="16 bits"):
        load_disparity(opened(f"kitti2015:{root}").files[0])


def test_kitti_testing_is_read_without_truth(tmp_path):
    root = flow_trees.kitti2015(tmp_path, "000000", [10, 11], part="testing")
    dataset = opened(f"kitti2015@testing:{root}")
    assert dataset[0].name == "testing/000000_10"
    assert dataset.official_count == 200
    assert len(opened(f"kitti2015@testing:{root / 'testing'}")) == 1
    with pytest.raises(InputError, match="flow_occ"):
        opened(f"kitti2015:{root}")


def test_multiview_stays_away_from_the_labelled_pair(tmp_path):
    root = flow_trees.kitti2015(tmp_path, "000001", list(range(21)))
    flow_trees.kitti2015(tmp_path, "000002", list(range(21)), part="testing")
    dataset = opened(f"kitti2015-multiview@training:{root}")
    firsts = [int(dataset.name_of(index)[-2:]) for index in range(len(dataset))]
    assert firsts == [*range(8), *range(13, 20)]
    assert dataset[0].frames[:, 0, 0, 0].tolist() == [0, 1]
    assert dataset.official_count == 200 * 15
    assert len(opened(f"kitti2015-multiview:{root}")) == 30
    assert len(opened(f"kitti2015-multiview-full@testing:{root}")) == 20


def test_a_folder_of_the_other_year_is_asked_about(tmp_path):
    root = flow_trees.kitti2015(tmp_path, "000003", [10, 11])
    assert any("other KITTI benchmark" in note for note in opened(f"kitti2012:{root}").notes)


# Middlebury, custom, and what all have in common


def test_middlebury_evaluation_frames_have_no_truth(tmp_path):
    for number in (10, 11):
        write_picture(tmp_path / f"eval-data/Army/frame{number}.png", frame(SIZE, number))
    assert names(f"middlebury@eval:{tmp_path}") == ["Army"]
    assert opened(f"middlebury@eval:{tmp_path / 'eval-data'}")[0].frames.shape == (2, *SIZE, 3)


def test_custom_pairs_follow_the_order_of_the_frames(tmp_path):
    for number in (8, 9, 10):
        write_picture(tmp_path / f"frames/a/shot_{number}.png", frame(SIZE, number))
    for number in (8, 9, 10):
        write_flo(tmp_path / f"flow/a/shot_{number}_flow.flo", constant(SIZE, number, 0))
    write_picture(tmp_path / "flow/a/shot_8_flow.png", frame(SIZE, 0))  # somebody's picture of it
    write_picture(tmp_path / "frames/x.png", frame(SIZE, 1))
    dataset = opened(f"custom:{tmp_path}")
    assert [sample.name for sample in dataset] == ["a/shot_8", "a/shot_9"]
    assert dataset[1].image2[0, 0, 0] == 10
    assert dataset[0].flow[0, 0, 0] == 8
    assert dataset.official_count is None
    assert "a/shot_10" in dataset.notes[0]
    with pytest.raises(InputError, match="expected frames/"):
        opened(f"custom:{tmp_path / 'frames'}")


ON_DISK = [family for family in FAMILIES.values() if family.kind == "flow" and family.place == "folder"]


@pytest.mark.parametrize("family", ON_DISK, ids=lambda family: family.name)
def test_every_flow_family_shows_the_expected_tree_beside_the_found_one(tmp_path, family):
    (tmp_path / "stuff").mkdir()
    (tmp_path / "stuff/a.txt").touch()
    for variant in family.variants or ("",):
        with pytest.raises(InputError) as caught:
            opened(f"{family.name}{'-' * bool(variant)}{variant}:{tmp_path}")
        assert "expected" in str(caught.value)
        assert "found stuff/{a.txt}" in str(caught.value)


def test_every_family_says_what_it_holds_and_on_which_terms():
    for family in FAMILIES.values():
        facts = family.facts
        assert facts.holds
        assert facts.source
        assert facts.terms
        assert facts.unit
        assert not facts.url or facts.url.startswith("http")
        assert "\n" not in facts.holds + facts.terms + family.layout


def test_names_and_parts_are_told_without_reading(tmp_path):
    root = flow_trees.flyingchairs(tmp_path, [1, 2], constant(SIZE, 1, 0), split=None)
    for file in (root / "data").iterdir():
        file.write_bytes(b"")
    dataset = opened(f"flyingchairs:{root}")
    assert dataset.name_of(1) == "00002"
    assert {part: path.name for part, path in dataset.paths_of(1).items()} == {
        "flow": "00002_flow.flo",
        "image1": "00002_img1.ppm",
        "image2": "00002_img2.ppm",
    }


def test_any_flow_set_can_be_read_as_footage(tmp_path):
    root = flow_trees.flyingchairs(tmp_path, [1, 2], constant(SIZE, 1, 0), split=None)
    for truth in (root / "data").glob("*.flo"):
        truth.write_bytes(b"")  # the truth is not looked at
    footage = open_footage(parse_spec(f"flyingchairs:{root}")[0])
    assert [window.name for window in footage] == ["00001", "00002"]
    assert footage[0].frames[:, 0, 0, 0].tolist() == [1, 2]
    assert [window.name for window in footage[1:]] == ["00002"]
    assert footage.official_count == 22872
    assert set(footage.paths_of(0)) == {"image1", "image2"}


def test_rendered_scenes_can_be_read_as_footage():
    spec = parse_spec("procedural@fog")[0]
    window, sample = open_footage(spec)[0], open_flow(spec)[0]
    np.testing.assert_array_equal(window.frames, [sample.image1, sample.image2])
    assert open_footage(spec).paths_of(0) == {}


def test_frames_of_different_sizes_are_refused(tmp_path):
    for number, size in ((1, SIZE), (2, (6, 9))):
        write_picture(tmp_path / f"test/clean/tiger/frame_{number:04d}.png", frame(size, number))
    with pytest.raises(InputError, match=r"frame_0002.png is 9x6 of 8 bits but frame_0001.png is 8x6"):
        opened(f"sintel-clean@test:{tmp_path}")[0]


def test_real_kitti_has_disparity_and_the_frame_before(shared):
    root = shared / "data/kitti2012"
    files = opened(f"kitti2012:{root}").files
    near = load_disparity(files[0])
    assert 0.2 < near.valid.mean() < 0.6
    assert 5 < near.values[near.valid].mean() < 60
    assert load_before(files[0]).shape == load_sample(files[0]).image1.shape
    assert files[1].before is None
    assert names(f"kitti2012-multiview-full:{root}") == [
        "training/000074_08", "training/000074_09", "training/000074_10", "training/000138_10",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_full_flyingchairs_tree_opens_in_two_seconds(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for number in range(1, PAIRS + 1):
        for part in ("img1.ppm", "img2.ppm", "flow.flo"):
            (data / f"{number:05d}_{part}").touch()
    opened(f"flyingchairs:{tmp_path}")  # the first listing of a new folder is the file system's own time
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        sizes = [len(opened(f"flyingchairs{split}:{tmp_path}")) for split in ("", "@train", "@val")]
        seconds.append((time.perf_counter() - start) / 3)
    assert sizes == [22872, 22232, 640]
    assert min(seconds) < 2.0
