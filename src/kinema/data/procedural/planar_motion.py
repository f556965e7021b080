"""How a layer gets from frame 1 to frame 2: homographies and bending waves, both undone in closed form.

Coordinates are pixels from the middle of the frame, x right and y down, in float64. At the moment t (0 is
frame 1, 1 is frame 2) a point lies at H(t) W(t) x, with H(t) = I + t (H - I) and waves W(t) whose amplitudes
are t times their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
"""(3, 3)."""

NEAREST = 0.05
"""Third coordinate of a mapped point below which it counts as behind the camera."""


@dataclass(frozen=True, eq=False)
class Motion:
    """The motion of one layer.

    Attributes:
        homography: (3, 3), H at t = 1; its third coordinate is positive before the camera.
        waves: (N, 4), each x frequency, y frequency in radians per pixel, phase, amplitude in pixels. A wave
            moves points across its own direction, so it keeps areas, and its inverse is the wave with the
            other sign.
    """

    homography: Matrix
    waves: NDArray[np.float64]

    def homography_at(self, time: float) -> Matrix:
        """Look at one moment.

        Args:
            time: 0 is frame 1, 1 is frame 2.

        Returns:
            H(t).
        """
        return np.eye(3) + time * (self.homography - np.eye(3))

    def after(self, carrier: Matrix) -> Motion:
        """Let something carry this layer along.

        Args:
            carrier: (3, 3), applied after the layer's own motion.

        Returns:
            The joint motion.
        """
        return replace(self, homography=carrier @ self.homography)

    def displacement(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Measure how far points go; for planning only.

        Args:
            points: (2, N).

        Returns:
            (2, N), far away for those that end behind the camera.
        """
        x, y = points
        for fx, fy, phase, amplitude in self.waves:
            size = math.hypot(fx, fy)
            shift = amplitude * np.sin(fx * x + fy * y + phase) / size
            x, y = x - fy * shift, y + fx * shift
        ends = self.homography @ np.stack([x, y, np.ones_like(x)])
        behind = ends[2] < NEAREST
        ends = ends[:2] / np.where(behind, 1.0, ends[2])
        return np.where(behind, 1e4, ends - points)


NO_WAVES = np.zeros((0, 4))


@dataclass(frozen=True)
class Ingredients:
    """An affine or perspective motion about a place, whose strength is a free factor.

    Attributes:
        centre: (x, y) that the rest is about.
        shift: (x, y), pixels.
        turn: radians.
        zoom: logarithm of the scale.
        stretch: two logarithms, along and across.
        tilt: change of scale per pixel along x and y.
    """

    centre: tuple[float, float]
    shift: tuple[float, float]
    turn: float = 0.0
    zoom: float = 0.0
    stretch: tuple[float, float] = (0.0, 0.0)
    tilt: tuple[float, float] = (0.0, 0.0)

    def homography(self, strength: float) -> Matrix:
        """Mix them.

        Args:
            strength: factor of every ingredient.

        Returns:
            (3, 3).
        """
        turn, size = strength * self.turn, math.exp(strength * self.zoom)
        cosine, sine = size * math.cos(turn), size * math.sin(turn)
        a, b = (strength * part for part in self.stretch)
        middle = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
        bent = np.array(
            [[1 + a, b, 0.0], [b, 1 - a, 0.0], [strength * self.tilt[0], strength * self.tilt[1], 1.0]]
        )
        x, y = self.centre
        there = np.array(
            [[1.0, 0.0, x + strength * self.shift[0]], [0.0, 1.0, y + strength * self.shift[1]], [0, 0, 1]]
        )
        back = np.array([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]])
        mixed: Matrix = there @ middle @ bent @ back
        return mixed


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera that moves between the frames.

    Attributes:
        focal: length in pixels.
        rotation: (3,) vector, radians.
        translation: (3,) of the camera, to the right, down, forward.
    """

    focal: float
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def homography(self, normal: NDArray[np.float64], distance: float, strength: float) -> Matrix:
        """The motion of a plane n X = d as seen: K (R - t n^T / d) K^-1 (Hartley and Zisserman, eq. 13.2).

        Args:
            normal: (3,) of the plane in camera 1.
            distance: d, along the normal; above 0 before the camera.
            strength: factor of rotation and translation.

        Returns:
            (3, 3).
        """
        turned = rotation_matrix(strength * self.rotation)
        moved = turned @ (np.eye(3) - strength * np.outer(self.translation, normal) / distance)
        scale = np.diag([self.focal, self.focal, 1.0])
        return scale @ moved @ np.diag([1 / self.focal, 1 / self.focal, 1.0])


def rotation_matrix(vector: NDArray[np.float64]) -> Matrix:
    """Turn a rotation vector into a matrix (Rodrigues).

    Args:
        vector: (3,), axis times angle in radians.

    Returns:
        (3, 3).
    """
    angle = float(np.linalg.norm(vector))
    if angle == 0.0:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix: Matrix = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * (cross @ cross)
    return matrix


def bending(rng: np.random.Generator, extent: float, strength: float) -> NDArray[np.float64]:
    """Draw waves that bend a layer smoothly.

    Args:
        rng: where the randomness comes from.
        extent: of the layer in pixels; the waves are 0.4 to 1.5 times as long.
        strength: wanted amplitude of all waves together, in pixels; less where they would be too steep.

    Returns:
        (3, 4), see `Motion`.
    """
    length = extent * np.exp(rng.uniform(math.log(0.4), math.log(1.5), 3))
    turn, phase = rng.uniform(0, math.tau, 3), rng.uniform(0, math.tau, 3)
    frequency = math.tau / np.maximum(length, 24.0)
    amplitude = np.minimum(strength / 2, 0.22 / frequency)
    return np.stack([frequency * np.cos(turn), frequency * np.sin(turn), phase, amplitude], axis=-1)
