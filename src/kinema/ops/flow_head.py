"""The last convolution of a flow network: features in reduced precision in, flow in float32 out.

A bfloat16 result has eight bits: 80 pixels of motion would be rounded to half a pixel. `flow_head` computes
the sums of a 3x3 convolution in float32 and does not round them. The operator ``kinema::flow_head`` has a
fused loop for bfloat16 on the CPU (`kinema.ops._flow_head_cpu`); elsewhere the features are widened first.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

_LEAST_CHANNELS, _LEAST_PIXELS = 16, 3  # of the fused loop: one block of its registers


def flow_head(
    x: Float[Tensor, "b c h w"], weight: Float[Tensor, "2 c 3 3"], bias: Float[Tensor, "2"]
) -> Float[Tensor, "b 2 h w"]:
    """3x3 convolution to two channels, zero outside, with a result that is not rounded to the input's type.

    Args:
        x: (B, C, H, W) features of any floating type.
        weight: (2, C, 3, 3), float32 or wider.
        bias: (2,), of the type of ``weight``.

    Returns:
        (B, 2, H, W) in the type of ``weight``. Differentiable once; the gradient of reduced-precision
        features is computed in their type.
    """
    if x.dtype == weight.dtype:
        return F.conv2d(x, weight, bias, padding=1)
    flow: Tensor = _operator(x, weight, bias)
    return flow


@torch.library.custom_op(
    "kinema::flow_head", mutates_args=(), schema="(Tensor x, Tensor weight, Tensor bias) -> Tensor"
)
def _operator(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    flow = F.conv2d(x.to(weight.dtype), weight, bias, padding=1)
    return flow.contiguous()


@_operator.register_fake
def _fake(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return weight.new_empty((x.shape[0], 2, x.shape[2], x.shape[3]))


@_operator.register_kernel("cpu")
def _cpu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    fits = x.dtype == torch.bfloat16 and weight.dtype == torch.float32
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    if not fits or x.shape[1] < _LEAST_CHANNELS or pixels < _LEAST_PIXELS * x.shape[0]:
        return F.conv2d(x.to(weight.dtype), weight, bias, padding=1).contiguous()
    from kinema.ops import _flow_head_cpu

    return _flow_head_cpu.forward(x, weight, bias)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    x_grad, weight_grad, _ = torch.ops.aten.convolution_backward(
        grad.to(x.dtype), x, weight.to(x.dtype), None,
        [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [wanted[0], wanted[1], False],  # noqa: FBT003
    )  # fmt: skip
    bias_grad = grad.sum((0, 2, 3)) if wanted[2] else None
    return x_grad, None if weight_grad is None else weight_grad.to(weight.dtype), bias_grad


_operator.register_autograd(_gradient, setup_context=_save_inputs)
