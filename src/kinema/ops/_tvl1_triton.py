"""The TV-L1 iterations on a GPU: one Triton kernel per iteration.

The dual update at a pixel needs the new flow there, at its right and at its lower neighbour. Instead of a
second kernel (and a second trip of eleven maps through memory) each program computes the new flow at all
three places; the neighbours' inputs are in the cache anyway. Reading and writing go to different buffers, so
that no program sees another's result.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256


@triton.jit
def _primal(u_ptr, p_ptr, g_ptr, c_ptr, y, x, inside, height, width, limit, theta, epsilon):
    """The new flow (two components) at (y, x)."""
    plane = height * width
    at = y * width + x
    left, above = inside & (x > 0), inside & (y > 0)
    u1 = tl.load(u_ptr + at, mask=inside, other=0.0)
    u2 = tl.load(u_ptr + plane + at, mask=inside, other=0.0)
    gx = tl.load(g_ptr + at, mask=inside, other=0.0)
    gy = tl.load(g_ptr + plane + at, mask=inside, other=0.0)
    rho = tl.load(c_ptr + at, mask=inside, other=0.0) + gx * u1 + gy * u2 + epsilon
    k = -rho / (gx * gx + gy * gy + epsilon)
    k = tl.minimum(tl.maximum(k, -limit), limit)
    div1 = (
        tl.load(p_ptr + at, mask=inside, other=0.0)
        - tl.load(p_ptr + at - 1, mask=left, other=0.0)
        + tl.load(p_ptr + plane + at, mask=inside, other=0.0)
        - tl.load(p_ptr + plane + at - width, mask=above, other=0.0)
    )
    div2 = (
        tl.load(p_ptr + 2 * plane + at, mask=inside, other=0.0)
        - tl.load(p_ptr + 2 * plane + at - 1, mask=left, other=0.0)
        + tl.load(p_ptr + 3 * plane + at, mask=inside, other=0.0)
        - tl.load(p_ptr + 3 * plane + at - width, mask=above, other=0.0)
    )
    return u1 + k * gx + theta * div1, u2 + k * gy + theta * div2


@triton.jit
def _dual(p_ptr, q_ptr, plane, at, inside, ux, uy, step, epsilon):
    shrink = 1.0 / (1.0 + step * tl.sqrt(ux * ux + uy * uy + epsilon))
    px = tl.load(p_ptr + at, mask=inside, other=0.0)
    py = tl.load(p_ptr + plane + at, mask=inside, other=0.0)
    tl.store(q_ptr + at, (px + step * ux) * shrink, mask=inside)
    tl.store(q_ptr + plane + at, (py + step * uy) * shrink, mask=inside)


@triton.jit
def _iteration(
    u_ptr, p_ptr, g_ptr, c_ptr, v_ptr, q_ptr, height, width, limit, theta, step, epsilon, SIZE: tl.constexpr
):
    plane = height * width
    sample = tl.program_id(1).to(tl.int64)
    u_ptr += sample * 2 * plane
    v_ptr += sample * 2 * plane
    g_ptr += sample * 2 * plane
    p_ptr += sample * 4 * plane
    q_ptr += sample * 4 * plane
    c_ptr += sample * plane
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    inside = at < plane
    y, x = at // width, at % width
    has_right, has_below = inside & (x < width - 1), inside & (y < height - 1)
    u1, u2 = _primal(u_ptr, p_ptr, g_ptr, c_ptr, y, x, inside, height, width, limit, theta, epsilon)
    r1, r2 = _primal(u_ptr, p_ptr, g_ptr, c_ptr, y, x + 1, has_right, height, width, limit, theta, epsilon)
    b1, b2 = _primal(u_ptr, p_ptr, g_ptr, c_ptr, y + 1, x, has_below, height, width, limit, theta, epsilon)
    tl.store(v_ptr + at, u1, mask=inside)
    tl.store(v_ptr + plane + at, u2, mask=inside)
    zero = tl.zeros_like(u1)
    _dual(
        p_ptr, q_ptr, plane, at, inside,
        tl.where(has_right, r1 - u1, zero), tl.where(has_below, b1 - u1, zero), step, epsilon,
    )  # fmt: skip
    _dual(
        p_ptr + 2 * plane, q_ptr + 2 * plane, plane, at, inside,
        tl.where(has_right, r2 - u2, zero), tl.where(has_below, b2 - u2, zero), step, epsilon,
    )  # fmt: skip


def iterate(
    flow: Tensor,
    dual: Tensor,
    gradient: Tensor,
    constant: Tensor,
    iterations: int,
    tau: float,
    lbda: float,
    theta: float,
    epsilon: float,
) -> tuple[Tensor, Tensor]:
    """`kinema.ops.variational.tvl1_iterations` for float32 tensors on a GPU; the inputs stay as they are."""
    u, p = (
        flow.detach().clone(memory_format=torch.contiguous_format),
        dual.detach().clone(memory_format=torch.contiguous_format),
    )
    g, c = gradient.detach().contiguous(), constant.detach().contiguous()
    v, q = torch.empty_like(u), torch.empty_like(p)
    batch, _, height, width = u.shape
    grid = (triton.cdiv(height * width, BLOCK), batch)
    for _ in range(iterations):
        _iteration[grid](
            u, p, g, c, v, q, height, width, lbda * theta, theta, tau / theta, epsilon, SIZE=BLOCK
        )
        u, v, p, q = v, u, q, p
    return u, p
