"""Two views of a still scene: essential and fundamental matrix, distance to epipolar lines, triangulation.

With ``T_b_from_a`` = [R | t], a point seen along rays r_a and r_b satisfies r_b^T E r_a = 0, E = [t]x R, and
in pixels p_b^T F p_a = 0, F = K_b^-T E K_a^-1. Estimating a pose robustly from matches is not done here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.ops.camera import NEAR, rays, rays_through, transform
from kinema.ops.grid import pixel_grid
from kinema.ops.pose import cross_matrix, matmul, rigid
from kinema.ops.warp import in_frame

_TINY = 1e-12


class Triangulation(NamedTuple):
    """Depth from motion.

    Attributes:
        depth: (B, 1, H, W) z in the first camera, in the unit of the translation; 0 where not valid.
        parallax: (B, 1, H, W) sine of the angle between both rays, 0 to 1: how well depth is determined.
        valid: (B, 1, H, W) 1 where the flow stays in the image, there is parallax enough, and the point lies
            in front of both cameras.
    """

    depth: Tensor
    parallax: Tensor
    valid: Tensor


def essential_matrix(T_b_from_a: Float[Tensor, "*b 4 4"]) -> Float[Tensor, "*b 3 3"]:
    """E = [t]x R of a pose.

    Args:
        T_b_from_a: (..., 4, 4).

    Returns:
        (..., 3, 3); its singular values are |t|, |t| and 0.
    """
    return matmul(cross_matrix(T_b_from_a[..., :3, 3]), T_b_from_a[..., :3, :3])


def fundamental_matrix(
    T_b_from_a: Float[Tensor, "b 4 4"], K_a: Float[Tensor, "b 3 3"], K_b: Float[Tensor, "b 3 3"]
) -> Float[Tensor, "b 3 3"]:
    """F = K_b^-T E K_a^-1: p_b^T F p_a = 0 for pixels (x, y, 1).

    Args:
        T_b_from_a: (B, 4, 4).
        K_a: (B, 3, 3) pixels of the first image.
        K_b: (B, 3, 3) pixels of the second.

    Returns:
        (B, 3, 3).
    """
    left = torch.linalg.inv(K_b).transpose(-1, -2)
    return matmul(matmul(left, essential_matrix(T_b_from_a)), torch.linalg.inv(K_a))


def poses_from_essential(E: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 4 4 4"]:
    """The four poses that an essential matrix allows; a point in front of both cameras tells which.

    Args:
        E: (B, 3, 3), of any length and sign.

    Returns:
        (B, 4, 4, 4) ``T_b_from_a`` with translations of length 1: both rotations with +t, then with -t.
    """
    U, _, Vt = torch.linalg.svd(E)
    # Proper rotations: the sign of E is open anyway.
    U = U * torch.linalg.det(U)[:, None, None]
    Vt = Vt * torch.linalg.det(Vt)[:, None, None]
    turn = E.new_tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).expand_as(E)
    one = matmul(matmul(U, turn), Vt)
    other = matmul(matmul(U, turn.transpose(-1, -2)), Vt)
    t = U[:, :, 2]
    return torch.stack((rigid(one, t), rigid(other, t), rigid(one, -t), rigid(other, -t)), dim=1)


def sampson_error(flow: Float[Tensor, "b 2 h w"], F: Float[Tensor, "b 3 3"]) -> Float[Tensor, "b 1 h w"]:
    """How far a flow is from being explained by a camera's motion: squared Sampson distance.

    Args:
        flow: (B, 2, H, W) pixels, from the first image to the second.
        F: (B, 3, 3) with p_b^T F p_a = 0.

    Returns:
        (B, 1, H, W) squared pixels, to first order; at least float32, differentiable.
    """
    dtype = torch.promote_types(flow.dtype, torch.float32)
    grid = pixel_grid((flow.shape[-2], flow.shape[-1]), device=flow.device, dtype=dtype)
    first = torch.cat((grid, torch.ones_like(grid[:1])))[None]
    second = first + torch.cat((flow, torch.zeros_like(flow[:, :1])), dim=1)
    line_b, line_a = _rotated(F.to(dtype), first), _rotated(F.to(dtype).transpose(-1, -2), second)
    miss = (second * line_b).sum(1, keepdim=True).square()
    slope = line_b[:, :2].square().sum(1, keepdim=True) + line_a[:, :2].square().sum(1, keepdim=True)
    return miss / slope.clamp(min=_TINY)


def triangulate(
    flow: Float[Tensor, "b 2 h w"],
    T_b_from_a: Float[Tensor, "b 4 4"],
    K: Float[Tensor, "b 3 3"],
    *,
    min_parallax: float = 1e-3,
) -> Triangulation:
    """Depth of every pixel from its flow and the camera's motion: least squares in the second camera.

    Args:
        flow: (B, 2, H, W) pixels, from the first image to the second.
        T_b_from_a: (B, 4, 4).
        K: (B, 3, 3) pixels of both.
        min_parallax: sine of the angle between both rays below which depth is unknown.

    Returns:
        Depth, parallax and validity; differentiable where valid.
    """
    size_hw = (flow.shape[-2], flow.shape[-1])
    first = rays(K, size_hw)
    T = T_b_from_a.to(first.dtype)
    seen = flow.to(first.dtype) + pixel_grid(size_hw, device=flow.device, dtype=first.dtype)
    second = rays_through(seen, K.to(first.dtype))
    turned = _rotated(T[:, :3, :3], first)
    t = T[:, :3, 3, None, None].expand_as(second)
    # d_a (R r_a x r_b) = -(t x r_b)
    across, shift = torch.cross(turned, second, dim=1), torch.cross(t, second, dim=1)
    energy = across.square().sum(1, keepdim=True)
    lengths = turned.square().sum(1, keepdim=True) * second.square().sum(1, keepdim=True)
    parallax = (energy.clamp(min=_TINY**2) / lengths).sqrt()
    enough = (parallax > min_parallax) & parallax.isfinite()
    depth = -(shift * across).sum(1, keepdim=True) / torch.where(enough, energy, 1.0)
    behind = transform(depth * first, T)[:, 2:]
    valid = enough & (depth > NEAR) & (behind > NEAR) & (in_frame(flow) > 0)
    return Triangulation(torch.where(valid, depth, 0.0), parallax, valid.to(depth.dtype))


def _rotated(M: Tensor, vectors: Tensor) -> Tensor:
    """M v at every pixel, in full precision."""
    first, second, third = M[..., None, None].unbind(2)
    return first * vectors[:, 0:1] + second * vectors[:, 1:2] + third * vectors[:, 2:3]
