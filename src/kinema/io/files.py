"""Whole files or none: atomic writing, and plain sentences for what the operating system refuses."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kinema.errors import InputError, OutputError

__all__ = [
    "check_folder",
    "check_output",
    "file_size",
    "holding",
    "open_bytes",
    "read_bytes",
    "reading",
    "replacing",
    "user_path",
    "write_bytes",
    "write_json",
    "writing",
]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_SENTENCES = {
    errno.ENOSPC: "no space left on the device; free some, or write elsewhere",
    errno.EDQUOT: "the disk quota is used up; free some space, or write elsewhere",
    errno.EFBIG: "the file would be larger than this system or file system allows; write elsewhere",
    errno.EACCES: "permission denied; choose a place that you may write to",
    errno.EPERM: "the system does not permit it; choose a place that you may write to",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOTDIR: "a part of its path is a file, not a folder; choose another place",
    errno.EEXIST: "a part of its path is a file, not a folder; choose another place",
    errno.EISDIR: "is a folder; name a file",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "its symbolic links go in a circle; choose another place",
}
_LONGEST_STEM = 40  # bytes
_STREAMS = frozenset({"stdin", "stdout", "stderr"})
_HELD: ContextVar[Mapping[Path, bytes]] = ContextVar("_HELD", default={})  # noqa: B039  never written to


@contextmanager
def replacing(path: Path | str, *, overwrite: bool = True) -> Iterator[Path]:
    """Write a file completely or not at all.

    The body writes to the temporary name that is handed out: hidden, in the same folder, with the same
    suffix. When it ends well the data are flushed to the disk and the file takes its real name in one step;
    when anything is raised, KeyboardInterrupt included, nothing is left behind and an older file is
    untouched. A symbolic link is followed.

    Args:
        path: the file to be; missing parent folders are created.
        overwrite: whether an existing file may be replaced.

    Yields:
        The temporary name: an empty file, with the access rights that the umask gives.

    Raises:
        OutputError: the file exists and may not be replaced, is no regular file, or its place is full or not
            writable.
    """
    path = Path(path)
    with _output_errors(path):
        target = _checked_target(path, overwrite=overwrite)
        temporary = _create_temporary(target)
    try:
        with _body_errors(path, temporary):
            yield temporary
        with _output_errors(path):
            _flush_to_disk(temporary)
            if not overwrite and target.exists():  # it may have appeared while the body was at work
                raise _exists(path)
            temporary.replace(target)
            _flush_folder(target.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes, *, overwrite: bool = True) -> None:
    """Write bytes to a file, completely or not at all.

    Args:
        path: the file to be.
        data: its content.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: see `replacing`.
    """
    with replacing(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def write_json(path: Path | str, data: object, *, overwrite: bool = True) -> None:
    """Write strict, indented UTF-8 JSON, completely or not at all.

    Args:
        path: the file to be.
        data: mappings, sequences, text, numbers, booleans, None; also numpy values, paths and fractions (as
            text ``"30000/1001"``). A number that is not finite becomes ``null``: JSON has no other word for
            it.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: see `replacing`.
    """
    text = json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode("utf-8", "backslashreplace"), overwrite=overwrite)


def check_output(path: Path | str, *, overwrite: bool) -> None:
    """Say before the work what `replacing` would say after it; nothing is left behind.

    Args:
        path: the file to be.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: see `replacing`.
    """
    path = Path(path)
    with _output_errors(path):
        target = _replaceable(path, overwrite=overwrite)
    check_folder(target.parent if path.is_symlink() else path.parent)  # as it was typed, where it can be


def check_folder(folder: Path | str) -> None:
    """Say before the work that files cannot be written into a folder; nothing is left behind.

    Args:
        folder: where the files will be; it may not exist yet: then the nearest one above that does is tried.

    Raises:
        OutputError: it is a file, or not writable.
    """
    place = folder = Path(folder)
    with _output_errors(folder):
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            above = "" if place == folder else f": {place} is a file"
            raise OutputError(f"{folder} is not a folder{above}; choose another place")
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except FileNotFoundError:  # as /proc says it, which is there
            raise OutputError(f"{place} cannot be written to; choose another place") from None


def user_path(text: str) -> Path:
    """A path as it was typed; ``~`` is the home folder, also in ``--out=~/x``, which shells leave alone.

    Args:
        text: the words of the user.

    Returns:
        The path; unchanged where there is no such user.
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111  Path.expanduser raises for a user that is not there


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn what the operating system says about an input file into one plain sentence.

    Args:
        path: the file that the body reads.

    Raises:
        InputError: for every OSError that the body raises.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the name") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; name a file") from None
    except PermissionError:
        raise InputError(f"{path} cannot be read: permission denied; check its access rights") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check the file") from None


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn what the operating system says about an output into one plain sentence.

    Args:
        path: the file or folder that the body writes.

    Raises:
        OutputError: for every OSError that the body raises.
    """
    with _output_errors(Path(path)):
        yield


@contextmanager
def holding(contents: Mapping[Path, bytes]) -> Iterator[None]:
    """Give files that lie inside another one, such as the members of a tar, names to be read by.

    While the body runs, in this thread, all readers of this package take the bytes from here where the name
    is one of these. So a sample is read by the same code wherever its files lie.

    Args:
        contents: by name, written exactly as it will be read; the name need not exist on the disk.
    """
    token = _HELD.set(contents)
    try:
        yield
    finally:
        _HELD.reset(token)


def file_size(path: Path | str) -> int:
    """Size of a regular file that is not empty.

    Args:
        path: the file, or a name that is held (see `holding`).

    Returns:
        Its size in bytes, 1 or more.

    Raises:
        InputError: the file is missing, empty, unreadable or no regular file.
    """
    held = _HELD.get().get(Path(path))
    if held is not None:
        return _not_empty(path, len(held))
    with reading(path):
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path} is not a regular file; save the data in a file first")
    return _not_empty(path, status.st_size)


def open_bytes(path: Path | str) -> BinaryIO:
    """Open a file for reading; use it within `reading`.

    Args:
        path: the file, or a name that is held (see `holding`).

    Returns:
        The stream, to be closed by the caller.

    Raises:
        OSError: as the system says it.
    """
    held = _HELD.get().get(Path(path))
    return Path(path).open("rb") if held is None else BytesIO(held)


def read_bytes(path: Path | str, *, count: int | None = None) -> bytes:
    """Read a file, or its beginning.

    Args:
        path: the file, or a name that is held (see `holding`).
        count: how many bytes at most, from the beginning; None for all of them.

    Returns:
        The bytes; one or more.

    Raises:
        InputError: the file is missing, empty, unreadable or no regular file.
    """
    size = file_size(path)
    with reading(path), open_bytes(path) as file:
        return file.read(size if count is None else min(count, size))


def _not_empty(path: Path | str, size: int) -> int:
    if size == 0:
        raise InputError(f"{path} is empty; was it written completely?")
    return size


def _exists(path: Path) -> OutputError:
    return OutputError(f"{path} exists; add --overwrite to replace it, or choose another name")


def _checked_target(path: Path, *, overwrite: bool) -> Path:
    """The file behind all links, when it may be written; its parent folders are created."""
    target = _replaceable(path, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _replaceable(path: Path, *, overwrite: bool) -> Path:
    """The file behind all links, when it may be written as far as can be told without trying."""
    if path.parent.as_posix() in ("/dev", "/dev/fd") and (path.name in _STREAMS or path.name.isdecimal()):
        raise _irregular(path)  # where they lead to a file, that file would be replaced under its writer
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise OutputError(f"{path} is a folder; name a file")
    if target.exists():
        if not overwrite:
            raise _exists(path)
        if not target.is_file():  # replacing /dev/null by a file would harm the whole system
            raise _irregular(path)
    return target


def _irregular(path: Path) -> OutputError:
    return OutputError(f"{path} is not a regular file; name a file")


def _create_temporary(target: Path) -> Path:
    """An empty file beside the target: a folder without write access shows before the work."""
    # Names are bytes to the system: a stem that is not UTF-8 loses what does not fit, never the file.
    stem = os.fsencode(target.stem)[:_LONGEST_STEM].decode(errors="ignore").lstrip(".")
    name = f".{stem}.{os.getpid()}-{secrets.token_hex(4)}{target.suffix}"
    temporary = target.with_name(name)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    """Every OSError in here concerns the file that is being written."""
    try:
        yield
    except OSError as error:
        raise _output_error(path, error) from error


@contextmanager
def _body_errors(path: Path, temporary: Path) -> Iterator[None]:
    """A full disk is the output's trouble; a refusal only where it does not name another file."""
    try:
        yield
    except OSError as error:
        named = error.filename
        ours = named is None or os.fsdecode(str(named)) in (str(temporary), str(path))
        if error.errno in _FULL or (ours and error.errno in _REFUSED):
            raise _output_error(path, error) from error
        raise


def _output_error(path: Path, error: OSError) -> OutputError:
    sentence = _SENTENCES.get(error.errno or 0, f"{error.strerror or error}; choose another place")
    return OutputError(f"{path} cannot be written: {sentence}")


def _flush_to_disk(file: Path) -> None:
    """Some file systems report a full disk only here."""
    descriptor = os.open(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system offers it."""
    if os.name == "nt":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _plain(value: object) -> object:
    """The same value in the types that JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path | Fraction):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item) for item in value]
    return value
