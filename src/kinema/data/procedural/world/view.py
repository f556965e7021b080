"""A world at one moment as a camera or a light sees it: where every solid is, and where it may be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinema.data.procedural.world.solids import Group, Matrix, Solid

Array = NDArray[np.float64]
NEAR = 0.02
"""Metres before the camera that are not seen."""

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1])


class SolidTable:
    """All solids of a clip as arrays.

    Args:
        groups: solids that are near each other, group by group.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        # By kind within a group: those of one kind are met at once.
        self.solids: list[Solid] = [
            solid for group in groups for solid in sorted(group, key=lambda solid: solid.kind)
        ]
        self.kind = np.array([solid.kind for solid in self.solids])
        self.half = np.array([solid.half for solid in self.solids])
        self.thing = np.array([solid.thing for solid in self.solids])
        self.places = np.array([solid.T_thing_from_solid for solid in self.solids])
        self.group = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        self.starts = np.cumsum([0] + [len(group) for group in groups])[:-1]
        # Scale to unit shapes; rectangles have no third half.
        self.scale = np.where(self.half > 0, self.half, 1.0)

    def in_world(self, T_world_from_thing: Array) -> Array:
        """Place all solids at a moment.

        Args:
            T_world_from_thing: (N, 4, 4).

        Returns:
            (P, 4, 4) world from solid.
        """
        placed: Array = T_world_from_thing[self.thing] @ self.places
        return placed


@dataclass(frozen=True, eq=False)
class View:
    """What may be seen, from near to far, in the seer's coordinates.

    Attributes:
        parallel: rays are parallel (the sun) instead of meeting in a point (a camera, a lamp).
        solids: (S,) numbers of the solids that may be seen, group by group.
        group_starts: (G + 1,) where groups begin in `solids`.
        kinds: (S,).
        turn: (S, 3, 3) unit solid from seer: directions.
        shift: (S, 3) the seer in the unit solid.
        rects: (G, 4) left, right, top, bottom that the group may touch, in x / z and y / z, or metres.
        nearest: (G,) depth that nothing of the group comes below.
        solid_rects: (S, 4) as `rects`, of every solid.
        solid_nearest: (S,) as `nearest`.
    """

    parallel: bool
    solids: NDArray[np.int64]
    group_starts: NDArray[np.int64]
    kinds: NDArray[np.int64]
    turn: Array
    shift: Array
    rects: Array
    nearest: Array
    solid_rects: Array
    solid_nearest: Array


def look(
    table: SolidTable,
    T_world_from_solid: Array,
    T_seer_from_world: Matrix,
    *,
    window: tuple[float, float, float, float],
    parallel: bool = False,
    eye: Array,
    reach: float,
    skip_things: bool = False,
) -> View:
    """Find what may be seen.

    Args:
        table: the solids.
        T_world_from_solid: (P, 4, 4) where they are.
        T_seer_from_world: (4, 4); z of the seer is the direction of view.
        window: left, right, top, bottom: only rays in it will be asked for.
        parallel: for the sun.
        eye: (3,) place of the camera in the world, whoever looks.
        reach: metres; groups that begin farther away from it are left out.
        skip_things: leave out what moves.

    Returns:
        The view.
    """
    rows = _near_rows(table, T_world_from_solid, eye, reach)
    if skip_things:
        rows = rows[table.thing[rows] == 0]
    places = T_seer_from_world @ T_world_from_solid[rows]
    rects, nearest = _bounds(places, table.half[rows], parallel=parallel)
    groups = table.group[rows]
    left, right, top, bottom = window
    seen = (rects[:, 0] <= right) & (rects[:, 1] >= left) & (rects[:, 2] <= bottom) & (rects[:, 3] >= top)
    rows, groups, places, rects, nearest = rows[seen], groups[seen], places[seen], rects[seen], nearest[seen]
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    ends = np.append(starts, len(rows))
    if len(rows) == 0:
        return _nothing(parallel=parallel)
    low, high = np.minimum.reduceat(rects, starts), np.maximum.reduceat(rects, starts)
    joint = np.stack([low[:, 0], high[:, 1], low[:, 2], high[:, 3]], axis=1)
    first = np.minimum.reduceat(nearest, starts)
    order = np.argsort(first, kind="stable")
    taken = np.concatenate([np.arange(ends[g], ends[g + 1]) for g in order])
    lengths = np.cumsum(np.append(0, np.diff(ends)[order]))
    back = np.swapaxes(places[taken, :3, :3], 1, 2) / table.scale[rows[taken]][:, :, None]
    return View(
        parallel=parallel,
        solids=rows[taken],
        group_starts=lengths,
        kinds=table.kind[rows[taken]],
        turn=back,
        shift=-np.einsum("sij,sj->si", back, places[taken, :3, 3]),
        rects=joint[order],
        nearest=first[order],
        solid_rects=rects[taken],
        solid_nearest=nearest[taken],
    )


def _nothing(*, parallel: bool) -> View:
    rows, rects = np.zeros(0, np.int64), np.zeros((0, 4))
    return View(
        parallel, rows, np.zeros(1, np.int64), rows, np.zeros((0, 3, 3)), rects[:, :3], rects, rects[:, 0],
        rects, rects[:, 0],
    )  # fmt: skip


def _near_rows(table: SolidTable, T_world_from_solid: Array, eye: Array, reach: float) -> NDArray[np.int64]:
    """Solids of the groups that begin within reach: all of a group or nothing."""
    far = np.linalg.norm(T_world_from_solid[:, :3, 3] - eye, axis=1) - np.linalg.norm(table.half, axis=1)
    begins = np.minimum.reduceat(far, table.starts)
    return np.flatnonzero((begins < reach)[table.group])


def _bounds(places: Array, half: Array, *, parallel: bool) -> tuple[Array, Array]:
    """Rectangles (S, 4) around what is seen of boxes, and their nearest depths (S,); nothing is inverted."""
    corners = (_CORNERS * half[:, None]) @ np.swapaxes(places[:, :3, :3], 1, 2) + places[:, None, :3, 3]
    if parallel:
        low, high = corners.min(axis=1), corners.max(axis=1)
        return np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1), low[:, 2]
    # Edges that cross the near plane end there.
    a, b = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
    slope = b[..., 2] - a[..., 2]
    part = (NEAR - a[..., 2]) / np.where(slope == 0, 1.0, slope)
    cut = a + part[..., None] * (b - a)
    crosses = (a[..., 2] < NEAR) != (b[..., 2] < NEAR)
    points = np.concatenate([corners, cut], axis=1)
    counts = np.concatenate([corners[..., 2] >= NEAR, crosses], axis=1)
    flat = points[..., :2] / np.maximum(points[..., 2:], NEAR)
    low = np.where(counts[..., None], flat, np.inf).min(axis=1)
    high = np.where(counts[..., None], flat, -np.inf).max(axis=1)
    rects = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
    return rects, np.maximum(corners[..., 2].min(axis=1), NEAR)
