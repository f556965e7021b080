"""The moving average of the weights: what is validated and released."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class MovingAverage:
    """A second network whose weights follow those of the first one.

    Args:
        network: the network that is trained, not wrapped; it is copied.
        decay: how much of the average stays at each step; 0 copies the weights.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, *, step: int) -> None:
        """Move towards the weights after a step.

        Args:
            network: the network that is trained, not wrapped.
            step: how many steps it has done. Early on the average forgets faster, so that the weights before
                the first step do not stay in it.
        """
        decay = min(self._decay, (1 + step) / (10 + step)) if self._decay else 0.0
        averages: list[Tensor] = list(self.network.parameters())
        weights: list[Tensor] = list(network.parameters())
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            average.copy_(buffer)
