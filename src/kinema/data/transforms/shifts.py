"""Pairs to begin with: frame 2 is another window of frame 1, so that nothing but the place differs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kinema.data.transforms.pairs import FlowPairs, Generators, leaves_frame, with_float_images
from kinema.errors import UsageError

LARGEST_SHIFT = 48
"""In pixels on each axis: six cells of level 3, fewer than one of level 6."""


def shift_windows(
    pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators, *, largest: int = LARGEST_SHIFT
) -> FlowPairs:
    """Cut two windows out of frame 1 of each pair; frame 2 of the pairs is not looked at.

    What both windows show is equal to the last bit, and the flow is one whole number of pixels on each axis.
    A window of frame 2 that does not fit in the frame sees its mirror image beyond the edge: only new
    things, which nothing in frame 1 moves to, are ever seen there.

    Args:
        pairs: at least as large as the windows; flow and masks are not looked at.
        size_hw: of the windows.
        rngs: decide the places and the shifts.
        largest: shifts are whole numbers of pixels from minus this to this on each axis, equally likely; less
            than the sides of the frames.

    Returns:
        The windows, float32; the flow is known everywhere, and hidden is what leaves the frame.

    Raises:
        UsageError: when the windows are larger than the frames, or the shifts as long as the frames.
    """
    (height, width), (full_h, full_w) = size_hw, pairs.size_hw
    if height > full_h or width > full_w:
        raise UsageError(f"a window of {width}x{height} does not fit in frames of {full_w}x{full_h}")
    if not 0 <= largest < min(full_h, full_w):
        raise UsageError(f"shifts of up to {largest} px are too long for frames of {full_w}x{full_h}")
    frames = with_float_images(pairs).image1
    drawn = [(_place(full_h - height, largest, r), _place(full_w - width, largest, r)) for r in rngs]
    first, second, flows = [], [], []
    for frame, ((top, down), (left, right)) in zip(frames, drawn, strict=True):
        first.append(_window(frame, top, left, size_hw))
        second.append(_window(frame, top - down, left - right, size_hw))
        flows.append(torch.tensor([right, down], dtype=torch.float32, device=frames.device))
    flow = torch.stack(flows)[..., None, None].expand(-1, -1, height, width).contiguous()
    return FlowPairs(
        image1=torch.stack(first),
        image2=torch.stack(second),
        flow=flow,
        valid=torch.ones_like(flow[:, :1], dtype=torch.bool),
        hidden=leaves_frame(flow),
    )


def _place(room: int, largest: int, rng: np.random.Generator) -> tuple[int, int]:
    """Where window 1 begins on an axis, and the shift; both windows fit where there is room for them."""
    shift = int(rng.integers(-largest, largest + 1))
    low, high = max(0, shift), min(room, room + shift)
    return (int(rng.integers(low, high + 1)) if low <= high else int(rng.integers(room + 1))), shift


def _window(frame: Tensor, top: int, left: int, size_hw: tuple[int, int]) -> Tensor:
    rows, columns = (
        _mirrored(torch.arange(begin, begin + length, device=frame.device), full)
        for begin, length, full in zip((top, left), size_hw, frame.shape[-2:], strict=True)
    )
    return frame[:, rows][:, :, columns]


def _mirrored(places: Tensor, full: int) -> Tensor:
    """Pixels beyond an edge become those as far before it; the edge itself is not doubled."""
    period = max(2 * (full - 1), 1)
    folded = places.remainder(period)
    return torch.minimum(folded, period - folded) if full > 1 else torch.zeros_like(places)
