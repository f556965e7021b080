"""Colours that change, as affine maps of RGB and as turns of hue; covered patches of frame 2; noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.transforms.pairs import FlowPairs, Generators
from kinema.ops.grid import pixel_grid


@dataclass(frozen=True, kw_only=True)
class ColourJitter:
    """How strongly colours change (Teed and Deng 2020, RAFT, section 4 and its training code).

    Attributes:
        brightness: factor of the colours, 1 ± this.
        contrast: factor of the distance to the mean grey, 1 ± this.
        saturation: factor of the distance to grey, 1 ± this.
        hue: turn of the colours around grey, ± this part of a full turn.
        asymmetric: probability that the two frames change differently.
    """

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.16
    asymmetric: float = 0.2


@dataclass(frozen=True, kw_only=True)
class Eraser:
    """Patches of frame 2 that are covered by its mean colour: motion that must be guessed from around it.

    Attributes:
        probability: of any patch.
        shortest: side of a patch in pixels.
        longest: side of a patch in pixels, itself excluded.
        most: patches of a pair.
    """

    probability: float = 0.5
    shortest: int = 50
    longest: int = 100
    most: int = 2


ColourMap = tuple[NDArray[np.float64], float]
"""A matrix of colours, and the factor of the mean grey that is added."""

_LUMA = np.array([0.299, 0.587, 0.114])


def jitter_colours(pairs: FlowPairs, rngs: Generators, *, jitter: ColourJitter | None = None) -> FlowPairs:
    """Change brightness, contrast, saturation and hue, mostly of both frames alike.

    Args:
        pairs: the pairs.
        rngs: decide how.
        jitter: how strongly.

    Returns:
        The pairs in other colours, in [0, 1].
    """
    jitter = jitter or ColourJitter()
    first, second, apart = [], [], []
    for rng in rngs:
        apart.append(rng.random() < jitter.asymmetric)
        first.append(drawn_colours(jitter, rng))
        other = drawn_colours(jitter, rng)  # drawn always: the stream does not depend on the choice
        second.append(other if apart[-1] else first[-1])
    grey1, grey2 = mean_grey(pairs.image1), mean_grey(pairs.image2)
    # Alike means the very same change, so contrast turns around the mean of both frames.
    own = torch.tensor(apart, device=grey1.device)
    both = (grey1 + grey2) / 2
    return replace(
        pairs,
        image1=recoloured(pairs.image1, first, torch.where(own, grey1, both)),
        image2=recoloured(pairs.image2, second, torch.where(own, grey2, both)),
    )


def drawn_colours(jitter: ColourJitter, rng: np.random.Generator) -> ColourMap:
    """Draw the four changes in a row, as one affine map.

    Args:
        jitter: how strongly.
        rng: decides.

    Returns:
        The map.
    """
    brightness, contrast, saturation = (
        1 + rng.uniform(-s, s) for s in (jitter.brightness, jitter.contrast, jitter.saturation)
    )
    turn = 2 * np.pi * rng.uniform(-jitter.hue, jitter.hue)
    saturate = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)
    matrix = brightness * contrast * (_hue_rotation(turn) @ saturate)
    return matrix, float(brightness * (1 - contrast))


def recoloured(
    images: Float[Tensor, "b 3 h w"], maps: Sequence[ColourMap], grey: Float[Tensor, "b"]
) -> Float[Tensor, "b 3 h w"]:
    """Apply affine maps of colours.

    Args:
        images: (B, 3, H, W) RGB.
        maps: one per image.
        grey: (B,) what contrast turns around.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    matrices = torch.from_numpy(np.stack([matrix for matrix, _ in maps]).astype(np.float32))
    offsets = torch.tensor([offset for _, offset in maps]).to(grey) * grey
    flat = torch.baddbmm(offsets.view(-1, 1, 1), matrices.to(images.device), images.flatten(2))
    return flat.clamp_(0, 1).view_as(images)


