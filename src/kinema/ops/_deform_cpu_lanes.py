"""Vector instructions of the deformable convolution on a CPU, for the loops that numba compiles.

Maps are packed eight channels at a time, (unit, row, column, 8): two corners of a sample that lie side by
side are sixteen numbers in a row, one vector register. numba's own vectoriser does not find this form, so
the body of the loops is written as vector instructions, which LLVM cuts to whatever the processor has.
bfloat16 comes as uint16; it is widened on the way into a register, and rounded on the way out.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8  # channels per unit of a packed map

_FLOAT, _HALF, _WORD = ir.FloatType(), ir.IntType(16), ir.IntType(32)


def _vector(kind, count: int):
    return ir.VectorType(kind, count)


def _load(builder, data, index, count: int):
    """``count`` numbers from an array of float32, or of bfloat16 as uint16, as float32."""
    place = builder.gep(data, [index])
    if place.type.pointee == _FLOAT:
        return builder.load(builder.bitcast(place, _vector(_FLOAT, count).as_pointer()), align=4)
    halves = builder.load(builder.bitcast(place, _vector(_HALF, count).as_pointer()), align=2)
    words = _vector(_WORD, count)
    shift = ir.Constant(words, [16] * count)
    return builder.bitcast(builder.shl(builder.zext(halves, words), shift), _vector(_FLOAT, count))


def _store(builder, data, index, value):
    """Eight numbers to an array of float32, or rounded to bfloat16."""
    place = builder.gep(data, [index])
    if place.type.pointee == _FLOAT:
        builder.store(value, builder.bitcast(place, value.type.as_pointer()), align=4)
        return
    result = _rounded(builder, value)
    builder.store(result, builder.bitcast(place, result.type.as_pointer()), align=2)


def _spread(builder, scalar, count: int):
    vector = builder.insert_element(ir.Constant(_vector(_FLOAT, count), ir.Undefined), scalar, _WORD(0))
    return builder.shuffle_vector(vector, vector, ir.Constant(_vector(_WORD, count), [0] * count))


def _part(builder, vector, first: int):
    lanes = ir.Constant(_vector(_WORD, LANES), list(range(first, first + LANES)))
    return builder.shuffle_vector(vector, vector, lanes)


def _multiply_add(builder, a, b, c):
    name = f"llvm.fmuladd.v{a.type.count}f32"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(a.type, [a.type] * 3), name)
    return builder.call(function, [a, b, c])


def _sum(builder, vector):
    kind = ir.FunctionType(_FLOAT, [_FLOAT, vector.type])
    name = f"llvm.vector.reduce.fadd.v{vector.type.count}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [ir.Constant(_FLOAT, 0.0), vector], fastmath=("reassoc",))


def _rounded(builder, value):
    """Bits of bfloat16 nearest to float32, halves to even; scalars or vectors."""
    vector = isinstance(value.type, ir.VectorType)
    words = _vector(_WORD, value.type.count) if vector else _WORD

    def all_of(number: int):
        return ir.Constant(words, [number] * value.type.count if vector else number)

    bits = builder.bitcast(value, words)
    odd = builder.and_(builder.lshr(bits, all_of(16)), all_of(1))
    nearest = builder.add(bits, builder.add(odd, all_of(0x7FFF)))
    missing = builder.fcmp_unordered("uno", value, value)
    nearest = builder.select(missing, all_of(0x7FC00000), nearest)
    halves = _vector(_HALF, value.type.count) if vector else _HALF
    return builder.trunc(builder.lshr(nearest, all_of(16)), halves)


def _arrays(context, builder, signature, args):
    """The data pointers of the arguments that are arrays, by position."""
    kinds = enumerate(signature.args)
    return {i: context.make_array(k)(context, builder, args[i]).data for i, k in kinds if hasattr(k, "ndim")}


@intrinsic
def number(typing, array, at):
    """One number of a flat array of float32 or bfloat16; no check, no negative index."""

    def emit(context, builder, signature, args):
        value = builder.load(builder.gep(_arrays(context, builder, signature, args)[0], [args[1]]))
        if value.type == _FLOAT:
            return value
        return builder.bitcast(builder.shl(builder.zext(value, _WORD), _WORD(16)), _FLOAT)

    return types.float32(array, types.intp), emit


@intrinsic
def put(typing, array, at, value):
    """One number to a flat array of its type, or a float32 to one of bfloat16."""

    def emit(context, builder, signature, args):
        place = builder.gep(_arrays(context, builder, signature, args)[0], [args[1]])
        rounded = place.type.pointee == _HALF
        builder.store(_rounded(builder, args[2]) if rounded else args[2], place)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int32 if array.dtype == types.int32 else types.float32), emit


def _pairs(builder, maps, above, below, down):
    """Sixteen numbers of a sample's left and right pixels: between rows, and from the upper to the lower."""
    top, bottom = (_load(builder, maps, at, 2 * LANES) for at in (above, below))
    change = builder.fsub(bottom, top)
    return _multiply_add(builder, _spread(builder, down, 2 * LANES), change, top), change


