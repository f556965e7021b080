import numpy as np
import pytest

from helpers import flow_trees
from kinema.data import FlowFiles, FlowTruth, open_dataset, parse_spec
from kinema.data.sample import load_sample
from kinema.errors import InputError, UsageError

SIZE = (6, 8)


def opened(text):
    return open_dataset(parse_spec(text)[0])


def test_middlebury_unknown_pixels_are_not_valid(tmp_path):
    flow = flow_trees.constant(SIZE, 1.5, -0.5)
    flow[2, 3] = 1.6666668e9
    dataset = opened(f"middlebury:{flow_trees.middlebury(tmp_path, {'Venus': flow, 'Army': flow})}")
    assert [files.name for files in dataset.files] == ["Army", "Venus"]
    assert dataset.official_count == 8
    sample = dataset[1]
    assert sample.name == "Venus"
    assert sample.image1.shape == (*SIZE, 3)
    assert sample.image1.dtype == np.uint8
    assert (sample.image1[0, 0, 0], sample.image2[0, 0, 0]) == (100, 110)
    assert not sample.valid[2, 3]
    assert sample.valid.sum() == 47
    np.testing.assert_array_equal(sample.flow[0, 0], np.float32([1.5, -0.5]))


def test_sintel_pairs_follow_frame_numbers_and_carry_masks(tmp_path):
    flow_trees.sintel(tmp_path, {"alley": [9, 10, 11], "bamboo": [1, 2]}, flow_trees.constant(SIZE, 1, 0))
    dataset = opened(f"sintel-clean:{tmp_path}")
    assert [files.name for files in dataset.files] == [
        "alley/frame_0009",
        "alley/frame_0010",
        "bamboo/frame_0001",
    ]
    sample = dataset[0]
    assert (sample.image1[0, 0, 0], sample.image2[0, 0, 0]) == (9, 10)
    assert sample.valid.all(), "published numbers count flagged pixels"
    assert sample.occluded is not None
    assert sample.flagged is not None
    np.testing.assert_array_equal(sample.occluded.sum(0), [6, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(sample.flagged.sum(1), [8, 0, 0, 0, 0, 0])
    assert len(opened(f"sintel-clean@training:{tmp_path / 'training'}")) == 3


def test_a_truth_without_its_second_frame_is_left_out_and_told(tmp_path):
    flow_trees.sintel(tmp_path, {"alley": [1, 2, 3]}, flow_trees.constant(SIZE, 1, 0))
    (tmp_path / "training/clean/alley/frame_0003.png").unlink()
    dataset = opened(f"sintel-clean:{tmp_path}")
    assert [files.name for files in dataset.files] == ["alley/frame_0001"]
    assert any("alley/frame_0002" in note and "left out" in note for note in dataset.notes)


def test_sintel_without_masks_says_so(tmp_path):
    flow_trees.sintel(tmp_path, {"alley": [1, 2]}, flow_trees.constant(SIZE, 1, 0))
    (tmp_path / "training/occlusions/alley/frame_0001.png").unlink()
    dataset = opened(f"sintel-clean:{tmp_path}")
    assert dataset[0].occluded is None
    assert dataset.notes == ("1 of 1 pairs have no occlusions mask",)


def kitti_pair():
    occ = np.ones(SIZE, bool)
    occ[0] = False
    noc = occ.copy()
    noc[:, 0] = False
    return flow_trees.constant(SIZE, -20.25, 3.5), occ, noc


def test_kitti_reads_both_truths_and_grey_frames_as_rgb(tmp_path):
    dataset = opened(f"kitti2012:{flow_trees.kitti2012(tmp_path, {'000007': kitti_pair()})}")
    sample = dataset[0]
    assert sample.name == "000007_10"
    assert sample.image1.shape == (*SIZE, 3)
    assert sample.valid.sum() == 40
    assert sample.valid_noc is not None
    assert sample.valid_noc.sum() == 35
    np.testing.assert_array_equal(sample.flow[3, 3], np.float32([-20.25, 3.5]))
    assert any("grey" in note for note in dataset.notes)


def test_kitti_prefers_colour_frames(tmp_path):
    flow_trees.kitti2012(tmp_path, {"000007": kitti_pair()})
    flow_trees.kitti2012(tmp_path, {"000007": kitti_pair()}, folder="colored_0")
    dataset = opened(f"kitti2012:{tmp_path}")
    assert dataset.files[0].image1.parent.name == "colored_0"
    assert dataset.notes == ()


def test_chairs_splits_follow_the_published_list(tmp_path):
    flow_trees.flyingchairs(tmp_path, [1, 2, 4], flow_trees.constant(SIZE, 1, 0), split="1212")
    names = {
        split: [files.name for files in opened(f"flyingchairs{split}:{tmp_path}").files]
        for split in ("", "@train", "@val")
    }
    assert names == {"": ["00001", "00002", "00004"], "@train": ["00001"], "@val": ["00002", "00004"]}
    assert [files.name for files in opened(f"flyingchairs@val:{tmp_path / 'data'}").files] == [
        "00002",
        "00004",
    ]


def test_chairs_without_a_pair_of_the_split(tmp_path):
    flow_trees.flyingchairs(tmp_path, [1], flow_trees.constant(SIZE, 1, 0), split="12")
    with pytest.raises(InputError, match="1 pairs present, 0 of them in val"):
        opened(f"flyingchairs@val:{tmp_path}")


def test_chairs_split_list_missing_or_broken(tmp_path):
    flow_trees.flyingchairs(tmp_path, [1, 3], flow_trees.constant(SIZE, 1, 0), split=None)
    with pytest.raises(InputError, match=r"FlyingChairs_train_val\.txt"):
        opened(f"flyingchairs@val:{tmp_path}")
    (tmp_path / "FlyingChairs_train_val.txt").write_text("1\n2\n")
    with pytest.raises(InputError, match="00003 is present but the split list has 2 lines"):
        opened(f"flyingchairs@val:{tmp_path}")
    (tmp_path / "FlyingChairs_train_val.txt").write_text("1\n0\n2\n")
    with pytest.raises(InputError, match=r"found \['0'\]"):
        opened(f"flyingchairs@val:{tmp_path}")


def test_opening_reads_no_file(tmp_path):
    flow_trees.flyingchairs(tmp_path, list(range(1, 200)), flow_trees.constant((2, 2), 1, 0), split=None)
    for path in (tmp_path / "data").iterdir():
        path.write_bytes(b"")  # any reading would fail
    dataset = opened(f"flyingchairs:{tmp_path}")
    assert len(dataset) == 199
    with pytest.raises(InputError):
        dataset[0]


def test_a_slice_is_a_data_set(tmp_path):
    flow_trees.flyingchairs(tmp_path, [1, 2, 3], flow_trees.constant(SIZE, 1, 0), split=None)
    assert [sample.name for sample in opened(f"flyingchairs:{tmp_path}")[1:]] == ["00002", "00003"]


@pytest.mark.parametrize("name", ["middlebury", "sintel-clean", "sintel-final", "kitti2012", "flyingchairs"])
def test_nothing_usable_shows_expected_beside_found_in_one_line(tmp_path, name):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError) as caught:
        opened(f"{name}:{tmp_path}")
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    assert "found notes.txt, train/{a.png}" in message
    assert str(tmp_path) in message


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("sintol-clean:.", "unknown data set 'sintol'; choose from middlebury"),
        ("sintel:.", "write sintel-clean or sintel-final"),
        ("sintel-matte:.", "unknown variant 'matte'"),
        ("sintel-clean@dev:.", "unknown split 'dev'; write sintel@training"),
        ("middlebury-grey:.", "has no variants"),
        ("kitti2012", "needs a folder"),
    ],
)
def test_unknown_parts_of_a_spec_are_named(spec, text):
    with pytest.raises(UsageError) as caught:
        opened(spec)
    assert text in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no such folder: .*gone"):
        opened(f"middlebury:{tmp_path / 'gone'}")


