"""Fetching over HTTP: broken connections, servers without ranges, changed files, wrong contents."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.web import serving
from kinema.data import FAMILIES, download
from kinema.data.download import arrived, check_room, fetch, human, look
from kinema.data.sources import SOURCES, choose_parts, find_source
from kinema.errors import InputError, OutputError, UsageError

DATA = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(download, "_FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(download, "_CHUNK", 65_536)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/data.zip").write_bytes(DATA)
    with serving(tmp_path / "site") as served:
        yield served


@pytest.fixture
def target(tmp_path):
    return tmp_path / "out" / "data.zip"


def hidden(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path.name.startswith("."))


def test_a_whole_file(site, target):
    counts: list[int] = []
    sizes: list[int | None] = []
    sha = hashlib.sha256(DATA).hexdigest()
    fetch(f"{site.url}/data.zip", target, sha256=sha, progress=counts.append, told_size=sizes.append)
    assert target.read_bytes() == DATA
    assert sum(counts) == len(DATA)
    assert set(sizes) == {len(DATA)}
    assert hidden(target) == []
    assert site.asked("range") == [None]


def test_a_connection_that_breaks_goes_on_where_it_stopped(site, target):
    site.cut_after, site.cuts = 700_000, 3
    counts: list[int] = []
    fetch(f"{site.url}/data.zip", target, progress=counts.append)
    assert target.read_bytes() == DATA
    assert sum(counts) == len(DATA)
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in site.asked("range")[1:]]
    assert starts == [700_000, 1_400_000, 2_100_000]
    assert all(etag and etag.startswith('"') for etag in site.asked("if-range")[1:])


def test_a_later_call_goes_on_too(site, target):
    stop_after(site, cuts=1)
    site.cut_after = 500_000
    with pytest.raises(InputError) as caught:
        fetch(f"{site.url}/data.zip", target)
    assert "kept 500 kB, and the same command goes on from there" in str(caught.value)
    assert not target.exists()
    assert arrived(target) == 500_000
    site.cuts, site.failing = 0, []
    site.seen.clear()
    fetch(f"{site.url}/data.zip", target)
    assert target.read_bytes() == DATA
    assert site.asked("range") == ["bytes=500000-"]


def stop_after(site, cuts: int) -> None:
    """Break the connection so often, and be unreachable afterwards."""
    site.cuts = cuts

    original = site.failing

    class Afterwards(list):
        def __bool__(self):
            return site.cuts == 0

        def pop(self, _index=-1):
            return 503

    site.failing = Afterwards(original)


def test_a_server_without_ranges_begins_anew(site, target):
    site.ranges = False
    site.cut_after, site.cuts = 700_000, 1
    counts: list[int] = []
    fetch(f"{site.url}/data.zip", target, progress=counts.append)
    assert target.read_bytes() == DATA
    assert sum(counts) == len(DATA)
    assert min(counts) == -700_000


def test_a_file_that_changed_in_between_begins_anew(site, target):
    stop_after(site, cuts=1)
    site.cut_after = 700_000
    with pytest.raises(InputError):
        fetch(f"{site.url}/data.zip", target)
    site.failing, site.cuts = [], 0
    other = bytes(reversed(DATA))
    (site.folder / "data.zip").write_bytes(other)
    fetch(f"{site.url}/data.zip", target)
    assert target.read_bytes() == other
    (site.folder / "data.zip").write_bytes(DATA)


def test_a_server_that_names_no_version_is_not_trusted(site, target):
    site.validators = False
    stop_after(site, cuts=1)
    site.cut_after = 700_000
    with pytest.raises(InputError):
        fetch(f"{site.url}/data.zip", target)
    site.failing, site.cuts = [], 0
    site.seen.clear()
    fetch(f"{site.url}/data.zip", target)
    assert target.read_bytes() == DATA
    assert site.asked("range") == [None]


def test_a_file_that_became_shorter(site, target):
    stop_after(site, cuts=1)
    site.cut_after = 700_000
    with pytest.raises(InputError):
        fetch(f"{site.url}/data.zip", target)
    site.failing, site.cuts = [416], 0
    fetch(f"{site.url}/data.zip", target)
    assert target.read_bytes() == DATA


def test_a_server_that_does_not_say_how_long(site, target):
    site.length = False
    sizes: list[int | None] = []
    fetch(f"{site.url}/data.zip", target, told_size=sizes.append)
    assert target.read_bytes() == DATA
    assert sizes == [None]


def test_all_was_there_but_the_last_step(site, target):
    """Killed between the last byte and the renaming."""
    fetch(f"{site.url}/data.zip", target)
    part, facts = download._partial_names(target)
    stop_after(site, cuts=1)
    site.cut_after = len(DATA) - 1
    target.rename(part)
    facts.write_text(f'{{"url": "{site.url}/data.zip", "validator": "\\"x\\"", "size": {len(DATA)}}}')
    fetch(f"{site.url}/data.zip", target)
    assert target.read_bytes() == DATA
    assert hidden(target) == []


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_missing_file_is_told_at_once_with_advice(site, target, status):
    site.failing = [status] * 3
    with pytest.raises(InputError) as caught:
        fetch(f"{site.url}/data.zip", target, advice="open https://page")
    assert f"the server says {status} " in str(caught.value)
    assert "open https://page" in str(caught.value)
    assert len(site.failing) == 2
    assert list(target.parent.iterdir()) == []


def test_a_busy_server_is_asked_again(site, target):
    site.failing = [503, 429]
    fetch(f"{site.url}/data.zip", target)
    assert target.read_bytes() == DATA


def test_no_server_at_all(target):
    with pytest.raises(InputError, match="Connection refused"):
        fetch("http://127.0.0.1:9/data.zip", target)
    assert look("http://127.0.0.1:9/data.zip").problem == "Connection refused"


def test_a_web_page_is_not_a_file(site, target):
    site.kind = "text/html; charset=utf-8"
    with pytest.raises(InputError, match="answers with a web page"):
        fetch(f"{site.url}/data.zip", target)
    assert list(target.parent.iterdir()) == []


def test_other_kinds_of_address_are_refused(target):
    with pytest.raises(InputError, match="only http"):
        fetch("file:///etc/passwd", target)


def test_a_wrong_checksum_keeps_nothing(site, target):
    with pytest.raises(InputError, match=r"has the SHA-256 .* it was removed"):
        fetch(f"{site.url}/data.zip", target, sha256="0" * 64)
    assert list(target.parent.iterdir()) == []


def test_looking_fetches_nothing(site):
    assert look(f"{site.url}/data.zip").size == len(DATA)
    assert look(f"{site.url}/other.zip").problem == "the server says 404 Not Found"
    assert {method for method, _, _ in site.seen} == {"HEAD"}


def test_an_interruption_keeps_what_has_arrived(site, target):
    def stop(count: int) -> None:
        if count > 0 and arrived(target) > 300_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(f"{site.url}/data.zip", target, progress=stop)
    kept = arrived(target)
    assert 300_000 < kept < len(DATA)
    fetch(f"{site.url}/data.zip", target)
    assert target.read_bytes() == DATA
    assert f"bytes={kept}-" in site.asked("range")


@pytest.fixture
def tiny_disk(tmp_path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "kinema-test", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_too_little_room_is_told_before_the_first_byte(site, tiny_disk):
    (tiny_disk / "other").write_bytes(bytes(1_500_000))
    with pytest.raises(OutputError, match=r"needs 3\.0 MB, .* are free there"):
        fetch(f"{site.url}/data.zip", tiny_disk / "data.zip")
    assert [path.name for path in tiny_disk.iterdir()] == ["other"]


def test_a_disk_that_fills_up_on_the_way_keeps_what_fitted(site, tiny_disk):
    site.length = False  # nobody can know
    (tiny_disk / "other").write_bytes(bytes(2_500_000))
    with pytest.raises(OutputError, match="no space left on the device"):
        fetch(f"{site.url}/data.zip", tiny_disk / "data.zip")
    assert not (tiny_disk / "data.zip").exists()
    assert arrived(tiny_disk / "data.zip") > 1_000_000
    (tiny_disk / "other").unlink()
    site.length = True
    fetch(f"{site.url}/data.zip", tiny_disk / "data.zip")
    assert (tiny_disk / "data.zip").read_bytes() == DATA
    assert site.asked("range")[-1] is not None


def test_room_is_looked_for_where_the_folder_will_be(tmp_path):
    check_room(tmp_path / "not/yet", 1000)
    with pytest.raises(OutputError, match="needs 1000000000"):
        check_room(tmp_path / "not/yet", 10**18)


def test_two_at_once_do_not_mix(site, tmp_path):
    other = tmp_path / "b/data.zip"
    threads = [
        threading.Thread(target=fetch, args=(f"{site.url}/data.zip", path))
        for path in (tmp_path / "a/data.zip", other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.read_bytes() == (tmp_path / "a/data.zip").read_bytes() == DATA


def test_sizes_for_people():
    assert [human(n) for n in (12, 1_500, 2_000_000, 31 * 10**9, 123 * 10**9)] == [
        "12 bytes",
        "1.5 kB",
        "2.0 MB",
        "31.0 GB",
        "123 GB",
    ]


def test_every_source_is_a_family_with_sound_parts():
    for name, source in SOURCES.items():
        assert name == source.family
        assert name in FAMILIES
        names = [part.name for part in source.parts]
        assert len(set(names)) == len(names)
        assert len({part.file for part in source.parts}) == len(names)
        assert set(source.default) <= set(names)
        for part in source.parts:
            assert part.url.startswith(("https://", "http://"))
            assert part.file.endswith((".zip", ".tar.bz2", ".txt"))
            assert part.sha256 is None or len(part.sha256) == 64
        for members in source.groups.values():
            assert set(members) <= set(names)
        assert source.parts or source.note
        assert source.page or source.note


def test_the_reds_parts_are_those_of_its_publishers():
    parts = {part.name: part.url for part in SOURCES["reds"].parts}
    assert len(parts) == 14
    for name in ("train_sharp", "train_sharp_bicubic", "val_sharp", "val_sharp_bicubic"):
        assert parts[name] == f"http://data.cv.snu.ac.kr:8008/webdav/dataset/REDS/{name}.zip"


def test_kitti_raw_has_all_drives_and_their_calibration(shared):
    source = find_source("kitti-raw")
    assert len(source.parts) == 5 + 151 + 5
    chosen = [part.name for part in choose_parts(source, ["2011_09_26_drive_0001", "2011-09-26-drive-0002"])]
    assert chosen == ["2011_09_26_calib", "2011_09_26_drive_0001", "2011_09_26_drive_0002"]
    assert len(choose_parts(source, ["city"])) == 28 + 3
    known = {part.name for part in source.parts}
    lines = (shared / "fixtures/geonet/splits/test_files_eigen.txt").read_text().split()
    assert {line.split("/")[1].removesuffix("_sync") for line in lines if "/" in line} <= known


def test_wrong_names_list_the_right_ones():
    with pytest.raises(UsageError, match="choose from reds, sintel"):
        find_source("smell")
    with pytest.raises(UsageError, match="no part 'smell': there are train_sharp, "):
        choose_parts(find_source("REDS"), ["smell"])
    with pytest.raises(UsageError, match="say which part of reds"):
        choose_parts(find_source("reds"), [])
    with pytest.raises(UsageError, match="vid4 has no address of its own: open https://"):
        choose_parts(find_source("vid4"), [])
    assert [part.name for part in choose_parts(find_source("middlebury"), [])] == ["frames", "flow"]
    assert len(choose_parts(find_source("reds"), ["all"])) == 14
