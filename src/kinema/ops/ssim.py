"""Structural similarity over windows of 3x3, with a weight per pixel."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError

Edges = Literal["average", "reflect"]

_WEIGHT_EPSILON = 0.01  # keeps the moments of windows without any weight defined


def weighted_ssim(
    first: Float[Tensor, "b c h w"],
    second: Float[Tensor, "b c h w"],
    *,
    weight: Float[Tensor, "b 1 h w"] | None = None,
    c1: float = math.inf,
    c2: float = 9e-6,
) -> tuple[Float[Tensor, "b c h2 w2"], Float[Tensor, "b 1 h2 w2"]]:
    """Structural dissimilarity, (1 - SSIM) / 2, of all 3x3 windows (Wang et al. 2004; weights as in UFlow).

    Args:
        first: (B, C, H, W) in [0, 1]; at least 3x3.
        second: (B, C, H, W) in [0, 1].
        weight: (B, 1, H, W), how much each pixel counts in the moments of its windows; None for 1.
        c1: steadies the comparison of the means; infinite, UFlow's choice, leaves it out.
        c2: steadies the comparison of contrast and structure.

    Returns:
        The dissimilarity (B, C, H - 2, W - 2) in [0, 1], 0 = equal, and the mean weight (B, 1, H - 2, W - 2)
        of each window. At least float32. Differentiable.
    """
    wide = torch.promote_types(first.dtype, torch.float32)
    x, y = first.to(wide), second.to(wide)
    counts = torch.ones_like(x[:, :1]) if weight is None else weight.to(wide)
    pooled = _pool(counts)
    share, total = counts + _WEIGHT_EPSILON, pooled + _WEIGHT_EPSILON

    def moment(values: Tensor) -> Tensor:
        return _pool(values * share) / total

    mean_x, mean_y = moment(x), moment(y)
    variances = moment(x.square() + y.square()) - mean_x.square() - mean_y.square()
    covariance = moment(x * y) - mean_x * mean_y
    ssim = (2 * covariance + c2) / (variances + c2)
    if math.isfinite(c1):
        ssim = ssim * (2 * mean_x * mean_y + c1) / (mean_x.square() + mean_y.square() + c1)
    return ((1 - ssim) / 2).clamp(0, 1), pooled


def dissimilarity_map(
    first: Float[Tensor, "b c h w"],
    second: Float[Tensor, "b c h w"],
    *,
    edges: Edges,
    c1: float = 1e-4,
    c2: float = 9e-4,
) -> Float[Tensor, "b c h w"]:
    """Structural dissimilarity, (1 - SSIM) / 2, of the 3x3 window around every pixel.

    Args:
        first: (B, C, H, W), any range; at least 2x2 pixels.
        second: (B, C, H, W).
        edges: ``"average"``: windows at the edge hold only the pixels that there are (GeoNet); ``"reflect"``:
            images are mirrored at their outermost pixels (monodepth2).
        c1: steadies the comparison of the means.
        c2: steadies the comparison of contrast and structure.

    Returns:
        (B, C, H, W) in [0, 1], 0 = equal. At least float32. Differentiable.

    Raises:
        UsageError: for another rule.
    """
    if edges not in get_args(Edges):
        raise UsageError(f"unknown rule for edges {edges!r}: use one of {', '.join(get_args(Edges))}")
    wide = torch.promote_types(first.dtype, torch.float32)
    x, y = first.to(wide), second.to(wide)
    covered: Tensor | float = 1.0  # share of each window that lies in the image
    if edges == "reflect":
        x, y = (F.pad(image, (1, 1, 1, 1), mode="reflect") for image in (x, y))
    else:
        x, y, inside = (F.pad(image, (1, 1, 1, 1)) for image in (x, y, torch.ones_like(x[:1, :1])))
        covered = _pool(inside)

    def mean(values: Tensor) -> Tensor:
        return _pool(values) / covered

    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x.square() + y.square()) - mean_x.square() - mean_y.square()
    covariance = mean(x * y) - mean_x * mean_y
    ssim = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    ssim = ssim / ((mean_x.square() + mean_y.square() + c1) * (variances + c2))
    return ((1 - ssim) / 2).clamp(0, 1)


def _pool(values: Tensor) -> Tensor:
    """Means over 3x3 windows, as sums of shifted maps: on a CPU three times as fast as torch's pooling."""
    rows = values[..., :-2] + values[..., 1:-1] + values[..., 2:]
    return (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9
