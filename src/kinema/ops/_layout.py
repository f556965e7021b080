"""Memory layouts of maps."""

from __future__ import annotations

import torch
from torch import Tensor


def empty_map(like: Tensor, channels: int | torch.SymInt) -> Tensor:
    """A new map with the size, type, device and memory layout of another.

    Args:
        like: (B, C, H, W); channels-last or anything else, which counts as contiguous.
        channels: of the new map.

    Returns:
        (B, channels, H, W), not initialised.
    """
    b, _, h, w = like.shape
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    return torch.empty((b, channels, h, w), dtype=like.dtype, device=like.device, memory_format=layout)
