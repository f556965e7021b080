"""Several processes that score one data set together, started by torchrun or ``accelerate launch``.

What they exchange are plain values, as JSON through gloo: it works whatever device the model is on, and no
code travels. Torch is imported only where there is more than one process.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kinema import errors
from kinema.errors import KinemaError
from kinema.evaluation.records import Protocol
from kinema.evaluation.scoring import Scorer

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST_WAIT = timedelta(days=1)  # for the slowest process; one that dies is noticed at once
_MEETINGS = itertools.count()  # the same in all processes, which meet equally often


@dataclass(frozen=True)
class Processes:
    """Who scores, seen from one process.

    Attributes:
        rank: number of this process, from 0.
        count: how many there are.
        group: torch's handle of them; None for one.
    """

    rank: int = 0
    count: int = 1
    group: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """Tell which items are this process's.

        Args:
            total: how many there are.

        Returns:
            Every `count`-th, from `rank` on.
        """
        return range(self.rank, total, self.count)

    def exchange(self, record: object) -> list[Any]:
        """Give every process the records of all.

        Args:
            record: of this process, as JSON can hold it; NaN and infinity pass too.

        Returns:
            All records in the order of the ranks.
        """
        if self.count == 1:
            return [record]
        import torch
        import torch.distributed as dist

        data = torch.frombuffer(bytearray(json.dumps(record).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([len(data)]), group=self.group)
        longest = max(int(size) for size in sizes)
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(data)] = data
        parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.count)]
        dist.all_gather(parts, padded, group=self.group)
        return [_decoded(part, int(size)) for part, size in zip(parts, sizes, strict=True)]

    def agree(self, work: Callable[[], object]) -> list[Any]:
        """Do a piece of work in every process and share what came out, so that they fail together too.

        Args:
            work: returns what JSON can hold.

        Returns:
            All results in the order of the ranks.

        Raises:
            KinemaError: the first that any process raised.
        """
        try:
            record = {"result": work()}
        except KinemaError as error:
            if self.count == 1:
                raise
            record = {"error": [type(error).__name__, str(error)]}
        records = self.exchange(record)
        for found in records:
            if "error" in found:
                name, text = found["error"]
                kind = getattr(errors, name, KinemaError)
                raise _rebuilt(kind if issubclass(kind, KinemaError) else KinemaError, text)
        return [found["result"] for found in records]


@contextmanager
def open_processes() -> Iterator[Processes]:
    """Meet the other processes, where a launcher has started several.

    Yields:
        Who scores; one process without a launcher.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Processes()
        return
    import torch.distributed as dist

    ours = not dist.is_initialized()
    if ours:
        _meet()
        group = None
    else:  # a training run's own, which may know only accelerators
        group = dist.new_group(backend="gloo", timeout=_LONGEST_WAIT)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), group)
    finally:
        if ours:
            dist.destroy_process_group()
        else:
            dist.destroy_process_group(group)


def _meet() -> None:
    """Connect to the other processes, under a name that no earlier meeting of these processes had.

    What gloo has written for one meeting stays in the launcher's store: under the same name a second one,
    such as that of an evaluation after training, would try to connect to processes that have hung up.
    """
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, count = next(iter(rendezvous("env://", timeout=_LONGEST_WAIT)))
    store = PrefixStore(f"kinema-evaluate-{next(_MEETINGS)}", store)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=count, timeout=_LONGEST_WAIT)


def score_together(
    processes: Processes,
    protocol: Protocol,
    names: Sequence[str],
    score: Callable[[Scorer, int], None],
) -> Scorer:
    """Score a list of items, each in one of the processes.

    Args:
        processes: who scores.
        protocol: how items are averaged.
        names: of all items, or of what they begin with, in order.
        score: adds the item of a position to a scorer.

    Returns:
        The scores of all items, the same in every process, in the order of `names`.

    Raises:
        KinemaError: when `score` raised one in any process.
    """

    def mine() -> object:
        scorer = Scorer(protocol)
        for index in processes.share(len(names)):
            score(scorer, index)
        return scorer if processes.count == 1 else scorer.state()

    found = processes.agree(mine)
    if processes.count == 1:
        return found[0]  # type: ignore[no-any-return]
    whole = Scorer(protocol)
    for state in found:
        whole.merge(Scorer.from_state(protocol, state))
    whole.reorder(_in_order(names, [item.name for item in whole.items()]))
    return whole


def _in_order(names: Sequence[str], found: Sequence[str]) -> list[str]:
    """Items in the order of the names they are or begin with: snippets are called after their path."""
    place = {name: number for number, name in enumerate(names)}

    def key(item: str) -> tuple[int, str]:
        return (place[item], "") if item in place else (place.get(item.rpartition("/")[0], len(place)), item)

    return sorted(found, key=key)


def _decoded(part: Tensor, size: int) -> Any:
    return json.loads(bytes(part[:size].tolist()).decode())


def _rebuilt(kind: type[KinemaError], text: str) -> KinemaError:
    error = kind.__new__(kind)
    KinemaError.__init__(error, text)
    return error
