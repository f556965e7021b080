"""Look at images and flow through affine views: cut, enlarged, stretched, turned or mirrored in one step.

A view is a 2x3 matrix that says which point of the source each pixel of the result shows: source = A (x, y,
1). One resampling does what a chain of crops, resizes and turns would do in several. On the CPU compiled
loops do the work; elsewhere `kinema.ops.warp.sample` does, and both give the same.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops.grid import pixel_grid
from kinema.ops.warp import Interpolation, sample

_WHITE = 255.0
_ALL_KNOWN = 1 - 1e-6  # bilinear weight of known pixels from which on no unknown one takes part


def affine_points(views: Float[Tensor, "b 2 3"], size_hw: tuple[int, int]) -> Float[Tensor, "b 2 h w"]:
    """The source points that the pixels of a view show.

    Args:
        views: (B, 2, 3), float64 for exact whole-pixel shifts.
        size_hw: height and width of the view.

    Returns:
        (B, 2, H, W) in pixels of the source, of the type of ``views``.
    """
    grid = pixel_grid(size_hw, device=views.device, dtype=views.dtype)
    turned = torch.einsum("bij,jhw->bihw", views[..., :2], grid)
    return turned + views[..., 2, None, None]


def in_picture(points_xy: Float[Tensor, "b 2 h w"], size_hw: tuple[int, int]) -> Bool[Tensor, "b 1 h w"]:
    """Which points lie on a picture, the outer halves of its edge pixels included.

    Args:
        points_xy: (B, 2, H, W) in pixels of the picture.
        size_hw: height and width of the picture.

    Returns:
        (B, 1, H, W), True where -0.5 <= x <= w - 0.5, and y alike.
    """
    x, y = points_xy.unbind(1)
    height, width = size_hw
    return ((x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5))[:, None]


def affine_image(
    image: Float[Tensor, "b c h w"] | UInt8[Tensor, "b c h w"],
    views: Float[Tensor, "b 2 3"],
    size_hw: tuple[int, int],
    *,
    mode: Interpolation = "bilinear",
) -> Float[Tensor, "b c h2 w2"]:
    """Look at images through views.

    A scale with half-pixel offset gives what `kinema.ops.resize.resize_image` gives without antialias; a
    shift by whole pixels gives the pixels themselves.

    Args:
        image: (B, C, H, W); uint8 is divided by 255.
        views: (B, 2, 3) float64, from pixels of the result to pixels of ``image``.
        size_hw: height and width of the result.
        mode: ``"bilinear"`` or ``"nearest"`` (halves to the even pixel).

    Returns:
        (B, C, H2, W2) float32; edges are repeated for half a pixel, what lies farther outside is 0.

    Raises:
        UsageError: for another mode.
    """
    if mode not in ("bilinear", "nearest"):
        raise UsageError(f"a view is bilinear or nearest, not {mode!r}")
    if image.device.type == "cpu" and mode == "bilinear" and image.dtype in (torch.uint8, torch.float32):
        from kinema.ops import _affine_cpu

        return _affine_cpu.image(image, views, size_hw)
    return affine_image_reference(image, views, size_hw, mode=mode)


def affine_image_reference(
    image: Float[Tensor, "b c h w"] | UInt8[Tensor, "b c h w"],
    views: Float[Tensor, "b 2 3"],
    size_hw: tuple[int, int],
    *,
    mode: Interpolation = "bilinear",
) -> Float[Tensor, "b c h2 w2"]:
    """`affine_image` by `kinema.ops.warp.sample`, on any device.

    Args:
        image: as there.
        views: as there.
        size_hw: as there.
        mode: as there.

    Returns:
        As there.
    """
    wide = image.to(torch.float32) / _WHITE if image.dtype == torch.uint8 else image.to(torch.float32)
    points = affine_points(views, size_hw)
    shown = in_picture(points, (image.shape[-2], image.shape[-1]))
    return torch.where(shown, sample(wide, points.to(wide.dtype), border="replicate", mode=mode), 0.0)


def affine_flow(
    flow: Float[Tensor, "b 2 h w"],
    valid: Bool[Tensor, "b 1 h w"],
    hidden: Bool[Tensor, "b 1 h w"],
    views1: Float[Tensor, "b 2 3"],
    views2: Float[Tensor, "b 2 3"],
    size_hw: tuple[int, int],
) -> tuple[Float[Tensor, "b 2 h2 w2"], Bool[Tensor, "b 1 h2 w2"], Bool[Tensor, "b 1 h2 w2"]]:
    """The true flow between two views of two frames.

    A pixel x of view 1 shows p = A1 x, which moves to q = p + flow(p), which view 2 shows at A2^-1 q; its
    flow is the difference of the two places.

    Args:
        flow: (B, 2, H, W) from frame 1 to frame 2, finite everywhere.
        valid: (B, 1, H, W), True where it is known.
        hidden: (B, 1, H, W), True where the point cannot be seen in frame 2.
        views1: (B, 2, 3) float64: where the first view looks.
        views2: (B, 2, 3) float64: where the second view looks.
        size_hw: height and width of both views.

    Returns:
        The flow, bilinear, 0 where not valid; valid where every pixel that takes part is; hidden as at the
        nearest pixel, or when the point leaves frame 2 or its view.
    """
    back = inverted(views2)
    if flow.device.type == "cpu" and flow.dtype == torch.float32:
        from kinema.ops import _affine_cpu

        return _affine_cpu.flow(flow, valid, hidden, views1, back, size_hw)
    return affine_flow_reference(flow, valid, hidden, views1, views2, size_hw)


def affine_flow_reference(
    flow: Float[Tensor, "b 2 h w"],
    valid: Bool[Tensor, "b 1 h w"],
    hidden: Bool[Tensor, "b 1 h w"],
    views1: Float[Tensor, "b 2 3"],
    views2: Float[Tensor, "b 2 3"],
    size_hw: tuple[int, int],
) -> tuple[Float[Tensor, "b 2 h2 w2"], Bool[Tensor, "b 1 h2 w2"], Bool[Tensor, "b 1 h2 w2"]]:
    """`affine_flow` by `kinema.ops.warp.sample`, on any device.

    Args:
        flow: as there.
        valid: as there.
        hidden: as there.
        views1: as there.
        views2: as there.
        size_hw: as there.

    Returns:
        As there.
    """
    full_hw = (flow.shape[-2], flow.shape[-1])
    points, back = affine_points(views1, size_hw), inverted(views2)
    near = points.to(flow.dtype)
    known = sample(valid.to(flow.dtype), near, border="replicate") > _ALL_KNOWN
    known &= in_picture(points, full_hw)
    moved = sample(flow, near, border="replicate").double()
    ends = points + moved
    grid = pixel_grid(size_hw, device=flow.device, dtype=points.dtype)
    turned = torch.einsum("bij,bjhw->bihw", back[..., :2], moved)
    still = torch.einsum("bij,bjhw->bihw", back[..., :2], points) + back[..., 2, None, None] - grid
    result = torch.where(known, turned + still, 0.0)
    lost = sample(hidden.to(flow.dtype), near, border="replicate", mode="nearest") > 0.5
    lost |= ~_within(ends, full_hw) | ~_within(grid + result, size_hw)
    return result.to(flow.dtype), known, lost


def inverted(views: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b 2 3"]:
    """The views from the source back: pixels of the source to pixels of the result.

    Args:
        views: (B, 2, 3), invertible.

    Returns:
        (B, 2, 3); exact for shifts and mirrors.
    """
    (a, b, x), (c, d, y) = (row.unbind(-1) for row in views.unbind(-2))
    area = a * d - b * c
    first = torch.stack((d, -b, b * y - d * x), -1)
    return torch.stack((first, torch.stack((-c, a, c * x - a * y), -1)), -2) / area[..., None, None]


def _within(points: Tensor, size_hw: tuple[int, int]) -> Tensor:
    height, width = size_hw
    x, y = points.unbind(1)
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[:, None]
