"""Data sets in the form of other programs: REDS regrouped, snippet strips, flat Sintel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers import checked_trees, driving_trees
from helpers.command import tree
from helpers.restoration_trees import write_clip
from kinema.data import open_driving, open_flow, open_restoration, parse_spec
from kinema.data.driving_sample import DrivingDataset
from kinema.data.placing import place_file, place_folder, write_list
from kinema.data.prepare_reds import regroup_reds
from kinema.data.prepare_sintel import lay_flat
from kinema.data.prepare_snippets import prepare_snippets
from kinema.errors import InputError, OutputError
from kinema.io.images import read_image


def reds(root: Path, *, nested: bool = False, x4: bool = True) -> Path:
    """Training clips 000, 001 and 011, validation clips 000 and 029, three frames each."""
    for part, clips in (("train", (0, 1, 11)), ("val", (0, 29))):
        top = root / part if nested else root
        low = top / f"{part}_sharp_bicubic" / ("X4" if x4 else "")
        for clip in clips:
            number = clip + (240 if part == "val" else 0)
            write_clip(top / f"{part}_sharp/{clip:03d}", number, range(3), sharp=True)
            write_clip(low / f"{clip:03d}", number, range(3), sharp=False)
    return root


def names(spec: str) -> list[str]:
    return [clip.name for clip in open_restoration(parse_spec(spec)[0]).clips]


def regroup(path: Path, out: Path | None = None, **options):
    settings = {"layout": "regrouped", "how": "link", "overwrite": False} | options
    return regroup_reds(path, out or path, **settings)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("how", ["link", "copy"])
def test_validation_clips_become_240_to_269(tmp_path, nested, how):
    reds(tmp_path, nested=nested)
    before = tree(tmp_path)
    done = regroup(tmp_path, how=how)
    assert (done.placed, done.there, done.clips) == (4, 0, (0, 1, 11, 240, 269))
    top = tmp_path / "train" if nested else tmp_path
    for folder in ("train_sharp", "train_sharp_bicubic/X4"):
        clip = top / folder / "240"
        assert clip.is_symlink() == (how == "link")
        assert sorted(path.name for path in clip.iterdir()) == [f"{n:08d}.png" for n in range(3)]
    assert set(before) < set(tree(tmp_path))  # nothing was taken away
    assert names(f"reds:{tmp_path}") == ["000", "001", "011", "240", "269"]
    value = read_image(top / "train_sharp/269/00000001.png")[0, 0, 0]
    assert value == (269 * 20 + 3 + 1) % 256


def test_the_lists_name_what_is_there(tmp_path):
    regroup(reds(tmp_path))
    lists = {path.name: path.read_text() for path in (tmp_path / "meta_info").iterdir()}
    line = "{} 3 (16,24,3)\n".format
    assert lists == {
        "meta_info_REDS_GT.txt": "".join(map(line, ("000", "001", "011", "240", "269"))),
        "meta_info_REDS_train.txt": "".join(map(line, ("001", "240", "269"))),
        "meta_info_REDS4.txt": "".join(map(line, ("000", "011"))),
        "meta_info_REDS_official_train.txt": "".join(map(line, ("000", "001", "011"))),
        "meta_info_REDS_official_val.txt": "".join(map(line, ("240", "269"))),
    }


@pytest.mark.parametrize("how", ["link", "copy"])
def test_regrouping_again_changes_nothing(tmp_path, how):
    regroup(reds(tmp_path), how=how)
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    done = regroup(tmp_path, how=how)
    assert (done.placed, done.there) == (0, 4)
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_stopped_copy_goes_on(tmp_path):
    reds(tmp_path)
    partial = tmp_path / "train_sharp/.240.partial"
    partial.mkdir()
    source = tmp_path / "val_sharp/000/00000000.png"
    (partial / source.name).write_bytes(source.read_bytes())
    stamp = (partial / source.name).stat().st_mtime_ns
    assert names(f"reds@official_train:{tmp_path}") == ["000", "001", "011"]  # a half copy is no clip
    regroup(tmp_path, how="copy")
    assert (tmp_path / "train_sharp/240" / source.name).stat().st_mtime_ns == stamp
    assert not partial.exists()


def test_what_is_in_the_way_is_not_replaced(tmp_path):
    reds(tmp_path)
    write_clip(tmp_path / "train_sharp/240", 7, range(2), sharp=True)
    with pytest.raises(OutputError, match=r"train_sharp/240 is there and holds other files"):
        regroup(tmp_path)
    assert len(list((tmp_path / "train_sharp/240").iterdir())) == 2


def test_the_other_place_and_the_layout_of_the_port(tmp_path):
    done = regroup(reds(tmp_path / "in", x4=False), tmp_path / "out", layout="images")
    assert done.placed == 10
    assert (tmp_path / "out/images/240/truth").is_symlink()
    train, val = (json.loads((tmp_path / f"out/sets/{name}.json").read_text()) for name in ("train", "val"))
    assert {key: train[key] for key in ("prefix", "gt_folder", "x4_folder")} == {
        "prefix": False,
        "gt_folder": "truth",
        "x4_folder": "blur4",
    }
    assert [video["name"] for video in train["videos"]] == ["001", "240", "269"]  # the last clip included
    assert val["videos"][0] == {"name": "000", "gt_shape": [16, 24], "x4_shape": [4, 6], "nframes": 3}
    assert names(f"reds@reds4:{tmp_path / 'out'}") == ["000", "011"]
    whole = regroup(tmp_path / "in", tmp_path / "whole")
    assert (whole.placed, names(f"reds:{tmp_path / 'whole'}")[-1]) == (10, "269")


def test_a_list_that_says_something_else_is_kept(tmp_path):
    path = tmp_path / "meta_info/meta_info_REDS_GT.txt"
    path.parent.mkdir()
    path.write_text("mine")
    reds(tmp_path)
    with pytest.raises(OutputError, match="--overwrite"):
        regroup(tmp_path)
    assert path.read_text() == "mine"
    regroup(tmp_path, overwrite=True)
    assert path.read_text().startswith("000 3")


def test_no_reds_is_an_error_with_the_tree(tmp_path):
    (tmp_path / "holiday").mkdir()
    with pytest.raises(InputError, match=r"expected .*train.*found holiday"):
        regroup(tmp_path)


def drives(root: Path) -> DrivingDataset:
    driving_trees.write_raw_calibration(root)
    driving_trees.write_drive(root, 1, range(12))
    opened = open_driving(parse_spec(f"kitti_raw:{root}")[0])
    assert isinstance(opened, DrivingDataset)
    return opened.snippets(3).resized((4, 6))


def test_strips_read_back_as_the_snippets_that_they_were_made_from(tmp_path):
    dataset = drives(tmp_path / "raw")
    done = prepare_snippets(dataset, tmp_path / "out", suffix=".png", threads=2)
    assert (done.written, done.there, done.train + done.val) == (20, 0, 20)
    strip = tmp_path / "out/2011_09_26_drive_0001_sync_02/0000000001.png"
    assert read_image(strip).shape == (4, 18, 3)
    numbers = strip.with_name("0000000001_cam.txt").read_text().split(",")
    assert len(numbers) == 9
    back = open_driving(parse_spec(f"snippets:{tmp_path / 'out'}")[0])
    assert len(back) == len(dataset)
    for one, other in zip(back, dataset, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.K, other.K)  # to the bit


def test_the_lists_part_the_strips_whatever_their_order(tmp_path):
    prepare_snippets(drives(tmp_path / "raw"), tmp_path / "out", val_share=0.3)
    train, val = ((tmp_path / f"out/{name}.txt").read_text().splitlines() for name in ("train", "val"))
    drawn = np.random.RandomState(8964).random_sample(20) < 0.3
    every = sorted([*train, *val])
    assert [line in val for line in every] == drawn.tolist()
    assert every[0] == "2011_09_26_drive_0001_sync_02 0000000001"
    assert len(open_driving(parse_spec(f"snippets@val:{tmp_path / 'out'}")[0])) == drawn.sum()


def test_strips_are_made_once_and_in_one_way(tmp_path):
    dataset, out = drives(tmp_path / "raw"), tmp_path / "out"
    prepare_snippets(dataset, out)
    lost = out / "2011_09_26_drive_0001_sync_03/0000000004_cam.txt"
    lost.unlink()
    done = prepare_snippets(dataset, out)
    assert (done.written, done.there) == (1, 19)
    assert lost.is_file()
    with pytest.raises(OutputError, match="made in another way"):
        prepare_snippets(dataset.resized((8, 10)), out)


def test_sintel_laid_flat_reads_the_same(tmp_path):
    spec = checked_trees.sintel(tmp_path / "official")
    dataset = open_flow(parse_spec(spec)[0])
    assert lay_flat(dataset, tmp_path / "flat", how="link") == (11, 0)
    assert lay_flat(dataset, tmp_path / "flat", how="link") == (0, 11)
    flat = open_flow(parse_spec(f"sintel-flat:{tmp_path / 'flat'}")[0])
    assert [one.name for one in flat] == [other.name for other in dataset]
    np.testing.assert_array_equal(flat[2].flow, dataset[2].flow)
    np.testing.assert_array_equal(flat[2].image2, dataset[2].image2)
    other = tmp_path / "flat/MPISintel_train/alley_1/frame_0001.png"
    other.unlink()
    other.write_bytes(b"mine")
    with pytest.raises(OutputError, match="move it away"):
        lay_flat(dataset, tmp_path / "flat", how="copy")
    assert other.read_bytes() == b"mine"


def test_links_are_relative_so_that_a_tree_can_be_moved(tmp_path):
    (tmp_path / "a/in").mkdir(parents=True)
    (tmp_path / "a/in/x.txt").write_text("x")
    assert place_file(tmp_path / "a/in/x.txt", tmp_path / "a/out/x.txt", how="link")
    assert place_folder(tmp_path / "a/in", tmp_path / "a/out/in", how="link")
    (tmp_path / "a").rename(tmp_path / "b")
    assert (tmp_path / "b/out/x.txt").read_text() == "x"
    assert (tmp_path / "b/out/in/x.txt").read_text() == "x"


def test_a_list_is_written_only_when_it_changes(tmp_path):
    path = tmp_path / "list.txt"
    assert write_list(path, "one\n", overwrite=False)
    assert not write_list(path, "one\n", overwrite=False)
    with pytest.raises(OutputError):
        write_list(path, "two\n", overwrite=False)
