"""Following rays to the first solid that they meet."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from kinema.data.procedural.world.solids import Kind
from kinema.data.procedural.world.view import NEAR, View

Triple = tuple[Tensor, Tensor, Tensor]

_TILES_XY = (40, 24)
_TINY = 1e-12


class Rays:
    """Rays by where they cross the seer's plane, in tiles, so that those in a rectangle are found fast.

    A camera's ray (x, y) runs along (x, y, 1), so that its parameter is depth; the sun's begins at (x, y, 0)
    and runs along z.

    Args:
        x: (N,) float32.
        y: (N,) float32.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        across, down = _TILES_XY
        if len(x) == 0:
            self._low, self._per = np.zeros(2), np.ones(2)
            self.order, self.x, self.y = torch.zeros(0, dtype=torch.int64, device=x.device), x, y
            self._starts = np.zeros(across * down + 1, np.int64)
            return
        low, high = (torch.stack([f(x), f(y)]).double().cpu().numpy() for f in (torch.min, torch.max))
        self._low = low
        self._per = np.array(_TILES_XY) / np.maximum(high - low, 1e-6)
        column = ((x - float(low[0])) * float(self._per[0])).long().clamp_(0, across - 1)
        tile = ((y - float(low[1])) * float(self._per[1])).long().clamp_(0, down - 1) * across + column
        self.order = torch.argsort(tile.to(torch.int16), stable=True)
        counts = torch.bincount(tile, minlength=across * down).cpu().numpy()
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.x, self.y = x.index_select(0, self.order), y.index_select(0, self.order)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def window(self) -> tuple[float, float, float, float]:
        """Left, right, top, bottom of all rays."""
        high = self._low + np.array(_TILES_XY) / self._per
        return float(self._low[0]), float(high[0]), float(self._low[1]), float(high[1])

    def within(self, rect: np.ndarray) -> Tensor | slice | None:
        """Find the rays in a rectangle, and some beside it.

        Args:
            rect: (4,) left, right, top, bottom.

        Returns:
            Their numbers after sorting; None when there are none.
        """
        across, down = _TILES_XY
        # One hundredth of a tile for the rounding of float32.
        left, right = ((rect[:2] - self._low[0]) * self._per[0] + (-0.01, 0.01)).clip(-1, across)
        top, bottom = ((rect[2:] - self._low[1]) * self._per[1] + (-0.01, 0.01)).clip(-1, down)
        if right < 0 or bottom < 0 or left >= across or top >= down:
            return None
        first, last = max(int(left), 0), min(int(right), across - 1)
        lines = range(max(int(top), 0), min(int(bottom), down - 1) + 1)
        spans = [(self._starts[y * across + first], self._starts[y * across + last + 1]) for y in lines]
        if last - first == across - 1:
            spans = [(spans[0][0], spans[-1][1])]
        spans = [(a, b) for a, b in spans if b > a]
        if not spans:
            return None
        if len(spans) == 1:
            return slice(int(spans[0][0]), int(spans[0][1]))
        rows = np.concatenate([np.arange(a, b) for a, b in spans])
        return torch.from_numpy(rows).to(self.x.device)


