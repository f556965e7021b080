"""Fetch an image along a flow (backward warp) and push values along a flow (forward splat).

A flow field (B, 2, H, W) holds, in pixels of its own grid, where the content of every pixel of frame 1 is
found in frame 2: channel 0 to the right, channel 1 down.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops.grid import ALIGN_CORNERS, exact_canvas_hw, pixel_grid, to_sampling_grid

Border = Literal["zeros", "replicate", "reflect", "pwcnet", "geonet", "tvnet"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]
SplatMode = Literal["sum", "average"]

_COVERED = 1e-6  # bilinear weight below which a pixel counts as not reached by any splat


def backward_warp(
    image: Float[Tensor, "b c h w"],
    flow: Float[Tensor, "b 2 h w"],
    *,
    border: Border = "zeros",
    mode: Interpolation = "bilinear",
) -> Float[Tensor, "b c h w"]:
    """Fetch ``image`` at x + flow(x): frame 2 warped by the flow from frame 1 to frame 2 looks like frame 1.

    Zero flow returns the image bit for bit, and whole-pixel flow shifts it bit for bit, in float32 and
    float64. All arithmetic is at least float32, whatever the type of the image. With the position x, y =
    pixel + flow, the rules are:

    - ``"zeros"``: every interpolation tap outside the image counts as 0 (UFlow's resampler).
    - ``"replicate"``: x clamped to [0, w - 1], y to [0, h - 1] (TensorFlow's dense_image_warp; tfoptflow
      uses it with ``-flow.flip(1)``, that is with opposite sign and channel order).
    - ``"reflect"``: x and y folded back at the centres of the outermost pixels, so that -1 reads 1; the
      outer taps of bicubic repeat the outermost pixel.
    - ``"pwcnet"``: as ``"zeros"`` where 0 <= x <= w - 1 and 0 <= y <= h - 1, else 0 (PWC-Net).
    - ``"geonet"``: as ``"replicate"`` where 0 <= x < w - 1 and 0 <= y < h - 1, else 0: the last column and
      row count as outside (GeoNet).
    - ``"tvnet"``: displacement shrunk to u (w - 1) / w and v (h - 1) / h; corners x0 = clamp(floor x, 0, w -
      2) and x1 = clamp(floor x + 1, 0, w - 1) with weights x1 - x and x - x0, hence exactly 0 left of and
      above the image and unbounded linear extrapolation right of and below it (TVNet's spatial transformer;
      bilinear only).

    Args:
        image: (B, C, H, W), any range.
        flow: (B, 2, H, W) in pixels; where it is not finite the result is 0.
        border: what lies outside the image, see above.
        mode: ``"bilinear"``, ``"bicubic"`` (cubic convolution with a = -0.75) or ``"nearest"`` (halves to
            the even pixel).

    Returns:
        (B, C, H, W) in the type of ``image``; differentiable in image and flow.

    Raises:
        UsageError: for an unknown rule or mode, or ``border="tvnet"`` with another mode than bilinear.
    """
    displacement = flow.to(_working_dtype(image, flow))
    height, width = image.shape[-2:]
    if border == "tvnet":
        shrink = displacement.new_tensor([(width - 1) / width, (height - 1) / height])
        displacement = displacement * shrink.view(2, 1, 1)
    grid = pixel_grid((height, width), device=flow.device, dtype=displacement.dtype)
    return sample(image, grid + displacement, border=border, mode=mode)


def sample(
    image: Float[Tensor, "b c h w"],
    points_xy: Float[Tensor, "b 2 m n"],
    *,
    border: Border = "zeros",
    mode: Interpolation = "bilinear",
) -> Float[Tensor, "b c m n"]:
    """Read an image at given positions: `backward_warp` without the pixel grid, for any number of points.

    Args:
        image: (B, C, H, W), any range.
        points_xy: (B, 2, M, N) in pixels of the image; where they are not finite the result is 0.
        border: see `backward_warp`; ``"tvnet"`` means its corner rule, without the shrinking.
        mode: see `backward_warp`.

    Returns:
        (B, C, M, N) in the type of ``image``; differentiable in image and positions.

    Raises:
        UsageError: for an unknown rule or mode, or ``border="tvnet"`` with another mode than bilinear.
    """
    if border not in get_args(Border) or mode not in get_args(Interpolation):
        raise UsageError(f"unknown border rule {border!r} or interpolation mode {mode!r}")
    if border == "tvnet" and mode != "bilinear":
        raise UsageError(f"border='tvnet' is defined for mode='bilinear' only, not for {mode!r}")
    dtype = _working_dtype(image, points_xy)
    height, width = image.shape[-2:]
    wide, points = image.to(dtype), points_xy.to(dtype)
    finite = points.isfinite().all(dim=1, keepdim=True)
    points = torch.where(finite, points, -2.0)
    if border == "tvnet":
        values = _sample_tvnet(wide, points)
    else:
        values = _sample_on_canvas(wide, _bounded(points, (height, width), border=border), border, mode)
    usable = finite
    if border == "pwcnet":
        usable = finite & _inside(points, width - 1, height - 1)
    elif border == "geonet":
        usable = finite & _inside(points, width - 1, height - 1, closed=False)
    return torch.where(usable, values, 0.0).to(image.dtype)


def in_frame(flow: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Where a flow stays inside the image: 1 where 0 <= x + u <= w - 1 and 0 <= y + v <= h - 1, else 0.

    Args:
        flow: (B, 2, H, W) in pixels; pixels where it is not finite are outside.

    Returns:
        (B, 1, H, W), 1 = valid, in the type of ``flow``. No gradient.
    """
    height, width = size_hw = (flow.shape[-2], flow.shape[-1])
    points = flow.detach().to(_working_dtype(flow, flow))
    grid = pixel_grid((height, width), device=flow.device, dtype=points.dtype)
    return points_in_frame(grid + points, size_hw).to(flow.dtype)


def points_in_frame(
    points_xy: Float[Tensor, "b 2 m n"], size_hw: tuple[int, int]
) -> Float[Tensor, "b 1 m n"]:
    """Where points lie inside an image: 1 where 0 <= x <= w - 1 and 0 <= y <= h - 1, else 0.

    Args:
        points_xy: (B, 2, M, N) in pixels of the image, as `sample` takes them.
        size_hw: height and width of the image.

    Returns:
        (B, 1, M, N), 1 = inside, in the type of ``points_xy``; 0 where they are not finite. No gradient.
    """
    return _inside(points_xy.detach(), size_hw[1] - 1, size_hw[0] - 1).to(points_xy.dtype)


def forward_splat(
    values: Float[Tensor, "b c h w"], flow: Float[Tensor, "b 2 h w"], *, mode: SplatMode = "sum"
) -> Float[Tensor, "b c h w"]:
    """Push every value along its flow and share it among the four pixels around its target, bilinearly.

    Args:
        values: (B, C, H, W), any range.
        flow: (B, 2, H, W) in pixels; what leaves the image, or has no finite flow, is dropped.
        mode: ``"sum"`` adds what arrives; ``"average"`` divides by the weights that arrived, and is 0 where
            none did.

    Returns:
        (B, C, H, W) in the type of ``values``; differentiable in both; repeatable to the bit on CPU.
    """
    height, width = size_hw = (flow.shape[-2], flow.shape[-1])
    dtype = _working_dtype(values, flow)
    grid = pixel_grid(size_hw, device=flow.device, dtype=dtype)
    points = (grid + flow.to(dtype)).flatten(2)
    wide = values.to(dtype)
    if mode == "average":
        wide = torch.cat((wide, torch.ones_like(wide[:, :1])), dim=1)
    total = _splat(wide.flatten(2), points, size_hw).view(values.shape[0], -1, height, width)
    if mode == "average":
        weight = total[:, -1:]
        covered = weight > _COVERED
        total = torch.where(covered, total[:, :-1] / torch.where(covered, weight, 1.0), 0.0)
    return total.to(values.dtype)


def range_map(flow: Float[Tensor, "b 2 h w"], *, factor: int = 1) -> Float[Tensor, "b 1 h w"]:
    """How much of the other frame lands on each pixel: a weight of 1 per pixel, pushed along the flow.

    Pixels of frame 1 that no backward flow reaches are occluded in frame 2 (Wang et al. 2018, section 3.2;
    UFlow).

    Args:
        flow: (B, 2, H, W) in pixels. Zero flow gives 1 everywhere.
        factor: 1 accumulates on the pixels themselves. A larger whole number accumulates on a grid coarser
            by that factor, from a flow whose edge is repeated by factor // 2 pixels, and enlarges the result
            bilinearly: smoother, with fewer accidental holes.

    Returns:
        (B, 1, H, W), 0 and above, in the type of ``flow``; differentiable.

    Raises:
        UsageError: if ``factor`` is below 1 or larger than the image.
    """
    height, width = flow.shape[-2:]
    if factor < 1 or factor > min(height, width):
        raise UsageError(f"factor must be between 1 and {min(height, width)}, the shorter side, not {factor}")
    margin = factor // 2
    wide = F.pad(flow.to(_working_dtype(flow, flow)), (margin, margin, margin, margin), mode="replicate")
    grid = pixel_grid((height + 2 * margin, width + 2 * margin), device=flow.device, dtype=wide.dtype)
    points = (grid - margin + wide + (1 - factor) / 2) / factor
    coarse_hw = (height // factor, width // factor)
    total = _arrivals(points.flatten(2), coarse_hw).view(-1, 1, *coarse_hw) / factor**2
    if factor > 1:
        total = F.interpolate(total, (height, width), mode="bilinear", align_corners=False)
    return total.to(flow.dtype)


def _working_dtype(first: Tensor, second: Tensor) -> torch.dtype:
    """The common type of two tensors, float32 at least: half precision cannot hold pixel coordinates."""
    return torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)


def _inside(points: Tensor, last_x: int, last_y: int, *, closed: bool = True) -> Tensor:
    """(B, 1, ...) bool: 0 <= x <= last_x and 0 <= y <= last_y, or short of the last where not ``closed``."""
    last = torch.tensor([last_x, last_y], device=points.device, dtype=points.dtype)
    last = last.view(2, *[1] * (points.dim() - 2))
    below = points <= last if closed else points < last
    return ((points >= 0) & below).all(dim=1, keepdim=True)


def _bounded(points: Tensor, size_hw: tuple[int, int], *, border: Border) -> Tensor:
    """Bring points, by the border rule, to where ``grid_sample`` on the canvas has a defined answer."""
    height, width = size_hw
    x, y = points.unbind(1)
    if border in ("zeros", "pwcnet"):
        # Two pixels outside even the widest kernel reads only zeros; further out would overflow integers.
        return torch.stack((x.clamp(-2, width + 1), y.clamp(-2, height + 1)), dim=1)
    if border == "reflect":
        x, y = _folded(x, width - 1), _folded(y, height - 1)
    return torch.stack((x.clamp(0, width - 1), y.clamp(0, height - 1)), dim=1)


def _folded(coordinate: Tensor, last: int) -> Tensor:
    """Reflect coordinates at 0 and ``last`` as often as needed."""
    if last == 0:
        return coordinate * 0
    return last - (torch.remainder(coordinate, 2 * last) - last).abs()


def _sample_on_canvas(image: Tensor, points: Tensor, border: Border, mode: Interpolation) -> Tensor:
    """``grid_sample`` on a canvas of powers of two, where its arithmetic is exact for whole pixels."""
    height, width = image.shape[-2:]
    canvas_height, canvas_width = exact_canvas_hw((height, width))
    margins = (0, canvas_width - width, 0, canvas_height - height)
    outside_is_zero = border in ("zeros", "pwcnet")
    if any(margins):
        image = F.pad(image, margins, mode="constant" if outside_is_zero else "replicate")
    return F.grid_sample(
        image,
        to_sampling_grid(points, (canvas_height, canvas_width)),
        mode=mode,
        padding_mode="zeros" if outside_is_zero else "border",
        align_corners=ALIGN_CORNERS,
    )


def _sample_tvnet(image: Tensor, points: Tensor) -> Tensor:
    """Bilinear sampling with TVNet's corners: clipped, but weighted by the position that was not clipped."""
    height, width = image.shape[-2:]
    x, y = points.flatten(2).unbind(1)
    columns, rows = _clipped_corners(x, width), _clipped_corners(y, height)
    flat = image.flatten(2)
    result = torch.zeros_like(flat[..., :1])
    for row, row_weight in rows:
        for column, column_weight in columns:
            index = (row * width + column)[:, None].expand(-1, flat.shape[1], -1)
            result = result + flat.gather(2, index) * (row_weight * column_weight)[:, None]
    return result.view(*image.shape[:2], *points.shape[-2:])


def _clipped_corners(coordinate: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    """The two neighbours of a coordinate along one axis as (index, weight), by TVNet's rule."""
    low = coordinate.detach().floor().clamp(0, max(size - 2, 0))
    high = (coordinate.detach().floor() + 1).clamp(0, size - 1)
    return [(low.long(), high - coordinate), (high.long(), coordinate - low)]


def _arrivals(points: Float[Tensor, "b 2 n"], size_hw: tuple[int, int]) -> Tensor:
    """(B, 1, h w) or (B, 1, h, w): the sum of bilinear weights of all points at each pixel."""
    if _counts_fast(points):
        from kinema.ops import _splat_cpu

        return _splat_cpu.counts(points, size_hw)
    return _splat(torch.ones_like(points[:, :1]), points, size_hw)


def _counts_fast(points: Tensor) -> bool:
    """Masks mostly have no gradient: then a compiled loop can do it, where nothing is traced."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False
    if points.requires_grad and torch.is_grad_enabled():
        return False
    return points.device.type == "cpu" and points.dtype == torch.float32


def _splat(
    values: Float[Tensor, "b c n"], points: Float[Tensor, "b 2 n"], size_hw: tuple[int, int]
) -> Float[Tensor, "b c m"]:
    """Add values to the four pixels around their target points; m = h w."""
    height, width = size_hw
    total = values.new_zeros(values.shape[0], values.shape[1], height * width)
    for index, weight in _splat_corners(points, size_hw):
        share = values * weight[:, None]
        total = total.scatter_add(2, index[:, None].expand_as(share), share)
    return total


def _splat_corners(
    points: Float[Tensor, "b 2 n"], size_hw: tuple[int, int]
) -> Iterator[tuple[Int[Tensor, "b n"], Float[Tensor, "b n"]]]:
    """The four pixels around each point as (flat index, bilinear weight); outside pixels have weight 0."""
    height, width = size_hw
    finite = points.isfinite().all(dim=1, keepdim=True)
    x, y = _bounded(torch.where(finite, points, -2.0), size_hw, border="zeros").unbind(1)
    x0, y0 = x.detach().floor(), y.detach().floor()
    for row, row_weight in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
        for column, column_weight in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            yield index, torch.where(inside, row_weight * column_weight, 0.0)
