"""What a run of TVNet trains, on which data, towards what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from kinema.engine.contracts import Batch, BatchSource, Term
from kinema.losses.tvnet_objective import endpoint_error_sum, energy_sums
from kinema.models.tvnet import TVNet
from kinema.recipes.measured import Measured, Validation


@dataclass(frozen=True)
class TvnetObjective:
    """What TVNet learns towards.

    Attributes:
        loss: ``epe`` compares with the true flow; the others are energies that need none, see
            `kinema.losses.tvnet_objective.energy_sums`.
        epsilon: of the endpoint error, squared pixels.
        q: exponent of the endpoint error.
        hidden_weight: of points hidden in frame 2; visible ones weigh 1.
        lbda: of the energies.
    """

    loss: Literal["epe", "legacy", "brightness", "census"] = "epe"
    epsilon: float = 1e-8
    q: float = 1.0
    hidden_weight: float = 1.0
    lbda: float = 0.15

    def losses(self, flow: Tensor, batch: Batch) -> dict[str, Term]:
        """Compute the terms of a batch.

        Args:
            flow: (B, 2, H, W) of the network.
            batch: what it looked at.

        Returns:
            Sums and counts by name.
        """
        if self.loss == "epe":
            weight = batch["valid"].float() * torch.where(batch["hidden"], self.hidden_weight, 1.0)
            name, settings = ("epe" if self.q == 1 else "robust"), {"epsilon": self.epsilon, "q": self.q}
            sums = {name: endpoint_error_sum(flow, batch["flow"], weight=weight, **settings)}
        else:
            frames = batch["image1"], batch["image2"]
            sums = energy_sums(*frames, flow, energy=self.loss, lbda=self.lbda)
        return {name: Term(one.total, one.count) for name, one in sums.items()}


@dataclass(frozen=True)
class TvnetTask(Measured):
    """TVNet on pairs.

    Attributes:
        network: the network.
        source: of its training pairs: ``image1``, ``image2``, ``flow``, ``valid`` and ``hidden``.
        objective: the loss.
        validation: what it is measured on.
    """

    network: TVNet
    source: BatchSource
    objective: TvnetObjective
    validation: Validation

    def losses(self, network: nn.Module, batch: Batch, *, step: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.losses`."""
        return self.objective.losses(network(batch["image1"], batch["image2"]).flow, batch)
