"""`kinema data download`: what is shown, fetched, unpacked, kept and remembered."""

from __future__ import annotations

import json
import signal
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.command import Command, process, tree
from helpers.web import serving
from kinema.data import download

SHARP = {f"train/train_sharp/000/{i:08d}.png": bytes([i]) * 100 for i in range(3)}
LOW = {f"train/train_sharp_bicubic/X4/000/{i:08d}.png": bytes([i]) * 10 for i in range(3)}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(download, "_FIRST_PAUSE_S", 0.0)


@pytest.fixture
def kinema(capsys):
    return Command(capsys)


def pack(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@pytest.fixture
def site(tmp_path):
    pack(tmp_path / "site/train_sharp.zip", SHARP)
    pack(tmp_path / "site/train_sharp_bicubic.zip", LOW)
    with serving(tmp_path / "site") as served:
        yield served


@pytest.fixture
def reds(site, tmp_path):
    """The words of a command that fetches from this machine."""
    return ("data", "download", "reds", "--mirror", site.url, "-o", tmp_path / "reds")


def files_of(folder: Path) -> dict[str, bytes]:
    visible = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in visible}


def test_parts_are_fetched_and_unpacked(kinema, reds, tmp_path):
    ended = kinema.done(*reds, "train_sharp", "train-sharp-bicubic", "--json", tmp_path / "r.json")
    assert files_of(tmp_path / "reds") == {**SHARP, **LOW}
    assert ended.out.splitlines()[-1] == f"reds -> {tmp_path / 'reds'}"
    assert "train_sharp          " in ended.out
    assert "3 files" in ended.out
    assert "terms of use: CC BY 4.0; see https://seungjunnah.github.io" in ended.err
    result = json.loads((tmp_path / "r.json").read_text())
    assert [(part["part"], part["files"]) for part in result["parts"]] == [
        ("train_sharp", 3),
        ("train_sharp_bicubic", 3),
    ]
    assert [name for name in tree(tmp_path / "reds") if name.startswith(".")] == [".downloads.json"]


def test_the_publishers_own_options_name_the_parts(kinema, site, tmp_path):
    out = tmp_path / "reds"
    words = ("--train_sharp", "--mirror", site.url, "-o", out, "--train_sharp_bicubic")
    kinema.done("data", "download", "reds", *words)
    assert files_of(out) == {**SHARP, **LOW}


def test_what_is_there_is_not_fetched_again(kinema, reds, site, tmp_path):
    kinema.done(*reds, "train_sharp")
    site.seen.clear()
    ended = kinema.done(*reds, "train_sharp")
    assert "was there" in ended.out
    assert site.seen == []
    kinema.done(*reds, "train_sharp", "--overwrite")
    assert len(site.seen) == 1
    assert files_of(tmp_path / "reds") == SHARP


def test_archives_can_be_kept_and_brought_by_hand(kinema, reds, site, tmp_path):
    out = tmp_path / "reds"
    kinema.done(*reds, "train_sharp", "--keep-archive")
    assert set(files_of(out)) == {*SHARP, "train_sharp.zip"}
    (out / "train_sharp_bicubic.zip").write_bytes((site.folder / "train_sharp_bicubic.zip").read_bytes())
    site.seen.clear()
    kinema.done(*reds, "train_sharp_bicubic")
    assert site.seen == []
    assert {**SHARP, **LOW}.items() <= files_of(out).items()
    assert not (out / "train_sharp_bicubic.zip").exists()


def test_a_dry_run_shows_addresses_and_sizes(kinema, site, tmp_path):
    ended = kinema.done("data", "download", "reds", "--dry-run", "--mirror", site.url)
    lines = ended.out.splitlines()
    size = (site.folder / "train_sharp.zip").stat().st_size
    assert lines[0].split() == ["train_sharp", f"{size}", "bytes", f"{site.url}/train_sharp.zip"]
    assert len([line for line in lines if site.url in line]) == 14
    assert "(the server says 404 Not Found)" in lines[2]
    assert "terms: CC BY 4.0" in lines
    assert {method for method, _, _ in site.seen} == {"HEAD"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "FAMILY is missing"),
        (("reds",), "--out is missing"),
        (("smell", "-o", "{out}"), "no download is known for 'smell': choose from reds, "),
        (("reds", "-o", "{out}"), "say which part of reds: train_sharp, "),
        (("reds", "smell", "-o", "{out}"), "reds has no part 'smell'"),
        (("vid4", "-o", "{out}"), "vid4 has no address of its own: open https://"),
        (("reds", "train_sharp", "-o", "{out}", "--mirror", "ftp://x"), "--mirror ftp://x"),
        (("reds", "train_sharp", "-o", "{out}", "--smell"), "unknown option --smell"),
        (("reds", "train_sharp", "-o", "/proc/x"), "/proc"),
    ],
)
def test_mistakes_are_one_line(kinema, tmp_path, words, says):
    ended = kinema("data", "download", *[word.format(out=tmp_path / "out") for word in words])
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert says in ended.err
    assert not (tmp_path / "out").exists()


