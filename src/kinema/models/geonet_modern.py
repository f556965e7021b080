"""GeoNet's modern networks for depth and pose: small, and made to be trained from random weights.

Groups of channels are normalised within each image, never over a batch: a sample gives the same result in any
batch, in training as afterwards, and several devices or accumulated steps equal one large batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.geonet_blocks import Head, double, join
from kinema.ops.grid import pixel_grid

GROUP = 16  # channels that are normalised together
ENCODER = ((48, 1), (96, 2), (192, 4), (320, 2))  # channels and blocks at strides 4, 8, 16, 32
STEM = 32  # channels at stride 2
DECODER = ((160, 192), (96, 96), (64, 48), (32, STEM))  # own channels, those of the skip, at strides 16 to 2
HEADS_OF_ATTENTION = 8
POSE_ENCODER = (32, 48, 96, 160, 256)  # channels at strides 2 to 32
NEAREST, FARTHEST = 0.1, 100.0  # depth, in units of its own
POSE_SCALE = 0.01
MULTIPLE = 32  # sides of the images


class Unit(nn.Sequential):
    """Convolution, group normalisation, rectifier.

    Args:
        inputs: channels.
        outputs: channels, a multiple of 16.
        kernel: its side.
        stride: of the convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.GroupNorm(outputs // GROUP, outputs),
            nn.ReLU(inplace=True),
        )


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016).

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Unit(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(channels // GROUP, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Apply it.

        Args:
            x: (B, C, H, W).

        Returns:
            The same shape and type.
        """
        return F.relu(x + self.norm(self.second(self.first(x))).to(x.dtype))


class Overview(nn.Module):
    """Lets every place look at all others once (self-attention), then mixes its channels.

    How far things are is told by what else is in the picture, more than by what is near.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.GroupNorm(1, channels)
        self.look = nn.Conv2d(channels, 3 * channels, 1)
        self.seen = nn.Conv2d(channels, channels, 1)
        self.between = nn.GroupNorm(1, channels)
        self.widen = nn.Conv2d(channels, 2 * channels, 1)
        self.narrow = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Apply it.

        Args:
            x: (B, C, H, W).

        Returns:
            The same shape and type.
        """
        b, c, h, w = x.shape
        looked = self.look(self.before(x)).flatten(2).unflatten(1, (3, HEADS_OF_ATTENTION, -1))
        query, key, value = looked.transpose(-1, -2).unbind(1)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(-1, -2).reshape(b, c, h, w)
        x = x + self.seen(seen).to(x.dtype)
        mixed: Tensor = self.narrow(F.gelu(self.widen(self.between(x))))
        return x + mixed.to(x.dtype)


class DepthNetwork(nn.Module):
    """Inverse depth at four scales from one image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Unit(3, STEM, stride=2), Unit(STEM, STEM))
        width, self.stages = STEM, nn.ModuleList()
        for channels, blocks in ENCODER:
            stage = nn.Sequential(Unit(width, channels, stride=2), *(Block(channels) for _ in range(blocks)))
            self.stages.append(stage)
            width = channels
        self.overview = Overview(width)
        self.merges, self.refinements, self.heads = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for channels, skip in DECODER:
            self.merges.append(Unit(width + skip, channels))
            self.refinements.append(Unit(channels, channels))
            self.heads.append(Head(channels, 4))  # of the four pixels that one place stands for
            width = channels
        initialise(self)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b 1 _ _"]]:
        """Predict.

        Args:
            image: (B, 3, H, W) in [-1, 1], sides multiples of 32.

        Returns:
            Inverse depth (B, 1, h, w) in (0.01, 10) at H, H / 2, H / 4 and H / 8; float32.
        """
        features = [self.stem(image)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        x = self.overview(features.pop())
        predictions: list[Tensor] = []
        for merge, refine, head in zip(self.merges, self.refinements, self.heads, strict=True):
            x = refine(merge(join(double(x), features.pop())))
            predictions.append(inverse_depth(F.pixel_shuffle(head(x), 2)))
        return predictions[::-1]


class PairPoseNetwork(nn.Module):
    """The camera's motion between two frames, in units of the picture.

    The network sees the frames and where the principal point is, and tells by how much of its width and
    height a picture is shifted. Only then the focal length makes angles and lengths of that: frames from
    another camera need not be learned anew.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 2 * 3 + 2
        for place, channels in enumerate(POSE_ENCODER):
            layers.append(Unit(width, channels, kernel=7 if place == 0 else 3, stride=2))
            layers += [Block(channels)] if place > 0 else []
            width = channels
        self.encoder = nn.Sequential(*layers, Unit(width, width, stride=2))
        self.head = Head(width, 6)
        initialise(self)

    def forward(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"], K: Float[Tensor, "b 3 3"]
    ) -> Float[Tensor, "b 6"]:
        """Estimate the motion.

        Args:
            first: (B, 3, H, W) in [-1, 1].
            second: (B, 3, H, W) in [-1, 1].
            K: (B, 3, 3) pixels.

        Returns:
            (B, 6) tx, ty, tz in units of depth, then axis times angle in radians, from the first camera to
            the second; float32.
        """
        h, w = first.shape[-2:]
        x = join(first, second, _from_principal_point(K, (h, w)))
        shift: Tensor = POSE_SCALE * self.head(self.encoder(x)).mean((2, 3))
        across, down = w / K[:, 0, 0], h / K[:, 1, 1]  # per unit of depth, and radians, to first order
        same = torch.ones_like(across)
        return shift * torch.stack((across, down, same, down, across, same), dim=1)


def inverse_depth(raw: Tensor) -> Tensor:
    """From a head's output, evenly in the logarithm: 0 is the geometric middle of the range.

    Args:
        raw: any number.

    Returns:
        In (0.01, 10): depths of 0.1 to 100.
    """
    low, high = math.log(1 / FARTHEST), math.log(1 / NEAREST)
    return (low + (high - low) * raw.sigmoid()).exp()


def nominal_intrinsics(size_hw: tuple[int, int], like: Tensor) -> Tensor:
    """What is taken where nothing is known: the longer side as focal length, a centred principal point.

    Args:
        size_hw: of the frames.
        like: gives batch size and device.

    Returns:
        (B, 3, 3) pixels.
    """
    h, w = size_hw
    focal = float(max(h, w))
    K = like.new_tensor([[focal, 0, (w - 1) / 2], [0, focal, (h - 1) / 2], [0, 0, 1]], dtype=torch.float32)
    return K.expand(like.shape[0], 3, 3)


def initialise(network: nn.Module) -> None:
    """Draw all weights after He; heads begin near 0.

    Args:
        network: whose convolutions are meant.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        if isinstance(module, Head):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, Overview):  # the two that add to the shortcut begin small
            nn.init.normal_(module.seen.weight, std=0.02)
            nn.init.normal_(module.narrow.weight, std=0.02)


def _from_principal_point(K: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(B, 2, H, W): how far pixels are from it, in widths and heights of the picture."""
    grid = pixel_grid(size_hw, device=K.device)
    size = K.new_tensor([size_hw[1], size_hw[0]])
    return (grid - K[:, :2, 2, None, None]) / size.view(2, 1, 1)
