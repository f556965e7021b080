"""From hits to colours: pictures, light, shadows, sky and fog; all in linear light."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinema.data.procedural.world.atlas import Atlas, read_texels
from kinema.data.procedural.world.cast import Rays, cast
from kinema.data.procedural.world.light import Light
from kinema.data.procedural.world.solids import Matrix, inverse
from kinema.data.procedural.world.surface import Faces, Hits, dot, hits
from kinema.data.procedural.world.view import Array, SolidTable, View, look

_SHARPNESS = 48.0
_WIDEST = 6.0  # tangent of the angle below which a lamp throws shadows


@dataclass(frozen=True, eq=False)
class Moment:
    """A world at one time, ready to be seen by its camera.

    Attributes:
        table: the solids.
        faces: how they look.
        atlas: their pictures.
        T_world_from_solid: (P, 4, 4) now.
        T_light_from_solid: (P, 4, 4) where the light finds them: the same, or the places of the first moment
            for things whose light is baked.
        baked: the light of moving things is baked: no shadow falls onto them, and they throw none.
        light: of the moment.
        T_camera_from_world: (4, 4).
        view: what the camera may see.
        reach: metres from the camera; what begins farther away is not there.
    """

    table: SolidTable
    faces: Faces
    atlas: Atlas
    T_world_from_solid: Array
    T_light_from_solid: Array
    baked: bool
    light: Light
    T_camera_from_world: Matrix
    view: View
    reach: float


@dataclass(frozen=True, eq=False)
class Seen:
    """What rays of a camera saw.

    Attributes:
        colour: (N, 3) linear light.
        depth: (N,) metres, infinite for sky.
        row: (N,) int64 in the view, -1 for sky.
        look: (N,) int64, equal where neighbours look alike: same side of the same solid, same shadow.
    """

    colour: Tensor
    depth: Tensor
    row: Tensor
    look: Tensor


def see(moment: Moment, rays: Rays, pixel: tuple[float, float]) -> Seen:
    """Follow rays of the camera and find their colours.

    Args:
        moment: the world.
        rays: of the camera.
        pixel: width and height of a ray's share of the picture, in x and y.

    Returns:
        What was seen, ray by ray in the order that they were given.
    """
    depth, row = cast(moment.view, rays)
    x, y = torch.empty_like(rays.x), torch.empty_like(rays.y)
    x[rays.order], y[rays.order] = rays.x, rays.y
    colour = torch.empty((len(depth), 3), device=depth.device)
    look_ = torch.full_like(row, -1)
    there = (row >= 0).nonzero()[:, 0]
    if len(there):
        picked = [values.index_select(0, there) for values in (x, y, depth, row)]
        lit, kinds = _solid_colours(moment, picked, pixel)
        colour[there], look_[there] = lit, kinds
    if len(there) < len(depth):
        sky = (row < 0).nonzero()[:, 0]
        colour[sky] = _sky(moment, x.index_select(0, sky), y.index_select(0, sky), pixel)
    return Seen(colour, depth, row, look_)


def _solid_colours(moment: Moment, picked: list[Tensor], pixel: tuple[float, float]) -> tuple[Tensor, Tensor]:
    x, y, depth, row = picked
    found = hits(moment.view, moment.table, moment.faces, (x, y), depth, row, pixel)
    texture = read_texels(moment.atlas.texels, found.first, found.face[0], found.uv, found.footprint)
    light, shadow = _light(moment, found, (x, y, depth))
    glow = found.face[9]
    tinted = texture.t() * found.face[5:8]
    colour = tinted * (light[:3] * (1 - glow) + glow) + light[3]
    if moment.light.fog > 0:
        left = torch.exp(-moment.light.fog * depth * torch.sqrt(x * x + y * y + 1))
        colour = colour * left + (1 - left) * _column(moment.light.fog_colour, colour)
    return colour.t(), (row * 3 + found.axis) * 2 + shadow.long()


def _light(moment: Moment, found: Hits, seen: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """(4, N): RGB of the light, and the strength of a highlight; where the direct light is hidden."""
    light, view = moment.light, moment.view
    places = moment.T_light_from_solid[view.solids]
    back = inverse(places)
    numbers = np.concatenate([light.seen_from(back), -back[:, :3, 1]], axis=1)  # up is -y
    local = torch.from_numpy(np.ascontiguousarray(numbers.T, np.float32)).to(found.point.device)
    local = local.index_select(1, found.row)
    towards, up = local[:3], local[3:]
    direct = torch.ones_like(found.point[0])
    if not light.parallel:
        towards = towards - found.point
        squared = dot(towards, towards)
        towards = towards * torch.rsqrt(squared.clamp_min(1e-6))
        direct = 1 / (1 + squared / light.radius**2)
    cosine = dot(found.normal, towards)
    hidden = torch.zeros_like(cosine, dtype=torch.bool)
    if light.shadows:
        hidden = _hidden(moment, found, cosine, seen)
    strength = direct * ((cosine > 0) & ~hidden)
    half = 0.5 + 0.5 * dot(found.normal, up)
    result = _column(light.above, half) * half + _column(light.below, half) * (1 - half)
    result = result + _column(light.direct, half) * (strength * cosine)
    shine = torch.zeros_like(half)
    if light.gloss > 0:
        middle = towards - found.ray * torch.rsqrt(dot(found.ray, found.ray))
        middle = middle * torch.rsqrt(dot(middle, middle).clamp_min(1e-9))
        sharp = dot(found.normal, middle).clamp(0, 1) ** _SHARPNESS
        shine = light.gloss * found.face[8] * sharp * strength * max(light.direct)
    return torch.cat([result, shine[None]]), hidden


def _hidden(moment: Moment, found: Hits, cosine: Tensor, seen: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Where something stands between a surface and the light."""
    light = moment.light
    hidden = torch.zeros_like(cosine, dtype=torch.bool)
    faces_light = cosine > 0
    if moment.baked:
        still = torch.from_numpy(moment.table.thing[moment.view.solids] == 0).to(cosine.device)
        faces_light &= still.index_select(0, found.row)
    chosen = faces_light.nonzero()[:, 0]
    x, y, depth = (values.index_select(0, chosen) for values in seen)
    eye = inverse(moment.T_camera_from_world)
    T_light_from_world = light.own_frame(eye[:3, 3])
    m = (T_light_from_world @ eye).tolist()
    a, b, c = ((torch.add(x * line[0], y, alpha=line[1]) + line[2]) * depth + line[3] for line in m[:3])
    parallel = light.parallel
    if not parallel:
        inside = (c > 0.05) & (a.abs() < _WIDEST * c) & (b.abs() < _WIDEST * c)
        kept = inside.nonzero()[:, 0]
        chosen, a, b, c = (values.index_select(0, kept) for values in (chosen, a, b, c))
        a, b = a / c, b / c
    if len(chosen) == 0:
        return hidden
    rays = Rays(a, b)
    view = look(
        moment.table,
        moment.T_world_from_solid,
        T_light_from_world,
        window=rays.window,
        parallel=parallel,
        eye=eye[:3, 3],
        reach=moment.reach,
        skip_things=moment.baked,
    )
    # Deep enough below the surface itself for float32, and for a shadow to begin where things stand.
    limit = c - (0.008 + 2e-4 * depth) if parallel else c * 0.998 - 0.002
    _, row = cast(view, rays, limit=limit)
    hidden[chosen] = row >= 0
    return hidden


