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
    title="TVNet: total-variation L1 flow unrolled into layers; useful without training",
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
        "kernels": str,
        "channel_order": str,
    },
    min_size_hw=(3, 3),
    stride=1,
    precisions=("fp32",),
    has_weights=False,
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


MODELS: dict[str, ModelEntry] = {
    "tvnet": ModelEntry(_build_tvnet, TVNET_CARD),
    "pwcnet": ModelEntry(_build_pwcnet, PWCNET_CARD),
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
        if not fits or isinstance(value, bool):
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
