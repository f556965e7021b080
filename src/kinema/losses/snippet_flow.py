"""Flow between the frames of a snippet from video alone: GeoNet's second stage as published, and repaired.

Frames are in time order with the target in the middle. ``forward`` leads from the target to each source,
``backward`` from each source to the target; both are whole flows, rigid part included, in pixels of their
grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.losses.snippet import (
    Part,
    as_pairs,
    frames_at,
    masked_part,
    mean_part,
    photometric_difference,
    published_difference,
    smoothness_part,
    split_snippet,
)
from kinema.ops.occlusion import consistency_occlusion, forward_backward_occlusion
from kinema.ops.warp import backward_warp

_PUBLISHED_EDGES = 2.0  # the published images lie in [-1, 1]: their edges are twice as high


def published_flow_loss(
    frames: Float[Tensor, "b n 3 h w"],
    forward: Sequence[Float[Tensor, "b s 2 _ _"]],
    backward: Sequence[Float[Tensor, "b s 2 _ _"]],
    *,
    alpha: float = 0.85,
    warp_weight: float = 1.0,
    smooth_weight: float = 0.2,
    consistency_weight: float = 0.2,
    consistency_alpha: float = 3.0,
    consistency_beta: float = 0.05,
) -> dict[str, Part]:
    """GeoNet's second stage (sections 3.3 and 3.4), number for number as its code computes it.

    Where no pixel is consistent the published code divides zero by zero; here that term is 0.

    Args:
        frames: (B, N, 3, H, W) in [0, 1], oldest first, the target in the middle.
        forward: per scale, finest first (H x W, then half of it ...): (B, N - 1, 2, h, w) pixels.
        backward: as ``forward``.
        alpha: of `kinema.losses.snippet.published_difference`.
        warp_weight: of the warps.
        smooth_weight: of the slopes of the flow, halved from scale to scale.
        consistency_weight: of the mismatch of both directions; 0 also leaves out the masks.
        consistency_alpha: see `kinema.ops.occlusion.consistency_occlusion`, in pixels of the frames.
        consistency_beta: see there.

    Returns:
        ``warp_forward_s``, ``smoothness_forward_s``, ``consistency_forward_s`` (unless its weight is 0) and
        the same ``_backward_s`` for each scale s.

    Raises:
        UsageError: for a single frame.
    """
    parts: dict[str, Part] = {}
    for scale, flows in enumerate(zip(forward, backward, strict=True)):
        size_hw = (flows[0].shape[-2], flows[0].shape[-1])
        targets, sources = as_pairs(*split_snippet(frames_at(frames, size_hw)))
        there, back = (flow.flatten(0, 1) for flow in flows)
        for name, here, other, flow, opposite in (
            ("forward", targets, sources, there, back),
            ("backward", sources, targets, back, there),
        ):
            warped = backward_warp(2 * other - 1, flow, border="geonet")
            error = published_difference(warped, 2 * here - 1, alpha=alpha).mean(1, keepdim=True)
            weight = warp_weight * flows[0].shape[1] / 2
            if consistency_weight:
                hidden = consistency_occlusion(
                    flow, opposite, alpha=consistency_alpha, beta=consistency_beta, scale=2.0**scale
                )
                missed = (flow + backward_warp(opposite, flow, border="geonet")).abs().mean(1, keepdim=True)
                parts[f"warp_{name}_{scale}"] = masked_part(error, 1 - hidden, weight, fewest=0.0)
                parts[f"consistency_{name}_{scale}"] = masked_part(
                    missed, 1 - hidden, consistency_weight / 2, fewest=0.0
                )
            else:
                parts[f"warp_{name}_{scale}"] = mean_part(error, weight)
            parts[f"smoothness_{name}_{scale}"] = smoothness_part(
                flow, here, smooth_weight / 2 ** (scale + 1), edges=_PUBLISHED_EDGES
            )
    return parts


def modern_flow_loss(
    frames: Float[Tensor, "b n 3 h w"],
    forward: Sequence[Float[Tensor, "b s 2 _ _"]],
    backward: Sequence[Float[Tensor, "b s 2 _ _"]],
    *,
    alpha: float = 0.85,
    smooth_weight: float = 0.2,
    edges: float = 10.0,
    consistency_weight: float = 0.01,
) -> dict[str, Part]:
    """The second stage's objective with the known weaknesses of the published one repaired.

    Only pixels count that stay in the image and on whose flow both directions agree (Sundaram et al. 2010);
    pictures lie in [0, 1], windows are mirrored at the edges, and where no pixel counts a term is 0. Every
    scale compares pictures of its own size: coarse ones show where far motion goes.

    Args:
        frames: (B, N, 3, H, W) in [0, 1], oldest first, the target in the middle; clean, not recoloured.
        forward: per scale, finest first: (B, N - 1, 2, h, w) pixels of its grid, any sizes.
        backward: as ``forward``.
        alpha: of `kinema.losses.snippet.photometric_difference`.
        smooth_weight: of the slopes of the flow, halved from scale to scale.
        edges: how quickly an edge of the image forgives a slope.
        consistency_weight: of the mismatch of both directions, in pixels; 0 leaves it out.

    Returns:
        ``photometric_forward_s``, ``smoothness_forward_s``, ``consistency_forward_s`` and the same
        ``_backward_s`` for each scale s. Their sum is a mean over scales.

    Raises:
        UsageError: for a single frame.
    """
    parts: dict[str, Part] = {}
    share = 1 / (2 * len(forward))
    for scale, flows in enumerate(zip(forward, backward, strict=True)):
        size_hw = (flows[0].shape[-2], flows[0].shape[-1])
        targets, sources = as_pairs(*split_snippet(frames_at(frames, size_hw)))
        there, back = (flow.flatten(0, 1) for flow in flows)
        for name, here, other, flow, opposite in (
            ("forward", targets, sources, there, back),
            ("backward", sources, targets, back, there),
        ):
            seen = 1 - forward_backward_occlusion(flow, opposite)
            fetched = backward_warp(torch.cat((other, opposite), dim=1), flow, border="replicate")
            error = photometric_difference(here, fetched[:, :3], alpha=alpha)
            parts[f"photometric_{name}_{scale}"] = masked_part(error, seen, share)
            parts[f"smoothness_{name}_{scale}"] = smoothness_part(
                flow, here, share * smooth_weight / 2**scale, edges=edges
            )
            if consistency_weight:
                missed = (flow + fetched[:, 3:]).abs().mean(1, keepdim=True)
                parts[f"consistency_{name}_{scale}"] = masked_part(missed, seen, share * consistency_weight)
    return parts
