"""The published networks of GeoNet (Yin and Shi, CVPR 2018): depth in two sizes, pose, flow.

Layers, paddings, upsampling and order of channels are those of the authors' graph, its always projected
shortcuts included. All predictions are finest first: at H, H / 2, H / 4 and H / 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.geonet_blocks import ConvNorm, Head, double, initialise, join, match_size, size_of
from kinema.ops.resize import resize_image

MULTIPLE = 8  # sides of the images: those of the four scales are whole then
STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # base channels and blocks of stages 2 to 5
DECODER = {6: 512, 5: 256, 4: 128, 3: 64, 2: 32, 1: 16}  # channels by level; level n doubles to H / 2^(n - 1)
HEADS = (4, 3, 2, 1)  # levels that predict, coarsest first
VGG_ENCODER = ((32, 7), (64, 5), (128, 3), (256, 3), (512, 3), (512, 3), (512, 3))  # channels, kernel
VGG_DECODER = {7: 512, 6: 512, 5: 256, **{n: DECODER[n] for n in HEADS}}
POSE = ((16, 7), (32, 5), (64, 3), (128, 3), (256, 3), (256, 3), (256, 3))  # channels, kernel
LEAST_DISPARITY = 0.01
DISPARITY_RANGE = {"resnet50": 5.0, "vgg": 10.0}
POSE_SCALE = 0.01
FLOW_SCALE = 0.1

Activation = Callable[[Tensor], Tensor]


class ResidualBlock(nn.Module):
    """Bottleneck whose shortcut is always a convolution.

    Args:
        inputs: channels.
        base: channels inside; four times as many come out.
        stride: of the 3x3 convolution.
    """

    def __init__(self, inputs: int, base: int, *, stride: int) -> None:
        super().__init__()
        self.reduce = ConvNorm(inputs, base, kernel=1)
        self.spatial = ConvNorm(base, base, stride=stride)
        self.expand = ConvNorm(base, 4 * base, kernel=1, activation="none")
        self.shortcut = ConvNorm(inputs, 4 * base, kernel=1, stride=stride, activation="none")

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """Apply it.

        Args:
            x: (B, C, H, W).

        Returns:
            (B, 4 base, H / stride, W / stride), rounded up.
        """
        return torch.relu(self.expand(self.spatial(self.reduce(x))) + self.shortcut(x))


class ResNet50(nn.Module):
    """Encoder and decoder with predictions at four scales: DispNet, ResFlowNet, DirFlowNetS.

    Args:
        inputs: channels: 3 for depth, 12 or 6 for flow.
        outputs: channels of a prediction: 1 or 2.
        activation: makes a prediction of a head's output.
    """

    def __init__(self, inputs: int, outputs: int, *, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.stem = ConvNorm(inputs, 64, kernel=7, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        width = 64
        for number, (base, blocks) in enumerate(STAGES, start=2):
            stage = nn.Sequential()
            for place in range(blocks):
                stage.append(ResidualBlock(width, base, stride=2 if place == blocks - 1 else 1))
                width = 4 * base
            self.add_module(f"stage{number}", stage)
        skips = {6: 1024, 5: 512, 4: 256, 3: 64, 2: 64, 1: 0}
        for level, channels in DECODER.items():
            joined = channels + skips[level] + (outputs if level < HEADS[0] else 0)
            self.add_module(f"up{level}", ConvNorm(width, channels))
            self.add_module(f"merge{level}", ConvNorm(joined, channels))
            if level in HEADS:
                self.add_module(f"head{level}", Head(channels, outputs))
            width = channels
        initialise(self)

    def forward(self, x: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b d _ _"]]:
        """Predict.

        Args:
            x: (B, C, H, W), sides multiples of 8.

        Returns:
            (B, D, h, w) at the four scales, finest first; float32.
        """
        c1 = self.stem(x)
        p1 = self.pool(c1)
        c2 = self._layer("stage", 2)(p1)
        c3 = self._layer("stage", 3)(c2)
        c4 = self._layer("stage", 4)(c3)
        x = self._layer("stage", 5)(c4)
        predictions: list[Tensor] = []
        for level, skip in zip(DECODER, (c4, c3, c2, p1, c1, None), strict=True):
            x = self._layer("up", level)(double(x))
            if skip is not None:
                x = match_size(x, size_of(skip))
            above = [double(predictions[-1])] if predictions else []
            x = self._layer("merge", level)(join(x, *([] if skip is None else [skip]), *above))
            if level in HEADS:
                predictions.append(self.activation(self._layer("head", level)(x)))
        return predictions[::-1]

    def _layer(self, kind: str, level: int) -> nn.Module:
        return self.get_submodule(f"{kind}{level}")


class VggDispNet(nn.Module):
    """The smaller depth network, SfMLearner's.

    Its predictions go to the next level by TensorFlow 1's bilinear rule, where the ResNet's are repeated.
    """

    def __init__(self) -> None:
        super().__init__()
        width, skips = 3, {1: 0}
        for number, (channels, kernel) in enumerate(VGG_ENCODER, start=1):
            self.add_module(
                f"conv{number}", ConvNorm(width, channels, kernel=kernel, stride=2, padding="same")
            )
            self.add_module(f"conv{number}b", ConvNorm(channels, channels, kernel=kernel, padding="same"))
            width = skips[number + 1] = channels
        for level, channels in VGG_DECODER.items():
            joined = channels + skips[level] + (1 if level < HEADS[0] else 0)
            self.add_module(f"upconv{level}", ConvNorm(width, channels))
            self.add_module(f"iconv{level}", ConvNorm(joined, channels, padding="same"))
            if level in HEADS:
                self.add_module(f"disp{level}", Head(channels, 1))
            width = channels
        initialise(self)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b 1 _ _"]]:
        """Predict inverse depth.

        Args:
            x: (B, 3, H, W) in [-1, 1], sides multiples of 8.

        Returns:
            (B, 1, h, w) at the four scales, finest first; float32.
        """
        features: dict[int, Tensor] = {}
        for number in range(1, len(VGG_ENCODER) + 1):
            x = self._layer("conv", f"{number}b")(self._layer("conv", number)(x))
            features[number] = x
        predictions: list[Tensor] = []
        for level in VGG_DECODER:
            x = self._layer("upconv", level)(double(x))
            skip = [features[level - 1]] if level > 1 else []
            x = match_size(x, size_of(skip[0])) if skip else x
            above = [_tf1_double(predictions[-1])] if predictions else []
            x = self._layer("iconv", level)(join(x, *skip, *above))
            if level in HEADS:
                raw = self._layer("disp", level)(x)
                predictions.append(disparity(raw, DISPARITY_RANGE["vgg"]))
        return predictions[::-1]

    def _layer(self, kind: str, level: int | str) -> nn.Module:
        return self.get_submodule(f"{kind}{level}")


class PoseNet(nn.Module):
    """The camera's motion from one snippet of frames.

    Args:
        frames: of a snippet: the target and its sources.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.sources = frames - 1
        width = 3 * frames
        for number, (channels, kernel) in enumerate(POSE, start=1):
            self.add_module(
                f"conv{number}", ConvNorm(width, channels, kernel=kernel, stride=2, padding="same")
            )
            width = channels
        self.head = nn.Conv2d(width, 6 * self.sources, 1)
        initialise(self)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b s 6"]:
        """Predict.

        Args:
            x: (B, 3 N, H, W) in [-1, 1]: the target, then the sources in order of time.

        Returns:
            (B, N - 1, 6) tx, ty, tz, rx, ry, rz (Euler angles) from the target's camera to each source's;
            float32.
        """
        for number in range(1, len(POSE) + 1):
            x = self.get_submodule(f"conv{number}")(x)
        with torch.autocast(x.device.type, enabled=False):
            moved = self.head(x.to(self.head.weight.dtype)).mean((2, 3))
        return cast("Tensor", POSE_SCALE * moved.view(-1, self.sources, 6))


