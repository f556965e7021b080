"""GeoNet's modern flow network: begins with the rigid flow, and corrects it by matching from coarse to fine.

The published one sees both frames and the error of the rigid flow, and has to guess what moved from there.
Here features of the second frame are fetched along the flow so far, and compared with those of the first in a
small window, as in PWC-Net (Sun et al. 2018). Only what the camera's motion does not explain is left to find.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.geonet_blocks import join, size_of
from kinema.models.geonet_modern import initialise
from kinema.ops.correlation import correlation, unit_features
from kinema.ops.flow_head import flow_head
from kinema.ops.resize import resize_flow
from kinema.ops.warp import backward_warp

LEVELS = (5, 4, 3, 2)  # where flow is corrected, coarsest first; level n has stride 2^n
CHANNELS = (3, 16, 32, 64, 96, 128)  # of pyramid levels 0 (the image) to 5
ESTIMATOR = (96, 96, 64, 32)  # channels of the convolutions of an estimator
CONTEXT = ((64, 1), (64, 2), (64, 4), (64, 8), (32, 1))  # channels, dilation
RADIUS = 4  # of the cost volume, in pixels of its level
COSTS = (2 * RADIUS + 1) ** 2
SLOPE = 0.1  # of the leaky rectifiers
_FARTHEST = 2.0  # rigid flow is bounded to so many widths and heights: points near the camera fly off


class FlowHead(nn.Conv2d):
    """3x3 convolution that gives flow in float32 whatever the features are.

    Args:
        inputs: channels.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__(inputs, 2, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 2 h w"]:
        """Apply it outside of reduced precision.

        Args:
            x: (B, C, H, W).

        Returns:
            (B, 2, H, W) in the type of the weights.
        """
        assert self.bias is not None
        with torch.autocast(x.device.type, enabled=False):
            return flow_head(x, self.weight, self.bias)


class Estimator(nn.Module):
    """Reads a correction of the flow from matching costs.

    Args:
        inputs: channels.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        for channels in ESTIMATOR:
            self.layers.append(_layer(inputs, channels))
            inputs = channels
        self.head = FlowHead(inputs)


class MatchingFlowNetwork(nn.Module):
    """Flow from given rigid flow and two frames."""

    def __init__(self) -> None:
        super().__init__()
        self.pyramid = nn.ModuleList()
        for below, here in pairwise(CHANNELS):
            self.pyramid.append(nn.Sequential(_layer(below, here, stride=2), _layer(here, here)))
        self.estimators = nn.ModuleDict()
        for level in LEVELS:
            above = 0 if level == LEVELS[0] else 2 + ESTIMATOR[-1]
            self.estimators[str(level)] = Estimator(COSTS + CHANNELS[level] + 2 + above)
        width, self.context = ESTIMATOR[-1] + 2, nn.Sequential()
        for channels, dilation in CONTEXT:
            self.context.append(_layer(width, channels, dilation=dilation))
            width = channels
        self.context_head = FlowHead(width)
        initialise(self)
        for module in self.modules():
            if isinstance(module, FlowHead):
                nn.init.normal_(module.weight, std=0.01)

    def forward(
        self,
        first: Float[Tensor, "b 3 h w"],
        second: Float[Tensor, "b 3 h w"],
        rigid: Float[Tensor, "b 2 h w"],
    ) -> list[Float[Tensor, "b 2 _ _"]]:
        """Correct rigid flow.

        Args:
            first: (B, 3, H, W) in [-1, 1], sides multiples of 32.
            second: (B, 3, H, W) in [-1, 1].
            rigid: (B, 2, H, W) pixels.

        Returns:
            Flow (B, 2, h, w) at H, H / 8, H / 16 and H / 32, in pixels of its own grid; float32.
        """
        rigid = bounded(rigid)
        features = self._features(torch.cat([first, second]))
        flows: list[Tensor] = []
        correction = context = None
        for level in LEVELS:
            size_hw = size_of(features[level])
            start = resize_flow(rigid, size_hw, mode="area")
            if correction is not None and context is not None:
                correction = resize_flow(correction, size_hw)
                context = F.interpolate(context, size_hw, mode="bilinear")
            correction, context = self._correct(level, features[level], start, correction, context)
            flows.append(start + correction)
        assert correction is not None
        flows[-1] = rigid + resize_flow(
            correction, size_of(rigid)
        )  # at full size it keeps the edges of depth
        return flows[::-1]

    def _correct(
        self, level: int, features: Tensor, rigid: Tensor, correction: Tensor | None, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What one level makes of the correction so far, and its features."""
        flow = rigid if correction is None else rigid + correction
        first, second = unit_features(features).chunk(2)
        costs = F.leaky_relu(correlation(first, backward_warp(second, flow), radius=RADIUS), SLOPE)
        above = [] if correction is None or context is None else [_relative(correction), context]
        estimator = self.estimators[str(level)]
        assert isinstance(estimator, Estimator)
        x = estimator.layers(join(costs, features.chunk(2)[0], _relative(flow), *above))
        added = estimator.head(x)
        correction = added if correction is None else correction + added
        if level == LEVELS[-1]:
            correction = correction + self.context_head(self.context(join(x, _relative(correction))))
        return correction, x

    def _features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of levels 0 (the images) to 5."""
        maps = [images]
        for layers in self.pyramid:
            maps.append(layers(maps[-1]))
        return maps


def bounded(rigid: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b 2 h w"]:
    """Rigid flow without what cannot be used: points close to the camera, or behind it, have any flow.

    Args:
        rigid: (B, 2, H, W) pixels.

    Returns:
        The same, at most two widths and heights; 0 where it was not finite. Float32.
    """
    h, w = size_of(rigid)
    most = rigid.new_tensor([_FARTHEST * w, _FARTHEST * h], dtype=torch.float32).view(2, 1, 1)
    known = torch.where(rigid.isfinite(), rigid.float(), 0.0)
    return torch.minimum(torch.maximum(known, -most), most)


def _relative(flow: Tensor) -> Tensor:
    """Flow in widths and heights of the picture, about as large as the features beside it."""
    h, w = size_of(flow)
    return 10 * flow / flow.new_tensor([w, h]).view(2, 1, 1)


def _layer(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation),
        nn.LeakyReLU(SLOPE, inplace=True),
    )
