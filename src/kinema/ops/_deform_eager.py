"""Modulated deformable convolution in plain tensor operations: the definition, its gradients, and for export.

Taps are handled one after the other, which is easy to read and keeps one ninth of the columns of a 3x3 kernel
in memory. The map gets a border of zeros, so that every corner of a sample exists and what lies outside
counts as 0.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.ops.grid import ALIGN_CORNERS, to_sampling_grid


class Geometry(NamedTuple):
    """Where taps lie and how channels are shared out; pairs are (vertical, horizontal)."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    deformable_groups: int

    def output_hw(self, size_hw: tuple[int, int], kernel_hw: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the result, for a map and a kernel of given sizes."""
        high, wide = (
            (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, pad, dilation in zip(
                size_hw, kernel_hw, self.stride, self.padding, self.dilation, strict=True
            )
        )
        return high, wide


class _Tap(NamedTuple):
    """What one tap reads at P places in each of the B maps times G deformable groups."""

    corners: list[Tensor]  # (B G, P, C / G) each: above left, above right, below left, below right
    places: list[Tensor]  # (B G, P) each: where they lie in the bordered map
    down: Tensor  # (B G, P), 0 <= down < 1, from the upper corners
    right: Tensor  # (B G, P), from the left corners
    inside: Tensor  # (B G, P): what lies farther out than one pixel reads nothing, whatever the map holds


def empty_result(x: Tensor, channels: int, size_hw: tuple[int, int]) -> Tensor:
    """A new map (B, channels, H, W) of the type, device and memory layout of ``x``, not initialised."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    shape = (x.shape[0], channels, *size_hw)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


def forward(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    modulation: Tensor | None,
    geometry: Geometry,
) -> Tensor:
    """The definition of `kinema.ops.deform.deform_conv2d`, differentiable by autograd."""
    dtype, (height, width) = torch.promote_types(x.dtype, torch.float32), offset.shape[-2:]
    kernels, maps = _kernels(weight.to(dtype), geometry), _bordered(x.to(dtype), geometry)
    total = x.new_zeros((x.shape[0], *kernels.shape[1:3], height * width), dtype=dtype)
    for k in range(len(kernels)):
        value = _value(_tap(maps, offset.to(dtype), k, x, weight, geometry))
        if modulation is not None:
            value = value * _of_tap(modulation.to(dtype), k, geometry)[..., None]
        total = total + kernels[k] @ _by_group(value, x, geometry)
    result = total.reshape(x.shape[0], weight.shape[0], height, width)
    if bias is not None:
        result = result + bias.to(dtype)[:, None, None]
    return empty_result(x, weight.shape[0], (height, width)).copy_(result)


def backward(
    grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor, modulation: Tensor | None, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `forward` in map, offset, weight and modulation (empty without one), by their formulas."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    kernels, maps = _kernels(weight.to(dtype), geometry), _bordered(x.to(dtype), geometry)
    slopes = torch.unflatten(grad.to(dtype).flatten(2), 1, kernels.shape[1:3])
    of_maps, of_kernels = torch.zeros_like(maps), torch.empty_like(kernels)
    of_offset = offset.new_empty(_split(offset, 2, geometry).shape, dtype=dtype)
    of_modulation = offset.new_empty(of_offset[:, :, :, 0].shape, dtype=dtype)
    for k in range(len(kernels)):
        tap = _tap(maps, offset.to(dtype), k, x, weight, geometry)
        strength = tap.inside.to(dtype)
        if modulation is not None:
            strength = strength * _of_tap(modulation.to(dtype), k, geometry)
        value = _value(tap)
        read = _by_group(value * strength[..., None], x, geometry)
        of_kernels[k] = (slopes @ read.transpose(-1, -2)).sum(0)
        slope = kernels[k].transpose(-1, -2) @ slopes
        slope = slope.reshape(*maps.shape[::2], slopes.shape[-1]).transpose(1, 2)  # (B G, P, C / G)
        of_modulation[:, :, k] = (slope * value).sum(-1).reshape(of_modulation[:, :, k].shape)
        slope = slope * strength[..., None]
        for axis, change in enumerate(_changes(tap)):
            of_offset[:, :, k, axis] = (slope * change).sum(-1).reshape(of_offset[:, :, k, axis].shape)
        for place, share in zip(tap.places, _shares(tap), strict=True):
            index = place[..., None].expand_as(slope)
            of_maps.scatter_add_(1, index, share[..., None] * slope)
    results = (
        (x, _without_border(of_maps, x)),
        (offset, of_offset.reshape(offset.shape)),
        (modulation, of_modulation.flatten(1, 2)),
    )
    of_x, of_offset, last = (
        offset.new_empty(0)
        if like is None
        else empty_result(like, like.shape[1], (like.shape[2], like.shape[3])).copy_(result)
        for like, result in results
    )
    return of_x, of_offset, of_kernels.permute(1, 2, 3, 0).reshape(weight.shape).to(weight.dtype), last


def by_grid_sample(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    modulation: Tensor | None,
    geometry: Geometry,
) -> Tensor:
    """The same by one ``grid_sample`` over all taps and one product: see `deform_conv_gridsample`."""
    batch, channels, height, width = x.shape
    taps, (out_h, out_w) = weight.shape[2] * weight.shape[3], offset.shape[-2:]
    count, dtype = geometry.deformable_groups, torch.promote_types(x.dtype, torch.float32)
    positions = [_position(offset.to(dtype), k, x, weight, geometry) for k in range(taps)]
    y, x_ = (torch.cat(axis, 2) for axis in zip(*positions, strict=True))
    points = torch.stack((x_, y), 2).flatten(0, 1)  # (B G, 2, K H2, W2)
    maps = x.to(dtype).reshape(batch * count, channels // count, height, width)
    grid = to_sampling_grid(points, (height, width))
    samples = F.grid_sample(maps, grid, padding_mode="zeros", align_corners=ALIGN_CORNERS)
    columns = samples.reshape(batch, count, channels // count, taps, out_h * out_w)
    if modulation is not None:
        columns = columns * modulation.to(dtype).reshape(batch, count, 1, taps, out_h * out_w)
    flat = weight.reshape(geometry.groups, weight.shape[0] // geometry.groups, -1)
    result = flat @ columns.to(x.dtype).reshape(batch, geometry.groups, flat.shape[-1], out_h * out_w)
    result = result.reshape(batch, weight.shape[0], out_h, out_w)
    return result if bias is None else result + bias[:, None, None]


def _split(parts: Tensor, each: int, geometry: Geometry) -> Tensor:
    """(B, G, K, each, H, W): channels by deformable group, then tap, then coordinate."""
    return torch.unflatten(parts, 1, (geometry.deformable_groups, -1, each))


def _of_tap(modulation: Tensor, k: int, geometry: Geometry) -> Tensor:
    return _split(modulation, 1, geometry)[:, :, k, 0].flatten(0, 1).flatten(1)


def _position(offset: Tensor, k: int, x: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Row and column, (B, G, H, W) each, where tap ``k`` reads, in pixels of ``x``."""
    tap_yx, pair = divmod(k, weight.shape[-1]), _split(offset, 2, geometry)[:, :, k]
    axes = []
    for axis in range(2):
        out = torch.arange(offset.shape[2 + axis], device=x.device, dtype=offset.dtype)
        first = tap_yx[axis] * geometry.dilation[axis] - geometry.padding[axis]
        axes.append(geometry.stride[axis] * out + first)
    return axes[0][:, None] + pair[:, :, 0], axes[1] + pair[:, :, 1]


def _tap(maps: Tensor, offset: Tensor, k: int, x: Tensor, weight: Tensor, geometry: Geometry) -> _Tap:
    height, width = x.shape[-2:]
    y, x_ = (axis.flatten(0, 1).flatten(1) for axis in _position(offset, k, x, weight, geometry))
    inside = (y >= -1) & (y < height) & (x_ >= -1) & (x_ < width)  # False where not a number
    y, x_ = torch.where(inside, y, -1.0), torch.where(inside, x_, -1.0)
    top, left = y.detach().floor(), x_.detach().floor()
    place = ((top + 1) * (width + 2) + left + 1).long()
    places = [place, place + 1, place + width + 2, place + width + 3]
    corners = [maps.gather(1, p[..., None].expand(*p.shape, maps.shape[-1])) for p in places]
    return _Tap(corners, places, y - top, x_ - left, inside)


def _shares(tap: _Tap) -> tuple[Tensor, ...]:
    """How much of each corner a sample takes."""
    up, left = 1 - tap.down, 1 - tap.right
    return up * left, up * tap.right, tap.down * left, tap.down * tap.right


def _value(tap: _Tap) -> Tensor:
    """The samples, (B G, P, C / G)."""
    pairs = zip(_shares(tap), tap.corners, strict=True)
    blend = sum((share[..., None] * corner for share, corner in pairs), torch.zeros_like(tap.corners[0]))
    return torch.where(tap.inside[..., None], blend, 0.0)


def _changes(tap: _Tap) -> tuple[Tensor, Tensor]:
    """Derivative of the samples, one pixel down and one pixel to the right; on a whole pixel, beyond it."""
    above_left, above_right, below_left, below_right = tap.corners
    down, right = tap.down[..., None], tap.right[..., None]
    downward = (1 - right) * (below_left - above_left) + right * (below_right - above_right)
    rightward = (1 - down) * (above_right - above_left) + down * (below_right - below_left)
    inside = tap.inside[..., None]
    return torch.where(inside, downward, 0.0), torch.where(inside, rightward, 0.0)


def _bordered(x: Tensor, geometry: Geometry) -> Tensor:
    """(B G, (H + 2) (W + 2), C / G): maps of the deformable groups with a border of one zero."""
    batch, channels, height, width = x.shape
    count, area = geometry.deformable_groups, (height + 2) * (width + 2)
    maps = F.pad(x, (1, 1, 1, 1)).reshape(batch * count, channels // count, area)
    return maps.transpose(1, 2).contiguous()


def _without_border(maps: Tensor, x: Tensor) -> Tensor:
    batch, channels, height, width = x.shape
    return maps.transpose(1, 2).reshape(batch, channels, height + 2, width + 2)[..., 1:-1, 1:-1]


def _kernels(weight: Tensor, geometry: Geometry) -> Tensor:
    """(K, groups, O / groups, C / groups): one matrix per tap and group of channels."""
    taps = weight.flatten(2).permute(2, 0, 1)
    return torch.unflatten(taps, 1, (geometry.groups, -1)).contiguous()


def _by_group(value: Tensor, x: Tensor, geometry: Geometry) -> Tensor:
    """(B G, P, C / G) as (B, groups, C / groups, P): channels as the convolution shares them out."""
    each = x.shape[1] // geometry.groups
    return value.transpose(1, 2).reshape(x.shape[0], geometry.groups, each, value.shape[1])
