"""Files and folders put at another place by links or copies: never over something else, and resumable."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from kinema.errors import InputError, OutputError
from kinema.io.files import replacing, write_bytes

How = Literal["link", "copy"]
"""Links cost nothing and need the original to stay; copies stand alone."""


def place_file(source: Path, target: Path, *, how: How) -> bool:
    """Put a file at another place.

    Args:
        source: the file.
        target: where it shall be seen; its folder is made.
        how: by a relative link, or as a copy.

    Returns:
        True when it was put there, False when it was there.

    Raises:
        OutputError: when something else lies there, or nothing can be written.
    """
    if os.path.lexists(target):
        if target.exists() and (target.samefile(source) or _same_content(source, target)):
            return False
        raise OutputError(f"{target} is there and is not {source.name} of {source.parent}: move it away")
    if how == "link":
        _link(source, target)
    else:
        with replacing(target, overwrite=False) as temporary:
            shutil.copyfile(source, temporary)
    return True


def place_folder(
    source: Path, target: Path, *, how: How, after_file: Callable[[], None] = lambda: None
) -> bool:
    """Put a folder of files at another place.

    A copy is made file by file under a hidden name and takes its own when it is whole: what a stopped copy
    has brought stays, and the next call goes on.

    Args:
        source: the folder; folders in it are passed over.
        target: where it shall be seen.
        how: by one relative link, or as copies of its files.
        after_file: told after each copied file.

    Returns:
        True when it was put there, False when it was there.

    Raises:
        OutputError: when other files lie there, or nothing can be written.
    """
    wanted = _files(source)
    if os.path.lexists(target):
        if target.is_dir() and _files(target) == wanted:
            return False
        raise OutputError(f"{target} is there and holds other files than {source}: move it away")
    if how == "link":
        _link(source, target)
        return True
    partial = target.with_name(f".{target.name}.partial")
    for name in wanted:
        place_file(source / name, partial / name, how="copy")
        after_file()
    partial.mkdir(parents=True, exist_ok=True)
    _rename(partial, target)
    return True


def write_list(path: Path, text: str, *, overwrite: bool) -> bool:
    """Write a small text file, unless it says the same already.

    Args:
        path: the file to be.
        text: what it shall say.
        overwrite: whether a file that says something else may be replaced.

    Returns:
        True when it was written.

    Raises:
        OutputError: when the file says something else and may not be replaced.
    """
    data = text.encode()
    with suppress(OSError):
        if path.read_bytes() == data:
            return False
    write_bytes(path, data, overwrite=overwrite)
    return True


def _files(folder: Path) -> dict[str, int]:
    try:
        with os.scandir(folder) as entries:
            found = {e.name: e.stat().st_size for e in entries if e.is_file() and not e.name.startswith(".")}
    except OSError as problem:
        raise InputError(f"{folder}: cannot be listed ({problem.strerror}); check its permissions") from None
    return dict(sorted(found.items()))


def _same_content(source: Path, target: Path) -> bool:
    if source.stat().st_size != target.stat().st_size:
        return False
    return source.read_bytes() == target.read_bytes()


def _link(source: Path, target: Path) -> None:
    """A relative link: the whole tree may be moved."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        inside = os.path.relpath(source.resolve(), target.parent.resolve())
        target.symlink_to(inside, target_is_directory=source.is_dir())
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise OutputError(
            f"{target}: no link can be made ({reason}); add --copy, or name another -o"
        ) from None


def _rename(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError as problem:
        raise OutputError(f"{target} cannot be written: {problem.strerror}") from None
