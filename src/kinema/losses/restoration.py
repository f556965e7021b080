"""Objectives for restored frames, and what keeps deformable alignment from running away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError

Penalty = Literal["charbonnier", "l1", "l2", "marginal_l1"]
Reduction = Literal["sum", "samples", "mean"]

EPSILON = 1e-12
"""Charbonnier's, of BasicSR and MMagic; the authors' first code and the Ascend port have 1e-6."""


def restoration_loss(
    restored: Float[Tensor, "b *shape"],
    sharp: Float[Tensor, "b *shape"],
    *,
    penalty: Penalty = "charbonnier",
    reduction: Reduction = "mean",
    epsilon: float = EPSILON,
) -> Float[Tensor, ""]:
    """How far restored frames are from the truth.

    With d the difference of two values, each value costs

    - ``charbonnier``: ``sqrt(d^2 + epsilon)`` (EDVR, section 3.4; Lai et al. 2017),
    - ``l1``: ``|d|``, ``l2``: ``d^2``,
    - ``marginal_l1``: ``max(|d|, epsilon)``, of the Ascend port: what is nearly right has no slope.

    The published loss is the ``sum`` over the samples of a device, some 2e4 for four of 256x256; the Ascend
    port has the mean over ``samples`` of their sums. With Adam the factor between them changes next to
    nothing, but a limit on the gradient's length does not mean the same.

    Args:
        restored: (B, ...) RGB, usually in [0, 1].
        sharp: the same shape.
        penalty: see above.
        reduction: ``sum`` over all values; ``samples``: the mean over samples of their sums; ``mean`` over
            all values.
        epsilon: see above; of ``l1`` and ``l2`` without a meaning.

    Returns:
        A scalar; float32 at least.

    Raises:
        UsageError: for an unknown name, or frames of two sizes.
    """
    if penalty not in get_args(Penalty) or reduction not in get_args(Reduction):
        raise UsageError(
            f"unknown penalty {penalty!r} or reduction {reduction!r}: use one of "
            f"{', '.join((*get_args(Penalty), *get_args(Reduction)))}"
        )
    if restored.shape != sharp.shape:
        raise UsageError(
            f"restored frames of {tuple(restored.shape)} and sharp ones of {tuple(sharp.shape)}: the truth "
            "has to have the size of what is restored"
        )
    wide = torch.promote_types(restored.dtype, torch.float32)  # squares of small errors vanish in bfloat16
    total = _penalty(restored.to(wide) - sharp.to(wide), penalty, epsilon).sum()
    return total / {"sum": 1, "samples": len(restored), "mean": restored.numel()}[reduction]


def _penalty(error: Tensor, penalty: Penalty, epsilon: float) -> Tensor:
    if penalty == "charbonnier":
        return (error.square() + epsilon).sqrt()
    if penalty == "l2":
        return error.square()
    return error.abs() if penalty == "l1" else error.abs().clamp(min=epsilon)


def offset_lengths(offsets: Sequence[Float[Tensor, "n _ _ _"]]) -> Float[Tensor, "levels"]:
    """Tell how far alignment looks: the mean absolute coordinate of its offsets at each level.

    BasicSR warns above 50, the authors' first code above 100: such offsets have left the frame, and training
    is lost. Here nothing waits for the device: read the numbers when the log is written.

    Args:
        offsets: (N, C, h, w) of each level, in pixels of the level.

    Returns:
        (levels,) float32, pixels, without gradient, on the device of the offsets.
    """
    return torch.stack([offset.detach().float().abs().mean() for offset in offsets])


def offset_excess(offsets: Sequence[Float[Tensor, "n _ _ _"]], *, limit: float) -> Float[Tensor, ""]:
    """What offsets are longer than they may be: a term of the loss that brings them back.

    A tap that looks outside of the frame reads zeros whichever way it moves, so that the loss of the restored
    frame has no slope there and cannot call it back; this term has. Below the limit it is exactly zero and
    changes nothing.

    Args:
        offsets: (N, C, h, w) of each level, in pixels of the level, with gradient.
        limit: the longest coordinate that costs nothing, in pixels.

    Returns:
        A scalar in pixels: the mean over the levels of the mean of ``max(|offset| - limit, 0)``. 0 without
        levels.

    Raises:
        UsageError: for a limit of 0 or less.
    """
    if not limit > 0:
        raise UsageError(f"limit of offsets is {limit}: give a length above 0, in pixels")
    if not offsets:
        return torch.zeros(())
    return torch.stack([(offset.float().abs() - limit).relu().mean() for offset in offsets]).mean()
