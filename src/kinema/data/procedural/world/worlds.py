"""The plan of one world: what stands in it, what moves in it, and who looks; numbers only, no pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kinema.data.procedural.world import indoors, town
from kinema.data.procedural.world.atlas import world_rng
from kinema.data.procedural.world.camera import (
    Motion,
    along,
    driven,
    hand_held,
    intrinsics,
    sliding,
    tumbling,
)
from kinema.data.procedural.world.config import PLACES, PlaceKind, WorldConfig
from kinema.data.procedural.world.paths import Array, Drive, Way, draw_waves
from kinema.data.procedural.world.solids import Group, as_thing, at, box, floor, moved
from kinema.data.procedural.world.things import bench, face, person, toy, tree, vehicle

REACH = 120.0
"""Metres: what begins farther away is not drawn."""

_WORLD, _CROSSING, _TRAFFIC, _MIDDLE = 2, 3, 4, 1 << 20
_STRETCH = 100.0


@dataclass(frozen=True, eq=False)
class World:
    """One world over time.

    Attributes:
        kind: of place.
        groups: all solids.
        things: where moving things are at a time; thing n is number n - 1 here.
        camera: where the camera is at a time.
        K: (3, 3) intrinsics in pixels.
        hz: frames per second.
        indoors: lit by a lamp, not by a sun.
        lamp: (3,) where a lamp would hang.
        light_seed: for the light.
    """

    kind: PlaceKind
    groups: list[Group]
    things: list[Motion]
    camera: Motion
    K: Array
    hz: float
    indoors: bool
    lamp: tuple[float, float, float]
    light_seed: int

    def places_of_things(self, time: float) -> Array:
        """Where things are.

        Args:
            time: seconds.

        Returns:
            (N + 1, 4, 4) world from thing; the first is the world itself.
        """
        return np.stack([np.eye(4), *(motion(time) for motion in self.things)])


def plan_world(config: WorldConfig, seed: int, index: int, *, frames: int) -> World:
    """Plan a world; a pure function of its arguments. More frames only add to it.

    Args:
        config: what worlds are made of.
        seed: of the data set, 0 or more.
        index: of the clip, 0 or more.
        frames: how many there will be: as much is planned as they can see.

    Returns:
        The plan.
    """
    rng = world_rng(config, seed, _WORLD, index)
    kind: PlaceKind = PLACES[int(rng.choice(4, p=config.place_shares))]
    hz = config.drive_hz if kind == "street" or config.family == "corridor" else config.hand_hz
    K, light_seed = intrinsics(config, rng), int(rng.integers(2**62))
    still = bool(rng.random() < config.static_share)
    planner = _Planner(config, seed, index, rng, (frames + 1) / hz)
    if config.family == "corridor":
        camera, groups, things = planner.corridor(still=still)
    elif kind in ("street", "walk"):
        camera, groups, things = planner.streets(driving=kind == "street", still=still)
    elif kind == "room":
        camera, groups, things = planner.room(still=still)
    else:
        camera, groups, things = planner.yard(still=still)
    closed = kind == "room" or config.family == "corridor"
    return World(kind, groups, things, camera, K, hz, closed, planner.lamp, light_seed)


_Parts = tuple[Motion, list[Group], list[Motion]]


class _Planner:
    """Draws one world."""

    def __init__(
        self, config: WorldConfig, seed: int, index: int, rng: np.random.Generator, seconds: float
    ) -> None:
        self.config, self.seed, self.index, self.rng, self.seconds = config, seed, index, rng, seconds
        self.groups: list[Group] = []
        self.things: list[Motion] = []
        self.lamp = (0.0, -3.0, 0.0)

    def add_thing(self, group: Group, motion: Motion) -> None:
        self.things.append(motion)
        self.groups.append(as_thing(group, len(self.things)))

    # Towns

    def streets(self, *, driving: bool, still: bool) -> _Parts:
        config, rng = self.config, self.rng
        plan = town.plan_town(rng)
        rolls = rng.random(512)
        turns = np.where(rolls < config.turn_share / 2, -1, np.where(rolls > 1 - config.turn_share / 2, 1, 0))
        if not driving:
            turns = np.zeros(512, np.int64)
        way = Way(turns, rng.uniform(0.2, 0.9) * plan.pitch[1], plan.pitch, plan.road + rng.uniform(2.0, 3.2))
        cruise = max(rng.uniform(*config.drive_speed), 0.1)
        drive = Drive(
            way,
            cruise=cruise,
            sway=draw_waves(rng, (0.12,), (0.03, 0.15)),
            in_curves=min(cruise, rng.uniform(3.5, 6.5)),
            # Beyond all places that traffic is met at, so that a longer clip changes none of them.
            distance=1.4 * cruise * self.seconds + 4 * _STRETCH,
        )
        self.groups += town.ground(rng)
        if driving:
            camera = driven(config, rng, way, None if still else drive, plan.lane)
        else:
            camera = self._walker(way, plan, still=still)
        self._traffic(plan, way, drive, driving=driving, still=still)
        seen = [camera(t)[[0, 2], 3] for t in np.arange(0, self.seconds + 1, 0.5)]
        for column, line in town.crossings_near(plan, np.array(seen), REACH):
            own = world_rng(config, self.seed, _CROSSING, self.index, column + _MIDDLE, line + _MIDDLE)
            self.groups += town.street(plan, own, column, line)
            self.groups += town.block(config, plan, own, column, line)
        return camera, self.groups, self.things

    def _walker(self, way: Way, plan: town.TownPlan, *, still: bool) -> Motion:
        rng = self.rng
        side, back = rng.choice([-1, 1]), rng.random() < 0.3
        x, z, _ = way.at(0.0, side * (plan.road + 1.15))
        speed = 0.0 if still else rng.uniform(0.5, 1.0) * self.config.hand_speed[1]
        heading = (math.pi if back else 0.0) + rng.normal(0, 0.35)
        return hand_held(
            self.config,
            rng,
            centre=(x, -town.KERB - rng.uniform(1.4, 1.75), z),
            room=(0.2, 0.05, 0.4),
            heading=heading,
            pan=0.6,
            walk=(0.0, -speed if back else speed),
            still=still,
        )

    def _traffic(self, plan: town.TownPlan, way: Way, drive: Drive, *, driving: bool, still: bool) -> None:
        """Vehicles that keep to the way of the camera, and people on pavements, stretch by stretch."""
        config, rng = self.config, self.rng
        speed_ahead, lead = rng.uniform(4, 12), bool(rng.random() < 0.5)
        gap, swing = rng.uniform(9, 30), draw_waves(rng, (2.0,), (0.03, 0.2))
        leader = vehicle(rng, large=bool(rng.random() < 0.2))
        if driving and lead and not still:
            self.add_thing(
                leader,
                lambda t: town.place_on(along(way, drive.at(t) + gap + float(swing.at(t)[0]), plan.lane)),
            )
        # The camera that stands or walks meets those who come as if it drove.
        stretches = int((drive.at(self.seconds) + 150) / _STRETCH) + 1
        for stretch in range(stretches):
            own = world_rng(config, self.seed, _TRAFFIC, self.index, stretch)
            for _ in range(int(own.integers(config.vehicles[0], config.vehicles[1] + 1))):
                self._oncoming(own, plan, way, drive, speed_ahead, stretch * _STRETCH)
            for _ in range(int(own.integers(config.people[0], config.people[1] + 1))):
                self._walking(own, plan, way, drive, stretch * _STRETCH)

    def _oncoming(
        self,
        rng: np.random.Generator,
        plan: town.TownPlan,
        way: Way,
        drive: Drive,
        speed: float,
        start: float,
    ) -> None:
        group = vehicle(rng, large=bool(rng.random() < 0.15))
        # Places on a lattice of 14 m: those of one speed never meet.
        meet = start + 14.0 * int(rng.integers(1, 8)) + 6.0
        when = drive.when(meet)

        def motion(time: float) -> Array:
            x, z, heading = along(way, meet - speed * (time - when), -plan.lane)
            return town.place_on((x, z, heading + math.pi))

        self.add_thing(group, motion)

    def _walking(
        self, rng: np.random.Generator, plan: town.TownPlan, way: Way, drive: Drive, start: float
    ) -> None:
        group = person(rng)
        meet = start + rng.uniform(8, _STRETCH)
        when, speed = drive.when(meet), rng.uniform(0.7, 1.7)
        aside = rng.choice([-1, 1]) * (plan.road + plan.pavement - 0.45)
        x, z, heading = way.at(meet, aside)
        heading = round(heading / (math.pi / 2)) * math.pi / 2  # along the street, also before a curve
        back = rng.random() < 0.5
        sway = draw_waves(rng, (0.05, 0.02), (0.5, 1.5))

        def motion(time: float) -> Array:
            way_gone = speed * (time - when) * (-1 if back else 1)
            right, up = sway.at(time)
            place = at(
                x + way_gone * math.sin(heading), -town.KERB, z + way_gone * math.cos(heading), heading
            )
            return place @ at(float(right), float(up) - 0.02, 0.0, math.pi if back else 0.0)

        self.add_thing(group, motion)

    # Rooms

    def room(self, *, still: bool) -> _Parts:
        config, rng = self.config, self.rng
        size, groups = indoors.room(rng)
        self.groups += groups
        self.lamp = (rng.uniform(-0.25, 0.25) * size[0], -size[1] + 0.25, rng.uniform(-0.25, 0.25) * size[2])
        reach = (size[0] / 2 - 1.2, 0.15, size[2] / 2 - 1.2)
        centre = (
            rng.uniform(-0.4, 0.4) * reach[0],
            -rng.uniform(1.15, 1.65),
            rng.uniform(-0.4, 0.4) * reach[2],
        )
        around = (0.5 * reach[0], reach[1], 0.5 * reach[2])
        heading = rng.uniform(0, math.tau)
        camera = hand_held(config, rng, centre=centre, room=around, heading=heading, pan=1.0, still=still)
        for _ in range(self._count(config.tumbling)):
            speed = 0.6 * rng.uniform(*config.tumble_speed)
            if rng.random() < 0.3:
                group, upright = (person(rng), True) if rng.random() < 0.5 else (_runner(rng), False)
                self.add_thing(group, sliding(rng, room=(reach[0], reach[2]), speed=speed, upright=upright))
                continue
            measure = math.exp(rng.uniform(math.log(0.06), math.log(0.3)))
            place = _before(rng, camera(0.0), rng.uniform(1.0, 0.5 * (size[0] + size[2]) / 2 + 0.5))
            x, z = np.clip(place[[0, 2]], -np.array([reach[0], reach[2]]), (reach[0], reach[2])).tolist()
            high = rng.uniform(0.5, size[1] - 0.4)
            motion = tumbling(rng, centre=(x, -high, z), room=(0.8, 0.3, 0.8), speed=speed)
            self.add_thing(toy(rng, measure), motion)
        return camera, self.groups, self.things

    def corridor(self, *, still: bool) -> _Parts:
        config, rng = self.config, self.rng
        size, groups = indoors.corridor(rng)
        self.groups += groups
        self.lamp = (0.0, -size[1] + 0.3, 4.0)
        way = Way(np.zeros(4, np.int64), 10_000.0, (1e4, 1e4), 1.0)
        start, speed = -0.4 * size[2] + 10_000.0, rng.uniform(1.0, 4.0)
        sway = draw_waves(rng, (0.1,), (0.05, 0.3))
        drive = Drive(way, cruise=speed, sway=sway, in_curves=speed, distance=2 * speed * self.seconds + 20)
        aside = rng.uniform(-0.2, 0.2) * size[0]
        base = driven(config, rng, way, None if still else drive, aside)
        turn = draw_waves(rng, (0.10,), (0.05, 0.3))

        def camera(time: float) -> Array:
            return at(0, 0.4, start) @ base(time) @ at(0, 0, 0, float(turn.at(0 if still else time)[0]))

        for _ in range(self._count(config.people)):
            place, gone = rng.uniform(4, 40), rng.uniform(0.7, 1.7) * rng.choice([-1, 1])
            x, z = rng.uniform(-0.35, 0.35) * size[0], float(camera(0.0)[2, 3]) + place
            self.add_thing(person(rng), _straight(x, z, gone))
        return camera, self.groups, self.things

    # Outside

    def yard(self, *, still: bool) -> _Parts:
        config, rng = self.config, self.rng
        self.groups += [
            [floor(0, 0, 0, (4000.0, 4000.0), face(rng, str(rng.choice(["grass", "soil"])), 4.0))]
        ]
        distance = rng.uniform(16, 40)
        for step in range(14):
            angle = math.tau * (step + rng.uniform(0, 0.6)) / 14
            ring = at(0, 0, 0, angle) @ at(0, 0, distance * rng.uniform(0.8, 1.3), math.pi)
            roll = rng.random()
            if roll < 0.4:
                self.groups.append(
                    moved(
                        town.house(rng, rng.uniform(8, 14), int(rng.integers(1, 4))),
                        ring @ at(0, 0, 0, math.pi),
                    )
                )
            elif roll < 0.8:
                self.groups.append(moved(tree(rng), ring))
            else:
                self.groups.append([box(ring, (7.0, 1.5, 0.6), face(rng, "foliage", 1.5))])
        for _ in range(int(rng.integers(4, 14))):
            self._stands(rng, distance)
        heading = rng.uniform(0, math.tau)
        camera = hand_held(
            config,
            rng,
            centre=(0.0, -rng.uniform(1.2, 2.2), 0.0),
            room=(1.5, 0.4, 1.5),
            heading=heading,
            still=still,
        )
        for _ in range(self._count(config.tumbling)):
            speed = rng.uniform(*config.tumble_speed)
            x, y, z = _before(rng, camera(0.0), rng.uniform(2.5, 10)).tolist()
            size = math.exp(rng.uniform(math.log(0.12), math.log(0.8)))
            room = (1.5, 0.6, 1.5)
            centre = (x, min(y, -1.7 * size - room[1]), z)
            self.add_thing(toy(rng, size), tumbling(rng, centre=centre, room=room, speed=speed))
        return camera, self.groups, self.things

    def _stands(self, rng: np.random.Generator, distance: float) -> None:
        """Something on the ground, not where the camera is."""
        angle, away = rng.uniform(0, math.tau), rng.uniform(4.0, 0.8 * distance)
        place = at(away * math.sin(angle), 0, away * math.cos(angle), rng.uniform(0, math.tau))
        roll = rng.random()
        if roll < 0.3:
            self.groups.append(moved(tree(rng), place))
        elif roll < 0.45:
            self.groups.append(moved(bench(rng), place))
        elif roll < 0.55:
            self.groups.append(moved(vehicle(rng, large=bool(rng.random() < 0.3)), place))
        else:
            size = rng.uniform(0.3, 1.2)
            self.groups.append(
                [
                    replace(s, T_thing_from_solid=place @ at(0, -size, 0) @ s.T_thing_from_solid)
                    for s in toy(rng, size, str(rng.choice(["poster", "wood", "brick", "paving"])))
                ]
            )

    def _count(self, bounds: tuple[int, int]) -> int:
        return int(self.rng.integers(bounds[0], bounds[1] + 1))


def _before(rng: np.random.Generator, camera: Array, distance: float) -> Array:
    """A place that the camera sees at first."""
    x, y = rng.uniform(-0.5, 0.5) * distance, rng.uniform(-0.2, 0.2) * distance
    place: Array = (camera @ np.array([x, y, distance, 1.0]))[:3]
    return place


def _runner(rng: np.random.Generator) -> Group:
    """Something low that runs on the floor."""
    size = rng.uniform(0.2, 0.4)
    if rng.random() < 0.5:
        return [box(at(0, -0.02, 0), (size, 0.5 * size, 1.4 * size), face(rng, "poster", size))]
    return moved(toy(rng, 0.5 * size), at(0, -0.6 * size, 0))


def _straight(x: float, z: float, speed: float) -> Callable[[float], Array]:
    def motion(time: float) -> Array:
        return at(x, 0.0, z + speed * time, 0.0 if speed > 0 else math.pi)

    return motion
