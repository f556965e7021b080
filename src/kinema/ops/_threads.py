"""Rows of maps shared out to threads of our own, over kernels that release the interpreter lock.

numba's parallel loops are not used: their runtimes abort the process when two Python threads call them, or
after a fork.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch

MIN_BAND_WORK = 1 << 20  # multiply-adds below which handing rows to another thread costs more than it saves


def map_rows(run: Callable[[int, int, int], None], batch: int, height: int, row_work: int) -> None:
    """Run over all rows of all samples on as many threads as torch uses, this one included.

    Args:
        run: takes a sample's index, a first row, and the row after the last; releases the interpreter lock.
        batch: how many samples.
        height: rows of each.
        row_work: multiply-adds per row.
    """
    threads = max(1, min(torch.get_num_threads(), batch * height * row_work // MIN_BAND_WORK))
    bands = min(height, -(-threads // batch))
    edges = [height * i // bands for i in range(bands + 1)]
    jobs = [(n, *band) for n in range(batch) for band in itertools.pairwise(edges)]
    if threads == 1:
        for job in jobs:
            run(*job)
        return

    def work(*share: tuple[int, int, int]) -> None:
        for job in share:
            run(*job)

    run_all(work, [tuple(jobs[i::threads]) for i in range(threads)])


def run_all(run: Callable[..., None], jobs: Sequence[tuple[Any, ...]]) -> None:
    """Run the jobs side by side, the first in this thread, and wait for all.

    Args:
        run: takes a job's values; releases the interpreter lock.
        jobs: at least one; as many as there should be threads.
    """
    others = [_pool(os.getpid()).submit(run, *job) for job in jobs[1:]]
    run(*jobs[0])
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def _pool(pid: int) -> ThreadPoolExecutor:
    """Threads of this process: a forked child gets its own."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix=f"kinema-rows-{pid}")
