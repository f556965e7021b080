"""Objectives for optical flow with truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.models.pwcnet_settings import FLOW_UNIT, FlowUnit

Downsampling = Literal["triangle", "area", "subsample"]
Penalty = Literal["l2", "robust", "legacy_robust"]
CellWeight = Literal["share", "whole"]

LEVEL_WEIGHTS = (0.32, 0.08, 0.02, 0.01, 0.005)
"""PWC-Net's weights of levels 6, 5, 4, 3, 2: for sums over the cells of each level."""

REFERENCE_PIXELS = 384 * 448
"""The published losses are sums over a crop of this size; where pixels are counted, one such crop is 1."""

_ROUNDING = 1e-6  # of shares that are sums of weights


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
    """PWC-Net's objective as published: errors of all cells of all levels, meant over the batch (section 3).

    A cell counts whole or not at all. To train with masks, with crops of several sizes or on several devices,
    use `multiscale_errors`, which this one is made of.

    Args:
        pyramid: (B, 2, h, w) flow of each level, coarsest first.
        truth: (B, 2, H, W) pixels of a grid that every level's grid covers; where it is not finite it does
            not count.
        valid: 1 where the truth counts; None for everywhere.
        unit: as in `multiscale_errors`.
        downsampling: of the truth, see `pyramid_truth`.
        penalty: as in `multiscale_errors`.
        weights: one per level, coarsest first.
        epsilon: as in `multiscale_errors`.
        q: as in `multiscale_errors`.

    Returns:
        A scalar.

    Raises:
        UsageError: when weights and levels differ in number, or a name is unknown.
    """
    sums = multiscale_errors(
        pyramid,
        truth,
        weight=None if valid is None else (valid > 0).to(truth.dtype),
        unit=unit,
        downsampling=downsampling,
        penalty=penalty,
        weights=weights,
        cells="whole",
        epsilon=epsilon,
        q=q,
    )
    return torch.stack(sums).sum() / len(truth)


def multiscale_errors(
    pyramid: Sequence[Float[Tensor, "b 2 _ _"]],
    truth: Float[Tensor, "b 2 h w"],
    *,
    weight: Float[Tensor, "b 1 h w"] | None = None,
    unit: FlowUnit = "twentieth",
    downsampling: Downsampling = "triangle",
    penalty: Penalty = "l2",
    weights: Sequence[float] = LEVEL_WEIGHTS,
    cells: CellWeight = "share",
    epsilon: float = 0.01,
    q: float = 0.4,
) -> list[Float[Tensor, ""]]:
    """Sum the weighted errors of each level of PWC-Net (section 3, "training loss").

    With e the error of a cell in the unit of the levels, and c what the cell counts, level l gives its weight
    times

    - ``l2``: the sum of ``c sqrt(|e|^2 + epsilon)``. The authors' code has epsilon 0.01, tfoptflow 0 (where
      an exact hit has no gradient).
    - ``robust``: the sum of ``c (|e_x| + |e_y| + epsilon)^q``, for fine-tuning.
    - ``legacy_robust``: B times ``(the batch's mean sum of c (|e_x| + |e_y|), plus epsilon)^q``, as tfoptflow
      does: the exponent acts on the whole level, so that it dampens the gradient and no outlier. It is a sum
      over the samples of one device only.

    Args:
        pyramid: (B, 2, h, w) flow of each level, coarsest first.
        truth: (B, 2, H, W) pixels of a grid that every level's grid covers; where it is not finite it does
            not count.
        weight: how much each pixel counts, 0 or more; None for 1 everywhere.
        unit: of the levels: ``twentieth`` of a pixel of the truth's grid, or ``level_pixels``.
        downsampling: of the truth, see `pyramid_truth`.
        penalty: see above.
        weights: one per level, coarsest first.
        cells: what a cell with truth counts: ``share``, the mean weight of its pixels, or ``whole``, 1.
        epsilon: see above.
        q: see above.

    Returns:
        Per level: the sum over samples and cells. Over B, with ``whole``, they are the published loss. Over
        ``weight.sum() / REFERENCE_PIXELS``, with ``share``, they are what that loss is for a crop of 384x448,
        and depend on neither masks nor the size of the crop nor how samples are spread over devices.

    Raises:
        UsageError: when weights and levels differ in number, or a name is unknown.
    """
    if len(weights) != len(pyramid):
        raise UsageError(f"{len(weights)} weights for {len(pyramid)} levels: give one per level")
    if (
        penalty not in get_args(Penalty)
        or unit not in get_args(FlowUnit)
        or cells not in get_args(CellWeight)
    ):
        raise UsageError(f"unknown penalty {penalty!r}, unit {unit!r} or cells {cells!r}")
    sizes = [(flow.shape[-2], flow.shape[-1]) for flow in pyramid]
    targets = _cells(truth, weight, sizes, downsampling)
    sums = []
    for level_weight, flow, (target, counts) in zip(weights, pyramid, targets, strict=True):
        scale = 1 / FLOW_UNIT if unit == "twentieth" else flow.shape[-1] / truth.shape[-1]
        if cells == "whole":
            counts = (counts > 0).to(counts.dtype)
        error = torch.where(counts > 0, flow - target * scale, 0.0)
        sums.append(level_weight * _level_penalty(error, counts, penalty, epsilon, q))
    return sums


