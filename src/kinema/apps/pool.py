"""Pieces of work in several processes, which end at once when the main one stops or is killed."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event

from kinema.errors import KinemaError
from kinema.processes import follow_parent, interrupts_held

_tasks: list[Callable[[int], None]] = []  # of a worker process; one item


def in_processes(
    task: Callable[[int], None], numbers: Sequence[int], *, processes: int
) -> Generator[int, None, None]:
    """Do a task for many numbers. Work may be cut off anywhere: the task must not mind.

    Args:
        task: that can be pickled.
        numbers: what it is called with.
        processes: how many at the same time, 1 or more.

    Yields:
        Each number when it is done, in any order.

    Raises:
        KinemaError: what the task raises of this kind, or when a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    threads = max((os.cpu_count() or 1) // processes, 1)
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start, initargs=(task, stop, threads)
    )
    try:
        with interrupts_held():
            futures: list[Future[tuple[int, str | None]]] = [pool.submit(_do, n) for n in numbers]
        for future in as_completed(futures):
            number, problem = future.result()
            if problem is not None:
                raise KinemaError(problem)
            yield number
    except BaseException as error:
        stop.set()
        if isinstance(error, BrokenProcessPool):
            raise KinemaError(
                "a process was killed, perhaps for want of memory: try fewer --processes; the same command"
                " goes on"
            ) from None
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _do(number: int) -> tuple[int, str | None]:
    """Runs in a worker. An error is sent as text: not every exception survives the way."""
    try:
        _tasks[0](number)
    except KinemaError as error:
        return number, str(error)
    return number, None


def _start(task: Callable[[int], None], stop: Event, threads: int) -> None:
    import torch  # in the worker: it shares the cores with the others

    follow_parent()
    torch.set_num_threads(threads)
    _tasks[:] = [task]
    threading.Thread(target=_leave_when_told, args=(stop,), daemon=True).start()


def _leave_when_told(stop: Event) -> None:
    stop.wait()
    os._exit(1)
