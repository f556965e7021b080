import shutil

import numpy as np
import pytest

from helpers import restoration_trees as trees
from kinema.data import open_dataset, open_restoration, parse_spec
from kinema.data.family import OpenedSet
from kinema.data.frame_list import FrameList, unbroken_runs
from kinema.data.restoration_sample import RestorationClip, RestorationDataset
from kinema.errors import InputError, UsageError


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


def original_reds(root, *, train=(0, 1, 11), val=(2,), frames=range(4)):
    for part, clips, first in (("train", train, 0), ("val", val, 240)):
        for clip in clips:
            base = root / part
            number = clip + first
            trees.write_clip(base / f"{part}_sharp" / f"{clip:03d}", number, frames, sharp=True)
            trees.write_clip(
                base / f"{part}_sharp_bicubic" / "X4" / f"{clip:03d}", number, frames, sharp=False
            )
    return root


def test_reds_as_downloaded_has_its_validation_clips_behind_the_training_clips(tmp_path):
    dataset = opened(f"reds:{original_reds(tmp_path)}")
    assert names(dataset) == ["000", "001", "011", "242"]
    assert dataset.official_count == 270
    assert shades(dataset[3].low) == low(242, 0, 1, 2, 3)
    assert shades(dataset[3].sharp) == sharp(242, 0, 1, 2, 3)
    assert dataset[0].scale == 4
    assert isinstance(dataset, OpenedSet)


def test_reds_splits(tmp_path):
    original_reds(tmp_path)
    found = {
        split: names(opened(f"reds-bicubic@{split}:{tmp_path}"))
        for split in ("train", "reds4", "official_train", "official_val")
    }
    assert found == {
        "train": ["001", "242"],
        "reds4": ["000", "011"],
        "official_train": ["000", "001", "011"],
        "official_val": ["242"],
    }
    counts = {split: opened(f"reds@{split}:{tmp_path}").official_count for split in found}
    assert counts == {"train": 266, "reds4": 4, "official_train": 240, "official_val": 30}


def move_up(root, part):
    for folder in (root / part).iterdir():
        folder.rename(root / folder.name)


def regrouped(root):
    for kind in ("sharp", "sharp_bicubic/X4"):
        (root / f"val_{kind}" / "002").rename(root / f"train_{kind}" / "242")


@pytest.mark.parametrize(
    "layout", ["without parts", "regrouped", "without X4", "below", "port", "port prefix"]
)
def test_reds_gives_the_same_clips_in_every_layout(tmp_path, layout):
    root = original_reds(tmp_path / "copy")
    if layout != "below":
        move_up(root, "train")
        move_up(root, "val")
    if layout in ("regrouped", "port", "port prefix"):
        regrouped(root)
    if layout == "below":
        root = root.rename(tmp_path / "REDS").parent
    if layout == "without X4":
        for part in ("train", "val"):
            (root / f"{part}_sharp_bicubic/X4").rename(root / "held")
            (root / f"{part}_sharp_bicubic").rmdir()
            (root / "held").rename(root / f"{part}_sharp_bicubic")
    if layout.startswith("port"):
        for kind, name in (("sharp", "truth"), ("sharp_bicubic/X4", "blur4")):
            for clip in list((root / f"train_{kind}").iterdir()):
                place = f"{clip.name}/{name}" if layout == "port" else f"{name}/{clip.name}"
                (root / "images" / place).parent.mkdir(parents=True, exist_ok=True)
                clip.rename(root / "images" / place)
    dataset = opened(f"reds:{root}")
    assert names(dataset) == ["000", "001", "011", "242"]
    assert [shades(sample.low) for sample in dataset] == [low(c, 0, 1, 2, 3) for c in (0, 1, 11, 242)]
    assert [shades(sample.sharp) for sample in dataset] == [sharp(c, 0, 1, 2, 3) for c in (0, 1, 11, 242)]


def test_reds_in_lmdb_folders(tmp_path):
    pytest.importorskip("lmdb")
    clips = {"000": 0, "001": 1, "242": 242}
    trees.write_lmdb(tmp_path / "train_sharp_with_val.lmdb", clips, range(3), sharp=True)
    trees.write_lmdb(tmp_path / "train_sharp_bicubic_with_val.lmdb", clips, range(3), sharp=False)
    dataset = opened(f"reds@train:{tmp_path}")
    assert names(dataset) == ["001", "242"]
    assert shades(dataset[1].low) == low(242, 0, 1, 2)
    assert shades(dataset[1].sharp) == sharp(242, 0, 1, 2)
    assert set(dataset.paths_of(0).values()) == {
        tmp_path / "train_sharp_with_val.lmdb/data.mdb",
        tmp_path / "train_sharp_bicubic_with_val.lmdb/data.mdb",
    }


def test_reds_deblurring_has_frames_of_one_size(tmp_path):
    for kind, is_sharp in (("sharp", True), ("blur_comp", False)):
        trees.write_clip(tmp_path / f"train_{kind}/007", 7, range(3), sharp=is_sharp, scale=1)
    dataset = opened(f"reds-blur_comp:{tmp_path}")
    assert dataset[0].scale == 1
    with pytest.raises(InputError, match="1 sharp and 0 blur clips present"):
        opened(f"reds-blur:{tmp_path}")


