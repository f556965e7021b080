"""Models by name: build, load weights, put on a device, wrap in a predictor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from kinema.errors import InputError, UsageError
from kinema.inference.flow import FlowPredictor, Origin
from kinema.inference.frames import Frame
from kinema.inference.refine import build_refinement
from kinema.io.checkpoints import load_tensors
from kinema.io.formats.tf_bundle import bundle_prefix
from kinema.models import DEFAULT_FLOW_MODEL, check_options, find_model, nearest
from kinema.weights.bundled import bundled_name, bundled_weights, find_bundled
from kinema.weights.hub import PREFIX, fetch
from kinema.weights.identity import stored_identity

if TYPE_CHECKING:
    from torch import nn

    from kinema.models.card import ModelCard

RANDOM = "random"
"""In place of a file of weights: the model as it is before training, to measure speed and memory."""


@dataclass(frozen=True)
class _StoredWeights:
    """The content of a file of weights; its metadata name the model and how to build it."""

    path: Path
    tensors: Mapping[str, Tensor]
    preset: str | None
    options: Mapping[str, object]


@runtime_checkable
class ReducesPrecision(Protocol):
    """A model that can store its weights in the type that it computes in, once instead of for each frame."""

    def reduce_precision(self, dtype: torch.dtype) -> None:
        """Convert the weights of all layers that need not stay in float32."""


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
    refine: str = "auto",
) -> FlowPredictor:
    """Make a model ready for use.

    Args:
        name: one of `list_models()`.
        weights: a file of weights (`.safetensors`), or a hosted one, `hf:OWNER/NAME[/FILE][@REVISION]`; None
            for those that come with kinema, or, of a model that works untrained, for none where none come;
            `random` for a model as it is before training.
            The file's metadata may name `model`, `preset` and `options` (a JSON object): they are used where
            nothing else is asked for.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        preset: a named set of settings; None for the model's default.
        options: single settings by name, over those of the preset; the model's card lists the names.
        tile: compute in overlapping squares of this side in pixels, to bound the memory of large frames.
        max_side: compute with the longer side of the frames reduced to this many pixels.
        refine: ``tvl1`` polishes the flow of a network by variational iterations at full size, in float32;
            ``none`` does not; ``auto`` does what the model's card says to the weights that come with kinema,
            and nothing to others.

    Returns:
        The predictor.

    Raises:
        UsageError: when a name is unknown, a setting does not fit the model, or weights are missing.
        InputError: when the file of weights is missing, damaged, or made for another model.
    """
    entry = find_model(name)
    card = entry.card
    if preset is not None and preset not in card.presets:
        raise UsageError(f"{card.name} has no preset {preset!r}{nearest(preset, card.presets)}")
    check_options(card, options or {})
    if refine == "auto":
        refine = card.refinement if weights is None else "none"
    if refine != "none" and card.works_untrained:
        raise UsageError(f"--refine {refine}: {card.name} is such a method itself; leave it out")
    refinement = None if refine == "none" else build_refinement(refine)
    stored = _stored_weights(card, weights, preset)
    if stored is not None:
        preset = _agreed_preset(preset, stored)
        options = {**stored.options, **(options or {})}
    model = entry.builder(preset, options or {})
    if stored is not None:
        _put_in(model, stored, f"{card.name} (preset {preset or card.default_preset})")
    predictor = FlowPredictor(
        model,
        card,
        device=device,
        precision=precision,
        tile=tile,
        max_side=max_side,
        origin=Origin(
            preset or card.default_preset, options or {}, stored.path if stored else None, refine=refine
        ),
        refinement=refinement,
    )
    if isinstance(model, ReducesPrecision) and predictor.dtype != torch.float32:
        model.reduce_precision(predictor.dtype)
    return predictor


@overload
def flow(image1: Frame, image2: Frame, model: str = DEFAULT_FLOW_MODEL) -> np.ndarray: ...


@overload
def flow(image1: Tensor, image2: Tensor, model: str = DEFAULT_FLOW_MODEL) -> Tensor: ...


def flow(
    image1: Frame | Tensor, image2: Frame | Tensor, model: str = DEFAULT_FLOW_MODEL
) -> np.ndarray | Tensor:
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


def _stored_weights(card: ModelCard, weights: str | Path | None, preset: str | None) -> _StoredWeights | None:
    """What is to be put into the model; None when it works as it is built."""
    if not card.has_weights:
        if weights is not None:
            raise UsageError(f"{card.name} has no weights to load: leave out --weights {weights}")
        return None
    if str(weights) == RANDOM:
        return None
    path = _weights_file(card, weights, preset or card.default_preset)
    if path is None:
        return None
    tensors, metadata = load_tensors(path)
    if metadata.get("model", card.name) != card.name:
        raise InputError(f"{path} holds weights of {metadata['model']}, not of {card.name}")
    stored = stored_identity(path, metadata, model=card.name)
    return _StoredWeights(path, tensors, stored.preset, stored.options)


def _weights_file(card: ModelCard, weights: str | Path | None, preset: str) -> Path | None:
    """The file that was named, that is hosted under this name, or that comes with kinema; None for none."""
    if weights is None:
        bundled = find_bundled(card.name, preset)
        if bundled is None and not card.works_untrained:
            raise UsageError(_no_bundled(card, preset))
        return bundled
    if str(weights).startswith(PREFIX):
        return fetch(str(weights), default_file=bundled_name(card.name, preset))
    path = Path(weights)
    if path.suffix != ".safetensors" and (path.is_file() or bundle_prefix(path) is not None):
        raise UsageError(
            f"--weights {path}: not a .safetensors file; kinema weights convert {path} -o NAME.safetensors "
            "makes one"
        )
    return path


def _no_bundled(card: ModelCard, preset: str) -> str:
    others = [found.preset for found in bundled_weights() if found.model == card.name]
    has = f" (it has some for --preset {' and '.join(others)})" if others else ""
    return (
        f"{card.name} comes without weights for preset {preset} in this version{has}: name a file, "
        "--weights FILE"
    )


def _agreed_preset(asked: str | None, stored: _StoredWeights) -> str | None:
    if stored.preset is None or stored.preset == asked:
        return asked
    if asked is not None:
        raise UsageError(f"{stored.path} was made for preset {stored.preset}: leave out --preset {asked}")
    return stored.preset


def _put_in(model: nn.Module, stored: _StoredWeights, name: str) -> None:
    """Load every tensor, or say which one stands in the way."""
    try:
        model.load_state_dict(dict(stored.tensors))
    except RuntimeError as error:
        reasons = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise InputError(
            f"{stored.path} does not fit {name}: {reasons[0][:200]}; kinema weights info {stored.path} says "
            "what it is"
        ) from None
