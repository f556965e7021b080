"""PWC-Net: pyramid, warping, cost volume (Sun, Yang, Liu and Kautz, CVPR 2018).

Two siblings with equal layers and different conventions, whose weights do not fit each other:

``dc`` (default)
    The network of the authors' released weights: densely connected estimators, a context network at the
    finest level, flow in twentieths of full-resolution pixels at every level.
``tfoptflow``
    The ``lg-6-2`` network of tfoptflow: a context network at every level, flow in pixels of its level, and a
    warp whose sign and order of coordinates are turned round (the learned upsampling makes up for it). With
    ``connections="plain"`` and ``context="finest"`` it is that project's small network.

Parameters carry the names of the authors' PyTorch state dict. The context networks of levels 6 to 3, which it
does not have, are ``dc_conv61`` ... ``dc_conv37``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import InputError, UsageError
from kinema.models.pwcnet_settings import (
    CHANNELS,
    CONTEXT,
    ESTIMATOR,
    FLOW_UNIT,
    LEVELS,
    PRESETS,
    ChannelOrder,
    Connections,
    Context,
    FinestLevel,
    Fit,
    FlowUnit,
    Initialisation,
    Level6,
    Matching,
    Preset,
    Settings,
    StridePadding,
    Upsampling,
    Warp,
    context_name,
)
from kinema.models.pwcnet_weights import complete_state, drop_unused, truncated_he_normal
from kinema.ops.correlation import correlation, unit_features
from kinema.ops.flow_head import flow_head
from kinema.ops.resize import resize_flow, resize_image
from kinema.ops.warp import backward_warp
from kinema.outputs import PyramidFlowOutput, TwoWayFlow

RADIUS = 4  # of the cost volume, in pixels of its level
COSTS = (2 * RADIUS + 1) ** 2
MULTIPLE = 64  # the network's input is a multiple of the coarsest stride
SLOPE = 0.1  # of the leaky rectifiers


class PWCNet(nn.Module):
    """Optical flow from coarse to fine: warp by the flow so far, match in a small window, estimate.

    Each argument after the preset is the field of `Settings` with that name; None keeps the preset's.

    Args:
        preset: see the module's text.
        connections: inside an estimator.
        context: where the flow is refined.
        channel_order: of the images inside.
        fit: of frames whose size is no multiple of 64.
        stride_padding: of the stride-2 convolutions.
        flow_unit: of the flow of each level.
        warp: rule by which features of frame 2 are fetched.
        upsampling: of the finest flow.
        level6: the order of the layers of level 6.
        initialisation: rule by which weights are drawn.
        finest_level: where estimation ends.
        matching: what the cost volume compares.

    Raises:
        UsageError: for an unknown preset or value.
    """

    settings: Settings

    def __init__(
        self,
        preset: Preset = "dc",
        *,
        connections: Connections | None = None,
        context: Context | None = None,
        channel_order: ChannelOrder | None = None,
        fit: Fit | None = None,
        stride_padding: StridePadding | None = None,
        flow_unit: FlowUnit | None = None,
        warp: Warp | None = None,
        upsampling: Upsampling | None = None,
        level6: Level6 | None = None,
        initialisation: Initialisation | None = None,
        finest_level: FinestLevel | None = None,
        matching: Matching | None = None,
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise UsageError(f"preset {preset!r} of pwcnet is unknown: use {' or '.join(PRESETS)}")
        base = PRESETS[preset]
        self.settings = replace(
            base,
            connections=connections or base.connections,
            context=context or base.context,
            channel_order=channel_order or base.channel_order,
            fit=fit or base.fit,
            stride_padding=stride_padding or base.stride_padding,
            flow_unit=flow_unit or base.flow_unit,
            warp=warp or base.warp,
            upsampling=upsampling or base.upsampling,
            level6=level6 or base.level6,
            initialisation=initialisation or base.initialisation,
            finest_level=base.finest_level if finest_level is None else finest_level,
            matching=matching or base.matching,
        )
        for level in range(1, 7):
            self._add_pyramid_level(level)
        for level in self.settings.levels:
            features = self._add_estimator(level)
            if level == LEVELS[-1] or self.settings.context == "every_level":
                self._add_context(level, features)
        self.register_load_state_dict_pre_hook(drop_unused)  # type: ignore[no-untyped-call]
        self.reset_parameters()

    def _add_pyramid_level(self, level: int) -> None:
        below, here = CHANNELS[level - 1], CHANNELS[level]
        first, *rest = self._pyramid_names(level)
        self.add_module(first, _convolution(below, here, stride=2, padding=self._stride_padding))
        for name in rest:
            self.add_module(name, _convolution(here, here))

    def _add_estimator(self, level: int) -> int:
        """The layers of one level; returns the width of the features that they end in."""
        dense = self.settings.connections == "dense"
        width = COSTS if level == 6 else COSTS + CHANNELS[level] + 4
        for i, channels in enumerate(ESTIMATOR):
            self.add_module(f"conv{level}_{i}", _convolution(width, channels))
            width = width + channels if dense else channels
        self.add_module(f"predict_flow{level}", nn.Conv2d(width, 2, 3, padding=1))
        if level > self.settings.finest_level:
            self.add_module(f"deconv{level}", nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1))
            self.add_module(f"upfeat{level}", nn.ConvTranspose2d(width, 2, 4, stride=2, padding=1))
        return width

    def _add_context(self, level: int, width: int) -> None:
        for i, (channels, dilation) in enumerate(CONTEXT, start=1):
            layer = _convolution(width, channels, dilation=dilation, padding=dilation)
            self.add_module(context_name(level, i), layer)
            width = channels
        self.add_module(context_name(level, len(CONTEXT) + 1), nn.Conv2d(width, 2, 3, padding=1))

    def reset_parameters(self) -> None:
        """Draw all weights anew by the rule of `Settings.initialisation`; biases become 0."""
        for name, module in self.named_modules():
            if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                continue
            nn.init.zeros_(cast("Tensor", module.bias))
            plain = isinstance(module, nn.Conv2d) and not name.startswith("predict_flow")
            if self.settings.initialisation == "kaiming":
                nn.init.kaiming_normal_(module.weight, mode="fan_in")
            elif plain:
                truncated_he_normal(module.weight)
            else:
                nn.init.xavier_uniform_(module.weight)

    def reduce_precision(self, dtype: torch.dtype) -> None:
        """Store the weights of all layers but those that give flow in another type, for inference.

        Autocast gives the same result, but would convert all weights again for each pair of frames.

        Args:
            dtype: such as torch.bfloat16.
        """
        for name, module in self.named_modules():
            gives_flow = name.startswith(("predict_flow", "deconv")) or name in self._last_context_names()
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and not gives_flow:
                module.to(dtype)

    def _last_context_names(self) -> set[str]:
        return {context_name(level, len(CONTEXT) + 1) for level in LEVELS}

    def forward(
        self, image1: Float[Tensor, "b 3 h w"], image2: Float[Tensor, "b 3 h w"]
    ) -> PyramidFlowOutput:
        """Flow from frame 1 to frame 2.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1], of any size: it is resized or padded inside.
            image2: (B, 3, H, W) RGB in [0, 1].

        Returns:
            The flow at full resolution and that of each level, in the network's own `flow_unit` and at the
            size of its input divided by 2^level; all float32 whatever the type of the features.

        Raises:
            InputError: when the frames differ in size or are empty.
        """
        pyramid = self._pyramid(image1, image2, two_way=False)
        full = self._full_size(pyramid[-1], (image1.shape[-2], image1.shape[-1]))
        return PyramidFlowOutput(flow=full, pyramid=tuple(pyramid))

    def forward_two_way(
        self, image1: Float[Tensor, "b 3 h w"], image2: Float[Tensor, "b 3 h w"]
    ) -> TwoWayFlow:
        """Flow in both directions, equal to two calls: the features of each frame are computed once.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1], of any size.
            image2: (B, 3, H, W) RGB in [0, 1].

        Returns:
            Flow at full resolution, and at the finest level that it is estimated at, in pixels of that level.

        Raises:
            InputError: when the frames differ in size or are empty.
        """
        finest = self._pyramid(image1, image2, two_way=True)[-1]
        full = self._full_size(finest, (image1.shape[-2], image1.shape[-1]))
        coarse = finest * self.level_pixels(self.settings.finest_level)
        return TwoWayFlow(*full.chunk(2), *coarse.chunk(2))

    def _pyramid(self, image1: Tensor, image2: Tensor, *, two_way: bool) -> list[Tensor]:
        """The flow of each level, coarsest first; both ways, that from frame 2 to 1 follows in the batch."""
        if image1.shape != image2.shape or image1.numel() == 0:
            raise InputError(
                f"frames of shape {tuple(image1.shape)} and {tuple(image2.shape)}: pwcnet needs two of a size"
            )
        features = self._features(self._prepare(torch.cat([image1, image2])))
        pyramid: list[Tensor] = []
        above: tuple[Tensor, Tensor] | None = None
        for level in self.settings.levels:
            dense = self._estimate(level, features[level], above, two_way=two_way)
            flow = _head(self._layer(f"predict_flow{level}"), dense)
            if hasattr(self, context_name(level, 1)):
                flow = flow + self._refine(level, dense)
            pyramid.append(flow)
            if level > self.settings.finest_level:
                up_flow = _in_float32(self._layer(f"deconv{level}"), flow)
                above = up_flow, self._layer(f"upfeat{level}")(dense)
        return pyramid

    def complete_state(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add to the weights of a network that ends at level 3 what this one, which ends at level 2, needs.

        Level 2 begins as a copy of level 3 wherever their layers see the same kind of thing: matching costs,
        layers before, flow and features from above. What looks at the features of frame 1, and a context
        network that level 3 does not have, keeps the weights that it has now.

        Args:
            tensors: a state dict.

        Returns:
            It, completed; as it is when it is not of this very network without level 2.
        """
        if self.settings.finest_level != LEVELS[-1]:
            return dict(tensors)
        return complete_state(self.state_dict(), tensors)

    def level_pixels(self, level: int) -> float:
        """How many pixels of a level's own grid one unit of its flow is."""
        return FLOW_UNIT / 2**level if self.settings.flow_unit == "twentieth" else 1.0

    def _prepare(self, images: Tensor) -> Tensor:
        """Frames in the network's channel order, type and layout, at a multiple of 64."""
        h, w = images.shape[-2:]
        target = (math.ceil(h / MULTIPLE) * MULTIPLE, math.ceil(w / MULTIPLE) * MULTIPLE)
        if self.settings.fit == "pad":
            images = F.pad(images, (0, target[1] - w, 0, target[0] - h))
        else:
            images = resize_image(images, target, antialias=False)
        if self.settings.channel_order == "bgr":
            images = images.flip(1)
        return images.to(_type_of(self._layer("conv1b.0")), memory_format=torch.channels_last)

    def _features(self, images: Tensor) -> list[Tensor]:
        """Feature maps of levels 0 (the images) to 6."""
        maps = [images]
        for level in range(1, 7):
            x = maps[-1]
            if self._stride_padding == 0:
                x = F.pad(x, (0, 1, 0, 1))
            for name in self._pyramid_names(level):
                x = self._layer(name)(x)
            maps.append(x)
        return maps

    def _estimate(
        self, level: int, features: Tensor, above: tuple[Tensor, Tensor] | None, *, two_way: bool
    ) -> Tensor:
        """Features of the estimator of one level (section 3, "optical flow estimator")."""
        compared = unit_features(features) if self.settings.matching == "cosine" else features
        first, second = _ends(compared, two_way=two_way)
        if above is None:
            x = F.leaky_relu(correlation(first, second, radius=RADIUS), SLOPE)
        else:
            warped = self._warp(second, above[0] * (FLOW_UNIT / 2**level))
            costs = F.leaky_relu(correlation(first, warped, radius=RADIUS), SLOPE)
            seen = features if two_way else features.chunk(2)[0]
            # One odd layout among them would spoil all that follow.
            given = [t.to(first.dtype, memory_format=torch.channels_last) for t in above]
            x = torch.cat([costs, seen, *given], 1)
        for i in range(len(ESTIMATOR)):
            new = self._layer(f"conv{level}_{i}")(x)
            x = torch.cat([new, x], 1) if self.settings.connections == "dense" else new
        return x

    def _warp(self, features: Tensor, flow: Tensor) -> Tensor:
        if self.settings.warp == "tfoptflow":
            return backward_warp(features, -flow.flip(1), border="replicate")
        return backward_warp(features, flow, border="pwcnet")

    def _refine(self, level: int, x: Tensor) -> Tensor:
        """What the context network adds to the flow of a level."""
        for i in range(1, len(CONTEXT) + 1):
            x = self._layer(context_name(level, i))(x)
        return _head(self._layer(context_name(level, len(CONTEXT) + 1)), x)

    def _full_size(self, flow: Tensor, size_hw: tuple[int, int]) -> Tensor:
        finest = self.settings.finest_level
        flow = flow * self.level_pixels(finest)
        network_hw = (flow.shape[-2] << finest, flow.shape[-1] << finest)
        sampling = self.settings.upsampling
        if self.settings.fit == "resize":
            return resize_flow(flow, size_hw, sampling=sampling)
        full = resize_flow(flow, network_hw, sampling=sampling)
        return full[..., : size_hw[0], : size_hw[1]]

    @property
    def _stride_padding(self) -> int:
        return 1 if self.settings.stride_padding == "both" else 0

    def _pyramid_names(self, level: int) -> tuple[str, str, str]:
        """The three convolutions of a pyramid level in the order of computation."""
        turned = level == 6 and self.settings.level6 == "aa_first"
        names = ("aa", "a", "b") if turned else ("a", "aa", "b")
        return f"conv{level}{names[0]}", f"conv{level}{names[1]}", f"conv{level}{names[2]}"

    def _layer(self, name: str) -> nn.Module:
        return self.get_submodule(name)


def _convolution(
    inputs: int, outputs: int, *, stride: int = 1, padding: int = 1, dilation: int = 1
) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=padding, dilation=dilation)
    return nn.Sequential(layer, nn.LeakyReLU(SLOPE, inplace=True))


def _ends(features: Tensor, *, two_way: bool) -> tuple[Tensor, Tensor]:
    """Of the features of both frames: those where flow starts, and those where it leads."""
    one, two = features.chunk(2)
    return (features, torch.cat([two, one])) if two_way else (one, two)


def _head(layer: nn.Module, x: Tensor) -> Tensor:
    """Flow from features, in the type of the layer's weights: bfloat16 keeps three digits at best."""
    with torch.autocast(x.device.type, enabled=False):
        return flow_head(x, cast("Tensor", layer.weight), cast("Tensor", layer.bias))


def _in_float32(layer: nn.Module, flow: Tensor) -> Tensor:
    """Apply a layer to flow outside of reduced precision."""
    with torch.autocast(flow.device.type, enabled=False):
        return cast("Tensor", layer(flow.to(_type_of(layer))))


def _type_of(layer: nn.Module) -> torch.dtype:
    return cast("Tensor", layer.weight).dtype
