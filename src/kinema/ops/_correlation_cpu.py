"""The cost volume on a CPU: one register-blocked product, compiled by numba without a compiler on site.

Forward and both gradients are sums of one shape: sixteen neighbouring pixels of a row times sixteen
of another, over channels (forward) or over displacements (backward). The textbook version makes one pass over
both feature maps per displacement, and is bound by memory. Here a product keeps a block of nine displacements
(or eight channels) of sixteen pixels in vector registers while it runs through the sum: a multiply-add then
costs one load from the first-level cache. numba's own vectoriser does not find this form (it would have to
show that eighteen rows do not overlap, and gives up), so the block is written as sixteen-lane vector
instructions, which LLVM cuts to whatever the processor has.

Maps are packed into float32 rows, (row, channel, column) with zeros around: a displacement is then an offset.
bfloat16 is widened there and rounded once at the end. Sums run in one fixed order whatever the number of
threads. Batched matrix products were not tried: of the product of a block of pixels with its surroundings
only a narrow band is wanted, a third or less of the work.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202, FBT003

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from kinema.ops._compile import compiled
from kinema.ops._layout import empty_map
from kinema.ops._threads import map_rows

LANES = 16  # pixels per vector instruction: one AVX-512 register, two of AVX2, four of NEON
DISPLACEMENTS = 9  # per block of the forward product: a row of the usual radius 4
CHANNELS = 8  # per block of the backward products

_jit = compiled(nogil=True, error_model="numpy")
_INDEX, _VECTOR = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)


def _product(block: int) -> Callable[..., None]:
    """The compiled product over ``block`` accumulators of `LANES` pixels each.

    On flat float32 arrays, for j in 0 .. block - 1, where every item stands for `LANES` consecutive ones::

        out[o + j * o_step] (+)= sum_i left[l + i * l_step] * right[r + i * r_step + j * r_lane]

    with i in 0 .. terms - 1. ``fresh`` replaces what ``out`` holds instead of adding to it.
    """

    @intrinsic
    def product(
        typing, out, o, o_step, left, at_l, l_step, right, at_r, r_step, r_lane, terms, fresh
    ):  # numba's protocol: types in, signature and code generator out
        index = types.intp
        signature = types.void(
            out, index, index, left, index, index, right, index, index, index, index, types.boolean
        )
        return signature, lambda context, builder, sig, args: _emit(context, builder, sig, args, block)

    return product


def _emit(context, builder, signature, args, block):
    """LLVM instructions of one product: the loop over terms with all accumulators in registers."""
    data = {i: context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 3, 6)}
    o, o_step, l_start, l_step, r_start, r_step, r_lane, terms, fresh = (
        args[i] for i in (1, 2, 4, 5, 7, 8, 9, 10, 11)
    )
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")

    def place(array, index):
        return builder.bitcast(builder.gep(data[array], [index]), _VECTOR.as_pointer())

    def spaced(start, step):
        return itertools.accumulate(range(block - 1), lambda at, _: builder.add(at, step), initial=start)

    places = [place(0, at) for at in spaced(o, o_step)]
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    first = [builder.select(fresh, zero, builder.load(at, align=4)) for at in places]
    before, loop = builder.block, builder.append_basic_block("terms")
    after = builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    i, at_l, at_r = (builder.phi(_INDEX) for _ in range(3))
    sums = [builder.phi(_VECTOR) for _ in range(block)]
    shared = builder.load(place(3, at_l), align=4)
    rights = [builder.load(place(6, at), align=4) for at in spaced(at_r, r_lane)]
    new = [builder.call(multiply_add, [shared, r, s]) for r, s in zip(rights, sums, strict=True)]
    one, none = ir.Constant(_INDEX, 1), ir.Constant(_INDEX, 0)
    nexts = [builder.add(i, one), builder.add(at_l, l_step), builder.add(at_r, r_step)]
    phis = [i, at_l, at_r, *sums]
    for phi, start, following in zip(phis, [none, l_start, r_start, *first], [*nexts, *new], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", nexts[0], terms), loop, after)
    builder.position_at_end(after)
    for at, value in zip(places, new, strict=True):
        builder.store(value, at, align=4)
    return context.get_dummy_value()


_over_channels = _product(DISPLACEMENTS)
_over_displacements = _product(CHANNELS)


@_jit
def _forward_rows(out, left, right, top, bottom, channels, side, blocks, pitch, wide):
    """``out`` (row, side * blocks * 9, pitch) from ``left`` (row, c, pitch), ``right`` (row + r, c, wide)."""
    rows = blocks * DISPLACEMENTS  # of ``out`` per vertical displacement; what exceeds ``side`` is cut later
    for y in range(top, bottom):
        for dy in range(side):
            for k in range(0, rows, DISPLACEMENTS):
                for x in range(0, pitch, LANES):
                    _over_channels(
                        out, ((y * side + dy) * rows + k) * pitch + x, pitch,
                        left, y * channels * pitch + x, pitch,
                        right, (y + dy) * channels * wide + x + k, wide, 1, channels, True,
                    )  # fmt: skip


@_jit
def _backward_first_rows(out, grad, right, top, bottom, channels, side, pitch, wide):
    """Gradient of the first map, (row, c, pitch): its surroundings in ``right``, weighted by ``grad``."""
    for y in range(top, bottom):
        for c in range(0, channels, CHANNELS):
            for dy in range(side):
                for x in range(0, pitch, LANES):
                    _over_displacements(
                        out, (y * channels + c) * pitch + x, pitch,
                        grad, (y * side + dy) * side * wide + x + side // 2, wide,
                        right, ((y + dy) * channels + c) * wide + x, 1, wide, side, dy == 0,
                    )  # fmt: skip


@_jit
def _backward_second_rows(out, grad, left, top, bottom, height, channels, side, pitch, wide):
    """Gradient of the second map: each pixel gathers from the pixels of frame 1 that looked at it."""
    radius = side // 2
    for y in range(top, bottom):
        low, high = max(0, y + radius - height + 1), min(side, y + radius + 1)  # rows y + r - dy in the image
        for c in range(0, channels, CHANNELS):
            for dy in range(low, high):
                source = y + radius - dy
                for x in range(0, pitch, LANES):
                    _over_displacements(
                        out, (y * channels + c) * pitch + x, pitch,
                        grad, (source * side + dy) * side * wide + x + 2 * radius, wide - 1,
                        left, (source * channels + c) * wide + x + 2 * radius, -1, wide, side, dy == low,
                    )  # fmt: skip


def forward(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """`kinema.ops.correlation.correlation` for float32 and bfloat16 on the CPU, laid out like ``first``."""
    b, c, h, w = first.shape
    side = 2 * radius + 1
    blocks = _up(side, DISPLACEMENTS) // DISPLACEMENTS
    pitch = _up(w, LANES)
    wide = pitch + blocks * DISPLACEMENTS
    left = _packed(first, (h, c, pitch), scale=1 / c)
    right = _packed(second, (h + 2 * radius, c, wide), top=radius, left=radius)
    out = torch.empty(b, h, side, blocks * DISPLACEMENTS, pitch)
    arrays = [t.view(b, -1).numpy() for t in (out, left, right)]

    def run(n: int, top: int, bottom: int) -> None:
        _forward_rows(*(a[n] for a in arrays), top, bottom, c, side, blocks, pitch, wide)

    map_rows(run, b, h, c * side * side * pitch)
    volume = out[:, :, :, :side, :w].flatten(2, 3).transpose(1, 2)
    return empty_map(first, side * side).copy_(volume)


def backward(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Gradients of `forward`, laid out like its inputs."""
    b, c, h, w = first.shape
    side, padded = 2 * radius + 1, _up(c, CHANNELS)
    pitch = _up(w, LANES)
    wide = pitch + 2 * radius
    slopes = _packed(grad, (h, side * side, wide), left=radius, scale=1 / c)
    left = _packed(first, (h, padded, wide), left=radius)
    right = _packed(second, (h + 2 * radius, padded, wide), top=radius, left=radius)
    outs = [torch.empty(b, h, padded, pitch) for _ in range(2)]
    arrays = [t.view(b, -1).numpy() for t in (*outs, slopes, left, right)]

    def run(n: int, top: int, bottom: int) -> None:
        out1, out2, g, one, two = (a[n] for a in arrays)
        _backward_first_rows(out1, g, two, top, bottom, padded, side, pitch, wide)
        _backward_second_rows(out2, g, one, top, bottom, h, padded, side, pitch, wide)

    map_rows(run, b, h, 2 * c * side * side * pitch)
    first_grad, second_grad = (
        empty_map(like, c).copy_(out[:, :, :c, :w].transpose(1, 2))
        for out, like in zip(outs, (first, second), strict=True)
    )
    return first_grad, second_grad


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _packed(
    image: Tensor, shape: tuple[int, int, int], *, top: int = 0, left: int = 0, scale: float = 1.0
) -> Tensor:
    """(B, rows, channels, columns) float32, zero around the image."""
    b, c, h, w = image.shape
    buffer = torch.zeros(b, *shape)
    inner = buffer[:, top : top + h, :c, left : left + w]
    inner.copy_(image.detach().transpose(1, 2))
    return buffer if scale == 1.0 else buffer.mul_(scale)
