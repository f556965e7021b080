"""Archives of strangers: what is honest is unpacked whole, what is not leaves nothing behind."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.command import tree
from kinema.data.archives import is_archive, unpack, unpacked_size
from kinema.errors import InputError, OutputError

FILES = {"training/clean/a/1.png": b"one" * 1000, "training/flow/a/1.flo": b"", "readme.txt": b"hello"}


def make_zip(path: Path, files: dict[str, bytes], *, kind: int = stat.S_IFREG) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (kind | 0o4755) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return path


def make_tar(path: Path, files: dict[str, bytes], mode: str = "w:bz2") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(data), 0o4755, 12345
            archive.addfile(info, io.BytesIO(data))
    return path


def special_tar(path: Path, **facts: object) -> Path:
    info = tarfile.TarInfo("inside/x")
    for name, value in facts.items():
        setattr(info, name, value)
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("inside/first"), io.BytesIO(b""))
        archive.addfile(info)
    return path


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_what_is_in_comes_out(tmp_path, out, name):
    modes = {".zip": "", ".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
    mode = modes[Path(name).suffix]
    archive = make_tar(tmp_path / name, FILES, mode) if mode else make_zip(tmp_path / name, FILES)
    counts: list[int] = []
    assert is_archive(name)
    assert unpack(archive, out, progress=counts.append) == 3
    assert {path: (out / path).read_bytes() for path in FILES} == FILES
    assert sum(counts) == sum(map(len, FILES.values()))
    assert unpacked_size(archive) == (None if mode else 3005)
    assert [path for path in tree(out) if path.startswith(".")] == []
    assert not (out / "readme.txt").stat().st_mode & (stat.S_ISUID | 0o111), "rights are not taken over"


def test_two_archives_fill_one_tree(tmp_path, out):
    unpack(make_zip(tmp_path / "a.zip", {"training/clean/1.png": b"1"}), out)
    unpack(make_zip(tmp_path / "b.zip", {"training/flow/1.flo": b"2", "training/clean/1.png": b"1"}), out)
    assert tree(out) == [
        "training",
        "training/clean",
        "training/clean/1.png",
        "training/flow",
        "training/flow/1.flo",
    ]


def test_a_file_that_is_in_the_way(tmp_path, out):
    out.mkdir()
    (out / "readme.txt").write_text("mine")
    archive = make_zip(tmp_path / "a.zip", FILES)
    with pytest.raises(OutputError, match=r"readme\.txt is there and is not the archive's; add --overwrite"):
        unpack(archive, out)
    assert tree(out) == ["readme.txt"]
    assert (out / "readme.txt").read_text() == "mine"
    unpack(archive, out, overwrite=True)
    assert (out / "readme.txt").read_bytes() == b"hello"


def test_leftovers_of_a_killed_call_are_removed(tmp_path, out):
    archive = make_zip(tmp_path / "a.zip", FILES)
    (out / ".a.zip.unpacking/old").mkdir(parents=True)
    (out / ".a.zip.unpacking/old/x").write_text("x")
    unpack(archive, out)
    assert sorted(path.name for path in out.iterdir()) == ["readme.txt", "training"]


# The last one cannot be in a tar, whose names end at the first NUL.
HOSTILE = ["../x", "a/../../x", "/etc/x", "//x", "a/..", "C:/x", "c:x", "a\\..\\x", "..\\x", "a\nb", "a\0b"]


@pytest.mark.parametrize(
    ("kind", "name"), [*(("zip", name) for name in HOSTILE), *(("tar", name) for name in HOSTILE[:-1])]
)
def test_names_that_lead_outside(tmp_path, out, kind, name):
    files = {"good.txt": b"good", name: b"bad"}
    archive = (
        make_zip(tmp_path / "a.zip", files) if kind == "zip" else make_tar(tmp_path / "a.tar", files, "w")
    )
    if "\0" in name:  # zipfile cuts such names when it writes them
        other = make_zip(tmp_path / "b.zip", {"good.txt": b"good", "aXb": b"bad"})
        archive.write_bytes(other.read_bytes().replace(b"aXb", b"a\0b"))
    with pytest.raises(InputError, match="would be written outside of its folder"):
        unpack(archive, out)
    assert tree(out) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".zip") in (
        ["out"],
        ["a.tar", "out"],
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.SYMTYPE, "linkname": "first"},
        {"type": tarfile.LNKTYPE, "linkname": "inside/first"},
        {"type": tarfile.LNKTYPE, "linkname": "../../x"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.BLKTYPE},
    ],
)
def test_links_and_devices_in_a_tar(tmp_path, out, facts):
    with pytest.raises(InputError, match="is a link or device"):
        unpack(special_tar(tmp_path / "a.tar", **facts), out)
    assert tree(out) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(tmp_path, out, kind):
    with pytest.raises(InputError, match="is a link or device"):
        unpack(make_zip(tmp_path / "a.zip", {"x": b"/etc/passwd"}, kind=kind), out)
    assert tree(out) == []


def test_a_link_followed_by_a_file_below_it(tmp_path, out):
    """The classic: x -> /somewhere, then x/file."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("x")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        member = tarfile.TarInfo("x/bad")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"bad"))
    with pytest.raises(InputError):
        unpack(tmp_path / "a.tar", out)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_name_that_is_there_twice(tmp_path, out, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        once = make_zip(tmp_path / "once.zip", {"a": b"1", "b": b"2"})
        path.write_bytes(once.read_bytes().replace(b"b", b"a"))
    else:
        with tarfile.open(path, "w") as archive:
            for name in ("a", "./a"):
                archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    with pytest.raises(InputError, match="twice"):
        unpack(path, out)
    assert tree(out) == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.8])
