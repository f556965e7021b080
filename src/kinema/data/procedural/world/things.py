"""Things that stand or move in worlds, in their own metres: y down, 0 at the ground, z forward."""

from __future__ import annotations

import math

import numpy as np

from kinema.data.procedural.world.solids import (
    Colour,
    Face,
    Group,
    Kind,
    Matrix,
    Solid,
    at,
    ball,
    box,
    rect,
    tube,
)

_PAINTS: tuple[Colour, ...] = (
    (0.92, 0.92, 0.90), (0.10, 0.10, 0.11), (0.45, 0.46, 0.48), (0.60, 0.62, 0.64),
    (0.42, 0.05, 0.05), (0.06, 0.12, 0.34), (0.08, 0.22, 0.14), (0.70, 0.50, 0.08),
)  # fmt: skip
_BLACK = (0.06, 0.06, 0.06)


def number(rng: np.random.Generator) -> int:
    """Draw a variant of a picture.

    Args:
        rng: where the randomness comes from.

    Returns:
        A number for `Face.variant`.
    """
    return int(rng.integers(16))


def tint(rng: np.random.Generator, spread: float = 0.15) -> Colour:
    """Draw a slight colour.

    Args:
        rng: where the randomness comes from.
        spread: of the logarithm of its parts.

    Returns:
        RGB around 1.
    """
    light, parts = rng.normal(0, spread), rng.normal(0, spread / 2, 3)
    r, g, b = np.minimum(np.exp(light + parts), 1.6).tolist()
    return r, g, b


def face(
    rng: np.random.Generator,
    material: str,
    metres: float = 2.0,
    *,
    spread: float = 0.15,
    gloss: float = 0.0,
    glow: float = 0.0,
) -> Face:
    """Draw the look of a side: any picture of a material, shifted, slightly tinted.

    Args:
        rng: where the randomness comes from.
        material: its name.
        metres: that a picture covers; 0 fits the side.
        spread: of the tint.
        gloss: strength of highlights.
        glow: light of its own.

    Returns:
        The look.
    """
    a, b = rng.uniform(0, 2, 2).tolist() if metres > 0 else (0.0, 0.0)
    return Face(material, number(rng), (metres, metres), (a, b), tint(rng, spread), gloss, glow)


def vehicle(rng: np.random.Generator, *, large: bool) -> Group:
    """A car, or a van or bus.

    Args:
        rng: where the randomness comes from.
        large: a van or bus.

    Returns:
        Its solids; it looks along z.
    """
    paint = _PAINTS[rng.integers(len(_PAINTS))]
    side, end = number(rng), number(rng)
    flank = Face("car_side", side, (0.0, 0.0), tint=paint, gloss=0.6)
    front = Face("car_end", end, (0.0, 0.0), tint=paint, gloss=0.6)
    lid = Face("metal", number(rng), (3.0, 3.0), tint=paint, gloss=0.8)
    glass = Face("glass", number(rng), (0.0, 0.0), gloss=1.0)
    if large:
        wide, high, long = rng.uniform(1.95, 2.4), rng.uniform(2.2, 3.0), rng.uniform(5.0, 9.5)
        body = [
            box(at(0, -0.35, 0), (wide, 0.45 * high, long), (flank, lid, front)),
            box(
                at(0, -0.35 - 0.45 * high, -0.05), (wide - 0.04, 0.5 * high, long - 0.15), (glass, lid, glass)
            ),
        ]
        return body + _wheels(wide, 0.42, 0.32 * long, rng)
    wide, high, long = rng.uniform(1.7, 1.9), rng.uniform(1.4, 1.7), rng.uniform(3.7, 4.8)
    bonnet, cabin = rng.uniform(0.56, 0.62) * high, rng.uniform(0.5, 0.62) * long
    body = [
        box(at(0, -0.22, 0), (wide, bonnet - 0.22, long), (flank, lid, front)),
        box(at(0, -bonnet, -0.08 * long), (wide - 0.25, high - bonnet, cabin), (glass, lid, glass)),
    ]
    return body + _wheels(wide, 0.31, 0.31 * long, rng)


def _wheels(wide: float, radius: float, along: float, rng: np.random.Generator) -> Group:
    rubber = Face("asphalt", number(rng), (1.0, 1.0), tint=_BLACK)
    hub = Face("wheel", number(rng), (0.0, 0.0))
    group = []
    for z in (-along, along):
        for x in (-wide / 2 + 0.09, wide / 2 - 0.09):
            place = at(x, -radius, z, roll=math.pi / 2)
            group.append(Solid(Kind.TUBE, place, (radius, 0.11, radius), (rubber, hub, rubber)))
    return group