def cast(view: View, rays: Rays, *, limit: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Find the first solid on every ray.

    Args:
        view: what may be met.
        rays: the rays.
        limit: (N,) in the order that the rays were given; only what lies before it counts. None is infinitely
            far.

    Returns:
        Depth (N,) float32, the limit where nothing is met; row of the solid in the view (N,) int64, -1 where
        nothing is met. Both in the order that the rays were given.
    """
    device, count = rays.x.device, len(rays)
    nearest = (
        torch.full((count,), torch.inf, device=device) if limit is None else limit.index_select(0, rays.order)
    )
    winner = torch.full((count,), -1, dtype=torch.int64, device=device)
    numbers = np.concatenate([view.turn.reshape(-1, 9), view.shift], axis=1).T[:, :, None]
    solids = torch.from_numpy(np.ascontiguousarray(numbers, np.float32)).to(device)
    for group in range(len(view.rects)):
        rows = rays.within(view.rects[group])
        if rows is not None:
            _meet(view, solids, group, rays, rows, nearest, winner)
    depth, row = torch.empty_like(nearest), torch.empty_like(winner)
    depth[rays.order], row[rays.order] = nearest, winner
    return depth, row


def _meet(
    view: View,
    solids: Tensor,
    group: int,
    rays: Rays,
    within: Tensor | slice,
    nearest: Tensor,
    winner: Tensor,
) -> None:
    """Let some rays meet the solids of a group."""
    least = float(view.nearest[group])
    if isinstance(within, slice):
        rows = (nearest[within] > least).nonzero()[:, 0] + within.start
    else:
        rows = within[nearest.index_select(0, within) > least]
    if len(rows) == 0:
        return
    x, y, near = (values.index_select(0, rows) for values in (rays.x, rays.y, nearest))
    first: Tensor | None = None
    for start, end, kind in _runs(view, group):
        ways = _in_parallel if view.parallel else _from_a_point
        depth = _SOLVERS[kind](*ways(solids[:, start:end], x, y))
        if not view.parallel:
            depth = torch.where(depth > NEAR, depth, torch.inf)
        best, number = depth.min(dim=0) if end - start > 1 else (depth[0], start)
        number = number + start if isinstance(number, Tensor) else number
        better = best < near
        first = torch.full_like(rows, -1) if first is None else first
        first = torch.where(better, number, first)
        near = torch.where(better, best, near)
    if first is not None:
        met = (first >= 0).nonzero()[:, 0]
        there = rows.index_select(0, met)
        nearest[there] = near.index_select(0, met)
        winner[there] = first.index_select(0, met)


def _runs(view: View, group: int) -> list[tuple[int, int, Kind]]:
    """Solids of one kind that follow each other in a group: they are met at once."""
    first, last = int(view.group_starts[group]), int(view.group_starts[group + 1])
    kinds = view.kinds[first:last]
    cuts = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), last - first]
    return [(first + a, first + b, Kind(kinds[a])) for a, b in pairwise(cuts)]


def _from_a_point(numbers: Tensor, x: Tensor, y: Tensor) -> tuple[Triple, Triple]:
    """Origin (S, 1) and direction (S, N) of a camera's rays in unit solids."""
    m = numbers.unbind(0)
    p, q, r = (_kept(torch.addcmul(torch.addcmul(m[k + 2], m[k], x), m[k + 1], y)) for k in (0, 3, 6))
    return (m[9], m[10], m[11]), (p, q, r)


def _in_parallel(numbers: Tensor, x: Tensor, y: Tensor) -> tuple[Triple, Triple]:
    """Origin (S, N) and direction (S, 1) of the sun's rays in unit solids."""
    m = numbers.unbind(0)
    a, b, c = (torch.addcmul(torch.addcmul(m[9 + k // 3], m[k], x), m[k + 1], y) for k in (0, 3, 6))
    return (a, b, c), (_kept(m[2]), _kept(m[5]), _kept(m[8]))


def _kept(value: Tensor) -> Tensor:
    """Away from zero, so that it can be divided by."""
    return torch.where(value.abs() < _TINY, _TINY, value)


def _rect(origin: Triple, direction: Triple) -> Tensor:
    depth = -origin[2] / direction[2]
    across, down = origin[0] + depth * direction[0], origin[1] + depth * direction[1]
    inside = torch.maximum(across.abs(), down.abs()) <= 1
    return torch.where(inside, depth, torch.inf)


def _box(origin: Triple, direction: Triple) -> Tensor:
    low, high = zip(*(_slab(o, d) for o, d in zip(origin, direction, strict=True)), strict=True)
    enter = torch.maximum(torch.maximum(low[0], low[1]), low[2])
    leave = torch.minimum(torch.minimum(high[0], high[1]), high[2])
    return torch.where(enter <= leave, enter, torch.inf)


def _slab(origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays come between -1 and 1 along one axis, and where they leave."""
    inverse = direction.reciprocal()
    middle, wide = -origin * inverse, inverse.abs()
    return middle - wide, middle + wide


def _ball(origin: Triple, direction: Triple) -> Tensor:
    (a, b, c), (p, q, r) = origin, direction
    inverse = (p * p + q * q + r * r).reciprocal()
    # By the point nearest to the middle: no difference of large squares.
    middle = -(a * p + b * q + c * r) * inverse
    x, y, z = a + middle * p, b + middle * q, c + middle * r
    rest = (1 - (x * x + y * y + z * z)) * inverse
    return torch.where(rest >= 0, middle - rest.clamp_min(0).sqrt(), torch.inf)


def _tube(origin: Triple, direction: Triple) -> Tensor:
    (a, b, c), (p, q, r) = origin, direction
    inverse = (p * p + r * r).reciprocal()
    middle = -(a * p + c * r) * inverse
    x, z = a + middle * p, c + middle * r
    rest = (1 - (x * x + z * z)) * inverse
    half = rest.clamp_min(0).sqrt()
    low, high = _slab(b, q)
    enter, leave = torch.maximum(middle - half, low), torch.minimum(middle + half, high)
    return torch.where((rest >= 0) & (enter <= leave), enter, torch.inf)


_SOLVERS: dict[Kind, Callable[[Triple, Triple], Tensor]] = {
    Kind.RECT: _rect,
    Kind.BOX: _box,
    Kind.BALL: _ball,
    Kind.TUBE: _tube,
}
