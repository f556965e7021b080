"""How things move: affine maps from a thing's own coordinates to the pixels of a frame, smooth in time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Affine:
    """The map p -> matrix p + offset, in float64.

    Attributes:
        matrix: (2, 2).
        offset: (2,), x and y.
    """

    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]

    def apply(self, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points.

        Args:
            points_xy: (2, ...), x and y.

        Returns:
            (2, ...).
        """
        x, y = points_xy
        rows = zip(self.matrix, self.offset, strict=True)
        return np.stack([row[0] * x + row[1] * y + shift for row, shift in rows])

    def inverse(self) -> Affine:
        """Undo the map.

        Returns:
            The inverse map.
        """
        matrix = np.linalg.inv(self.matrix).astype(np.float64)
        return Affine(matrix, -matrix @ self.offset)

    def after(self, first: Affine) -> Affine:
        """Join two maps.

        Args:
            first: the map to apply before this one.

        Returns:
            The map p -> self(first(p)).
        """
        return Affine(self.matrix @ first.matrix, self.matrix @ first.offset + self.offset)

    def scale(self) -> float:
        """How many pixels a unit of the thing has, the geometric mean of all directions.

        Returns:
            A positive number.
        """
        return math.sqrt(abs(float(np.linalg.det(self.matrix))))


@dataclass(frozen=True)
class Wave:
    """A number that swings around 0.

    Attributes:
        amplitude: the largest value.
        period: in frames.
        phase: at frame 0, in turns: 0 goes up through 0, 0.25 is at the top.
    """

    amplitude: float = 0.0
    period: float = 1.0
    phase: float = 0.0

    def at(self, time: float) -> float:
        """Look at one moment.

        Args:
            time: in frames.

        Returns:
            From -amplitude to amplitude.
        """
        return self.amplitude * math.sin(2 * math.pi * (time / self.period + self.phase))


@dataclass(frozen=True)
class Path:
    """Where a thing is, how large, turned and slanted, at any moment.

    Attributes:
        centre_xy: the middle of its way, in pixels of the frame.
        sway: around it along x and y, in pixels.
        angle: turned clockwise at frame 0, in degrees.
        spin: per frame, in degrees.
        rock: added to the angle, in degrees.
        size: pixels per unit of the thing.
        breathe: of the size, as a logarithm: 0.1 is about 10 % larger.
        slant: x moved along by this part of y.
    """

    centre_xy: tuple[float, float]
    sway: tuple[Wave, Wave] = field(default=(Wave(), Wave()))
    angle: float = 0.0
    spin: float = 0.0
    rock: Wave = field(default=Wave())
    size: float = 1.0
    breathe: Wave = field(default=Wave())
    slant: Wave = field(default=Wave())

    def at(self, time: float) -> Affine:
        """Look at one moment.

        Args:
            time: in frames.

        Returns:
            The map from the thing's coordinates to the pixels of the frame.
        """
        turn = math.radians(self.angle + self.spin * time + self.rock.at(time))
        cosine, sine = math.cos(turn), math.sin(turn)
        turned = np.array([[cosine, -sine], [sine, cosine]]) * self.size * math.exp(self.breathe.at(time))
        slanted = np.array([[1.0, self.slant.at(time)], [0.0, 1.0]])
        offset = np.array([c + w.at(time) for c, w in zip(self.centre_xy, self.sway, strict=True)])
        return Affine(turned @ slanted, offset)
