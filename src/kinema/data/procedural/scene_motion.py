"""Drawing motions for rendered scenes so that their speeds follow the mix that the config asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinema.data.procedural.planar_motion import (
    NO_WAVES,
    Camera,
    Ingredients,
    Matrix,
    Motion,
    bending,
)
from kinema.data.procedural.render_config import RenderConfig


@dataclass(frozen=True)
class Place:
    """Where a layer lies in frame 1, in pixels from its middle.

    Attributes:
        centre: (x, y).
        radius: half the extent of a thing.
        half_hw: half the height and width of the part that its speed is measured on.
    """

    centre: tuple[float, float]
    radius: float
    half_hw: tuple[float, float]

    @staticmethod
    def frame(size_hw: tuple[int, int]) -> Place:
        """The whole frame.

        Args:
            size_hw: of the frame.

        Returns:
            Its place.
        """
        half = (size_hw[0] / 2, size_hw[1] / 2)
        return Place((0.0, 0.0), math.hypot(*half), half)

    @staticmethod
    def thing(config: RenderConfig, rng: np.random.Generator, *, nearness: float) -> Place:
        """Draw a place for a thing: nearer ones are larger on average; some stick out of the frame.

        Args:
            config: sizes of frame and things.
            rng: where the randomness comes from.
            nearness: 0 to 1.

        Returns:
            The place.
        """
        height, width = config.size_hw
        low, high = (math.log(part) for part in config.thing_size)
        part = math.exp(low + (high - low) * (0.65 * rng.random() + 0.35 * nearness))
        radius = part * min(height, width) / 2
        centre = (rng.uniform(-0.52, 0.52) * width, rng.uniform(-0.52, 0.52) * height)
        return Place(centre, radius, (radius, radius))

    def points(self, size_hw: tuple[int, int]) -> NDArray[np.float64]:
        """Where its speed is measured.

        Args:
            size_hw: of the frame; only what lies in it counts.

        Returns:
            (2, N).
        """
        steps = np.linspace(-0.9, 0.9, 7)
        half = (size_hw[0] / 2, size_hw[1] / 2)
        x = np.clip(self.centre[0] + steps * self.half_hw[1], -half[1], half[1])
        y = np.clip(self.centre[1] + steps * self.half_hw[0], -half[0], half[0])
        return np.stack([part.ravel() for part in np.meshgrid(x, y)])


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane of a scene with depth: its motion, depth in [0, 1], and the part of the frame it fills."""

    motion: Motion
    depth: float
    half_plane: NDArray[np.float64] | None


@dataclass(frozen=True, eq=False)
class CameraPlan:
    """A moving camera, how much of its motion is used, and the planes behind everything else."""

    camera: Camera
    strength: float
    planes: tuple[Plane, ...]


def draw_speed(config: RenderConfig, rng: np.random.Generator) -> float:
    """Draw a mean displacement from the mix: a class by its share, then evenly by logarithm inside it.

    Args:
        config: edges and shares.
        rng: where the randomness comes from.

    Returns:
        Pixels, at most `max_displacement` widths.
    """
    fastest = config.max_displacement * config.size_hw[1]
    kind = int(rng.choice(4, p=np.array(config.displacement_shares) / sum(config.displacement_shares)))
    share = rng.random()
    if kind == 0:
        still = rng.random() < config.static_share
        return 0.0 if still else min(config.displacement_edges[0] * share, fastest)
    edges = (*config.displacement_edges, max(fastest, config.displacement_edges[-1]))
    low, high = min(edges[kind - 1], 0.75 * fastest), min(edges[kind], fastest)
    return float(low * (max(high, low) / low) ** share)


