"""What worker processes need: Ctrl-C is not theirs, and they leave when the main one has gone."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def follow_parent() -> None:
    """Called in a worker: Ctrl-C is the main process's business, and the worker ends when that is gone.

    Also after kill -9, when nobody would ever give this one work again. A fork server in between is looked
    through: it waits for its children, so that both would stay for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C away while workers are started: it reaches those that are just starting, too.

    Yields:
        Nothing; what is started inside inherits the closed door until `follow_parent`.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def leave_as_one_of_several() -> None:
    """Where a launcher has started several processes: end this one, with success, without tearing down torch.

    All is written by now, and they have parted. The communication threads of torch 2.13 now and then abort a
    process while Python shuts down, which the launcher would report as the failure of the whole run.
    """
    if "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
