"""`kinema flow` and the places that it may write to: nothing that is read, and nothing twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from helpers import clips
from helpers.command import Command, Ended, tree
from helpers.textures import moving_frames
from kinema.io.flow import read_flow
from kinema.io.images import write_image

QUICK = ("--model", "tvnet", "--warps", 1, "--iterations", 2)


@pytest.fixture
def kinema(capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    for number, image in enumerate(moving_frames(3, (32, 40))):
        write_image(tmp_path / "in" / f"f{number}.png", image)
    return tmp_path / "in"


def _refused(ended: Ended, *words: str) -> None:
    assert ended.status == 2, ended
    assert ended.err.startswith("kinema: error: ")
    assert ended.err.count("\n") == 1, ended.err
    assert [word for word in words if word not in ended.err] == []


def test_inputs_of_a_folder_job_are_kept(kinema: Command, tmp_path: Path, frames: Path) -> None:
    """Results take fixed names in a folder; one that is read under such a name must survive --overwrite."""
    video = shutil.move(clips.ntsc_clip(tmp_path / "clip.mp4", frames=3), tmp_path / "flow.mp4")
    _refused(kinema("flow", video, "-o", tmp_path, "--overwrite"), "flow.mp4 is also an input")
    (frames / "f0.png").rename(frames / "000000_flow.png")
    inputs = sorted(frames.glob("*.png"))
    before = [path.read_bytes() for path in inputs]
    _refused(kinema("flow", *inputs, "-o", frames, "--overwrite"), "000000_flow.png is also an input")
    link = tmp_path / "link.png"
    link.symlink_to(inputs[0])
    _refused(kinema("flow", link, inputs[1], "-o", inputs[0], "--overwrite"), "is also an input")
    beside = ("-o", frames / "f.png", "--occlusion", "--overwrite")
    inputs[2].rename(frames / "f_occluded.png")
    _refused(kinema("flow", inputs[0], frames / "f_occluded.png", *beside), "f_occluded.png is also an input")
    assert [path.read_bytes() for path in sorted(frames.glob("*.png"))] == [before[i] for i in (0, 1, 2)]


@pytest.mark.parametrize("pattern", ["", "*.png"])
def test_results_do_not_mix_with_the_frames(kinema: Command, frames: Path, pattern: str) -> None:
    """The next run would take them for frames; numbers are no frames and may lie there."""
    names = tree(frames)
    source = f"{frames}/{pattern}"
    for words in ((), ("--overwrite",), ("--format", "bounded8")):
        _refused(kinema("flow", source, "-o", frames, *words), "taken for frames", "another folder")
    assert tree(frames) == names
    kinema.done("flow", source, "-o", frames, "--format", "flo", *QUICK)
    _refused(kinema("flow", source, "-o", frames, "--format", "flo"), "000000_flow.flo", "--overwrite")
    kinema.done("flow", source, "-o", frames, "--format", "flo", *QUICK, "--overwrite")


def test_the_report_replaces_neither_an_input_nor_a_result(
    kinema: Command, tmp_path: Path, frames: Path
) -> None:
    pair = (frames / "f0.png", frames / "f1.png")
    before = pair[0].read_bytes()
    out = tmp_path / "a.flo"
    _refused(kinema("flow", *pair, "-o", out, "--json", pair[0], "--overwrite"), "f0.png is also an input")
    _refused(kinema("flow", *pair, "-o", out, "--json", out, "--overwrite"), "a.flo", "--out")
    _refused(kinema("flow", *pair, "-o", out, "--json", tmp_path), "is a folder")
    _refused(kinema("flow", *pair, "-o", out, "--json", pair[0] / "a.json"), "f0.png is not a folder")
    if os.name == "posix":
        for stream in ("/dev/null", "/dev/stdout", "/dev/fd/1"):
            _refused(kinema("flow", *pair, "-o", out, "--json", stream, "--overwrite"), stream, "regular")
    assert pair[0].read_bytes() == before
    assert not out.exists(), "all of it is refused before the work"


def test_a_name_that_ends_in_a_slash_is_a_folder(kinema: Command, tmp_path: Path, frames: Path) -> None:
    pair = (frames / "f0.png", frames / "f1.png")
    _refused(kinema("flow", *pair, "-o", tmp_path / "run.2"), ".2 is no known suffix", "run.2/ if")
    kinema.done("flow", *pair, "-o", f"{tmp_path}/run.2/", *QUICK)
    assert tree(tmp_path / "run.2") == ["000000_flow.flo", "000000_flow.png"]


def test_home_is_known_in_options_too(
    kinema: Command, tmp_path: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    pair = (frames / "f0.png", frames / "f1.png")
    kinema.done("flow", *pair, "--out=~/a.flo", "--json=~/a.json", *QUICK)
    assert {"a.flo", "a.json"} <= set(tree(tmp_path))
    _refused(kinema("flow", "~no_such_user/a.png", pair[1], "-o", tmp_path / "b.flo"), "~no_such_user")


def test_empty_names(kinema: Command, tmp_path: Path, frames: Path) -> None:
    pair = (frames / "f0.png", frames / "f1.png")
    _refused(kinema("flow", "", pair[0], "-o", tmp_path / "a.flo"), "an input is empty")
    _refused(kinema("flow", *pair, "-o", ""), "--out is empty")
    _refused(kinema("flow", *pair, "-o", tmp_path / "a.flo", "--json", ""), "--json must be a path")
    _refused(kinema("demo", "-o", ""), "--out must be a path")


def test_names_that_are_too_long(kinema: Command, tmp_path: Path, frames: Path) -> None:
    pair, long = (frames / "f0.png", frames / "f1.png"), "n" * 250
    kinema.done("flow", *pair, "-o", tmp_path / f"{long}.flo", *QUICK)
    for out, words in (
        (f"{long}.png", ("--backward",)),
        (f"{long}nnnnnnnn", ()),
        (f"{long}nnn.mp4", ()),
        ("d/" * 3000, ()),
    ):
        _refused(kinema("flow", *pair, "-o", f"{tmp_path}/{out}", *words), "too long")
    _refused(kinema("flow", f"{long}{long}.mp4", "-o", tmp_path / "out"), "too long")


@pytest.mark.skipif(os.name == "nt", reason="names that are bytes")
def test_names_that_are_not_utf_8(kinema: Command, tmp_path: Path, frames: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff\n \xf0")
    folder.mkdir()
    source = shutil.copy(clips.ntsc_clip(tmp_path / "clip.mp4", frames=3), folder / os.fsdecode(b"\xfe.mp4"))
    kinema.done(
        "flow", source, "-o", folder / os.fsdecode(b"out \xff.mp4"), "--json", folder / "r.json", *QUICK
    )
    kinema.done("flow", frames / "f0.png", frames / "f1.png", "-o", folder / os.fsdecode(b"\xfd.flo"), *QUICK)
    assert read_flow(folder / os.fsdecode(b"\xfd.flo")).flow.shape == (32, 40, 2)
    assert len(tree(folder)) == 4


def test_a_choice_without_frames_names_the_options(kinema: Command, tmp_path: Path, frames: Path) -> None:
    words = ("flow", frames, "-o", tmp_path / "out", "--start", 7)
    _refused(kinema(*words), "0 of 3 images chosen", "change --start, --end or --stride")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--bound", "inf"), "--bound must be a finite number (got inf)"),
        (("--max-flow", "inf"), "--max-flow must be a finite number"),
        (("--end", "inf"), "--end must be at most 1000000000"),
        (("--iterations", 10**20), "--iterations must be at most 1000000"),
        (("--backward=true",), "--backward takes no value"),
        (("--K", "1,2,3,4"), "unknown option --K; see"),
    ],
)
def test_wrong_values(
    kinema: Command, tmp_path: Path, frames: Path, words: tuple[object, ...], says: str
) -> None:
    _refused(kinema("flow", frames, "-o", tmp_path / "out", *words), says)
    assert not (tmp_path / "out").exists()


def test_no_words_at_all(kinema: Command) -> None:
    _refused(kinema("flow"), "INPUT... and --out are missing; see kinema flow --help")


def test_images_beside_a_video_names_both(kinema: Command, tmp_path: Path, frames: Path) -> None:
    video = clips.ntsc_clip(tmp_path / "clip.mp4", frames=3)
    _refused(kinema("flow", frames / "f0.png", video, "-o", tmp_path / "out"), "f0.png", "clip.mp4")