def _level_penalty(error: Tensor, counts: Tensor, penalty: Penalty, epsilon: float, q: float) -> Tensor:
    if penalty == "l2":
        squared = error.square().sum(1, keepdim=True)
        # 1 under the root where nothing counts: with an epsilon of 0 its slope would not be a number.
        return (counts * (torch.where(counts > 0, squared, 1.0) + epsilon).sqrt()).sum()
    cost = error.abs().sum(1, keepdim=True)
    if penalty == "legacy_robust":
        return len(error) * ((counts * cost).sum((1, 2, 3)).mean() + epsilon) ** q
    return (counts * (torch.where(counts > 0, cost, 1.0) + epsilon) ** q).sum()


def pyramid_truth(
    truth: Float[Tensor, "b 2 h w"],
    size_hw: tuple[int, int],
    *,
    weight: Float[Tensor, "b 1 h w"] | None = None,
    downsampling: Downsampling = "triangle",
) -> tuple[Float[Tensor, "b 2 h2 w2"], Float[Tensor, "b 1 h2 w2"]]:
    """Truth at the size of a level; its values stay in pixels of the full grid.

    A cell's truth is the mean over its pixels, each with its weight. A cell has no truth when what is unknown
    (weight 0, or not finite) is more than half of what is known.

    Args:
        truth: (B, 2, H, W) pixels.
        size_hw: height and width of the level.
        weight: how much each pixel counts, 0 or more; None for 1 everywhere.
        downsampling: which pixels are a cell's. ``triangle``: a triangle filter as wide as the ratio of the
            sizes, on corner-aligned coordinates (the authors' Caffe layer). ``area``: the pixels that the
            cell covers. ``subsample``: every s-th pixel from the first (tfoptflow).

    Returns:
        The truth (B, 2, H2, W2), 0 where there is none, and what each cell counts (B, 1, H2, W2): the mean
        weight of its pixels, 0 where there is no truth.

    Raises:
        UsageError: for an unknown rule, or ``subsample`` to a size that does not divide the truth's.
    """
    return _cells(truth, weight, [size_hw], downsampling)[0]


def _cells(
    truth: Tensor, weight: Tensor | None, sizes: Sequence[tuple[int, int]], downsampling: Downsampling
) -> list[tuple[Tensor, Tensor]]:
    """`pyramid_truth` at several sizes."""
    if downsampling not in get_args(Downsampling):
        known_rules = ", ".join(get_args(Downsampling))
        raise UsageError(f"downsampling {downsampling!r} is unknown: use {known_rules}")
    known = (truth * 0).sum(1, keepdim=True) == 0  # finite, in fewer passes than isfinite takes
    if weight is not None:
        known = known & (weight > 0)
    share = known.to(truth.dtype) if weight is None else torch.where(known, weight, 0.0)
    parts = torch.cat([torch.where(known, truth * share, 0.0), share, known.to(truth.dtype)], 1)
    found = []
    for size_hw in sizes:
        shrunk = _shrink(parts, size_hw, downsampling)
        total, mean, covered = shrunk[:, :2], shrunk[:, 2:3], shrunk[:, 3:]
        has_truth = (covered > 0) & (1 - covered <= covered / 2 + _ROUNDING)
        flow = torch.where(has_truth, total / torch.where(has_truth, mean, 1.0), 0.0)
        found.append((flow, torch.where(has_truth, mean, 0.0)))
    return found


def _shrink(values: Tensor, size_hw: tuple[int, int], downsampling: Downsampling) -> Tensor:
    """Mean over each cell, by one of the rules of `pyramid_truth`."""
    h, w = values.shape[-2:]
    if downsampling == "area":
        return F.adaptive_avg_pool2d(values, size_hw)
    if downsampling == "subsample":
        if h % size_hw[0] or w % size_hw[1] or h // size_hw[0] != w // size_hw[1]:
            raise UsageError(f"truth of {h}x{w} cannot be subsampled to {size_hw[0]}x{size_hw[1]}")
        step = h // size_hw[0]
        return values[..., ::step, ::step]
    rows, columns = _triangle(h, size_hw[0], like=values), _triangle(w, size_hw[1], like=values)
    with torch.autocast(values.device.type, enabled=False):  # truth is not rounded to bfloat16
        return rows @ values @ columns.T


def _triangle(inputs: int, outputs: int, *, like: Tensor) -> Tensor:
    """(outputs, inputs) weights of a triangle filter along one axis, of sum 1; corners lie on corners."""
    ratio = (inputs - 1) / max(outputs - 1, 1)
    width = max(ratio, 1.0)
    centres = torch.arange(outputs, device=like.device, dtype=like.dtype)[:, None] * ratio
    if outputs == 1:
        centres = centres + (inputs - 1) / 2
    places = torch.arange(inputs, device=like.device, dtype=like.dtype)
    weights = (1 - (places - centres).abs() / width).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


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
