"""Atomic writing: whole or not at all, and one plain sentence for whatever the system refuses."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kinema.errors import InputError, KinemaError, OutputError
from kinema.io.files import file_size, read_bytes, reading, replacing, write_bytes, write_json


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_whole_file_through_hidden_name_in_same_folder(tmp_path):
    target = tmp_path / "new" / "deep" / "a.tar.gz"
    with replacing(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".gz"
        assert temporary.name.startswith(".")
        assert not target.exists()
        temporary.write_bytes(b"x" * 1000)
    assert target.read_bytes() == b"x" * 1000
    assert names(target.parent) == ["a.tar.gz"]


def test_two_writers_at_once_have_different_names(tmp_path):
    with replacing(tmp_path / "a") as one, replacing(tmp_path / "a") as other:
        assert one != other
        one.write_bytes(b"1")
        other.write_bytes(b"2")
    assert (tmp_path / "a").read_bytes() == b"1"  # the outer one ends last


@pytest.mark.parametrize("problem", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), OSError("odd")])
def test_any_exception_leaves_the_old_file_and_nothing_else(tmp_path, problem):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with pytest.raises(type(problem)) as caught, replacing(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise problem
    assert caught.value is problem
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.bin"]


def test_existing_file_needs_overwrite(tmp_path):
    target = tmp_path / "a.json"
    write_bytes(target, b"1", overwrite=False)
    with pytest.raises(OutputError, match="exists; add --overwrite"):
        write_bytes(target, b"2", overwrite=False)
    assert target.read_bytes() == b"1"
    write_bytes(target, b"2")
    assert target.read_bytes() == b"2"


def test_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    target = tmp_path / "a"
    with pytest.raises(OutputError, match="exists"), replacing(target, overwrite=False) as temporary:  # noqa: PT012
        temporary.write_bytes(b"mine")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_access_rights_follow_the_umask(tmp_path, mask):
    old = os.umask(mask)
    try:
        write_bytes(tmp_path / "a", b"1")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def test_symbolic_link_is_followed(tmp_path):
    real = tmp_path / "real" / "a.txt"
    real.parent.mkdir()
    real.write_bytes(b"old")
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    write_bytes(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_long_names_work_up_to_the_system_limit(tmp_path):
    target = tmp_path / ("ü" * 123 + ".bin")  # 250 bytes
    write_bytes(target, b"1")
    assert names(tmp_path) == [target.name]
    with pytest.raises(OutputError, match="too long"):
        write_bytes(tmp_path / ("n" * 300), b"1")


def test_target_that_is_a_folder(tmp_path):
    with pytest.raises(OutputError, match="is a folder; name a file"):
        write_bytes(tmp_path, b"1")


def test_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"1")
    for target in (tmp_path / "file" / "a", tmp_path / "file" / "b" / "a"):
        with pytest.raises(OutputError, match="a part of its path is a file"):
            write_bytes(target, b"1")
    assert names(tmp_path) == ["file"]


def test_circle_of_links(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OutputError):
        write_bytes(tmp_path / "a" / "c", b"1")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_device_is_never_replaced():
    with pytest.raises(OutputError, match="not a regular file"):
        write_bytes("/dev/null", b"1")
    assert not Path("/dev/null").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_disk_in_the_body_names_the_target(tmp_path):
    target = tmp_path / "a.bin"
    with (
        pytest.raises(OutputError, match=r"a\.bin cannot be written: no space left") as caught,
        replacing(target),
        Path("/dev/full").open("wb") as full,
    ):
        full.write(b"x" * 100_000)
    assert isinstance(caught.value.__cause__, OSError)
    assert names(tmp_path) == []


def test_file_size_limit_is_reported(tmp_path):
    script = (
        "import resource, sys\n"
        "from kinema.io.files import write_bytes\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_bytes(sys.argv[1], bytes(5000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a")], capture_output=True, text=True, check=False
    )
    assert "OutputError" in done.stderr
    assert "larger than this system" in done.stderr
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX access rights")
def test_folder_without_write_access(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    script = (
        "import os, sys\n"
        "from kinema.io.files import write_bytes\n"
        "if os.geteuid() == 0:\n"
        "    os.setuid(65534)\n"  # access rights do not bind root
        "write_bytes(sys.argv[1], b'1')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(closed / "a")], capture_output=True, text=True, check=False
    )
    assert "OutputError" in done.stderr
    assert "a cannot be written: permission denied" in done.stderr
    assert names(closed) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EDQUOT, "quota"), (errno.EACCES, "permission denied"), (errno.EROFS, "read-only")],
)
def test_what_a_library_raises_in_the_body_becomes_an_output_error(tmp_path, code, words):
    with (
        pytest.raises(OutputError, match=rf"a\.mp4 cannot be written: .*{words}"),
        replacing(tmp_path / "a.mp4") as temporary,
    ):
        raise OSError(code, os.strerror(code), str(temporary))
    assert names(tmp_path) == []


def test_refusal_of_another_file_is_not_blamed_on_the_target(tmp_path):
    other = tmp_path / "input.mp4"
    with pytest.raises(PermissionError) as caught, replacing(tmp_path / "a.mp4"):
        raise PermissionError(errno.EACCES, "denied", str(other))
    assert caught.value.filename == str(other)


def test_json_is_strict_and_readable(tmp_path):
    data = {
        "epe": np.float32(0.5),
        "none": None,
        "nan": float("nan"),
        "counts": {"pairs": np.int64(3), "ok": np.bool_(True)},
        "rate": Fraction(30000, 1001),
        "path": Path("a/b"),
        "list": (1, float("-inf"), "ü"),
        "array": np.array([[1.0, np.nan]]),
    }
    write_json(tmp_path / "r.json", data)
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    assert text.endswith("}\n")
    assert "ü" in text
    assert json.loads(text, parse_constant=pytest.fail) == {
        "epe": 0.5,
        "none": None,
        "nan": None,
        "counts": {"pairs": 3, "ok": True},
        "rate": "30000/1001",
        "path": "a/b",
        "list": [1, None, "ü"],
        "array": [[1.0, None]],
    }


def test_reading_says_what_is_wrong(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(InputError, match=r"absent: no such file"):
        read_bytes(tmp_path / "absent")
    with pytest.raises(InputError, match="is a folder"):
        read_bytes(tmp_path)
    with pytest.raises(InputError, match="is empty"):
        read_bytes(tmp_path / "empty")
    with pytest.raises(InputError, match="cannot be read"):
        read_bytes(tmp_path / "file" / "below")
    assert read_bytes(tmp_path / "file") == b"12345"
    assert read_bytes(tmp_path / "file", count=2) == b"12"
    assert file_size(tmp_path / "file") == 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipe_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        read_bytes(tmp_path / "pipe")


def test_reading_leaves_other_errors_alone():
    with pytest.raises(KinemaError, match="denied"), reading("x.flo"):
        raise PermissionError(errno.EACCES, "denied")
    with pytest.raises(ValueError, match="mine"), reading("x.flo"):
        raise ValueError("mine")
