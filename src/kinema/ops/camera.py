"""Pinhole cameras: pixels to points and back, and the flow that a moving camera makes of a still scene.

Pixels are (x, y) with whole numbers at pixel centres. Depth is z in the camera, positive; 0, negative or not
finite is unknown. ``K`` is [[fx, s, cx], [0, fy, cy], [0, 0, 1]] in pixels. Poses are 4x4 matrices that name
both frames, see `kinema.ops.pose`. All arithmetic is at least float32, also under autocast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops.grid import pixel_grid
from kinema.ops.resize import IntrinsicsConvention, resize_intrinsics
from kinema.ops.warp import Border, backward_warp, in_frame

NEAR = 1e-3
"""How far in front of a camera a point must lie to be seen, in the unit of depth."""

_PUBLISHED_EPSILON = 1e-10  # GeoNet divides by z + 1e-10, whatever its sign


class Projection(NamedTuple):
    """Where points are seen.

    Attributes:
        points_xy: (B, 2, H, W) pixels; (0, 0) where not valid.
        depth: (B, 1, H, W) z in the camera, of any sign.
        valid: (B, 1, H, W) 1 where the point is in front of the camera; it may lie outside the image.
    """

    points_xy: Tensor
    depth: Tensor
    valid: Tensor


class RigidMotion(NamedTuple):
    """What a moving camera makes of a still scene.

    Attributes:
        flow: (B, 2, H, W) pixels, from the target to the source; 0 where not valid.
        depth: (B, 1, H, W) z of the target's points in the source camera, of any sign.
        valid: (B, 1, H, W) 1 where the target's depth is known and the point is in front of the source; the
            flow may leave the image, see `kinema.ops.warp.in_frame`.
    """

    flow: Tensor
    depth: Tensor
    valid: Tensor


class InverseWarp(NamedTuple):
    """A source image seen from the target camera.

    Attributes:
        image: (B, C, H, W).
        valid: (B, 1, H, W) 1 where the point is in front of the source camera and inside its image.
        motion: what led there.
    """

    image: Tensor
    valid: Tensor
    motion: RigidMotion


def intrinsics_from_field_of_view(
    size_hw: tuple[int, int],
    horizontal_degrees: float,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "1 3 3"]:
    """Intrinsics of a camera of which only the angle of view is known: square pixels, centred.

    Args:
        size_hw: height and width in pixels.
        horizontal_degrees: angle between the image's left and right edges, above 0 and below 180.
        device: where to put the result.
        dtype: a floating type.

    Returns:
        (1, 3, 3) in pixels.

    Raises:
        UsageError: for an angle outside the range.
    """
    if not 0 < horizontal_degrees < 180:
        raise UsageError(f"a field of view must lie between 0 and 180 degrees, not {horizontal_degrees:g}")
    height, width = size_hw
    focal = width / (2 * math.tan(math.radians(horizontal_degrees) / 2))
    rows = [[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]]
    return torch.tensor([rows], device=device, dtype=dtype)


def intrinsics_pyramid(
    K: Float[Tensor, "b 3 3"],
    sizes_hw: Sequence[tuple[int, int]],
    *,
    convention: IntrinsicsConvention = "half_pixel",
) -> list[Float[Tensor, "b 3 3"]]:
    """Intrinsics of every scale of an image pyramid.

    Args:
        K: (B, 3, 3) in pixels of the first size.
        sizes_hw: height and width of each scale, that of ``K`` first.
        convention: see `kinema.ops.resize.resize_intrinsics`; ``"plain"`` is GeoNet's.

    Returns:
        (B, 3, 3) per scale, each in pixels of its own.

    Raises:
        UsageError: for a size below 1x1.
    """
    return [resize_intrinsics(K, sizes_hw[0], size_hw, convention=convention) for size_hw in sizes_hw]


def rays(K: Float[Tensor, "b 3 3"], size_hw: tuple[int, int]) -> Float[Tensor, "b 3 h w"]:
    """The direction in which every pixel looks, with z = 1: K^-1 p.

    Args:
        K: (B, 3, 3) pixels.
        size_hw: height and width of the image.

    Returns:
        (B, 3, H, W), at least float32.
    """
    K = K.to(torch.promote_types(K.dtype, torch.float32))
    return rays_through(pixel_grid(size_hw, device=K.device, dtype=K.dtype)[None], K)


def rays_through(
    points_xy: Float[Tensor, "#b 2 h w"], K: Float[Tensor, "#b 3 3"]
) -> Float[Tensor, "b 3 h w"]:
    """The directions of given points of an image, with z = 1.

    Args:
        points_xy: (B, 2, H, W) pixels.
        K: (B, 3, 3) pixels.

    Returns:
        (B, 3, H, W).
    """
    x, y = points_xy.unbind(1)
    fx, skew, cx, fy, cy = _entries(K)
    down = (y - cy) / fy
    across = (x - cx - skew * down) / fx
    return torch.stack((across, down, torch.ones_like(across)), dim=1)


def backproject(depth: Float[Tensor, "b 1 h w"], K: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 3 h w"]:
    """Pixels with depth to points in the camera: d K^-1 p.

    Args:
        depth: (B, 1, H, W) z in the camera.
        K: (B, 3, 3) pixels.

    Returns:
        (B, 3, H, W) x to the right, y down, z ahead, in the unit of depth; at least float32.
    """
    return depth * rays(K, (depth.shape[-2], depth.shape[-1]))


def transform(
    points: Float[Tensor, "b 3 h w"], T_b_from_a: Float[Tensor, "b 4 4"]
) -> Float[Tensor, "b 3 h w"]:
    """Points of camera a as camera b sees them: R x + t.

    Args:
        points: (B, 3, H, W).
        T_b_from_a: (B, 4, 4).

    Returns:
        (B, 3, H, W).
    """
    first, second, third, t = T_b_from_a[:, :3, :, None, None].unbind(2)
    x, y, z = points[:, 0:1], points[:, 1:2], points[:, 2:3]
    # No matrix product: under autocast or TensorFloat-32 it would round coordinates to a part of a pixel.
    return t + first * x + second * y + third * z


def project(
    points: Float[Tensor, "b 3 h w"], K: Float[Tensor, "b 3 3"], *, near: float | None = NEAR
) -> Projection:
    """Points in the camera to pixels: pi(K x).

    Args:
        points: (B, 3, H, W).
        K: (B, 3, 3) pixels.
        near: points with z below it are not valid, and have no gradient. None repeats the published GeoNet:
            x / (z + 1e-10), whatever the sign of z, and everything counts as valid.

    Returns:
        Pixels, depth and validity.
    """
    K = K.to(torch.promote_types(K.dtype, torch.float32))
    x, y, z = points.unbind(1)
    fx, skew, cx, fy, cy = _entries(K)
    if near is None:
        front = torch.ones_like(z, dtype=torch.bool)
        divisor = z + _PUBLISHED_EPSILON
    else:
        front = (z >= near) & points.isfinite().all(dim=1)
        divisor = torch.where(front, z, 1.0)
    down = y / divisor
    across = x / divisor
    points_xy = torch.stack((fx * across + skew * down + cx, fy * down + cy), dim=1)
    if near is not None:
        points_xy = torch.where(front[:, None], points_xy, 0.0)
    return Projection(points_xy, z[:, None], front[:, None].to(points.dtype))


def rigid_motion(
    depth: Float[Tensor, "b 1 h w"],
    T_source_from_target: Float[Tensor, "b 4 4"],
    K: Float[Tensor, "b 3 3"],
    *,
    K_source: Float[Tensor, "b 3 3"] | None = None,
    near: float | None = NEAR,
) -> RigidMotion:
    """Where every pixel of the target goes in the source if nothing but the camera moves.

    pi(K T (d K^-1 p)) - p, GeoNet's equation 1. Depth and translation may have any unit, as long as it is the
    same one: both times the same factor give the same flow.

    Args:
        depth: (B, 1, H, W) of the target.
        T_source_from_target: (B, 4, 4).
        K: (B, 3, 3) pixels.
        K_source: of the source, where it is another camera.
        near: see `project`; None also takes every depth for known.

    Returns:
        Flow, depth in the source and validity; differentiable in depth, pose and intrinsics, with finite
        gradients everywhere unless ``near`` is None.
    """
    known = None if near is None else (depth > 0) & depth.isfinite()
    safe = depth if known is None else torch.where(known, depth, 1.0)
    points = backproject(safe.to(torch.promote_types(depth.dtype, torch.float32)), K)
    moved = transform(points, T_source_from_target.to(points.dtype))
    seen = project(moved, K if K_source is None else K_source, near=near)
    grid = pixel_grid((depth.shape[-2], depth.shape[-1]), device=depth.device, dtype=points.dtype)
    flow = seen.points_xy - grid
    if known is None:
        return RigidMotion(flow, seen.depth, seen.valid)
    valid = known & (seen.valid > 0)
    return RigidMotion(torch.where(valid, flow, 0.0), seen.depth, valid.to(flow.dtype))


def rigid_flow(
    depth: Float[Tensor, "b 1 h w"],
    T_source_from_target: Float[Tensor, "b 4 4"],
    K: Float[Tensor, "b 3 3"],
    *,
    near: float | None = NEAR,
) -> Float[Tensor, "b 2 h w"]:
    """The flow of `rigid_motion`.

    Args:
        depth: (B, 1, H, W) of the target.
        T_source_from_target: (B, 4, 4).
        K: (B, 3, 3) pixels.
        near: see `rigid_motion`; None is the published rule.

    Returns:
        (B, 2, H, W) pixels.
    """
    return rigid_motion(depth, T_source_from_target, K, near=near).flow


def inverse_warp(
    source: Float[Tensor, "b c h w"],
    depth: Float[Tensor, "b 1 h w"],
    T_source_from_target: Float[Tensor, "b 4 4"],
    K: Float[Tensor, "b 3 3"],
    *,
    K_source: Float[Tensor, "b 3 3"] | None = None,
    near: float | None = NEAR,
    border: Border = "replicate",
) -> InverseWarp:
    """A source image as the target camera would see it, by the target's depth.

    Args:
        source: (B, C, H, W), any range.
        depth: (B, 1, H, W) of the target.
        T_source_from_target: (B, 4, 4).
        K: (B, 3, 3) pixels.
        K_source: of the source, where it is another camera.
        near: see `rigid_motion`.
        border: see `kinema.ops.warp.backward_warp`.

    Returns:
        The image, where it can be used, and the motion.
    """
    motion = rigid_motion(depth, T_source_from_target, K, K_source=K_source, near=near)
    image = backward_warp(source, motion.flow, border=border)
    return InverseWarp(image, motion.valid * in_frame(motion.flow), motion)


def _entries(K: Tensor) -> tuple[Tensor, ...]:
    """fx, s, cx, fy, cy, each (B, 1, 1)."""
    places = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2))
    return tuple(K[:, row, column, None, None] for row, column in places)
