"""From settings to an optimiser, its groups of parameters, and their rates."""

from __future__ import annotations

from collections import defaultdict

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from kinema.engine.config import LoopConfig
from kinema.engine.patterns import matches, names, pairs
from kinema.engine.schedule import rate_at
from kinema.errors import UsageError


def build_optimizer(config: LoopConfig, network: nn.Module) -> Optimizer:
    """Make the optimiser of a run; `set_rates` gives it its rates before every step.

    Args:
        config: which one, its settings, and which parameters have others.
        network: whose weights it changes, on their device already; not wrapped, so that names are its own.

    Returns:
        The optimiser. Each group says its ``factor`` of the rate and ``from_step``, before which it rests.

    Raises:
        UsageError: when a pattern of the settings names no parameter.
    """
    groups = _groups(config, network)
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    kind = AdamW if config.optimizer == "adamw" else Adam
    return kind(groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.epsilon)


def set_rates(optimizer: Optimizer, config: LoopConfig, *, step: int) -> float:
    """Give every group its rate of a step.

    Args:
        optimizer: from `build_optimizer`; changed in place.
        config: of the run.
        step: from 0.

    Returns:
        The rate of parameters whose factor is 1.
    """
    rate = rate_at(config, step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)
    return rate


def rest(optimizer: Optimizer, *, step: int) -> None:
    """Drop the gradients of groups that do not learn yet: without one, neither weight nor memory changes.

    It is a function of the step, so that a run that goes on in that phase is still in it (BasicSR's freeze,
    done at its first iteration only, was lost then).

    Args:
        optimizer: from `build_optimizer`, gradients computed; changed in place.
        step: from 0.
    """
    for group in optimizer.param_groups:
        if step < group.get("from_step", 0):
            for weight in group["params"]:
                weight.grad = None


def _groups(config: LoopConfig, network: nn.Module) -> list[dict[str, object]]:
    factors, first = pairs(config.rate_factors), names(config.first_only)
    known = [name for name, _ in network.named_parameters()]
    for field, patterns in (("rate_factors", [name for name, _ in factors]), ("first_only", first)):
        for pattern in patterns:
            if not any(matches(name, (pattern,)) for name in known):
                raise UsageError(
                    f"--{field.replace('_', '-')}: no parameter is named {pattern}; there are "
                    f"{known[0]}, ... {known[-1]}"
                )
    groups = defaultdict(list)
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            factor = next((value for pattern, value in factors if matches(name, (pattern,))), 1.0)
            decay = config.weight_decay if config.decay_biases or weight.ndim > 1 else 0.0
            start = config.first_only_steps if first and not matches(name, first) else 0
            groups[factor, decay, start].append(weight)
    return [
        {"params": weights, "weight_decay": decay, "factor": factor, "from_step": start}
        for (factor, decay, start), weights in groups.items()
    ]
