"""Outlines of things in rendered training scenes, as square tiles of signed distances."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.data.procedural.patterns import glyph, sixteenths

TILE = 256
"""Points along a side of a tile: a power of two, which sampling reads exactly."""

REACH = 108.0
"""Points from the middle of a tile to the farthest place that an outline may touch, in any direction."""

_FINE = 2  # drawn larger, then averaged: smooth distances
_SIDE = TILE * _FINE
_MIDDLE = _SIDE / 2
_RADIUS = (REACH - 4) * _FINE

Mask = NDArray[np.uint8]
Points = NDArray[np.float64]


def draw_outline(rng: np.random.Generator, *, thin: bool, holes: bool) -> NDArray[np.float32]:
    """Draw a random outline.

    Args:
        rng: where the randomness comes from.
        thin: rods, branches, lattices, rings or letters instead of something solid.
        holes: cut holes into something solid.

    Returns:
        (TILE, TILE) signed distances in points of the tile, negative inside; what defines the outline is
        this tile, read bilinearly.
    """
    kinds = _THIN if thin else _SOLID
    mask = np.zeros((_SIDE, _SIDE), np.uint8)
    kinds[rng.integers(len(kinds))](mask, rng)
    if holes and not thin:
        _cut_holes(mask, rng)
    return _signed_distance(mask)


def _signed_distance(mask: Mask) -> NDArray[np.float32]:
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance = cv2.GaussianBlur(outside - inside, (0, 0), 0.8)
    small = np.asarray(cv2.resize(distance, (TILE, TILE), interpolation=cv2.INTER_AREA), np.float32)
    small /= _FINE
    # Past its border a tile goes on as at its border: nothing of the thing, nor of its shadow, may be there.
    small[[0, -1]] = small[:, [0, -1]] = 1e4
    return small


def _fill(mask: Mask, points: Points, value: int = 1) -> None:
    cv2.fillPoly(mask, [np.rint(points * 16).astype(np.int32)], value, cv2.LINE_8, 4)


def _blob(mask: Mask, rng: np.random.Generator) -> None:
    angle = np.linspace(0, math.tau, 160, endpoint=False)
    bumps = sum(
        rng.normal(0, 0.5 / k) * np.cos(k * angle + rng.uniform(0, math.tau))
        for k in range(2, rng.integers(4, 9))
    )
    radius = np.exp(0.7 * np.asarray(bumps))
    radius *= _RADIUS / radius.max()
    _fill(mask, _MIDDLE + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1))


def _polygon(mask: Mask, rng: np.random.Generator) -> None:
    corners = int(rng.integers(3, 11))
    angle = np.sort(rng.uniform(0, math.tau, corners))
    radius = _RADIUS * rng.uniform(0.35, 1.0, corners)
    _fill(mask, _MIDDLE + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1))


def _box(mask: Mask, rng: np.random.Generator) -> None:
    half = _RADIUS * np.array([1.0, rng.uniform(0.2, 1.0)]) / math.sqrt(2)
    corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    _fill(mask, _MIDDLE + corners)


def _ellipse(mask: Mask, rng: np.random.Generator) -> None:
    axes = (int(_RADIUS), int(_RADIUS * rng.uniform(0.3, 1.0)))
    cv2.ellipse(mask, (_SIDE // 2, _SIDE // 2), axes, 0, 0, 360, 1, -1)


def _star(mask: Mask, rng: np.random.Generator) -> None:
    points = int(rng.integers(4, 10))
    angle = np.arange(2 * points) * (math.pi / points)
    radius = np.where(np.arange(2 * points) % 2 == 0, _RADIUS, _RADIUS * rng.uniform(0.25, 0.7))
    _fill(mask, _MIDDLE + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1))


def _cluster(mask: Mask, rng: np.random.Generator) -> None:
    """A body with limbs: overlapping discs and capsules."""
    for _ in range(int(rng.integers(3, 8))):
        start, end = _inner(rng, 0.75), _inner(rng, 0.75)
        cv2.line(mask, _pixel(start), _pixel(end), 1, int(rng.uniform(0.06, 0.4) * _RADIUS))
        cv2.circle(mask, _pixel(start), int(rng.uniform(0.08, 0.24) * _RADIUS), 1, -1)


def _rods(mask: Mask, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 4))):
        turn, reach = rng.uniform(0, math.tau), _RADIUS * rng.uniform(0.7, 0.95)
        way = reach * np.array([math.cos(turn), math.sin(turn)])
        shift = rng.normal(0, 0.1 * _RADIUS, 2)
        ends = [_within(_MIDDLE + shift + sign * way) for sign in (-1, 1)]
        cv2.line(mask, _pixel(ends[0]), _pixel(ends[1]), 1, int(rng.integers(4, 24)))


def _branches(mask: Mask, rng: np.random.Generator) -> None:
    def grow(start: Points, turn: float, length: float, width: float, depth: int) -> None:
        end = _within(start + length * np.array([math.cos(turn), math.sin(turn)]))
        cv2.line(mask, _pixel(start), _pixel(end), 1, max(3, int(width)))
        if depth > 0:
            for _ in range(int(rng.integers(2, 4))):
                grow(
                    end, turn + rng.normal(0, 0.6), length * rng.uniform(0.55, 0.85), width * 0.62, depth - 1
                )

    grow(
        np.array([_MIDDLE, _MIDDLE + 0.9 * _RADIUS]),
        -math.pi / 2 + rng.normal(0, 0.2),
        120,
        rng.uniform(8, 26),
        4,
    )


def _lattice(mask: Mask, rng: np.random.Generator) -> None:
    inner = _RADIUS / math.sqrt(2)
    step, width = rng.uniform(30, 90), int(rng.integers(4, 14))
    crossed = rng.random() < 0.6
    for place in np.arange(-inner, inner + 1, step):
        cv2.line(
            mask,
            _pixel(_MIDDLE + np.array([place, -inner])),
            _pixel(_MIDDLE + np.array([place, inner])),
            1,
            width,
        )
        if crossed:
            cv2.line(
                mask,
                _pixel(_MIDDLE + np.array([-inner, place])),
                _pixel(_MIDDLE + np.array([inner, place])),
                1,
                width,
            )


def _ring(mask: Mask, rng: np.random.Generator) -> None:
    width = int(rng.integers(5, 50))
    axes = (int(_RADIUS - width), int((_RADIUS - width) * rng.uniform(0.4, 1.0)))
    cv2.ellipse(mask, (_SIDE // 2, _SIDE // 2), axes, rng.uniform(0, 180), 0, rng.uniform(200, 360), 1, width)


def _letter(mask: Mask, rng: np.random.Generator) -> None:
    strokes = _MIDDLE + 1.3 * _RADIUS * (glyph(rng) - np.array([0.3, 0.5]))
    cv2.polylines(
        mask, sixteenths(strokes), isClosed=False, color=1, thickness=int(rng.integers(8, 44)), shift=4
    )


def _cut_holes(mask: Mask, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(1, 6))):
        centre = _pixel(_inner(rng, 0.6))
        radius = int(rng.uniform(0.05, 0.3) * _RADIUS)
        if rng.random() < 0.3:
            cv2.rectangle(
                mask, (centre[0] - radius, centre[1] - radius), (centre[0] + radius, centre[1]), 0, -1
            )
        else:
            cv2.circle(mask, centre, radius, 0, -1)


def _inner(rng: np.random.Generator, part: float) -> Points:
    turn, radius = rng.uniform(0, math.tau), part * _RADIUS * math.sqrt(rng.random())
    return _MIDDLE + radius * np.array([math.cos(turn), math.sin(turn)])


def _within(point: Points) -> Points:
    """Pull a point, the middle of a stroke, back to where the stroke stays within reach."""
    way = point - _MIDDLE
    return _MIDDLE + way * min(1.0, (_RADIUS - 14) / max(float(np.hypot(*way)), 1e-9))


def _pixel(point: Points) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


_Drawer = Callable[[Mask, np.random.Generator], None]
_SOLID: tuple[_Drawer, ...] = (_blob, _blob, _polygon, _box, _ellipse, _star, _cluster)
_THIN: tuple[_Drawer, ...] = (_rods, _rods, _branches, _branches, _lattice, _ring, _letter)
