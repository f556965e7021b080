"""Clips, drives and snippets in shards: the family's own classes, reading the same samples file by file."""

from __future__ import annotations

import json
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers import driving_trees, restoration_trees
from helpers.shard_sets import contents, differences, opened
from kinema.apps.data_convert import run
from kinema.apps.data_convert_config import DataConvertConfig
from kinema.data import DrivingDataset, RestorationDataset, SnippetStrips, parse_spec
from kinema.data.doctor import check_dataset
from kinema.data.shard_store import FolderStore
from kinema.errors import InputError


def convert(spec: str, out: Path, **options: object):
    return run(DataConvertConfig(spec=spec, out=out, **options))


def same_samples(found, expected) -> None:
    assert len(found) == len(expected) > 0
    for index in range(len(expected)):
        assert found.name_of(index) == expected.name_of(index)
        assert differences(found[index], expected[index]) == []


def picture(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), array)


def reds(root: Path, frames=range(6)) -> str:
    for number in (0, 11):
        restoration_trees.write_clip(root / f"train_sharp/{number:03d}", number, frames, sharp=True)
        low = root / f"train_sharp_bicubic/X4/{number:03d}"
        restoration_trees.write_clip(low, number, frames, sharp=False)
    return f"reds:{root}"


def vimeo(root: Path) -> str:
    """Septuplets whose middle frame alone has a sharp twin."""
    for number, name in enumerate(("00001/0001", "00096/0003")):
        middle = root / "vimeo_septuplet/sequences" / name / "im4.png"
        restoration_trees.write_frame(middle, number, (16, 24))
        for frame in range(1, 8):
            low = root / "vimeo_septuplet_matlabLRx4/sequences" / name / f"im{frame}.png"
            restoration_trees.write_frame(low, 10 * number + frame, (4, 6))
    return f"vimeo90k:{root}/vimeo_septuplet"


def lmdb(root: Path) -> str:
    root.mkdir()
    clips = {"000": 0, "011": 11}
    for name, sharp in (("train_sharp", True), ("train_sharp_bicubic", False)):
        restoration_trees.write_lmdb(root / f"{name}.lmdb", clips, range(3), sharp=sharp)
    return f"reds:{root}"


def paired(root: Path) -> str:
    """Frames in no folder of their own: the clip has no name."""
    restoration_trees.write_clip(root / "low", 3, range(4), sharp=False)
    restoration_trees.write_clip(root / "sharp", 3, range(4), sharp=True)
    return f"paired:{root}"


def raw(root: Path) -> str:
    driving_trees.write_raw_calibration(root)
    points = np.array([[8.0, 0.5, 0.25, 0.5], [4.0, -0.25, 0.0, 0.1]], np.float32)
    driving_trees.write_drive(root, 1, (3, 4, 5, 9), points=points)
    driving_trees.write_drive(root, 2, (0, 1, 2))
    return f"kitti_raw:{root}"


def odometry(root: Path) -> str:
    driving_trees.write_sequence(root, "09", 4, poses=driving_trees.forward_poses(4))
    driving_trees.write_sequence(root, "11", 3)
    return f"kitti_odometry:{root}"


def stereo(root: Path) -> str:
    """Every picture is a sequence of its own, and all of these have one name."""
    disparity = np.full((2, 1242), 256 * 20, np.uint16)
    for number in ("000001", "000003"):
        picture(root / f"training/disp_occ_0/{number}_10.png", disparity)
        frame = root / f"training/image_2/{number}_10.png"
        driving_trees.write_frame(frame, int(number), size_hw=(2, 1242))
    (root / "training/calib_cam_to_cam").mkdir()
    row = driving_trees.row([721.5377, 0, 600, 44, 0, 721.5377, 170, 0, 0, 0, 1, 0])
    (root / "training/calib_cam_to_cam/000001.txt").write_text(f"P_rect_02: {row}\n")
    return f"kitti_stereo:{root}"


def posed(root: Path) -> str:
    for number in range(3):
        driving_trees.write_frame(root / f"images/{number:05d}.png", number)
        if number:
            depth = np.full(driving_trees.SIZE_HW, 1500 + number, np.uint16)
            picture(root / f"depth/{number:05d}.png", depth)
    (root / "K.txt").write_text("8 0 4.5\n0 8 2.5\n0 0 1\n")
    rows = [driving_trees.row(T.ravel()) for T in driving_trees.forward_poses(3)]
    (root / "poses.txt").write_text("\n".join(rows) + "\n")
    return f"posed:{root}"


def strips(root: Path) -> str:
    for folder, frame in (("09_02", "000002"), ("09_02", "000003"), ("10_02", "000002")):
        parts = [np.full((6, 20, 3), 10 * part + int(frame), np.uint8) for part in range(5)]
        picture(root / folder / f"{frame}.png", np.concatenate(parts, axis=1))
        (root / folder / f"{frame}_cam.txt").write_text("11.5,0.,9.8,0.,12.5,3.0,0.,0.,1.")
    return f"snippets:{root}"


SETS = (reds, vimeo, lmdb, paired, raw, odometry, stereo, posed, strips)


