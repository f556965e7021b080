"""Silence for OpenCV and the libraries inside it, which print their own lines to standard error."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import cv2

__all__ = ["quiet_opencv"]

# What libjpeg and libpng print themselves, past OpenCV's log.
_THEIR_LINES = (
    b"Application transferred too many scanlines",
    b"Corrupt JPEG data",
    b"Inconsistent progression sequence",
    b"Invalid SOS parameters",
    b"Premature end of JPEG file",
    b"Unknown Adobe color transform",
    b"Warning: unknown JFIF revision",
    b"libpng ",
)
_SILENT = 0


@dataclass
class _Silence:
    """Who wants silence, and what is to be restored when the last of them leaves."""

    users: set[object] = field(default_factory=set)
    log_level: int | None = None
    original: int | None = None
    caught: BinaryIO | None = None


_lock = threading.Lock()
_silence = _Silence()


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV and its libraries from printing while the body runs; lines of others still come out.

    The log level and the standard error belong to the process: they are changed when the first thread enters
    and restored when the last one leaves.
    """
    user = object()
    try:
        with _lock:
            _silence.users.add(user)
            if len(_silence.users) == 1:
                _start()
        yield
    finally:
        with _lock:
            _silence.users.discard(user)
            if not _silence.users:
                _stop()


def _start() -> None:
    _silence.log_level = _set_log_level(_SILENT)
    try:
        _silence.caught = tempfile.TemporaryFile()  # noqa: SIM115  (closed in _stop)
        _silence.original = os.dup(2)
        os.dup2(_silence.caught.fileno(), 2)
    except OSError:
        pass  # no room for the file, or no standard error at all: the lines come out, or go nowhere


def _stop() -> None:
    """Restore what is changed; written so that an interrupt within `_start` is made good as well."""
    if _silence.log_level is not None:
        _set_log_level(_silence.log_level)
        _silence.log_level = None
    if _silence.original is not None:
        os.dup2(_silence.original, 2)
        os.close(_silence.original)
        _silence.original = None
    if _silence.caught is not None:
        with _silence.caught as caught:
            caught.seek(0)
            others = b"".join(line for line in caught.readlines() if not line.startswith(_THEIR_LINES))
        _silence.caught = None
        if others:
            os.write(2, others)


def _set_log_level(level: int) -> int:
    """Set OpenCV's log level, which lies in different places in OpenCV 4 and 5; returns the level before."""
    place = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    previous: int = place.setLogLevel(level)
    return previous
