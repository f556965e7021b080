"""What a run of EDVR trains, on which data, towards what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from kinema.engine.contracts import Batch, BatchSource, Term
from kinema.losses.restoration import Penalty, offset_excess, restoration_loss
from kinema.models.edvr import EDVR, EdvrOutput
from kinema.recipes.edvr_validation import RestoredValidation
from kinema.recipes.measured import Measured


@dataclass(frozen=True)
class EdvrObjective:
    """What restored frames are trained towards.

    Attributes:
        penalty: of an error, see `kinema.losses.restoration.restoration_loss`.
        epsilon: of the penalty.
        mean: ``samples``: the sum over each sample, meant over the samples; ``values``: the mean error.
        weight: of the loss.
        offset_limit: offsets beyond so many pixels cost something; 0 is none.
        offset_weight: what a pixel beyond the limit costs.
    """

    penalty: Penalty = "charbonnier"
    epsilon: float = 1e-12
    mean: Literal["samples", "values"] = "samples"
    weight: float = 1.0
    offset_limit: float = 0.0
    offset_weight: float = 1.0

    def losses(self, output: EdvrOutput, sharp: Tensor) -> dict[str, Term]:
        """Compute the terms of a batch.

        Args:
            output: of the network, with its offsets where there is a limit.
            sharp: (B, 3, s H, s W) in [0, 1].

        Returns:
            Sums and counts by name.
        """
        counts = self.counts(sharp)
        error = restoration_loss(
            output.frame, sharp, penalty=self.penalty, reduction="sum", epsilon=self.epsilon
        )
        terms = {"restoration": Term(self.weight * error, counts["restoration"])}
        if self.offset_limit:
            excess = offset_excess(output.offsets, limit=self.offset_limit)
            terms["offset_excess"] = Term(self.offset_weight * len(sharp) * excess, counts["offset_excess"])
        return terms

    def counts(self, sharp: Tensor) -> dict[str, Tensor]:
        """Tell the counts of `losses` from the truth alone.

        Args:
            sharp: (B, 3, s H, s W).

        Returns:
            Counts by name.
        """
        samples = torch.tensor(float(len(sharp)), device=sharp.device)
        values = samples * sharp[0].numel() if self.mean == "values" else samples
        return {"restoration": values, **({"offset_excess": samples} if self.offset_limit else {})}


@dataclass(frozen=True)
class EdvrTask(Measured):
    """EDVR on windows of degraded frames.

    Attributes:
        network: the network.
        source: of its training windows: ``low`` and ``sharp``.
        objective: the loss.
        validation: what it is measured on.
    """

    network: EDVR
    source: BatchSource
    objective: EdvrObjective
    validation: RestoredValidation

    @property
    def metric(self) -> str:
        """See `kinema.engine.contracts.Task.metric`; here higher is better."""
        return self.validation.metric

    def losses(self, network: nn.Module, batch: Batch, *, step: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.losses`."""
        output = network(unit(batch["low"]), keep_offsets=self.objective.offset_limit > 0)
        return self.objective.losses(output, unit(batch["sharp"]))

    def counts(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """See `kinema.engine.contracts.CountsAhead.counts`."""
        return self.objective.counts(batch["sharp"])


def unit(frames: Tensor) -> Tensor:
    """Bring frames into [0, 1].

    Args:
        frames: uint8, or floating point in [0, 1] already.

    Returns:
        Floating point.
    """
    return frames.float() / 255 if frames.dtype == torch.uint8 else frames
