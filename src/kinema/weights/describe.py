"""Which network a file of weights belongs to, and what can be done with it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from kinema.errors import KinemaError
from kinema.models import find_model
from kinema.weights.checkpoint import Checkpoint
from kinema.weights.convert import FORMATS, convert, expected_shapes, misfit, recognise
from kinema.weights.identity import is_own, stored_identity

__all__ = ["Description", "describe"]


@dataclass(frozen=True)
class Description:
    """What a file of weights seems to be.

    Attributes:
        title: one line for people.
        model: the model's name; None when it is none of kinema's.
        preset: of the model.
        options: over the preset.
        problem: why it cannot be used as it is; None when it can be, or can be converted.
        next_step: what to type; None when there is nothing.
    """

    title: str
    model: str | None = None
    preset: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    problem: str | None = None
    next_step: str | None = None


def describe(checkpoint: Checkpoint) -> Description:
    """Say what a file of weights is.

    Args:
        checkpoint: the file.

    Returns:
        What its header says; without that, what the names of its tensors say.
    """
    if "state" in checkpoint.metadata:
        return _state(checkpoint)
    if is_own(checkpoint.metadata):
        return _own(checkpoint)
    source = recognise(checkpoint)
    if source is None:
        return Description(
            title="no weights of a model of kinema",
            problem=f"its names are of no format that is known ({', '.join(FORMATS)})",
        )
    return _foreign(checkpoint, source)


def _state(checkpoint: Checkpoint) -> Description:
    """Of a training run: everything that its next step depends on."""
    try:
        record = json.loads(checkpoint.metadata["state"])
        title = f"a saved state of {record['recipe']} after {record['step']} steps"
    except (ValueError, KeyError, TypeError):
        return Description(title="a saved state of a training run", problem="its header is damaged")
    folder = checkpoint.path.resolve().parent.parent
    return Description(title=title, next_step=f"kinema train --resume {shlex.quote(str(folder))}")


def _own(checkpoint: Checkpoint) -> Description:
    metadata, name = checkpoint.metadata, checkpoint.metadata["model"]
    shapes = {tensor: fact.shape for tensor, fact in checkpoint.tensors.items()}
    try:
        identity = stored_identity(checkpoint.path, metadata, model=name)
        preset = identity.preset or find_model(name).card.default_preset
        problem = misfit(expected_shapes(name, preset, identity.options), shapes)
    except KinemaError as error:
        return Description(title=f"weights that are called {name}", problem=str(error))
    return Description(
        title=f"weights of {name}{_origin(metadata)}",
        model=name,
        preset=preset,
        options=identity.options,
        problem=None if problem is None else f"it does not fit: {problem}",
        next_step=_use(checkpoint, name) if problem is None else None,
    )


def _origin(metadata: Mapping[str, str]) -> str:
    if "converted_from" in metadata:
        return f", converted from {metadata['converted_from']} ({metadata.get('source', 'a file')})"
    if "recipe" in metadata:
        return f", trained by {metadata['recipe']} for {metadata.get('step', 'some')} steps"
    return ""


def _foreign(checkpoint: Checkpoint, source: str) -> Description:
    form = FORMATS[source]
    try:
        converted = convert(checkpoint, source=source)
    except KinemaError as error:
        return Description(title=f"like {form.title}", model=form.model, problem=str(error))
    ready = checkpoint.kind == "safetensors" and not set(converted.tensors) ^ (
        set(checkpoint.tensors) - set(converted.left_out)
    )
    return Description(
        title=form.title,
        model=converted.model,
        preset=converted.preset,
        options=converted.options,
        next_step=_use(checkpoint, form.model) if ready else _convert(checkpoint, converted.preset),
    )


def _use(checkpoint: Checkpoint, model: str) -> str:
    task = find_model(model).card.tasks[0]
    which = "" if task == "restore" else f" --model {model}"  # there the weights decide
    return f"kinema {task} INPUT... -o OUT{which} --weights {shlex.quote(str(checkpoint.path))}"


def _convert(checkpoint: Checkpoint, preset: str) -> str:
    path = shlex.quote(str(checkpoint.path))
    return f"kinema weights convert {path} -o {checkpoint.path.name.partition('.')[0]}-{preset}.safetensors"