def _across(builder, pairs, left, right):
    """Eight numbers between the left and the right half of sixteen."""
    last = builder.fmul(right, _part(builder, pairs, LANES))
    return _multiply_add(builder, left, _part(builder, pairs, 0), last)


@intrinsic
def fetch_lanes(typing, columns, at, maps, above, below, down, left, right):
    """Eight channels of a sample: ``columns[at:at + 8]`` from the pairs of pixels above and below."""

    def emit(context, builder, signature, args):
        data = _arrays(context, builder, signature, args)
        middle, _ = _pairs(builder, data[2], *args[3:6])
        shares = [_spread(builder, share, LANES) for share in args[6:]]
        _store(builder, data[0], args[1], _across(builder, middle, *shares))
        return context.get_dummy_value()

    index, real = types.intp, types.float32
    return types.void(columns, index, maps, index, index, real, real, real), emit


@intrinsic
def return_lanes(typing, columns, at, maps, slopes, above, below, down, left, right, strength):
    """Hand the gradient of eight channels of a sample back, and put the sample in its place.

    ``columns[at:at + 8]`` is the gradient on entry, and what `fetch_lanes` writes afterwards. The four pixels
    in ``slopes`` get their shares; what comes back is the gradient in strength, row and column.
    """

    def emit(context, builder, signature, args):
        data = _arrays(context, builder, signature, args)
        at, (above, below), (down, left, right, strength) = args[1], args[4:6], args[6:]
        left, right, strength = (_spread(builder, share, LANES) for share in (left, right, strength))
        grad = _load(builder, data[0], at, LANES)
        middle, change = _pairs(builder, data[2], above, below, down)
        value = _across(builder, middle, left, right)
        _store(builder, data[0], at, builder.fmul(strength, value))
        strong = builder.fmul(strength, grad)
        rightward = builder.fsub(_part(builder, middle, LANES), _part(builder, middle, 0))
        downward = _across(builder, change, left, right)
        sides = [builder.fmul(share, strong) for share in (left, right)]
        _scatter(builder, data[3], above, below, _spread(builder, down, LANES), sides)
        products = (grad, value), (strong, downward), (strong, rightward)
        sums = [_sum(builder, builder.fmul(a, b)) for a, b in products]
        return context.make_tuple(builder, signature.return_type, sums)

    index, real = types.intp, types.float32
    result = types.UniTuple(real, 3)
    return result(columns, index, maps, slopes, index, index, real, real, real, real), emit


def _scatter(builder, slopes, above, below, down, sides):
    """Add to the left and right pixel of both rows, one pixel at a time.

    Neighbouring taps share pixels, and a load that overlaps two stores in flight would have to wait for both.
    """
    eight = ir.Constant(ir.IntType(64), LANES)
    for side, value in enumerate(sides):
        lower = builder.fmul(down, value)
        for row, part in ((above, builder.fsub(value, lower)), (below, lower)):
            place = builder.add(row, eight) if side else row
            _store(builder, slopes, place, builder.fadd(_load(builder, slopes, place, LANES), part))
