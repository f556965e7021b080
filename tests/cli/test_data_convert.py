"""`kinema data convert`: options, refusals, stopping, going on, sharing the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import flow_trees
from helpers.command import Command, process
from helpers.shard_sets import SIZE, chairs, contents
from kinema.cli.main import main


@pytest.fixture
def kinema(capsys):
    return Command(capsys)


@pytest.fixture
def spec(tmp_path):
    return chairs(tmp_path / "chairs", 7)


def many(root: Path, count: int) -> str:
    """A large data set in no time: every pair is a link to the first."""
    flow_trees.flyingchairs(root, [1], flow_trees.constant(SIZE, 1, 2), split=None)
    for number in range(2, count + 1):
        for end in ("flow.flo", "img1.ppm", "img2.ppm"):
            (root / f"data/{number:05d}_{end}").symlink_to(f"00001_{end}")
    return f"flyingchairs:{root}"


def test_the_help_names_the_actions_without_heavy_imports(capsys):
    assert main(["data", "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: kinema data ACTION" in out
    assert "  convert " in out
    assert "  download " in out
    code = (
        "import sys; from kinema.cli.main import main; status = main(['data', 'convert', '--help']); "
        "print([m for m in ('torch', 'cv2', 'kinema.data') if m in sys.modules], file=sys.stderr); "
        "sys.exit(status)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.strip()) == (0, "[]")


def test_a_conversion_and_its_result(kinema, spec, tmp_path):
    out = tmp_path / "out"
    ended = kinema.done("data", "convert", spec, "-o", out, "--num-shards", 3, "--json", tmp_path / "r.json")
    assert ended.out.splitlines()[0].startswith("flyingchairs: 7 samples in 3 shards, ")
    assert ended.out.splitlines()[1] == f"read as --data shards:{out}"
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["samples"], result["shards"], result["written"], result["missing"]) == (7, 3, 3, 0)
    assert result["manifest"] == str(out / "manifest.json")
    evaluated = kinema.done(
        "evaluate", "zero", "--data", f"shards:{out}", "--json", tmp_path / "e.json", "-q"
    )
    assert evaluated.err == ""
    numbers = json.loads((tmp_path / "e.json").read_text())
    direct = kinema.done("evaluate", "zero", "--data", spec, "--json", tmp_path / "d.json", "-q")
    assert direct.err == ""
    assert numbers["metrics"] == json.loads((tmp_path / "d.json").read_text())["metrics"]


def test_doing_it_again_writes_nothing(kinema, spec, tmp_path):
    out = tmp_path / "out"
    kinema.done("data", "convert", spec, "-o", out, "--num-shards", 3)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    ended = kinema.done("data", "convert", spec, "-o", out, "--num-shards", 3)
    assert "0 written, 3 there before" in ended.out
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")} == before


def test_a_damaged_shard_is_made_again(kinema, spec, tmp_path):
    out = tmp_path / "out"
    kinema.done("data", "convert", spec, "-o", out, "--num-shards", 4)
    before = contents(out)
    (out / "flyingchairs@00001.tar").write_bytes(b"short")
    (out / "flyingchairs@00002.index.json").write_bytes(b"{}")
    (out / "flyingchairs@00003.tar").unlink()
    ended = kinema.done("data", "convert", spec, "-o", out, "--num-shards", 4)
    assert "3 written, 1 there before" in ended.out
    assert contents(out) == before


def test_machines_share_the_work(kinema, spec, tmp_path):
    """Shards written one by one, in any order, by the seed's rule, end in the same files."""
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    kinema.done("data", "convert", spec, "-o", whole, "--num-shards", 3)
    for shard, missing in ((2, 2), (0, 1)):
        ended = kinema.done("data", "convert", spec, "-o", shared, "--num_shards", 3, "--shard", shard)
        assert f"1 written, {missing} still missing" in ended.out
        assert not (shared / "manifest.json").exists()
    kinema.done("data", "convert", spec, "-o", shared, "--num-shards", 3, "--shard=1")
    assert contents(shared) == contents(whole)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), ["SPEC and --out are missing"]),
        (("{spec}",), ["--out"]),
        (("{spec}", "-o", "{out}", "--shard", 1), ["--shard 1 needs --num-shards"]),
        (("{spec}", "-o", "{out}", "--shard", 3, "--num-shards", 3), ["counted from 0 to 2"]),
        (("{spec}", "-o", "{out}", "--num-shards", 8), ["there are 7 samples only"]),
        (("{spec}", "-o", "{out}", "--num-shards", 2, "--max-shard-mib", 5), ["exclude each other"]),
        (("{spec},{spec}", "-o", "{out}"), ["names 2 data sets"]),
        (("2*{spec}", "-o", "{out}"), ["a weight is for training mixes"]),
        (("smell:/x", "-o", "{out}"), ["unknown data set 'smell'"]),
        (("procedural", "-o", "{out}", "--max-shard-mib", 5), ["--samples-per-shard"]),
        (("{spec}", "-o", "{out}", "--processes", 0), ["--processes must be at least 1"]),
        (("{spec}", "-o", "{chairs}/data/00001_img1.ppm"), ["is not a folder"]),
        (("{spec}", "-o", "{out}", "--json", "{chairs}"), ["is a folder"]),
    ],
)
def test_mistakes_are_one_line(kinema, spec, tmp_path, words, says):
    places = {"spec": spec, "out": tmp_path / "out", "chairs": tmp_path / "chairs"}
    ended = kinema("data", "convert", *[str(word).format(**places) for word in words])
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    for text in says:
        assert text in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"), [((), "say what to do: "), (("convrt",), "did you mean convert?")]
)
def test_unknown_actions(kinema, words, says):
    ended = kinema("data", *words)
    assert ended.status == 2
    assert says in ended.err


