"""The true motion of planned scenes: from the layers' own maps, with no estimate involved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kinema.data.procedural.raster import layer_seen
from kinema.data.procedural.scene_batch import Points, SceneBatch, Times


@dataclass(frozen=True, eq=False)
class SceneTruth:
    """What is known about the way from one moment to another.

    Attributes:
        flow: (B, 2, H, W) float32 pixels, x right and y down; also of what gets hidden or leaves the frame; 0
            where not valid.
        valid: (B, 1, H, W) bool, False where the point ends behind the camera or beyond what a lens shows.
        occluded: (B, 1, H, W) bool, True where a nearer layer covers the end point at the second moment.
        in_frame: (B, 1, H, W) bool, True where the end point lies inside the frame.
        seen: (B, 1, H, W) int64, slot of the layer that is seen at the first moment.
    """

    flow: Float[Tensor, "b 2 h w"]
    valid: Bool[Tensor, "b 1 h w"]
    occluded: Bool[Tensor, "b 1 h w"]
    in_frame: Bool[Tensor, "b 1 h w"]
    seen: Int[Tensor, "b 1 h w"]


def scene_truth(scene: SceneBatch, first: float = 0.0, second: float = 1.0) -> SceneTruth:
    """Measure the motion of every pixel.

    Args:
        scene: what moves.
        first: the moment whose pixels are measured; 0 is frame 1, 1 is frame 2.
        second: the moment they are looked for at.

    Returns:
        The truth; what leaves the frame is not counted as occluded there.
    """
    start, end = np.full(len(scene), first), np.full(len(scene), second)
    seen = layer_seen(scene, start)
    (x, y), valid = _ends(scene, start, end, seen)
    occluded = _hidden(scene, end, seen, (x, y))
    (x, y), ok = scene.onto_lens((x, y))
    if ok is not None:
        valid = valid & ok
    height, width = scene.size_hw
    in_frame = (x.abs() <= (width - 1) / 2) & (y.abs() <= (height - 1) / 2) & valid
    columns = torch.arange(width, device=scene.device, dtype=torch.float32) - (width - 1) / 2
    rows = torch.arange(height, device=scene.device, dtype=torch.float32)[:, None] - (height - 1) / 2
    flow = torch.stack((x - columns, y - rows), dim=1) * valid[:, None]
    return SceneTruth(flow, valid[:, None], (occluded & in_frame)[:, None], in_frame[:, None], seen[:, None])


def _ends(scene: SceneBatch, start: Times, end: Times, seen: Tensor) -> tuple[Points, Tensor]:
    """Where every pixel goes with the layer that is seen there, without lens; where that is defined."""
    (x, y), before = _moved(scene, 0, start, end, scene.pixels())
    ends_x, ends_y = (part.expand(seen.shape).clone() for part in (x, y))
    valid = torch.ones_like(seen, dtype=torch.bool) if before is None else before.expand(seen.shape).clone()
    for slot in range(1, len(scene.slots)):
        box = scene.box(slot, start, margin=3.0)
        if box is None:
            continue
        top, bottom, left, right = box
        part = (slice(None), slice(top, bottom), slice(left, right))
        here, points = seen[part] == slot, scene.pixels(box)
        if len(scene) > 1:
            (x, y), before = _moved(scene, slot, start, end, points)
            ends_x[part], ends_y[part] = (
                torch.where(here, x, ends_x[part]),
                torch.where(here, y, ends_y[part]),
            )
            valid[part] = torch.where(here, True if before is None else before, valid[part])
            continue
        # One scene: only the points in question. A batch has no common list of points.
        chosen = here.nonzero(as_tuple=True)
        few = (
            points[0].expand(here.shape)[chosen][None, None],
            points[1].expand(here.shape)[chosen][None, None],
        )
        if few[0].numel() > 0:
            (x, y), before = _moved(scene, slot, start, end, few)
            ends_x[part][chosen], ends_y[part][chosen] = x[0, 0], y[0, 0]
            valid[part][chosen] = True if before is None else before[0, 0]
    return (ends_x, ends_y), valid


def _moved(
    scene: SceneBatch, slot: int, start: Times, end: Times, points: Points
) -> tuple[Points, Tensor | None]:
    origin, _ = scene.to_frame1(slot, start, points)
    return scene.from_frame1(slot, end, origin)


def _hidden(scene: SceneBatch, end: Times, seen: Tensor, ends: Points) -> Tensor:
    """Whether a layer nearer than the one seen covers the end point."""
    hidden = torch.zeros_like(seen, dtype=torch.bool)
    height, width = scene.size_hw
    x, y = ends
    for slot in range(1, len(scene.slots)):
        box = scene.box(slot, end, margin=3.0)
        if box is None:
            continue
        top, bottom, left, right = box
        near = (seen < slot) & (x >= left - (width + 1) / 2) & (x <= right - (width - 1) / 2)
        near &= (y >= top - (height + 1) / 2) & (y <= bottom - (height - 1) / 2)
        if len(scene) > 1:
            hidden |= near & _covers(scene, slot, end, ends)
            continue
        # One scene: only the points in question. A batch has no common list of points.
        chosen = near.nonzero(as_tuple=True)
        few = (x[chosen][None, None], y[chosen][None, None])
        if few[0].numel() > 0:
            hidden[chosen] |= _covers(scene, slot, end, few)[0, 0]
    return hidden


def _covers(scene: SceneBatch, slot: int, end: Times, points: Points) -> Tensor:
    origin, before = scene.to_frame1(slot, end, points)
    inside = scene.distance(slot, origin) <= 0
    return inside if before is None else inside & before
