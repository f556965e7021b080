"""What is where a ray has met a solid: place, normal, side, and the piece of picture that a pixel covers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinema.data.procedural.world.atlas import Atlas
from kinema.data.procedural.world.solids import Face, Kind
from kinema.data.procedural.world.view import SolidTable, View

_PLANAR_UV = ((2, 1), (0, 2), (0, 1))
_FIRST_SIDE = {Kind.RECT: 2, Kind.BOX: 0, Kind.BALL: 2, Kind.TUBE: 1}
_LEAST_SLANT = 2e-3


@dataclass(frozen=True, eq=False)
class Faces:
    """How the sides of all solids of a clip look, as arrays: row 3 p + axis.

    Attributes:
        first: (3 P,) int32, rows of the atlas.
        numbers: (11, 3 P) float32: texels along the picture's side; texels per metre (or radian) along u, v;
            texels at 0 along u, v; tint; gloss; glow; 0.
    """

    first: Tensor
    numbers: Tensor


def face_table(table: SolidTable, atlas: Atlas, device: torch.device) -> Faces:
    """Collect how all sides look.

    Args:
        table: the solids.
        atlas: paints what is missing.
        device: of the result.

    Returns:
        The sides.
    """
    first = np.zeros(3 * len(table.solids), np.int32)
    numbers = np.zeros((11, len(first)), np.float32)
    for row, solid in enumerate(table.solids):
        for axis, face in enumerate(solid.faces):
            if axis < _FIRST_SIDE[solid.kind]:
                continue
            place, side = atlas.place(face.material, face.variant)
            first[3 * row + axis] = place
            scales = _texels(solid.kind, solid.half, axis, face, side)
            numbers[:, 3 * row + axis] = (side, *scales, *face.tint, face.gloss, face.glow, 0.0)
    return Faces(torch.from_numpy(first).to(device), torch.from_numpy(numbers).to(device))


def _texels(
    kind: Kind, half: tuple[float, float, float], axis: int, face: Face, side: int
) -> tuple[float, float, float, float]:
    """Texels per metre or radian along u and v, and those at 0."""
    starts = (side * (0.5 + face.shift[0]), side * (0.5 + face.shift[1]))
    if kind == Kind.BALL or (kind == Kind.TUBE and axis == 2):
        around = math.tau * max(half[0], half[2])
        # An even number of pictures around: mirrored ones meet without a seam.
        pictures = 2 * max(1, round(around / (2 * face.metres[0]))) if face.metres[0] > 0 else 2
        high = side * half[1] / face.metres[1] if face.metres[1] > 0 else side / math.pi
        if kind == Kind.TUBE:
            high = side / face.metres[1] if face.metres[1] > 0 else side / (2 * half[1])
        return pictures * side / math.tau, high, *starts
    wide, tall = (half[k] for k in _PLANAR_UV[axis])
    across = face.metres[0] if face.metres[0] > 0 else 2 * wide
    down = face.metres[1] if face.metres[1] > 0 else 2 * tall
    return side / max(across, 1e-6), side / max(down, 1e-6), *starts


@dataclass(frozen=True, eq=False)
class Hits:
    """Where rays met solids; vectors are in the solid's own coordinates, in metres.

    Attributes:
        row: (N,) int64, of the solid in the view.
        axis: (N,) int64, side: 0, 1 or 2.
        point: (3, N).
        normal: (3, N), unit length, towards the seer.
        ray: (3, N), direction of the ray; depth is its parameter.
        uv: u and v in texels.
        footprint: (4, N), see `kinema.data.procedural.world.atlas.read_texels`.
        face: (11, N), see `Faces.numbers`.
        first: (N,), see `Faces.first`.
    """

    row: Tensor
    axis: Tensor
    point: Tensor
    normal: Tensor
    ray: Tensor
    uv: tuple[Tensor, Tensor]
    footprint: Tensor
    face: Tensor
    first: Tensor


def hits(
    view: View,
    table: SolidTable,
    faces: Faces,
    rays: tuple[Tensor, Tensor],
    depth: Tensor,
    row: Tensor,
    pixel: tuple[float, float],
) -> Hits:
    """Find out what is where rays met solids.

    Args:
        view: what the rays were cast into.
        table: the solids.
        faces: how they look.
        rays: x and y, (N,) each.
        depth: (N,).
        row: (N,) int64 rows of the view, none of them -1.
        pixel: width and height of a ray's share of the picture, in x and y.

    Returns:
        The hits.
    """
    device = depth.device
    scale = table.scale[view.solids]
    geometry = np.concatenate(
        [
            (view.turn * scale[:, :, None]).reshape(len(scale), 9),
            view.shift * scale,
            scale,
            view.kinds[:, None],
        ],
        axis=1,
    )
    numbers = torch.from_numpy(np.ascontiguousarray(geometry.T, np.float32)).to(device).index_select(1, row)
    turn, shift, size, kind = numbers[:9].view(3, 3, -1), numbers[9:12], numbers[12:15], numbers[15]
    ray = turn[:, 0] * rays[0] + turn[:, 1] * rays[1] + turn[:, 2]
    point = shift + depth * ray
    axis, normal = _sides(point / size, size, kind)
    slant = dot(normal, ray)
    normal = torch.where(slant > 0, -normal, normal)
    slant = torch.minimum(-slant.abs(), -_LEAST_SLANT * dot(ray, ray).sqrt())
    steps = []
    for number in (0, 1):
        step = turn[:, number] * pixel[number]
        steps.append(depth * (step - ray * (dot(normal, step) / slant)))
    chosen = torch.from_numpy(view.solids).to(device).index_select(0, row) * 3 + axis
    face = faces.numbers.index_select(1, chosen)
    uv, footprint = _on_picture(point, size, kind, axis, steps, face)
    return Hits(row, axis, point, normal, ray, uv, footprint, face, faces.first.index_select(0, chosen))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products; sums over a first dimension of three are slow.

    Args:
        a: (3, N).
        b: (3, N).

    Returns:
        (N,).
    """
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _sides(unit: Tensor, size: Tensor, kind: Tensor) -> tuple[Tensor, Tensor]:
    """Which side was met, and its normal."""
    x, y, z = unit.abs()
    two, one = torch.full_like(kind, 2, dtype=torch.int64), torch.ones_like(kind, dtype=torch.int64)
    boxed = torch.where((x >= y) & (x >= z), one - 1, torch.where(y >= z, one, two))
    capped = torch.where(y * y > x * x + z * z, one, two)
    axis = torch.where(kind == Kind.BOX, boxed, torch.where(kind == Kind.TUBE, capped, two))
    flat = torch.stack([(axis == k).to(unit.dtype) for k in range(3)])
    flat = flat * torch.where(unit >= 0, 1.0, -1.0)
    bent = unit / size
    tubular = (kind == Kind.TUBE) & (axis == 2)
    bent = torch.stack([bent[0], torch.where(tubular, 0.0, bent[1]), bent[2]])
    bent = bent * torch.rsqrt(dot(bent, bent).clamp_min(1e-20))
    return axis, torch.where(tubular | (kind == Kind.BALL), bent, flat)


