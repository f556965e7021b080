"""The soft census distance on a CPU, compiled by numba without a compiler on site.

The distance of a pair of pixels is the same seen from either, so each pair is looked at once and counts for
both. A row of the picture and a row below it are compared offset by offset into a buffer of one row, which
stays in the first-level cache, and is then added to the two rows it belongs to; that keeps each inner loop in
a form that becomes vector instructions. Nothing as large as the picture is written per offset.

A band of rows starts ``radius`` rows above its first one, and so adds the pairs of each pixel in one
fixed order: the result does not depend on the number of threads.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.ops._compile import compiled
from kinema.ops._threads import map_rows

# Constants of float32: with a plain number numba would compute in float64.
_SIGN, _MATCH, _ONE, _TWO = np.float32(0.81), np.float32(0.1), np.float32(1), np.float32(2)

# No fused multiply-adds: their one rounding less would give equal pictures a distance, and a slope.
_jit = compiled(nogil=True, error_model="numpy")


@_jit
def _distances(out, a, a_there, b, b_there):
    for i in range(out.size):
        da, db = a_there[i] - a[i], b_there[i] - b[i]
        wa, wb = _SIGN + da * da, _SIGN + db * db
        apart = da * np.sqrt(wb) - db * np.sqrt(wa)  # times sqrt(wa wb): one division instead of three
        squared = apart * apart
        out[i] = squared / (_MATCH * (wa * wb) + squared)


@_jit
def _slopes(one, two, a, a_there, b, b_there, g, g_there):
    """Slopes of the pairs' distances, in the difference of the first picture and in that of the second."""
    for i in range(one.size):
        da, db = a_there[i] - a[i], b_there[i] - b[i]
        wa, wb = _ONE / (_SIGN + da * da), _ONE / (_SIGN + db * db)
        ra, rb = np.sqrt(wa), np.sqrt(wb)
        apart = da * ra - db * rb
        width = _ONE / (_MATCH + apart * apart)
        slope = _TWO * _MATCH * _SIGN * apart * width * width * (g[i] + g_there[i])
        one[i] = slope * (wa * ra)
        two[i] = -slope * (wb * rb)


@_jit
def _add(total, part):
    for i in range(part.size):
        total[i] += part[i]


@_jit
def _subtract(total, part):
    for i in range(part.size):
        total[i] -= part[i]


@_jit
def _forward_rows(out, a, b, top, bottom, radius):
    """Distances of rows ``top`` to ``bottom`` of ``out``; ``a`` and ``b`` are padded by ``radius``."""
    wide = a.shape[1]
    sums = np.zeros((bottom - top + 3 * radius, wide), np.float32)  # from row top - radius of ``out`` on
    row = np.empty(wide, np.float32)
    for y in range(bottom - top + radius):
        at = top + y
        for dy in range(radius + 1):
            for dx in range(-radius if dy else 1, radius + 1):
                left, right = max(0, -dx), wide - max(0, dx)
                there = slice(left + dx, right + dx)
                part = row[left:right]
                _distances(part, a[at, left:right], a[at + dy, there], b[at, left:right], b[at + dy, there])
                _add(sums[y, left:right], part)
                _add(sums[y + dy, there], part)
    out[top:bottom] = sums[radius : radius + bottom - top, radius : wide - radius]


@_jit
def _backward_rows(out_a, out_b, g, a, b, top, bottom, radius):
    """Gradients of rows ``top`` to ``bottom`` of both pictures; ``g``, ``a`` and ``b`` are padded."""
    wide = a.shape[1]
    sums_a = np.zeros((bottom - top + 3 * radius, wide), np.float32)
    sums_b = np.zeros((bottom - top + 3 * radius, wide), np.float32)
    row_a, row_b = np.empty(wide, np.float32), np.empty(wide, np.float32)
    for y in range(bottom - top + radius):
        at = top + y
        for dy in range(radius + 1):
            for dx in range(-radius if dy else 1, radius + 1):
                left, right = max(0, -dx), wide - max(0, dx)
                there = slice(left + dx, right + dx)
                one, two = row_a[left:right], row_b[left:right]
                _slopes(
                    one, two, a[at, left:right], a[at + dy, there], b[at, left:right], b[at + dy, there],
                    g[at, left:right], g[at + dy, there],
                )  # fmt: skip
                _add(sums_a[y + dy, there], one)
                _subtract(sums_a[y, left:right], one)
                _add(sums_b[y + dy, there], two)
                _subtract(sums_b[y, left:right], two)
    inner = slice(radius, wide - radius)
    out_a[top:bottom] = sums_a[radius : radius + bottom - top, inner]
    out_b[top:bottom] = sums_b[radius : radius + bottom - top, inner]


def forward(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """`kinema.ops.census.census_distance` for float32 on the CPU."""
    b, _, h, w = first.shape
    out = torch.empty(b, 1, h, w)
    result, one, two = out[:, 0].numpy(), _padded(first, radius), _padded(second, radius)

    def run(n: int, top: int, bottom: int) -> None:
        _forward_rows(result[n], one[n], two[n], top, bottom, radius)

    map_rows(run, b, h, _work(w, radius))
    return out


def backward(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Gradients of `forward`."""
    b, _, h, w = first.shape
    outs = torch.empty(b, 1, h, w), torch.empty(b, 1, h, w)
    one, two = (out[:, 0].numpy() for out in outs)
    slopes, a, c = (_padded(t, radius) for t in (grad, first, second))

    def run(n: int, top: int, bottom: int) -> None:
        _backward_rows(one[n], two[n], slopes[n], a[n], c[n], top, bottom, radius)

    map_rows(run, b, h, _work(w, radius))
    return outs


def _work(width: int, radius: int) -> int:
    """Multiply-adds per row, roughly: ten for each pair."""
    return 10 * width * 2 * radius * (radius + 1)


def _padded(picture: Tensor, radius: int):
    return F.pad(picture.detach()[:, 0], (radius,) * 4).numpy()
