import multiprocessing
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from helpers import restoration_trees as trees
from kinema.data import open_restoration, parse_spec
from kinema.data.restoration_sample import RestorationSample
from kinema.data.vid4 import FRAMES as VID4_FRAMES
from kinema.errors import InputError


def opened(text):
    return open_restoration(parse_spec(text)[0])


def shades(frames):
    assert (frames == frames[:, :1, :1, :1]).all()
    return frames[:, 0, 0, 0].tolist()


def low(clip, *frames):
    return [trees.shade(clip, frame, sharp=False) for frame in frames]


def sharp(clip, *frames):
    return [trees.shade(clip, frame, sharp=True) for frame in frames]


def names(dataset):
    return [dataset.name_of(index) for index in range(len(dataset))]


def vid4(root, frames=range(3), folder="BIx4"):
    for number, name in enumerate(VID4_FRAMES):
        trees.write_clip(root / "GT" / name, number, frames, sharp=True)
        trees.write_clip(root / folder / name, number, frames, sharp=False)
    return root


def test_vid4_in_both_variants(tmp_path):
    vid4(tmp_path)
    assert names(opened(f"vid4:{tmp_path}")) == ["calendar", "city", "foliage", "walk"]
    assert opened(f"vid4-bix4:{tmp_path}").notes == (
        "4 clips are incomplete, in frames without a gap:"
        " calendar 3 of 41, city 3 of 34, foliage 3 of 49, walk 3 of 47",
    )
    with pytest.raises(InputError, match="with BDx4 beside GT"):
        opened(f"vid4-bdx4:{tmp_path}")
    vid4(tmp_path, folder="BDx4")
    assert len(opened(f"vid4-bdx4:{tmp_path}")) == 4


def test_a_whole_copy_of_vid4_has_nothing_to_tell(tmp_path):
    for name, frames in VID4_FRAMES.items():
        for folder in ("GT", "BIx4"):
            place = tmp_path / folder / name
            place.mkdir(parents=True)
            for frame in range(frames):
                (place / f"{frame:08d}.png").touch()
    dataset = opened(f"vid4:{tmp_path}")
    assert dataset.notes == ()
    assert sum(len(clip) for clip in dataset.clips) == 171


def vimeo(root, septuplets, low_folder="vimeo_septuplet_matlabLRx4/sequences", sharp_frames=range(1, 8)):
    for number, name in enumerate(septuplets):
        for frame in sharp_frames:
            path = root / "sequences" / name / f"im{frame}.png"
            trees.write_frame(path, trees.shade(number, frame, sharp=True), (16, 24))
        for frame in range(1, 8):
            path = root.parent / low_folder / name / f"im{frame}.png"
            trees.write_frame(path, trees.shade(number, frame, sharp=False), (4, 6))
    return root


def test_vimeo_septuplets_follow_their_lists(tmp_path):
    root = vimeo(tmp_path / "vimeo_septuplet", ["00001/0001", "00001/0002", "00096/0003"])
    (root / "sep_trainlist.txt").write_text("00001/0001\n00096/0003\n00096/0004\n")
    (root / "sep_testlist.txt").write_text("00001/0002\n")
    train, test, both = (opened(f"vimeo90k{split}:{root}") for split in ("@train", "@test", ""))
    assert (names(train), names(test)) == (["00001/0001", "00096/0003"], ["00001/0002"])
    assert names(both) == ["00001/0001", "00001/0002", "00096/0003"]
    assert (train.official_count, test.official_count, both.official_count) == (64612, 7824, 91701)
    assert shades(train[1].low) == low(2, *range(1, 8))
    assert shades(train[1].sharp) == sharp(2, *range(1, 8))
    assert names(opened(f"vimeo90k@train:{tmp_path}")) == names(train), "the folder above serves as well"


def test_vimeo_scores_the_middle_frame_alone(tmp_path):
    root = vimeo(tmp_path / "v", ["00001/0001"])
    (root / "sep_testlist.txt").write_text("00001/0001\n")
    windows = opened(f"vimeo90k@test:{root}").windows(frames=7)
    assert len(windows) == 1
    assert shades(windows[0].low) == low(0, 1, 2, 3, 4, 5, 6, 7)
    assert shades(windows[0].sharp) == sharp(0, 4)
    assert windows.name_of(0) == "00001/0001/im4"
    five = opened(f"vimeo90k@test:{root}").windows(frames=5)
    assert shades(five[0].low) == low(0, 2, 3, 4, 5, 6)