def test_what_a_copy_lacks_is_told_with_counts(tmp_path):
    original_reds(tmp_path, train=(1, 2, 3), val=())
    (tmp_path / "train/train_sharp/001/00000003.png").unlink()  # a neighbour without twin
    (tmp_path / "train/train_sharp_bicubic/X4/002/00000002.png").unlink()  # a gap
    shutil.rmtree(tmp_path / "train/train_sharp/003")
    dataset = opened(f"reds:{tmp_path}")
    assert names(dataset) == ["001", "002"]
    assert dataset.notes == (
        "1 clip without low or without sharp frames left out: 003",
        "2 clips are incomplete, in frames without a gap: 001 3 of 100, 002 2 of 100",
    )
    assert (dataset[0].indices, dataset[0].targets) == ((0, 1, 2, 3), (0, 1, 2))
    assert (dataset[1].indices, dataset[1].targets) == ((0, 1), (0, 1))
    assert shades(dataset[1].sharp) == sharp(2, 0, 1)


def test_after_a_gap_frames_keep_their_twins(tmp_path):
    original_reds(tmp_path, train=(5,), val=(), frames=range(6))
    (tmp_path / "train/train_sharp_bicubic/X4/005/00000001.png").unlink()
    sample = opened(f"reds:{tmp_path}")[0]
    assert shades(sample.low) == low(5, 2, 3, 4, 5)
    assert shades(sample.sharp) == sharp(5, 2, 3, 4, 5)


def test_a_window_reads_its_frames_and_no_other(tmp_path):
    original_reds(tmp_path, train=(1,), val=(), frames=range(9))
    dataset = opened(f"reds:{tmp_path}")
    folder = tmp_path / "train/train_sharp_bicubic/X4/001"
    for frame in (0, 1, 7, 8):
        (folder / f"{frame:08d}.png").write_bytes(b"")
    for frame in (0, 1, 2, 3, 5, 6, 7, 8):
        (tmp_path / f"train/train_sharp/001/{frame:08d}.png").write_bytes(b"")
    windows = dataset.windows(frames=5)
    assert [windows.name_of(index) for index in range(len(windows))] == [
        f"001/{frame:08d}" for frame in range(2, 7)
    ]
    sample = windows[2]
    assert shades(sample.low) == low(1, 2, 3, 4, 5, 6)
    assert shades(sample.sharp) == sharp(1, 4)
    assert sample.low.dtype == np.uint8
    with pytest.raises(InputError):
        windows[1]
    with pytest.raises(InputError):
        dataset[0]


def test_windows_with_borders_cover_every_frame(tmp_path):
    original_reds(tmp_path, train=(1, 2), val=(), frames=range(6))
    windows = opened(f"reds:{tmp_path}").windows(frames=5, border="reflection_circle")
    assert len(windows) == 12
    assert shades(windows[6].low) == low(2, 4, 3, 0, 1, 2)
    assert shades(windows[-1].low) == low(2, 3, 4, 5, 2, 1)
    assert windows[6].indices == (4, 3, 0, 1, 2)
    assert list(windows.paths_of(6)) == [f"low/{i:08d}" for i in (4, 3, 0, 1, 2)] + ["sharp/00000000"]
    assert isinstance(windows, OpenedSet)
    with pytest.raises(IndexError):
        windows[12]
    assert len(list(windows)) == 12


def test_windows_with_all_targets_and_intervals(tmp_path):
    original_reds(tmp_path, train=(1,), val=(), frames=range(7))
    sample = opened(f"reds:{tmp_path}").windows(frames=3, interval=2, targets="all")[1]
    assert shades(sample.low) == low(1, 1, 3, 5)
    assert shades(sample.sharp) == sharp(1, 1, 3, 5)
    assert sample.targets == (1, 3, 5)
    with pytest.raises(UsageError, match="no meaning with interval 2"):
        opened(f"reds:{tmp_path}").windows(frames=3, interval=2, border="circle")


def test_all_of_reds_has_the_published_number_of_centres():
    clips = tuple(
        RestorationClip(
            f"{number:03d}", FrameList("low", ("x",) * 100), FrameList("s", ("x",) * 100), range(100)
        )
        for number in range(266)
    )
    dataset = RestorationDataset(parse_spec("reds:x")[0], clips, 266)
    assert len(dataset.windows(frames=5, border="reflection_circle")) == 26600
    assert len(dataset.windows(frames=5)) == 266 * 96


def test_opening_reads_no_picture(tmp_path):
    root = original_reds(tmp_path)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    dataset = opened(f"reds:{root}")
    assert len(dataset) == 4
    with pytest.raises(InputError):
        dataset[0]


@pytest.mark.parametrize("name", ["reds", "reds-blur@train", "vid4", "vimeo90k", "paired"])
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


def test_only_restoration_sets_have_sharp_twins(tmp_path):
    with pytest.raises(UsageError, match="middlebury has no sharp twins; choose from reds"):
        opened(f"middlebury:{tmp_path}")
    with pytest.raises(UsageError, match="unknown split 'reds5'; write reds@train or reds@reds4"):
        opened(f"reds@reds5:{tmp_path}")


def test_unbroken_runs():
    assert unbroken_runs([3, 4, 5]) == [range(3)]
    assert unbroken_runs([0, 1, 5, 6, 7]) == [range(2), range(2, 5)]
    assert unbroken_runs([0, 2, 4, 6]) == [range(4)]
    assert unbroken_runs([0, 2, 4], step=1) == [range(1), range(1, 2), range(2, 3)]
    assert unbroken_runs([9]) == [range(1)]


def test_open_dataset_knows_the_families():
    with pytest.raises(UsageError, match="needs a folder"):
        open_dataset(parse_spec("reds")[0])
