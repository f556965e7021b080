"""Objectives for depth and camera motion with truth, as rendered worlds give it, free of the unit of length.

Depth is z in the camera; true depth that is 0, negative or not finite does not count. All return sums with
counts of samples, see `kinema.losses.snippet.Part`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.losses.snippet import Part
from kinema.ops.pose import invert_pose, matmul, rotation_angle

_TINY = 1e-12  # under roots: keeps the slope at an exact hit finite


class DepthScale(NamedTuple):
    """How a predicted depth relates to the true one.

    Attributes:
        scale: (B,) geometric mean of predicted over true depth; 1 where no truth is known.
        distance: (B,) harmonic mean of true depth, the one that says how much a step of the camera moves the
            picture; 1 where no truth is known.
    """

    scale: Tensor
    distance: Tensor


def scale_invariant_log_loss(
    depth: Float[Tensor, "b 1 h w"],
    truth: Float[Tensor, "b 1 h w"],
    *,
    valid: Float[Tensor, "b 1 h w"] | None = None,
    invariance: float = 0.5,
    weight: float = 1.0,
) -> Part:
    """Mean square error of log depth, less a share of the square of its mean (Eigen et al. 2014, equation 4).

    With e = log depth - log truth: mean((e - mean e)^2) + (1 - invariance) (mean e)^2 of each image.

    Args:
        depth: (B, 1, H, W) above 0.
        truth: (B, 1, H, W), the same unit unless ``invariance`` is 1.
        valid: (B, 1, H, W) 1 = counts, besides known truth; None for everywhere.
        invariance: 0 asks for the true scale, 1 forgives any, 0.5 is the published middle.
        weight: of the term.

    Returns:
        Sum over images, and count of images with truth.
    """
    error, known = _log_error(depth, truth, valid)
    mean = _mean(error, known)
    spread = _mean((error - mean[:, None, None, None]).square(), known)
    return _per_image(spread + (1 - invariance) * mean.square(), known, weight)


def multiscale_gradient_loss(
    depth: Float[Tensor, "b 1 h w"],
    truth: Float[Tensor, "b 1 h w"],
    *,
    valid: Float[Tensor, "b 1 h w"] | None = None,
    scales: int = 4,
    weight: float = 1.0,
) -> Part:
    """Mean slope of the error of log depth, at several distances (Li and Snavely 2018, equation 3).

    It is blind to scale, keeps surfaces even, and puts their edges where they are. At scale k every 2^k-th
    pixel counts; slopes along x and y are added, scales averaged.

    Args:
        depth: (B, 1, H, W) above 0.
        truth: (B, 1, H, W).
        valid: (B, 1, H, W) 1 = counts, besides known truth; None for everywhere.
        scales: how many, at least 1.
        weight: of the term.

    Returns:
        Sum over images, and count of images with truth.
    """
    error, known = _log_error(depth, truth, valid)
    slopes = []
    for scale in range(scales):
        e, k = error[..., :: 2**scale, :: 2**scale], known[..., :: 2**scale, :: 2**scale]
        slopes.append(_mean((e[..., 1:] - e[..., :-1]).abs(), k[..., 1:] * k[..., :-1]))
        slopes.append(_mean((e[..., 1:, :] - e[..., :-1, :]).abs(), k[..., 1:, :] * k[..., :-1, :]))
    return _per_image(torch.stack(slopes).sum(0) / scales, known, weight)


def depth_scale(
    depth: Float[Tensor, "b 1 h w"],
    truth: Float[Tensor, "b 1 h w"],
    *,
    valid: Float[Tensor, "b 1 h w"] | None = None,
) -> DepthScale:
    """In which unit a predicted depth is, and how far away the scene is: what `pose_loss` needs.

    Args:
        depth: (B, 1, H, W) above 0.
        truth: (B, 1, H, W).
        valid: (B, 1, H, W) 1 = counts, besides known truth; None for everywhere.

    Returns:
        Scale and distance of each image; without gradient.
    """
    error, known = _log_error(depth.detach(), truth, valid)
    nearness = _mean(torch.where(known > 0, 1 / torch.where(known > 0, truth, 1.0), 0.0), known)
    return DepthScale(_mean(error, known).exp(), 1 / torch.where(nearness > 0, nearness, 1.0))


def pose_loss(
    T_b_from_a: Float[Tensor, "p 4 4"],
    truth: Float[Tensor, "p 4 4"],
    *,
    scale: Float[Tensor, "p"],
    distance: Float[Tensor, "p"],
    translation_weight: float = 1.0,
    rotation_weight: float = 1.0,
) -> dict[str, Part]:
    """Errors of camera motion by how much they move the picture: parallax and angle, both in radians.

    The translation, in the unit of the predicted depth, is brought to the true unit; its error is divided by
    the distance of the scene. That makes it the angle by which a point at that distance is off, of equal rank
    with the angle of the rotation, in rooms and in streets alike.

    Args:
        T_b_from_a: (P, 4, 4) predicted.
        truth: (P, 4, 4).
        scale: (P,) predicted unit per true unit, from `depth_scale`; ones if both are the same.
        distance: (P,) of the scene in true units, from `depth_scale`.
        translation_weight: of the one.
        rotation_weight: of the other.

    Returns:
        ``translation`` and ``rotation``: sums over pairs and their count.
    """
    shift = T_b_from_a[:, :3, 3] / scale[:, None] - truth[:, :3, 3]
    parallax = (shift.square().sum(-1) / distance.square() + _TINY).sqrt()
    turned = matmul(invert_pose(truth)[:, :3, :3], T_b_from_a[:, :3, :3])
    count = parallax.new_tensor(float(len(parallax)))
    return {
        "translation": Part(translation_weight * parallax.sum(), count),
        "rotation": Part(rotation_weight * rotation_angle(turned).sum(), count),
    }


def _log_error(depth: Tensor, truth: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log depth - log truth, 0 where truth is unknown, and where it is known."""
    known = (truth > 0) & truth.isfinite()
    if valid is not None:
        known = known & (valid > 0)
    wide = depth.to(torch.promote_types(depth.dtype, torch.float32))
    ratio = torch.where(known, wide, 1.0).log() - torch.where(known, truth, 1.0).to(wide.dtype).log()
    return ratio, known.to(wide.dtype)


def _mean(values: Tensor, known: Tensor) -> Tensor:
    """(B,): mean over known pixels, 0 where there are none."""
    return (values * known).sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(min=1)


def _per_image(loss: Tensor, known: Tensor, weight: float) -> Part:
    with_truth = (known.sum((1, 2, 3)) > 0).to(loss.dtype)
    return Part(weight * (loss * with_truth).sum(), with_truth.sum().clamp(min=1))
