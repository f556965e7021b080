"""Batches in the order of the steps, prepared ahead by worker processes."""

from __future__ import annotations

import logging
import multiprocessing
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from kinema.engine.contracts import Batch, BatchSource
from kinema.errors import InputError, KinemaError
from kinema.processes import follow_parent

_log = logging.getLogger(__name__)
_MOST_DEATHS = 3
_MOST_STAND_INS = 8
_DEATH = re.compile(r"DataLoader worker \(pid.*(exited unexpectedly|is killed by signal)")


class _Steps(Sampler[int]):
    """The numbers of all steps from one on: a position is a step, there is nothing else to save."""

    def __init__(self, steps: range) -> None:
        self._range = steps

    def __iter__(self) -> Iterator[int]:
        return iter(self._range)

    def __len__(self) -> int:
        return len(self._range)


_Made: TypeAlias = "tuple[Batch, list[str]]"  # the batch, and why samples in it stand in for others


class _Batches(Dataset["_Made | KinemaError"]):
    def __init__(self, source: BatchSource, slots: range, spare: int) -> None:
        self._source, self._slots, self._spare = source, slots, spare

    def __getitem__(self, step: int) -> _Made | KinemaError:
        try:
            return _make(self._source, step, self._slots, self._spare)
        except KinemaError as error:
            return error  # raised again at the other end: the loader would bury it in a worker's traceback


def _make(source: BatchSource, step: int, slots: range, spare: int) -> _Made:
    try:
        return source.batch(step, slots), []
    except InputError:
        if spare == 0:
            raise
    told: list[str] = []
    samples = [_readable(source, step, slot, spare, told) for slot in slots]
    return {name: torch.cat([one[name] for one in samples]) for name in samples[0]}, told


def _readable(source: BatchSource, step: int, slot: int, spare: int, told: list[str]) -> Batch:
    """A sample, or the first of its stand-ins that can be read: a function of step and slot alone."""
    for attempt in range(_MOST_STAND_INS):
        place = slot + attempt * spare
        try:
            return source.batch(step, range(place, place + 1))
        except InputError as error:
            told.append(str(error))
    place = slot + _MOST_STAND_INS * spare
    return source.batch(step, range(place, place + 1))


def batches(
    source: BatchSource,
    *,
    slots: range,
    start: int,
    stop: int,
    workers: int,
    pinned: bool = False,
    spare: int = 0,
    on_replaced: Callable[[str], None] = _log.warning,
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
        spare: 0: a sample that cannot be read is an error. Else the batch's size over all devices: sample
            ``slot + spare`` stands in for it, or ``slot + 2 * spare``, and so on.
        on_replaced: told why, once for every sample that was replaced, when its step comes.

    Yields:
        The batches, on the CPU with workers, else where the source makes them.

    Raises:
        KinemaError: what the source raises; or when workers die again and again at the same step.
    """
    step, deaths = start, 0
    while step < stop:
        try:
            for made in _from(source, slots, range(step, stop), workers=workers, pinned=pinned, spare=spare):
                if isinstance(made, KinemaError):
                    raise made
                batch, told = made
                for message in told:
                    on_replaced(message)
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
    source: BatchSource, slots: range, steps: range, *, workers: int, pinned: bool, spare: int
) -> Iterator[_Made | KinemaError]:
    if workers == 0:
        return (_make(source, step, slots, spare) for step in steps)
    # Not fork: a forked copy of a process whose OpenMP threads have run can hang in its first parallel loop.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    loader = DataLoader(
        _Batches(source, slots, spare),
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
    follow_parent()
    torch.set_num_threads(1)
