"""How many points land on each pixel, on a CPU, compiled by numba without a compiler on site.

Each point adds to its four pixels in one visit; torch's scatter needs four passes over lists of indices and
weights, which it must write first.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kinema.ops._compile import compiled
from kinema.ops._threads import map_rows

_ONE = np.float32(1)  # with a plain number numba would compute in float64

_jit = compiled(nogil=True, error_model="numpy")


@_jit
def _count(out, points, height, width):
    for i in range(points.shape[1]):
        x, y = points[0, i], points[1, i]
        if not (-1 < x < width and -1 < y < height):  # also what is not a number
            continue
        left, top = np.floor(x), np.floor(y)
        column, row = int(left), int(top)
        for dy in range(2):
            for dx in range(2):
                if 0 <= row + dy < height and 0 <= column + dx < width:
                    along_x = x - left if dx else left + _ONE - x
                    along_y = y - top if dy else top + _ONE - y
                    out[row + dy, column + dx] += along_y * along_x


def counts(points: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Bilinear weights that arrive at each pixel from points of weight 1.

    Args:
        points: (B, 2, N) float32, x and y in pixels; those outside are dropped, as are those not finite.
        size_hw: height and width of the grid.

    Returns:
        (B, 1, H, W); each pixel's sum runs over the points in their order.
    """
    height, width = size_hw
    out = torch.zeros(len(points), 1, height, width)
    results, places = out[:, 0].numpy(), points.detach().contiguous().numpy()

    def run(n: int, _top: int, _bottom: int) -> None:
        _count(results[n], places[n], height, width)

    map_rows(run, len(points), 1, 20 * points.shape[2])
    return out