def mean_grey(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b"]:
    """Mean luma.

    Args:
        images: (B, 3, H, W) RGB.

    Returns:
        (B,).
    """
    return (images.mean((2, 3)) * images.new_tensor(_LUMA)).sum(1)


def _hue_rotation(angle: float) -> NDArray[np.float64]:
    """A turn of RGB around the grey axis (Rodrigues' formula): greys stay as they are."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.cross(np.eye(3), axis)
    turned: NDArray[np.float64] = (
        np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    )
    return turned


def turned_hue(
    images: Float[Tensor, "b 3 h w"], turns: Float[Tensor, "b"], saturations: Float[Tensor, "b"]
) -> Float[Tensor, "b 3 h w"]:
    """Turn the hue and multiply the saturation of HSV; the value, the largest of the three, stays.

    Args:
        images: (B, 3, H, W) RGB in [0, 1].
        turns: (B,) parts of a full turn; a third makes green of red.
        saturations: (B,) factors; the saturation stays at most 1.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    value, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    spread = value - low
    scale = torch.where(spread > 0, 1 / spread.clamp_min(1e-12), 0)
    red, green, blue = images.chunk(3, 1)
    hue = torch.where(value == red, (green - blue) * scale, 0)
    hue = torch.where((value == green) & (value != red), 2 + (blue - red) * scale, hue)
    hue = torch.where((value == blue) & (value != red) & (value != green), 4 + (red - green) * scale, hue)
    spread = torch.minimum(spread * saturations.view(-1, 1, 1, 1), value)
    # Channel n falls from the value by the spread where k is far from 0, 1 and 2 (and the same shifted by 6).
    k = torch.remainder(hue + 6 * turns.view(-1, 1, 1, 1) + images.new_tensor([5, 3, 1]).view(1, 3, 1, 1), 6)
    return value - spread * torch.minimum(k, 4 - k).clamp_(0, 1)


def add_noise(pairs: FlowPairs, sigmas: Sequence[float], rngs: Generators) -> FlowPairs:
    """Add white noise, other noise in each frame.

    Args:
        pairs: the pairs.
        sigmas: standard deviation for each pair; white is 1.
        rngs: draw the noise; nothing is drawn where sigma is 0.

    Returns:
        The noisy pairs, in [0, 1].
    """
    if not any(sigmas):
        return pairs
    shape = (2, *pairs.image1.shape[1:])
    noise = np.stack(
        [
            np.float32(sigma) * rng.standard_normal(shape, np.float32)
            if sigma
            else np.zeros(shape, np.float32)
            for sigma, rng in zip(sigmas, rngs, strict=True)
        ]
    )
    first, second = torch.from_numpy(noise).to(pairs.image1.device).unbind(1)
    return replace(
        pairs, image1=(pairs.image1 + first).clamp_(0, 1), image2=(pairs.image2 + second).clamp_(0, 1)
    )


def erase(pairs: FlowPairs, rngs: Generators, *, eraser: Eraser | None = None) -> FlowPairs:
    """Cover patches of frame 2 of some pairs; points that end in one are out of sight.

    Args:
        pairs: the pairs.
        rngs: decide where and how large.
        eraser: how often, and which sizes.

    Returns:
        The pairs; their flow is as before.
    """
    eraser = eraser or Eraser()
    height, width = pairs.size_hw
    covered = np.zeros((len(pairs), 1, height, width), np.bool_)
    for mask, rng in zip(covered, rngs, strict=True):
        if rng.random() >= eraser.probability:
            continue
        for _ in range(int(rng.integers(1, eraser.most + 1))):
            tall, wide = (int(side) for side in rng.integers(eraser.shortest, eraser.longest, 2))
            top, left = int(rng.integers(height)), int(rng.integers(width))
            mask[:, top : top + tall, left : left + wide] = True
    if not covered.any():
        return pairs
    patches = torch.from_numpy(covered).to(pairs.flow.device)
    mean = pairs.image2.mean((2, 3), keepdim=True)
    return replace(
        pairs,
        image2=torch.where(patches, mean, pairs.image2),
        hidden=pairs.hidden | _ends_in(patches, pairs.flow),
    )


def _ends_in(patches: Tensor, flow: Tensor) -> Tensor:
    height, width = flow.shape[-2:]
    grid = pixel_grid((height, width), device=flow.device, dtype=flow.dtype)
    x, y = (grid + flow).round().long().unbind(1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    places = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return (inside & patches.flatten(1).gather(1, places.flatten(1)).view_as(inside))[:, None]
