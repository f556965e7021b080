"""Fetching one file over HTTP: into a temporary name, going on where it stopped, checked, then renamed."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO

from kinema._version import __version__
from kinema.errors import InputError, OutputError
from kinema.io.files import write_json, writing

_CHUNK = 2**20
_TIMEOUT_S = 60.0
_TRIES = 6  # without a single byte in between
_TRIES_AT_FIRST = 3  # before the first byte
_FIRST_PAUSE_S = 1.0
_SPARE_BYTES = 2**20  # left free on the disk
_WORTH_TRYING_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_DROPPED = (urllib.error.URLError, http.client.HTTPException, socket.timeout, ConnectionError, TimeoutError)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Remote:
    """What a server says about a file.

    Attributes:
        size: in bytes; None where it does not say.
        problem: why nothing can be had; empty when all is well.
    """

    size: int | None
    problem: str = ""


@dataclass(frozen=True)
class _Begun:
    """What is known about a file that has been fetched in part."""

    url: str
    validator: str
    size: int | None


class _Counter:
    """Turns how much has arrived into how much more has arrived."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress
        self.total = 0

    def __call__(self, total: int) -> None:
        self._progress(total - self.total)
        self.total = total


class _Dropped(Exception):  # noqa: N818  no error yet: it is tried again
    """The connection ended too early."""


