"""The gradient of one step: the same for one large batch, its parts, and several processes.

Every term of the loss is a sum over something that is counted (`kinema.engine.contracts.Term`), and is
divided by the count over all parts and all processes. A mean of means would give samples in small parts more
weight.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kinema.engine.contracts import Batch, CountsAhead, Task, Term
from kinema.engine.distributed import Devices
from kinema.engine.randomness import capture_random, restore_random

_BUCKET = 2**23  # numbers: 32 MiB


def split(batch: Batch, parts: int) -> list[Batch]:
    """Cut a batch.

    Args:
        batch: tensors whose first dimension is the sample.
        parts: how many; fewer when there are fewer samples.

    Returns:
        The parts in order; their sizes differ by one at most.
    """
    count = min((len(tensor) for tensor in batch.values()), default=0)
    parts = max(1, min(parts, count))
    if parts == 1:
        return [batch]
    bounds = [count * part // parts for part in range(parts + 1)]
    return [
        {name: tensor[begin:end] for name, tensor in batch.items()}
        for begin, end in itertools.pairwise(bounds)
    ]


def compute_gradient(
    task: Task, network: nn.Module, batch: Batch, *, parts: int, step: int, devices: Devices
) -> dict[str, Tensor]:
    """Set the weights' ``grad`` to the gradient of a batch over all processes.

    Args:
        task: computes the terms.
        network: its weights have no gradient yet.
        batch: this process's samples, on its device.
        parts: in which they are computed.
        step: from 0.
        devices: of the run.

    Returns:
        ``loss`` and its terms over all processes, scalars without gradient; the same on all.
    """
    pieces = split(batch, parts)
    # The counts of all parts are needed before the first of them goes backward.
    ahead = _counts(task, network, pieces, step=step, devices=devices) if parts > 1 else None
    sums: dict[str, Tensor] = {}
    for piece in pieces:
        with devices.autocast():
            terms = task.losses(network, piece, step=step)
        shares = _shares(terms, ahead or _added([terms], devices))
        devices.backward(torch.stack(list(shares.values())).sum())
        for name, share in shares.items():
            sums[name] = sums[name] + share.detach() if name in sums else share.detach()
    add_up(list(network.parameters()), devices)
    means = dict(zip(sums, devices.sum(torch.stack(list(sums.values()))).unbind(), strict=True))
    return {"loss": torch.stack(list(means.values())).sum(), **means}


def add_up(weights: Sequence[Tensor], devices: Devices) -> None:
    """Add the gradients of all processes.

    It is done after the backward pass, in the order of the weights, and not by DistributedDataParallel while
    it lasts: that one groups gradients as they happen to arrive, and so rounds the sums of three and more
    processes otherwise in a run that goes on than in one that was never stopped. It also wants the network to
    be called once per step, with every weight in use; here a task may call it, or parts of it, as it likes.

    Args:
        weights: in the same order on all processes. A gradient that no process has stays None.
        devices: of the run.
    """
    if devices.world == 1:
        return
    for bucket in _buckets([weight for weight in weights if weight.requires_grad]):
        has = torch.tensor([float(weight.grad is not None) for weight in bucket], device=devices.device)
        own = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in bucket]
        flat = devices.sum(torch.cat([has, *[gradient.reshape(-1) for gradient in own]]))
        has, flat = flat[: len(bucket)], flat[len(bucket) :]
        sums = torch.split(flat, [weight.numel() for weight in bucket])
        for weight, gradient, total, count in zip(bucket, own, sums, has.tolist(), strict=True):
            if count:
                weight.grad = gradient.copy_(total.view(weight.shape))


def _buckets(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Few messages, none much larger than it has to be."""
    bucket: list[Tensor] = []
    size = 0
    for weight in weights:
        bucket.append(weight)
        size += weight.numel()
        if size >= _BUCKET:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def _shares(terms: Mapping[str, Term], counts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each term over its count; nothing where nothing was counted."""
    return {name: term.total / counts[name].where(counts[name] > 0, 1) for name, term in terms.items()}


def _added(parts: Sequence[Mapping[str, Term]], devices: Devices) -> dict[str, Tensor]:
    names = list(parts[0])
    counts = torch.stack(
        [torch.stack([part[n].count.detach().float().to(devices.device) for n in names]) for part in parts]
    )
    return dict(zip(names, devices.sum(counts.sum(0)).unbind(), strict=True))


def _counts(
    task: Task, network: nn.Module, pieces: Sequence[Batch], *, step: int, devices: Devices
) -> dict[str, Tensor]:
    """The counts over all parts and processes: from the batch where the task can tell, else by looking.

    Looking is one more forward pass, without gradients; it leaves no trace in buffers and random numbers.
    """
    if isinstance(task, CountsAhead):
        zero = torch.zeros((), device=devices.device)
        counted = [task.counts(piece, step=step) for piece in pieces]
        return _added([{n: Term(zero, count) for n, count in part.items()} for part in counted], devices)
    randoms = capture_random(devices.device)
    with torch.no_grad(), kept_buffers(network), devices.autocast():
        terms = [task.losses(network, piece, step=step) for piece in pieces]
    restore_random(randoms, devices.device)
    return _added(terms, devices)


@contextmanager
def kept_buffers(network: nn.Module) -> Iterator[None]:
    """Undo what is done to running statistics.

    Args:
        network: whose buffers.
    """
    before = [buffer.clone() for buffer in network.buffers()]
    yield
    restore_buffers(network, before)


def restore_buffers(network: nn.Module, saved: Sequence[Tensor]) -> None:
    """Set every buffer.

    Args:
        network: changed in place.
        saved: one tensor per buffer, in their order.
    """
    with torch.no_grad():
        for buffer, before in zip(network.buffers(), saved, strict=True):
            buffer.copy_(before)
