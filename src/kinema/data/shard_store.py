"""Ranges of bytes from a folder, a web server or an object store, with few files open and nothing kept."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

from kinema.errors import InputError, MissingExtraError, UsageError
from kinema.io.files import read_bytes, reading, user_path

OPEN_FILES = 16
"""How many tars of a folder are kept open at most."""

_TRIES = 4
_FIRST_PAUSE_S = 0.5
# fsspec's own requirement for each kind of address that it does not serve by itself.
_NEEDED = {"http": "aiohttp", "https": "aiohttp", "s3": "s3fs", "s3a": "s3fs"}
# Errors of libraries that are none of OSError.
_FOREIGN = (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError"))


class ShardStore(Protocol):
    """Where shards lie."""

    @property
    def place(self) -> str:
        """The folder or address, without a slash at its end."""
        ...

    def read(self, name: str) -> bytes:
        """Read a whole file.

        Args:
            name: of the file, no path.

        Returns:
            Its content, not empty.

        Raises:
            InputError: when it is not there or cannot be read.
        """
        ...

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """Read a part of a file.

        Args:
            name: of the file, no path.
            offset: of the first byte.
            size: in bytes.

        Returns:
            The bytes: fewer where the file ends before.

        Raises:
            InputError: when it is not there or cannot be read.
        """
        ...


def open_store(place: str) -> ShardStore:
    """Find the way to a folder or address; nothing is read yet.

    Args:
        place: a folder, or an address such as ``https://host/shards`` or ``s3://bucket/shards``.

    Returns:
        Its store; it can be sent to other processes, and be used after a fork and by several threads.
    """
    return RemoteStore(place) if "://" in place else FolderStore(user_path(place))


class FolderStore:
    """Shards in a folder. The tars used last stay open, `OPEN_FILES` of them at most.

    Args:
        folder: where they lie.
        open_files: how many are kept open.
    """

    def __init__(self, folder: Path, *, open_files: int = OPEN_FILES) -> None:
        self._folder, self._open_files = folder, open_files
        self._handles: OrderedDict[str, _Handle] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self._folder, "open_files": self._open_files}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"], open_files=state["open_files"])  # type: ignore[misc]

    @property
    def place(self) -> str:
        """See `ShardStore.place`."""
        return str(self._folder)

    def read(self, name: str) -> bytes:
        """See `ShardStore.read`."""
        return read_bytes(self._folder / name)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """See `ShardStore.read_range`."""
        with reading(self._folder / name):
            return self._handle(name).read(offset, size)

    def _handle(self, name: str) -> _Handle:
        with self._lock:
            handle = self._handles.get(name)
            if handle is None:
                handle = self._handles[name] = _Handle(self._folder / name)
            self._handles.move_to_end(name)
            while len(self._handles) > self._open_files:
                self._handles.popitem(last=False)
            return handle


class _Handle:
    """An open file without a position. It closes when nobody holds it any more, so never under a reader."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self._lock = threading.Lock()

    def read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):  # needs no position: threads and forked processes do not meet
            pieces, left = [], size
            while left and (piece := os.pread(self._file.fileno(), left, offset + size - left)):
                pieces.append(piece)
                left -= len(piece)
            return b"".join(pieces)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(size) or b""

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


class RemoteStore:
    """Shards behind an address, through fsspec: ``http(s)://``, ``s3://`` and whatever else it knows.

    Args:
        place: the address.
    """

    def __init__(self, place: str) -> None:
        self._place = place.rstrip("/")
        self._system: Any = None
        self._root = ""
        self._process = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"place": self._place}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["place"])  # type: ignore[misc]

    @property
    def place(self) -> str:
        """See `ShardStore.place`."""
        return self._place

    def read(self, name: str) -> bytes:
        """See `ShardStore.read`."""
        return self._cat(name, None, None)

    def read_range(self, name: str, offset: int, size: int) -> bytes:
        """See `ShardStore.read_range`."""
        data = self._cat(name, offset, offset + size)
        if len(data) > size:
            raise InputError(
                f"{self._place}/{name}: the server sends whole files only, no ranges; use another one, or "
                "copy the shards here"
            )
        return data

    def _cat(self, name: str, start: int | None, end: int | None) -> bytes:
        for attempt in range(_TRIES):
            try:
                system, root = self._opened()
                data: bytes = system.cat_file(f"{root}/{name}", start=start, end=end)
                return data
            except (FileNotFoundError, PermissionError) as error:
                raise self._error(name, error) from None
            except _network_errors() as error:
                if attempt == _TRIES - 1 or _is_refusal(error):
                    raise self._error(name, error) from None
                time.sleep(_FIRST_PAUSE_S * 2**attempt)
        raise AssertionError  # the loop returns or raises

    def _opened(self) -> tuple[Any, str]:
        """One connection for each process: a forked one must not use its parent's."""
        with self._lock:
            if self._system is None or self._process != os.getpid():
                self._system, self._root = _connect(self._place)
                self._process = os.getpid()
            return self._system, self._root

    def _error(self, name: str, error: Exception) -> InputError:
        what = f"{self._place}/{name}"
        if isinstance(error, FileNotFoundError):
            return InputError(f"{what}: no such file; check the address")
        if isinstance(error, PermissionError):
            return InputError(
                f"{what} cannot be read: permission denied; check the access rights or the keys"
            )
        reason = str(error) or type(error).__name__
        return InputError(f"{what} cannot be read: {reason}; check the address and the network")


def _connect(place: str) -> tuple[Any, str]:
    scheme = place.partition("://")[0]
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtraError("fsspec", "shards", f"reading {place}") from None
    try:
        system, root = url_to_fs(place, skip_instance_cache=True, use_listings_cache=False)
    except ImportError:
        raise MissingExtraError(_NEEDED.get(scheme, scheme), "shards", f"reading {place}") from None
    except ValueError as error:
        raise UsageError(f"{place} cannot be opened: {error}; use a folder, https:// or s3://") from None
    return system, root.rstrip("/")


def _network_errors() -> tuple[type[Exception], ...]:
    """Looked up when something has gone wrong: by then the libraries are imported that raise their own."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in _FOREIGN)
    return (OSError, *(error for error in found if isinstance(error, type) and issubclass(error, Exception)))


def _is_refusal(error: Exception) -> bool:
    """What asking again will not change: the server understood, and said no."""
    status = getattr(error, "status", None)
    return isinstance(status, int) and 400 <= status < 500 and status not in (408, 429)
