"""`kinema data synth`: options, refusals, going on, several processes; other commands take the result."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from helpers.command import Command, process
from helpers.flow_trees import write_flo
from kinema.apps.data_synth_config import LayoutName
from kinema.cli.main import main
from kinema.data import open_flow, parse_spec
from kinema.data.synth.folder import STATE
from kinema.data.synth.plan import FACTS, LAYOUT_NAMES


@pytest.fixture
def kinema(capsys):
    return Command(capsys)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that is no book-keeping."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and STATE not in path.parts
    }


def chairs(out: Path, count: int, *more: object) -> list[object]:
    return [
        "data",
        "synth",
        "--layout",
        "flyingchairs",
        "--count",
        count,
        "--size",
        "64x64",
        "-o",
        out,
        *more,
    ]


def test_the_help_comes_without_heavy_imports():
    code = (
        "import sys; from kinema.cli.main import main; status = main(['data', 'synth', '--help']); "
        "print([m for m in ('torch', 'cv2', 'kinema.data') if m in sys.modules], file=sys.stderr); "
        "sys.exit(status)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.strip()) == (0, "[]")
    assert "kitti-odometry" in ended.stdout


def test_the_command_knows_every_layout():
    assert get_args(LayoutName) == LAYOUT_NAMES == tuple(FACTS)


def test_a_written_folder_says_what_it_is_and_how_to_make_it_again(kinema, tmp_path):
    out = tmp_path / "chairs"
    ended = kinema.done(*chairs(out, 2, "--json", tmp_path / "r.json"))
    assert ended.out.splitlines() == [
        f"flyingchairs: 2 pairs; 2 written -> {out}",
        f"read as --data flyingchairs:{out}",
    ]
    text = (out / "README.txt").read_text()
    assert "not the published data set" in text
    words = "kinema data synth --layout flyingchairs --count 2 --seed 0 --size 64x64 --frames 2"
    assert words in text
    again = tmp_path / "again"
    kinema.done(*words.split()[1:], "-o", again)
    assert contents(again) == contents(out)
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["written"], result["unit"], result["settings"]["size_hw"]) == (2, "pair", [64, 64])


def test_a_larger_count_adds_and_damage_is_mended(kinema, tmp_path):
    out, whole = tmp_path / "out", tmp_path / "whole"
    kinema.done(*chairs(out, 2))
    (out / "data/00001_flow.flo").unlink()
    kept = (out / "data/00002_flow.flo").stat().st_mtime_ns
    ended = kinema.done(*chairs(out, 3))
    assert ended.out.startswith("flyingchairs: 3 pairs; 2 written, 1 there before")
    assert (out / "data/00002_flow.flo").stat().st_mtime_ns == kept
    kinema.done(*chairs(whole, 3))
    assert contents(out) == contents(whole)


def test_seeds_and_layouts_differ(kinema, tmp_path):
    kinema.done(*chairs(tmp_path / "a", 1))
    kinema.done(*chairs(tmp_path / "b", 1, "--seed", 1))
    words = ["data", "synth", "--layout", "middlebury", "--count", 1, "--size", "64x64"]
    kinema.done(*words, "-o", tmp_path / "c")
    first, second = (contents(tmp_path / name)["data/00001_flow.flo"] for name in "ab")
    assert first != second
    assert contents(tmp_path / "c")["other-gt-flow/Dimetrodon/flow10.flo"] not in (first, second)


def test_processes_write_the_same_bytes(kinema, tmp_path):
    kinema.done(*chairs(tmp_path / "one", 3))
    kinema.done(*chairs(tmp_path / "two", 3, "--processes", 2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_other_settings_are_refused_and_overwritten_without_touching_other_files(kinema, tmp_path):
    out = tmp_path / "out"
    kinema.done(*chairs(out, 2))
    (out / "data/mine.txt").write_text("mine")
    (out / "data/00002_flow.flo").write_bytes(b"changed by hand")
    before = contents(out)
    ended = kinema(*chairs(out, 1, "--seed", 5))
    assert ended.status == 2
    assert "holds rendered data of seed 0" in ended.err
    assert "--overwrite" in ended.err
    assert contents(out) == before
    kinema.done(*chairs(out, 1, "--seed", 5, "--overwrite"))
    after = contents(out)
    assert sorted(after) == [
        "README.txt",
        "data/00001_flow.flo",
        "data/00001_img1.ppm",
        "data/00001_img2.ppm",
        "data/00002_flow.flo",
        "data/mine.txt",
    ]
    assert (after["data/mine.txt"], after["data/00002_flow.flo"]) == (b"mine", b"changed by hand")


def test_a_folder_of_other_files_is_refused_even_with_overwrite(kinema, tmp_path):
    (tmp_path / "photo.png").write_bytes(b"x")
    for more in ([], ["--overwrite"]):
        ended = kinema(*chairs(tmp_path, 1, *more))
        assert ended.status == 2
        assert "name a new or empty folder" in ended.err
    assert contents(tmp_path) == {"photo.png": b"x"}


def test_a_file_in_the_way_is_not_replaced(kinema, tmp_path):
    kinema.done(*chairs(tmp_path, 1))
    (tmp_path / "data/00002_img1.ppm").write_bytes(b"mine")
    ended = kinema(*chairs(tmp_path, 2))
    assert ended.status == 2
    assert "00002_img1.ppm is in the way" in ended.err
    assert (tmp_path / "data/00002_img1.ppm").read_bytes() == b"mine"
    assert not (tmp_path / "data/00002_flow.flo").exists()


def test_edited_books_reach_no_file_outside(kinema, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other.txt"
    kinema.done(*chairs(out, 1))
    other.write_text("mine")
    book = {"files": {"../other.txt": 4, str(other): 4}}
    (out / STATE / "samples/000007.json").write_text(json.dumps(book))
    kinema.done(*chairs(out, 1, "--overwrite"))
    assert other.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--layout vid4 --count 5", "vid4 has names for 4 clips"),
        ("--layout vid4 --count 1 --size 66x64", "in multiples of 4"),
        ("--layout sintel --count 1 --size 32x64", "64 to 2048 pixels a side"),
        ("--layout middlebury --count 1 --frames 3", "a pair of middlebury has 2 frames"),
        ("--layout kitti2015 --count 1 --frames 22", "has 2 to 21 frames"),
        ("--layout sintel --count 1 --size big", "write height and width"),
        ("--layout kitti --count 1", "kitti2015"),
        ("--layout sintel --count 1 --textures nowhere", "no such folder"),
    ],
)
def test_what_a_layout_does_not_have_is_said_in_one_line(kinema, tmp_path, words, said):
    ended = kinema("data", "synth", *words.split(), "-o", tmp_path / "out")
    assert ended.status == 2
    assert said in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "blow"), [(1, signal.SIGINT), (2, signal.SIGINT), (2, signal.SIGKILL)])
def test_a_stopped_command_goes_on(kinema, tmp_path, processes, blow):
    out = tmp_path / "out"
    words = chairs(out, 40, "--processes", processes)
    running = process(*words)
    while not (out / "data").is_dir() or len(list((out / "data").iterdir())) < 6:
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    running.send_signal(blow)
    _, err = running.communicate(timeout=60)
    if blow == signal.SIGINT:
        assert running.returncode == 130
        assert "the same command goes on" in err
    deadline = time.monotonic() + 20
    while True:  # workers of a killed command leave by themselves
        books = sorted((out / STATE / "samples").iterdir())
        time.sleep(1)
        if books == sorted((out / STATE / "samples").iterdir()) or time.monotonic() > deadline:
            break
    assert len(books) < 40
    kinema.done(*words)
    kinema.done(*chairs(tmp_path / "whole", 40))
    assert contents(out) == contents(tmp_path / "whole")
    assert not (out / STATE / "parts").exists()


def test_a_folder_of_pictures_changes_the_scenes(kinema, tmp_path):
    import cv2

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    cv2.imwrite(str(pictures / "a.png"), noise)
    kinema.done(*chairs(tmp_path / "a", 1))
    kinema.done(*chairs(tmp_path / "b", 1, "--textures", pictures))
    plain, cut = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert plain["data/00001_img1.ppm"] != cut["data/00001_img1.ppm"]
    assert f"--textures {pictures}" in cut["README.txt"].decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layout", "spec", "metric"),
    [("sintel", "sintel-final", "epe"), ("kitti2015", "kitti2015", "fl_all")],
)
def test_evaluation_and_check_take_what_was_written(kinema, tmp_path, layout, spec, metric):
    out, words = tmp_path / layout, ["--count", 1, "--frames", 2, "--size", "64x96"]
    kinema.done("data", "synth", "--layout", layout, *words, "-o", out)
    kinema.done("data", "check", f"{spec}:{out}")
    scores = {}
    for scale in (0.0, 1.0):
        predicted = tmp_path / f"predicted{scale}"
        dataset = open_flow(parse_spec(f"{spec}:{out}")[0])
        name = {"sintel": "alley_1/frame_0001.flo", "kitti2015": "000000_10.flo"}[layout]
        write_flo(predicted / name, np.float32(scale) * dataset[0].flow)
        report = tmp_path / "r.json"
        kinema.done(
            "evaluate", "--predictions", predicted, "--data", f"{spec}:{out}", "--json", report, "--overwrite"
        )
        scores[scale] = json.loads(report.read_text())["metrics"]
    sample = open_flow(parse_spec(f"{spec}:{out}")[0])[0]
    mean = float(np.hypot(*np.moveaxis(sample.flow, 2, 0))[sample.valid].mean())
    assert scores[1.0][metric] == pytest.approx(0, abs=1e-6)
    assert scores[0.0]["epe" if "epe" in scores[0.0] else "epe_all"] == pytest.approx(mean, rel=1e-3)
    shutil.rmtree(tmp_path / "predicted0.0")
    kinema.done("evaluate", "tvnet", "--data", f"{spec}:{out}", "--json", report, "--overwrite")
    assert 0 < json.loads(report.read_text())["metrics"]["epe"] < mean
    assert main(["data", "check", f"{spec}:{out}", "-q"]) == 0