def person(rng: np.random.Generator) -> Group:
    """Someone who walks along z.

    Args:
        rng: where the randomness comes from.

    Returns:
        Legs, body and head.
    """
    high = rng.uniform(1.5, 1.9)
    trousers, shirt = face(rng, "weave", 0.7, spread=0.5), face(rng, "weave", 0.6, spread=0.4)
    r, g, b = np.array([0.80, 0.56, 0.44]) * rng.uniform(0.3, 1.1)
    skin = Face("plaster", number(rng), (0.5, 0.5), tint=(r, g, b))
    step = rng.uniform(0.05, 0.2)
    legs = [tube(at(x, 0, z), 0.085, 0.48 * high, trousers) for x, z in ((-0.1, step), (0.1, -step))]
    arms = [ball(at(x, -0.66 * high, 0), (0.055, 0.17 * high, 0.07), shirt) for x in (-0.27, 0.27)]
    body = ball(at(0, -0.65 * high, 0), (0.23, 0.21 * high, 0.15), shirt)
    return [*legs, body, *arms, ball(at(0, -0.93 * high, 0), (0.1, 0.12, 0.12), skin)]


def tree(rng: np.random.Generator) -> Group:
    """A trunk and a crown of a few ellipsoids.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its solids.
    """
    high, wide = rng.uniform(2.0, 3.6), rng.uniform(1.1, 2.3)
    leaves = face(rng, "foliage", 1.6, spread=0.25)
    group = [tube(at(0, 0, 0), rng.uniform(0.09, 0.22), high + 0.3 * wide, face(rng, "bark", 1.0))]
    for _ in range(int(rng.integers(2, 5))):
        x, z = rng.normal(0, 0.35 * wide, 2)
        y = -high - rng.uniform(0.3, 1.1) * wide
        size = wide * rng.uniform(0.6, 1.0)
        half = (size, size * rng.uniform(0.7, 1.1), size)
        group.append(ball(at(x, y, z, rng.uniform(0, 6.28)), half, leaves))
    return group


def post(rng: np.random.Generator) -> Group:
    """A lamp post, a traffic sign, or a bollard.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its solids.
    """
    metal = face(rng, "metal", 1.0, spread=0.5)
    roll = rng.random()
    if roll < 0.45:
        high = rng.uniform(4.5, 7.0)
        arm = box(at(0, -high, 0.6), (0.08, 0.08, 1.3), metal)
        head = box(at(0, -high + 0.03, 1.2), (0.22, 0.12, 0.55), Face("plaster", 0, tint=(1.3, 1.3, 1.2)))
        return [tube(at(0, 0, 0), 0.07, high, metal), arm, head]
    if roll < 0.8:
        high = rng.uniform(2.2, 2.9)
        plate = rng.uniform(0.5, 0.8)
        sign = Face("poster", number(rng), (plate, plate), (0.2, 0.3), (1.1, 1.1, 1.1))
        return [
            tube(at(0, 0, 0), 0.035, high, metal),
            box(at(0, -high + plate, 0.05), (plate, plate, 0.03), sign),
        ]
    return [tube(at(0, 0, 0), rng.uniform(0.1, 0.3), rng.uniform(0.7, 1.1), face(rng, "metal", spread=0.5))]


def bench(rng: np.random.Generator) -> Group:
    """Seat, back and two supports.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its solids.
    """
    wood, stone = face(rng, "wood", 0.8), face(rng, "paving", 1.0)
    return [
        box(at(0, -0.42, 0), (1.6, 0.06, 0.42), wood),
        box(at(0, -0.55, -0.2), (1.6, 0.35, 0.05), wood),
        box(at(-0.6, 0, 0), (0.12, 0.42, 0.4), stone),
        box(at(0.6, 0, 0), (0.12, 0.42, 0.4), stone),
    ]


def table(rng: np.random.Generator, size: tuple[float, float, float]) -> Group:
    """A top on four legs.

    Args:
        rng: where the randomness comes from.
        size: along x, y and z.

    Returns:
        Its solids.
    """
    wide, high, deep = size
    wood = face(rng, "wood", 1.0, gloss=0.4)
    legs = [
        box(at(x * (wide / 2 - 0.06), 0, z * (deep / 2 - 0.06)), (0.06, high - 0.05, 0.06), wood)
        for x in (-1, 1)
        for z in (-1, 1)
    ]
    return [box(at(0, -high + 0.05, 0), (wide, 0.05, deep), wood), *legs]


