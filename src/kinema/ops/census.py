"""The soft census distance: have two pictures the same pattern around each pixel, however bright they are?

The operator ``kinema::census`` has a fused loop for float32 on the CPU (`kinema.ops._census_cpu`). Elsewhere
it goes through the offsets one by one, in both directions: a stack of all offsets, 49 maps, never exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError

GREY_WEIGHTS = (0.2989, 0.5870, 0.1140)
SOFT_SIGN = 0.81  # differences of this many squared grey levels are neither clearly up nor clearly down
SOFT_MATCH = 0.1  # squared distance of two signs that counts as half a mismatch


def grey_levels(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    """Luma in grey levels: 255 (0.2989 R + 0.587 G + 0.114 B), at least in float32.

    Args:
        image: (B, 3, H, W) RGB in [0, 1].

    Returns:
        (B, 1, H, W) in 0..255. Differentiable.
    """
    wide = image.to(torch.promote_types(image.dtype, torch.float32))
    red, green, blue = (255 * weight for weight in GREY_WEIGHTS)
    return red * wide[:, :1] + green * wide[:, 1:2] + blue * wide[:, 2:]


def census_distance(
    first: Float[Tensor, "b 1 h w"], second: Float[Tensor, "b 1 h w"], *, radius: int = 3
) -> Float[Tensor, "b 1 h w"]:
    """How many of a pixel's neighbours are darker or brighter than it in one picture but not in the other.

    Per offset o of the window, with the difference ``d = I(x + o) - I(x)`` (I = 0 outside) and its soft sign
    ``n = d / sqrt(0.81 + d^2)``, the squared distance s of the two pictures' signs counts ``s / (0.1 + s)``
    (Meister et al. 2018, section 3.2; UFlow).

    Args:
        first: (B, 1, H, W) in 0..255.
        second: (B, 1, H, W) in 0..255, of the same type.
        radius: of the window, pixels; 3 is the usual 7x7.

    Returns:
        (B, 1, H, W), 0 up to less than the number of neighbours (48), in the type of ``first``, float32 at
        least. Within ``radius`` of the border the outside counts as black. Differentiable once, in both.

    Raises:
        UsageError: for a radius below 1, or pictures of different size or type.
    """
    _check(first, second, radius)
    wide = torch.promote_types(first.dtype, torch.float32)
    distance: Tensor = _operator(first.to(wide), second.to(wide), radius)
    return distance


def census_distance_reference(
    first: Float[Tensor, "b 1 h w"], second: Float[Tensor, "b 1 h w"], *, radius: int = 3
) -> Float[Tensor, "b 1 h w"]:
    """The definition of `census_distance`, one offset after the other; arguments and result as there."""
    _check(first, second, radius)
    h, w = first.shape[-2:]
    one, two = F.pad(first, (radius,) * 4), F.pad(second, (radius,) * 4)
    total = torch.zeros_like(first)
    for y in range(2 * radius + 1):
        for x in range(2 * radius + 1):
            window = (..., slice(y, y + h), slice(x, x + w))
            squared = (_soft_sign(one[window] - first) - _soft_sign(two[window] - second)).square()
            total = total + squared / (SOFT_MATCH + squared)
    return total


def _soft_sign(difference: Tensor) -> Tensor:
    return difference * (SOFT_SIGN + difference.square()).rsqrt()


def _check(first: Tensor, second: Tensor, radius: int) -> None:
    if radius < 1:
        raise UsageError(f"radius is {radius}: a census looks at least one pixel far")
    if first.shape != second.shape or first.dtype != second.dtype:
        raise UsageError(
            f"the two pictures differ: {tuple(first.shape)} {first.dtype} and {tuple(second.shape)} "
            f"{second.dtype}; give two of one size and type"
        )


def _backward_reference(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Gradients of `census_distance_reference`, as loops of bounded memory.

    The distance of a pair of pixels is the same seen from either, so that half of the offsets are enough.
    """
    h, w = first.shape[-2:]
    one, two, slopes = (F.pad(t, (radius,) * 4) for t in (first, second, grad))
    grads = torch.zeros_like(one), torch.zeros_like(two)
    for y, x in _half_window(radius):
        # Pixels p of the padded picture and p + (y, x), both inside it.
        left, right = max(0, -x), w + 2 * radius - max(0, x)
        here = (..., slice(0, h + 2 * radius - y), slice(left, right))
        there = (..., slice(y, h + 2 * radius), slice(left + x, right + x))
        signs, steepness = [], []
        for picture in (one, two):
            difference = picture[there] - picture[here]
            scale = (SOFT_SIGN + difference.square()).rsqrt()
            signs.append(difference * scale)
            steepness.append(SOFT_SIGN * scale**3)
        apart = signs[0] - signs[1]
        slope = 2 * SOFT_MATCH * apart / (SOFT_MATCH + apart.square()).square()
        slope = slope * (slopes[here] + slopes[there])
        for total, part in zip(grads, (slope * steepness[0], -slope * steepness[1]), strict=True):
            total[there] += part
            total[here] -= part
    inner = (..., slice(radius, radius + h), slice(radius, radius + w))
    return grads[0][inner].contiguous(), grads[1][inner].contiguous()


def _half_window(radius: int) -> Iterator[tuple[int, int]]:
    """Offsets (y, x) of the window of which the others are the opposites, without the middle."""
    for y in range(radius + 1):
        for x in range(-radius if y else 1, radius + 1):
            yield y, x


@torch.library.custom_op(
    "kinema::census", mutates_args=(), schema="(Tensor first, Tensor second, int radius) -> Tensor"
)
def _operator(first: Tensor, second: Tensor, radius: int) -> Tensor:
    return census_distance_reference(first, second, radius=radius)


@torch.library.custom_op(
    "kinema::census_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor first, Tensor second, int radius) -> (Tensor, Tensor)",
)
def _backward_operator(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    return _backward_reference(grad, first, second, radius)


@_operator.register_fake
def _fake(first: Tensor, second: Tensor, radius: int) -> Tensor:
    return torch.empty_like(first, memory_format=torch.contiguous_format)


@_backward_operator.register_fake
def _backward_fake(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    return _fake(first, second, radius), _fake(first, second, radius)


@_operator.register_kernel("cpu")
def _cpu(first: Tensor, second: Tensor, radius: int) -> Tensor:
    if first.dtype != torch.float32 or first.numel() == 0:
        return census_distance_reference(first, second, radius=radius)
    from kinema.ops import _census_cpu

    return _census_cpu.forward(first, second, radius)


@_backward_operator.register_kernel("cpu")
def _backward_cpu(grad: Tensor, first: Tensor, second: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    if first.dtype != torch.float32 or first.numel() == 0:
        return _backward_reference(grad, first, second, radius)
    from kinema.ops import _census_cpu

    return _census_cpu.backward(grad, first, second, radius)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.radius = inputs[2]


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    first, second = ctx.saved_tensors
    return (*_backward_operator(grad, first, second, ctx.radius), None)


_operator.register_autograd(_gradient, setup_context=_save_inputs)