def disp_net(encoder: str) -> ResNet50 | VggDispNet:
    """Build the depth network.

    Args:
        encoder: ``resnet50`` or ``vgg``.

    Returns:
        It; predictions are inverse depth.
    """
    if encoder == "vgg":
        return VggDispNet()
    return ResNet50(3, 1, activation=_resnet_disparity)


def flow_net(inputs: int) -> ResNet50:
    """Build ResFlowNet or DirFlowNetS.

    Args:
        inputs: channels: 12 or 6.

    Returns:
        It; predictions are flow in widths and heights of the image.
    """
    return ResNet50(inputs, 2, activation=_scaled_flow)


def disparity(raw: Tensor, largest: float) -> Tensor:
    """What the published networks call disparity: inverse depth of unknown scale.

    Args:
        raw: of a head.
        largest: about the upper end of the range.

    Returns:
        In (0.01, largest + 0.01).
    """
    return largest * raw.sigmoid() + LEAST_DISPARITY


def _resnet_disparity(raw: Tensor) -> Tensor:
    return disparity(raw, DISPARITY_RANGE["resnet50"])


def _scaled_flow(raw: Tensor) -> Tensor:
    return FLOW_SCALE * raw


def _tf1_double(x: Tensor) -> Tensor:
    h, w = size_of(x)
    return resize_image(x, (2 * h, 2 * w), antialias=False, sampling="tf1")
