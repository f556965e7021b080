"""Rooms and corridors: walls, furniture, pictures, windows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from kinema.data.procedural.world.solids import Face, Group, at, box, floor, moved, rect, tube
from kinema.data.procedural.world.things import (
    chair,
    face,
    number,
    plant,
    shelf,
    sofa,
    standing_lamp,
    table,
    tint,
)

Size = tuple[float, float, float]
"""Along x (width), y (height) and z (depth)."""


def room(rng: np.random.Generator) -> tuple[Size, list[Group]]:
    """A furnished room around the origin; its floor is y = 0.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its size, and its groups of solids.
    """
    size = (rng.uniform(4.2, 9.0), rng.uniform(2.4, 3.2), rng.uniform(4.2, 10.0))
    groups = shell(rng, size, floors=("wood", "tiles", "weave"))
    for side in range(4):
        long, deep = (size[0], size[2]) if side % 2 == 0 else (size[2], size[0])
        place = at(0, 0, 0, side * math.pi / 2) @ at(0, 0, -deep / 2)
        groups += [moved(group, place) for group in _wall_side(rng, long, size[1])]
    return size, groups + _middle(rng, size)


def shell(rng: np.random.Generator, size: Size, *, floors: tuple[str, ...]) -> list[Group]:
    """Floor, ceiling and four walls.

    Args:
        rng: where the randomness comes from.
        size: of the inside.
        floors: materials to choose from.

    Returns:
        A group for each.
    """
    wide, high, deep = size
    ground = face(rng, floors[rng.integers(len(floors))], rng.uniform(1.0, 2.5), gloss=0.5)
    paper = face(rng, str(rng.choice(["wallpaper", "wallpaper", "plaster", "brick"])), 2.5)
    skirting = face(rng, "wood", 1.0, spread=0.3)
    groups: list[Group] = [[floor(0, 0, 0, (wide, deep), ground)]]
    groups.append([floor(0, -high, 0, (wide, deep), Face("plaster", 0, (3.0, 3.0), tint=(1.2, 1.2, 1.2)))])
    for side in range(4):
        long, away = (wide, deep) if side % 2 == 0 else (deep, wide)
        turn = at(0, 0, 0, side * math.pi / 2)
        groups.append([rect(turn @ at(0, -high / 2, -away / 2), (long, high), paper)])
        groups.append([box(turn @ at(0, 0, -away / 2), (long, 0.09, 0.03), skirting)])
    return groups


def _wall_side(rng: np.random.Generator, long: float, high: float) -> list[Group]:
    """What stands at a wall and hangs on it; local x along the wall, z into the room."""
    groups: list[Group] = []
    x = -long / 2 + rng.uniform(0.8, 1.2)
    makers: tuple[Callable[[], tuple[Group, float, float]], ...] = (
        lambda: (shelf(rng, (1.4, min(2.0, high - 0.3), 0.35)), 1.4, 0.18),
        lambda: (sofa(rng), 2.2, 0.45),
        lambda: (_sideboard(rng), 1.6, 0.25),
        lambda: (plant(rng), 0.8, 0.45),
        lambda: (standing_lamp(rng), 0.5, 0.3),
        lambda: (_cupboard(rng, high), 1.1, 0.3),
    )
    while x < long / 2 - 1.2:
        roll = rng.random()
        if roll < 0.65:
            group, wide, away = makers[rng.integers(len(makers))]()
            if x + wide > long / 2 - 0.6:
                break
            groups.append(moved(group, at(x + wide / 2, 0, away + 0.03)))
            if wide > 1.5 and rng.random() < 0.8:
                groups.append(_picture(rng, x + wide / 2, 1.65))
            x += wide + rng.uniform(0.1, 0.5)
        else:
            groups.append(_on_wall(rng, x + 0.6))
            x += 1.5
    return groups


def _sideboard(rng: np.random.Generator) -> Group:
    wood = face(rng, "wood", 0.9, spread=0.3, gloss=0.3)
    door = Face("door", number(rng), (0.0, 0.0), tint=wood.tint)
    doors = [rect(at(s * 0.4, -0.4, 0.212), (0.7, 0.6), door) for s in (-1, 1)]
    high = rng.uniform(0.15, 0.4)
    vase = tube(at(rng.uniform(-0.6, 0.6), -0.75, 0), rng.uniform(0.05, 0.1), high, face(rng, "poster", 0.5))
    return [box(at(0, 0, 0), (1.6, 0.75, 0.42), wood), *doors, vase]


def _cupboard(rng: np.random.Generator, high: float) -> Group:
    wood = face(rng, "wood", 0.9, spread=0.3)
    top = min(2.1, high - 0.2)
    door = Face("door", number(rng), (0.0, 0.0), tint=wood.tint)
    doors = [rect(at(s * 0.27, -top / 2, 0.282), (0.5, top - 0.1), door) for s in (-1, 1)]
    return [box(at(0, 0, 0), (1.1, top, 0.56), wood), *doors]


def _picture(rng: np.random.Generator, x: float, y: float) -> Group:
    wide, high = rng.uniform(0.4, 1.1), rng.uniform(0.4, 0.8)
    frame = face(rng, "wood", 0.5, spread=0.4)
    inside = Face("poster", number(rng), (1.0, 1.0), (rng.uniform(0, 2), rng.uniform(0, 2)))
    return [
        box(at(x, -y + high / 2, 0.015), (wide + 0.07, high + 0.07, 0.03), frame),
        rect(at(x, -y - 0.035, 0.032), (wide, high), inside),
    ]


def _on_wall(rng: np.random.Generator, x: float) -> Group:
    roll = rng.random()
    if roll < 0.45:
        return _picture(rng, x, rng.uniform(1.4, 1.8))
    frame = Face("plaster", 0, (1.0, 1.0), tint=(1.3, 1.3, 1.3))
    if roll < 0.8:
        look = Face("view", number(rng), (0.0, 0.0), glow=0.9)
        return [box(at(x, -0.9, 0), (1.3, 1.3, 0.05), frame), rect(at(x, -1.55, 0.03), (1.2, 1.2), look)]
    look = Face("door", number(rng), (0.0, 0.0), tint=tint(rng, 0.4))
    return [box(at(x, 0, 0), (1.05, 2.1, 0.05), frame), rect(at(x, -1.0, 0.03), (0.9, 2.0), look)]


def _middle(rng: np.random.Generator, size: Size) -> list[Group]:
    """A rug, a table with chairs, boxes."""
    groups: list[Group] = []
    if rng.random() < 0.7:
        rug = face(rng, "weave", rng.uniform(0.6, 2.0), spread=0.3)
        wide, deep = rng.uniform(0.3, 0.55) * size[0], rng.uniform(0.3, 0.55) * size[2]
        groups.append([floor(0, -0.006, 0, (wide, deep), rug, yaw=rng.normal(0, 0.1))])
    if rng.random() < 0.6:
        x, z = rng.uniform(-0.15, 0.15) * size[0], rng.uniform(-0.15, 0.15) * size[2]
        turn = rng.uniform(0, math.tau)
        wide, deep = rng.uniform(0.8, 1.6), rng.uniform(0.6, 1.0)
        groups.append(moved(table(rng, (wide, 0.74, deep)), at(x, 0, z, turn)))
        bowl = [tube(at(0.1, -0.74, 0), 0.14, 0.1, face(rng, "poster", 0.4))]
        groups.append(moved(bowl, at(x, 0, z, turn)))
        for angle in rng.choice(4, int(rng.integers(1, 5)), replace=False).tolist():
            away = (wide if angle % 2 else deep) / 2 + 0.2
            seat = at(x, 0, z, turn + angle * math.pi / 2) @ at(0, 0, -away)
            groups.append(moved(chair(rng), seat))
    for _ in range(int(rng.integers(0, 4))):
        x, z = rng.uniform(-0.3, 0.3) * size[0], rng.uniform(-0.3, 0.3) * size[2]
        side = rng.uniform(0.15, 0.45)
        look = face(rng, "poster", 1.5 * side)
        groups.append([box(at(x, 0, z, rng.uniform(0, 1.5)), (side, side * 0.8, side * 1.2), look)])
    return groups


def corridor(rng: np.random.Generator) -> tuple[Size, list[Group]]:
    """A long corridor around the z axis, with columns, doors, posters, boxes and lights.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its size, and its groups of solids.
    """
    size = (rng.uniform(2.8, 6.0), rng.uniform(2.6, 4.0), 400.0)
    groups = shell(rng, size, floors=("tiles", "asphalt", "strange"))
    pace, columns = rng.uniform(3.0, 5.0), bool(rng.random() < 0.6)
    stone = face(rng, str(rng.choice(["brick", "plaster", "strange"])), 1.5)
    lamp = Face("plaster", 0, (1.0, 1.0), tint=(1.5, 1.5, 1.4), glow=1.0)
    for step in range(int(size[2] / pace)):
        z = -size[2] / 2 + (step + 0.5) * pace
        groups.append([box(at(0, -size[1] + 0.06, z), (0.3, 0.06, 1.2), lamp)])
        for side in (-1, 1):
            wall = at(side * size[0] / 2, 0, z, -side * math.pi / 2)
            if columns:
                groups.append([box(wall, (0.4, size[1], 0.4), stone)])
            local = np.random.default_rng((int(rng.integers(2**31)), step))
            beside = wall @ at(pace / 2, 0, 0)
            roll = local.random()
            if roll < 0.6:
                groups.append(moved(_on_wall(local, 0.0), beside))
            elif roll < 0.8:
                side_length = local.uniform(0.3, 0.6)
                look = face(local, "strange", side_length)
                groups.append(moved([box(at(0, 0, 0.3), (side_length,) * 3, look)], beside))
    return size, groups
