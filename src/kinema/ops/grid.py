"""Pixel coordinates, and the only conversion in the package from pixels to ``grid_sample`` coordinates.

Integer coordinates are pixel centres: (0, 0) is the centre of the top-left pixel, (w - 1, h - 1) that of the
bottom-right one. Points are (x, y): x to the right, y down.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

ALIGN_CORNERS = False
"""What to hand to ``grid_sample`` together with `to_sampling_grid`."""


def pixel_grid(
    size_hw: tuple[int, int], *, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "2 h w"]:
    """The coordinates of every pixel centre.

    Args:
        size_hw: height and width in pixels.
        device: where to put the result.
        dtype: a floating type; whole numbers are exact in float32 up to 2^24.

    Returns:
        (2, H, W); channel 0 = x (0 .. w - 1), channel 1 = y (0 .. h - 1).
    """
    height, width = size_hw
    ys = torch.arange(height, device=device, dtype=dtype)
    xs = torch.arange(width, device=device, dtype=dtype)
    return torch.stack((xs.expand(height, width), ys[:, None].expand(height, width)))


def to_sampling_grid(
    points_xy: Float[Tensor, "b 2 h w"], size_hw: tuple[int, int]
) -> Float[Tensor, "b h w 2"]:
    """Convert pixels to the coordinates that ``grid_sample`` takes with ``align_corners=ALIGN_CORNERS``.

    The formula is (2 x + 1) / w - 1. ``grid_sample`` turns it back into pixels; the round trip is free of
    rounding for whole numbers only where w and h are powers of two, see `exact_canvas_hw`.

    Args:
        points_xy: (B, 2, H, W) in pixels of the image that is sampled; channel 0 = x, 1 = y.
        size_hw: height and width of the image that is sampled.

    Returns:
        (B, H, W, 2), where -1 and 1 are the outer edges of the first and last pixel.
    """
    height, width = size_hw
    x, y = points_xy.unbind(1)
    return torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), dim=-1)


def exact_canvas_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """The smallest powers of two that hold an image: on that canvas sampling at whole pixels is exact.

    Division and multiplication by a power of two do not round, so a whole-numbered coordinate survives the
    way into ``grid_sample`` and back. On other sizes about a third of all pixels come back off by up to 1e-4
    pixels.

    Args:
        size_hw: height and width of the image, in pixels.

    Returns:
        Height and width of the canvas, each at least as large as the image.
    """
    height, width = size_hw
    if any(isinstance(length, torch.SymInt) for length in size_hw):
        return size_hw  # a program exported for any size has no bit length to ask for: there, accept rounding
    return 1 << (height - 1).bit_length(), 1 << (width - 1).bit_length()
