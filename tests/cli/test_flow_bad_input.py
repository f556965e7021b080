"""`kinema flow` on bad input: one line on stderr, status 2, nothing half-written."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import clips, flow_trees
from helpers.command import Command, Ended, process, tree
from helpers.textures import moving_frames
from kinema.io.images import write_image

QUICK = ("--model", "tvnet", "--warps", 1, "--iterations", 2)


@pytest.fixture
def kinema(capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    paths = (tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    for path, image in zip(paths, moving_frames(2, (32, 40)), strict=True):
        write_image(path, image)
    return paths


def assert_refused(ended: Ended, *words: str) -> None:
    assert ended.status == 2, ended
    lines = ended.err.strip().splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("kinema: error: ")
    for word in words:
        assert word in lines[0]
    assert ended.out == ""


def test_no_input(kinema: Command, tmp_path: Path) -> None:
    assert_refused(kinema("flow", "-o", tmp_path / "out"), "INPUT", "--help")
    assert tree(tmp_path) == []


def test_no_output(kinema: Command, pair: tuple[Path, Path]) -> None:
    assert_refused(kinema("flow", *pair), "--out")


@pytest.mark.parametrize("name", ["missing.mp4", "missing.png", "missing", "missing_*.png"])
def test_missing_file(kinema: Command, tmp_path: Path, name: str) -> None:
    ended = kinema("flow", tmp_path / name, "-o", tmp_path / "out")
    assert_refused(ended, name)
    assert tree(tmp_path) == []


def test_missing_second_image(kinema: Command, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    assert_refused(kinema("flow", pair[0], tmp_path / "gone.png", "-o", tmp_path / "out"), "gone.png")
    assert tree(tmp_path) == ["in", "in/a.png", "in/b.png"]


@pytest.mark.parametrize("make", [clips.text_named_video, clips.empty_file, clips.sound_only_clip])
@pytest.mark.parametrize("out", ["flow.mp4", "out"])
def test_files_that_are_no_video(kinema: Command, tmp_path: Path, make: object, out: str) -> None:
    source = make(tmp_path / "clip.mp4")  # type: ignore[operator]
    assert_refused(kinema("flow", source, "-o", tmp_path / out), "clip.mp4")
    assert tree(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("index_first", [True, False])
def test_truncated_video(kinema: Command, tmp_path: Path, index_first: bool) -> None:
    source = clips.truncated_clip(tmp_path / "clip.mp4", index_first=index_first)
    before = tree(tmp_path)
    assert_refused(kinema("flow", source, "-o", tmp_path / "flow.mp4", *QUICK), "clip.mp4")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("out", ["flow.mp4", "out"])
def test_one_frame_video(kinema: Command, tmp_path: Path, out: str) -> None:
    source = clips.one_frame_clip(tmp_path / "clip.mp4")
    assert_refused(kinema("flow", source, "-o", tmp_path / out, *QUICK), "clip")
    assert tree(tmp_path) == ["clip.mp4"]


def test_one_image(kinema: Command, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    assert_refused(kinema("flow", pair[0], "-o", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_images_of_different_sizes(kinema: Command, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    other = tmp_path / "in" / "c.png"
    write_image(other, np.zeros((32, 41, 3), np.uint8))
    for inputs in ((pair[0], other), (*pair, other)):
        assert_refused(kinema("flow", *inputs, "-o", tmp_path / "out", *QUICK), "c.png")
        assert not [name for name in tree(tmp_path) if "000000" in name or name.startswith(".")]


@pytest.mark.parametrize("size_hw", [(1, 5), (5, 1), (2, 2), (1, 1)])
def test_too_small_images(kinema: Command, tmp_path: Path, size_hw: tuple[int, int]) -> None:
    for name in "ab":
        write_image(tmp_path / f"{name}.png", np.zeros((*size_hw, 3), np.uint8))
    ended = kinema("flow", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "out")
    assert_refused(ended, "too small for pwcnet", "smallest is 16x16")
    assert tree(tmp_path) == ["a.png", "b.png"]


def test_output_below_a_file(kinema: Command, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    for out in (pair[0] / "out", pair[0] / "out" / "a.flo"):
        assert_refused(kinema("flow", *pair, "-o", out, *QUICK), str(pair[0]))
    assert tree(tmp_path) == ["in", "in/a.png", "in/b.png"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, where no one can make files")
@pytest.mark.parametrize("out", ["/proc/flow.mp4", "/proc/new_folder", "/proc/self/a.flo"])
def test_output_where_nobody_can_write(kinema: Command, pair: tuple[Path, Path], out: str) -> None:
    assert_refused(kinema("flow", *pair, "-o", out, *QUICK), "/proc", "cannot be written")


def test_the_output_name_is_a_folder_that_exists(
    kinema: Command, tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    """A folder counts as a folder, whatever its name looks like."""
    (tmp_path / "out.flo").mkdir()
    kinema.done("flow", *pair, "-o", tmp_path / "out.flo", *QUICK)
    assert tree(tmp_path / "out.flo") == ["000000_flow.flo", "000000_flow.png"]


def test_existing_files_are_kept(kinema: Command, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    kept = b"precious"
    out = tmp_path / "out"
    out.mkdir()
    cases: list[tuple[str, tuple[object, ...]]] = [
        ("a.flo", ("-o", out / "a.flo")),
        ("a_occluded.png", ("-o", out / "a.flo", "--occlusion")),
        ("a_backward.mp4", ("-o", out / "a.mp4", "--backward")),
        ("000000_flow.flo", ("-o", out)),
        ("000000_flow_y.png", ("-o", out, "--format", "bounded8")),
        ("flow.mp4", ("-o", out, "--format", "video")),
        ("said.json", ("-o", out, "--json", out / "said.json")),
    ]
    for name, words in cases:
        (out / name).write_bytes(kept)
        assert_refused(kinema("flow", *pair, *words, *QUICK), name, "--overwrite")
        assert (out / name).read_bytes() == kept
        assert tree(out) == [name]
        (out / name).unlink()


def test_existing_files_of_a_later_pair_are_seen_before_work(kinema: Command, tmp_path: Path) -> None:
    source = clips.ntsc_clip(tmp_path / "clip.mp4", frames=5)
    out = tmp_path / "out"
    out.mkdir()
    (out / "000003_flow.flo").write_bytes(b"precious")
    assert_refused(
        kinema("flow", source, "-o", out, "--format", "flo", *QUICK), "000003_flow.flo", "--overwrite"
    )
    assert tree(out) == ["000003_flow.flo"]


def test_an_input_is_never_replaced(kinema: Command, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    before = pair[0].read_bytes()
    assert_refused(kinema("flow", *pair, "-o", pair[0], "--overwrite"), "a.png", "input")
    source = clips.ntsc_clip(tmp_path / "clip.mp4", frames=3)
    assert_refused(kinema("flow", source, "-o", source, "--overwrite"), "clip.mp4", "input")
    assert pair[0].read_bytes() == before


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--model", "raft"), ("unknown model 'raft'", "known: tvnet")),
        (("--model", "tvnett"), ("did you mean tvnet",)),
        (("--tile", -5), ("--tile", "at least 64")),
        (("--tile", "big"), ("--tile", "whole number")),
        (("--model", "tvnet", "--preset", "corected"), ("did you mean corrected",)),
        (("--model", "tvnet", "--weights", "w.safetensors"), ("w.safetensors", "no such file")),
        (("--model", "tvnet", "--precision", "bf16"), ("--precision bf16", "fp32 only")),
        (("--warps", 3), ("--warps is no setting of pwcnet", "add --model tvnet")),
        (("--warm-start",), ("--warm-start: pwcnet cannot start", "add --model tvnet")),
        (("--refine", "tvl2"), ("--refine", "tvl1")),
        (("--precision", "fp64"), ("--precision", "fp64")),
        (("--device", "gpu"), ("--device gpu", "cpu")),
        (("--format", "exr"), ("--format", "exr")),
        (("--format", "viz", "--format", "png16"), ("same name",)),
        (("--codec", "vp9"), ("--codec", "video")),
        (("--side-by-side", "--format", "flo"), ("--side-by-side",)),
        (("--iterations", 0), ("--iterations", "at least 1")),
        (("--stride", 0), ("--stride", "at least 1")),
        (("--max-side", 0), ("--max-side", "at least 1")),
        (("--max-side", 2), ("too small",)),
        (("--bound", 0), ("--bound", "more than 0")),
        (("--backwards",), ("--backwards", "did you mean --backward")),
    ],
)
def test_wrong_options(
    kinema: Command,
    tmp_path: Path,
    pair: tuple[Path, Path],
    words: tuple[object, ...],
    parts: tuple[str, ...],
) -> None:
    assert_refused(kinema("flow", *pair, "-o", tmp_path / "out", *words), *parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("out", "words", "parts"),
    [
        ("a.xyz", (), (".xyz", "suffix")),
        ("a.avi", (), (".avi", "suffix")),
        ("a.flo", ("--format", "viz"), ("--format viz", "a.flo")),
        ("a.flo", ("--format", "flo", "--format", "npz"), ("one format",)),
        ("a.png", ("--format", "bounded8"), ("bounded8",)),
    ],
)
def test_wrong_suffixes(
    kinema: Command,
    tmp_path: Path,
    pair: tuple[Path, Path],
    out: str,
    words: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    assert_refused(kinema("flow", *pair, "-o", tmp_path / out, *words), *parts)
    assert tree(tmp_path) == ["in", "in/a.png", "in/b.png"]


def test_one_file_for_several_pairs(kinema: Command, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    source = clips.ntsc_clip(tmp_path / "clip.mp4", frames=3)
    for inputs in ((*pair, pair[0]), (source,)):
        assert_refused(kinema("flow", *inputs, "-o", tmp_path / "a.flo"), "several pairs", "folder")
    other = clips.ntsc_clip(tmp_path / "other.mp4", frames=3)
    assert_refused(kinema("flow", source, other, "-o", tmp_path / "a.mp4"), "several videos", "folder")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "kinema-test", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("words", [("--format", "flo"), ("--format", "video"), ("--format", "viz")])
def test_full_disk(kinema: Command, tmp_path: Path, tiny_disk: Path, words: tuple[str, ...]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 120, 160, 3)).astype(np.uint8)
    for index, image in enumerate(noise):
        write_image(tmp_path / "in" / f"{index}.png", image)
    (tiny_disk / "other").write_bytes(b"\0" * 60_000)  # somebody else's
    ended = kinema("flow", tmp_path / "in", "-o", tiny_disk / "out", *words, *QUICK)
    assert_refused(ended, "no space left")
    left = [path for path in tiny_disk.rglob("*") if path.is_file() and path.name != "other"]
    assert [path for path in left if path.name.startswith(".")] == []
    assert len(left) < 2


def test_full_disk_for_the_report_of_an_evaluation(kinema: Command, tmp_path: Path, tiny_disk: Path) -> None:
    """The sentence names the file that was asked for, not the temporary one."""
    scenes = flow_trees.middlebury(tmp_path / "mb", {"A": flow_trees.constant((20, 24), 3, 4)})
    (tiny_disk / "fill").write_bytes(bytes(2**16))
    said = tiny_disk / "said.json"
    ended = kinema("evaluate", "zero", "--data", f"middlebury:{scenes}", "--json", said, "-q")
    assert_refused(ended, f"error: {said} cannot be written: no space left")
    assert tree(tiny_disk) == ["fill"]


def test_files_larger_than_allowed(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    """The same through a limit of the process, where nothing can be mounted."""
    limit = 4096  # a .flo of 32x40 pixels has 10,252 bytes
    running = process(
        "flow",
        *pair,
        "-o",
        tmp_path / "out",
        *QUICK,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    out, err = running.communicate(timeout=120)
    assert_refused(Ended(running.returncode, out, err), "000000_flow.flo", "cannot be written")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