def test_vimeo_with_nothing_but_middle_frames_as_truth(tmp_path):
    root = vimeo(tmp_path / "v", ["00001/0001"], sharp_frames=[4])
    (root / "sequences").rename(root / "target")
    dataset = opened(f"vimeo90k:{root}")
    assert dataset[0].targets == (3,)
    assert shades(dataset[0].sharp) == sharp(0, 4)


def test_vimeo_says_what_is_missing(tmp_path):
    root = vimeo(tmp_path / "v", ["00001/0001", "00001/0002"])
    shutil.rmtree(tmp_path / "vimeo_septuplet_matlabLRx4/sequences/00001/0002")
    assert opened(f"vimeo90k:{root}").notes == ("1 septuplets have no low twin and are left out",)
    with pytest.raises(InputError, match=r"needs sep_testlist\.txt"):
        opened(f"vimeo90k@test:{root}")
    (root / "sep_testlist.txt").write_text("00001-0001\n")
    with pytest.raises(InputError, match="found '00001-0001'"):
        opened(f"vimeo90k@test:{root}")
    (root / "sep_testlist.txt").write_text("00007/0001\n")
    with pytest.raises(InputError, match="2 sharp and 1 low ones, none of the split has both"):
        opened(f"vimeo90k@test:{root}")
    with pytest.raises(InputError, match="vimeo_septuplet_BDLRx4"):
        opened(f"vimeo90k-bdx4:{root}")


@pytest.mark.parametrize(
    ("low_name", "sharp_name"), [("low", "sharp"), ("lq", "gt"), ("LR", "HR"), ("input", "target")]
)
def test_paired_folders_of_clips(tmp_path, low_name, sharp_name):
    for clip, name in enumerate(("a", "b")):
        trees.write_clip(tmp_path / low_name / name, clip, range(3), sharp=False)
        trees.write_clip(tmp_path / sharp_name / name, clip, range(3), sharp=True)
    dataset = opened(f"paired:{tmp_path}")
    assert names(dataset) == ["a", "b"]
    assert shades(dataset[1].sharp) == sharp(1, 0, 1, 2)
    assert dataset.official_count is None


def test_paired_folders_of_frames_are_one_clip(tmp_path):
    trees.write_clip(tmp_path / "low", 1, range(8, 12), sharp=False, scale=2)
    trees.write_clip(tmp_path / "sharp", 1, range(8, 12), sharp=True, scale=2)
    dataset = opened(f"paired:{tmp_path}")
    assert names(dataset) == [tmp_path.name]
    assert dataset[0].scale == 2
    assert dataset.windows(frames=3).name_of(0) == f"{tmp_path.name}/00000009"


def test_paired_frames_with_steps_are_whole_and_gaps_are_not_bridged(tmp_path):
    for folder, is_sharp in (("low", False), ("sharp", True)):
        trees.write_clip(tmp_path / folder, 0, [0, 5, 10, 15, 30, 35], sharp=is_sharp)
    sample = opened(f"paired:{tmp_path}")[0]
    assert shades(sample.low) == low(0, 0, 5, 10, 15)


def test_paired_pictures_without_numbers_are_clips_of_one_frame(tmp_path):
    for name, value in (("baboon", 10), ("comic", 20)):
        trees.write_frame(tmp_path / "low" / f"{name}.png", value, (4, 6))
        trees.write_frame(tmp_path / "sharp" / f"{name}.png", value + 1, (8, 12))
    dataset = opened(f"paired:{tmp_path}")
    assert names(dataset) == ["baboon", "comic"]
    windows = dataset.windows(frames=5, border="reflection_circle")
    assert shades(windows[1].low) == [20] * 5
    assert shades(windows[1].sharp) == [21]


def test_paired_folders_that_do_not_fit_together(tmp_path):
    trees.write_clip(tmp_path / "low/a", 0, range(2), sharp=False)
    trees.write_clip(tmp_path / "sharp/b", 0, range(2), sharp=True)
    with pytest.raises(InputError, match="no frame of low has the name of one of sharp"):
        opened(f"paired:{tmp_path}")


