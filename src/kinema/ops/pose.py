"""Rotations and rigid motions: Euler angles, axis-angle, quaternions, 4x4 matrices.

A pose ``T_b_from_a`` is the 4x4 matrix with x_b = T x_a; chains read like the names: T_c_from_a = T_c_from_b
T_b_from_a. Leading dimensions are free. Nothing here is a call to a matrix product: under autocast, or with
TensorFloat-32, one would run in a precision that moves pixels.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError

Rotation = Literal["euler", "axis_angle"]
"""How three numbers stand for a rotation: see `rotation_from_euler` and `rotation_from_axis_angle`."""

_SMALL = 1e-4  # squared radians: below it, series are exact to rounding in float64
_LOCKED = 1e-6  # cosine of the middle Euler angle below which the outer two turn about one axis


def rotation_from_euler(angles: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """R = Rx(rx) Ry(ry) Rz(rz), each right-handed (GeoNet, SfMLearner).

    Args:
        angles: (..., 3) rx, ry, rz in radians, of any size.

    Returns:
        (..., 3, 3), for column vectors: x_b = R x_a.
    """
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    rows = (
        (cy * cz, -cy * sz, sy),
        (cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy),
        (sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def euler_from_rotation(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """The angles of `rotation_from_euler`, with ry in [-pi/2, pi/2] and the others in [-pi, pi].

    Args:
        R: (..., 3, 3), orthonormal up to rounding.

    Returns:
        (..., 3) rx, ry, rz in radians. At ry = ±pi/2 only one combination of rx and rz is defined: there rz
        is 0.
    """
    cosine = torch.hypot(R[..., 0, 0], R[..., 0, 1])
    locked = cosine < _LOCKED
    rx = torch.where(
        locked, torch.atan2(R[..., 2, 1], R[..., 1, 1]), torch.atan2(-R[..., 1, 2], R[..., 2, 2])
    )
    rz = torch.where(locked, 0.0, torch.atan2(-R[..., 0, 1], R[..., 0, 0]))
    return torch.stack((rx, torch.atan2(R[..., 0, 2], cosine), rz), dim=-1)


def rotation_from_axis_angle(vector: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation about an axis by as many radians as the vector is long (Rodrigues); smooth at 0.

    Args:
        vector: (..., 3) radians.

    Returns:
        (..., 3, 3).
    """
    squared = vector.square().sum(-1)
    small = squared < _SMALL
    angle = torch.where(small, 1.0, squared).sqrt()
    sine = torch.where(small, 1 - squared / 6 + squared.square() / 120, angle.sin() / angle)
    half = (angle / 2).sin() / angle  # 1 - cos would lose half of the digits
    versine = torch.where(small, 0.5 - squared / 24 + squared.square() / 720, 2 * half.square())
    skew = cross_matrix(vector)
    identity = torch.eye(3, device=vector.device, dtype=vector.dtype)
    return identity + sine[..., None, None] * skew + versine[..., None, None] * matmul(skew, skew)