def look(url: str, *, timeout: float = 10.0) -> Remote:
    """Ask for a file's size without fetching it.

    Args:
        url: its address.
        timeout: in seconds.

    Returns:
        The size, or what is wrong.
    """
    try:
        with _open(url, {}, method="HEAD", timeout=timeout) as response:
            return Remote(_length(response.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Remote(None, f"the server says {error.code} {error.reason}")
    except (OSError, *_DROPPED, ValueError) as error:
        return Remote(None, _reason(error))


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    advice: str = "",
    progress: Callable[[int], None] = lambda _: None,
    told_size: Callable[[int | None], None] = lambda _: None,
) -> None:
    """Fetch a file, or go on with it. It appears under its name only when it is whole.

    What has arrived is kept under a hidden name beside the target, with what the server said about the file
    (ETag or Last-Modified): a later call goes on from there if the server still has the same file and
    understands ranges, and otherwise begins anew.

    Args:
        url: http or https.
        target: the file to be; replaced if it is there.
        sha256: what the file must have, in hexadecimal; None to check its length alone.
        advice: what else can be done, for messages.
        progress: told how many bytes have arrived, also those of an earlier call; fewer than none where the
            server makes it begin anew.
        told_size: told the size of the whole file when it is known.

    Raises:
        InputError: the server has no such file, breaks off again and again, or sends another one.
        OutputError: the disk is full, or the folder not writable.
        KeyboardInterrupt: what has arrived is kept.
    """
    part, facts = _partial_names(target)
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    counter = _Counter(progress)
    failures = 0
    while True:
        before = counter.total
        try:
            _receive(url, part, facts, advice=advice, count=counter, told_size=told_size)
            break
        except (_Dropped, *_DROPPED) as error:
            failures = 1 if counter.total > before else failures + 1
            if failures >= (_TRIES if counter.total else _TRIES_AT_FIRST):
                raise InputError(f"{url}: {_reason(error)}{_kept(part)}{_also(advice)}") from None
            time.sleep(_FIRST_PAUSE_S * 2 ** (failures - 1))
    _check(part, facts, url, sha256)
    with writing(target):
        part.replace(target)
    facts.unlink(missing_ok=True)


def arrived(target: Path) -> int:
    """Tell how much of a file has been kept by an earlier, unfinished call of `fetch`.

    Args:
        target: the file to be.

    Returns:
        In bytes.
    """
    part, facts = _partial_names(target)
    return part.stat().st_size if part.is_file() and facts.is_file() else 0


def check_room(folder: Path, needed: int) -> None:
    """Refuse to begin what does not fit on the disk.

    Args:
        folder: where it goes; may be absent.
        needed: in bytes.

    Raises:
        OutputError: when there is less room.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed + _SPARE_BYTES > free:
        raise OutputError(
            f"{folder}: needs {human(needed)}, {human(free)} are free there: free some, or write elsewhere"
        )


def human(size: int) -> str:
    """Write a number of bytes for people.

    Args:
        size: in bytes.

    Returns:
        Such as ``1.9 GB``; powers of ten.
    """
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.{1 if size < 100 * factor else 0}f} {unit}"
    return f"{size} bytes"


def _receive(
    url: str,
    part: Path,
    facts: Path,
    *,
    advice: str,
    count: Callable[[int], None],
    told_size: Callable[[int | None], None],
) -> None:
    """One request: from where the file stands, or from the start."""
    begun = _begun(part, facts, url)
    have = part.stat().st_size if begun else 0
    if begun and begun.size is not None and have == begun.size:
        count(have)
        return
    asked = {"Range": f"bytes={have}-", "If-Range": begun.validator} if begun and have else {}
    try:
        response = _open(url, asked, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(error, url, part, facts, advice) from None
    with response:
        start = _start(response, have) if response.status == 206 else 0
        length = _length(response.headers)
        size = None if length is None else start + length
        _check_kind(response.headers, url, advice)
        told_size(size)
        check_room(part.parent, (length or 0))
        if start == 0:
            _begin(part, facts, url, response.headers, size)
        count(start)
        _copy(response, part, start, size, count)


def _copy(
    response: http.client.HTTPResponse, part: Path, start: int, size: int | None, count: Callable[[int], None]
) -> None:
    place = start
    with writing(part), part.open("r+b") as file:
        file.truncate(start)
        file.seek(start)
        try:
            while data := _read(response):
                file.write(data)
                place += len(data)
                count(place)
        finally:
            _flush(file)
    if size is not None and place != size:
        raise _Dropped(f"the connection ended after {human(place)} of {human(size)}")


def _read(response: http.client.HTTPResponse) -> bytes:
    """A piece of the body; trouble of the network is not to be taken for that of the disk."""
    try:
        return response.read(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Dropped(_reason(error)) from None


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _open(
    url: str, headers: Mapping[str, str], *, timeout: float, method: str = "GET"
) -> http.client.HTTPResponse:
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url}: only http:// and https:// addresses are fetched")
    own = {"User-Agent": f"kinema/{__version__}", "Accept-Encoding": "identity"}  # ranges count stored bytes
    request = urllib.request.Request(url, headers={**own, **headers}, method=method)
    response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
    return response


def _begin(part: Path, facts: Path, url: str, headers: Message, size: int | None) -> None:
    """An empty file, and what will tell whether the server's is still the same."""
    with writing(part):
        facts.unlink(missing_ok=True)
        part.write_bytes(b"")
    write_json(facts, {"url": url, "validator": _validator(headers), "size": size})


def _begun(part: Path, facts: Path, url: str) -> _Begun | None:
    try:
        told: Any = json.loads(facts.read_bytes())
        begun = _Begun(told["url"], told["validator"], told["size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sound = isinstance(begun.validator, str) and isinstance(begun.size, int | None)
    return begun if sound and begun.url == url and begun.validator and part.is_file() else None


def _validator(headers: Message) -> str:
    """What If-Range takes: a strong ETag, or a date (RFC 9110, section 13.1.5)."""
    etag = headers.get("ETag") or ""
    return etag if etag.startswith('"') else headers.get("Last-Modified") or ""


def _start(response: http.client.HTTPResponse, have: int) -> int:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range") or "")
    if match is None or int(match[1]) != have:
        raise _Dropped("the server sends another range than the one that was asked for")
    return have


def _length(headers: Message) -> int | None:
    text = headers.get("Content-Length") or ""
    return int(text) if text.isascii() and text.isdigit() else None


def _check_kind(headers: Message, url: str, advice: str) -> None:
    if (headers.get("Content-Type") or "").startswith("text/html"):
        raise InputError(
            f"{url}: answers with a web page and no file; the address may have moved{_also(advice)}"
        )


def _refusal(
    error: urllib.error.HTTPError, url: str, part: Path, facts: Path, advice: str
) -> InputError | _Dropped:
    if error.code == 416:  # what is here is not the beginning of what is there
        with suppress(OSError):
            facts.unlink()
            part.unlink()
        return _Dropped("the server's file is shorter than what has arrived")
    if error.code in _WORTH_TRYING_AGAIN:
        return _Dropped(f"the server says {error.code} {error.reason}")
    return InputError(f"{url}: the server says {error.code} {error.reason}; it may have moved{_also(advice)}")


def _check(part: Path, facts: Path, url: str, sha256: str | None) -> None:
    if sha256 is None:
        return
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while data := file.read(_CHUNK):
            digest.update(data)
    if digest.hexdigest() != sha256:
        facts.unlink(missing_ok=True)
        part.unlink()
        raise InputError(
            f"{url}: what arrived has the SHA-256 {digest.hexdigest()}, not {sha256}; it was removed: try "
            "again, or fetch it by hand"
        )


def _partial_names(target: Path) -> tuple[Path, Path]:
    return target.with_name(f".{target.name}.part"), target.with_name(f".{target.name}.part.json")


def _kept(part: Path) -> str:
    size = part.stat().st_size if part.is_file() else 0
    return f"; kept {human(size)}, and the same command goes on from there" if size else ""


def _also(advice: str) -> str:
    return f"; {advice}" if advice else ""


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(inner, OSError):
        return inner.strerror or str(inner)
    return str(inner or error) or type(error).__name__
