"""Blocks of the published GeoNet: padding, convolutions and heads as its TensorFlow graph has them."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import InputError

Padding = Literal["symmetric", "same"]
"""``symmetric``: (k - 1) // 2 zeros on all sides; ``same``: TensorFlow's rule, see `same_padding`."""

EPSILON = 1e-3  # of the batch normalisation
DECAY = 0.999  # of its moving averages


def same_padding(size_hw: tuple[int, int], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """The zeros around an image by TensorFlow's rule ``SAME``: as few as give ceil(n / stride) outputs.

    Args:
        size_hw: height and width of the image.
        kernel: side of the kernel.
        stride: of the convolution.

    Returns:
        Left, right, top, bottom, as `torch.nn.functional.pad` takes them; an odd one is right or below.
    """
    sides: list[int] = []
    for length in (size_hw[1], size_hw[0]):
        total = max((math.ceil(length / stride) - 1) * stride + kernel - length, 0)
        sides += [total // 2, total - total // 2]
    return sides[0], sides[1], sides[2], sides[3]


class ShiftNorm(nn.Module):
    """Batch normalisation that shifts and does not scale.

    Args:
        channels: of the input.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise by the statistics of the batch in training, by the moving averages otherwise.

        Args:
            x: (B, C, H, W).

        Returns:
            The same shape and type.

        Raises:
            InputError: in training, when there is but one value per channel.
        """
        if self.training and x.numel() == x.shape[1]:
            raise InputError(
                "a batch of one image this small has no statistics: train on larger ones, or on more"
            )
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            bias=self.bias,
            training=self.training,
            momentum=1 - DECAY,
            eps=EPSILON,
        )


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalisation, rectifier.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: its side.
        stride: of the convolution.
        padding: rule.
        activation: what follows; ``none`` where a sum comes first.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        padding: Padding = "symmetric",
        activation: Literal["relu", "none"] = "relu",
    ) -> None:
        super().__init__()
        self.same = padding == "same"
        around = 0 if self.same else (kernel - 1) // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=around, bias=False)
        self.norm = ShiftNorm(outputs)
        self.rectified = activation == "relu"

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Apply it.

        Args:
            x: (B, C, H, W).

        Returns:
            (B, D, H / stride, W / stride), rounded up.
        """
        if self.same:
            kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
            x = F.pad(x, same_padding((x.shape[-2], x.shape[-1]), kernel, stride))
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.rectified else x


class Head(nn.Conv2d):
    """3x3 convolution with bias whose result is float32 whatever the features are.

    Args:
        inputs: channels.
        outputs: channels.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Apply it outside of reduced precision.

        Args:
            x: (B, C, H, W).

        Returns:
            (B, D, H, W) in the type of the weights.
        """
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.weight.dtype))


def double(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the size, each pixel four times.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, C, 2 H, 2 W).
    """
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def match_size(x: Float[Tensor, "b c h w"], size_hw: tuple[int, int]) -> Float[Tensor, "b c h2 w2"]:
    """Bring a doubled map to the size of the one that it is joined with: pixel i of m reads floor(i n / m).

    Args:
        x: (B, C, H, W).
        size_hw: of the other map.

    Returns:
        (B, C, H2, W2); the map itself if it already has that size.
    """
    return x if tuple(x.shape[-2:]) == size_hw else F.interpolate(x, size_hw, mode="nearest")


def join(*maps: Tensor) -> Tensor:
    """Maps side by side in the type and layout of the first.

    Args:
        maps: (B, C_i, H, W) each.

    Returns:
        (B, sum of C_i, H, W).
    """
    first = maps[0]
    return torch.cat([first, *(m.to(first.dtype, memory_format=torch.channels_last) for m in maps[1:])], 1)


def initialise(network: nn.Module) -> None:
    """Draw all weights uniformly after Glorot; biases and shifts become 0.

    Args:
        network: whose convolutions are meant.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width of a map.

    Args:
        x: (B, C, H, W).

    Returns:
        (H, W).
    """
    return x.shape[-2], x.shape[-1]


def as_input(x: Tensor, network: nn.Module) -> Tensor:
    """Bring a map to the type and layout that a network computes in.

    Args:
        x: (B, C, H, W).
        network: whose first convolution decides.

    Returns:
        The same values.
    """
    weight = next(module.weight for module in network.modules() if isinstance(module, nn.Conv2d))
    return x.to(weight.dtype, memory_format=torch.channels_last)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column until both sides are multiples of a number.

    Args:
        x: (B, C, H, W).
        multiple: of the sides.

    Returns:
        (B, C, H2, W2); the map itself if it fits.
    """
    h, w = size_of(x)
    right, below = -w % multiple, -h % multiple
    return F.pad(x, (0, right, 0, below), mode="replicate") if right or below else x
