"""What the header of a file of weights says about the network that they belong to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kinema.errors import InputError, UsageError
from kinema.models import MODELS, check_options, find_model

__all__ = ["Identity", "is_own", "stored_identity"]


class Identity(NamedTuple):
    """How a network is built.

    Attributes:
        model: its name.
        preset: a named set of settings; None where the file names none.
        options: single settings over it.
    """

    model: str
    preset: str | None
    options: dict[str, object]


def is_own(metadata: Mapping[str, str]) -> bool:
    """Ask whether kinema wrote a file; others too put a `model` into their headers.

    Args:
        metadata: of the file.

    Returns:
        True when it names a model of kinema.
    """
    return metadata.get("model") in MODELS


def stored_identity(path: Path, metadata: Mapping[str, str], *, model: str) -> Identity:
    """Read `model`, `preset` and `options` (a JSON object) from a header.

    Args:
        path: of the file, for messages.
        metadata: of the file.
        model: what it is of when it does not say.

    Returns:
        What it says, checked.

    Raises:
        UsageError: when the model is unknown.
        InputError: when the model has no such preset or setting.
    """
    card = find_model(metadata.get("model", model)).card
    preset = metadata.get("preset")
    if preset is not None and preset not in card.presets:
        raise InputError(f"{path} was made for preset {preset!r}, which {card.name} has not")
    try:
        options = json.loads(metadata.get("options", "{}"))
        check_options(card, options)
    except (ValueError, AttributeError, UsageError) as error:
        raise InputError(f"{path} names settings that {card.name} does not have: {error}") from None
    return Identity(card.name, preset, dict(options))
