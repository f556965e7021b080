"""Labelled pairs on their way to a network: batches of tensors, and what keeps their truth true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import default_collate

from kinema.data.sample import FlowSample
from kinema.errors import UsageError
from kinema.io.images import to_unit_float
from kinema.ops.grid import pixel_grid

Generators = Sequence[np.random.Generator]
"""One generator per sample."""

LARGEST_FLOW = 1000.0
"""What goes farther, in pixels, is left out of FlyingThings3D by every published training."""

_DENSE_FROM = 0.9


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowPairs:
    """A batch of pairs to learn from.

    Attributes:
        image1: (B, 3, H, W) RGB, float32 in [0, 1]; or uint8, as files hold it, until a view or
            `with_float_images` makes float32 of it.
        image2: the next frame, as `image1`.
        flow: (B, 2, H, W) float32, from frame 1 to 2, pixels, x right and y down; finite everywhere.
        valid: (B, 1, H, W) True where the flow is known.
        hidden: (B, 1, H, W) True where the point of frame 1 cannot be seen in frame 2: covered, or outside.
        sparse: whether the truth is known at single pixels only, so that it must not be blended.
    """

    image1: Float[Tensor, "b 3 h w"] | UInt8[Tensor, "b 3 h w"]
    image2: Float[Tensor, "b 3 h w"] | UInt8[Tensor, "b 3 h w"]
    flow: Float[Tensor, "b 2 h w"]
    valid: Bool[Tensor, "b 1 h w"]
    hidden: Bool[Tensor, "b 1 h w"]
    sparse: bool = False

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
        return {name: getattr(self, name) for name in ("image1", "image2", "flow", "valid", "hidden")}


def pairs_of(sample: FlowSample, *, largest: float = LARGEST_FLOW) -> FlowPairs:
    """Take from a labelled pair what training looks at; bytes stay bytes.

    Args:
        sample: of any data set.
        largest: longer flow, in pixels, counts as not known.

    Returns:
        A batch of one. Valid is where a true value exists that the data set does not warn of; hidden is what
        its masks say, and what leaves the frame. The truth is sparse where less than nine tenths of the
        pixels have a value, as with the laser scanner of KITTI.
    """
    valid = sample.valid if sample.flagged is None else sample.valid & ~sample.flagged
    near = np.square(sample.flow[..., 0]) + np.square(sample.flow[..., 1]) <= largest**2  # False for NaN
    valid = valid & near
    flow = torch.from_numpy(sample.flow if valid.all() else np.where(valid[..., None], sample.flow, 0))
    flow = flow.permute(2, 0, 1)[None]
    hidden = leaves_frame(flow)
    for mask in (sample.occluded, None if sample.valid_noc is None else sample.valid & ~sample.valid_noc):
        if mask is not None:
            hidden = hidden | torch.from_numpy(mask)
    return FlowPairs(
        image1=channels_first(sample.image1)[None],
        image2=channels_first(sample.image2)[None],
        flow=flow,
        valid=torch.from_numpy(valid)[None, None],
        hidden=hidden,
        sparse=float(sample.valid.mean()) < _DENSE_FROM,
    )


def unlabelled(image1: np.ndarray, image2: np.ndarray) -> FlowPairs:
    """Make a pair without truth, for what changes frames alone.

    Args:
        image1: (H, W, 3) RGB, uint8 or uint16.
        image2: the next frame, as `image1`.

    Returns:
        A batch of one; its flow is zero and nowhere valid.
    """
    first, second = channels_first(image1)[None], channels_first(image2)[None]
    nothing = torch.zeros(1, 1, *first.shape[-2:], dtype=torch.bool)
    flow = torch.zeros(1, 2, *first.shape[-2:])
    return FlowPairs(image1=first, image2=second, flow=flow, valid=nothing, hidden=nothing)


def channels_first(images: np.ndarray) -> Tensor:
    """Pictures as tensors see them, without a copy of bytes.

    Args:
        images: (..., H, W, 3), uint8, uint16 or float32.

    Returns:
        (..., 3, H, W), uint8 as it is, anything else float32 in [0, 1].
    """
    pixels = images if images.dtype == np.uint8 else to_unit_float(images)
    return torch.from_numpy(pixels).movedim(-1, -3)


def joined(pairs: Sequence[FlowPairs]) -> FlowPairs:
    """Put batches of one size together.

    Args:
        pairs: at least one.

    Returns:
        All their samples, in order; in a worker process in shared memory, so that they are not copied again.
    """
    samples = [
        {name: tensor[row] for name, tensor in one.tensors().items()}
        for one in pairs
        for row in range(len(one))
    ]
    return FlowPairs(**default_collate(samples), sparse=any(one.sparse for one in pairs))


def with_float_images(pairs: FlowPairs) -> FlowPairs:
    """Make float32 in [0, 1] of images of bytes.

    Args:
        pairs: the pairs.

    Returns:
        The same pairs.
    """
    if pairs.image1.dtype != torch.uint8:
        return pairs
    return replace(pairs, image1=pairs.image1.float() / 255, image2=pairs.image2.float() / 255)


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
    window = FlowPairs(**cut, sparse=pairs.sparse)
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
        pairs = FlowPairs(**parts, sparse=pairs.sparse)
    return pairs