def strength_for(speed: float, measured: Callable[[float], NDArray[np.float64]], *, limit: float) -> float:
    """Find the strength of a motion at which its mean displacement is a given one.

    Args:
        speed: wanted mean in pixels.
        measured: displacements (2, N) at a strength.
        limit: no more than a twentieth of the points may go farther, in pixels.

    Returns:
        The strength; 0 for no speed.
    """
    if speed == 0.0:
        return 0.0
    strength = 1.0
    for _ in range(5):
        lengths = np.hypot(*measured(strength))
        factor = min(
            speed / max(float(lengths.mean()), 1e-9), limit / max(float(np.quantile(lengths, 0.95)), 1e-9)
        )
        strength *= min(max(factor, 0.02), 50.0)
    return strength


def own_motion(config: RenderConfig, rng: np.random.Generator, place: Place, *, slow: bool = False) -> Motion:
    """Draw the motion of one layer by itself: affine or perspective, perhaps bending.

    Args:
        config: speeds and shares.
        rng: where the randomness comes from.
        place: of the layer.
        slow: only up to 20 px, for what is added to another motion.

    Returns:
        The motion.
    """
    speed = draw_speed(config, rng)
    if slow:
        speed = min(speed, 0.3 * speed + 4.0)
    ingredients = _ingredients(config, rng, place)
    waves = NO_WAVES
    bends = rng.random() < config.nonrigid_share
    drawn = bending(rng, 2 * min(place.radius, config.size_hw[0] / 2), speed * rng.uniform(0.15, 0.6))
    if bends and speed > 0:
        waves = drawn
    points = place.points(config.size_hw)
    limit = 1.25 * config.max_displacement * config.size_hw[1]
    strength = strength_for(
        speed, lambda s: Motion(ingredients.homography(s), NO_WAVES).displacement(points), limit=limit
    )
    return Motion(ingredients.homography(strength), waves)


def _ingredients(config: RenderConfig, rng: np.random.Generator, place: Place) -> Ingredients:
    """Directions of a motion; each part moves the layer's rim by about as many pixels as its share says."""
    rim = max(min(place.radius, config.size_hw[1] / 2), 8.0)
    turn = rng.uniform(0, math.tau) if rng.random() < 0.5 else rng.normal(0, 0.25) + rng.choice([0, math.pi])
    share = rng.dirichlet([2.0, 0.6, 0.6, 0.4])
    signs = rng.choice([-1.0, 1.0], 6)
    tilts = rng.random() < config.perspective_share
    tilt = 0.6 * share[3] / rim**2 if tilts else 0.0
    bend = 0.5 * share[3] / rim
    return Ingredients(
        centre=place.centre,
        shift=(share[0] * math.cos(turn), share[0] * math.sin(turn)),
        turn=signs[0] * share[1] / rim,
        zoom=signs[1] * share[2] / rim,
        stretch=(signs[2] * bend, signs[3] * bend * rng.random()),
        tilt=(signs[4] * tilt, signs[5] * tilt * rng.random()),
    )


def camera_plan(config: RenderConfig, rng: np.random.Generator, *, forward: bool) -> CameraPlan:
    """Draw a camera that moves through a scene with depth, and the planes that close the scene.

    Args:
        config: speeds.
        rng: where the randomness comes from.
        forward: mostly ahead, above a ground plane; else mostly sideways before an upright or slanted wall.

    Returns:
        The plan, as fast as the mix asks for.
    """
    height, width = config.size_hw
    focal = rng.uniform(0.7, 1.5) * width
    if forward:
        way = np.array([rng.normal(0, 0.12), rng.normal(0, 0.05), 1.0])
        if rng.random() < 0.15:
            way = -way
        turn = np.array([rng.normal(0, 0.02), rng.normal(0, 0.05), rng.normal(0, 0.02)])
    else:
        way = np.array([rng.choice([-1.0, 1.0]), rng.normal(0, 0.3), rng.normal(0, 0.3)])
        turn = np.array([rng.normal(0, 0.03), rng.normal(0, 0.06), rng.normal(0, 0.03)])
    camera = Camera(focal, turn, way)
    planes = _forward_planes(rng, focal, height) if forward else _wall(rng)
    points = Place.frame(config.size_hw).points(config.size_hw)
    speed = draw_speed(config, rng)
    limit = 1.25 * config.max_displacement * width

    def measured(strength: float) -> NDArray[np.float64]:
        seen = np.zeros_like(points)
        for normal, distance, _, half in planes:
            moved = Motion(camera.homography(normal, distance, strength), NO_WAVES).displacement(points)
            inside = np.ones(points.shape[1], np.bool_) if half is None else half[:2] @ points + half[2] <= 0
            seen = np.where(inside, moved, seen)
        return seen

    strength = strength_for(speed, measured, limit=limit)
    made = tuple(
        Plane(Motion(camera.homography(normal, distance, strength), NO_WAVES), depth, half)
        for normal, distance, depth, half in planes
    )
    return CameraPlan(camera, strength, made)


