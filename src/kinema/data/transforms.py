"""Augmentation of labelled pairs: crops, flips, colours and erased patches, with the truth kept true.

Everything works on batches of tensors, on any device. What happens to a sample is drawn from that sample's
own generator and from nothing else, so it is a pure function of the generator's seed: neither the other
samples of the batch nor the number of workers change it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops.grid import pixel_grid

Generators = Sequence[np.random.Generator]
"""One generator per sample."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowPairs:
    """A batch of pairs to learn from.

    Attributes:
        image1: (B, 3, H, W) float32 RGB in [0, 1].
        image2: the next frame, as `image1`.
        flow: (B, 2, H, W) float32, from frame 1 to 2, pixels, x right and y down; finite everywhere.
        valid: (B, 1, H, W) True where the flow is known.
        hidden: (B, 1, H, W) True where the point of frame 1 cannot be seen in frame 2: covered, or outside.
    """

    image1: Float[Tensor, "b 3 h w"]
    image2: Float[Tensor, "b 3 h w"]
    flow: Float[Tensor, "b 2 h w"]
    valid: Bool[Tensor, "b 1 h w"]
    hidden: Bool[Tensor, "b 1 h w"]

    def __len__(self) -> int:
        return self.flow.shape[0]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.flow.shape[-2], self.flow.shape[-1]

    def tensors(self) -> dict[str, Tensor]:
        """The parts by name.

        Returns:
            A batch for the training loop.
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}


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
        probability: of one or two patches.
        shortest: side of a patch in pixels.
        longest: side of a patch in pixels, itself excluded.
    """

    probability: float = 0.5
    shortest: int = 50
    longest: int = 100


def crop(pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators) -> FlowPairs:
    """Cut out a window of each pair at a random place; what moves out of it is out of sight from then on.

    Args:
        pairs: at least as large as the window.
        size_hw: of the window.
        rngs: decide the places.

    Returns:
        The windows.

    Raises:
        UsageError: when the window is larger than the frames.
    """
    (height, width), (full_h, full_w) = size_hw, pairs.size_hw
    if height > full_h or width > full_w:
        raise UsageError(f"a crop of {width}x{height} does not fit in frames of {full_w}x{full_h}")
    places = [(int(r.integers(full_h - height + 1)), int(r.integers(full_w - width + 1))) for r in rngs]
    cut = {
        name: torch.stack(
            [one[:, y : y + height, x : x + width] for one, (y, x) in zip(tensor, places, strict=True)]
        )
        for name, tensor in pairs.tensors().items()
    }
    window = FlowPairs(**cut)
    return replace(window, hidden=window.hidden | leaves_frame(window.flow))


def leaves_frame(flow: Float[Tensor, "b 2 h w"]) -> Bool[Tensor, "b 1 h w"]:
    """Find the points whose end lies outside the frame.

    Args:
        flow: (B, 2, H, W) pixels.

    Returns:
        (B, 1, H, W); True outside.
    """
    height, width = flow.shape[-2:]
    x, y = (pixel_grid((height, width), device=flow.device, dtype=flow.dtype) + flow).unbind(1)
    return ~((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[:, None]


def flip(pairs: FlowPairs, rngs: Generators, *, horizontal: float = 0.5, vertical: float = 0.1) -> FlowPairs:
    """Mirror both frames of some pairs, and their flow with them.

    Args:
        pairs: the pairs.
        rngs: decide which.
        horizontal: probability that left and right change places.
        vertical: probability that top and bottom change places.

    Returns:
        Each pair, or its mirror picture.
    """
    drawn = [(r.random() < horizontal, r.random() < vertical) for r in rngs]
    for axis, channel in ((-1, 0), (-2, 1)):
        chosen = torch.tensor([draw[channel] for draw in drawn], device=pairs.flow.device).view(-1, 1, 1, 1)
        if not any(draw[channel] for draw in drawn):
            continue
        sign = torch.ones(2, 1, 1, device=pairs.flow.device)
        sign[channel] = -1
        parts = {
            name: torch.where(
                chosen, tensor.flip(axis) * sign if name == "flow" else tensor.flip(axis), tensor
            )
            for name, tensor in pairs.tensors().items()
        }
        pairs = FlowPairs(**parts)
    return pairs


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
        first.append(_colour_change(jitter, rng))
        other = _colour_change(jitter, rng)  # drawn always: the stream does not depend on the choice
        second.append(other if apart[-1] else first[-1])
    grey1, grey2 = _mean_grey(pairs.image1), _mean_grey(pairs.image2)
    # Alike means the very same change, so contrast turns around the mean of both frames.
    own = torch.tensor(apart, device=grey1.device)
    both = (grey1 + grey2) / 2
    return replace(
        pairs,
        image1=_changed(pairs.image1, first, torch.where(own, grey1, both)),
        image2=_changed(pairs.image2, second, torch.where(own, grey2, both)),
    )


_Change = tuple[NDArray[np.float64], float]
"""A matrix of colours, and the factor of the mean grey that is added."""


def _colour_change(jitter: ColourJitter, rng: np.random.Generator) -> _Change:
    """The four changes in a row, as one affine map."""
    brightness, contrast, saturation = (
        1 + rng.uniform(-s, s) for s in (jitter.brightness, jitter.contrast, jitter.saturation)
    )
    turn = 2 * np.pi * rng.uniform(-jitter.hue, jitter.hue)
    saturate = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)
    matrix = brightness * contrast * (_hue_rotation(turn) @ saturate)
    return matrix, float(brightness * (1 - contrast))


def _changed(images: Tensor, changes: Sequence[_Change], grey: Tensor) -> Tensor:
    matrices = torch.from_numpy(np.stack([matrix for matrix, _ in changes]).astype(np.float32))
    offsets = torch.tensor([offset for _, offset in changes]).to(grey) * grey
    flat = torch.baddbmm(offsets.view(-1, 1, 1), matrices.to(images.device), images.flatten(2))
    return flat.clamp_(0, 1).view_as(images)


def _hue_rotation(angle: float) -> NDArray[np.float64]:
    """A turn of RGB around the grey axis (Rodrigues' formula): greys stay as they are."""
    axis = np.full(3, 1 / np.sqrt(3))
    cross = np.cross(np.eye(3), axis)
    rotation: NDArray[np.float64] = (
        np.cos(angle) * np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * np.outer(axis, axis)
    )
    return rotation


def _mean_grey(images: Tensor) -> Tensor:
    return (images.mean((2, 3)) * images.new_tensor(_LUMA)).sum(1)


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
        for _ in range(int(rng.integers(1, 3))):
            tall, wide = (int(side) for side in rng.integers(eraser.shortest, eraser.longest, 2))
            top, left = int(rng.integers(height)), int(rng.integers(width))
            mask[:, top : top + tall, left : left + wide] = True
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
