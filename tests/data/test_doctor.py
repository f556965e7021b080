"""The doctor of data sets: every planted fault is found and named, and a clean tree is called clean."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers import checked_trees as trees
from helpers.flow_trees import write_flo
from kinema.data import parse_spec
from kinema.data.checks.finding import Finding, folded, ordered
from kinema.data.checks.motion import SHOWN_BY_NAME, flow_verdict
from kinema.data.doctor import check_dataset
from kinema.errors import InputError, UsageError
from kinema.io.flow import read_flow
from kinema.io.video import Writer

Fault = Callable[[Path], object]

TREES: dict[str, Callable[[Path], str]] = {
    name: getattr(trees, name)
    for name in (
        "sintel",
        "chairs",
        "kitti",
        "posed",
        "odometry",
        "raw",
        "vid4",
        "paired",
        "frames",
        "strips",
    )
}
FLOW = "training/flow/alley_1/frame_{:04d}.flo"
CLEAN = "training/clean/alley_1/frame_{:04d}.png"
DRIVE = "2011_09_26/2011_09_26_drive_0001_sync/image_02"


def check(spec: str, **options) -> tuple[Finding, ...]:
    return check_dataset(parse_spec(spec)[0], **options).findings


def told(findings: tuple[Finding, ...]) -> list[str]:
    return [f"{f.severity} {f.check} {f.place}: {f.what}" for f in findings]


def cut(name: str, share: float = 0.6) -> Fault:
    def plant(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: int(share * len(data))])

    return plant


def every_flow(change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    def plant(root: Path) -> None:
        for path in sorted(root.rglob("*.flo")):
            write_flo(path, np.ascontiguousarray(change(read_flow(path).flow)))

    return plant


def one_flow(change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    def plant(root: Path) -> None:
        path = root / FLOW.format(2)
        write_flo(path, np.ascontiguousarray(change(read_flow(path).flow)))

    return plant


def pictures(pattern: str, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    def plant(root: Path) -> None:
        found = sorted(root.glob(pattern))
        assert found
        for path in found:
            stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert cv2.imwrite(str(path), change(stored))

    return plant


def rename(old: str, new: str) -> Fault:
    return lambda root: (root / old).rename(root / new)


def remove(*names: str) -> Fault:
    return lambda root: [(root / name).unlink() for name in names]


def copy(source: str, target: str) -> Fault:
    return lambda root: shutil.copyfile(root / source, root / target)


def text(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    return lambda root: np.savetxt(root / name, change(np.loadtxt(root / name)))


def shift_numbers(folder: str, count: int = trees.FRAMES) -> Fault:
    """Frame n becomes n + 1, and the first one is there twice."""

    def plant(root: Path) -> None:
        for number in range(count - 1, 0, -1):
            shutil.copyfile(root / folder / f"{number - 1:08d}.png", root / folder / f"{number:08d}.png")

    return plant


def exchange(first: str, second: str) -> Fault:
    def plant(root: Path) -> None:
        (root / first).rename(root / "aside")
        (root / second).rename(root / first)
        (root / "aside").rename(root / second)

    return plant


def other_scene(name: str) -> Fault:
    def plant(root: Path) -> None:
        stored = cv2.imread(str(root / name))
        random = np.random.default_rng(5).integers(0, 256, (9, 16, 3), dtype=np.uint8)
        size = (stored.shape[1], stored.shape[0])
        assert cv2.imwrite(str(root / name), cv2.resize(random, size, interpolation=cv2.INTER_NEAREST))

    return plant


def invert_poses(rows: np.ndarray) -> np.ndarray:
    whole = np.tile(np.eye(4), (len(rows), 1, 1))
    whole[:, :3] = rows[:, :12].reshape(-1, 3, 4)
    return np.linalg.inv(whole).reshape(-1, 16)[:, : rows.shape[1]]


def mirror(rows: np.ndarray) -> np.ndarray:
    changed = rows.copy()
    changed[2, :3] *= -1
    return changed


def still_camera(root: Path) -> None:
    """One frame for all, with something small that moves."""
    frame = cv2.imread(str(next(root.rglob("*.png"))))
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        moved = frame.copy()
        cv2.circle(moved, (20 + 12 * number, 50), 9, (40, 200, 240), -1)
        assert cv2.imwrite(str(path), moved)


def swap_xy(flow: np.ndarray) -> np.ndarray:
    return flow[..., ::-1]


def halves(folder: str) -> Fault:
    return pictures(f"{folder}/*.png", lambda stored: cv2.resize(stored, None, fx=0.5, fy=0.5))


def black_and_white(stored: np.ndarray) -> np.ndarray:
    return 255 - stored


def eight_bits(stored: np.ndarray) -> np.ndarray:
    return (stored >> 8).astype(np.uint8)


FAULTS: dict[str, tuple[str, Fault, str, str, str]] = {
    # what: tree, how it is planted, severity, name of the check, a part of the place or sentence
    "flow cut": ("sintel", cut(FLOW.format(3)), "error", "truncated", "frame_0003.flo"),
    "image cut": ("sintel", cut(CLEAN.format(3)), "error", "truncated", "frame_0003.png"),
    "ppm cut": ("chairs", cut("data/00002_img1.ppm"), "error", "truncated", "00002_img1.ppm"),
    "empty flow": ("sintel", cut(FLOW.format(2), 0), "error", "empty file", "frame_0002.flo"),
    "empty image": ("chairs", cut("data/00003_img2.ppm", 0), "error", "empty file", "00003_img2.ppm"),
    "no picture": (
        "frames",
        lambda root: (root / "clip/0002.png").write_text("<html>404</html>"),
        "error",
        "unreadable",
        "clip",
    ),
    "flow negated": ("chairs", every_flow(lambda flow: -flow), "error", "flow negated", "sign"),
    "flow swapped": ("chairs", every_flow(swap_xy), "error", "flow swapped", "x and y"),
    "flow y mirrored": (
        "sintel",
        every_flow(lambda f: f * np.float32([1, -1])),
        "error",
        "flow y mirrored",
        "y",
    ),
    "flow doubled": ("chairs", every_flow(lambda flow: 2 * flow), "error", "flow halved", "twice as long"),
    "flow in frame sizes": (
        "chairs",
        every_flow(lambda flow: flow / np.float32([192, 96])),
        "error",
        "flow in frame sizes",
        "not in pixels",
    ),
    "one flow negated": ("sintel", one_flow(lambda flow: -flow), "error", "flow negated", "frame_0002"),
    "flow of another pair": (
        "sintel",
        one_flow(lambda flow: 4 * np.roll(flow[::-1, ::-1], 40, 1)),
        "error",
        "flow does not fit",
        "frame_0002",
    ),
    "flow zero": ("sintel", one_flow(lambda flow: 0 * flow), "error", "flow is zero", "frame_0002"),
    "flow range": ("sintel", one_flow(lambda flow: flow + 900), "error", "flow range", "frame_0002"),
    "flow NaN": (
        "sintel",
        one_flow(lambda flow: np.full_like(flow, 2e8)),
        "error",
        "flow range",
        "frame_0002",
    ),
    "frames exchanged": (
        "kitti",
        exchange("training/image_2/000001_10.png", "training/image_2/000001_11.png"),
        "error",
        "flow backward",
        "000001_10",
    ),
    "same frame twice": (
        "kitti",
        copy("training/image_2/000002_10.png", "training/image_2/000002_11.png"),
        "error",
        "duplicate frames",
        "000002_10",
    ),
    "duplicate frames": (
        "raw",
        copy(f"{DRIVE}/data/{2:010d}.png", f"{DRIVE}/data/{3:010d}.png"),
        "warning",
        "duplicate frames",
        "0000000003.png",
    ),
    "sizes disagree": (
        "sintel",
        pictures(CLEAN.format(6), lambda image: image[:, :-8]),
        "error",
        "sizes differ",
        "frame_0005",
    ),
    "frame missing in the middle": (
        "sintel",
        remove(CLEAN.format(3)),
        "error",
        "missing frames",
        "frame_0002.png and frame_0004.png",
    ),
    "drive with a gap": ("raw", remove(f"{DRIVE}/data/{3:010d}.png"), "error", "missing frames", "image_02"),
    "flow missing": ("sintel", remove(FLOW.format(3)), "error", "incomplete pair", "frame_0003.png"),
    "second frame missing": ("chairs", remove("data/00002_img2.ppm"), "error", "incomplete pair", "00002"),
    "masks inverted": (
        "sintel",
        pictures("training/occlusions/*/*.png", black_and_white),
        "error",
        "mask inverted",
        "occlusion",
    ),
    "occ and noc exchanged": (
        "kitti",
        exchange("training/flow_occ", "training/flow_noc"),
        "error",
        "occ and noc exchanged",
        "00000",
    ),
    "flow of 8 bits": (
        "kitti",
        pictures("training/flow_occ/000001_10.png", eight_bits),
        "error",
        "8 bits",
        "flow_occ/000001_10.png",
    ),
    "disparity of 8 bits": (
        "kitti",
        pictures("training/disp_occ_0/*.png", eight_bits),
        "error",
        "8 bits",
        "disp_occ_0/000000_10.png",
    ),
    "wrong case": (
        "sintel",
        rename(
            FLOW.format(3), FLOW.format(3).upper().replace("TRAINING/FLOW/ALLEY_1", "training/flow/alley_1")
        ),
        "error",
        "name case",
        "FRAME_0003.FLO",
    ),
    "wrong suffix": (
        "chairs",
        rename("data/00002_img1.ppm", "data/00002_img1.png"),
        "error",
        "name suffix",
        ".ppm",
    ),
    "stray file": (
        "sintel",
        lambda root: (root / "training/clean/notes.zip").write_text("x"),
        "note",
        "stray files",
        "notes.zip",
    ),
    "broken link": (
        "sintel",
        lambda root: [(root / CLEAN.format(6)).unlink(), (root / CLEAN.format(6)).symlink_to("gone.png")],
        "error",
        "broken link",
        "frame_0006.png",
    ),
    "no calibration": (
        "raw",
        remove("2011_09_26/calib_cam_to_cam.txt"),
        "error",
        "no intrinsics",
        "2011_09_26",
    ),
    "no calib.txt": ("odometry", remove("sequences/04/calib.txt"), "error", "no intrinsics", "sequences/04"),
    "intrinsics of another size": ("posed", halves("images"), "error", "intrinsics", "96x48"),
    "focal length in millimetres": (
        "posed",
        text("K.txt", lambda K: K * np.array([[0.03, 1, 1], [1, 0.03, 1], [1, 1, 1]])),
        "error",
        "intrinsics",
        "degrees",
    ),
    "poses scaled": (
        "odometry",
        text("poses/04.txt", lambda rows: 2 * rows),
        "error",
        "poses no rotations",
        "line 1",
    ),
    "a pose mirrored": ("posed", text("poses.txt", mirror), "error", "poses no rotations", "line 3"),
    "fewer poses than frames": (
        "odometry",
        text("poses/04.txt", lambda rows: rows[:-2]),
        "error",
        "truth and frames disagree",
        "4 poses",
    ),
    "poses and pictures differ": (
        "posed",
        text("poses.txt", lambda rows: rows[:-1]),
        "error",
        "cannot be opened",
        "5 poses",
    ),
    "poses inverted (drive)": (
        "odometry",
        text("poses/04.txt", invert_poses),
        "error",
        "poses inverted",
        "04",
    ),
    "poses inverted (room)": (
        "posed",
        text("poses.txt", invert_poses),
        "error",
        "poses inverted",
        "camera from world",
    ),
    "depth ten times too large": (
        "posed",
        pictures(
            "depth/*.png", lambda depth: np.minimum(10 * depth.astype(np.int64), 65535).astype(np.uint16)
        ),
        "error",
        "depth scale",
        "0.1",
    ),
    "depth in 256ths": (
        "posed",
        pictures("depth/*.png", lambda depth: (depth * 0.256).astype(np.uint16)),
        "error",
        "depth scale",
        "3.906",
    ),
    "depth of 8 bits": ("posed", pictures("depth/*.png", eight_bits), "error", "8 bits", "depth/00000.png"),
    "wrong frame rate (times)": (
        "odometry",
        text("sequences/04/times.txt", lambda times: times / 3),
        "warning",
        "frame rate",
        "30 frames per second",
    ),
    "wrong frame rate (stamps)": (
        "raw",
        lambda root: (root / DRIVE / "timestamps.txt").write_text(
            "".join(f"2011-09-26 13:02:{25 + number:02d}.000000000\n" for number in range(6))
        ),
        "warning",
        "frame rate",
        "1 frames per second",
    ),
    "poses jump": (
        "odometry",
        text("poses/04.txt", lambda rows: rows + np.outer(np.arange(6) > 3, 40.0 * (np.arange(12) == 11))),
        "warning",
        "poses jump",
        "frame 4",
    ),
    "static camera": ("raw", still_camera, "warning", "static camera", "5 of 5"),
    "low frames shifted": ("vid4", shift_numbers("BIx4/city"), "error", "frames shifted", "1 earlier"),
    "low frames of another clip": (
        "vid4",
        pictures("BIx4/city/*.png", lambda image: image[::-1, ::-1]),
        "error",
        "frames mixed up",
        "city",
    ),
    "not four times smaller": ("vid4", halves("BIx4/city"), "error", "wrong scale", "8 times"),
    "sizes no multiple": (
        "vid4",
        pictures("GT/city/*.png", lambda image: image[:-3]),
        "error",
        "sizes differ",
        "whole multiple",
    ),
    "low frames displaced": (
        "vid4",
        pictures("BIx4/city/*.png", lambda image: np.roll(image, 1, axis=1)),
        "error",
        "frames displaced",
        "pixels beside",
    ),
    "low frames by another kernel": (
        "vid4",
        lambda root: [
            cv2.imwrite(str(root / f"BIx4/city/{path.name}"), cv2.imread(str(path))[::4, ::4])
            for path in (root / "GT/city").iterdir()
        ],
        "warning",
        "another kernel",
        "levels apart",
    ),
    "low frame missing": (
        "vid4",
        remove("BIx4/city/00000005.png"),
        "error",
        "frames without twin",
        "00000005",
    ),
    "low equals sharp": (
        "paired",
        lambda root: shutil.copytree(root / "sharp", root / "blur", dirs_exist_ok=True),
        "warning",
        "low equals sharp",
        "same picture",
    ),
    "scenes mixed (clip)": (
        "raw",
        other_scene(f"{DRIVE}/data/{3:010d}.png"),
        "warning",
        "scenes mixed",
        "0000000003",
    ),
    "scenes mixed (pair)": ("chairs", other_scene("data/00002_img2.ppm"), "error", "scenes mixed", "00002"),
    "the other KITTI": (
        "kitti",
        rename("training/disp_occ_0", "training/disp_occ"),
        "warning",
        "another set",
        "kitti2012",
    ),
    "strip without camera": ("strips", remove("00/000002_cam.txt"), "error", "incomplete pair", "000002"),
    "strip of another size": (
        "strips",
        pictures("00/*.png", lambda image: np.vstack([image, image])),
        "error",
        "intrinsics",
        "192x192",
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_a_clean_tree_gives_no_finding(name, tmp_path):
    assert told(check(TREES[name](tmp_path))) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path):
    tree, plant, severity, name, detail = FAULTS[fault]
    spec = TREES[tree](tmp_path)
    plant(tmp_path)
    found = check(spec)
    ours = [f for f in found if (f.severity, f.check) == (severity, name)]
    assert ours, told(found)
    assert any(detail in f"{f.place} {f.what}" for f in ours), told(found)
    assert all(f.advice for f in found)


def test_there_are_enough_faults():
    assert len({check for _, _, _, check, _ in FAULTS.values()}) >= 30


def video(path: Path, numbers: list[int], rate: int = 30) -> None:
    height, width = trees.SIZE_HW
    with Writer(path, size_hw=(height, width), rate=Fraction(rate)) as writer:
        for number in numbers:
            shifted = np.roll(trees.room().frames[0], 3 * number, axis=1)
            writer.write(shifted)


def test_a_video_from_a_lower_rate_is_told(tmp_path):
    video(tmp_path / "even.mp4", list(range(30)))
    assert told(check(f"footage:{tmp_path}")) == []
    video(tmp_path / "even.mp4", [number - number // 5 for number in range(40)])
    (finding,) = check(f"footage:{tmp_path}")
    assert (finding.check, finding.place) == ("frame rate", "even.mp4")
    assert "30 frames per second, but shows 24." in finding.what


def test_a_cut_video_is_told(tmp_path):
    video(tmp_path / "cut.mkv", list(range(40)))
    data = (tmp_path / "cut.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    found = check(f"footage:{tmp_path / 'cut.mkv'}")
    assert [f.check for f in found if f.severity == "error"] == ["truncated"]


def test_a_tree_of_another_kind_is_told_with_the_expected_one(tmp_path):
    trees.chairs(tmp_path)
    report = check_dataset(parse_spec(f"sintel-clean:{tmp_path}")[0])
    assert report.count == 0
    assert "expected training/{clean,flow}" in next(
        f.what for f in report.findings if f.check == "cannot be opened"
    )


def test_a_part_of_the_official_set_is_no_finding_but_counted(tmp_path):
    report = check_dataset(parse_spec(trees.sintel(tmp_path))[0])
    assert (report.count, report.official, report.findings) == (5, 1041, ())
    assert report.files == 6 + 3 * 5


def test_samples_are_spread_and_full_reads_all(tmp_path):
    spec = trees.chairs(tmp_path)
    assert check_dataset(parse_spec(spec)[0], samples=2).looked_at == 2
    assert check_dataset(parse_spec(spec)[0], samples=None).looked_at == 5
    every_flow(lambda flow: -flow)(tmp_path)
    (both, other) = (check(spec, samples=2), check(spec, samples=None))
    assert ([f.place for f in both], len(other)) == (["00001", "00005"], 5)


def test_small_files_are_read_whatever_the_sample_is(tmp_path):
    spec = trees.chairs(tmp_path)
    cut("data/00003_flow.flo")(tmp_path)
    assert [f.place for f in check(spec, samples=1)] == ["data/00003_flow.flo"]


def test_nothing_is_changed(tmp_path):
    spec = trees.sintel(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    check(spec, samples=None)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_what_is_no_data_set_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        check(f"sintel-clean:{tmp_path / 'gone'}")
    with pytest.raises(UsageError, match="unknown data set"):
        check(f"cintel:{tmp_path}")


def test_findings_are_ordered_and_folded():
    many = [
        Finding(severity=severity, check=kind, place=f"{number}", what="w", advice="a")
        for severity, kind in (("note", "n"), ("error", "e"))
        for number in range(5)
    ]
    found = folded(ordered([*many, *many]), shown=3)
    assert [(f.severity, f.place, f.more) for f in found] == [
        ("error", "0", 0),
        ("error", "1", 0),
        ("error", "2", 2),
        ("note", "0", 0),
        ("note", "1", 0),
        ("note", "2", 2),
    ]


def readings(flow: np.ndarray) -> dict[str, np.ndarray]:
    """The flow as somebody writes it who makes the mistake of that name."""
    size = np.float32([flow.shape[1], flow.shape[0]])
    return {
        "negated": -flow,
        "swapped": flow[..., ::-1],
        "swapped and negated": -flow[..., ::-1],
        "x mirrored": flow * np.float32([-1, 1]),
        "y mirrored": flow * np.float32([1, -1]),
        "halved": 2 * flow,
        "doubled": flow / 2,
        "in frame sizes": flow / size,
        "in half frame sizes": 2 * flow / size,
        "as it is": flow,
    }


@pytest.mark.parametrize("reading", [*readings(np.zeros((2, 2, 2), np.float32))])
def test_every_misreading_of_a_flow_is_named(reading):
    clip = trees.room()
    wrong = readings(clip.flow[0])[reading]
    verdict = flow_verdict(clip.frames[0], clip.frames[1], wrong, clip.valid[0] & clip.visible[0])
    assert verdict.reading == reading
    assert reading == "as it is" or reading in SHOWN_BY_NAME
    assert verdict.best < 0.5 * verdict.still


def test_an_exposure_change_is_no_fault():
    clip = trees.room()
    darker = (clip.frames[1] * 0.45).astype(np.uint8)
    verdict = flow_verdict(clip.frames[0], darker, clip.flow[0], clip.valid[0] & clip.visible[0])
    assert verdict.reading == "as it is"


def test_frames_that_do_not_move_say_nothing():
    clip = trees.room()
    still = np.zeros_like(clip.flow[0])
    assert flow_verdict(clip.frames[0], clip.frames[0], still, clip.valid[0]).reading == ""


REAL = {
    "middlebury": "middlebury",
    "sintel-clean": "sintel",
    "sintel-final": "sintel",
    "kitti2012": "kitti2012",
    "kitti_stereo": "kitti2012",
    "flyingchairs": "flyingchairs",
    "kitti_odometry": "kitti_odometry",
    "posed": "hololens",
    "vid4": "vid4",
    "vid4-bdx4": "vid4",
}


@pytest.mark.parametrize("spec", REAL)
def test_no_false_alarm_on_real_data(spec, shared):
    assert told(check(f"{spec}:{shared / 'data' / REAL[spec]}", samples=None)) == []


@pytest.mark.parametrize("spec", ["middlebury", "sintel-clean", "kitti2012", "flyingchairs"])
def test_a_wrong_flow_of_real_data_is_named(spec, shared):
    from kinema.data import open_flow

    dataset = open_flow(parse_spec(f"{spec}:{shared / 'data' / REAL[spec]}")[0])
    for sample in dataset:
        usable = sample.valid if sample.valid_noc is None else sample.valid & sample.valid_noc
        for name, flow in readings(sample.flow).items():
            found = flow_verdict(sample.image1, sample.image2, flow, usable).reading
            # A slow smooth flow that is turned round is as good as one that leads back.
            assert found == name or (found, name) == ("backward", "negated"), sample.name
        back = flow_verdict(sample.image2, sample.image1, sample.flow, usable).reading
        assert back in ("backward", "negated"), sample.name


@pytest.mark.slow
def test_no_false_alarm_on_real_footage(shared):
    found = check(f"footage:{shared / 'data/clips'}")
    assert {f.severity for f in found} <= {"warning", "note"}
    assert [f.check for f in found if f.severity == "warning"] == ["no clip"]  # stills of two sizes