@pytest.mark.parametrize("make", SETS, ids=lambda make: make.__name__)
def test_every_set_comes_back_as_it_is(tmp_path, make):
    if make is lmdb:
        pytest.importorskip("lmdb")
    spec = make(tmp_path / "set")
    expected = opened(spec)
    result = convert(spec, tmp_path / "out", samples_per_shard=3)
    assert (result.samples, result.missing) == (len(expected), 0)
    assert result.files >= len(expected)
    assert result.shards == -(-result.files // 3)
    found = opened(f"shards:{tmp_path}/out")
    assert type(found) is type(expected)
    assert (found.official_count, found.notes) == (expected.official_count, expected.notes)
    assert found.spec.label == expected.spec.label
    assert not any(found.paths_of(index) for index in range(len(found)))
    same_samples(found, expected)
    sent = ForkingPickler.loads(ForkingPickler.dumps(found))  # as a data-loading process gets it
    same_samples(sent, expected)
    views = views_of(found), views_of(expected)
    assert len(views[0]) == len(views[1]) > 0
    for mine, theirs in zip(*views, strict=True):
        same_samples(mine, theirs)


def views_of(dataset):
    """What users ask a set of this kind for."""
    match dataset:
        case RestorationDataset():
            return [dataset.windows(frames=3, border="replicate"), dataset[:1]]
        case SnippetStrips():
            return [dataset.snippets(3).resized((3, 10)), dataset[1:]]
        case DrivingDataset():
            views = [dataset[1:].resized((4, 6))]
            if dataset.spec.name != "kitti_stereo":
                views.append(dataset.snippets(3))
            if any(sequence.truth is not None for sequence in dataset.sequences):
                views.append(dataset.with_depth("camera_z"))
            if dataset.spec.name == "kitti_raw":
                views.append(dataset.with_depth("velodyne_x"))
            return views
    raise AssertionError(dataset)


def test_a_window_reads_its_own_files_and_no_other(tmp_path, monkeypatch):
    spec = reds(tmp_path / "set")
    convert(spec, tmp_path / "out")
    windows = opened(f"shards:{tmp_path}/out").windows(frames=3)
    windows[0]  # the index of the shard is read now
    read = []
    original = FolderStore.read_range

    def counted(self, name, offset, size):
        read.append(size)
        return original(self, name, offset, size)

    monkeypatch.setattr(FolderStore, "read_range", counted)
    windows[5]
    assert len(read) == 4  # three low frames and one sharp one
    assert len(windows) == 8


def test_the_same_files_give_the_same_shards_and_points_are_stored_once(tmp_path):
    spec = raw(tmp_path / "set")
    one, two = convert(spec, tmp_path / "one", num_shards=4), None
    for number in (3, 0, 2, 1):
        two = convert(spec, tmp_path / "two", num_shards=4, shard=number, processes=1)
    assert two.manifest is not None
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    pictures = 2 * (4 + 3)
    assert one.files == pictures + 4  # both cameras share the points of the scanner


def test_other_intrinsics_are_another_conversion(tmp_path):
    spec = posed(tmp_path / "set")
    convert(spec, tmp_path / "out")
    (tmp_path / "set/K.txt").write_text("9 0 4.5\n0 9 2.5\n0 0 1\n")
    with pytest.raises(Exception, match="holds shards of another conversion"):
        convert(spec, tmp_path / "out")


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (reds, lambda content: content.pop("folders")),
        (reds, lambda content: content.update(of="smells")),
        (reds, lambda content: content.update(samples=3)),
        (reds, lambda content: content["clips"][0]["low"].append("x.png")),
        (reds, lambda content: content["clips"][0]["low"].__setitem__(0, "../../secret.png")),
        (reds, lambda content: content["clips"][0]["sharp"].pop()),
        (reds, lambda content: content["folders"]["low/000"].pop()),
        (raw, lambda content: content["sequences"][0]["K"].update(shape=[9])),
        (raw, lambda content: content["sequences"][0]["K"].update(base64="AAAA")),
        (raw, lambda content: content["sequences"][0]["numbers"].update(type="|O")),
        (raw, lambda content: content["sequences"][0]["truth"].update({"from": "a dream"})),
        (
            raw,
            lambda content: content["targets"].update(base64=content["targets"]["base64"][:-4] + "/////w=="),
        ),
        (strips, lambda content: content["strips"].__setitem__(0, "../../secret.png")),
    ],
)
def test_a_damaged_description_is_one_clear_line(tmp_path, make, change):
    convert(make(tmp_path / "set"), tmp_path / "out")
    path = tmp_path / "out/manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest["content"])
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="does not describe its set") as caught:
        opened(f"shards:{tmp_path}/out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [reds, raw, strips], ids=lambda make: make.__name__)
def test_the_doctor_reads_them_and_finds_damage(tmp_path, make):
    convert(make(tmp_path / "set"), tmp_path / "out", samples_per_shard=5)
    spec = parse_spec(f"shards:{tmp_path}/out")[0]
    assert check_dataset(spec).findings == ()
    tar = next((tmp_path / "out").glob("*@00000.tar"))
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    assert any("is damaged at" in finding.what for finding in check_dataset(spec).findings)