def test_conversions_are_not_mixed(kinema, spec, tmp_path):
    out = tmp_path / "out"
    kinema.done("data", "convert", spec, "-o", out, "--num-shards", 3)
    before = contents(out)
    for words in (
        (spec, "-o", out, "--num-shards", 2),
        (chairs(tmp_path / "more", 8), "-o", out, "--num-shards", 3),
    ):
        ended = kinema("data", "convert", *words)
        assert ended.status == 2
        assert "shards of another conversion" in ended.err
        assert contents(out) == before
    (out / "mine.txt").write_text("mine")
    kinema.done("data", "convert", spec, "-o", out, "--num-shards", 2, "--overwrite")
    assert sorted(path.name for path in out.iterdir()) == [
        "flyingchairs@00000.index.json",
        "flyingchairs@00000.tar",
        "flyingchairs@00001.index.json",
        "flyingchairs@00001.tar",
        "manifest.json",
        "mine.txt",
    ]


def test_a_file_that_cannot_be_read_stops_with_its_name(kinema, spec, tmp_path):
    (tmp_path / "chairs/data/00005_img2.ppm").write_bytes(b"")
    ended = kinema("data", "convert", spec, "-o", tmp_path / "out", "--num-shards", 7)
    assert ended.status == 2
    assert "00005_img2.ppm is empty" in ended.err
    names = [path.name for path in (tmp_path / "out").iterdir()]
    assert len([name for name in names if name.endswith(".tar")]) == 4
    assert not [name for name in names if name.startswith(".") or name == "manifest.json"]


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def begun(out: Path) -> bool:
    """One shard is whole, another is being written."""
    return out.is_dir() and any(out.glob("*.index.json")) and any(out.glob(".*.tar"))


def still_written(out: Path) -> bool:
    before = [path.stat().st_size for path in out.glob(".*.tar")]
    time.sleep(0.5)
    return [path.stat().st_size for path in out.glob(".*.tar")] != before


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_conversion_ends_with_the_same_files(kinema, tmp_path, processes):
    spec = many(tmp_path / "chairs", 3000)
    words = ("data", "convert", spec, "--num-shards", 6, "--processes", processes, "-q")
    kinema.done(*words, "-o", tmp_path / "whole")
    out = tmp_path / "out"
    running = process(*words, "-o", out, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    wait_for(lambda: begun(out))
    running.kill()
    running.communicate()
    wait_for(lambda: not still_written(out))  # its workers leave, too
    assert not (out / "manifest.json").exists()
    left = [path for path in out.iterdir() if path.name.startswith(".")]
    assert left, "it was killed in the middle of a shard"
    kinema.done(*words, "-o", out)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupted_conversion_keeps_whole_shards(tmp_path, processes):
    spec = many(tmp_path / "chairs", 3000)
    out = tmp_path / "out"
    words = ("data", "convert", spec, "-o", out, "--num-shards", 6, "--processes", processes)
    running = process(*words, start_new_session=True)
    wait_for(lambda: begun(out))
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: all processes get it
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.splitlines()[-1].startswith("kinema: interrupted: kept ")
    assert f"whole shards in {out}; the same command goes on" in err
    assert "Traceback" not in err
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_workers_that_fail_say_why_in_one_line(tmp_path, kinema):
    spec = chairs(tmp_path / "chairs", 6)
    (tmp_path / "chairs/data/00004_img2.ppm").write_bytes(b"")
    ended = kinema("data", "convert", spec, "-o", tmp_path / "out", "--num-shards", 3, "--processes", 2, "-q")
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert "00004_img2.ppm is empty" in ended.err
