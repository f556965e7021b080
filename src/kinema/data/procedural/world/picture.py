"""From a moment to a picture: a ray through every pixel's middle, and more of them where edges are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kinema.data.procedural.world.cast import Rays
from kinema.data.procedural.world.shade import Moment, Seen, see
from kinema.data.procedural.world.view import Array

_SAME = 8 / 255
_THIN = 3.0  # pixels; what is narrower may slip between the middles of pixels


@dataclass(frozen=True, eq=False)
class Sensor:
    """The pixels of a camera.

    Attributes:
        size_hw: height and width.
        K: (3, 3) intrinsics in pixels.
        rays: through the middles of the pixels, row by row.
    """

    size_hw: tuple[int, int]
    K: Array
    rays: Rays

    @property
    def pixel(self) -> tuple[float, float]:
        """Width and height of a pixel at a distance of 1."""
        return 1 / float(self.K[0, 0]), 1 / float(self.K[1, 1])

    @property
    def window(self) -> tuple[float, float, float, float]:
        """Left, right, top, bottom edge of the picture at a distance of 1."""
        height, width = self.size_hw
        (fx, _, cx), (_, fy, cy), _ = self.K.tolist()
        return (-0.5 - cx) / fx, (width - 0.5 - cx) / fx, (-0.5 - cy) / fy, (height - 0.5 - cy) / fy


def sensor_of(size_hw: tuple[int, int], K: Array, device: torch.device) -> Sensor:
    """Prepare the rays of a camera.

    Args:
        size_hw: height and width.
        K: (3, 3) intrinsics in pixels.
        device: of the rays.

    Returns:
        The sensor.
    """
    height, width = size_hw
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float64)
    rays = [(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1]]
    return Sensor(size_hw, K, Rays(*(torch.from_numpy(v.astype(np.float32)).to(device) for v in rays)))


def draw(moment: Moment, sensor: Sensor, *, antialias: int) -> tuple[Tensor, Seen]:
    """Draw a moment.

    Args:
        moment: the world.
        sensor: of the camera.
        antialias: rays through a pixel with an edge in it; 1 leaves edges as they are.

    Returns:
        (3, H, W) float32 linear light, and what the middle of every pixel saw.
    """
    seen = see(moment, sensor.rays, sensor.pixel)
    colour = seen.colour
    if antialias > 1:
        pixels = _edges(moment, seen, sensor).view(-1).nonzero()[:, 0]
        if len(pixels):
            colour = colour.clone()
            colour[pixels] = _refined(moment, sensor, pixels, antialias)
    height, width = sensor.size_hw
    return colour.t().reshape(3, height, width), seen


def _refined(moment: Moment, sensor: Sensor, pixels: Tensor, count: int) -> Tensor:
    """(n, 3): the mean over several rays through each of some pixels."""
    width = sensor.size_hw[1]
    across, down = _pattern(count, pixels.device)
    (fx, _, cx), (_, fy, cy), _ = sensor.K.tolist()
    column, line = (pixels % width).float(), pixels.div(width, rounding_mode="floor").float()
    x = ((column[:, None] + across) - cx) / fx
    y = ((line[:, None] + down) - cy) / fy
    # Every ray stands for a part of the pixel, but for more of it than a disjoint part: less grain.
    share = max(0.5, count**-0.5)
    pixel = (sensor.pixel[0] * share, sensor.pixel[1] * share)
    return see(moment, Rays(x.reshape(-1), y.reshape(-1)), pixel).colour.view(-1, count, 3).mean(1)


def _pattern(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places in a pixel: every row and every column of a fine lattice once (van der Corput)."""
    numbers = torch.arange(count, dtype=torch.float32)
    swapped = torch.zeros(count)
    for bit in range(4):
        swapped += ((numbers.long() >> bit) & 1) * 0.5 ** (bit + 1)
    across, down = (numbers + 0.5) / count - 0.5, swapped - swapped.mean()
    return across.to(device), down.to(device)


def _edges(moment: Moment, seen: Seen, sensor: Sensor) -> Tensor:
    """(H, W) bool: pixels that look unlike a neighbour, or that something thin may cross."""
    kinds = seen.look.view(sensor.size_hw)
    edges = torch.zeros_like(kinds, dtype=torch.bool)
    right, below = kinds[:, 1:] != kinds[:, :-1], kinds[1:] != kinds[:-1]
    # Where both sides of an edge have one colour, one ray is as good as many.
    tone = seen.colour.clamp(0, 1).sqrt().t().reshape(3, *sensor.size_hw)
    right &= ((tone[:, :, 1:] - tone[:, :, :-1]).abs() > _SAME).any(0)
    below &= ((tone[:, 1:] - tone[:, :-1]).abs() > _SAME).any(0)
    edges[:, 1:] |= right
    edges[:, :-1] |= right
    edges[1:] |= below
    edges[:-1] |= below
    depth = seen.depth.view(sensor.size_hw)
    for (left, last, top, bottom), near in _thin_boxes(moment, sensor):
        part = (slice(top, bottom), slice(left, last))
        edges[part] |= depth[part] > near
    return edges


def _thin_boxes(moment: Moment, sensor: Sensor) -> list[tuple[list[int], float]]:
    """Rows and columns of pixels that narrow solids may touch, and how near these are."""
    height, width = sensor.size_hw
    fx, fy, cx, cy = sensor.K[0, 0], sensor.K[1, 1], sensor.K[0, 2], sensor.K[1, 2]
    rects = moment.view.solid_rects * (fx, fx, fy, fy) + (cx, cx, cy, cy)
    thin = np.minimum(rects[:, 1] - rects[:, 0], rects[:, 3] - rects[:, 2]) < _THIN
    low = np.floor(rects[thin][:, [0, 2]] + 0.5).clip(0, (width, height)).astype(int)
    high = (np.ceil(rects[thin][:, [1, 3]] - 0.5) + 1).clip(0, (width, height)).astype(int)
    boxes = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
    near = moment.view.solid_nearest[thin]
    return [(b, n) for b, n in zip(boxes.tolist(), near.tolist(), strict=True) if b[0] < b[1] and b[2] < b[3]]
