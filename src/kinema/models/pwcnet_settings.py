"""What distinguishes the two published PWC-Nets, setting by setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from kinema.errors import UsageError

Preset = Literal["dc", "tfoptflow"]
Connections = Literal["dense", "plain"]
Context = Literal["finest", "every_level"]
ChannelOrder = Literal["bgr", "rgb"]
Fit = Literal["resize", "pad"]
StridePadding = Literal["both", "end"]
FlowUnit = Literal["twentieth", "level_pixels"]
Warp = Literal["pwcnet", "tfoptflow"]
Upsampling = Literal["half_pixel", "tf1"]
Level6 = Literal["aa_first", "a_first"]
FinestLevel = Literal[2, 3]
Matching = Literal["product", "cosine"]
Initialisation = Literal["kaiming", "tensorflow"]

CHANNELS = (3, 16, 32, 64, 96, 128, 196)  # of pyramid levels 0 (the image) to 6
ESTIMATOR = (128, 128, 96, 64, 32)  # channels of the five convolutions of an estimator
CONTEXT = ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1))  # channels, dilation
LEVELS = (6, 5, 4, 3, 2)  # where flow is estimated, coarsest first
FLOW_UNIT = 20.0  # full-resolution pixels per unit of flow in ``dc``


@dataclass(frozen=True)
class Settings:
    """What distinguishes the two networks; each field is an option of its own.

    Attributes:
        connections: ``dense``: a layer of an estimator sees all before it (``use_dense_cx`` of tfoptflow).
        context: where a context network refines the flow: at level 2 (``finest``) or at each level
            (``every_level``, ``use_res_cx`` of tfoptflow).
        channel_order: of the images inside.
        fit: how frames are brought to a multiple of 64: ``resize``, bilinear and half-pixel, or ``pad`` with
            zeros at the bottom and right.
        stride_padding: of the stride-2 convolutions: one pixel on ``both`` sides, or ``end``, at the bottom
            and right only, as TensorFlow does on even sizes.
        flow_unit: of the flow at level l: ``twentieth`` of a full-resolution pixel, or ``level_pixels``.
        warp: ``pwcnet`` samples at (x + u, y + v) and is 0 outside; ``tfoptflow`` at (x - v, y - u), edges
            repeated.
        upsampling: of the finest flow: ``half_pixel``, or ``tf1``, as TensorFlow 1 resizes.
        level6: the stride-2 convolution of level 6: ``conv6aa`` or ``conv6a``.
        initialisation: ``kaiming``: normal of variance 2 / fan-in everywhere; ``tensorflow``: that, truncated
            at two deviations, and uniform after Glorot for flow heads and transposed convolutions.
        finest_level: where estimation ends. 2 is the published network; 3 leaves out level 2 and its context
            network, four fifths of the arithmetic: to begin training with, or for quick, blurred flow.
        matching: what the cost volume compares: features as they are, as published (``product``), or features
            of equal length (``cosine``, `kinema.ops.correlation.unit_features`), with which training from
            scratch finds its way within hundreds of steps instead of thousands.
    """

    connections: Connections = "dense"
    context: Context = "finest"
    channel_order: ChannelOrder = "bgr"
    fit: Fit = "resize"
    stride_padding: StridePadding = "both"
    flow_unit: FlowUnit = "twentieth"
    warp: Warp = "pwcnet"
    upsampling: Upsampling = "half_pixel"
    level6: Level6 = "aa_first"
    initialisation: Initialisation = "kaiming"
    finest_level: FinestLevel = 2
    matching: Matching = "product"

    @property
    def levels(self) -> tuple[int, ...]:
        """Where flow is estimated, coarsest first."""
        return LEVELS[: LEVELS.index(self.finest_level) + 1]

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value, known = getattr(self, name), get_args(kind)
            if value not in known:
                raise UsageError(f"{name} of pwcnet is {value!r}: use {' or '.join(map(str, known))}")


PRESETS: dict[str, Settings] = {
    "dc": Settings(),
    "tfoptflow": Settings(
        context="every_level",
        channel_order="rgb",
        fit="pad",
        stride_padding="end",
        flow_unit="level_pixels",
        warp="tfoptflow",
        upsampling="tf1",
        level6="a_first",
        initialisation="tensorflow",
    ),
}


def context_name(level: int, layer: int) -> str:
    """Name a layer of a context network.

    Args:
        level: that it refines.
        layer: counted from 1.

    Returns:
        The name in the state dict.
    """
    return f"dc_conv{layer}" if level == LEVELS[-1] else f"dc_conv{level}{layer}"
