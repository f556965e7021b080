"""Loops of the deformable convolution on a CPU, compiled by numba: fetch columns, and hand gradients back.

Positions of some places are worked out first, along whatever lies side by side in the offsets; then each
sample is a few vector instructions (`kinema.ops._deform_cpu_lanes`). Packed maps have a border of zeros, so
no sample asks where it lies. bfloat16 comes as uint16.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# mypy: disable-error-code="call-arg,unreachable,var-annotated"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kinema.ops._compile import compiled
from kinema.ops._deform_cpu_lanes import LANES, fetch_lanes, number, put, return_lanes

RUN = 16  # places of a row whose positions are worked out at once: they stay in the first-level cache

_jit = compiled(nogil=True, error_model="numpy", boundscheck=False)


class Shape(NamedTuple):
    """Sizes that the loops need; the packed map has ``height + 3`` rows of ``width + 2``."""

    height: int
    width: int
    area: int  # places per image of the result
    out_width: int
    taps: int
    kernel_width: int
    groups: int  # deformable ones
    blocks: int  # units of eight channels per group
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


@_jit
def _keep(places, shares, to, size, py, px, strength, shape):
    """Keep where a sample lies: the pixel of the packed map above and to the left, and how far from it.

    What lies farther out than a pixel, or is not a number, goes to the zeros below the map.
    """
    height, width = np.float32(shape.height), np.float32(shape.width)
    inside = (py >= -1) & (py < height) & (px >= -1) & (px < width)
    py, px = py if inside else height, px if inside else np.float32(-1)
    top, start = np.floor(py), np.floor(px)
    put(places, to, (np.int32(top) + 1) * np.int32(shape.width + 2) + np.int32(start) + 1)
    put(shares, to, py - top)
    put(shares, to + size, px - start)
    put(shares, to + 2 * size, strength)


@_jit
def _tap_table(shape):
    """Row and column of every tap of every group, before offsets."""
    table = np.empty((2, shape.groups, shape.taps), np.float32)
    for k in range(shape.taps):
        table[0, :, k] = shape.dilation[0] * (k // shape.kernel_width) - shape.padding[0]
        table[1, :, k] = shape.dilation[1] * (k % shape.kernel_width) - shape.padding[1]
    return table.ravel()


@_jit
def _positions(places, shares, offset, strength, table, shape, n, y, x0, count, first, samples):
    """Positions of some samples at ``count`` places of row ``y`` from ``x0`` on.

    The inner loop runs along what lies side by side in ``offset``: samples, or places. The result is how far
    one sample, and one place, lies from the next in ``places`` and ``shares``.
    """
    (offset, o), (strength, s) = offset, strength
    o_start, s_start = n * o[0] + y * o[2] + x0 * o[3], n * s[0] + y * s[2] + x0 * s[3]
    half, size = len(table) // 2, len(places)
    row = np.float32(shape.stride[0] * y)
    if o[1] == 1:
        for x in range(count):
            at, at_s, column = o_start + x * o[3], s_start + x * s[3], np.float32(shape.stride[1] * (x0 + x))
            for q in range(samples):
                py = row + number(table, first + q) + number(offset, at + 2 * (first + q))
                px = column + number(table, half + first + q) + number(offset, at + 2 * (first + q) + 1)
                weight = number(strength, at_s + (first + q) * s[1])
                _keep(places, shares, x * samples + q, size, py, px, weight, shape)
        return 1, samples
    for q in range(samples):
        at, at_s = o_start + 2 * (first + q) * o[1], s_start + (first + q) * s[1]
        top, left = row + table[first + q], table[half + first + q]
        for x in range(count):
            py = top + number(offset, at + x * o[3])
            px = left + np.float32(shape.stride[1] * (x0 + x)) + number(offset, at + o[1] + x * o[3])
            _keep(places, shares, q * RUN + x, size, py, px, number(strength, at_s + x * s[3]), shape)
    return RUN, 1


@_jit
def fetch(columns, maps, offset, strength, shape, origin, start, end):
    """Columns (place, group, tap, channel) of the places ``start`` .. ``end`` of all images, row by row.

    ``columns`` begins with place ``origin``; ``offset`` and ``strength`` are flat arrays with their strides.
    """
    samples = shape.groups * shape.taps
    size = samples * RUN
    places, shares, table = np.empty(size, np.int32), np.empty(3 * size, np.float32), _tap_table(shape)
    pitch = LANES * (shape.width + 2)
    plane = pitch * (shape.height + 3)
    while start < end:
        n, place = start // shape.area, start % shape.area
        y, x0 = place // shape.out_width, place % shape.out_width
        count = min(RUN, shape.out_width - x0, end - start)
        by_sample, by_place = _positions(
            places, shares, offset, strength, table, shape, n, y, x0, count, 0, samples
        )
        at = (start - origin) * samples * shape.blocks * LANES
        for x in range(count):
            kept = x * by_place
            for g in range(n * shape.groups, (n + 1) * shape.groups):
                for _ in range(shape.taps):
                    above = g * shape.blocks * plane + np.int64(places[kept]) * LANES
                    strong = shares[2 * size + kept]
                    right = shares[size + kept] * strong
                    down = shares[kept]
                    for _ in range(shape.blocks):
                        fetch_lanes(columns, at, maps, above, above + pitch, down, strong - right, right)
                        at += LANES
                        above += plane
                    kept += by_sample
        start += count


@_jit
def hand_back(columns, maps, slopes, changes, offset, strength, shape, jobs, origin, length):
    """Gradients of some units of one group from those of its columns, which become the columns themselves.

    A job is (first place, last + 1, group, first unit of it, last + 1, row of ``changes``) within one image.
    ``changes`` (row, tap, 3, ``length`` places) gets the gradients in strength, dy and dx.
    """
    size = shape.taps * RUN
    places, shares, table = np.empty(size, np.int32), np.empty(3 * size, np.float32), _tap_table(shape)
    for start, end, g, first, last, part in jobs:
        while start < end:
            n, place = start // shape.area, start % shape.area
            y, x0 = place // shape.out_width, place % shape.out_width
            count = min(RUN, shape.out_width - x0, end - start)
            steps = _positions(
                places, shares, offset, strength, table, shape, n, y, x0, count, g * shape.taps, shape.taps
            )
            units, at = ((n * shape.groups + g) * shape.blocks + first, last - first), start - origin
            for x in range(count):
                to = part * shape.taps * 3 * length + at + x
                column = (((at + x) * shape.groups + g) * shape.taps * shape.blocks + first) * LANES
                kept = x * steps[1]
                for _ in range(shape.taps):
                    _hand_back_one(
                        columns, column, maps, slopes, changes, to, length, places, shares, kept, units, shape
                    )
                    to += 3 * length
                    column += shape.blocks * LANES
                    kept += steps[0]
            start += count


@_jit
def _hand_back_one(columns, at, maps, slopes, changes, to, length, places, shares, kept, units, shape):
    """One sample: the first of its units and their number are ``units``."""
    pitch = LANES * (shape.width + 2)
    plane = pitch * (shape.height + 3)
    above = units[0] * plane + np.int64(places[kept]) * LANES
    size = len(places)
    down, right, strong = shares[kept], shares[size + kept], shares[2 * size + kept]
    by_strength, by_y, by_x = np.float32(0), np.float32(0), np.float32(0)
    for _ in range(units[1]):
        a, b, c = return_lanes(
            columns, at, maps, slopes, above, above + pitch, down, 1 - right, right, strong
        )
        by_strength, by_y, by_x = by_strength + a, by_y + b, by_x + c
        at += LANES
        above += plane
    changes[to], changes[to + length], changes[to + 2 * length] = by_strength, by_y, by_x


@_jit
def gather_changes(offset, strength, changes, shape, splits, origin, length, start, end):
    """Sum the parts of each group in ``changes``, and write the gradients where they belong.

    ``offset`` and ``strength`` are flat arrays with their strides; an empty one of strength is left alone.
    """
    (offset, o), (strength, s) = offset, strength
    while start < end:
        n, place = start // shape.area, start % shape.area
        y, x0 = place // shape.out_width, place % shape.out_width
        count = min(shape.out_width - x0, end - start)
        for q in range(shape.groups * shape.taps):
            g, k = q // shape.taps, q % shape.taps
            to = n * o[0] + 2 * q * o[1] + y * o[2] + x0 * o[3]
            to_strength = n * s[0] + q * s[1] + y * s[2] + x0 * s[3]
            source = ((g * splits * shape.taps + k) * 3) * length + start - origin
            for part in range(1, splits):
                more = source + part * shape.taps * 3 * length
                for i in range(0, 3 * length, length):
                    for x in range(i, i + count):
                        put(changes, source + x, number(changes, source + x) + number(changes, more + x))
            for x in range(count):
                put(offset, to + x * o[3], number(changes, source + length + x))
                put(offset, to + o[1] + x * o[3], number(changes, source + 2 * length + x))
            if len(strength):
                for x in range(count):
                    put(strength, to_strength + x * s[3], number(changes, source + x))
        start += count
