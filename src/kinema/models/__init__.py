"""The models: one explicit dictionary from names to builders and cards; no torch is imported for it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from kinema.errors import UsageError
from kinema.models.card import ModelCard, Task

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelEntry:
    """How to build a model, and what it says about itself.

    Attributes:
        builder: builds the model from a preset's name (None for the default) and options by name.
        card: of the model.
    """

    builder: Callable[[str | None, Mapping[str, object]], nn.Module]
    card: ModelCard


TVNET_CARD = ModelCard(
    name="tvnet",
    title="TVNet: total-variation L1 flow unrolled into layers; useful without training, and it can learn",
    tasks=("flow",),
    presets=("corrected", "reference"),
    default_preset="corrected",
    options={
        "scales": int,
        "warps": int,
        "iterations": int,
        "tau": float,
        "lbda": float,
        "theta": float,
        "zoom": float,
        "median": int,
        "stop_below": float,
        "constants": str,
        "kernels": str,
        "kernel_norm": str,
        "biases": str,
        "start": str,
        "map_height": int,
        "map_width": int,
        "channel_order": str,
    },
    min_size_hw=(3, 3),
    stride=1,
    precisions=("fp32",),
    has_weights=True,
    works_untrained=True,
    warm_start=True,
    licence="Apache-2.0",
    paper="Fan, Huang, Gan, Ermon, Gong, Huang: End-to-End Learning of Motion Representation for Video "
    "Understanding, CVPR 2018",
    notes=(
        "Textureless regions have no motion of their own: the flow there is filled in from around them.",
        "Motion larger than about a fifth of the shorter side of a frame is mostly not found.",
        "The preset reference repeats the published network, its errors at the image border included.",
    ),
)


def _build_tvnet(preset: str | None, options: Mapping[str, object]) -> nn.Module:
    from kinema.models.tvnet import TVNet

    settings = cast("dict[str, Any]", dict(options))  # checked against the card before
    return TVNet(cast("Any", preset or TVNET_CARD.default_preset), **settings)


PWCNET_CARD = ModelCard(
    name="pwcnet",
    title="PWC-Net: pyramid, warping and cost volume; learned flow for large motion",
    tasks=("flow",),
    presets=("dc", "tfoptflow"),
    default_preset="dc",
    options={
        "connections": str,
        "context": str,
        "channel_order": str,
        "fit": str,
        "stride_padding": str,
        "flow_unit": str,
        "warp": str,
        "upsampling": str,
        "level6": str,
        "initialisation": str,
        "finest_level": int,
        "matching": str,
    },
    refinement="tvl1",
    min_size_hw=(16, 16),
    stride=1,  # it resizes or pads to multiples of 64 by itself
    precisions=("fp32", "bf16"),
    has_weights=True,
    licence="Apache-2.0 (the code; weights that you convert keep their own licence)",
    paper="Sun, Yang, Liu, Kautz: PWC-Net: CNNs for Optical Flow Using Pyramid, Warping, and Cost Volume, "
    "CVPR 2018",
    notes=(
        "The presets are two networks: the weights of one do not fit the other.",
        "Small objects that move fast are missed: they are not visible at the coarse levels.",
        "Frames smaller than about 256 pixels give better flow when they are enlarged first.",
    ),
)


def _build_pwcnet(preset: str | None, options: Mapping[str, object]) -> nn.Module:
    from kinema.models.pwcnet import PWCNet

    settings = cast("dict[str, Any]", dict(options))  # checked against the card before
    return PWCNet(cast("Any", preset or PWCNET_CARD.default_preset), **settings)


UFLOW_CARD = ModelCard(
    name="uflow",
    title="UFlow: a small pyramid network made to learn flow without labels",
    tasks=("flow",),
    presets=("uflow", "port"),
    default_preset="uflow",
    options={
        "levels": int,
        "level1_layers": int,
        "level1_filters": int,
        "level1_num_1x1": int,
        "channel_multiplier": float,
        "original_layer_sizes": bool,
        "shared_flow_decoder": bool,
        "use_cost_volume": bool,
        "use_feature_warp": bool,
        "accumulate_flow": bool,
        "normalize_before_cost_volume": str,
        "dropout_rate": float,
        "rectify_costs": bool,
        "upsampling": str,
    },
    min_size_hw=(16, 16),
    stride=1,  # it resizes to multiples of 32 by itself
    precisions=("fp32", "bf16"),
    has_weights=True,
    licence="Apache-2.0 (the code; weights that you convert keep their own licence)",
    paper="Jonschkowski, Stone, Barron, Gordon, Konolige, Angelova: What Matters in Unsupervised Optical "
    "Flow, ECCV 2020",
    notes=(
        "Flow is estimated at a quarter of the size and enlarged: borders of moving things are soft.",
        "The published network was never run on frames lower than 160 pixels; smaller ones work, less well.",
        "In training the pairs of a batch share the numbers that their features are scaled by, as published; "
        "otherwise each pair has its own.",
    ),
)


def _build_uflow(preset: str | None, options: Mapping[str, object]) -> nn.Module:
    from kinema.models.uflow import UFlow

    settings = cast("dict[str, Any]", dict(options))  # checked against the card before
    return UFlow(cast("Any", preset or UFLOW_CARD.default_preset), **settings)


EDVR_CARD = ModelCard(
    name="edvr",
    title="EDVR: a frame restored from its neighbours, aligned by deformable convolutions",
    tasks=("restore",),
    presets=(
        "m",
        "m-wotsa",
        "l",
        "l-wotsa",
        "l-vimeo90k",
        "l-srblur",
        "l-deblur",
        "l-deblur-stage2",
        "l-sr-stage2",
    ),
    default_preset="m",
    options={
        "features": int,
        "frames": int,
        "extraction_blocks": int,
        "reconstruction_blocks": int,
        "offset_groups": int,
        "fusion": str,
        "predeblur": str,
        "scale": int,
    },
    min_size_hw=(16, 16),
    stride=1,  # it continues frames by reflection to multiples of 4 or 16 by itself
    precisions=("fp32", "bf16"),
    has_weights=True,
    licence="Apache-2.0 (the code; weights that you convert keep their own licence)",
    paper="Wang, Chan, Yu, Dong, Loy: EDVR: Video Restoration with Enhanced Deformable Convolutional "
    "Networks, CVPR workshops 2019",
    notes=(
        "The presets are different networks: the weights of one do not fit another. Those of m and m-wotsa, "
        "and of l and l-wotsa, differ in the fusion alone.",
        "It restores what it was trained to restore: weights for clean, reduced frames do little for real "
        "footage, which is compressed, noisy and blurred.",
        "A window must not mix two scenes.",
    ),
)


def _build_edvr(preset: str | None, options: Mapping[str, object]) -> nn.Module:
    from kinema.models.edvr import EDVR

    settings = cast("dict[str, Any]", dict(options))  # checked against the card before
    return EDVR(cast("Any", preset or EDVR_CARD.default_preset), **settings)


GEONET_CARD = ModelCard(
    name="geonet",
    title="GeoNet: depth, the camera's motion and flow, learned together from plain video",
    tasks=("depth", "pose"),
    presets=("modern", "faithful"),
    default_preset="modern",
    options={"networks": str, "encoder": str, "frames": int, "scale_normalize": bool},
    min_size_hw=(16, 16),
    stride=1,  # it pads to multiples of 8 or 32 by itself
    precisions=("fp32", "bf16"),
    has_weights=True,
    licence="Apache-2.0 (the code; weights that you convert keep their own licence)",
    paper="Yin, Shi: GeoNet: Unsupervised Learning of Dense Depth, Optical Flow and Camera Pose, CVPR 2018",
    notes=(
        "The presets are different networks: the weights of one do not fit the other. Those of faithful for "
        "snippets of 3 and of 5 frames differ in the pose network.",
        "Depth and translation have one common unit, which no video tells: measured sizes fix it.",
        "Things that move are taken for near or far by networks that learned from video alone.",
        "Intrinsics that are wrong make turns and sideways motion wrong by the same factor.",
    ),
)


def _build_geonet(preset: str | None, options: Mapping[str, object]) -> nn.Module:
    from kinema.models.geonet import GeoNet

    settings = cast("dict[str, Any]", dict(options))  # checked against the card before
    return GeoNet(cast("Any", preset or GEONET_CARD.default_preset), **settings)


MODELS: dict[str, ModelEntry] = {
    "tvnet": ModelEntry(_build_tvnet, TVNET_CARD),
    "pwcnet": ModelEntry(_build_pwcnet, PWCNET_CARD),
    "uflow": ModelEntry(_build_uflow, UFLOW_CARD),
    "geonet": ModelEntry(_build_geonet, GEONET_CARD),
    "edvr": ModelEntry(_build_edvr, EDVR_CARD),
}
"""Every model by name."""

DEFAULT_FLOW_MODEL = "pwcnet"
"""What computes flow where no model is named: the better one on the reserved families of rendered scenes."""


def list_models(task: Task | None = None) -> list[str]:
    """Name the models.

    Args:
        task: only those that do this; None for all.

    Returns:
        Names for `kinema.load` and the command line.
    """
    return [name for name, entry in MODELS.items() if task is None or task in entry.card.tasks]


def find_model(name: str) -> ModelEntry:
    """Look up a model.

    Args:
        name: one of `list_models()`.

    Returns:
        How to build it, and its card.

    Raises:
        UsageError: when there is none of this name.
    """
    if name not in MODELS:
        raise UsageError(f"unknown model {name!r}{nearest(name, MODELS)}")
    return MODELS[name]


def check_options(card: ModelCard, options: Mapping[str, object]) -> None:
    """Check settings by name against what a model accepts.

    Args:
        card: of the model.
        options: the settings.

    Raises:
        UsageError: when a name is unknown or a value has another type.
    """
    for name, value in options.items():
        if name not in card.options:
            raise UsageError(f"{card.name} has no option {name!r}{nearest(name, card.options)}")
        kind = card.options[name]
        fits = isinstance(value, int if kind is int else (int, float) if kind is float else kind)
        if not fits or isinstance(value, bool) != (kind is bool):
            raise UsageError(f"option {name} of {card.name} is {value!r}: it takes {kind.__name__}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name.

    Args:
        name: what was asked for.
        known: what there is.

    Returns:
        Such as `; did you mean tvnet? known: tvnet, pwcnet`.
    """
    names = list(known)
    close = difflib.get_close_matches(name.lower(), names, n=1)
    guess = f"did you mean {close[0]}? " if close else ""
    return f"; {guess}known: {', '.join(names) or 'none'}"
