"""Depth and camera motion from video alone: GeoNet's rigid objective as published, and a repaired one.

Both take frames in time order with the target in the middle, inverse depth of every frame (positive, any
unit), the poses of the sources, and intrinsics. They return sums with counts, which
`kinema.losses.snippet.total_loss` adds up. What the loss compares need not be what the networks saw: hand
over clean frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
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
from kinema.ops.camera import NEAR, intrinsics_pyramid, rigid_flow, rigid_motion
from kinema.ops.pose import invert_pose
from kinema.ops.resize import resize_image
from kinema.ops.warp import backward_warp, in_frame

Reprojection = Literal["minimum", "mean"]

_TIE = 1e-4  # photometric difference by which a warp may be worse than no warp and still learn
_PUBLISHED_EDGES = 2.0  # the published images lie in [-1, 1]: their edges are twice as high


def published_rigid_loss(
    frames: Float[Tensor, "b n 3 h w"],
    inverse_depths: Sequence[Float[Tensor, "b n 1 _ _"]],
    T_source_from_target: Float[Tensor, "b s 4 4"],
    K: Float[Tensor, "b 3 3"],
    *,
    alpha: float = 0.85,
    warp_weight: float = 1.0,
    smooth_weight: float = 0.5,
    scale_normalize: bool = False,
) -> dict[str, Part]:
    """GeoNet's first stage (section 3.2), number for number as its code computes it.

    At scale s, sources are warped to the target by the target's depth and the target to every source by the
    source's; each direction adds ``warp_weight S / 2`` times the mean of `published_difference`, and inverse
    depth ``smooth_weight / 2^s`` times its edge-aware slopes. Pixels that leave the image, are hidden or lie
    behind the camera take part as mid-grey.

    Args:
        frames: (B, N, 3, H, W) in [0, 1], oldest first, the target in the middle.
        inverse_depths: per scale, finest first (H x W, then half of it ...): (B, N, 1, h, w), in the order of
            the frames.
        T_source_from_target: (B, N - 1, 4, 4), sources in time order.
        K: (B, 3, 3) pixels; divided by 2^s at scale s.
        alpha: of `published_difference`.
        warp_weight: of the warps.
        smooth_weight: of the slopes.
        scale_normalize: divide inverse depth by its own mean over the image, before all else.

    Returns:
        ``warp_forward_s``, ``warp_backward_s``, ``smoothness_s`` for each scale s.

    Raises:
        UsageError: for a single frame.
    """
    parts: dict[str, Part] = {}
    sizes = [(one.shape[-2], one.shape[-1]) for one in inverse_depths]
    intrinsics = intrinsics_pyramid(K, sizes, convention="plain")
    if scale_normalize:
        inverse_depths = [one / one.mean((-2, -1), keepdim=True) for one in inverse_depths]
    for scale, (inverse, K_scale) in enumerate(zip(inverse_depths, intrinsics, strict=True)):
        images = frames_at(frames, sizes[scale])
        errors = _published_errors(2 * images - 1, 1 / inverse, T_source_from_target, K_scale, alpha)
        weight = warp_weight * T_source_from_target.shape[1] / 2
        for name, error in zip(("forward", "backward"), errors, strict=True):
            parts[f"warp_{name}_{scale}"] = mean_part(error, weight)
        parts[f"smoothness_{scale}"] = smoothness_part(
            inverse.flatten(0, 1), images.flatten(0, 1), smooth_weight / 2**scale, edges=_PUBLISHED_EDGES
        )
    return parts


def _published_errors(
    images: Tensor, depths: Tensor, T_source_from_target: Tensor, K: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """Of both directions, every pixel and channel."""
    targets, sources = as_pairs(*split_snippet(images))
    target_depths, source_depths = as_pairs(*split_snippet(depths))
    T = T_source_from_target.flatten(0, 1)
    K = K.repeat_interleave(T_source_from_target.shape[1], 0)
    forward = rigid_flow(target_depths, T, K, near=None)
    backward = rigid_flow(source_depths, invert_pose(T), K, near=None)
    to_target = backward_warp(sources, forward, border="geonet")
    to_source = backward_warp(targets, backward, border="geonet")
    return (
        published_difference(to_target, targets, alpha=alpha),
        published_difference(to_source, sources, alpha=alpha),
    )


def modern_rigid_loss(
    frames: Float[Tensor, "b n 3 h w"],
    inverse_depths: Sequence[Float[Tensor, "b n 1 _ _"]],
    T_source_from_target: Float[Tensor, "b s 4 4"],
    K: Float[Tensor, "b 3 3"],
    *,
    alpha: float = 0.85,
    smooth_weight: float = 1e-3,
    geometry_weight: float = 0.5,
    reprojection: Reprojection = "minimum",
    auto_mask: bool = True,
    near: float = NEAR,
) -> dict[str, Part]:
    """The rigid objective with the known weaknesses of the published one repaired.

    - Only pixels count that land in front of the other camera and inside its image.
    - ``reprojection="minimum"``: of the target's sources, at every pixel the one that fits best (Godard et
      al. 2019, section 3.2): what is hidden in one is often seen in the other.
    - ``auto_mask``: pixels learn nothing that the other frame fits better as it is, unmoved: still cameras,
      things that move along with the camera. They count as much as their unmoved difference, and so do those
      that leave the image: to explain nothing is never cheap, and losses of held-out clips can be compared.
    - Geometry (Bian et al. 2019, section 3.3): with d' the depth of a point in the other camera and d the one
      predicted there, ``|d' - d| / (d' + d)`` is a loss, and what agrees less weighs less in the warps. It
      keeps one scale over a whole video.
    - Every scale is brought to full size before warping.
    - Slopes are those of inverse depth over its mean, which do not reward a shrinking scene.

    Args:
        frames: (B, N, 3, H, W) in [0, 1], oldest first, the target in the middle; clean, not recoloured.
        inverse_depths: per scale, finest first: (B, N, 1, h, w) above 0, in the order of the frames; any
            sizes.
        T_source_from_target: (B, N - 1, 4, 4), sources in time order.
        K: (B, 3, 3) pixels of the frames.
        alpha: of `kinema.losses.snippet.photometric_difference`.
        smooth_weight: of the slopes, halved from scale to scale.
        geometry_weight: of the disagreement of depths; 0 leaves out the weighting of the warps as well.
        reprojection: see above; ``"mean"`` counts every source.
        auto_mask: see above.
        near: see `kinema.ops.camera.project`, in the unit of depth.

    Returns:
        ``photometric_s``, ``smoothness_s`` and, unless its weight is 0, ``geometry_s`` for each scale s; the
        sum of all is a mean over scales.

    Raises:
        UsageError: for a single frame, or an unknown name.
    """
    if reprojection not in get_args(Reprojection):
        raise UsageError(f"unknown reprojection {reprojection!r}: use 'minimum' or 'mean'")
    views = _Views.of(frames, T_source_from_target, K, alpha=alpha)
    share = 1 / len(inverse_depths)
    parts: dict[str, Part] = {}
    for scale, inverse in enumerate(inverse_depths):
        size_hw = (inverse.shape[-2], inverse.shape[-1])
        seen = _look(views, _full_depths(inverse, frames), alpha=alpha, near=near)
        trust = 1 - seen.disagreement.detach() if geometry_weight else torch.ones_like(seen.error)
        chosen = _chosen(seen, views.unmoved, trust, snippets=len(frames), reprojection=reprojection)
        parts[f"photometric_{scale}"] = _photometric_part(chosen, share, auto_mask=auto_mask)
        mean = inverse.mean((-2, -1), keepdim=True)
        parts[f"smoothness_{scale}"] = smoothness_part(
            (inverse / mean).flatten(0, 1),
            frames_at(frames, size_hw).flatten(0, 1),
            share * smooth_weight / 2**scale,
            edges=1.0,
        )
        if geometry_weight:
            parts[f"geometry_{scale}"] = masked_part(seen.disagreement, seen.valid, share * geometry_weight)
    return parts


class _Views(NamedTuple):
    """All ordered pairs of views: B S from the target to a source, then B S from a source to the target."""

    first: Tensor
    second: Tensor
    T_second_from_first: Tensor
    K: Tensor
    unmoved: Tensor  # (2 B S, 1, H, W): how different both frames are as they are

    @staticmethod
    def of(frames: Tensor, T_source_from_target: Tensor, K: Tensor, *, alpha: float) -> _Views:
        targets, sources = as_pairs(*split_snippet(frames))
        T = T_source_from_target.flatten(0, 1)
        unmoved = photometric_difference(targets, sources, alpha=alpha)
        return _Views(
            torch.cat((targets, sources)),
            torch.cat((sources, targets)),
            torch.cat((T, invert_pose(T))),
            K.repeat_interleave(T_source_from_target.shape[1], 0).repeat(2, 1, 1),
            unmoved.repeat(2, 1, 1, 1),
        )


class _Seen(NamedTuple):
    """What the second view of every pair looks like from the first; each (2 B S, 1, H, W)."""

    error: Tensor
    disagreement: Tensor
    valid: Tensor


def _full_depths(inverse: Tensor, frames: Tensor) -> Tensor:
    """(B, N, 1, H, W) depth of one scale at the size of the frames."""
    size_hw = (frames.shape[-2], frames.shape[-1])
    full = resize_image(inverse.flatten(0, 1), size_hw, antialias=False)
    wide = full.to(torch.promote_types(full.dtype, torch.float32))
    return 1 / wide.view(*inverse.shape[:2], 1, *size_hw)


def _look(views: _Views, depths: Tensor, *, alpha: float, near: float) -> _Seen:
    targets, sources = as_pairs(*split_snippet(depths))
    first, second = torch.cat((targets, sources)), torch.cat((sources, targets))
    motion = rigid_motion(first, views.T_second_from_first, views.K, near=near)
    valid = motion.valid * in_frame(motion.flow)
    # One fetch for picture and depth: both lie at the same places.
    fetched = backward_warp(torch.cat((views.second, second), dim=1), motion.flow, border="replicate")
    error = photometric_difference(views.first, fetched[:, :3], alpha=alpha)
    predicted, moved = fetched[:, 3:], torch.where(valid > 0, motion.depth, fetched[:, 3:].detach())
    return _Seen(error, (moved - predicted).abs() / (moved + predicted), valid)


class _Chosen(NamedTuple):
    """What counts at each pixel of the target and of the sources, or of all pairs; each (M, 1, H, W)."""

    error: Tensor
    unmoved: Tensor
    trust: Tensor
    valid: Tensor


def _chosen(
    seen: _Seen, unmoved: Tensor, trust: Tensor, *, snippets: int, reprojection: Reprojection
) -> _Chosen:
    """All pairs; by minimum reprojection, of a target's pairs the one that fits best at each pixel."""
    if reprojection == "mean":
        return _Chosen(seen.error, unmoved, trust, seen.valid)
    count = len(seen.error) // 2  # pairs that begin at a target
    offers = torch.where(seen.valid > 0, seen.error.detach(), torch.inf)[:count]
    best = offers.view(snippets, -1, *offers.shape[-2:]).argmin(1, keepdim=True)

    def pick(values: Tensor) -> Tensor:
        of_targets = values[:count].view(snippets, -1, *values.shape[-2:])
        return torch.cat((of_targets.gather(1, best), values[count:]))

    least = unmoved[:count].view(snippets, -1, *unmoved.shape[-2:]).amin(1, keepdim=True)
    return _Chosen(pick(seen.error), torch.cat((least, unmoved[count:])), pick(trust), pick(seen.valid))


def _photometric_part(chosen: _Chosen, weight: float, *, auto_mask: bool) -> Part:
    if not auto_mask:
        return masked_part(chosen.trust * chosen.error, chosen.valid, weight)
    # A camera that has not learned to move yet fits as well as no motion, up to rounding: it must learn.
    better = (chosen.error < chosen.unmoved + _TIE).to(chosen.error.dtype)
    gain = chosen.valid * better * chosen.trust * (chosen.error - chosen.unmoved)
    return mean_part(chosen.unmoved + gain, weight)
