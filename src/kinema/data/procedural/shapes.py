"""Outlines of things, as signed distances: negative inside, positive outside, in the thing's own units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(2, ...), x and y."""

Distances = NDArray[np.float64]
"""(...), one per point."""


class Shape(Protocol):
    """Knows for every point how far it is from the outline."""

    def distance(self, points_xy: Points) -> Distances:
        """Measure.

        Args:
            points_xy: (2, ...), x and y in the thing's own coordinates, whose origin is its middle.

        Returns:
            (...), negative inside; exact or a close estimate near the outline.
        """


@dataclass(frozen=True)
class Everywhere:
    """No outline: a background."""

    def distance(self, points_xy: Points) -> Distances:
        """See `Shape.distance`."""
        return np.full(points_xy.shape[1:], -math.inf)


@dataclass(frozen=True)
class Disc:
    """A disc.

    Attributes:
        radius: of it.
    """

    radius: float

    def distance(self, points_xy: Points) -> Distances:
        """See `Shape.distance`."""
        return _length(points_xy) - self.radius


@dataclass(frozen=True)
class Ring:
    """A disc with a round hole.

    Attributes:
        radius: from the middle to the middle of the band.
        width: of the band.
    """

    radius: float
    width: float

    def distance(self, points_xy: Points) -> Distances:
        """See `Shape.distance`."""
        return np.abs(_length(points_xy) - self.radius) - self.width / 2


@dataclass(frozen=True)
class Star:
    """A disc whose radius swings with the angle: a star with soft points.

    Attributes:
        radius: on average.
        points: how many.
        depth: of the swing, as a part of the radius, below 1.
    """

    radius: float
    points: int
    depth: float

    def distance(self, points_xy: Points) -> Distances:
        """See `Shape.distance`."""
        length, angle = _length(points_xy), np.arctan2(points_xy[1], points_xy[0])
        edge = self.radius * (1 + self.depth * np.cos(self.points * angle))
        bend = self.radius * self.depth * self.points * np.sin(self.points * angle)
        # First order: the difference along the ray, divided by the length of its gradient.
        slope = bend / np.maximum(length, self.radius / 4)
        distance: Distances = (length - edge) / np.sqrt(1 + slope**2)
        return distance


@dataclass(frozen=True)
class Bar:
    """A bar with round ends.

    Attributes:
        length: end to end.
        width: across.
    """

    length: float
    width: float

    def distance(self, points_xy: Points) -> Distances:
        """See `Shape.distance`."""
        x, y = points_xy
        beyond = np.maximum(np.abs(x) - (self.length - self.width) / 2, 0)
        return _length(np.stack([beyond, y])) - self.width / 2


def _length(points_xy: Points) -> Distances:
    length: Distances = np.hypot(points_xy[0], points_xy[1])
    return length
