"""Which pixels of frame 1 are hidden in frame 2, estimated from the flows of both directions.

``flow`` leads from frame 1 to frame 2, ``backward`` from frame 2 to frame 1, both in pixels of the same
grid. With b' = backward fetched along the flow, d = |flow + b'|^2 and q = |flow|^2 + |b'|^2 (squared
pixels). Results are masks (B, 1, H, W) over frame 1, 1 = occluded. Where a method is a threshold it has no
gradient; soft ones have.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops.warp import Border, backward_warp, in_frame, range_map

OcclusionMethod = Literal[
    "none", "brox", "fb_abs", "wang", "wang4", "wangthres", "wang4thres", "uflow", "geonet"
]

# Added per component before squaring, as in GeoNet: keeps the gradient of a norm finite.
_NORM_EPSILON = 1e-10


def forward_backward_error(
    flow: Float[Tensor, "b 2 h w"], backward: Float[Tensor, "b 2 h w"], *, border: Border = "zeros"
) -> Float[Tensor, "b 1 h w"]:
    """How far a pixel misses its start after going along the flow and back: d, in squared pixels.

    Args:
        flow: (B, 2, H, W) frame 1 to 2, pixels.
        backward: (B, 2, H, W) frame 2 to 1, pixels.
        border: how the backward flow is fetched outside the frame; by default it is 0 there.

    Returns:
        (B, 1, H, W), 0 and above; differentiable in both.
    """
    difference = flow + backward_warp(backward, flow, border=border)
    return difference.square().sum(dim=1, keepdim=True)


def forward_backward_occlusion(
    flow: Float[Tensor, "b 2 h w"],
    backward: Float[Tensor, "b 2 h w"],
    *,
    alpha1: float = 0.01,
    alpha2: float = 0.5,
    frame_exit: bool = True,
) -> Float[Tensor, "b 1 h w"]:
    """Occluded where d > alpha1 q + alpha2 (Sundaram et al. 2010; constants of UnFlow).

    Args:
        flow: (B, 2, H, W) frame 1 to 2, pixels.
        backward: (B, 2, H, W) frame 2 to 1, pixels.
        alpha1: share of the squared flow lengths that is tolerated.
        alpha2: squared pixels that are tolerated anywhere.
        frame_exit: pixels whose flow leaves the frame are occluded too. UFlow's "brox" leaves that out.

    Returns:
        (B, 1, H, W), 1 = occluded, also where the flow is not finite. No gradient.
    """
    error, length = _error_and_length(flow.detach(), backward.detach())
    consistent = error.isfinite() & (error <= alpha1 * length + alpha2)
    if frame_exit:
        consistent = consistent & (in_frame(flow) > 0)
    return (~consistent).to(flow.dtype)


def absolute_occlusion(
    flow: Float[Tensor, "b 2 h w"], backward: Float[Tensor, "b 2 h w"], *, threshold: float = 1.5
) -> Float[Tensor, "b 1 h w"]:
    """Occluded where sqrt(d) exceeds a number of pixels (UFlow's "fb_abs").

    Args:
        flow: (B, 2, H, W) frame 1 to 2, pixels.
        backward: (B, 2, H, W) frame 2 to 1, pixels.
        threshold: pixels.

    Returns:
        (B, 1, H, W), 1 = occluded, also where the flow is not finite. No gradient.
    """
    error = forward_backward_error(flow.detach(), backward.detach())
    return (~(error.sqrt() <= threshold)).to(flow.dtype)


def range_occlusion(
    backward: Float[Tensor, "b 2 h w"], *, factor: int = 1, threshold: float | None = None
) -> Float[Tensor, "b 1 h w"]:
    """Occluded where no pixel of frame 2 points back to: 1 - clip(R(backward), 0, 1).

    Wang et al. 2018, section 3.2; UFlow's "wang". R is `kinema.ops.warp.range_map`.

    Args:
        backward: (B, 2, H, W) frame 2 to 1, pixels.
        factor: of the range map; 4 is UFlow's "wang4".
        threshold: None for the soft mask; a number (UFlow: 0.75) for 1 where R is below it.

    Returns:
        (B, 1, H, W), 0 to 1, 1 = occluded. The soft mask is differentiable.

    Raises:
        UsageError: if ``factor`` is below 1 or larger than the image.
    """
    reached = range_map(backward, factor=factor)
    if threshold is None:
        return 1 - reached.clamp(0, 1)
    return (reached < threshold).to(backward.dtype)


def combined_occlusion(
    flow: Float[Tensor, "b 2 h w"],
    backward: Float[Tensor, "b 2 h w"],
    *,
    thresholds: tuple[float, float, float] = (1.5, 0.4, 0.25),
    weights: tuple[float, float, float] = (1000.0, 1000.0, 1000.0),
) -> Float[Tensor, "b 1 h w"]:
    """UFlow's soft mask: sigmoid of the weighted sum of three scores less their thresholds.

    The scores are sqrt(d) clipped to [0, 10]; how crowded the target is, R(flow) fetched along the flow,
    clipped to [1, 5], less 1; and how little points back, ``range_occlusion(backward, factor=4)``.

    Args:
        flow: (B, 2, H, W) frame 1 to 2, pixels.
        backward: (B, 2, H, W) frame 2 to 1, pixels.
        thresholds: pixels, crowding and share at which a score is neutral.
        weights: how sharply each score counts.

    Returns:
        (B, 1, H, W), 0 to 1, 1 = occluded; differentiable.
    """
    # sqrt has no gradient at 0, where both flows agree exactly.
    missed = forward_backward_error(flow, backward).clamp(min=_NORM_EPSILON).sqrt().clamp(0, 10)
    crowded = backward_warp(range_map(flow), flow).clamp(1, 5) - 1
    scores = (missed, crowded, range_occlusion(backward, factor=4))
    total = torch.zeros_like(missed)
    for score, threshold, weight in zip(scores, thresholds, weights, strict=True):
        total = total + weight * (score - threshold)
    return total.sigmoid()


def consistency_occlusion(
    flow: Float[Tensor, "b 2 h w"],
    backward: Float[Tensor, "b 2 h w"],
    *,
    alpha: float = 3.0,
    beta: float = 0.05,
    scale: float = 1.0,
) -> Float[Tensor, "b 1 h w"]:
    """Occluded where scale sqrt(d) >= max(alpha, beta scale |flow|), with GeoNet's border rule and norms.

    Args:
        flow: (B, 2, H, W) frame 1 to 2, pixels.
        backward: (B, 2, H, W) frame 2 to 1, pixels.
        alpha: pixels of the full-size image that are tolerated anywhere.
        beta: share of the flow's length that is tolerated.
        scale: full-size pixels per pixel of this grid (2^s at scale s).

    Returns:
        (B, 1, H, W), 1 = occluded, also where the flow is not finite. No gradient.
    """
    flow, backward = flow.detach(), backward.detach()
    missed = _norm((flow + backward_warp(backward, flow, border="geonet")).abs())
    tolerated = (beta * scale * _norm(flow)).clamp(min=alpha)
    return (~(missed * scale < tolerated)).to(flow.dtype)


def estimate_occlusion(
    flow: Float[Tensor, "b 2 h w"], backward: Float[Tensor, "b 2 h w"], *, method: OcclusionMethod
) -> Float[Tensor, "b 1 h w"]:
    """The published masks by name.

    - ``"none"``: 0 everywhere.
    - ``"brox"``: `forward_backward_occlusion` without the frame exit.
    - ``"fb_abs"``: `absolute_occlusion`.
    - ``"wang"``, ``"wang4"``: `range_occlusion` with factor 1 or 4.
    - ``"wangthres"``, ``"wang4thres"``: the same, 1 where the range map is below 0.75.
    - ``"uflow"``: `combined_occlusion`.
    - ``"geonet"``: `consistency_occlusion`.

    Args:
        flow: (B, 2, H, W) frame 1 to 2, pixels.
        backward: (B, 2, H, W) frame 2 to 1, pixels.
        method: one of the names above.

    Returns:
        (B, 1, H, W), 0 to 1, 1 = occluded.

    Raises:
        UsageError: for another name.
    """
    if method == "none":
        return torch.zeros_like(flow[:, :1])
    if method == "brox":
        return forward_backward_occlusion(flow, backward, frame_exit=False)
    if method == "fb_abs":
        return absolute_occlusion(flow, backward)
    if method in ("wang", "wang4", "wangthres", "wang4thres"):
        factor = 4 if method.startswith("wang4") else 1
        return range_occlusion(backward, factor=factor, threshold=0.75 if method.endswith("thres") else None)
    if method == "uflow":
        return combined_occlusion(flow, backward)
    if method == "geonet":
        return consistency_occlusion(flow, backward)
    raise UsageError(
        f"unknown occlusion method {method!r}: use one of {', '.join(get_args(OcclusionMethod))}"
    )


def confidence(
    flow: Float[Tensor, "b 2 h w"],
    backward: Float[Tensor, "b 2 h w"],
    *,
    alpha1: float = 0.01,
    alpha2: float = 0.5,
) -> Float[Tensor, "b 1 h w"]:
    """How well both directions agree: exp(-d / (alpha1 q + alpha2)), and 0 where the flow leaves the frame.

    1 is perfect agreement; exp(-1) = 0.37 is the threshold of `forward_backward_occlusion` with the same
    constants.

    Args:
        flow: (B, 2, H, W) frame 1 to 2, pixels.
        backward: (B, 2, H, W) frame 2 to 1, pixels.
        alpha1: share of the squared flow lengths that is tolerated.
        alpha2: squared pixels that are tolerated anywhere.

    Returns:
        (B, 1, H, W), 0 to 1; 0 where the flow is not finite. Differentiable.
    """
    error, length = _error_and_length(flow, backward)
    agreement = torch.exp(-error / (alpha1 * length + alpha2))
    return torch.where(in_frame(flow) > 0, agreement, 0.0).nan_to_num(nan=0.0)


def gaussian_consistency(
    flow: Float[Tensor, "b 2 h w"], backward: Float[Tensor, "b 2 h w"], *, sigma: float
) -> Float[Tensor, "b 1 h w"]:
    """UFlow's confidence for self-supervision: exp(-d / (sigma^2 (h^2 + w^2))).

    Args:
        flow: (B, 2, H, W) frame 1 to 2, pixels.
        backward: (B, 2, H, W) frame 2 to 1, pixels.
        sigma: tolerated miss as a share of the image diagonal (teacher 0.003, student 0.03).

    Returns:
        (B, 1, H, W), 0 to 1; differentiable.
    """
    height, width = flow.shape[-2:]
    return torch.exp(-forward_backward_error(flow, backward) / (sigma**2 * (height**2 + width**2)))


def _error_and_length(flow: Tensor, backward: Tensor) -> tuple[Tensor, Tensor]:
    """The d and q of the module's first lines, from one fetch of the backward flow."""
    fetched = backward_warp(backward, flow)
    error = (flow + fetched).square().sum(dim=1, keepdim=True)
    return error, flow.square().sum(dim=1, keepdim=True) + fetched.square().sum(dim=1, keepdim=True)


def _norm(vectors: Tensor) -> Tensor:
    return (vectors + _NORM_EPSILON).square().sum(dim=1, keepdim=True).sqrt()