def test_sizes_that_do_not_fit_are_named(tmp_path):
    trees.write_clip(tmp_path / "low", 0, range(3), sharp=False)
    trees.write_clip(tmp_path / "sharp", 0, range(3), sharp=True)
    dataset = opened(f"paired:{tmp_path}")
    trees.write_frame(tmp_path / "low/00000001.png", 0, (4, 7))
    with pytest.raises(InputError, match=r"00000001\.png: is 7x4 uint8 but frame 00000000 is 6x4"):
        dataset[0]
    trees.write_frame(tmp_path / "sharp/00000002.png", 0, (16, 25))
    with pytest.raises(
        InputError, match="00000002: sharp frames of 25x16 are no whole multiple of low ones of 6x4"
    ):
        dataset.clips[0].window(2, frames=1)


def test_a_target_without_twin_is_refused(tmp_path):
    trees.write_clip(tmp_path / "low", 0, range(3), sharp=False)
    trees.write_clip(tmp_path / "sharp", 0, [1], sharp=True)
    dataset = opened(f"paired:{tmp_path}")
    assert dataset.notes == ("2 of 3 low frames have no sharp twin and serve as neighbours",)
    assert [w.targets for w in dataset.windows(frames=3, border="replicate")] == [(1,)]
    assert len(dataset.windows(frames=3, targets="all")) == 0
    with pytest.raises(InputError, match="frame 00000000 has no sharp twin"):
        dataset.clips[0].window(0, frames=3)


def _sum_of_first_window(windows):
    return int(windows[0].low.sum())


def lmdb_windows(root):
    pytest.importorskip("lmdb")
    trees.write_lmdb(root / "lq.lmdb", {"a": 1}, range(3), sharp=False)
    trees.write_lmdb(root / "gt.lmdb", {"a": 1}, range(3), sharp=True)
    return opened(f"paired:{root}").windows(frames=3)


def test_lmdb_folders_are_read_after_a_fork(tmp_path):
    windows = lmdb_windows(tmp_path)
    here = _sum_of_first_window(windows)  # the environment is open before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_sum_of_first_window, [windows] * 4) == [here] * 4
    assert _sum_of_first_window(windows) == here


@pytest.mark.slow
def test_lmdb_folders_are_read_by_new_processes(tmp_path):
    windows = lmdb_windows(tmp_path)
    here = _sum_of_first_window(windows)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(_sum_of_first_window, [windows] * 4) == [here] * 4


def test_lmdb_folders_are_read_by_many_threads(tmp_path):
    windows = lmdb_windows(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(_sum_of_first_window, [windows] * 32))) == 1


def test_real_vid4(shared):
    dataset = opened(f"vid4-bix4:{shared / 'data/vid4'}")
    assert names(dataset) == ["calendar"]
    sample = dataset.windows(frames=5, border="reflection_circle")[0]
    assert isinstance(sample, RestorationSample)
    assert (sample.low.shape, sample.sharp.shape) == ((5, 144, 180, 3), (1, 576, 720, 3))
    assert sample.indices == (4, 3, 0, 1, 2)
    assert opened(f"vid4-bdx4:{shared / 'data/vid4'}")[0].low.shape == (7, 144, 180, 3)


def test_real_low_twins_are_matlab_bicubic_of_the_sharp_frames(shared):
    import torch

    from kinema.ops.resize import matlab_bicubic

    window = opened(f"vid4:{shared / 'data/vid4'}").clips[0].window(3, frames=1)
    sharp_frame = torch.from_numpy(window.sharp).permute(0, 3, 1, 2)
    twin = matlab_bicubic(sharp_frame, scale=0.25).permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(twin, window.low)


def test_real_paired_window_with_one_sharp_frame(shared):
    windows = opened(f"paired:{shared / 'fixtures/edvr/tdan_temple'}").windows(frames=5)
    assert len(windows) == 1
    assert windows[0].indices == (0, 1, 2, 3, 4)
    assert windows[0].sharp.shape == (1, 800, 1200, 3)


def test_real_lmdb_folders(shared):
    pytest.importorskip("lmdb")
    dataset = opened(f"paired:{shared / 'fixtures/edvr/basicsr_lmdb'}")
    assert names(dataset) == ["baboon", "comic"]
    assert (dataset[0].low.shape, dataset[0].sharp.shape) == ((1, 120, 123, 3), (1, 480, 492, 3))
    assert (dataset[1].low.shape, dataset[1].sharp.shape) == ((1, 90, 60, 3), (1, 360, 240, 3))
