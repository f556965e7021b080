"""Validation of what learning without labels finds out: flow, and which points are hidden."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kinema.engine.contracts import Term
from kinema.ops.occlusion import OcclusionMethod, estimate_occlusion
from kinema.recipes.pwcnet_task import ReservedPairs

_log = logging.getLogger(__name__)

ALL_HIDDEN = 0.9
"""Share of hidden points above which a network says nothing any more."""

NO_MOTION = 0.02
"""Mean flow, in parts of the true one, below which a network has fallen back to none."""


@dataclass(frozen=True)
class HiddenValidation:
    """Rendered pairs: endpoint errors, the F-score of hidden points, and warnings when learning collapses.

    Attributes:
        pairs: with their truth.
        method: how hidden points are found from the flow of both directions.
    """

    pairs: ReservedPairs
    method: OcclusionMethod = "brox"

    @property
    def metric(self) -> str:
        """The endpoint error chooses."""
        return self.pairs.metric

    def measure(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.validate`.

        Args:
            network: gives an output with ``flow`` for two frames.
            rank: which share of the pairs.
            world: how many shares.

        Returns:
            The errors of `ReservedPairs`; ``occlusion_f``, 0 to 1: the harmonic mean of precision and recall
            of the points called hidden, over all pixels; ``hidden_share`` of the points called hidden and
            ``true_hidden_share`` of those that are; ``flow_length``, the mean length of the flow in pixels.
        """
        device = next(network.parameters()).device
        names = ("occlusion_f", "hidden_share", "true_hidden_share", "flow_length")
        sums = {name: torch.zeros(2, dtype=torch.float64) for name in names}
        for number in range(rank, self.pairs.pairs, world):
            pair = self.pairs.pair(number)
            first, second = pair.image1.to(device), pair.image2.to(device)
            flow, backward = network(first, second).flow.float(), network(second, first).flow.float()
            found = (estimate_occlusion(flow, backward, method=self.method) > 0.5).cpu()
            _add(sums["occlusion_f"], *_agreement(found, pair.hidden))
            _add(sums["hidden_share"], found.sum(), found.numel())
            _add(sums["true_hidden_share"], pair.hidden.sum(), found.numel())
            _add(sums["flow_length"], flow.norm(dim=1).sum().cpu(), found.numel())
        terms = self.pairs.measure(network, rank=rank, world=world)
        terms |= {name: Term(*pair.float().to(device).unbind()) for name, pair in sums.items()}
        _warn({name: float(term.total) / max(float(term.count), 1.0) for name, term in terms.items()})
        return terms

    def pictures(self, network: nn.Module) -> Mapping[str, np.ndarray]:
        """See `kinema.engine.contracts.Draws.pictures`."""
        return self.pairs.pictures(network)


def _agreement(found: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Twice the points that both call hidden, over what each calls hidden: their ratio is the F-score."""
    return 2 * (found & true).sum(), found.sum() + true.sum()


def _add(sums: Tensor, total: Tensor, count: Tensor | int) -> None:
    sums[0] += total
    sums[1] += count


def _warn(means: Mapping[str, float]) -> None:
    """Say when the network has found a way to a small loss that is none to motion."""
    if not np.isfinite(means["flow_length"]):
        _log.warning("the flow of the validation pairs is not finite: lower --learning-rate")
    elif means["flow_length"] < NO_MOTION * means["zero_epe"]:
        _log.warning(
            "the network gives hardly any motion (%.2f px where there are %.1f): it has collapsed to zero "
            "flow; lower --smooth1 and --smooth2, or --learning-rate",
            means["flow_length"],
            means["zero_epe"],
        )
    if means["hidden_share"] > ALL_HIDDEN:
        _log.warning(
            "%.0f %% of all points are called hidden, where %.0f %% are: nothing is left to learn from; "
            "begin with a later --occluded-from",
            100 * means["hidden_share"],
            100 * means["true_hidden_share"],
        )
