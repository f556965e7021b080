"""Unpacking zip and tar archives of strangers: nothing leaves the folder, no links, whole or not at all."""

from __future__ import annotations

import filecmp
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from kinema.errors import InputError, OutputError
from kinema.io.files import writing

_CHUNK = 2**20
_DRIVE = re.compile(r"[A-Za-z]:")
_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_JUNK = frozenset({"__MACOSX", ".DS_Store"})
_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,  # a zip with a password
    UnicodeError,
)


@dataclass(frozen=True)
class _Member:
    """A file in an archive, with a name that stays inside the folder."""

    path: PurePosixPath
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(name: str) -> bool:
    """Tell by its name whether a file has to be unpacked.

    Args:
        name: of the file.

    Returns:
        Whether it calls itself a zip or tar archive.
    """
    return name.lower().endswith(_SUFFIXES)


def unpacked_size(archive: Path) -> int | None:
    """Tell how large the content is, where that can be said without reading all of it.

    Args:
        archive: a zip or tar file.

    Returns:
        In bytes; None for tar archives, which may be compressed.

    Raises:
        InputError: when the archive is damaged.
    """
    if not zipfile.is_zipfile(archive):
        return None
    with _damage_told(archive), zipfile.ZipFile(archive) as file:
        return sum(info.file_size for info in file.infolist())


def unpack(
    archive: Path, folder: Path, *, overwrite: bool = False, progress: Callable[[int], None] = lambda _: None
) -> int:
    """Unpack an archive into a folder: first beside it, and only when all is well into its place.

    Every member must be a plain file or folder with a relative name that stays inside; links, devices,
    absolute names, ``..`` and names that are there twice are refused, and with them the whole archive. Rights
    and owners are not taken over. A file that is there already and equal stays.

    Args:
        archive: zip, or tar with any compression of Python's.
        folder: where the members go; folders that are there are filled up.
        overwrite: whether other files of the same name may be replaced.
        progress: told how many bytes were written since the last time.

    Returns:
        How many files it holds.

    Raises:
        InputError: the archive is damaged, or a member is refused; nothing has been unpacked then.
        OutputError: another file of the same name is there, or the disk is full.
    """
    staging = folder / f".{archive.name}.unpacking"
    with writing(folder):
        shutil.rmtree(staging, ignore_errors=True)  # of a call that was killed
        staging.mkdir(parents=True)
    try:
        paths = _unpack_into(staging, archive, progress)
        if not overwrite:
            _check_conflicts(staging, folder, paths)
        _move(staging, folder, paths)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return len(paths)


def _unpack_into(staging: Path, archive: Path, progress: Callable[[int], None]) -> list[PurePosixPath]:
    seen: set[PurePosixPath] = set()
    with _damage_told(archive):
        for member in _members(archive):
            if member.path in seen:
                raise InputError(f"{archive} holds {member.path} twice; it is not unpacked")
            seen.add(member.path)
            _write(staging / member.path, member, archive, progress)
    if not seen:
        raise InputError(f"{archive} holds no files")
    return sorted(seen)


def _write(target: Path, member: _Member, archive: Path, progress: Callable[[int], None]) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    left = member.size
    with file, member.open() as source:
        while data := source.read(_CHUNK):
            left -= len(data)
            if left < 0:
                raise InputError(f"{archive}: {member.path} is longer than it says; it is not unpacked")
            with writing(target):
                file.write(data)
            progress(len(data))
        if left:
            raise InputError(f"{archive} is cut off in {member.path}; fetch it again")
        with writing(target):
            file.flush()


def _members(archive: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            # All names are looked at before the first file is written.
            yield from [m for info in packed.infolist() if (m := _zip_member(packed, info, archive))]
    else:
        with tarfile.open(archive, mode="r:*") as packed_tar:
            while (entry := packed_tar.next()) is not None:
                packed_tar.members.clear()  # type: ignore[attr-defined]  # or it keeps every header
                if (member := _tar_member(packed_tar, entry, archive)) is not None:
                    yield member


def _zip_member(packed: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path) -> _Member | None:
    path = _safe(info.orig_filename, archive)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError(f"{archive}: {path} is a link or device; it is not unpacked")
    if info.is_dir() or _is_junk(path):
        return None
    return _Member(path, info.file_size, lambda: packed.open(info))


def _tar_member(packed: tarfile.TarFile, entry: tarfile.TarInfo, archive: Path) -> _Member | None:
    path = _safe(entry.name, archive)
    if entry.isdir():
        return None
    if not entry.isreg() or entry.issparse():
        raise InputError(f"{archive}: {path} is a link or device; it is not unpacked")
    if _is_junk(path):
        return None

    def opened() -> IO[bytes]:
        stream = packed.extractfile(entry)
        if stream is None:
            raise tarfile.TarError(f"{path} has no content")
        return stream

    return _Member(path, entry.size, opened)


def _safe(name: str, archive: Path) -> PurePosixPath:
    """The name as a path below the folder, or an error."""
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or _DRIVE.match(name) is not None
    if outside or "\\" in name or any(ord(sign) < 32 for sign in name):
        raise InputError(
            f"{archive}: the member {name!r} would be written outside of its folder; it is not unpacked"
        )
    return path


def _is_junk(path: PurePosixPath) -> bool:
    return not _JUNK.isdisjoint(path.parts)


def _check_conflicts(staging: Path, folder: Path, paths: list[PurePosixPath]) -> None:
    for path in paths:
        target = folder / path
        if not target.exists() and not target.is_symlink():
            continue
        if not target.is_file() or not filecmp.cmp(staging / path, target, shallow=False):
            raise OutputError(
                f"{target} is there and is not the archive's; add --overwrite to replace it, or choose "
                "another folder"
            )


def _move(staging: Path, folder: Path, paths: list[PurePosixPath]) -> None:
    for path in paths:
        target = folder / path
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.parent.stat().st_dev == staging.stat().st_dev:
                os.replace(staging / path, target)  # noqa: PTH105  as it is called everywhere
            else:  # a folder below leads to another disk
                shutil.copyfile(staging / path, target)


@contextmanager
def _damage_told(archive: Path) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{archive} is damaged or no archive that can be read: {reason}; fetch it again"
        ) from None
    except OSError as error:  # bz2 and gzip say it this way
        raise InputError(f"{archive} cannot be read: {error.strerror or error}; fetch it again") from None