def _on_picture(
    point: Tensor, size: Tensor, kind: Tensor, axis: Tensor, steps: list[Tensor], face: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Texels where a ray met its side, and how they change from pixel to pixel."""
    along_u, along_v, zero_u, zero_v = face[1:5]
    first, second = axis == 0, axis == 1
    u = torch.where(first, point[2], point[0])
    v = torch.where(second, point[2], point[1])
    changes = [torch.where(first, step[2], step[0]) for step in steps]
    changes += [torch.where(second, step[2], step[1]) for step in steps]
    bent = ((kind == Kind.BALL) | ((kind == Kind.TUBE) & (axis == 2))).nonzero()[:, 0]
    if len(bent):
        unit = point.index_select(1, bent) / size.index_select(1, bent)
        ways = [step.index_select(1, bent) / size.index_select(1, bent) for step in steps]
        u[bent] = torch.atan2(unit[0], unit[2])
        squared = (unit[0] ** 2 + unit[2] ** 2).clamp_min(1e-4)
        for number, way in enumerate(ways):
            changes[number][bent] = (unit[2] * way[0] - unit[0] * way[2]) / squared
        balls = kind.index_select(0, bent) == Kind.BALL
        v[bent] = torch.where(balls, torch.asin(unit[1].clamp(-1, 1)), v[bent])
        cosine = (1 - unit[1] ** 2).clamp_min(1e-4).sqrt()
        for number, way in enumerate(ways):
            flat = changes[2 + number][bent]
            changes[2 + number][bent] = torch.where(balls, way[1] / cosine, flat)
    footprint = torch.stack(
        [changes[0] * along_u, changes[1] * along_u, changes[2] * along_v, changes[3] * along_v]
    )
    return (u * along_u + zero_u, v * along_v + zero_v), footprint
