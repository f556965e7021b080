"""Objectives for optical flow with truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError

FlowUnit = Literal["twentieth", "level_pixels"]
Downsampling = Literal["triangle", "subsample"]
Penalty = Literal["l2", "robust", "legacy_robust"]

LEVEL_WEIGHTS = (0.32, 0.08, 0.02, 0.01, 0.005)
"""PWC-Net's weights of levels 6, 5, 4, 3, 2."""

FLOW_UNIT = 20.0  # full-resolution pixels per unit of flow in the authors' network


def endpoint_error_loss(
    flow: Float[Tensor, "b 2 h w"],
    truth: Float[Tensor, "b 2 h w"],
    *,
    valid: Float[Tensor, "b 1 h w"] | None = None,
    epsilon: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean endpoint error over valid pixels.

    Args:
        flow: (B, 2, H, W) pixels.
        truth: (B, 2, H, W) pixels; finite, also where it is not valid.
        valid: 1 where the truth counts; None for everywhere.
        epsilon: added to the squared error under the root. With 0, the published TVNet's loss, the gradient
            at exact equality is undefined.

    Returns:
        A scalar in pixels; 0 when no pixel is valid.
    """
    error = ((flow - truth).square().sum(1, keepdim=True) + epsilon).sqrt()
    if valid is None:
        return error.mean()
    return (error * valid).sum() / valid.sum().clamp(min=1)


def multiscale_loss(
    pyramid: Sequence[Float[Tensor, "b 2 _ _"]],
    truth: Float[Tensor, "b 2 h w"],
    *,
    valid: Float[Tensor, "b 1 h w"] | None = None,
    unit: FlowUnit = "twentieth",
    downsampling: Downsampling = "triangle",
    penalty: Penalty = "l2",
    weights: Sequence[float] = LEVEL_WEIGHTS,
    epsilon: float = 0.01,
    q: float = 0.4,
) -> Float[Tensor, ""]:
    """PWC-Net's objective: errors at every level, summed over pixels, meant over the batch (section 3, loss).

    With e the error of a pixel in the unit of the levels, level l contributes its weight times

    - ``l2``: the sum of ``sqrt(|e|^2 + epsilon)``. The authors' code has epsilon 0.01, tfoptflow 0 (where an
      exact hit has no gradient).
    - ``robust``: the sum of ``(|e_x| + |e_y| + epsilon)^q``, for fine-tuning.
    - ``legacy_robust``: ``(sum of |e_x| + |e_y|, plus epsilon)^q``, as tfoptflow does: the exponent acts on
      the whole level, so that it dampens the gradient and no outlier.

    Args:
        pyramid: (B, 2, h, w) flow of each level, coarsest first.
        truth: (B, 2, H, W) pixels of a grid that every level's grid covers; where it is not finite it does
            not count.
        valid: 1 where the truth counts; None for everywhere.
        unit: of the levels: ``twentieth`` of a pixel of the truth's grid, or ``level_pixels``.
        downsampling: of the truth, see `pyramid_truth`.
        penalty: see above.
        weights: one per level, coarsest first.
        epsilon: see above.
        q: see above.

    Returns:
        A scalar.

    Raises:
        UsageError: when weights and levels differ in number, or a name is unknown.
    """
    if len(weights) != len(pyramid):
        raise UsageError(f"{len(weights)} weights for {len(pyramid)} levels: give one per level")
    if penalty not in get_args(Penalty) or unit not in get_args(FlowUnit):
        raise UsageError(f"unknown penalty {penalty!r} or unit {unit!r}")
    total = truth.new_zeros((), dtype=torch.promote_types(truth.dtype, torch.float32))
    for weight, flow in zip(weights, pyramid, strict=True):
        target, counts = pyramid_truth(
            truth, (flow.shape[-2], flow.shape[-1]), valid=valid, downsampling=downsampling
        )
        scale = 1 / FLOW_UNIT if unit == "twentieth" else flow.shape[-1] / truth.shape[-1]
        error = (flow - target * scale) * counts
        total = total + weight * _level_penalty(error, counts, penalty, epsilon, q)
    return total


def _level_penalty(error: Tensor, counts: Tensor, penalty: Penalty, epsilon: float, q: float) -> Tensor:
    if penalty == "l2":
        cost = (error.square().sum(1, keepdim=True) + epsilon).sqrt()
    else:
        cost = error.abs().sum(1, keepdim=True)
        if penalty == "legacy_robust":
            return (cost.sum((1, 2, 3)).mean() + epsilon) ** q
        cost = (cost + epsilon) ** q
    return (cost * counts).sum((1, 2, 3)).mean()


def pyramid_truth(
    truth: Float[Tensor, "b 2 h w"],
    size_hw: tuple[int, int],
    *,
    valid: Float[Tensor, "b 1 h w"] | None = None,
    downsampling: Downsampling = "triangle",
) -> tuple[Float[Tensor, "b 2 h2 w2"], Float[Tensor, "b 1 h2 w2"]]:
    """Truth at the size of a level; its values stay in pixels of the full grid.

    Args:
        truth: (B, 2, H, W) pixels.
        size_hw: height and width of the level.
        valid: 1 where the truth counts; None for everywhere that it is finite.
        downsampling: ``triangle``: a triangle filter as wide as the ratio of the sizes, on corner-aligned
            coordinates, over valid pixels; a cell counts unless the weight of invalid pixels is more than
            half that of the valid ones (the authors' Caffe layer). ``subsample``: every s-th pixel from the
            first (tfoptflow).

    Returns:
        The truth (B, 2, H2, W2), 0 where it does not count, and where it counts (B, 1, H2, W2), 0 or 1.

    Raises:
        UsageError: for an unknown rule, or ``subsample`` to a size that does not divide the truth's.
    """
    h, w = truth.shape[-2:]
    known = truth.isfinite().all(1, keepdim=True)
    if valid is not None:
        known = known & (valid > 0)
    values, share = torch.where(known, truth, 0.0), known.to(truth.dtype)
    if downsampling == "subsample":
        if h % size_hw[0] or w % size_hw[1] or h // size_hw[0] != w // size_hw[1]:
            raise UsageError(f"truth of {h}x{w} cannot be subsampled to {size_hw[0]}x{size_hw[1]}")
        step = h // size_hw[0]
        return values[..., ::step, ::step], share[..., ::step, ::step]
    if downsampling != "triangle":
        raise UsageError(f"downsampling {downsampling!r} is unknown: use triangle or subsample")
    rows, columns = _triangle(h, size_hw[0], like=truth), _triangle(w, size_hw[1], like=truth)
    weight = rows @ share @ columns.T
    missing = rows @ (1 - share) @ columns.T
    counts = (weight > 0) & (missing <= weight / 2)
    mean = (rows @ values @ columns.T) / torch.where(counts, weight, 1.0)
    return torch.where(counts, mean, 0.0), counts.to(truth.dtype)


def _triangle(inputs: int, outputs: int, *, like: Tensor) -> Tensor:
    """(outputs, inputs) weights of a triangle filter along one axis; corners lie on corners."""
    ratio = (inputs - 1) / max(outputs - 1, 1)
    width = max(ratio, 1.0)
    centres = torch.arange(outputs, device=like.device, dtype=like.dtype)[:, None] * ratio
    if outputs == 1:
        centres = centres + (inputs - 1) / 2
    places = torch.arange(inputs, device=like.device, dtype=like.dtype)
    return (1 - (places - centres).abs() / width).clamp(min=0)


def l2_regularisation(
    parameters: Iterable[Float[Tensor, "..."]], *, weight: float = 4e-4
) -> Float[Tensor, ""]:
    """``weight`` times half the sum of all squared parameters, biases included, as in tfoptflow's loss.

    Args:
        parameters: at least one.
        weight: of the term.

    Returns:
        A scalar.
    """
    squares = [parameter.square().sum() for parameter in parameters]
    return weight / 2 * torch.stack(squares).sum()