def test_archives_that_are_cut_off(tmp_path, out, name, cut):
    noise = {f"f{i}": os.urandom(5000) for i in range(6)}
    modes = {".tar": "w", ".gz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}
    mode = modes.get(Path(name).suffix)
    archive = make_tar(tmp_path / name, noise, mode) if mode else make_zip(tmp_path / name, noise)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(cut * len(data)) if isinstance(cut, float) else cut])
    with pytest.raises(InputError) as caught:
        unpack(archive, out)
    assert str(archive) in str(caught.value)
    assert tree(out) == []


def test_a_flipped_bit_is_noticed(tmp_path, out):
    archive = make_zip(tmp_path / "a.zip", FILES)
    data = bytearray(archive.read_bytes())
    data[50] ^= 1
    archive.write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        unpack(archive, out)
    assert tree(out) == []


def test_an_archive_with_a_password(tmp_path, out):
    archive = make_zip(tmp_path / "a.zip", {"a": b"1"})
    data = archive.read_bytes()
    place = data.index(b"PK\1\2")
    archive.write_bytes(data[:6] + b"\1" + data[7 : place + 8] + b"\1" + data[place + 9 :])
    with pytest.raises(InputError, match=r"password|encrypted"):
        unpack(archive, out)


def test_nothing_at_all(tmp_path, out):
    with pytest.raises(InputError, match="holds no files"):
        unpack(make_zip(tmp_path / "a.zip", {}), out)
    (tmp_path / "b.zip").write_text("<html>")
    with pytest.raises(InputError, match="no archive"):
        unpack(tmp_path / "b.zip", out)


def test_what_only_one_system_knows_is_left_out(tmp_path, out):
    files = {"a.txt": b"1", "__MACOSX/._a.txt": b"2", "b/.DS_Store": b"3"}
    assert unpack(make_zip(tmp_path / "a.zip", files), out) == 1
    assert tree(out) == ["a.txt"]


def test_a_folder_below_that_leads_elsewhere(tmp_path, out):
    """What the user has linked is the user's wish."""
    (tmp_path / "large").mkdir()
    out.mkdir()
    (out / "training").symlink_to(tmp_path / "large")
    unpack(make_zip(tmp_path / "a.zip", FILES), out)
    assert (tmp_path / "large/clean/a/1.png").read_bytes() == FILES["training/clean/a/1.png"]


@pytest.fixture
def tiny_disk(tmp_path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=256k", "kinema-test", str(folder)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("kind", ["zip", "tar.bz2"])
def test_a_full_disk_leaves_nothing(tmp_path, tiny_disk, kind):
    files = {f"a/{i}": bytes(60_000) for i in range(9)}
    make = make_zip if kind == "zip" else make_tar
    archive = make(tmp_path / f"a.{kind}", files)
    with pytest.raises(OutputError, match="no space left on the device"):
        unpack(archive, tiny_disk / "out")
    assert tree(tiny_disk) == ["out"]


def test_a_linked_folder_on_another_disk(tmp_path, tiny_disk, out):
    out.mkdir()
    (out / "training").symlink_to(tiny_disk)
    unpack(make_zip(tmp_path / "a.zip", FILES), out)
    assert (tiny_disk / "clean/a/1.png").read_bytes() == FILES["training/clean/a/1.png"]
