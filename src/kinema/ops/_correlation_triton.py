"""The cost volume and its gradients on a GPU, in Triton.

Forward: a program takes a few pixels of one row and one row of displacements, and reads the features of frame
2 at each of them from the cache. Backward: a program computes a block of channels of the gradient at a few
pixels, over all displacements, so that no two programs add to one number and the result is repeatable. Any
memory layout is read and written through its strides.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from kinema.ops._layout import empty_map

PIXELS = 64
CHANNELS = 32


@triton.jit
def _forward(
    a_ptr, b_ptr, o_ptr, channels, height, width, a_n, a_c, a_y, a_x, b_n, b_c, b_y, b_x, o_n, o_c, o_y, o_x,
    RADIUS: tl.constexpr, SIDE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Costs of `PIXELS` pixels of row y for the displacements of one dy."""
    x = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    y = tl.program_id(1) % height
    n = (tl.program_id(1) // height).to(tl.int64)
    dy = tl.program_id(2)
    row = y + dy - RADIUS + tl.zeros_like(x)
    row_inside = (row >= 0) & (row < height)
    for dx in range(SIDE):
        column = x + dx - RADIUS
        inside = row_inside & (column >= 0) & (column < width)
        total = tl.zeros([PIXELS], dtype=tl.float32)
        for start in range(0, channels, CHANNELS):
            c = start + tl.arange(0, CHANNELS)
            known = (c < channels)[:, None]
            a = tl.load(
                a_ptr + n * a_n + c[:, None] * a_c + y * a_y + x[None] * a_x,
                mask=known & (x < width)[None], other=0.0,
            )  # fmt: skip
            b = tl.load(
                b_ptr + n * b_n + c[:, None] * b_c + row[None] * b_y + column[None] * b_x,
                mask=known & inside[None], other=0.0,
            )  # fmt: skip
            total += tl.sum(a.to(tl.float32) * b.to(tl.float32), axis=0)
        place = o_ptr + n * o_n + (dy * SIDE + dx) * o_c + y * o_y + x * o_x
        tl.store(place, (total / channels).to(o_ptr.dtype.element_ty), mask=x < width)


@triton.jit
def _backward(
    g_ptr, f_ptr, o_ptr, channels, height, width, g_n, g_c, g_y, g_x, f_n, f_c, f_y, f_x, o_n, o_c, o_y, o_x,
    SIGN: tl.constexpr, RADIUS: tl.constexpr, SIDE: tl.constexpr,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Gradient of one map at `PIXELS` pixels of row y, for one block of channels.

    SIGN 1: of the first map, from the second at x + d, weighted by the gradient at x. SIGN -1: of the second
    map, from the first at x - d, weighted by the gradient there.
    """
    x = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    y = tl.program_id(1) % height
    n = (tl.program_id(1) // height).to(tl.int64)
    c = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    total = tl.zeros([CHANNELS, PIXELS], dtype=tl.float32)
    for d in range(SIDE * SIDE):
        row = y + SIGN * (d // SIDE - RADIUS) + tl.zeros_like(x)
        column = x + SIGN * (d % SIDE - RADIUS)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (x < width)
        g_row = y if SIGN == 1 else row
        g_column = x if SIGN == 1 else column
        g = tl.load(g_ptr + n * g_n + d * g_c + g_row * g_y + g_column * g_x, mask=inside, other=0.0)
        f = tl.load(
            f_ptr + n * f_n + c[:, None] * f_c + row[None] * f_y + column[None] * f_x,
            mask=(c < channels)[:, None] & inside[None], other=0.0,
        )  # fmt: skip
        total += g.to(tl.float32)[None] * f.to(tl.float32)
    place = o_ptr + n * o_n + c[:, None] * o_c + y * o_y + x[None] * o_x
    mask = (c < channels)[:, None] & (x < width)[None]
    tl.store(place, (total / channels).to(o_ptr.dtype.element_ty), mask=mask)


def forward(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """`kinema.ops.correlation.correlation` on a GPU, laid out like ``first``."""
    b, c, h, w = first.shape
    side = 2 * radius + 1
    out = empty_map(first, side * side)
    grid = (triton.cdiv(w, PIXELS), b * h, side)
    _forward[grid](
        first, second, out, c, h, w, *first.stride(), *second.stride(), *out.stride(),
        RADIUS=radius, SIDE=side, PIXELS=PIXELS, CHANNELS=CHANNELS,
    )  # fmt: skip
    return out


def backward(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Gradients of `forward`, laid out like its inputs."""
    b, c, h, w = first.shape
    grid = (triton.cdiv(w, PIXELS), b * h, triton.cdiv(c, CHANNELS))
    outs = empty_map(first, c), empty_map(second, c)
    for out, source, sign in ((outs[0], second, 1), (outs[1], first, -1)):
        _backward[grid](
            grad, source, out, c, h, w, *grad.stride(), *source.stride(), *out.stride(),
            SIGN=sign, RADIUS=radius, SIDE=2 * radius + 1, PIXELS=PIXELS, CHANNELS=CHANNELS,
        )  # fmt: skip
    return outs
