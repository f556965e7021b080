"""Standard output and standard error that cannot end the work in a traceback.

Both may be closed, full, or unable to write the characters of a file name. What is said is a comfort, and is
dropped where nobody can hear it; results on standard output are the point, so their loss is an error.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from kinema.errors import OutputError


class Results:
    """Standard output whose failures are one-line errors; in all else the stream itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or say in one line why not; a reader that has gone is still a `BrokenPipeError`."""
        with _as_output_error():
            return self._stream.write(text)

    def flush(self) -> None:
        """As `write`."""
        with _as_output_error():
            self._stream.flush()


class Messages:
    """Standard error that drops what cannot be written: an hour of work must not end for a message."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or not."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As `write`."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


@contextlib.contextmanager
def safe_streams() -> Iterator[None]:
    """While it lasts, `sys.stdout` and `sys.stderr` are `Results` and `Messages`, whatever they were."""
    _open_the_closed()
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no error
    sys.stdout, sys.stderr = Results(before[0]), Messages(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def give_up_output() -> None:
    """Give Python, which flushes standard output again at exit, a place where that cannot fail."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _open_the_closed() -> None:
    """Point closed standard streams nowhere.

    Otherwise the next file that is opened takes the number 1 or 2, and what libraries print lands inside it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8", errors="backslashreplace")


@contextlib.contextmanager
def _as_output_error() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        give_up_output()
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"standard output cannot be written: {reason}; send it elsewhere") from None
