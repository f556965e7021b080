"""Change the size of images, flow, depth and intrinsics.

Pixels are small squares with their centres at whole numbers, so that resizing by s maps x to (x + 0.5) s -
0.5 ("half-pixel"). Other rules that the original systems used are named options. Values of flow change with
its size, and `resize_flow` is the only place where that happens.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, overload

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError

Interpolation = Literal["bilinear", "bicubic", "area", "nearest"]
Sampling = Literal["half_pixel", "corner_aligned", "tf1"]
IntrinsicsConvention = Literal["half_pixel", "plain"]
DepthMode = Literal["nearest", "area", "bilinear"]

_Taps = tuple[Tensor, Tensor]  # (m, k) indices into an axis of n pixels, and their (m, k) weights in float64

_COVERED = 1e-6  # share of valid input below which an output pixel counts as having none


def resize_image(
    image: Float[Tensor, "b c h w"],
    size_hw: tuple[int, int],
    *,
    antialias: bool,
    mode: Interpolation = "bilinear",
    sampling: Sampling = "half_pixel",
) -> Float[Tensor, "b c h2 w2"]:
    """Resize an image or any map whose values do not depend on its size.

    ``sampling`` says where along an axis of n pixels output pixel i of m reads:

    - ``"half_pixel"``: (i + 0.5) n / m - 0.5, edges repeated.
    - ``"corner_aligned"``: i (n - 1) / (m - 1), as TVNet does between its scales; bilinear without antialias
      only.
    - ``"tf1"``: i n / m, edges repeated, as TensorFlow 1 does by default (tfoptflow's output, GeoNet's VGG
      decoder); bilinear without antialias only.

    Args:
        image: (B, C, H, W), any range.
        size_hw: the new height and width.
        antialias: widen bilinear and bicubic kernels when shrinking, so that every input pixel counts.
            ``"area"`` always averages and ``"nearest"`` never does.
        mode: ``"bilinear"``; ``"bicubic"`` (cubic convolution, a = -0.5 with antialias and -0.75 without);
            ``"area"`` (mean over the covered area, exact for any ratio); ``"nearest"`` (the pixel that holds
            the half-pixel position).
        sampling: see above.

    Returns:
        (B, C, H2, W2) in the type of ``image``; the image itself if it already has that size. Differentiable.

    Raises:
        UsageError: for a size below 1x1, or a combination that is not defined.
    """
    _check_size(size_hw)
    if sampling != "half_pixel" and (mode != "bilinear" or antialias):
        raise UsageError(f"sampling={sampling!r} is defined for mode='bilinear' with antialias=False only")
    if mode == "nearest" and antialias:
        raise UsageError("mode='nearest' has no antialias: use antialias=False, or mode='area'")
    if tuple(image.shape[-2:]) == tuple(size_hw):
        return image
    # Half precision is widened: not every kernel takes it, and sums of many weights lose too much in it.
    wide = image.to(torch.promote_types(image.dtype, torch.float32))
    if sampling == "tf1":
        resized = _along_both_axes(wide, size_hw, _tf1_taps)
    elif mode == "area":
        resized = _along_both_axes(wide, size_hw, _area_taps)
    elif mode == "nearest":
        resized = F.interpolate(wide, size_hw, mode="nearest-exact")
    else:
        aligned = sampling == "corner_aligned"
        resized = F.interpolate(wide, size_hw, mode=mode, align_corners=aligned, antialias=antialias)
    return resized.to(image.dtype)


def resize_flow(
    flow: Float[Tensor, "b 2 h w"],
    size_hw: tuple[int, int],
    *,
    antialias: bool = False,
    mode: Interpolation = "bilinear",
    sampling: Sampling = "half_pixel",
    factor: float | None = None,
) -> Float[Tensor, "b 2 h2 w2"]:
    """Resize a flow field and its values, which are pixels of its own grid: u by w2 / w and v by h2 / h.

    Args:
        flow: (B, 2, H, W) in pixels of H x W.
        size_hw: the new height and width.
        antialias: see `resize_image`.
        mode: see `resize_image`.
        sampling: see `resize_image`.
        factor: multiply both components by this number instead of by the true ratios (TVNet's reference
            multiplies by 2 between its scales, whatever their sizes).

    Returns:
        (B, 2, H2, W2) in pixels of H2 x W2; without ``factor``, the flow itself if it already has that size.
        Differentiable.

    Raises:
        UsageError: as `resize_image`.
    """
    resized = resize_image(flow, size_hw, antialias=antialias, mode=mode, sampling=sampling)
    if factor is not None:
        return resized * factor
    return resized if resized is flow else resized * _flow_ratio(flow, size_hw)


def resize_sparse_flow(
    flow: Float[Tensor, "b 2 h w"],
    valid: Float[Tensor, "b 1 h w"],
    size_hw: tuple[int, int],
    *,
    min_valid: float = 0.0,
) -> tuple[Float[Tensor, "b 2 h2 w2"], Float[Tensor, "b 1 h2 w2"]]:
    """Resize flow that is known at some pixels only, such as KITTI's truth: unknown pixels have no weight.

    Flow and validity are resized by the antialiased bilinear kernel, and the first is divided by the second
    (UFlow's masked resizing).

    Args:
        flow: (B, 2, H, W) in pixels of H x W; values at invalid pixels are ignored, NaN included.
        valid: (B, 1, H, W), 1 = known.
        size_hw: the new height and width.
        min_valid: an output pixel is valid where the valid share of its inputs, 0 to 1, is larger than this.

    Returns:
        The flow (B, 2, H2, W2) in pixels of H2 x W2, 0 where invalid, and its validity (B, 1, H2, W2), 0 or
        1.

    Raises:
        UsageError: for a size below 1x1.
    """
    known = torch.where(valid > 0, flow, 0.0)
    total = resize_image(known, size_hw, antialias=True)
    share = resize_image((valid > 0).to(flow.dtype), size_hw, antialias=True)
    usable = share > max(min_valid, _COVERED)
    mean = torch.where(usable, total / torch.where(usable, share, 1.0), 0.0)
    return mean * _flow_ratio(flow, size_hw), usable.to(valid.dtype)


def resize_intrinsics(
    K: Float[Tensor, "b 3 3"],
    from_hw: tuple[int, int],
    to_hw: tuple[int, int],
    *,
    convention: IntrinsicsConvention = "half_pixel",
) -> Float[Tensor, "b 3 3"]:
    """Camera intrinsics of a resized image.

    Args:
        K: (B, 3, 3) in pixels of ``from_hw``; whole numbers are pixel centres.
        from_hw: height and width that ``K`` belongs to.
        to_hw: height and width of the resized image.
        convention: ``"half_pixel"``: the centre becomes (c + 0.5) s - 0.5, which keeps it on the same spot
            of the scene; ``"plain"``: c s (GeoNet, SfMLearner). Focal lengths become f s either way.

    Returns:
        (B, 3, 3) in pixels of ``to_hw``.

    Raises:
        UsageError: for a size below 1x1.
    """
    _check_size(from_hw)
    _check_size(to_hw)
    scale_y, scale_x = to_hw[0] / from_hw[0], to_hw[1] / from_hw[1]
    shift = 0.5 if convention == "half_pixel" else 0.0
    scale = K.new_tensor([[scale_x], [scale_y], [1.0]])
    offset = K.new_tensor([[shift * (scale_x - 1)], [shift * (scale_y - 1)], [0.0]])
    return scale * K + offset * K[:, 2:]  # row by row: a matrix product may run in half precision


def resize_depth(
    depth: Float[Tensor, "b 1 h w"], size_hw: tuple[int, int], *, mode: DepthMode = "nearest"
) -> Float[Tensor, "b 1 h2 w2"]:
    """Resize a depth map whose unknown pixels are 0, negative or not finite.

    Args:
        depth: (B, 1, H, W), z in the camera, positive where known.
        size_hw: the new height and width.
        mode: ``"nearest"`` keeps measured values and never mixes foreground with background; ``"area"`` and
            ``"bilinear"`` average the known pixels among those that they cover.

    Returns:
        (B, 1, H2, W2) in the unit of ``depth``; 0 where nothing is known.

    Raises:
        UsageError: for a size below 1x1.
    """
    valid = (depth > 0) & depth.isfinite()
    known = torch.where(valid, depth, 0.0)
    total = resize_image(known, size_hw, antialias=False, mode=mode)
    if mode == "nearest":
        return total
    share = resize_image(valid.to(depth.dtype), size_hw, antialias=False, mode=mode)
    usable = share > _COVERED
    return torch.where(usable, total / torch.where(usable, share, 1.0), 0.0)


@overload
def matlab_bicubic(
    image: np.ndarray, *, scale: float | None = None, size_hw: tuple[int, int] | None = None
) -> np.ndarray: ...
@overload
def matlab_bicubic(
    image: Tensor, *, scale: float | None = None, size_hw: tuple[int, int] | None = None
) -> Tensor: ...
def matlab_bicubic(
    image: np.ndarray | Tensor, *, scale: float | None = None, size_hw: tuple[int, int] | None = None
) -> np.ndarray | Tensor:
    """Resize as MATLAB's ``imresize`` with its default bicubic kernel does, bit for bit.

    Cubic convolution with a = -0.5 (Keys 1981), widened by 1 / scale when shrinking, symmetric edges,
    computed in float64, the axis with the smaller scale first, rounded once at the end. The low-resolution
    frames of super-resolution benchmarks (BIx4) are made this way.

    Args:
        image: array (H, W) or (H, W, C), or tensor (..., H, W); uint8, uint16 or floating.
        scale: the new size is ceil(scale x size). Give this or ``size_hw``.
        size_hw: the new height and width.

    Returns:
        The same layout and type; integers are rounded half up and clipped to their range. Floating tensors
        are differentiable.

    Raises:
        UsageError: if not exactly one of ``scale`` and ``size_hw`` is given, or one is not positive, or the
            type or layout is not one of the above.
    """
    if isinstance(image, np.ndarray):
        if image.ndim not in (2, 3):
            raise UsageError(f"matlab_bicubic takes arrays (H, W) or (H, W, C), not {image.ndim} dimensions")
        planes = torch.from_numpy(
            np.ascontiguousarray(np.moveaxis(image, 2, 0) if image.ndim == 3 else image)
        )
        resized = matlab_bicubic(planes, scale=scale, size_hw=size_hw).numpy()
        return np.ascontiguousarray(np.moveaxis(resized, 0, 2)) if image.ndim == 3 else resized
    if not (image.is_floating_point() or image.dtype in (torch.uint8, torch.uint16)):
        raise UsageError(f"matlab_bicubic takes uint8, uint16 or floating values, not {image.dtype}")
    scales = _matlab_scales((image.shape[-2], image.shape[-1]), scale, size_hw)
    result = image.to(torch.float64)
    for dim, ratio, count in sorted(scales, key=lambda axis: axis[1]):
        result = _apply_taps(result, dim, _matlab_taps(image.shape[dim], count, ratio))
    if not image.is_floating_point():
        result = (result + 0.5).floor().clamp(0, torch.iinfo(image.dtype).max)
    return result.to(image.dtype)


def _check_size(size_hw: tuple[int, int]) -> None:
    if min(size_hw) < 1:
        raise UsageError(f"a size must be at least 1x1 pixel, not {size_hw[0]}x{size_hw[1]}")


def _flow_ratio(flow: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(2, 1, 1): what the components of a flow are multiplied by when it is resized."""
    height, width = flow.shape[-2:]
    return flow.new_tensor([size_hw[1] / width, size_hw[0] / height]).view(2, 1, 1)


def _along_both_axes(image: Tensor, size_hw: tuple[int, int], taps_of: Callable[[int, int], _Taps]) -> Tensor:
    for dim, count in zip((-2, -1), size_hw, strict=True):
        if image.shape[dim] != count:
            image = _apply_taps(image, dim, taps_of(image.shape[dim], count))
    return image


def _apply_taps(values: Tensor, dim: int, taps: _Taps) -> Tensor:
    """Along one axis, replace pixels by weighted sums of pixels."""
    index, weight = taps[0].to(values.device), taps[1].to(values.device, values.dtype)
    shape = [-1 if axis == dim % values.dim() else 1 for axis in range(values.dim())]
    result = values.index_select(dim, index[:, 0]) * weight[:, 0].view(shape)
    for tap in range(1, index.shape[1]):
        result = result + values.index_select(dim, index[:, tap]) * weight[:, tap].view(shape)
    return result


def _tf1_taps(n: int, m: int) -> _Taps:
    position = torch.arange(m, dtype=torch.float64) * (n / m)
    low = position.floor()
    fraction = position - low
    index = torch.stack((low, low + 1), dim=1).clamp(max=n - 1)
    return index.long(), torch.stack((1 - fraction, fraction), dim=1)


def _area_taps(n: int, m: int) -> _Taps:
    """Output pixel i covers [i n / m, (i + 1) n / m]; input pixels count by their covered part."""
    left = torch.arange(m, dtype=torch.float64)[:, None] * n / m
    right = (torch.arange(m, dtype=torch.float64)[:, None] + 1) * n / m
    index = left.floor() + torch.arange(math.ceil(n / m) + 1)
    overlap = (torch.minimum(index + 1, right) - torch.maximum(index, left)).clamp(min=0)
    return index.clamp(max=n - 1).long(), overlap * m / n


def _matlab_scales(
    from_hw: tuple[int, int], scale: float | None, size_hw: tuple[int, int] | None
) -> list[tuple[int, float, int]]:
    """For the vertical and the horizontal axis: dimension, scale, new size."""
    if (scale is None) == (size_hw is None):
        raise UsageError("matlab_bicubic takes either scale or size_hw")
    if size_hw is not None:
        _check_size(size_hw)
        return [(dim, to / n, to) for dim, n, to in zip((-2, -1), from_hw, size_hw, strict=True)]
    if scale is None or not (math.isfinite(scale) and scale > 0):
        raise UsageError(f"scale must be a positive number, not {scale}")
    return [(dim, scale, math.ceil(scale * n)) for dim, n in zip((-2, -1), from_hw, strict=True)]


def _matlab_taps(n: int, m: int, scale: float) -> _Taps:
    """Taps as ``imresize`` lays them, in 1-based coordinates; edges mirrored, outermost pixel included."""
    shrink = min(scale, 1.0)
    width = 4 / shrink
    centre = torch.arange(1, m + 1, dtype=torch.float64) / scale + 0.5 * (1 - 1 / scale)
    left = (centre - width / 2).floor()
    position = left[:, None] + torch.arange(math.ceil(width) + 2)
    weight = shrink * _cubic(shrink * (centre[:, None] - position))
    weight = weight / weight.sum(dim=1, keepdim=True)
    mirrored = torch.remainder(position.long() - 1, 2 * n)
    return torch.where(mirrored < n, mirrored, 2 * n - 1 - mirrored), weight


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -0.5."""
    near = x.abs()
    inner = 1.5 * near**3 - 2.5 * near**2 + 1
    outer = -0.5 * near**3 + 2.5 * near**2 - 4 * near + 2
    return torch.where(near <= 1, inner, torch.where(near <= 2, outer, 0.0))
