"""Where the camera is at any time: driven along a way, or held by a hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kinema.data.procedural.world.config import WorldConfig
from kinema.data.procedural.world.paths import Array, Drive, Way, draw_waves
from kinema.data.procedural.world.solids import Matrix, at

Motion = Callable[[float], Matrix]
"""From seconds to (4, 4), world from camera or world from thing."""

_WHEELBASE = 2.7


def intrinsics(config: WorldConfig, rng: np.random.Generator) -> Array:
    """Draw a camera with square pixels.

    Args:
        config: size and field of view.
        rng: where the randomness comes from.

    Returns:
        (3, 3) in pixels.
    """
    height, width = config.size_hw
    focal = width / 2 / math.tan(math.radians(rng.uniform(*config.fov_degrees)) / 2)
    x, y = rng.uniform(-config.centre_offset, config.centre_offset, 2) * (width, height)
    return np.array([[focal, 0, (width - 1) / 2 + x], [0, focal, (height - 1) / 2 + y], [0, 0, 1.0]])


def along(way: Way, distance: float, aside: float) -> tuple[float, float, float]:
    """Where a vehicle is whose axles are on a line: it looks along the chord between them.

    Args:
        way: the line.
        distance: metres along it.
        aside: metres to the right.

    Returns:
        x, z and heading.
    """
    front, back = way.at(distance + _WHEELBASE, aside), way.at(distance, aside)
    heading = math.atan2(front[0] - back[0], front[1] - back[1])
    return (front[0] + back[0]) / 2, (front[1] + back[1]) / 2, heading


def driven(
    config: WorldConfig, rng: np.random.Generator, way: Way, drive: Drive | None, aside: float
) -> Motion:
    """A camera on a vehicle.

    Args:
        config: roughness of the road.
        rng: where the randomness comes from.
        way: that it follows.
        drive: how far it has come; None stands still.
        aside: of its lane.

    Returns:
        World from camera.
    """
    height, tilt = rng.uniform(1.25, 1.9), math.radians(rng.uniform(-5, 1.0))
    size = config.road_roughness if drive is not None else 0.0
    sway = draw_waves(rng, (0.15 * size,), (0.03, 0.15))
    slow = draw_waves(rng, tuple(math.radians(d) * size for d in (0.35, 0.45, 0.35)), (0.2, 1.2))
    fast = draw_waves(rng, tuple(math.radians(d) * size for d in (0.03, 0.08, 0.06)), (2.0, 5.0))
    lift = draw_waves(rng, (0.012 * size,), (0.8, 3.0))

    def motion(time: float) -> Matrix:
        distance = drive.at(time) if drive is not None else 0.0
        x, z, heading = along(way, distance, aside + float(sway.at(time)[0]))
        yaw, pitch, roll = slow.at(time) + fast.at(time)
        y = -height + float(lift.at(time)[0])
        return at(x, y, z, heading + yaw, pitch=tilt + pitch, roll=roll)

    return motion


def hand_held(
    config: WorldConfig,
    rng: np.random.Generator,
    *,
    centre: tuple[float, float, float],
    room: tuple[float, float, float],
    heading: float,
    pan: float = 1.0,
    walk: tuple[float, float] = (0.0, 0.0),
    still: bool = False,
) -> Motion:
    """A camera in a hand: it wanders, pans and shakes.

    Args:
        config: speeds and shake.
        rng: where the randomness comes from.
        centre: x, y, z that it wanders about.
        room: how far it may wander along x, y and z in metres.
        heading: direction that it looks in on average.
        pan: factor of the pan; small for those who look where they go.
        walk: metres per second along x and z, on top.
        still: on a tripod.

    Returns:
        World from camera.
    """
    speed = rng.uniform(*config.hand_speed)
    sizes = tuple(min(r / 2, s) for r, s in zip(room, (2.0, 0.25, 2.0), strict=True))
    # So fast that the root mean square of the speed is what was drawn, but for what the room allows.
    hertz = min(speed / (math.tau * max(sizes)), 0.5)
    wander = draw_waves(rng, sizes, (0.7 * hertz, 1.3 * hertz), count=3)
    rate = math.radians(config.hand_turn) * pan * rng.uniform(0.3, 1.0)
    slow = draw_waves(rng, (rate / 1.6, rate / 5, rate / 14), (0.15, 0.4), count=3)
    size = config.hand_shake * rng.uniform(0.3, 1.5)
    shake = draw_waves(rng, tuple(math.radians(d) * size for d in (0.25, 0.25, 0.18)), (1.0, 8.0), count=6)
    jitter = draw_waves(rng, (0.006 * size, 0.008 * size, 0.006 * size), (0.8, 5.0), count=5)
    limit = np.array(room)
    tilt = math.radians(rng.uniform(-9, 4))

    def motion(time: float) -> Matrix:
        if still:
            time = 0.0
        # Softly kept within the room.
        place = limit * np.tanh(wander.at(time) / limit) + jitter.at(time) + np.array(centre)
        yaw, pitch, roll = slow.at(time) + shake.at(time)
        x, y, z = place + np.array([walk[0], 0.0, walk[1]]) * time
        return at(x, y, z, heading + yaw, pitch=tilt + pitch, roll=roll)

    return motion


def tumbling(
    rng: np.random.Generator,
    *,
    centre: tuple[float, float, float],
    room: tuple[float, float, float],
    speed: float,
) -> Motion:
    """A thing that flies about and turns.

    Args:
        rng: where the randomness comes from.
        centre: x, y, z that it flies about.
        room: how far it goes along x, y and z.
        speed: metres per second, root mean square.

    Returns:
        World from thing.
    """
    sizes = tuple(r * rng.uniform(0.3, 0.6) for r in room)
    hertz = min(speed / (math.tau * float(np.linalg.norm(sizes))), 1.0)
    wander = draw_waves(rng, sizes, (0.6 * hertz, 1.4 * hertz), count=3)
    spin, start = rng.normal(0, 1.0, 3) * rng.uniform(0, 1.2), rng.uniform(0, math.tau, 3)
    limit = np.array(room)

    def motion(time: float) -> Matrix:
        x, y, z = limit * np.tanh(wander.at(time) / limit) + np.array(centre)
        yaw, pitch, roll = start + spin * time
        return at(x, y, z, yaw, pitch=pitch, roll=roll)

    return motion


def sliding(
    rng: np.random.Generator, *, room: tuple[float, float], speed: float, upright: bool = False
) -> Motion:
    """A thing that moves on the ground and looks where it goes.

    Args:
        rng: where the randomness comes from.
        room: half sizes along x and z that it stays in, about the origin.
        speed: metres per second, root mean square.
        upright: it turns with its way; otherwise it does not turn.

    Returns:
        World from thing.
    """
    sizes = (0.5 * room[0], 0.5 * room[1])
    hertz = min(speed / (math.tau * max(*sizes, 0.1)), 0.6)
    wander = draw_waves(rng, sizes, (0.7 * hertz, 1.3 * hertz), count=2)
    limit, turn = np.array(room), rng.uniform(0, math.tau)

    def place(time: float) -> Array:
        values: Array = limit * np.tanh(wander.at(time) / limit)
        return values

    def motion(time: float) -> Matrix:
        x, z = place(time)
        ahead = place(time + 0.05) - place(time - 0.05)
        yaw = math.atan2(ahead[0], ahead[1]) if upright else turn
        return at(float(x), 0.0, float(z), yaw)

    return motion
