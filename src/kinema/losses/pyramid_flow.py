"""Objectives for flow that is estimated at several resolutions at once (PWC-Net, section 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

LEVELS = (6, 5, 4, 3, 2)
LEVEL_WEIGHTS = (0.32, 0.08, 0.02, 0.01, 0.005)
"""Of levels 6 to 2, as published: for sums over the pixels of each level."""

REFERENCE_PIXELS = 384 * 448
"""The published losses are sums over a crop of this size; here one such crop is the unit that is counted."""

_ROUND = 0.01  # keeps the slope finite where estimate and truth agree
_EXPONENT = 0.4
_LEAST_KNOWN = 2 / 3  # a cell counts when what is unknown weighs at most half of what is known


def multiscale_errors(
    pyramid: Sequence[Float[Tensor, "b 2 _ _"]],
    truth: Float[Tensor, "b 2 h w"],
    weight: Float[Tensor, "b 1 h w"],
    *,
    units: Sequence[float],
    robust: bool = False,
    weights: Sequence[float] = LEVEL_WEIGHTS,
) -> list[Float[Tensor, ""]]:
    """Sum the weighted errors of each level.

    The truth of a cell is the mean over its pixels, each with its weight. A cell of which more than a third
    is unknown has no truth.

    Args:
        pyramid: the estimates of levels 6 to 2, in the network's units.
        truth: (B, 2, H, W) pixels; sides are multiples of 64; finite everywhere.
        weight: how much each pixel counts, 0 where the truth is unknown.
        units: pixels of full resolution per unit of the estimate, of each level.
        robust: False for ``sqrt(du² + dv² + 0.01)``, True for ``(|du| + |dv| + 0.01) ** 0.4``, per cell.
        weights: of the levels.

    Returns:
        Per level: the sum over samples and cells, weights included. Divide by ``weight.sum() / 384 / 448``
        for the published loss of a crop.
    """
    sums = []
    weighted = truth * weight
    for estimate, unit, level_weight in zip(pyramid, units, weights, strict=True):
        size = (estimate.shape[-2], estimate.shape[-1])
        share = F.adaptive_avg_pool2d(weight, size)
        mean = F.adaptive_avg_pool2d(weighted, size) / share.clamp(min=1e-6)
        cell = share * (F.adaptive_avg_pool2d((weight > 0).to(weight.dtype), size) >= _LEAST_KNOWN)
        difference = estimate - mean / unit
        if robust:
            error = (difference.abs().sum(1, keepdim=True) + _ROUND) ** _EXPONENT
        else:
            error = (difference.square().sum(1, keepdim=True) + _ROUND).sqrt()
        sums.append(level_weight * (cell * error).sum())
    return sums
