"""Drawing frames of planned scenes, from the farthest layer to the nearest."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinema.data.procedural.scene_batch import Box, SceneBatch, Times


def draw(scene: SceneBatch, times: Times) -> Float[Tensor, "b 3 h w"]:
    """Draw every scene at its moment.

    Args:
        scene: what is drawn.
        times: (B,), 0 is frame 1 and 1 is frame 2.

    Returns:
        (B, 3, H, W) float32 RGB, not yet limited to [0, 1].
    """
    points, _ = scene.to_frame1(0, times, scene.pixels())
    frame = scene.colour(0, points)
    for slot in range(1, len(scene.slots)):
        _shadow(scene, slot, times, frame)
        box = scene.box(slot, times, margin=3.0)
        if box is not None:
            _paint(scene, slot, times, box, frame)
    return frame


def draw_exposed(scene: SceneBatch, time: float) -> Float[Tensor, "b 3 h w"]:
    """Draw every scene as a camera sees it whose shutter is open for a while around a moment.

    Args:
        scene: what is drawn; its plans say how long the shutter is open.
        time: middle of the exposure; 0 is frame 1, 1 is frame 2.

    Returns:
        (B, 3, H, W) float32 RGB, not yet limited to [0, 1].
    """
    counts = np.array([plan.exposures for plan in scene.plans])
    if counts.max() == 1:
        return draw(scene, np.full(len(scene), time))
    exposure = np.array([plan.effects.exposure for plan in scene.plans])
    total = torch.zeros((len(scene), 3, *scene.size_hw), device=scene.device)
    for number in range(counts.max()):
        # A scene of fewer moments repeats its last one with no weight: what it looks like is its own affair.
        part = (np.minimum(number, counts - 1) + 0.5) / counts - 0.5
        weight = scene.tensor((number < counts) / counts).view(-1, 1, 1, 1)
        total += weight * draw(scene, time + part * exposure)
    return total


def _paint(scene: SceneBatch, slot: int, times: Times, box: Box, frame: Tensor) -> None:
    points, before = scene.to_frame1(slot, times, scene.pixels(box))
    distance = scene.distance(slot, points)
    softness = scene.tensor([layer.softness if layer else 1.0 for layer in scene.slots[slot]]).view(-1, 1, 1)
    cover = (0.5 - distance / softness).clamp(0, 1)
    if before is not None:
        cover = cover * before
    if len(scene) > 1:
        part = _part(frame, box)
        part += cover[:, None] * (scene.colour(slot, points) - part)
        return
    # One scene: only the points that are covered. A batch has no common list of points.
    covered = (cover > 0).view(-1).nonzero()[:, 0]
    if len(covered) == 0:
        return
    top, _, left, right = box
    width, beside = frame.shape[-1], frame.shape[-1] - (right - left)
    places = covered + beside * covered.div(right - left, rounding_mode="floor") + (top * width + left)
    x, y = (values.expand(cover.shape).reshape(-1).index_select(0, covered)[None, None] for values in points)
    flat = frame.view(3, -1)
    share = cover.view(-1).index_select(0, covered)
    mixed = torch.lerp(flat.index_select(1, places), scene.colour(slot, (x, y))[0, :, 0], share)
    flat.index_copy_(1, places, mixed)


def _shadow(scene: SceneBatch, slot: int, times: Times, frame: Tensor) -> None:
    """Darken what lies behind a thing, a little aside of it."""
    shadows = np.array([layer.shadow if layer else (0.0, 0.0, 1.0, 0.0) for layer in scene.slots[slot]])
    if not shadows[:, 3].any():
        return
    box = scene.box(slot, times, margin=float(np.abs(shadows[:, :3]).sum(axis=1).max()))
    if box is None:
        return
    across, down, width, strength = (number[:, None, None] for number in scene.tensor(shadows).unbind(1))
    x, y = scene.pixels(box)
    points, before = scene.to_frame1(slot, times, (x - across, y - down))
    dark = strength * (0.5 - scene.distance(slot, points) / width).clamp(0, 1)
    if before is not None:
        dark = dark * before
    _part(frame, box).mul_(1 - dark[:, None])


def _part(frame: Tensor, box: Box) -> Tensor:
    top, bottom, left, right = box
    return frame[:, :, top:bottom, left:right]


def layer_seen(scene: SceneBatch, times: Times) -> Int[Tensor, "b h w"]:
    """Which layer is seen at every pixel.

    Args:
        scene: what is looked at.
        times: (B,).

    Returns:
        (B, H, W) int64 slots; a layer is seen where its cover is half or more.
    """
    seen = torch.zeros((len(scene), *scene.size_hw), dtype=torch.int64, device=scene.device)
    for slot in range(1, len(scene.slots)):
        box = scene.box(slot, times, margin=3.0)
        if box is None:
            continue
        points, before = scene.to_frame1(slot, times, scene.pixels(box))
        inside = scene.distance(slot, points) <= 0
        if before is not None:
            inside &= before
        top, bottom, left, right = box
        seen[:, top:bottom, left:right].masked_fill_(inside, slot)
    return seen
