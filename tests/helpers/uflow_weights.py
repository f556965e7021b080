"""Deterministic weights and pictures of UFlow's reference numbers, which are in the order (dy, dx)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from kinema.models.uflow import UFlow


def reference_frames(h: int, w: int) -> tuple[Tensor, Tensor]:
    """(1, 3, H, W) twice: waves that move by (-2, -1) pixels (x, y)."""
    axes = (torch.arange(n, dtype=torch.float64) for n in (h, w, 3))
    y, x, c = torch.meshgrid(*axes, indexing="ij")
    frames = (0.5 + 0.5 * torch.sin(0.155 * (y + t) * (c + 1) + 0.17 * (x + 2 * t) + c) for t in (0, 1))
    first, second = (frame.movedim(2, 0)[None].float() for frame in frames)
    return first, second


def set_reference_weights(model: UFlow) -> None:
    """Fill a network whose decoders take context, flow, costs and features, in this order."""
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                weight, bias = _kernel(module), 0.01 * torch.cos(torch.arange(len(module.bias)).double())
                if name.endswith(".flow"):
                    weight, bias = weight.flip(0), bias.flip(0)
                elif _sees_flow(model, name):
                    weight[:, [32, 33]] = weight[:, [33, 32]]
                module.weight.copy_(weight)
                module.bias.copy_(bias)


def _sees_flow(model: UFlow, name: str) -> bool:
    """Whether channels 32 and 33 of the input are flow."""
    if name.startswith("refinement"):
        return name == "refinement.layers.0"
    return name.startswith("estimators") and not name.startswith(f"estimators.{model.settings.levels}.")


def _kernel(module: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """Values drawn in the layout (height, width, in, out), in the module's own layout."""
    transposed = isinstance(module, nn.ConvTranspose2d)
    shape = tuple(module.weight.shape)
    inputs, outputs = (shape[0], shape[1]) if transposed else (shape[1], shape[0])
    kernel = shape[2:]
    n = torch.arange(math.prod(shape))
    u = ((31 * n * n + 7919 * n + 17) % 10007).double() / 10007 - 0.5
    values = u * math.sqrt(24 / (math.prod(kernel) * inputs))
    drawn = values.view(*kernel, inputs, outputs)
    return drawn.permute(2, 3, 0, 1) if transposed else drawn.permute(3, 2, 0, 1).contiguous()