def test_sizes_of_frame_and_truth_must_agree(tmp_path):
    flow_trees.write_flo(tmp_path / "f.flo", flow_trees.constant((4, 4), 1, 0))
    flow_trees.write_picture(tmp_path / "i.png", flow_trees.frame((4, 5), 1))
    files = FlowFiles(name="x", flow=tmp_path / "f.flo", image1=tmp_path / "i.png", image2=tmp_path / "i.png")
    with pytest.raises(InputError, match="x: image1 is 5x4 but the true flow is 4x4"):
        load_sample(files)


def test_a_truth_that_is_not_a_number_is_refused():
    flow = flow_trees.constant(SIZE, 1, 0)
    flow[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        FlowTruth(name="x", flow=flow, valid=np.ones(SIZE, bool))


def test_real_copies_open_and_load(shared):
    data = shared / "data"
    sizes = {
        f"middlebury:{data / 'middlebury'}": 4,
        f"sintel-clean:{data / 'sintel'}": 1,
        f"sintel-final:{data / 'sintel'}": 1,
        f"kitti2012:{data / 'kitti2012'}": 2,
        f"flyingchairs:{data / 'flyingchairs'}": 1,
        f"flyingchairs@train:{data / 'flyingchairs'}": 1,
    }
    for text, count in sizes.items():
        dataset = opened(text)
        assert len(dataset) == count, text
        assert dataset[0].image1.shape[:2] == dataset[0].flow.shape[:2]
