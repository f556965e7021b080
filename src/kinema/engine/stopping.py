"""Ctrl-C and SIGTERM become a wish that the loop looks at between two steps."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

_log = logging.getLogger(__name__)


class StopWish:
    """Whether someone wants the run to stop, and how they said so."""

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        return self._number is not None

    def heard(self, number: int, frame: FrameType | None) -> None:
        """Take a signal; the second one is passed on at once.

        Args:
            number: of the signal.
            frame: where it interrupted; handed on.
        """
        if self:
            self._pass_on(number, frame)
        self._number = number
        _log.info("stopping after this step; once more to stop at once, without saving it")

    def leave(self, note: str) -> NoReturn:
        """Go on with the signal as if it came now, when all is saved.

        Args:
            note: what the user should know; told by the command.

        Raises:
            KeyboardInterrupt: always, or what the handler before raises.
        """
        try:
            self._pass_on(self._number or signal.SIGINT, None)
        except KeyboardInterrupt as stop:
            stop.add_note(note)
            raise

    def _pass_on(self, number: int, frame: FrameType | None) -> NoReturn:
        handler = self._before.get(number)
        if callable(handler):
            handler(number, frame)
        raise KeyboardInterrupt


@contextmanager
def stop_wish() -> Iterator[StopWish]:
    """While it lasts, SIGINT and SIGTERM only set a wish.

    Yields:
        The wish; never set outside of the main thread, where signals do not arrive.
    """
    wish = StopWish()
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        wish._before[number] = signal.signal(number, wish.heard)
    try:
        yield wish
    finally:
        for taken, handler in wish._before.items():
            signal.signal(taken, handler)
