"""A town on a grid of streets: blocks of houses, pavements, trees, parked cars."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinema.data.procedural.world.config import WorldConfig
from kinema.data.procedural.world.solids import Face, Group, Matrix, at, box, floor, moved
from kinema.data.procedural.world.things import bench, face, number, post, tint, tree, vehicle

KERB = 0.14
"""Height of pavements in metres."""


@dataclass(frozen=True)
class TownPlan:
    """The measures of a town in metres.

    Attributes:
        pitch: between the middles of streets, along x and z.
        road: half width of a road, kerb to middle.
        pavement: width of a pavement.
        floors: fewest and most floors of houses.
        green: share of blocks that are parks.
        closed: houses in closed rows, not with gardens in between.
    """

    pitch: tuple[float, float]
    road: float
    pavement: float
    floors: tuple[int, int]
    green: float
    closed: bool

    @property
    def lane(self) -> float:
        """Distance of the middle of a lane from the middle of the road."""
        return 0.29 * self.road


def plan_town(rng: np.random.Generator) -> TownPlan:
    """Draw a town.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its measures.
    """
    low = int(rng.integers(1, 5))
    return TownPlan(
        pitch=(rng.uniform(48, 80), rng.uniform(50, 95)),
        road=rng.uniform(5.6, 7.2),
        pavement=rng.uniform(2.0, 4.0),
        floors=(low, low + int(rng.integers(1, 4))),
        green=rng.uniform(0.05, 0.3),
        closed=bool(rng.random() < 0.6),
    )


def ground(rng: np.random.Generator) -> list[Group]:
    """The plane that everything stands on.

    Args:
        rng: where the randomness comes from.

    Returns:
        One group.
    """
    return [[floor(0, 0.02, 0, (4000.0, 4000.0), face(rng, "asphalt", 5.0))]]


def street(plan: TownPlan, rng: np.random.Generator, column: int, line: int) -> list[Group]:
    """The two roads that lead from a crossing towards z and towards x.

    Args:
        plan: of the town.
        rng: of this crossing.
        column: of the crossing, along x.
        line: of the crossing, along z.

    Returns:
        Their surfaces, and what is parked on them is with the blocks.
    """
    x, z = column * plan.pitch[0], line * plan.pitch[1]
    look = Face("road", 0, (2 * plan.road, 12.0), (0.0, rng.uniform(0, 2)), tint(rng, 0.08))
    groups: list[Group] = []
    for length, yaw in ((plan.pitch[1] - 2 * plan.road, 0.0), (plan.pitch[0] - 2 * plan.road, math.pi / 2)):
        middle = plan.road + length / 2
        place = (x + middle * math.sin(yaw), z + middle * math.cos(yaw))
        groups.append([floor(place[0], 0.0, place[1], (2 * plan.road, length), look, yaw=yaw)])
    return groups


def block(
    config: WorldConfig, plan: TownPlan, rng: np.random.Generator, column: int, line: int
) -> list[Group]:
    """Everything between four streets: north-east of a crossing.

    Args:
        config: shares of trees and parked cars.
        plan: of the town.
        rng: of this block.
        column: of the crossing, along x.
        line: of the crossing, along z.

    Returns:
        Groups of solids in the world.
    """
    size = (plan.pitch[0] - 2 * plan.road, plan.pitch[1] - 2 * plan.road)
    middle = at((column + 0.5) * plan.pitch[0], 0, (line + 0.5) * plan.pitch[1])
    edge = Face("paving", number(rng), (1.6, 1.6), tint=tint(rng, 0.12))
    groups: list[Group] = [[box(middle, (size[0], KERB, size[1]), edge)]]
    park = rng.random() < plan.green
    yard_size = (size[0] - 2 * plan.pavement, size[1] - 2 * plan.pavement)
    yard = face(rng, "grass" if park or not plan.closed else "paving", 4.0)
    groups.append([moved([floor(0, -KERB - 0.004, 0, yard_size, yard)], middle)[0]])
    for side in range(4):
        long, deep = (size[0], size[1]) if side % 2 == 0 else (size[1], size[0])
        # Local: x along the side, z from the kerb inwards.
        place = middle @ at(0, 0, 0, side * math.pi / 2) @ at(0, 0, -deep / 2)
        on_kerb = place @ at(0, -KERB, 0)
        if not park:
            groups += [moved(g, on_kerb) for g in _houses(plan, rng, long - 2 * plan.pavement)]
        groups += [moved(g, on_kerb) for g in _kerbside(config, rng, long)]
        groups += [moved(g, place) for g in _parked(config, rng, long)]
    if park:
        groups += [moved(g, middle @ at(0, -KERB, 0)) for g in _park(rng, yard_size)]
    return groups


def _houses(plan: TownPlan, rng: np.random.Generator, long: float) -> list[Group]:
    groups: list[Group] = []
    left = -long / 2
    while left < long / 2 - 5:
        wide = min(rng.uniform(8, 18), long / 2 - left)
        floors = int(rng.integers(plan.floors[0], plan.floors[1] + 1))
        back = rng.uniform(0, 0.8) if plan.closed else rng.uniform(1.0, 5.0)
        place = at(left + wide / 2, 0, plan.pavement + back)
        groups.append(moved(house(rng, wide, floors), place))
        gap = 0.0 if plan.closed and rng.random() < 0.85 else rng.uniform(2.0, 7.0)
        if gap > 0:
            groups.append(_between(plan, rng, left + wide + gap / 2, gap))
        left += wide + gap
    return groups


def _between(plan: TownPlan, rng: np.random.Generator, x: float, gap: float) -> Group:
    """A hedge or a wall closes a gap."""
    look, high = (face(rng, "foliage", 1.5), 1.4) if rng.random() < 0.5 else (face(rng, "brick", 2.0), 1.9)
    return [box(at(x, 0, plan.pavement + 0.5), (gap, high, 0.5), look)]


def house(rng: np.random.Generator, wide: float, floors: int) -> Group:
    """A house with its front at z = 0, x along the street.

    Args:
        rng: where the randomness comes from.
        wide: along the street.
        floors: above the ground floor, 1 or more.

    Returns:
        Its solids.
    """
    deep, storey = rng.uniform(9, 12), rng.uniform(2.9, 3.4)
    low = rng.uniform(3.2, 4.0)
    paint, roof = tint(rng, 0.2), face(rng, "roof", 3.0)
    office = rng.random() < 0.15
    wall = Face(
        "office" if office else "front",
        number(rng),
        (4 * storey, 4 * storey),
        (rng.uniform(0, 1), 0.0),
        paint,
        gloss=0.3,
    )
    # Floors fit the height: the picture holds four of them.
    high = floors * storey
    wall = Face(
        wall.material, wall.variant, wall.metres, (wall.shift[0], high / (8 * storey) - 0.5), paint, 0.3
    )
    shops = rng.random() < 0.4
    base = Face("shop" if shops else "brick", number(rng), (12.0, 0.0) if shops else (2.5, 2.5), tint=paint)
    group = [
        box(at(0, 0, deep / 2), (wide, low, deep), (base, roof, base)),
        box(at(0, -low, deep / 2), (wide, high, deep), (wall, roof, wall)),
        box(at(0, -low - high, deep / 2), (wide + 0.3, 0.35, deep + 0.3), face(rng, "plaster")),
    ]
    if not shops:
        door = Face("door", number(rng), (0.0, 0.0), tint=tint(rng, 0.4))
        group.append(box(at(rng.uniform(-0.3, 0.3) * wide, 0, 0), (1.1, 2.2, 0.12), door))
    if rng.random() < 0.4:
        bay = rng.uniform(2.5, 4.0)
        place = at(rng.uniform(-0.25, 0.25) * wide, -low, 0)
        group.append(box(place, (bay, high * 0.9, 1.4), (wall, roof, wall)))
    if rng.random() < 0.5:
        place = at(rng.uniform(-0.35, 0.35) * wide, -low - high - 0.35, deep * 0.5)
        group.append(box(place, (0.9, rng.uniform(0.8, 2.0), 0.9), face(rng, "brick", 1.5)))
    return group


def _kerbside(config: WorldConfig, rng: np.random.Generator, long: float) -> list[Group]:
    """Trees, lamp posts, signs and benches near the kerb."""
    groups: list[Group] = []
    x = -long / 2 + rng.uniform(2, 6)
    while x < long / 2 - 2:
        if rng.random() < config.tree_share:
            made = tree(rng) if rng.random() < 0.5 else post(rng) if rng.random() < 0.85 else bench(rng)
            groups.append(moved(made, at(x, 0, 0.6, math.pi)))
        x += rng.uniform(5, 10)
    return groups


def _parked(config: WorldConfig, rng: np.random.Generator, long: float) -> list[Group]:
    groups: list[Group] = []
    x = -long / 2 + rng.uniform(3, 6)
    while x < long / 2 - 4:
        if rng.random() < config.parked_share:
            large = bool(rng.random() < 0.06)
            turn = math.pi / 2 if rng.random() < 0.9 else -math.pi / 2
            group = vehicle(rng, large=large)
            groups.append(moved(group, at(x, 0, -1.15 - rng.uniform(0, 0.2), turn + rng.normal(0, 0.02))))
            x += 4.5 if large else 0.0
        x += rng.uniform(5.3, 6.5)
    return groups


def _park(rng: np.random.Generator, size: tuple[float, float]) -> list[Group]:
    groups: list[Group] = []
    for _ in range(int(rng.integers(6, 14))):
        x, z = rng.uniform(-0.45, 0.45, 2) * size
        groups.append(moved(tree(rng), at(x, 0, z)))
    for _ in range(int(rng.integers(1, 4))):
        x, z = rng.uniform(-0.45, 0.45, 2) * size
        groups.append(moved(bench(rng), at(x, 0, z, rng.uniform(0, 6.28))))
    return groups


def crossings_near(plan: TownPlan, places: np.ndarray, reach: float) -> list[tuple[int, int]]:
    """Crossings whose blocks may be seen from somewhere.

    Args:
        plan: of the town.
        places: (N, 2) x and z.
        reach: metres.

    Returns:
        Columns and lines, in order.
    """
    sizes, most = np.array(plan.pitch), [math.ceil(reach / pitch) for pitch in plan.pitch]
    found: set[tuple[int, int]] = set()
    for place in places:
        cell = np.floor(place / sizes).astype(int)
        for dx in range(-most[0], most[0] + 1):
            for dz in range(-most[1], most[1] + 1):
                corner = cell + np.array((dx, dz))
                # From the place to the rectangle between four crossings.
                away = np.maximum(np.maximum(corner * sizes - place, place - (corner + 1) * sizes), 0)
                if np.hypot(*away) <= reach:
                    found.add((int(corner[0]), int(corner[1])))
    return sorted(found)


def place_on(way_place: tuple[float, float, float], height: float = 0.0) -> Matrix:
    """A place on a way as a matrix.

    Args:
        way_place: x, z and heading.
        height: above the road.

    Returns:
        (4, 4) world from thing; z along the way.
    """
    x, z, heading = way_place
    return at(x, -height, z, heading)
