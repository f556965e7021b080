"""Batches in the order of the steps, prepared ahead by worker processes."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import threading
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from kinema.engine.contracts import Batch, BatchSource
from kinema.errors import KinemaError

_log = logging.getLogger(__name__)
_MOST_DEATHS = 3
_DEATH = re.compile(r"DataLoader worker \(pid.*(exited unexpectedly|is killed by signal)")


class _Steps(Sampler[int]):
    """The numbers of all steps from one on: a position is a step, there is nothing else to save."""

    def __init__(self, steps: range) -> None:
        self._range = steps

    def __iter__(self) -> Iterator[int]:
        return iter(self._range)

    def __len__(self) -> int:
        return len(self._range)


class _Batches(Dataset["Batch | KinemaError"]):
    def __init__(self, source: BatchSource, slots: range) -> None:
        self._source, self._slots = source, slots

    def __getitem__(self, step: int) -> Batch | KinemaError:
        try:
            return self._source.batch(step, self._slots)
        except KinemaError as error:
            return error  # raised again at the other end: the loader would bury it in a worker's traceback


def batches(
    source: BatchSource, *, slots: range, start: int, stop: int, workers: int, pinned: bool = False
) -> Iterator[Batch]:
    """Hand out the batches of the steps ``start`` to ``stop - 1``.

    Each worker makes whole batches; which worker makes which one changes nothing, because a batch is a pure
    function of its step. For the same reason a worker that was killed is replaced, and nothing is lost.
    Global random numbers are not touched.

    Args:
        source: makes them.
        slots: this device's share of every batch.
        start: the first step.
        stop: the step after the last.
        workers: processes beside this one; 0 makes every batch here when it is asked for.
        pinned: whether the memory is locked for quick copies to an accelerator.

    Yields:
        The batches, on the CPU with workers, else where the source makes them.

    Raises:
        KinemaError: what the source raises; or when workers die again and again at the same step.
    """
    step, deaths = start, 0
    while step < stop:
        try:
            for batch in _from(source, slots, range(step, stop), workers=workers, pinned=pinned):
                if isinstance(batch, KinemaError):
                    raise batch
                yield batch
                step, deaths = step + 1, 0
        except RuntimeError as error:
            if not _DEATH.search(str(error)):
                raise
            deaths += 1
            if deaths == _MOST_DEATHS:
                raise KinemaError(
                    f"the process that makes the data from step {step} on was killed {deaths} times, perhaps "
                    "for want of memory: try fewer --workers, or --workers 0 to see why"
                ) from None
            _log.warning("a process that makes data was killed at step %d; starting another", step)


def _from(
    source: BatchSource, slots: range, steps: range, *, workers: int, pinned: bool
) -> Iterator[Batch | KinemaError]:
    if workers == 0:
        return (source.batch(step, slots) for step in steps)
    # Not fork: a forked copy of a process whose OpenMP threads have run can hang in its first parallel loop.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    loader = DataLoader(
        _Batches(source, slots),
        batch_size=None,
        sampler=_Steps(steps),
        num_workers=min(workers, len(steps)),
        prefetch_factor=2,
        multiprocessing_context=context,
        worker_init_fn=_worker_starts,
        generator=torch.Generator(),  # its own: the loader would draw a number from the global one
        pin_memory=pinned,
    )
    return iter(loader)


def _worker_starts(_number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the loop decides
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End when the training process is gone, also by kill -9.

    The loader's own check asks for the parent of the process, which is the fork server; that one waits for
    its children, so that both would stay for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
