"""UFlow: the network of "What Matters in Unsupervised Optical Flow" (Jonschkowski et al., ECCV 2020).

A smaller PWC-Net: 32 channels at every level of the pyramid, features brought to one scale before they are
compared, flow estimated down to a quarter of the size and added up from level to level, levels left out at
random in training. Two presets:

``uflow`` (default)
    The published network.
``port``
    Its MindSpore port, which has no rectifier after the cost volume and resizes flow as TensorFlow 1 does.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import InputError, UsageError
from kinema.models.uflow_settings import PRESETS, Normalization, Preset, Settings, Upsampling
from kinema.ops.correlation import correlation, joint_normalization
from kinema.ops.flow_head import flow_head
from kinema.ops.resize import resize_flow, resize_image
from kinema.ops.warp import backward_warp
from kinema.outputs import PyramidFlowOutput, TwoWayFlow

WIDTH = 32  # channels of a pyramid level, and of what an estimator hands down
ORIGINAL_WIDTHS = (16, 32, 64, 96, 128, 196)  # of the pyramid levels of PWC-Net
ESTIMATOR = (128, 128, 96, 64, WIDTH)  # channels of the five convolutions of an estimator
REFINEMENT = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))  # channels, dilation
RADIUS = 4  # of the cost volume, in pixels of its level
COSTS = (2 * RADIUS + 1) ** 2
UNMATCHED = 64  # channels of the convolution that replaces the cost volume
FINEST = 2  # flow is estimated down to a quarter of the size
SLOPE = 0.1  # of the leaky rectifiers

_Pairs = dict[int, tuple[Tensor, Tensor]]  # by level: features of where flow starts, and of where it leads


class UFlow(nn.Module):
    """Optical flow from coarse to fine, made to be learned without labels.

    Each argument after the preset is the field of `Settings` with that name; None keeps the preset's.

    Args:
        preset: see the module's text.
        levels: of the feature pyramid.
        level1_layers: convolutions of its finest level.
        level1_filters: their channels.
        level1_num_1x1: how many of them look at single pixels.
        channel_multiplier: factor of all channels.
        original_layer_sizes: channels of PWC-Net's pyramid.
        shared_flow_decoder: one estimator for all levels.
        use_cost_volume: match in a window.
        use_feature_warp: fetch features along the flow so far.
        accumulate_flow: a level adds to the flow so far.
        normalize_before_cost_volume: whose statistics bring features to one scale.
        dropout_rate: share of levels left out in training.
        rectify_costs: apply the leaky rectifier to the cost volume.
        upsampling: of flow.

    Raises:
        UsageError: for an unknown preset or value.
    """

    settings: Settings

    def __init__(
        self,
        preset: Preset = "uflow",
        *,
        levels: int | None = None,
        level1_layers: int | None = None,
        level1_filters: int | None = None,
        level1_num_1x1: int | None = None,
        channel_multiplier: float | None = None,
        original_layer_sizes: bool | None = None,
        shared_flow_decoder: bool | None = None,
        use_cost_volume: bool | None = None,
        use_feature_warp: bool | None = None,
        accumulate_flow: bool | None = None,
        normalize_before_cost_volume: Normalization | None = None,
        dropout_rate: float | None = None,
        rectify_costs: bool | None = None,
        upsampling: Upsampling | None = None,
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise UsageError(f"preset {preset!r} of uflow is unknown: use {' or '.join(PRESETS)}")
        given: dict[str, Any] = {
            "levels": levels,
            "level1_layers": level1_layers,
            "level1_filters": level1_filters,
            "level1_num_1x1": level1_num_1x1,
            "channel_multiplier": channel_multiplier,
            "original_layer_sizes": original_layer_sizes,
            "shared_flow_decoder": shared_flow_decoder,
            "use_cost_volume": use_cost_volume,
            "use_feature_warp": use_feature_warp,
            "accumulate_flow": accumulate_flow,
            "normalize_before_cost_volume": normalize_before_cost_volume,
            "dropout_rate": dropout_rate,
            "rectify_costs": rectify_costs,
            "upsampling": upsampling,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        self.settings = replace(PRESETS[preset], **changes)
        self._build_pyramid()
        self._build_decoder()
        self.reset_parameters()

    def _build_pyramid(self) -> None:
        self.pyramid = nn.ModuleDict()
        width = 3
        for level in range(1, self.settings.levels + 1):
            below, width = width, self._feature_width(level)
            first, pixelwise = level == 1, self.settings.level1_num_1x1
            count = self.settings.level1_layers if first else 3
            layers: list[nn.Module] = []
            for i in range(count):
                kernel = 1 if first and i >= count - pixelwise else 3
                layers += _convolution(below if i == 0 else width, width, kernel=kernel, stride=1 + (i == 0))
            self.pyramid[str(level)] = nn.Sequential(*layers)

    def _build_decoder(self) -> None:
        settings, down = self.settings, self._scaled(WIDTH)
        self.estimators, self.upsample_context = nn.ModuleDict(), nn.ModuleDict()
        self.reduce, self.match = nn.ModuleDict(), nn.ModuleDict()
        costs = COSTS if settings.use_cost_volume else self._scaled(UNMATCHED)
        widths = tuple(self._scaled(width) for width in ESTIMATOR)
        for level in self._flow_levels:
            features = self._feature_width(level)
            above = 0 if level == settings.levels else down + 2
            if not settings.shared_flow_decoder:
                self.estimators[str(level)] = _Estimator(above + costs + features, widths)
            else:
                self.reduce[str(level)] = nn.Conv2d(features, down, 1)
            if not settings.use_cost_volume:
                self.match[str(level)] = nn.Conv2d(2 * features, costs, 4)
            self.upsample_context[str(level)] = nn.ConvTranspose2d(down, down, 4, stride=2, padding=1)
        if settings.shared_flow_decoder:
            self.estimators["shared"] = _Estimator(down + 2 + costs + down, widths)
        # The published network has this layer at the finest level too, where nothing comes below it. Frozen:
        # data-parallel training waits in vain for the gradient of a parameter that has no effect.
        self.upsample_context[str(FINEST)].requires_grad_(requires_grad=False)
        refinement = tuple((self._scaled(width), dilation) for width, dilation in REFINEMENT)
        self.refinement = _Refinement(down + 2, refinement)

    def reset_parameters(self) -> None:
        """Draw all weights anew: uniform after Glorot, biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast("Tensor", module.bias))

    def reduce_precision(self, dtype: torch.dtype) -> None:
        """Store the weights of all layers but those that give flow in another type, for inference.

        Autocast gives the same result, but would convert all weights again for each pair of frames.

        Args:
            dtype: such as torch.bfloat16.
        """
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not name.endswith(".flow"):
                module.to(dtype)

    def forward(
        self, image1: Float[Tensor, "b 3 h w"], image2: Float[Tensor, "b 3 h w"]
    ) -> PyramidFlowOutput:
        """Flow from frame 1 to frame 2.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1], of any size: it is resized inside to a multiple of the
                coarsest stride.
            image2: (B, 3, H, W) RGB in [0, 1].

        Returns:
            The flow at full resolution, enlarged in one step, and that of each level, in pixels of the level,
            the last one refined; all float32 whatever the type that features are computed in.

        Raises:
            InputError: when the frames differ in size or are empty.
        """
        features = self._features(image1, image2)
        pairs = {level: (both[: len(image1)], both[len(image1) :]) for level, both in features.items()}
        pyramid = self._decode(pairs, directions=1)
        full = self._resized(pyramid[-1], (image1.shape[-2], image1.shape[-1]))
        return PyramidFlowOutput(flow=full, pyramid=tuple(pyramid))

    def forward_two_way(
        self, image1: Float[Tensor, "b 3 h w"], image2: Float[Tensor, "b 3 h w"]
    ) -> TwoWayFlow:
        """Flow in both directions, for training: the features of each frame are computed once.

        Equal to two calls with the frames exchanged, but for how flow is enlarged: twice by two, as in
        training, instead of in one step.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1], of any size.
            image2: (B, 3, H, W) RGB in [0, 1].

        Returns:
            Flow at full resolution and at a quarter of the size that the network works at, refined.

        Raises:
            InputError: when the frames differ in size or are empty.
        """
        count, features = len(image1), self._features(image1, image2)
        pairs = {level: (both, torch.cat([both[count:], both[:count]])) for level, both in features.items()}
        coarse = self._decode(pairs, directions=2)[-1]
        full = coarse
        for _ in range(FINEST):
            full = self._doubled(full)
        flow, backward = self._resized(full, (image1.shape[-2], image1.shape[-1])).chunk(2)
        return TwoWayFlow(flow, backward, *coarse.chunk(2))

    def _features(self, image1: Tensor, image2: Tensor) -> dict[int, Tensor]:
        """Features of all frames at the levels where flow is estimated."""
        if image1.shape != image2.shape or image1.numel() == 0:
            raise InputError(
                f"frames of shape {tuple(image1.shape)} and {tuple(image2.shape)}: uflow needs two of a size"
            )
        images, stride = torch.cat([image1, image2]), 2**self.settings.levels
        h, w = (math.ceil(side / stride) * stride for side in images.shape[-2:])
        images = resize_image(images, (h, w), antialias=False) * 2 - 1
        weight = self.get_parameter("pyramid.1.0.weight")
        x = images.to(weight.dtype, memory_format=torch.channels_last)
        maps = {}
        for level in range(1, self.settings.levels + 1):
            maps[level] = x = self.pyramid[str(level)](x)
        del maps[1]
        return maps

    def _decode(self, pairs: _Pairs, *, directions: int) -> list[Tensor]:
        """Flow of each level, coarsest first; each direction, an equal part of the batch, is its own call."""
        pyramid: list[Tensor] = []
        above = self._nothing(pairs[self.settings.levels][0]) if self.settings.shared_flow_decoder else None
        for level in self._flow_levels:
            context, flow = self._estimate(level, pairs[level], above, directions)
            pyramid.append(flow)
            if level > FINEST:
                above = self.upsample_context[str(level)](context), self._doubled(flow)
        change = self.refinement(_joined(context, pyramid[-1]))
        pyramid[-1] = pyramid[-1] + self._left_out(directions, change)[0]
        return pyramid

    def _estimate(
        self, level: int, pair: tuple[Tensor, Tensor], above: tuple[Tensor, Tensor] | None, directions: int
    ) -> tuple[Tensor, Tensor]:
        """The context and the flow of one level."""
        first, second = pair
        if above is not None and self.settings.use_feature_warp:
            second = backward_warp(second, above[1], border="zeros")
        costs = self._costs(level, first, second, directions)
        shared = self.settings.shared_flow_decoder
        seen = self.reduce[str(level)](first) if shared else first
        x = _joined(costs, seen) if above is None else _joined(*above, costs, seen)
        context, flow = self.estimators["shared" if shared else str(level)](x)
        context, flow = self._left_out(directions, context, flow)
        if above is not None and self.settings.accumulate_flow:
            flow = flow + above[1]
        return context, flow

    def _costs(self, level: int, first: Tensor, second: Tensor, directions: int) -> Tensor:
        """How well two feature maps match, brought to one scale before ("cost volume normalization")."""
        rule = self.settings.normalize_before_cost_volume
        if rule != "none":
            coupled = rule == "batch" and self.training
            first, second = joint_normalization(first, second, parts=directions if coupled else len(first))
        if self.settings.use_cost_volume:
            costs = correlation(first, second, radius=RADIUS)
        else:  # as wide as before: TensorFlow pads an even kernel by one pixel more at the end
            costs = self.match[str(level)](F.pad(torch.cat([first, second], 1), (1, 2, 1, 2)))
        return F.leaky_relu(costs, SLOPE) if self.settings.rectify_costs else costs

    def _left_out(self, directions: int, *maps: Tensor) -> tuple[Tensor, ...]:
        """In training, set all of what a level found to zero now and then, each direction by its own draw."""
        rate = self.settings.dropout_rate
        if not self.training or rate == 0:
            return maps
        kept = torch.rand(directions, device=maps[0].device) > rate
        kept = kept.repeat_interleave(len(maps[0]) // directions).view(-1, 1, 1, 1)
        return tuple(values * kept for values in maps)

    def _nothing(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Context and flow from above where nothing is above."""
        b, _, h, w = features.shape
        context = features.new_zeros((b, self._scaled(WIDTH), h, w))
        return context, features.new_zeros((b, 2, h, w), dtype=torch.float32)

    def _doubled(self, flow: Tensor) -> Tensor:
        return self._resized(flow, (2 * flow.shape[-2], 2 * flow.shape[-1]))

    def _resized(self, flow: Tensor, size_hw: tuple[int, int]) -> Tensor:
        return resize_flow(flow, size_hw, sampling=self.settings.upsampling)

    def _scaled(self, width: int) -> int:
        return int(width * self.settings.channel_multiplier)

    def _feature_width(self, level: int) -> int:
        if self.settings.original_layer_sizes:
            return self._scaled(ORIGINAL_WIDTHS[level - 1])
        return self._scaled(self.settings.level1_filters if level == 1 else WIDTH)

    @property
    def _flow_levels(self) -> range:
        """Where flow is estimated, coarsest first."""
        return range(self.settings.levels, FINEST - 1, -1)


class _Estimator(nn.Module):
    """Densely connected: each convolution sees what all before it saw and found."""

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for width in widths:
            self.layers.append(nn.Sequential(*_convolution(inputs, width)))
            inputs += width
        self.flow = nn.Conv2d(widths[-1], 2, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, h, w) to the last layer's, which is the context, and flow (B, 2, h, w)."""
        *layers, last = self.layers
        for layer in layers:
            x = torch.cat([x, layer(x)], 1)
        context = last(x)
        return context, _head(self.flow, context)


class _Refinement(nn.Module):
    """Dilated convolutions that look far around."""

    def __init__(self, inputs: int, widths: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width, dilation in widths:
            layers += _convolution(inputs, width, dilation=dilation)
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.flow = nn.Conv2d(inputs, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Context and flow (B, C, h, w) to what is to be added to the flow, (B, 2, h, w)."""
        return _head(self.flow, self.layers(x))


def _convolution(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> tuple[nn.Module, nn.Module]:
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation)
    return layer, nn.LeakyReLU(SLOPE, inplace=True)


def _joined(*maps: Tensor) -> Tensor:
    """Channels of all maps, in the type that features are computed in: that of the first."""
    like = maps[0]
    # One odd layout among them would spoil all that follow.
    return torch.cat([t.to(like.dtype, memory_format=torch.channels_last) for t in maps], 1)


def _head(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Flow from features, in the type of the layer's weights: bfloat16 keeps three digits at best."""
    with torch.autocast(x.device.type, enabled=False):
        return flow_head(x, layer.weight, cast("Tensor", layer.bias))
