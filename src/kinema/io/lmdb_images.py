"""Pictures in an LMDB folder as BasicSR writes them: whole image files by key, and a list of them beside."""

from __future__ import annotations

import importlib
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np

from kinema.errors import InputError, MissingExtraError
from kinema.io.files import read_bytes
from kinema.io.formats.image_codec import decode_image

__all__ = ["list_lmdb_images", "read_lmdb_bytes", "read_lmdb_image"]

_META = "meta_info.txt"
# "000/00000000.png (720,1280,3) 1": name, shape, PNG compression level.
_LINE = re.compile(r"(?P<name>\S.*?) \((?P<shape>\d+, ?\d+(?:, ?\d+)?)\) \d+")

# By folder: the process that opened it, and the environment. LMDB allows one a process.
_OPEN: dict[str, tuple[int, Any]] = {}
_LOCKS: dict[int, threading.Lock] = {}


def list_lmdb_images(folder: Path | str) -> tuple[str, ...]:
    """List the keys of an LMDB folder, from its ``meta_info.txt``; the data are not opened.

    Args:
        folder: such as ``train_sharp_with_val.lmdb``; holds ``data.mdb`` and ``meta_info.txt``.

    Returns:
        Keys as stored, without suffix, such as ``000/00000000``; in the order of the list.

    Raises:
        InputError: when the list is missing or a line of it does not follow the format.
    """
    path = Path(folder) / _META
    keys = []
    for number, line in enumerate(read_bytes(path).decode("utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise InputError(f"{path}: line {number} does not read NAME.png (height,width,channels) LEVEL")
        keys.append(os.path.splitext(match["name"])[0])  # noqa: PTH122 - a key, not a path
    return tuple(keys)


def read_lmdb_image(folder: Path | str, key: str) -> np.ndarray:
    """Read one picture.

    Args:
        folder: the LMDB folder.
        key: as `list_lmdb_images` gives it.

    Returns:
        (H, W, 3) RGB, uint8 or uint16 as stored.

    Raises:
        InputError: when there is no such key, or the picture or the folder is damaged.
        MissingExtraError: when the package lmdb is not installed.
    """
    return decode_image(read_lmdb_bytes(folder, key), name=f"{folder}: {key}")


def read_lmdb_bytes(folder: Path | str, key: str) -> bytes:
    """Read the image file of one picture as it is stored.

    Args:
        folder: the LMDB folder.
        key: as `list_lmdb_images` gives it.

    Returns:
        The encoded picture.

    Raises:
        InputError: when there is no such key, or the folder is damaged.
        MissingExtraError: when the package lmdb is not installed.
    """
    place = f"{folder}: {key}"
    lmdb = _lmdb()
    try:
        with _environment(os.path.realpath(folder)).begin(buffers=True) as transaction:
            value = transaction.get(key.encode())
            data = None if value is None else bytes(value)
    except lmdb.Error as error:
        raise InputError(f"{place}: cannot be read from data.mdb: {error}; copy the folder again") from None
    if data is None:
        raise InputError(f"{place}: is in {_META} but not in data.mdb; copy the folder again")
    return data


def _environment(folder: str) -> Any:
    """The open environment of a folder in this process; one carried through a fork must not be used."""
    with _LOCKS.setdefault(
        os.getpid(), threading.Lock()
    ):  # a lock held during a fork stays held in the child
        process, environment = _OPEN.get(folder, (0, None))
        if environment is None or process != os.getpid():
            if environment is not None:
                environment.close()  # the parent's mapping in this process; its own stays open
            # No lock file is touched, so folders that cannot be written are read as well; no read-ahead,
            # since training reads in random order.
            environment = _lmdb().open(folder, readonly=True, lock=False, readahead=False, meminit=False)
            _OPEN[folder] = (os.getpid(), environment)
    return environment


def _lmdb() -> Any:
    try:
        return importlib.import_module("lmdb")
    except ModuleNotFoundError:
        raise MissingExtraError("lmdb", "lmdb", "reading pictures from an .lmdb folder") from None
