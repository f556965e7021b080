"""From settings to an optimiser."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from kinema.engine.config import LoopConfig


def build_optimizer(config: LoopConfig, network: nn.Module) -> Optimizer:
    """Make the optimiser of a run; the loop sets the learning rate before every step.

    Args:
        config: which one, and its settings.
        network: whose weights it changes, on their device already.

    Returns:
        The optimiser.
    """
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=config.learning_rate, weight_decay=config.weight_decay)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, lr=config.learning_rate, weight_decay=config.weight_decay)
