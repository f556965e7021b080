"""What worlds are built from: rectangles, boxes, balls and tubes with materials, in metres, y down."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
"""(4, 4) rigid motion, or (3, 3) rotation."""

Colour = tuple[float, float, float]
"""RGB; 1 leaves a texture as it is."""


class Kind(IntEnum):
    """Shapes, each within -half .. half of its own coordinates."""

    RECT = 0  # z = 0, seen from both sides
    BOX = 1
    BALL = 2  # an ellipsoid
    TUBE = 3  # its axis is y; closed


@dataclass(frozen=True)
class Face:
    """How a side looks.

    Attributes:
        material: name in `kinema.data.procedural.world.parts.MATERIALS`.
        variant: which picture of that material.
        metres: along u and v that one picture covers; it goes on as in a mirror. 0 fits the side exactly.
        shift: of the picture along u and v, in pictures.
        tint: factor of its colours.
        gloss: strength of highlights, 0 to 1.
        glow: light of its own, 0 to 1; 1 is not lit at all.
    """

    material: str
    variant: int = 0
    metres: tuple[float, float] = (2.0, 2.0)
    shift: tuple[float, float] = (0.0, 0.0)
    tint: Colour = (1.0, 1.0, 1.0)
    gloss: float = 0.0
    glow: float = 0.0


@dataclass(frozen=True, eq=False)
class Solid:
    """One shape somewhere.

    Attributes:
        kind: the shape.
        T_thing_from_solid: (4, 4), where it is in its thing; thing 0 is the world.
        half: (3,) half sizes in metres.
        faces: across x, y and z; rectangles and balls have the third alone, tubes their side in it and their
            ends in the second.
        thing: number of the moving thing that it is a part of, or 0.
    """

    kind: Kind
    T_thing_from_solid: Matrix
    half: tuple[float, float, float]
    faces: tuple[Face, Face, Face]
    thing: int = 0


Group = list[Solid]
"""Solids near each other."""


def at(x: float, y: float, z: float, yaw: float = 0.0, *, pitch: float = 0.0, roll: float = 0.0) -> Matrix:
    """Place something.

    Args:
        x: to the right.
        y: down.
        z: forward.
        yaw: turn about the vertical; positive turns z towards x.
        pitch: then about its own x; positive turns z up.
        roll: then about its own z; positive turns x down.

    Returns:
        (4, 4), parent from child.
    """
    matrix = np.eye(4)
    matrix[:3, :3] = turned(yaw, pitch, roll)
    matrix[:3, 3] = x, y, z
    return matrix


def turned(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Matrix:
    """The rotation of `at`.

    Args:
        yaw: about y.
        pitch: about x.
        roll: about z.

    Returns:
        (3, 3), parent from child.
    """
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    result: Matrix = about_y @ about_x @ about_z
    return result


def inverse(T_b_from_a: Matrix) -> Matrix:
    """Undo a rigid motion.

    Args:
        T_b_from_a: (..., 4, 4).

    Returns:
        (..., 4, 4), a from b.
    """
    result: Matrix = np.zeros_like(T_b_from_a)
    back = np.swapaxes(T_b_from_a[..., :3, :3], -1, -2)
    result[..., :3, :3], result[..., 3, 3] = back, 1.0
    result[..., :3, 3:] = -(back @ T_b_from_a[..., :3, 3:])
    return result


def box(place: Matrix, size: tuple[float, float, float], faces: Face | tuple[Face, Face, Face]) -> Solid:
    """A box that stands on its place: its lower side's middle is there.

    Args:
        place: (4, 4).
        size: along x, y and z.
        faces: of all sides, or across x, y and z.

    Returns:
        The solid.
    """
    half = (size[0] / 2, size[1] / 2, size[2] / 2)
    raised = place @ at(0, -half[1], 0)
    return Solid(Kind.BOX, raised, half, faces if isinstance(faces, tuple) else (faces,) * 3)


def tube(place: Matrix, radius: float, height: float, side: Face, end: Face | None = None) -> Solid:
    """An upright tube that stands on its place.

    Args:
        place: (4, 4).
        radius: of it.
        height: of it.
        side: how it looks around.
        end: how it looks on top; as around when left out.

    Returns:
        The solid.
    """
    half = (radius, height / 2, radius)
    return Solid(Kind.TUBE, place @ at(0, -height / 2, 0), half, (side, end or side, side))


def ball(place: Matrix, half: tuple[float, float, float], face: Face) -> Solid:
    """An ellipsoid around its place.

    Args:
        place: (4, 4).
        half: half sizes.
        face: how it looks.

    Returns:
        The solid.
    """
    return Solid(Kind.BALL, place, half, (face,) * 3)


def rect(place: Matrix, size: tuple[float, float], face: Face) -> Solid:
    """A rectangle around its place, across its z.

    Args:
        place: (4, 4).
        size: along x and y.
        face: how it looks.

    Returns:
        The solid.
    """
    return Solid(Kind.RECT, place, (size[0] / 2, size[1] / 2, 0.0), (face,) * 3)


def floor(x: float, y: float, z: float, size: tuple[float, float], face: Face, *, yaw: float = 0.0) -> Solid:
    """A level rectangle: u to the right, v backwards.

    Args:
        x: of its middle.
        y: of its middle.
        z: of its middle.
        size: along x and z.
        face: how it looks.
        yaw: about the vertical.

    Returns:
        The solid.
    """
    return rect(at(x, y, z, yaw, pitch=math.pi / 2), size, face)


def moved(group: Group, place: Matrix) -> Group:
    """Put a group somewhere else.

    Args:
        group: solids.
        place: (4, 4), new from old.

    Returns:
        The same solids there.
    """
    return [replace(solid, T_thing_from_solid=place @ solid.T_thing_from_solid) for solid in group]


def as_thing(group: Group, thing: int) -> Group:
    """Make a group a moving thing.

    Args:
        group: solids in the thing's own coordinates.
        thing: its number, 1 or more.

    Returns:
        The same solids.
    """
    return [replace(solid, thing=thing) for solid in group]
