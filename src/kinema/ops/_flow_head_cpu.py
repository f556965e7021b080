"""A 3x3 convolution from many bfloat16 channels to two float32 ones on a CPU, compiled by numba.

Sums over channels for the nine taps of an output and three neighbouring pixels are kept in vector registers,
sixteen channels at a time, which are widened from bfloat16 as they are read; the maps of all taps are then
added up with their shifts.
Nothing is written in between but those maps: widening the features first, which is what any float32
convolution needs, takes ten times as long as the convolution.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

import torch
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from kinema.ops._compile import compiled
from kinema.ops._threads import map_rows

LANES = 16
TAPS = 9
SUMS = 2 * TAPS  # two outputs
PIXELS = 3  # per block: with nine taps their sums just fit into the registers of AVX-512

_jit = compiled(nogil=True, error_model="numpy")
_INDEX, _FLOAT, _BITS = ir.IntType(64), ir.FloatType(), ir.IntType(16)
_VECTOR, _WIDE, _HALF = (ir.VectorType(kind, LANES) for kind in (_FLOAT, ir.IntType(32), _BITS))


@intrinsic
def _dot(typing, out, o, x, at_x, channels, weights, at_w, blocks):
    """Products of three pixels' channels, the bits of bfloat16, with the weights of one output's nine taps.

    Pixel p is read from ``at_x + p * channels`` on; its sums go to ``out`` from ``o + p * SUMS`` on. Block i
    of channels begins at ``LANES * i``; the last one ends where the channels end.
    """
    index = types.intp
    return types.void(out, index, x, index, index, weights, index, index), _emit


def _emit(context, builder, signature, args):
    o, at_x, channels, at_w, blocks = (args[i] for i in (1, 3, 4, 6, 7))
    out, x, weights = (
        context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2, 5)
    )
    multiply_add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{LANES}f32"
    )
    add_up = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR]), f"llvm.vector.reduce.fadd.v{LANES}f32"
    )

    def number(value):
        return ir.Constant(_INDEX, value)

    def read(array, index, kind, align):
        return builder.load(builder.bitcast(builder.gep(array, [index]), kind.as_pointer()), align=align)

    before, loop = builder.block, builder.append_basic_block("channels")
    after = builder.append_basic_block("done")
    end = builder.sub(channels, number(LANES))
    builder.branch(loop)
    builder.position_at_end(loop)
    i = builder.phi(_INDEX)
    sums = [builder.phi(_VECTOR) for _ in range(PIXELS * TAPS)]
    following = builder.add(i, number(1))
    more = builder.icmp_signed("<", following, blocks)
    at = builder.add(at_x, builder.select(more, builder.mul(i, number(LANES)), end))
    shift = ir.Constant(_WIDE, [16] * LANES)
    values = []
    for _ in range(PIXELS):
        wide = builder.shl(builder.zext(read(x, at, _HALF, 2), _WIDE), shift)
        values.append(builder.bitcast(wide, _VECTOR))
        at = builder.add(at, channels)
    start = builder.add(at_w, builder.mul(i, number(TAPS * LANES)))
    new = []
    for j in range(TAPS):
        weight = read(weights, builder.add(start, number(j * LANES)), _VECTOR, 4)
        new += [builder.call(multiply_add, [v, weight, sums[j * PIXELS + p]]) for p, v in enumerate(values)]
    i.add_incoming(number(0), before)
    i.add_incoming(following, loop)
    for total, then in zip(sums, new, strict=True):
        total.add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), before)
        total.add_incoming(then, loop)
    builder.cbranch(more, loop, after)
    builder.position_at_end(after)
    for n, total in enumerate(new):
        j, p = divmod(n, PIXELS)
        result = builder.call(add_up, [ir.Constant(_FLOAT, 0.0), total], fastmath=("reassoc",))
        builder.store(result, builder.gep(out, [builder.add(o, number(p * SUMS + j))]))
    return context.get_dummy_value()


@_jit
def _sum_rows(sums, x, weights, top, bottom, width, channels, blocks):
    """Sums of all taps of the pixels of some rows; the last block of pixels overlaps the one before."""
    for pixel in range(top * width, bottom * width, PIXELS):
        first = max(0, min(pixel, bottom * width - PIXELS))
        for output in range(2):
            _dot(
                sums, first * SUMS + output * TAPS, x, first * channels, channels,
                weights, output * blocks * TAPS * LANES, blocks,
            )  # type: ignore[call-arg]  # fmt: skip


@_jit
def _gather_rows(out, sums, bias, top, bottom, height, width):
    """Add the tap (dy, dx) of the pixel at (y + dy, x + dx); zero outside."""
    for y in range(top, bottom):
        for x in range(width):
            u, v = bias[0], bias[1]
            for dy in range(max(-1, -y), min(2, height - y)):
                for dx in range(max(-1, -x), min(2, width - x)):
                    at = ((y + dy) * width + x + dx) * SUMS + 3 * (dy + 1) + dx + 1
                    u += sums[at]
                    v += sums[at + TAPS]
            out[0, y, x] = u
            out[1, y, x] = v


def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`kinema.ops.flow_head.flow_head` for bfloat16 features, of 16 channels and 3 pixels or more."""
    b, c, h, w = x.shape
    blocks = -(-c // LANES)
    table = _table(weight, blocks)
    pixels = x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
    bits = pixels.contiguous().view(torch.uint16).view(b, -1).numpy()
    sums = torch.empty(b, h * w * SUMS).numpy()
    out = torch.empty(b, 2, h, w)
    results, start = out.numpy(), bias.detach().float().numpy()

    def products(n: int, top: int, bottom: int) -> None:
        _sum_rows(sums[n], bits[n], table, top, bottom, w, c, blocks)

    def shifts(n: int, top: int, bottom: int) -> None:
        _gather_rows(results[n], sums[n], start, top, bottom, h, w)

    map_rows(products, b, h, SUMS * c * w)
    map_rows(shifts, b, h, SUMS * w)
    return out


def _table(weight: Tensor, blocks: int):
    """Weights as (output, block, tap, lane); what the last block reads again has weight 0."""
    c = weight.shape[1]
    taps = weight.detach().float().reshape(2, c, TAPS).transpose(1, 2)
    full = c // LANES
    table = torch.zeros(2, blocks, TAPS, LANES)
    table[:, :full] = taps[..., : full * LANES].reshape(2, TAPS, full, LANES).transpose(1, 2)
    if blocks > full:
        rest = c - full * LANES
        table[:, full, :, LANES - rest :] = taps[..., full * LANES :]
    return table.flatten().numpy()
