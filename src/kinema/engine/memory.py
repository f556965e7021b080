"""Two ways to trade time and memory: parts of a network that are computed again, and compiled networks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from kinema.engine.patterns import matches, names
from kinema.errors import UsageError

_log = logging.getLogger(__name__)


def recompute(network: nn.Module, patterns: str) -> int:
    """Let parts of a network forget what they computed, and compute it again in the backward pass.

    Results and gradients are the same to the last bit, dropout and running statistics included.

    Args:
        network: changed in place; the names of its weights stay.
        patterns: of the names of its parts, with commas between them; a part inside another that is meant
            is left to that one.

    Returns:
        How many parts.

    Raises:
        UsageError: when a pattern fits no part.
    """
    known = {name: module for name, module in network.named_modules() if name}
    for pattern in names(patterns):
        if not any(matches(name, (pattern,)) for name in known):
            tops = ", ".join(name for name, _ in network.named_children())
            raise UsageError(f"--recompute: no part of the network is named {pattern}; there are {tops}")
    chosen = [name for name in known if matches(name, names(patterns))]
    outer = [n for n in chosen if not any(n.startswith(f"{other}.") for other in chosen)]
    for name in outer:
        module = known[name]
        module.forward = partial(_again, module, module.forward)
    return len(outer)


def _again(module: nn.Module, forward: Callable[..., object], *inputs: object) -> object:
    if not torch.is_grad_enabled():
        return forward(*inputs)
    contexts = partial(_contexts, module)
    return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts)


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _without_statistics(module)


@contextmanager
def _without_statistics(module: nn.Module) -> Iterator[None]:
    """The second time, running statistics must not move: they would count every batch twice."""
    norms = [one for one in module.modules() if isinstance(one, _NormBase) and one.track_running_stats]
    before = [(one.momentum, one.num_batches_tracked) for one in norms]
    counts = [None if count is None else count.clone() for _, count in before]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count), old in zip(norms, before, counts, strict=True):
            norm.momentum = momentum
            if count is not None and old is not None:
                count.copy_(old)


def compile_network(network: nn.Module, device: torch.device) -> bool:
    """Compile a network when it is called first; where nothing can be compiled, leave it as it is.

    Args:
        network: changed in place; the names of its weights stay.
        device: where it computes.

    Returns:
        Whether it will be compiled.
    """
    reason = _why_not(device)
    if reason is not None:
        _log.warning("--compile: no working compiler here (%s); the network runs as it is", reason)
        return False
    network.compile()
    return True


def _why_not(device: torch.device) -> str | None:
    """Compile a tiny function both ways; what a compiler lacks shows only when it is used."""
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import config

    tiny = torch.compile(lambda x: (x.sin() * x).sum())
    try:
        with config.patch(force_disable_caches=True):  # an older result would hide that there is none now
            tiny(torch.ones(8, device=device, requires_grad=True)).backward()
    except (TorchDynamoException, RuntimeError, OSError, ImportError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return lines[0] if lines else type(error).__name__
    return None
