"""Local cost volume: how well each pixel of frame 1 matches the pixels of frame 2 around its position.

PWC-Net (Sun et al., CVPR 2018, section 3, "cost volume layer"). `correlation_reference` is the readable,
differentiable definition. The operator ``kinema::correlation`` and its gradient
``kinema::correlation_backward`` dispatch to register-blocked loops on the CPU
(`kinema.ops._correlation_cpu`, float32 and bfloat16) and to Triton kernels on a GPU
(`kinema.ops._correlation_triton`), with the reference as fallback.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops._layout import empty_map
from kinema.ops._triton import has_triton

_CPU_TYPES = (torch.float32, torch.bfloat16)
_CUDA_TYPES = (torch.float32, torch.bfloat16, torch.float16)


_COSINE_RANGE = (
    3.0  # of the products of unit features: costs of this size weigh as much as what is beside them
)
_LEAST_CONTRAST = 0.02  # of the mean square of all features: what is weaker is not raised to full length


def unit_features(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Features of equal length at each place, so that their cost volume is a scaled cosine similarity.

    The mean over the frame is taken from each channel first. Products of raw features differ by orders of
    magnitude between frames, and most of them is what all places have in common; Jonschkowski et al. 2020
    (What matters in unsupervised optical flow, section 3.2) normalise for the same reason, over the whole
    frame at once.

    Args:
        features: (B, C, H, W) of any floating type.

    Returns:
        The same shape and type; mean square over channels is 3, less where there is hardly any contrast.
    """
    if features.dtype == torch.float16:  # squares of small features, and what undoes them, are beyond it
        return unit_features(features.float()).to(features.dtype)
    wide = torch.promote_types(features.dtype, torch.float32)
    centred = features - features.mean((2, 3), keepdim=True, dtype=wide).to(features.dtype)
    power = centred.square().mean(1, keepdim=True, dtype=wide)
    floor = _LEAST_CONTRAST * power.mean((2, 3), keepdim=True) + 1e-12
    return centred * (_COSINE_RANGE / (power + floor)).sqrt().to(features.dtype)