def chair(rng: np.random.Generator) -> Group:
    """A seat on four legs with a back; it looks along z.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its solids.
    """
    group = table(rng, (0.45, 0.46, 0.45))
    return [*group, box(at(0, -0.5, -0.2), (0.43, 0.45, 0.04), group[0].faces[0])]


def sofa(rng: np.random.Generator) -> Group:
    """A seat, a back, and two arms; it looks along z.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its solids.
    """
    wide, cloth = rng.uniform(1.5, 2.3), face(rng, "weave", rng.uniform(0.5, 1.5), spread=0.3)
    cushion = face(rng, "weave", 0.5, spread=0.3)
    return [
        box(at(0, -0.08, 0), (wide, 0.34, 0.85), cloth),
        box(at(0, -0.4, -0.34), (wide, 0.42, 0.18), cloth),
        box(at(-wide / 2 + 0.1, -0.4, 0.05), (0.2, 0.22, 0.75), cloth),
        box(at(wide / 2 - 0.1, -0.4, 0.05), (0.2, 0.22, 0.75), cloth),
        box(at(rng.uniform(-0.4, 0.4), -0.43, -0.15, 0.3, pitch=0.5), (0.45, 0.4, 0.14), cushion),
    ]


def shelf(rng: np.random.Generator, size: tuple[float, float, float]) -> Group:
    """A case full of books; it looks along z.

    Args:
        rng: where the randomness comes from.
        size: along x, y and z.

    Returns:
        Its solids.
    """
    wide, high, deep = size
    wood = face(rng, "wood", 0.8)
    front = Face("books", number(rng), (1.6, 1.6), (rng.uniform(0, 1), 0.0))
    place = at(0, -high / 2, deep / 2 + 0.002)
    return [box(at(0, 0, 0), size, wood), rect(place, (wide - 0.06, high - 0.08), front)]


def plant(rng: np.random.Generator) -> Group:
    """A pot with leaves.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its solids.
    """
    radius, high = rng.uniform(0.12, 0.25), rng.uniform(0.2, 0.4)
    leaves = face(rng, "foliage", 0.7, spread=0.25)
    crown = rng.uniform(0.25, 0.5)
    half = (crown, crown * rng.uniform(0.9, 1.6), crown)
    return [
        tube(at(0, 0, 0), radius, high, face(rng, "plaster", 0.7, spread=0.4)),
        ball(at(0, -high - 0.8 * half[1], 0), half, leaves),
    ]


def standing_lamp(rng: np.random.Generator) -> Group:
    """A foot, a rod and a shade.

    Args:
        rng: where the randomness comes from.

    Returns:
        Its solids.
    """
    high, metal = rng.uniform(1.3, 1.8), face(rng, "metal", 0.5, spread=0.5)
    shade = Face("weave", number(rng), (1.0, 1.0), tint=(1.2, 1.1, 0.9), glow=0.5)
    return [
        tube(at(0, 0, 0), 0.15, 0.03, metal),
        tube(at(0, 0, 0), 0.015, high, metal),
        tube(at(0, -high, 0), rng.uniform(0.15, 0.25), 0.3, shade),
    ]


def toy(rng: np.random.Generator, size: float, material: str = "poster") -> Group:
    """Something that may tumble: a box, a ball, a tube, or a few of them as one.

    Args:
        rng: where the randomness comes from.
        size: largest half size in metres.
        material: of its sides.

    Returns:
        Its solids, around the origin.
    """
    group = []
    parts = 1 if rng.random() < 0.65 else int(rng.integers(2, 4))
    for part in range(parts):
        half = size * rng.uniform(0.35, 1.0, 3) * (1.0 if part == 0 else 0.6)
        look = face(rng, material, rng.uniform(1.0, 3.0) * size, spread=0.3, gloss=rng.uniform(0, 1))
        kind = Kind(int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2])))
        if kind == Kind.BALL and rng.random() < 0.6:
            half[:] = half.max()
        if kind == Kind.TUBE:
            half[2] = half[0]
        place = _scattered(rng, 0.7 * size) if part else np.eye(4)
        x, y, z = half.tolist()
        group.append(Solid(kind, place, (x, y, z), (look,) * 3))
    return group


def _scattered(rng: np.random.Generator, reach: float) -> Matrix:
    x, y, z = rng.uniform(-reach, reach, 3)
    return at(x, y, z, rng.uniform(0, 6.28), pitch=rng.uniform(-1.5, 1.5), roll=rng.uniform(0, 6.28))
