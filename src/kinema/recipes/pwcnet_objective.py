"""What PWC-Net is trained towards: the published losses as sums and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.engine.contracts import Batch, Term
from kinema.losses.supervised_flow import (
    LEVEL_WEIGHTS,
    REFERENCE_PIXELS,
    Downsampling,
    Penalty,
    multiscale_errors,
)
from kinema.models.pwcnet_settings import FLOW_UNIT, Settings
from kinema.outputs import PyramidFlowOutput

Loss = Literal["multiscale", "robust", "legacy-robust", "plus-sintel", "plus-kitti"]
Mean = Literal["pixels", "samples"]

_PLUS_KITTI_WEIGHTS = (0.08, 0.02, 0.005, 0.0025)  # of levels 6, 5, 4, 3, each enlarged to the next


@dataclass(frozen=True)
class _Part:
    """Flows that are compared with the truth in one way.

    Attributes:
        names: of the terms.
        flows: (B, 2, h, w), one per term.
        weights: one per term.
        penalty: of an error.
        q: exponent of the robust penalty.
    """

    names: tuple[str, ...]
    flows: tuple[Tensor, ...]
    weights: tuple[float, ...]
    penalty: Penalty
    q: float


@dataclass(frozen=True)
class Objective:
    """One of the published losses.

    Attributes:
        loss: ``multiscale``, ``robust`` and ``legacy-robust``: levels 6 to 2 with the penalties of
            `kinema.losses.supervised_flow.multiscale_errors`. ``plus-sintel``: levels 6 to 3 by the length of
            the error, and the whole size with q 0.4 (PWC-Net+ on Sintel). ``plus-kitti``: levels 6 to 3,
            each enlarged to the next, and the whole size, all with q 0.2 (PWC-Net+ on KITTI).
        downsampling: of the truth, see `kinema.losses.supervised_flow.pyramid_truth`.
        mean: ``samples``: the sum over a sample's cells, meant over the samples, as published; a cell counts
            whole or not at all. ``pixels``: per 384x448 counted pixels, so that neither crop nor mask
            changes the scale; a cell counts as much of it as counts.
        epsilon: see `kinema.losses.supervised_flow.multiscale_errors`.
        q: the same; of ``robust`` and ``legacy-robust``.
        occluded_from: before this step, points hidden in frame 2 weigh nothing.
        hidden_weight: what hidden points weigh from then on; visible ones weigh 1.
    """

    loss: Loss = "multiscale"
    downsampling: Downsampling = "area"
    mean: Mean = "pixels"
    epsilon: float = 0.01
    q: float = 0.4
    occluded_from: int = 0
    hidden_weight: float = 1.0

    def losses(
        self, output: PyramidFlowOutput, batch: Batch, *, settings: Settings, step: int
    ) -> dict[str, Term]:
        """Compute the terms of a batch.

        Args:
            output: of the network.
            batch: what it looked at.
            settings: of the network.
            step: from 0.

        Returns:
            Sums and counts by name.
        """
        weight, sums = self._weight(batch, step), dict[str, Tensor]()
        for part in self._parts(output, settings):
            found = multiscale_errors(
                part.flows,
                batch["flow"],
                weight=weight,
                unit=settings.flow_unit,
                downsampling=self.downsampling,
                penalty=part.penalty,
                weights=part.weights,
                cells="whole" if self.mean == "samples" else "share",
                epsilon=self.epsilon,
                q=part.q,
            )
            sums.update(zip(part.names, found, strict=True))
        count = self._count(batch, weight)
        return {name: Term(total, count) for name, total in sums.items()}

    def counts(self, batch: Batch, *, settings: Settings, step: int) -> dict[str, Tensor]:
        """Tell the counts of `losses` from the batch alone.

        Args:
            batch: to be looked at.
            settings: of the network.
            step: from 0.

        Returns:
            Counts by name.
        """
        count = self._count(batch, self._weight(batch, step))
        return dict.fromkeys(self._names(settings), count)

    def _names(self, settings: Settings) -> tuple[str, ...]:
        if self.loss == "plus-sintel":
            return (*(f"level{level}" for level in settings.levels if level > 2), "full")
        if self.loss == "plus-kitti":
            return (*(f"level{level}_enlarged" for level in settings.levels if level > 2), "full")
        return tuple(f"level{level}" for level in settings.levels)

    def _parts(self, output: PyramidFlowOutput, settings: Settings) -> tuple[_Part, ...]:
        names, pyramid = self._names(settings), output.pyramid
        if self.loss in ("multiscale", "robust", "legacy-robust"):
            penalties: dict[str, Penalty] = {"multiscale": "l2", "robust": "robust"}
            penalty = penalties.get(self.loss, "legacy_robust")
            return (_Part(names, pyramid, LEVEL_WEIGHTS[: len(pyramid)], penalty, self.q),)
        twentieths = settings.flow_unit == "twentieth"
        full, coarse = output.flow / FLOW_UNIT if twentieths else output.flow, pyramid[:4]
        if self.loss == "plus-sintel":
            levels = _Part(names[:-1], coarse, LEVEL_WEIGHTS[:4], "l2", self.q)
            return levels, _Part(names[-1:], (full,), (0.0005,), "robust", 0.4)
        scale = 1.0 if twentieths else 2.0
        enlarged = tuple(scale * F.interpolate(flow, scale_factor=2, mode="bilinear") for flow in coarse)
        weights = (*_PLUS_KITTI_WEIGHTS, 0.001)
        return (_Part(names, (*enlarged, full), weights, "robust", 0.2),)

    def _count(self, batch: Batch, weight: Tensor) -> Tensor:
        if self.mean == "samples":
            return torch.tensor(float(len(weight)), device=weight.device)
        return weight.sum() / REFERENCE_PIXELS

    def _weight(self, batch: Batch, step: int) -> Tensor:
        """What each pixel counts."""
        hidden_weight = self.hidden_weight if step >= self.occluded_from else 0.0
        return batch["valid"].float() * torch.where(batch["hidden"], hidden_weight, 1.0)
