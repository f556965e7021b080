"""Models by name: build, load weights, put on a device, wrap in a predictor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import overload

import numpy as np
from torch import Tensor

from kinema.errors import UsageError
from kinema.inference.flow import FlowPredictor
from kinema.inference.frames import Frame
from kinema.models import check_options, find_model, nearest


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    preset: str | None = None,
    options: Mapping[str, object] | None = None,
    tile: int | None = None,
    max_side: int | None = None,
) -> FlowPredictor:
    """Make a model ready for use.

    Args:
        name: one of `list_models()`.
        weights: a file of weights, or `hf:REPO`; None for the model's own.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        preset: a named set of settings; None for the model's default.
        options: single settings by name, over those of the preset; the model's card lists the names.
        tile: compute in overlapping squares of this side in pixels, to bound the memory of large frames.
        max_side: compute with the longer side of the frames reduced to this many pixels.

    Returns:
        The predictor.

    Raises:
        UsageError: when a name is unknown or a setting does not fit the model.
    """
    entry = find_model(name)
    card = entry.card
    if weights is not None and not card.has_weights:
        raise UsageError(f"{card.name} has no weights to load: leave out --weights {weights}")
    if preset is not None and preset not in card.presets:
        raise UsageError(f"{card.name} has no preset {preset!r}{nearest(preset, card.presets)}")
    check_options(card, options or {})
    model = entry.builder(preset, options or {})
    return FlowPredictor(model, card, device=device, precision=precision, tile=tile, max_side=max_side)


@overload
def flow(image1: Frame, image2: Frame, model: str = "tvnet") -> np.ndarray: ...


@overload
def flow(image1: Tensor, image2: Tensor, model: str = "tvnet") -> Tensor: ...


def flow(image1: Frame | Tensor, image2: Frame | Tensor, model: str = "tvnet") -> np.ndarray | Tensor:
    """Compute the flow of one pair with a model's defaults.

    Args:
        image1: an (H, W, 3) RGB array, uint8, uint16 or floating point in [0, 1]; or a batch (B, 3, H, W),
            floating point RGB in [0, 1].
        image2: the same kind and size.
        model: one of `list_models()`.

    Returns:
        float32, x right, y down, in pixels: an (H, W, 2) array for arrays, a (B, 2, H, W) tensor for tensors.

    Raises:
        UsageError: when the model is unknown.
        InputError: when a frame is not an image, is too small, or the two differ in size.
    """
    predictor = load(model)
    if isinstance(image1, Tensor) and isinstance(image2, Tensor):
        return predictor.flow(image1, image2)
    return predictor.flow(image1, image2)  # type: ignore[arg-type]  # the predictor refuses a mixed pair