def joint_normalization(
    first: Float[Tensor, "b c h w"], second: Float[Tensor, "b c h w"], *, parts: int
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """Features of mean 0 and variance 1, by the same two numbers for both maps.

    Jonschkowski et al. 2020 (What matters in unsupervised optical flow, "cost volume normalization"). The
    numbers are the mean of the maps' means and the mean of their variances, each
    about the map's own mean.

    Args:
        first: (B, C, H, W) features of frame 1, of any floating type.
        second: (B, C, H, W) features of frame 2.
        parts: how many equal parts the batch has, one after the other; samples of a part share the numbers.

    Returns:
        Both maps in their type. Statistics are at least float32.

    Raises:
        UsageError: when the batch cannot be parted so.
    """
    batch = first.shape[0]
    if parts < 1 or batch % parts:
        raise UsageError(f"a batch of {batch} has no {parts} equal parts")
    wide = [features.to(torch.promote_types(features.dtype, torch.float32)) for features in (first, second)]
    means = [features.mean((1, 2, 3), keepdim=True) for features in wide]
    spreads = [(f - mean).square().mean((1, 2, 3)) for f, mean in zip(wide, means, strict=True)]
    mean, variance = (
        torch.stack([v.flatten() for v in values]).view(2, parts, -1).mean((0, 2))
        for values in (means, spreads)
    )
    centre, scale = (
        v.repeat_interleave(batch // parts).view(-1, 1, 1, 1) for v in (mean, (variance + 1e-16).rsqrt())
    )
    one, two = (((f - centre) * scale).to(first.dtype) for f in wide)
    return one, two


def correlation(
    first: Float[Tensor, "b c h w"], second: Float[Tensor, "_b _c _h _w"], *, radius: int = 4
) -> Float[Tensor, "b d h w"]:
    """Mean product of features over a square window of displacements, by the fastest path.

    Channel ``(dy + radius) * (2 * radius + 1) + dx + radius`` at (x, y) is the mean over channels of
    ``first(x, y) * second(x + dx, y + dy)``; what lies outside the second map is 0. The middle channel is
    zero displacement.

    Args:
        first: (B, C, H, W) features of frame 1.
        second: (B, C, H, W) features of frame 2, usually warped; of the same type.
        radius: largest displacement in pixels of this grid, >= 0.

    Returns:
        (B, (2 radius + 1)^2, H, W) in the type and memory layout of ``first``. Sums are at least float32.
        Differentiable once, in both maps.

    Raises:
        UsageError: for a negative radius, or two maps of different size or type.
    """
    _check(first, second, radius)
    volume: Tensor = _operator(first, second, radius)
    return volume


def correlation_reference(
    first: Float[Tensor, "b c h w"], second: Float[Tensor, "_b _c _h _w"], *, radius: int = 4
) -> Float[Tensor, "b d h w"]:
    """The definition of `correlation`, one displacement after the other; arguments and result as there."""
    _check(first, second, radius)
    h, w = first.shape[-2:]
    wide = torch.promote_types(first.dtype, torch.float32)
    one, two = first.to(wide), F.pad(second.to(wide), (radius,) * 4)
    offsets = range(2 * radius + 1)
    costs = [(one * two[..., y : y + h, x : x + w]).mean(1) for y in offsets for x in offsets]
    return empty_map(first, len(costs)).copy_(torch.stack(costs, 1))


def _check(first: Tensor, second: Tensor, radius: int) -> None:
    if radius < 0:
        raise UsageError(f"radius is {radius}: the largest displacement is 0 pixels or more")
    if first.shape != second.shape or first.dtype != second.dtype:
        raise UsageError(
            f"the two feature maps differ: {tuple(first.shape)} {first.dtype} and "
            f"{tuple(second.shape)} {second.dtype}; give two of one size and type"
        )


def _backward_reference(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The two sums of the gradient, written as in the definition."""
    h, w = first.shape[-2:]
    wide = torch.promote_types(first.dtype, torch.float32)
    slopes, one = grad.to(wide) / first.shape[1], first.to(wide)
    two = F.pad(second.to(wide), (radius,) * 4)
    first_grad, second_grad = torch.zeros_like(one), torch.zeros_like(two)
    side = 2 * radius + 1
    for channel in range(side * side):
        y, x = divmod(channel, side)
        slope = slopes[:, channel : channel + 1]
        first_grad += slope * two[..., y : y + h, x : x + w]
        second_grad[..., y : y + h, x : x + w] += slope * one
    inner = second_grad[..., radius : radius + h, radius : radius + w]
    return empty_map(first, first.shape[1]).copy_(first_grad), empty_map(second, first.shape[1]).copy_(inner)


@torch.library.custom_op(
    "kinema::correlation", mutates_args=(), schema="(Tensor first, Tensor second, int radius) -> Tensor"
)
def _operator(first: Tensor, second: Tensor, radius: int) -> Tensor:
    return correlation_reference(first, second, radius=radius)


@torch.library.custom_op(
    "kinema::correlation_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor first, Tensor second, int radius) -> (Tensor, Tensor)",
)
def _backward_operator(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    return _backward_reference(grad, first, second, radius)


@_operator.register_fake
def _fake(first: Tensor, second: Tensor, radius: int) -> Tensor:
    return empty_map(first, (2 * radius + 1) ** 2)


@_backward_operator.register_fake
def _backward_fake(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    return empty_map(first, first.shape[1]), empty_map(second, first.shape[1])


@_operator.register_kernel("cpu")
def _cpu(first: Tensor, second: Tensor, radius: int) -> Tensor:
    if first.dtype not in _CPU_TYPES or first.numel() == 0:
        return correlation_reference(first, second, radius=radius)
    from kinema.ops import _correlation_cpu

    return _correlation_cpu.forward(first, second, radius)


@_backward_operator.register_kernel("cpu")
def _backward_cpu(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    if first.dtype not in _CPU_TYPES or first.numel() == 0:
        return _backward_reference(grad, first, second, radius)
    from kinema.ops import _correlation_cpu

    return _correlation_cpu.backward(grad, first, second, radius)


@_operator.register_kernel("cuda")
def _cuda(first: Tensor, second: Tensor, radius: int) -> Tensor:
    if first.dtype not in _CUDA_TYPES or first.numel() == 0 or not has_triton():
        return correlation_reference(first, second, radius=radius)
    from kinema.ops import _correlation_triton

    return _correlation_triton.forward(first, second, radius)


@_backward_operator.register_kernel("cuda")
def _backward_cuda(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    if first.dtype not in _CUDA_TYPES or first.numel() == 0 or not has_triton():
        return _backward_reference(grad, first, second, radius)
    from kinema.ops import _correlation_triton

    return _correlation_triton.backward(grad, first, second, radius)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.radius = inputs[2]


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    first, second = ctx.saved_tensors
    return (*_backward_operator(grad, first, second, ctx.radius), None)


_operator.register_autograd(_gradient, setup_context=_save_inputs)