_PlaneSpec = tuple[NDArray[np.float64], float, float, NDArray[np.float64] | None]


def _forward_planes(rng: np.random.Generator, focal: float, height: int) -> list[_PlaneSpec]:
    """A far wall; the ground; now and then a ceiling or a side wall."""
    planes: list[_PlaneSpec] = [(np.array([0.0, 0.0, 1.0]), rng.uniform(6, 60), 1.0, None)]
    roll, horizon = rng.normal(0, 0.06), rng.uniform(-0.2, 0.15) * height
    planes.append(_tilted_plane(math.pi / 2 + roll, horizon, 1.0, focal))
    if rng.random() < 0.35:
        side = rng.choice([0.0, math.pi, -math.pi / 2]) + rng.normal(0, 0.06)
        gap = rng.uniform(0.02, 0.25) * height
        planes.append(_tilted_plane(side, gap, rng.uniform(1.0, 2.5), focal))
    return planes


def _tilted_plane(direction: float, offset: float, distance: float, focal: float) -> _PlaneSpec:
    """The plane seen beyond a line ``offset`` pixels from the middle in a direction, which is its horizon."""
    nx, ny = math.cos(direction), math.sin(direction)
    normal = np.array([nx, ny, -offset / focal])
    half = np.array([-nx, -ny, offset])
    return normal / np.linalg.norm(normal), distance, 0.9, half


def _wall(rng: np.random.Generator) -> list[_PlaneSpec]:
    normal = np.array([rng.normal(0, 0.25), rng.normal(0, 0.15), 1.0])
    return [(normal / np.linalg.norm(normal), rng.uniform(3, 8), 1.0, None)]


def standing_motion(
    config: RenderConfig, camera: Camera, strength: float, place: Place, distance: float
) -> Matrix:
    """The motion of an upright thing that stands still while the camera moves.

    Args:
        config: gives the fastest motion; a thing that would be faster is moved away.
        camera: that moves.
        strength: of the camera's motion.
        place: of the thing in frame 1.
        distance: of the thing.

    Returns:
        (3, 3).
    """
    fastest = 0.9 * config.max_displacement * config.size_hw[1]
    points, upright = place.points(config.size_hw), np.array([0.0, 0.0, 1.0])
    distance = max(distance, 1.5 * strength * abs(float(camera.translation[2])))
    for _ in range(3):
        motion = camera.homography(upright, distance, strength)
        mean = float(np.hypot(*Motion(motion, NO_WAVES).displacement(points)).mean())
        if mean <= fastest:
            break
        distance *= min(1.1 * mean / fastest, 20.0)
    return motion


def draw_shake(config: RenderConfig, rng: np.random.Generator) -> Matrix | None:
    """Draw a small rotation of the whole camera.

    Args:
        config: how often and how much.
        rng: where the randomness comes from.

    Returns:
        (3, 3), or None: a steady camera.
    """
    shakes = rng.random() < config.shake_share
    focal = float(config.size_hw[1])
    turn = rng.normal(0, config.shake_px / focal, 3)
    if not shakes:
        return None
    return Camera(focal, turn, np.zeros(3)).homography(np.array([0.0, 0.0, 1.0]), 1.0, 1.0)