def test_a_missing_file_says_where_to_look(kinema, reds, tmp_path):
    ended = kinema(*reds, "val_sharp", "-q")
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert "404 Not Found" in ended.err
    assert (
        f"open https://seungjunnah.github.io/Datasets/reds and put val_sharp.zip into {tmp_path}" in ended.err
    )
    assert tree(tmp_path / "reds") == []


def test_an_earlier_part_stays_when_a_later_one_fails(kinema, reds, tmp_path):
    assert kinema(*reds, "train_sharp", "val_sharp").status == 2
    assert files_of(tmp_path / "reds") == SHARP
    assert "reds/train_sharp" in json.loads((tmp_path / "reds/.downloads.json").read_text())


def test_a_hostile_archive_leaves_nothing(kinema, reds, site, tmp_path):
    pack(site.folder / "train_sharp.zip", {**SHARP, "../../evil": b"evil"})
    ended = kinema(*reds, "train_sharp", "-q")
    assert ended.status == 2
    assert "'../../evil' would be written outside of its folder" in ended.err
    assert set(files_of(tmp_path / "reds")) == {"train_sharp.zip"}
    assert not list(tmp_path.rglob("evil"))


def test_a_published_size_that_cannot_fit_is_told_before_anything(kinema, tmp_path, monkeypatch):
    free = SimpleNamespace(free=40 * 10**9)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: free)
    ended = kinema("data", "download", "flyingchairs", "-o", tmp_path / "out", "-q")
    assert ended.status == 2
    assert "needs 62.0 GB, 40.0 GB are free there" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_damaged_record_is_told(kinema, reds, tmp_path):
    (tmp_path / "reds").mkdir()
    (tmp_path / "reds/.downloads.json").write_text("[")
    ended = kinema(*reds, "train_sharp")
    assert ended.status == 2
    assert ".downloads.json is damaged: delete it" in ended.err


def test_the_split_list_of_the_chairs_is_no_archive(kinema, site, tmp_path):
    (site.folder / "FlyingChairs_train_val.txt").write_text("1\n2\n")
    kinema.done("data", "download", "flyingchairs", "split", "--mirror", site.url, "-o", tmp_path / "chairs")
    assert (tmp_path / "chairs/FlyingChairs_train_val.txt").read_text() == "1\n2\n"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_download_goes_on(kinema, reds, site, tmp_path, how):
    """The server holds back the end of the file, so that the stop comes in the middle."""
    noise = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
    pack(site.folder / "train_sharp.zip", {"train/x.png": noise})
    site.hold_after = 1_500_000
    running = process(*reds, "train_sharp")
    part = tmp_path / "reds/.train_sharp.zip.part"
    end = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size >= 1_000_000):
        assert time.monotonic() < end
        time.sleep(0.01)
    running.send_signal(how)
    _, err = running.communicate(timeout=60)
    kept = part.stat().st_size
    if how == signal.SIGINT:
        assert running.returncode == 130
        assert "kinema: interrupted: no part is whole yet, 1." in err
        assert f"of train_sharp.zip are kept in {tmp_path / 'reds'}; the same command goes on" in err
    site.hold_after = 0
    site.seen.clear()
    kinema.done(*reds, "train_sharp")
    assert site.asked("range") == [f"bytes={kept}-"]
    assert files_of(tmp_path / "reds") == {"train/x.png": noise}
    assert [name for name in tree(tmp_path / "reds") if name.startswith(".")] == [".downloads.json"]
