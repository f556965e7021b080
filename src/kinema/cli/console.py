"""What a long command says while it runs: log lines, and a bar on a terminal or plain lines elsewhere.

All of it goes to stderr, so that stdout holds results only. ``-q`` leaves errors, ``-v`` adds details.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias

from kinema.apps.progress import Progress, Silent

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Verbosity: TypeAlias = Literal["quiet", "normal", "verbose"]

_LEVELS = {"quiet": logging.ERROR, "normal": logging.INFO, "verbose": logging.DEBUG}
_FIRST_LINE_AFTER_S = 5.0
_SECONDS_BETWEEN_LINES = 15.0


def verbosity(*, quiet: bool, verbose: bool) -> Verbosity:
    """The level that ``-q`` and ``-v`` ask for; quiet wins.

    Args:
        quiet: ``-q`` was given.
        verbose: ``-v`` was given.

    Returns:
        The level for `set_up_logging` and `progress`.
    """
    return "quiet" if quiet else "verbose" if verbose else "normal"


def set_up_logging(level: Verbosity) -> None:
    """Send the package's log records to stderr as plain lines.

    Args:
        level: quiet = errors only, normal = information and warnings, verbose = details with times.
    """
    handler = _ToStderr(sys.stderr)
    form = "%(asctime)s %(name)s: %(message)s" if level == "verbose" else "kinema: %(message)s"
    handler.setFormatter(logging.Formatter(form, datefmt="%H:%M:%S"))
    logger = logging.getLogger("kinema")
    logger.handlers[:] = [handler]  # replaced, not added: `main` may be called again in one process
    logger.setLevel(_LEVELS[level])
    logger.propagate = False


class _ToStderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at that moment: while a bar is shown, that puts lines above it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


@contextmanager
def progress(level: Verbosity, *, unit: str = "frames") -> Iterator[Progress]:
    """Show how far a long task is: bars on a terminal, a line now and then elsewhere, nothing when quiet.

    Args:
        level: From `verbosity`.
        unit: What is counted.

    Yields:
        What an app wants as its ``progress``.
    """
    if level == "quiet":
        yield Silent()
    elif sys.stderr.isatty():
        with _bars(unit=unit) as bars:
            yield Bars(bars)
    else:
        yield Lines(unit=unit)


def _bars(*, unit: str) -> RichProgress:
    from rich import progress as rich_progress  # here: `kinema --help` has no use for rich
    from rich.console import Console

    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TextColumn(unit, markup=False),
        rich_progress.TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True),
        transient=True,
    )


class Bars:
    """Progress as one live bar per part; a finished part leaves a line behind."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=None, visible=False)

    def begin(self, label: str, total: int | None) -> None:
        """See `kinema.apps.progress.Progress.begin`."""
        self._bars.reset(self._task, description=label, total=total, visible=True)

    def advance(self, steps: int = 1) -> None:
        """See `kinema.apps.progress.Progress.advance`."""
        self._bars.advance(self._task, steps)

    def end(self) -> None:
        """See `kinema.apps.progress.Progress.end`."""
        task = self._bars.tasks[0]
        self._bars.console.print(
            f"{task.description}: {task.completed:.0f} done", highlight=False, markup=False
        )
        self._bars.update(self._task, visible=False)


class Lines:
    """Progress for logs and pipes: few lines, each complete in itself."""

    def __init__(self, *, unit: str) -> None:
        self._unit = unit
        self.begin("", None)

    def begin(self, label: str, total: int | None) -> None:
        """See `kinema.apps.progress.Progress.begin`."""
        self._label, self._total, self._done = label, total, 0
        self._start = time.monotonic()
        self._next = self._start + _FIRST_LINE_AFTER_S

    def advance(self, steps: int = 1) -> None:
        """See `kinema.apps.progress.Progress.advance`."""
        self._done += steps
        now = time.monotonic()
        if now >= self._next and self._done != self._total:  # the last line is that of `end`
            self._next = now + _SECONDS_BETWEEN_LINES
            self._print(now)

    def end(self) -> None:
        """See `kinema.apps.progress.Progress.end`."""
        self._total = self._done
        self._print(time.monotonic())

    def _print(self, now: float) -> None:
        rate = self._done / max(now - self._start, 1e-9)
        counted = f"{self._done}" if self._total is None else f"{self._done}/{self._total}"
        left = "" if self._total is None or rate == 0 else f", {(self._total - self._done) / rate:.0f} s left"
        if self._done == self._total:
            left = f", took {now - self._start:.1f} s"
        line = f"kinema: {self._label}: {counted} {self._unit}, {rate:.3g}/s{left}"
        print(line, file=sys.stderr, flush=True)
