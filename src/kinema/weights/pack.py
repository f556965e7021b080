"""From the weights of a training run to a file that can be given away: half the size, with a card."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from kinema._version import __version__
from kinema.errors import InputError, UsageError
from kinema.io.checkpoints import load_tensors, save_tensors
from kinema.io.files import check_output, read_bytes
from kinema.models import find_model
from kinema.weights.card import Rounding, Score, WeightsCard, card_path, score_from, write_card
from kinema.weights.checkpoint import sha256_of
from kinema.weights.convert import expected_shapes, misfit
from kinema.weights.identity import is_own, stored_identity

__all__ = ["halve", "pack_weights", "read_scores"]

_RUN_FILE = "config.json"  # beside the weights of a run: its recipe and settings


def pack_weights(
    source: Path,
    out: Path,
    *,
    data: str,
    licence: str,
    known_failures: Sequence[str] = (),
    numbers: Sequence[Score] = (),
    overwrite: bool = False,
) -> WeightsCard:
    """Write weights in half precision, and their card beside them.

    Args:
        source: weights of a training run: its ``last.safetensors`` or ``best.safetensors``.
        out: the file to be, ``.safetensors``; the card is called the same with ``.json``.
        data: what they were trained on, in words.
        licence: of the weights.
        known_failures: where not to rely on them.
        numbers: measured with them.
        overwrite: whether existing files may be replaced.

    Returns:
        The card.

    Raises:
        UsageError: when ``out`` is no ``.safetensors``.
        InputError: when ``source`` is not of a training run, does not fit its model, or cannot be halved.
        OutputError: when a file exists or cannot be written.
    """
    if out.suffix != ".safetensors":
        raise UsageError(f"-o {out}: name a .safetensors file")
    for place in (out, card_path(out)):
        check_output(place, overwrite=overwrite)
    tensors, metadata = load_tensors(source)
    model, preset, options = _identity(source, tensors, metadata)
    halved, rounding = halve(tensors, path=source)
    save_tensors(out, halved, metadata=metadata, overwrite=overwrite)
    card = WeightsCard(
        file=out.name,
        sha256=sha256_of(out),
        model=model,
        preset=preset,
        options=options,
        tensors=len(halved),
        parameters=sum(tensor.numel() for tensor in halved.values()),
        precision="float16",
        rounding=rounding,
        recipe=metadata["recipe"],
        data=data,
        steps=int(metadata.get("step", 0)),
        settings=_run_settings(source),
        kinema=metadata.get("kinema", __version__),
        numbers=list(numbers),
        known_failures=list(known_failures),
        licence=licence,
    )
    write_card(out, card, overwrite=overwrite)
    return card


def halve(tensors: Mapping[str, Tensor], *, path: Path) -> tuple[dict[str, Tensor], Rounding]:
    """Round weights to half precision.

    Args:
        tensors: by name; those that are not floating-point numbers are kept.
        path: where they are from, for messages.

    Returns:
        The rounded tensors, and how much that changed.

    Raises:
        InputError: when a number is not finite, or too large for half precision (above 65504).
    """
    halved, changes, largest = {}, [], (0.0, "")
    for name, tensor in tensors.items():
        halved[name] = tensor.half() if tensor.is_floating_point() else tensor
        if not halved[name].isfinite().all():
            raise InputError(
                f"{path}: {name} holds numbers that half precision has not (above 65504, or none)"
            )
        change = (tensor.double() - halved[name].double()).abs()
        largest = max(largest, (change.max().item() if change.numel() else 0.0, name))
        changes.append(torch.stack([change.square().sum(), tensor.double().square().sum()]))
    changed, whole = torch.stack(changes).sum(0).sqrt().tolist()
    relative = changed / whole if whole else 0.0
    return halved, Rounding(largest=largest[0], tensor=largest[1], relative=relative)


def read_scores(paths: Sequence[Path]) -> list[Score]:
    """Read results of ``kinema evaluate --json``.

    Args:
        paths: the files.

    Returns:
        All results, in order.

    Raises:
        InputError: when a file is missing or no such result.
    """
    scores = []
    for path in paths:
        try:
            content = json.loads(read_bytes(path))
            records = content.get("results", [content])
        except (ValueError, AttributeError):
            raise InputError(f"{path} is no result of kinema evaluate --json") from None
        scores += [score_from(record, path=path) for record in records]
    return scores


def _identity(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> tuple[str, str, dict[str, object]]:
    """Model, preset and options, when the tensors are whole and of a training run."""
    if "recipe" not in metadata or not is_own(metadata):
        raise InputError(
            f"{path} has no weights of a training run: name its last.safetensors or best.safetensors"
        )
    model, preset, options = stored_identity(path, metadata, model=metadata["model"])
    preset = preset or find_model(model).card.default_preset
    reason = misfit(
        expected_shapes(model, preset, options), {name: tuple(t.shape) for name, t in tensors.items()}
    )
    if reason is not None:
        raise InputError(f"{path} does not fit {model} (preset {preset}): {reason}")
    return model, preset, options


def _run_settings(source: Path) -> dict[str, object]:
    """The run's settings; of paths only the last part, which says something elsewhere too."""
    path = source.parent / _RUN_FILE
    if not path.is_file():
        return {}
    try:
        config = dict(json.loads(read_bytes(path))["config"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged: it must be the run's JSON, with config") from None
    return {
        name: Path(value).name if isinstance(value, str) and ("/" in value or "\\" in value) else value
        for name, value in config.items()
    }
