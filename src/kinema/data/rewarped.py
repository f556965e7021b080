"""Pairs with exact flow from pictures of one's own: cut-outs laid over each other, and moved by known flows.

The two frames of a pair are the same pictures, fetched at two places, so that the flow between them is known
at every pixel without any label. What a camera and a codec did to the pictures is in the pairs too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.data.procedural.outlines import REACH, TILE, draw_outline
from kinema.data.transforms.pairs import FlowPairs, leaves_frame
from kinema.ops.grid import pixel_grid
from kinema.ops.warp import sample

_WAVES = 4  # points along the shorter side of a smooth field


@dataclass(frozen=True, kw_only=True)
class Rewarp:
    """How pictures are moved.

    Attributes:
        size_hw: of the frames that are made.
        motions: typical displacements in pixels, such as those of the footage; one is drawn for each layer.
        noise: standard deviation of white noise that is added to each frame by itself; white is 1.
        things: fewest and most cut-outs before the ground.
        still_share: of the layers: without any motion.
    """

    size_hw: tuple[int, int]
    motions: tuple[float, ...] = (2.0, 5.0, 10.0)
    noise: float = 0.0
    things: tuple[int, int] = (1, 4)
    still_share: float = 0.1

    def pair(self, pictures: Sequence[Float[Tensor, "3 _ _"]], rng: np.random.Generator) -> FlowPairs:
        """Make a pair.

        Args:
            pictures: RGB in [0, 1], of any sizes; each layer shows one of them.
            rng: decides everything.

        Returns:
            A batch of one; its flow is valid everywhere.
        """
        size_hw = self.size_hw
        ground = _Layer(None, self._motion(rng, None), _placed(pictures, size_hw, rng))
        layers = [ground]
        for _ in range(int(rng.integers(self.things[0], self.things[1] + 1))):
            motion = self._motion(rng, ground.motion)
            layers.append(_Layer(_outline(size_hw, rng), motion, _placed(pictures, size_hw, rng)))
        first, flow, owner = _composed(layers, size_hw, moved=True)
        second, _, seen = _composed(layers, size_hw, moved=False)
        hidden = sample(seen, pixel_grid(size_hw) + flow, mode="nearest") != owner
        if self.noise:
            frames = np.stack([rng.normal(0, self.noise, first.shape) for _ in range(2)]).astype(np.float32)
            first, second = first + torch.from_numpy(frames[0]), second + torch.from_numpy(frames[1])
        return FlowPairs(
            image1=first.clamp(0, 1),
            image2=second.clamp(0, 1),
            flow=flow,
            valid=torch.ones_like(hidden),
            hidden=hidden | leaves_frame(flow),
        )

    def _motion(self, rng: np.random.Generator, ground: Tensor | None) -> Tensor:
        """(1, 2, H, W) from frame 1 to frame 2: shift, turn, zoom, bend; things may follow the ground."""
        height, width = self.size_hw
        length = float(rng.choice(self.motions)) * math.exp(rng.normal(0, 0.5))
        length = min(length, 0.25 * width)
        still, angle = rng.random() < self.still_share, rng.uniform(0, math.tau)
        shift = length * np.array([math.cos(angle), math.sin(angle)])
        reach = length / max(height, width)  # a turn or zoom moves the border about half as far as the shift
        turn, zoom = rng.normal(0, 0.5 * reach, 2)
        bend = rng.normal(0, 0.15 * length, (1, 2, _WAVES, math.ceil(_WAVES * width / height)))
        follows = rng.random() < 0.5
        if still:
            return torch.zeros(1, 2, height, width) if ground is None else ground
        middle = torch.tensor([(width - 1) / 2, (height - 1) / 2]).view(1, 2, 1, 1)
        x, y = (pixel_grid(self.size_hw) - middle).unbind(1)
        flow = torch.stack((zoom * x - turn * y + shift[0], turn * x + zoom * y + shift[1]), 1)
        field = torch.from_numpy(bend.astype(np.float32))
        flow = flow + F.interpolate(field, self.size_hw, mode="bicubic", align_corners=True)
        return flow.float() + ground if ground is not None and follows else flow.float()


@dataclass(frozen=True)
class _Layer:
    """A picture laid into frame 2, and where it came from in frame 1.

    Attributes:
        outline: what it covers of frame 2; None for everything.
        motion: (1, 2, H, W) from frame 1 to frame 2.
        picture: what it shows.
    """

    outline: _Outline | None
    motion: Tensor
    picture: _Picture


@dataclass(frozen=True)
class _Outline:
    """A shape somewhere in frame 2.

    Attributes:
        distances: (1, 1, TILE, TILE), negative inside.
        centre: (1, 2, 1, 1) pixels.
        scale: points of the tile per pixel.
        angle: by which it is turned.
        softness: width of its edge, pixels.
    """

    distances: Tensor
    centre: Tensor
    scale: float
    angle: float
    softness: float

    def cover(self, points: Tensor) -> Tensor:
        """(1, 1, H, W), 0 outside to 1 inside."""
        x, y = (points - self.centre).unbind(1)
        cosine, sine = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        there = torch.stack((cosine * x - sine * y, sine * x + cosine * y), 1) + (TILE - 1) / 2
        far = sample(self.distances, there, border="replicate") / self.scale
        return torch.sigmoid(-4 * far / self.softness)


@dataclass(frozen=True)
class _Picture:
    """Where a layer's colours are fetched.

    Attributes:
        pixels: (1, 3, H2, W2).
        offset: (1, 2, 1, 1) of the frame's first pixel in them; not whole, so that both frames are fetched.
    """

    pixels: Tensor
    offset: Tensor

    def at(self, points: Tensor) -> Tensor:
        """Colours; past its border the picture goes on as in a mirror."""
        height, width = self.pixels.shape[-2:]
        x, y = (points + self.offset).unbind(1)
        return sample(self.pixels, torch.stack((_reflected(x, width - 1), _reflected(y, height - 1)), 1))


def _reflected(places: Tensor, last: int) -> Tensor:
    if last == 0:
        return torch.zeros_like(places)
    folded = places.remainder(2 * last)
    return torch.where(folded > last, 2 * last - folded, folded)


def _placed(pictures: Sequence[Tensor], size_hw: tuple[int, int], rng: np.random.Generator) -> _Picture:
    """One of the pictures, at a random place, sometimes mirrored."""
    pixels = pictures[int(rng.integers(len(pictures)))]
    pixels = pixels.flip(-1) if rng.random() < 0.5 else pixels
    spare = [max(0, large - small) for large, small in zip(pixels.shape[-2:], size_hw, strict=True)]
    y, x = (rng.uniform(0, extent) if extent else 0.5 for extent in spare)
    return _Picture(pixels[None], torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1))


def _outline(size_hw: tuple[int, int], rng: np.random.Generator) -> _Outline:
    """An outline at a random place."""
    height, width = size_hw
    thin, holes = rng.random(2) < 0.2
    distances = torch.from_numpy(draw_outline(rng, thin=bool(thin), holes=bool(holes)))
    centre = torch.tensor([rng.uniform(0, width - 1), rng.uniform(0, height - 1)], dtype=torch.float32)
    return _Outline(
        distances=distances[None, None],
        centre=centre.view(1, 2, 1, 1),
        scale=REACH / (min(size_hw) * rng.uniform(0.08, 0.4)),
        angle=rng.uniform(0, math.tau),
        softness=rng.uniform(0.7, 2.0),
    )


def _composed(
    layers: Sequence[_Layer], size_hw: tuple[int, int], *, moved: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """A frame (1 if moved, else 2), the flow of what is seen there, and the number of the layer."""
    grid = pixel_grid(size_hw)[None]
    flow, owner = torch.zeros(1, 2, *size_hw), torch.zeros(1, 1, *size_hw)
    frame = torch.zeros(1, 3, *size_hw)
    for number, layer in enumerate(layers):
        points = grid + layer.motion if moved else grid
        colours = layer.picture.at(points)
        if layer.outline is None:
            frame, flow = colours, layer.motion
            continue
        cover = layer.outline.cover(points)
        frame = cover * colours + (1 - cover) * frame
        flow = torch.where(cover > 0.5, layer.motion, flow)
        owner = torch.where(cover > 0.5, float(number), owner)
    return frame, flow, owner


def noise_level(picture: Float[Tensor, "3 h w"]) -> float:
    """Estimate white noise from the finest diagonal details (Donoho and Johnstone 1994).

    Args:
        picture: RGB in [0, 1].

    Returns:
        Standard deviation; white is 1.
    """
    grey = picture.mean(0)
    height, width = (side // 2 * 2 for side in grey.shape)
    a, b = grey[0:height:2, 0:width:2], grey[0:height:2, 1:width:2]
    c, d = grey[1:height:2, 0:width:2], grey[1:height:2, 1:width:2]
    details = (a - b - c + d) / 2
    return float(details.abs().median() / 0.6745) if details.numel() else 0.0
