"""Modulated deformable convolution on a GPU: Triton fetches columns, matrix products do the rest.

A program fetches one tap of one deformable group for a tile of places, all channels of the group in turn. In
the gradient it also adds to the pixels that it read, with atomic additions: their order differs from run to
run, and with it the last bits of the gradient in the map. Columns are made for as many images, or places of
one, as `COLUMN_BYTES` hold. Any memory layout is read and written through its strides.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kinema.ops._deform_eager import Geometry, empty_result

PLACES = 64
CHANNELS = 8
COLUMN_BYTES = 1 << 28


@triton.jit
def _position(
    o_ptr, m_ptr, n, q, place, known, out_width, height, width, o_n, o_c, o_y, o_x, m_n, m_c, m_y, m_x,
    sy, sx, py, px, dy, dx, TAPS: tl.constexpr, KERNEL_WIDTH: tl.constexpr, MODULATED: tl.constexpr,
):  # fmt: skip
    """Upper left corner, shares of lower and right corners, whether anything is read, and its strength."""
    row, column = place // out_width, place % out_width
    k = q % TAPS
    source = o_ptr + n * o_n + 2 * q * o_c + row * o_y + column * o_x
    y = tl.load(source, mask=known, other=0.0).to(tl.float32)
    x = tl.load(source + o_c, mask=known, other=0.0).to(tl.float32)
    y += (row * sy - py + (k // KERNEL_WIDTH) * dy).to(tl.float32)
    x += (column * sx - px + (k % KERNEL_WIDTH) * dx).to(tl.float32)
    inside = known & (y >= -1) & (y < height) & (x >= -1) & (x < width)  # not so where not a number
    y, x = tl.where(inside, y, -1.0), tl.where(inside, x, -1.0)
    top, left = tl.floor(y), tl.floor(x)
    if MODULATED:
        strength = tl.load(m_ptr + n * m_n + q * m_c + row * m_y + column * m_x, mask=known, other=0.0)
    else:
        strength = tl.full(y.shape, 1.0, tl.float32)
    return top.to(tl.int32), left.to(tl.int32), y - top, x - left, inside, strength.to(tl.float32)


@triton.jit
def _corner(x_ptr, source, y, x, height, width, inside, channel, x_y, x_x):
    """(channels, places) of the pixels at (y, x), zero outside the map; and their places, and which exist."""
    exists = inside & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    exists = exists[None] & channel[:, None]
    place = source + (y.to(tl.int64) * x_y + x * x_x)[None]
    return tl.load(x_ptr + place, mask=exists, other=0.0).to(tl.float32), place, exists


@triton.jit
def _fetch(
    x_ptr, o_ptr, m_ptr, c_ptr, first, count, out_width, height, width, x_n, x_c, x_y, x_x,
    o_n, o_c, o_y, o_x, m_n, m_c, m_y, m_x, sy, sx, py, px, dy, dx,
    c_n, TAPS: tl.constexpr, KERNEL_WIDTH: tl.constexpr, MODULATED: tl.constexpr, EACH: tl.constexpr,
    PLACES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Columns (channel, tap, place) of `PLACES` places for one tap of one group of `EACH` channels."""
    at = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    q, n = tl.program_id(1), tl.program_id(2).to(tl.int64)
    known = at < count
    top, left, down, right, inside, strength = _position(
        o_ptr, m_ptr, n, q, first + at, known, out_width, height, width, o_n, o_c, o_y, o_x,
        m_n, m_c, m_y, m_x, sy, sx, py, px, dy, dx, TAPS, KERNEL_WIDTH, MODULATED,
    )  # fmt: skip
    for start in range(0, EACH, CHANNELS):
        c = start + tl.arange(0, CHANNELS)
        channel = c < EACH
        c += (q // TAPS) * EACH
        source = (n * x_n + c * x_c)[:, None]
        a, _, _ = _corner(x_ptr, source, top, left, height, width, inside, channel, x_y, x_x)
        b, _, _ = _corner(x_ptr, source, top, left + 1, height, width, inside, channel, x_y, x_x)
        d, _, _ = _corner(x_ptr, source, top + 1, left, height, width, inside, channel, x_y, x_x)
        e, _, _ = _corner(x_ptr, source, top + 1, left + 1, height, width, inside, channel, x_y, x_x)
        value = (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * d + right * e)
        to = c_ptr + n * c_n + (c * TAPS + q % TAPS)[:, None].to(tl.int64) * count + at[None]
        tl.store(to, (strength * value).to(c_ptr.dtype.element_ty), mask=channel[:, None] & known[None])


@triton.jit
def _hand_back(
    x_ptr, o_ptr, m_ptr, c_ptr, gx_ptr, go_ptr, gm_ptr, first, count, out_width, height, width,
    x_n, x_c, x_y, x_x, o_n, o_c, o_y, o_x, m_n, m_c, m_y, m_x, sy, sx, py, px, dy, dx,
    gx_n, gx_c, gx_y, gx_x, go_n, go_c, go_y, go_x, gm_n, gm_c, gm_y, gm_x,
    c_n, TAPS: tl.constexpr, KERNEL_WIDTH: tl.constexpr, MODULATED: tl.constexpr, EACH: tl.constexpr,
    PLACES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """As `_fetch`, where the columns hold their gradient on entry: hands it back, then writes the columns."""
    at = tl.program_id(0) * PLACES + tl.arange(0, PLACES)
    q, n = tl.program_id(1), tl.program_id(2).to(tl.int64)
    known = at < count
    top, left, down, right, inside, strength = _position(
        o_ptr, m_ptr, n, q, first + at, known, out_width, height, width, o_n, o_c, o_y, o_x,
        m_n, m_c, m_y, m_x, sy, sx, py, px, dy, dx, TAPS, KERNEL_WIDTH, MODULATED,
    )  # fmt: skip
    by_strength = tl.zeros([PLACES], dtype=tl.float32)
    by_y = tl.zeros([PLACES], dtype=tl.float32)
    by_x = tl.zeros([PLACES], dtype=tl.float32)
    for start in range(0, EACH, CHANNELS):
        c = start + tl.arange(0, CHANNELS)
        channel = c < EACH
        c += (q // TAPS) * EACH
        to = c_ptr + n * c_n + (c * TAPS + q % TAPS)[:, None].to(tl.int64) * count + at[None]
        some = channel[:, None] & known[None]
        grad = tl.load(to, mask=some, other=0.0).to(tl.float32)
        source = (n * x_n + c * x_c)[:, None]
        a, _, in_a = _corner(x_ptr, source, top, left, height, width, inside, channel, x_y, x_x)
        b, _, in_b = _corner(x_ptr, source, top, left + 1, height, width, inside, channel, x_y, x_x)
        d, _, in_d = _corner(x_ptr, source, top + 1, left, height, width, inside, channel, x_y, x_x)
        e, _, in_e = _corner(x_ptr, source, top + 1, left + 1, height, width, inside, channel, x_y, x_x)
        value = (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * d + right * e)
        tl.store(to, (strength * value).to(c_ptr.dtype.element_ty), mask=some)
        by_strength += tl.sum(grad * value, axis=0)
        grad *= strength
        by_y += tl.sum(grad * ((1 - right) * (d - a) + right * (e - b)), axis=0)
        by_x += tl.sum(grad * ((1 - down) * (b - a) + down * (e - d)), axis=0)
        target = gx_ptr + (n * gx_n + c * gx_c)[:, None] + (top.to(tl.int64) * gx_y + left * gx_x)[None]
        tl.atomic_add(target, grad * (1 - down) * (1 - right), mask=in_a)
        tl.atomic_add(target + gx_x, grad * (1 - down) * right, mask=in_b)
        tl.atomic_add(target + gx_y, grad * down * (1 - right), mask=in_d)
        tl.atomic_add(target + gx_y + gx_x, grad * down * right, mask=in_e)
    row, column = (first + at) // out_width, (first + at) % out_width
    target = go_ptr + n * go_n + 2 * q * go_c + row * go_y + column * go_x
    tl.store(target, by_y.to(go_ptr.dtype.element_ty), mask=known)
    tl.store(target + go_c, by_x.to(go_ptr.dtype.element_ty), mask=known)
    if MODULATED:
        target = gm_ptr + n * gm_n + q * gm_c + row * gm_y + column * gm_x
        tl.store(target, by_strength.to(gm_ptr.dtype.element_ty), mask=known)


def forward(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    modulation: Tensor | None,
    geometry: Geometry,
) -> Tensor:
    """`kinema.ops.deform.deform_conv2d` on a GPU."""
    out = empty_result(x, weight.shape[0], (offset.shape[2], offset.shape[3]))
    kernel = _kernel(weight, geometry)
    shift = None if bias is None else bias.view(geometry.groups, -1, 1)
    for part, first, last in _blocks(x, offset, weight):
        columns = _room(x[part], weight, last - first)
        tensors = x[part], offset[part], offset if modulation is None else modulation[part], columns
        _launch(
            _fetch, tensors, first=first, modulated=modulation is not None, weight=weight, geometry=geometry
        )
        grouped = columns.view(len(columns) * geometry.groups, -1, last - first)
        matrices = kernel.repeat(len(columns), 1, 1)
        if shift is None:
            result = torch.bmm(matrices, grouped)
        else:
            result = torch.baddbmm(shift.repeat(len(columns), 1, 1), matrices, grouped)
        target = out[part].view(len(columns), weight.shape[0], -1)[..., first:last]
        target.copy_(result.view(target.shape))
    return out


def backward(
    grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor, modulation: Tensor | None, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `forward`, laid out like its inputs; the last is empty without modulation."""
    kernel = _kernel(weight, geometry)
    of_kernel, of_x = torch.zeros_like(kernel, dtype=torch.float32), torch.zeros_like(x, dtype=torch.float32)
    of_offset = empty_result(offset, offset.shape[1], (offset.shape[2], offset.shape[3]))
    of_modulation = None
    if modulation is not None:
        of_modulation = empty_result(modulation, modulation.shape[1], (offset.shape[2], offset.shape[3]))
    strength = offset if modulation is None else modulation
    of_strength = of_offset if of_modulation is None else of_modulation
    for part, first, last in _blocks(x, offset, weight):
        outer = torch.unflatten(grad[part].flatten(2)[..., first:last], 1, (geometry.groups, -1))
        columns = (kernel.transpose(1, 2) @ outer).flatten(1, 2)
        tensors = x[part], offset[part], strength[part], columns
        results = of_x[part], of_offset[part], of_strength[part]
        _launch(
            _hand_back,
            (*tensors, *results),
            first=first,
            modulated=modulation is not None,
            weight=weight,
            geometry=geometry,
        )
        grouped = columns.view(len(columns), geometry.groups, -1, last - first)
        of_kernel += (outer @ grouped.transpose(-1, -2)).sum(0, dtype=torch.float32)
    return (
        empty_result(x, x.shape[1], (x.shape[2], x.shape[3])).copy_(of_x),
        of_offset,
        of_kernel.reshape(weight.shape).to(weight.dtype),
        offset.new_empty(0) if of_modulation is None else of_modulation,
    )


def _kernel(weight: Tensor, geometry: Geometry) -> Tensor:
    """(groups, O / groups, columns of a group): columns are in the order of the weights."""
    return weight.reshape(geometry.groups, weight.shape[0] // geometry.groups, -1)


def _room(x: Tensor, weight: Tensor, places: int) -> Tensor:
    return x.new_empty(len(x), x.shape[1] * weight[0, 0].numel(), places)


def _blocks(x: Tensor, offset: Tensor, weight: Tensor) -> Iterator[tuple[slice, int, int]]:
    """Which images, and which of their places, have their columns made at once."""
    places = offset.shape[2] * offset.shape[3]
    bytes_each = x.shape[1] * weight[0, 0].numel() * x.element_size()
    images = max(1, COLUMN_BYTES // (bytes_each * places))
    length = max(PLACES, COLUMN_BYTES // bytes_each)
    for n in range(0, len(x), images):
        for first in range(0, places, length):
            yield slice(n, min(n + images, len(x))), first, min(first + length, places)


def _launch(
    kernel: Any,
    tensors: tuple[Tensor, ...],
    *,
    first: int,
    modulated: bool,
    weight: Tensor,
    geometry: Geometry,
) -> None:
    x, offset, strength, columns, *results = tensors
    taps, count = weight[0, 0].numel(), columns.shape[2]
    grid = (triton.cdiv(count, PLACES), geometry.deformable_groups * taps, len(x))
    steps = (step for result in results for step in result.stride())
    kernel[grid](
        *tensors, first, count, offset.shape[3], *x.shape[2:],
        *x.stride(), *offset.stride(), *strength.stride(),
        *geometry.stride, *geometry.padding, *geometry.dilation, *steps, columns.stride(0),
        TAPS=taps, KERNEL_WIDTH=weight.shape[3], MODULATED=modulated,
        EACH=x.shape[1] // geometry.deformable_groups, PLACES=PLACES, CHANNELS=CHANNELS,
    )  # fmt: skip
