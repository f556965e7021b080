"""Modulated deformable convolution (DCNv2): a convolution whose taps read where another network says.

Zhu et al. 2019 (Deformable ConvNets v2, section 3.2); EDVR aligns neighbouring frames with it. Offsets and
modulation have the order of channels that MMCV, BasicSR, torchvision and ONNX share, so their weights fit.
`deform_conv2d_reference` is the readable, differentiable definition. The operator ``kinema::deform_conv2d``
and its gradient ``kinema::deform_conv2d_backward`` dispatch to compiled loops around matrix products on the
CPU (`kinema.ops._deform_cpu`, float32 and bfloat16) and to Triton kernels on a GPU
(`kinema.ops._deform_triton`), with plain tensor operations (`kinema.ops._deform_eager`) as fallback.

For export there are two ways. `deform_conv_gridsample` needs nothing but ``GridSample``, which every runtime
has. ONNX has an operator of its own, ``DeformConv``, from opset 19 on (22 with bfloat16): inputs ``x``,
``weight``, ``offset``, ``bias``, ``modulation`` as here; attributes ``strides``, ``pads`` (each padding
twice), ``dilations``, ``group`` and ``offset_group``. ONNX Runtime runs it from 1.25 on; OpenVINO cannot read
it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops import _deform_eager
from kinema.ops._deform_eager import Geometry, empty_result
from kinema.ops._triton import has_triton

_CPU_TYPES = (torch.float32, torch.bfloat16)
_CUDA_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def deform_conv2d(
    x: Float[Tensor, "b c h w"],
    offset: Float[Tensor, "_b _2gk _oh _ow"],
    weight: Float[Tensor, "o _c kh kw"],
    bias: Float[Tensor, "_o"] | None = None,
    *,
    modulation: Float[Tensor, "_b _gk _oh _ow"] | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Float[Tensor, "b o oh ow"]:
    """Convolve with taps that are moved by offsets and weighed by a modulation, by the fastest path.

    Tap k = (i, j) of deformable group g reads at row ``stride y - padding + dilation i + dy`` and column
    ``stride x - padding + dilation j + dx`` of its C / G channels, between pixels bilinearly; pixels outside
    the map are 0. The derivative in an offset is taken towards larger offsets where a tap reads exactly at a
    pixel. Offsets that are not finite read 0. Under autocast it has the type that a convolution has there.

    Args:
        x: (B, C, H, W), any range.
        offset: (B, 2 G K, H2, W2) in pixels of ``x``, with K = kh kw; channel 2 (g K + k) is dy, the next dx.
        weight: (O, C / groups, kh, kw).
        bias: (O,).
        modulation: (B, G K, H2, W2), usually 0 .. 1; channel g K + k. Without it all taps weigh 1 (DCNv1).
        stride: pixels of ``x`` from one place of the result to the next, or (vertical, horizontal).
        padding: how far the first place of the result lies outside ``x``.
        dilation: pixels from one tap to the next.
        groups: of the convolution; each reads C / groups channels and gives O / groups.
        deformable_groups: G, how many parts of the channels have offsets of their own.

    Returns:
        (B, O, H2, W2) with H2 = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1, W2 alike, in the type
        and memory layout of ``x``. Sums are at least float32. Differentiable once, in all five tensors.

    Raises:
        UsageError: for sizes, types or settings that do not fit together; it says which and what would.
    """
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups, deformable_groups)
    x, weight, bias = _as_autocast(x, weight, bias)
    _check(x, offset, weight, bias, modulation, geometry)
    settings = (*map(list, geometry[:3]), groups, deformable_groups)
    with _without_autocast(x):
        result: Tensor = _operator(x, offset, weight, bias, modulation, *settings)
    return result


def deform_conv2d_reference(
    x: Float[Tensor, "b c h w"],
    offset: Float[Tensor, "_b _2gk _oh _ow"],
    weight: Float[Tensor, "o _c kh kw"],
    bias: Float[Tensor, "_o"] | None = None,
    *,
    modulation: Float[Tensor, "_b _gk _oh _ow"] | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Float[Tensor, "b o oh ow"]:
    """The definition of `deform_conv2d`, one tap after the other; arguments and result as there."""
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups, deformable_groups)
    x, weight, bias = _as_autocast(x, weight, bias)
    _check(x, offset, weight, bias, modulation, geometry)
    with _without_autocast(x):
        return _deform_eager.forward(x, offset, weight, bias, modulation, geometry)


def deform_conv_gridsample(
    x: Float[Tensor, "b c h w"],
    offset: Float[Tensor, "_b _2gk _oh _ow"],
    weight: Float[Tensor, "o _c kh kw"],
    bias: Float[Tensor, "_o"] | None = None,
    *,
    modulation: Float[Tensor, "_b _gk _oh _ow"] | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    deformable_groups: int = 1,
) -> Float[Tensor, "b o oh ow"]:
    """`deform_conv2d` by one ``grid_sample`` and one product, for export; arguments and result as there.

    Positions take the way through the coordinates of ``grid_sample``, which rounds them by some 1e-7 of the
    size of the map: the result differs by as little, but a derivative in an offset that is exactly a whole
    number may be that of the other side. Train with `deform_conv2d`. Memory grows with C kh kw H2 W2.
    """
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups, deformable_groups)
    x, weight, bias = _as_autocast(x, weight, bias)
    _check(x, offset, weight, bias, modulation, geometry)
    with _without_autocast(x):
        return _deform_eager.by_grid_sample(x, offset, weight, bias, modulation, geometry)


def _as_autocast(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Map, weight and bias in the type that a convolution would have; positions stay as exact as they are."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return x, weight, bias
    if x.dtype == torch.float64:
        return x, weight, bias
    dtype = torch.get_autocast_dtype(device)
    return x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)


def _without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """Nothing inside an operator is cast behind its back."""
    device = x.device.type
    if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def _check(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    modulation: Tensor | None,
    geometry: Geometry,
) -> None:
    _check_settings(x, weight, geometry)
    outputs, _, *kernel_hw = weight.shape
    kernel = (kernel_hw[0], kernel_hw[1])
    out_hw = geometry.output_hw((x.shape[2], x.shape[3]), kernel)
    if min(out_hw) < 1:
        raise UsageError(
            f"a map of {x.shape[2]}x{x.shape[3]} is too small for a {kernel[0]}x{kernel[1]} kernel with "
            f"dilation {geometry.dilation} and padding {geometry.padding}: the result would be empty"
        )
    taps = geometry.deformable_groups * kernel[0] * kernel[1]
    wanted = {
        "offset": (offset, (x.shape[0], 2 * taps, *out_hw), "(dy, dx) of each tap and deformable group"),
        "modulation": (modulation, (x.shape[0], taps, *out_hw), "one per tap and deformable group"),
        "bias": (bias, (outputs,), "one per channel of the result"),
    }
    for name, (tensor, shape, meaning) in wanted.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise UsageError(f"{name} is {tuple(tensor.shape)}, but has to be {shape}: {meaning}")
    _check_types(x, offset, weight, bias, modulation)


def _check_settings(x: Tensor, weight: Tensor, geometry: Geometry) -> None:
    for name, tensor, axes in (("x", x, "(B, C, H, W)"), ("weight", weight, "(O, C / groups, kh, kw)")):
        if tensor.dim() != 4:
            raise UsageError(f"{name} is {tuple(tensor.shape)}, but has to be {axes}")
    for name, pair, least in zip(("stride", "padding", "dilation"), geometry[:3], (1, 0, 1), strict=True):
        if len(pair) != 2 or min(pair) < least:
            raise UsageError(f"{name} is {pair}: give a whole number, or two, of at least {least}")
    channels = x.shape[1]
    if min(channels, *weight.shape) < 1:
        raise UsageError(
            f"x is {tuple(x.shape)} and weight {tuple(weight.shape)}: there are no channels or taps"
        )
    for name, count in (("groups", geometry.groups), ("deformable_groups", geometry.deformable_groups)):
        if count < 1 or channels % count:
            raise UsageError(f"{name} is {count}, which does not divide the {channels} channels of x")
    if weight.shape[0] % geometry.groups or weight.shape[1] * geometry.groups != channels:
        raise UsageError(
            f"weight is {tuple(weight.shape)}, which does not fit {channels} channels in {geometry.groups} "
            f"groups: give (a multiple of {geometry.groups}, {channels // geometry.groups}, kh, kw)"
        )


def _check_types(x: Tensor, offset: Tensor, weight: Tensor, *others: Tensor | None) -> None:
    """Map, weight and bias of one type; positions and modulation of that type or float32."""
    bias, modulation = others
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise UsageError(f"{name} is {tensor.dtype}, but x is {x.dtype}: give both in one type")
    for name, tensor in (("offset", offset), ("modulation", modulation)):
        if tensor is not None and tensor.dtype not in (x.dtype, torch.float32):
            raise UsageError(f"{name} is {tensor.dtype}: give {x.dtype}, as x is, or torch.float32")


@torch.library.custom_op(
    "kinema::deform_conv2d",
    mutates_args=(),
    schema="(Tensor x, Tensor offset, Tensor weight, Tensor? bias, Tensor? modulation, int[] stride, "
    "int[] padding, int[] dilation, int groups, int deformable_groups) -> Tensor",
)
def _operator(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    modulation: Tensor | None,
    *settings: Any,
) -> Tensor:
    return _deform_eager.forward(x, offset, weight, bias, modulation, _geometry(settings))


@torch.library.custom_op(
    "kinema::deform_conv2d_backward",
    mutates_args=(),
    schema="(Tensor grad, Tensor x, Tensor offset, Tensor weight, Tensor? modulation, int[] stride, "
    "int[] padding, int[] dilation, int groups, int deformable_groups) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _backward_operator(
    grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor, modulation: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _deform_eager.backward(grad, x, offset, weight, modulation, _geometry(settings))


def _geometry(settings: tuple[Any, ...]) -> Geometry:
    stride, padding, dilation, groups, deformable_groups = settings
    return Geometry(tuple(stride), tuple(padding), tuple(dilation), groups, deformable_groups)


@_operator.register_kernel("cpu")
def _cpu(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    modulation: Tensor | None,
    *settings: Any,
) -> Tensor:
    geometry = _geometry(settings)
    if x.dtype not in _CPU_TYPES or x.numel() == 0:
        return _deform_eager.forward(x, offset, weight, bias, modulation, geometry)
    from kinema.ops import _deform_cpu

    return _deform_cpu.forward(x, offset, weight, bias, modulation, geometry)


@_backward_operator.register_kernel("cpu")
def _backward_cpu(
    grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor, modulation: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    geometry = _geometry(settings)
    if x.dtype not in _CPU_TYPES or x.numel() == 0:
        return _deform_eager.backward(grad, x, offset, weight, modulation, geometry)
    from kinema.ops import _deform_cpu

    return _deform_cpu.backward(grad, x, offset, weight, modulation, geometry)


@_operator.register_kernel("cuda")
def _cuda(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    modulation: Tensor | None,
    *settings: Any,
) -> Tensor:
    geometry = _geometry(settings)
    if x.dtype not in _CUDA_TYPES or x.numel() == 0 or not has_triton():
        return _deform_eager.forward(x, offset, weight, bias, modulation, geometry)
    from kinema.ops import _deform_triton

    return _deform_triton.forward(x, offset, weight, bias, modulation, geometry)


@_backward_operator.register_kernel("cuda")
def _backward_cuda(
    grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor, modulation: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    geometry = _geometry(settings)
    if x.dtype not in _CUDA_TYPES or x.numel() == 0 or not has_triton():
        return _deform_eager.backward(grad, x, offset, weight, modulation, geometry)
    from kinema.ops import _deform_triton

    return _deform_triton.backward(grad, x, offset, weight, modulation, geometry)


@_operator.register_fake
def _fake(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    modulation: Tensor | None,
    *settings: Any,
) -> Tensor:
    return empty_result(x, weight.shape[0], (offset.shape[2], offset.shape[3]))


@_backward_operator.register_fake
def _backward_fake(
    grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor, modulation: Tensor | None, *settings: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_modulation = offset.new_empty(0) if modulation is None else _empty_as(modulation)
    return _empty_as(x), _empty_as(offset), weight.new_empty(weight.shape), of_modulation


def _empty_as(tensor: Tensor) -> Tensor:
    return empty_result(tensor, tensor.shape[1], (tensor.shape[2], tensor.shape[3]))


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, offset, weight, bias, modulation, *settings = inputs
    ctx.save_for_backward(x, offset, weight, modulation)
    ctx.settings, ctx.bias = settings, None if bias is None else bias.dtype


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, offset, weight, modulation = ctx.saved_tensors
    with _without_autocast(x):
        of_x, of_offset, of_weight, of_modulation = _backward_operator(
            grad, x, offset, weight, modulation, *ctx.settings
        )
    wide = torch.promote_types(grad.dtype, torch.float32)
    of_bias = None if ctx.bias is None else grad.sum((0, 2, 3), dtype=wide).to(ctx.bias)
    last = None if modulation is None else of_modulation
    return of_x, of_offset, of_weight, of_bias, last, *(None for _ in ctx.settings)


_operator.register_autograd(_gradient, setup_context=_save_inputs)