def _sky(moment: Moment, x: Tensor, y: Tensor, pixel: tuple[float, float]) -> Tensor:
    """Clouds by direction, from a picture whose top is the zenith."""
    turn = moment.T_camera_from_world[:3, :3].T.tolist()
    a, b, c = (torch.add(x * line[0], y, alpha=line[1]) + line[2] for line in turn)
    across = torch.hypot(a, c)
    height = torch.atan2(-b, across)
    first, side = moment.atlas.place("clouds", 0)
    per_u, per_v = 2 * side / math.tau, side / (math.pi / 2)
    u, v = torch.atan2(a, c) * per_u, (math.pi / 2 - height) * per_v
    longest = torch.rsqrt(x * x + y * y + 1)
    wide = pixel[0] * per_u * longest / torch.cos(height).clamp_min(0.05)
    nothing = torch.zeros_like(wide)
    footprint = torch.stack([wide, nothing, nothing, pixel[1] * per_v * longest])
    firsts = torch.full((len(u),), first, dtype=torch.int32, device=u.device)
    read = read_texels(moment.atlas.texels, firsts, torch.full_like(u, side), (u, v), footprint)
    colour = read * _column(moment.light.sky, read).t()
    if moment.light.fog > 0:
        left = torch.exp(-moment.light.fog * 60 / torch.sin(height.clamp_min(0.03)))[:, None]
        colour = colour * left + (1 - left) * _column(moment.light.fog_colour, colour).t()
    return colour


def _column(colour: tuple[float, float, float], like: Tensor) -> Tensor:
    return torch.tensor(colour, device=like.device)[:, None]