def axis_angle_from_rotation(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3"]:
    """Axis times angle of a rotation, accurate from 0 to pi.

    Args:
        R: (..., 3, 3), orthonormal up to rounding.

    Returns:
        (..., 3) radians, at most pi long. Differentiable, also at the identity.
    """
    xyzw = quaternion_from_rotation(R)
    axis, cosine = xyzw[..., :3], xyzw[..., 3:]
    squared = axis.square().sum(-1, keepdim=True)
    small = squared < _SMALL
    sine = torch.where(small, 1.0, squared).sqrt()
    ratio = squared / cosine.square().clamp(min=0.5)  # the clamp is idle wherever the series is taken
    series = 2 / cosine.clamp(min=0.5) * (1 - ratio / 3 + ratio.square() / 5)
    return axis * torch.where(small, series, 2 * torch.atan2(sine, cosine) / sine)


def rotation_from_quaternion(xyzw: Float[Tensor, "*b 4"]) -> Float[Tensor, "*b 3 3"]:
    """Rotation of a quaternion.

    Args:
        xyzw: (..., 4), not zero; normalised here. q and -q are the same rotation.

    Returns:
        (..., 3, 3).
    """
    x, y, z, w = (xyzw / xyzw.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def quaternion_from_rotation(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 4"]:
    """Unit quaternion of a rotation, accurate at every angle.

    Args:
        R: (..., 3, 3), orthonormal up to rounding.

    Returns:
        (..., 4) x, y, z, w as TUM files hold them, with w >= 0. Differentiable except where w is 0.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in R.unbind(-2))
    # Four times the outer product of the quaternion with itself: each row is a multiple of it.
    rows = (
        (1 + xx - yy - zz, yx + xy, xz + zx, zy - yz),
        (yx + xy, 1 - xx + yy - zz, zy + yz, xz - zx),
        (xz + zx, zy + yz, 1 - xx - yy + zz, yx - xy),
        (zy - yz, xz - zx, yx - xy, 1 + xx + yy + zz),
    )
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    largest = outer.detach().diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    xyzw = outer.gather(-2, largest.expand(*largest.shape[:-1], 4)).squeeze(-2)
    xyzw = xyzw / xyzw.norm(dim=-1, keepdim=True)
    return torch.where(xyzw[..., 3:] < 0, -xyzw, xyzw)


def rigid(R: Float[Tensor, "*b 3 3"], t: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 4 4"]:
    """Join rotation and translation: x_b = R x_a + t.

    Args:
        R: (..., 3, 3).
        t: (..., 3), any unit of length.

    Returns:
        (..., 4, 4) ``T_b_from_a``.
    """
    last = R.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*R.shape[:-2], 1, 4)
    return torch.cat((torch.cat((R, t[..., None]), dim=-1), last), dim=-2)


def pose_from_vector(
    vector: Float[Tensor, "*b 6"], *, rotation: Rotation = "euler"
) -> Float[Tensor, "*b 4 4"]:
    """The pose that a pose network's six numbers stand for.

    Args:
        vector: (..., 6) tx, ty, tz, then three numbers of a rotation in radians.
        rotation: ``"euler"``: `rotation_from_euler` of angles cut off at -pi and pi (GeoNet);
            ``"axis_angle"``: `rotation_from_axis_angle`.

    Returns:
        (..., 4, 4), at least float32. GeoNet's vector gives ``T_source_from_target``.

    Raises:
        UsageError: for another rotation.
    """
    vector = vector.to(torch.promote_types(vector.dtype, torch.float32))
    t, turn = vector[..., :3], vector[..., 3:]
    if rotation == "euler":
        return rigid(rotation_from_euler(turn.clamp(-math.pi, math.pi)), t)
    if rotation == "axis_angle":
        return rigid(rotation_from_axis_angle(turn), t)
    raise UsageError(f"unknown rotation {rotation!r}: use 'euler' or 'axis_angle'")


def vector_from_pose(
    T_b_from_a: Float[Tensor, "*b 4 4"], *, rotation: Rotation = "euler"
) -> Float[Tensor, "*b 6"]:
    """The six numbers of `pose_from_vector`.

    Args:
        T_b_from_a: (..., 4, 4).
        rotation: see `pose_from_vector`.

    Returns:
        (..., 6) translation, then rotation in radians.

    Raises:
        UsageError: for another rotation.
    """
    R, t = T_b_from_a[..., :3, :3], T_b_from_a[..., :3, 3]
    if rotation == "euler":
        return torch.cat((t, euler_from_rotation(R)), dim=-1)
    if rotation == "axis_angle":
        return torch.cat((t, axis_angle_from_rotation(R)), dim=-1)
    raise UsageError(f"unknown rotation {rotation!r}: use 'euler' or 'axis_angle'")


def invert_pose(T_b_from_a: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 4 4"]:
    """The way back: [R^T | -R^T t].

    Args:
        T_b_from_a: (..., 4, 4), its rotation orthonormal up to rounding.

    Returns:
        (..., 4, 4) ``T_a_from_b``.
    """
    R = T_b_from_a[..., :3, :3].transpose(-1, -2)
    return rigid(R, -matmul(R, T_b_from_a[..., :3, 3:])[..., 0])


def compose(
    T_c_from_b: Float[Tensor, "*b 4 4"], T_b_from_a: Float[Tensor, "*b 4 4"]
) -> Float[Tensor, "*b 4 4"]:
    """One motion after another.

    Args:
        T_c_from_b: (..., 4, 4), done second.
        T_b_from_a: (..., 4, 4), done first.

    Returns:
        (..., 4, 4) ``T_c_from_a``.
    """
    return matmul(T_c_from_b, T_b_from_a)


def rotation_angle(R: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b"]:
    """By how much a rotation turns, accurate from 0 to pi.

    Args:
        R: (..., 3, 3), orthonormal up to rounding.

    Returns:
        (...) radians, 0 to pi. At the identity its gradient is 0.
    """
    squared = axis_angle_from_rotation(R).square().sum(-1)
    still = squared == 0
    return torch.where(still, 0.0, torch.where(still, 1.0, squared).sqrt())


def cross_matrix(t: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The matrix that takes the cross product: [t]x v = t x v.

    Args:
        t: (..., 3).

    Returns:
        (..., 3, 3), antisymmetric.
    """
    x, y, z = t.unbind(-1)
    zero = torch.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matmul(A: Float[Tensor, "*b m k"], B: Float[Tensor, "*b k n"]) -> Float[Tensor, "*b m n"]:
    """Product of small matrices in their own precision, whatever autocast or TensorFloat-32 say.

    Args:
        A: (..., M, K).
        B: (..., K, N).

    Returns:
        (..., M, N).
    """
    return (A[..., :, :, None] * B[..., None, :, :]).sum(-2)
