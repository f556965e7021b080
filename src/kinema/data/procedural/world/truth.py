"""The true motion between two moments of a world: from depth and rigid motions, with no estimate involved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinema.data.procedural.world.cast import Rays, cast
from kinema.data.procedural.world.picture import Sensor
from kinema.data.procedural.world.shade import Moment, Seen
from kinema.data.procedural.world.solids import inverse
from kinema.data.procedural.world.view import NEAR, Array

_SLACK = 3e-4  # relative difference of depth that is still the same surface


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about the way from one moment to another.

    Attributes:
        flow: (2, H, W) float32 pixels; 0 where not valid.
        rigid: (2, H, W) float32 pixels, if things stood still; 0 where not `rigid_valid`.
        valid: (1, H, W) bool.
        rigid_valid: (1, H, W) bool.
        occluded: (1, H, W) bool.
        in_frame: (1, H, W) bool.
    """

    flow: Float[Tensor, "2 h w"]
    rigid: Float[Tensor, "2 h w"]
    valid: Bool[Tensor, "1 h w"]
    rigid_valid: Bool[Tensor, "1 h w"]
    occluded: Bool[Tensor, "1 h w"]
    in_frame: Bool[Tensor, "1 h w"]


def truth_between(
    first: tuple[Moment, Seen, Array],
    second: tuple[Moment, Array],
    sensor: Sensor,
    *,
    farthest: float,
) -> Truth:
    """Measure the motion of every pixel.

    Args:
        first: the moment whose pixels are measured, what they saw, and the places of its things (N, 4, 4),
            world from thing.
        second: the moment that they are looked for at, and its things' places.
        sensor: of the camera, in both.
        farthest: longest valid flow in pixels.

    Returns:
        The truth.
    """
    (start, seen, places), (end, later) = first, second
    camera = end.T_camera_from_world @ inverse(start.T_camera_from_world)
    rigid_ends = _moved(sensor, seen, camera)
    ends = [values.clone() for values in rigid_ends]
    thing = things_seen(start, seen)
    for number in torch.unique(thing).tolist():
        if number > 0:
            own = later[number] @ inverse(places[number])
            motion = end.T_camera_from_world @ own @ inverse(start.T_camera_from_world)
            here = (thing == number).nonzero()[:, 0]
            for values, new in zip(ends, _moved(sensor, seen, motion, here), strict=True):
                values[here] = new
    flow, valid, in_frame = _flow(sensor, ends, farthest)
    rigid, rigid_valid, _ = _flow(sensor, rigid_ends, farthest)
    occluded = _hidden(end, ends, in_frame)
    shape = (-1, *sensor.size_hw)
    return Truth(
        flow=flow.view(shape),
        rigid=rigid.view(shape),
        valid=valid.view(shape),
        rigid_valid=rigid_valid.view(shape),
        occluded=occluded.view(shape),
        in_frame=in_frame.view(shape),
    )


def things_seen(moment: Moment, seen: Seen) -> Tensor:
    """Which moving thing is seen.

    Args:
        moment: the world.
        seen: what rays saw.

    Returns:
        (N,) int64, 0 for the standing world and the sky.
    """
    if len(moment.view.solids) == 0:
        return torch.zeros_like(seen.row)
    numbers = torch.from_numpy(moment.table.thing[moment.view.solids]).to(seen.row.device)
    return torch.where(seen.row >= 0, numbers[seen.row.clamp_min(0)], 0)


def _moved(sensor: Sensor, seen: Seen, motion: Array, rows: Tensor | None = None) -> list[Tensor]:
    """Where pixels' points are after a motion: x / z, y / z, z, float64; sky only turns: z is infinite."""
    x, y, _ = _pixel_rays(sensor, seen.depth.device)
    depth = seen.depth.double()
    if rows is not None:
        x, y, depth = (values.index_select(0, rows) for values in (x, y, depth))
    sky = torch.isinf(depth)
    z = torch.where(sky, 1.0, depth)
    m = motion.tolist()
    a, b, c = ((x * line[0] + y * line[1] + line[2]) * z + torch.where(sky, 0.0, line[3]) for line in m[:3])
    before = c > NEAR
    safe = torch.where(before, c, 1.0)
    c = torch.where(sky & before, torch.inf, c)
    return [a / safe, b / safe, c]


def _pixel_rays(sensor: Sensor, device: torch.device) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    height, width = sensor.size_hw
    (fx, _, cx), (_, fy, cy), _ = sensor.K.tolist()
    columns = torch.arange(width, dtype=torch.float64, device=device).repeat(height)
    lines = torch.arange(height, dtype=torch.float64, device=device).repeat_interleave(width)
    return (columns - cx) / fx, (lines - cy) / fy, (columns, lines)


def _flow(sensor: Sensor, ends: list[Tensor], farthest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Flow (2, N), where it is valid, and where it ends inside the frame."""
    height, width = sensor.size_hw
    (fx, _, cx), (_, fy, cy), _ = sensor.K.tolist()
    _, _, (columns, lines) = _pixel_rays(sensor, ends[0].device)
    u, v = ends[0] * fx + cx, ends[1] * fy + cy
    flow = torch.stack([u - columns, v - lines])
    valid = (ends[2] > NEAR) & (torch.hypot(flow[0], flow[1]) <= farthest)
    in_frame = valid & (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    return (flow * valid).float(), valid, in_frame


def _hidden(end: Moment, ends: list[Tensor], in_frame: Tensor) -> Tensor:
    """Whether something stands before the end points: a ray is cast to each of them."""
    hidden = torch.zeros_like(in_frame)
    chosen = in_frame.nonzero()[:, 0]
    if len(chosen) == 0:
        return hidden
    x, y, z = (values.index_select(0, chosen) for values in ends)
    limit = (z * (1 - _SLACK)).float()
    _, row = cast(end.view, Rays(x.float(), y.float()), limit=limit)
    hidden[chosen] = row >= 0
    return hidden
