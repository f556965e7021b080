"""``kinema weights``: what there is, what a file is, and how files are converted and packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path

from kinema.apps.weights_config import (
    WeightsConvertConfig,
    WeightsInfoConfig,
    WeightsListConfig,
    WeightsPackConfig,
)
from kinema.errors import UsageError
from kinema.io.checkpoints import save_tensors
from kinema.io.files import check_output, file_size, write_json
from kinema.models import MODELS
from kinema.weights.bundled import BundledWeights, bundled_weights
from kinema.weights.card import WeightsCard, read_card
from kinema.weights.checkpoint import open_checkpoint, sha256_of
from kinema.weights.convert import convert
from kinema.weights.describe import Description, describe
from kinema.weights.pack import pack_weights, read_scores


@dataclass(frozen=True)
class ListedWeights:
    """Weights that come with kinema.

    Attributes:
        model: the model's name.
        preset: of the model.
        bytes: size of the file.
        card: what is known about it; None when it has none.
        intact: whether the file is the one that the card describes; None without a card.
    """

    model: str
    preset: str
    bytes: int
    card: WeightsCard | None
    intact: bool | None


@dataclass(frozen=True)
class WeightsList:
    """What comes with kinema, and what does not.

    Attributes:
        weights: what is there.
        missing: model and preset of those that need a file of their own.
    """

    weights: tuple[ListedWeights, ...]
    missing: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class WeightsInfo:
    """What a file of weights is.

    Attributes:
        path: the file; of TensorFlow's, the one with the names.
        kind: safetensors, torch or tensorflow.
        bytes: its size.
        sha256: of the file.
        tensors: how many.
        numbers: how many in all tensors together.
        types: how many tensors of each type.
        metadata: texts in its header.
        card: what is known about it; None when no card lies beside it.
        intact: whether it is the file that the card describes; None without a card.
        description: which network it belongs to, and what to type next.
    """

    path: Path
    kind: str
    bytes: int
    sha256: str
    tensors: int
    numbers: int
    types: Mapping[str, int]
    metadata: Mapping[str, str]
    card: WeightsCard | None
    intact: bool | None
    description: Description


@dataclass(frozen=True)
class WeightsWritten:
    """A file that was converted or packed.

    Attributes:
        out: the file.
        model: the model's name.
        preset: of the model.
        options: over the preset.
        source: format that it was converted from; ``run`` for a training run.
        tensors: how many.
        left_out: names that no computation uses.
        bytes: size of the file.
        card: what lies beside it; None for converted weights.
    """

    out: Path
    model: str
    preset: str
    options: Mapping[str, object]
    source: str
    tensors: int
    left_out: tuple[str, ...]
    bytes: int
    card: WeightsCard | None = None


def list_weights(config: WeightsListConfig) -> WeightsList:
    """List the weights that come with kinema.

    Args:
        config: where to write the list as JSON.

    Returns:
        What there is, and which presets need a file.

    Raises:
        InputError: when a card is damaged.
        OutputError: when the JSON file cannot be written.
    """
    _check_json(config.json_file, overwrite=config.overwrite)
    found = bundled_weights()
    present = {(weights.model, weights.preset) for weights in found}
    wanted = [
        (name, preset)
        for name, entry in MODELS.items()
        if entry.card.has_weights and not entry.card.works_untrained
        for preset in entry.card.presets
    ]
    result = WeightsList(
        weights=tuple(_listed(weights) for weights in found),
        missing=tuple(pair for pair in wanted if pair not in present),
    )
    if config.json_file is not None:
        write_json(config.json_file, _plain(result), overwrite=config.overwrite)
    return result


def info(config: WeightsInfoConfig) -> WeightsInfo:
    """Say what a file of weights is; nothing in it is executed.

    Args:
        config: which file.

    Returns:
        What it holds, and what can be done with it.

    Raises:
        InputError: when it is missing, damaged, or no file of weights.
        OutputError: when the JSON file cannot be written.
    """
    _check_json(config.json_file, overwrite=config.overwrite)
    checkpoint = open_checkpoint(config.file)
    types: dict[str, int] = {}
    for fact in checkpoint.tensors.values():
        types[fact.dtype] = types.get(fact.dtype, 0) + 1
    sha256, card = sha256_of(checkpoint.path), read_card(checkpoint.path)
    result = WeightsInfo(
        path=checkpoint.path,
        kind=checkpoint.kind,
        bytes=file_size(checkpoint.path),
        sha256=sha256,
        tensors=len(checkpoint.tensors),
        numbers=sum(fact.numbers for fact in checkpoint.tensors.values()),
        types=types,
        metadata=checkpoint.metadata,
        card=card,
        intact=None if card is None else card.sha256 == sha256,
        description=describe(checkpoint),
    )
    if config.json_file is not None:
        write_json(config.json_file, _plain(result), overwrite=config.overwrite)
    return result


def convert_weights(config: WeightsConvertConfig) -> WeightsWritten:
    """Write a checkpoint of another project as kinema's own.

    Args:
        config: which file, where to.

    Returns:
        What was written.

    Raises:
        UsageError: when ``out`` is no .safetensors, or the format is another.
        InputError: when the checkpoint cannot be read, is not whole, or is of no known format.
        OutputError: when the file exists or cannot be written.
    """
    if config.out.suffix != ".safetensors":
        raise UsageError(f"-o {config.out}: name a .safetensors file")
    for place in (config.out, config.json_file):
        _check_json(place, overwrite=config.overwrite)
    converted = convert(open_checkpoint(config.file), source=config.source)
    save_tensors(config.out, converted.tensors, metadata=converted.metadata, overwrite=config.overwrite)
    result = WeightsWritten(
        out=config.out,
        model=converted.model,
        preset=converted.preset,
        options=converted.options,
        source=converted.format,
        tensors=len(converted.tensors),
        left_out=converted.left_out,
        bytes=file_size(config.out),
    )
    if config.json_file is not None:
        write_json(config.json_file, _plain(result), overwrite=config.overwrite)
    return result


def pack(config: WeightsPackConfig) -> WeightsWritten:
    """Write the weights of a training run in half precision, with their card.

    Args:
        config: which file, where to, what the card says.

    Returns:
        What was written.

    Raises:
        UsageError: when ``out`` is no .safetensors.
        InputError: when the file is no weights of a run, or numbers are no result of an evaluation.
        OutputError: when a file exists or cannot be written.
    """
    _check_json(config.json_file, overwrite=config.overwrite)
    card = pack_weights(
        config.file,
        config.out,
        data=config.data,
        licence=config.licence,
        known_failures=config.failure,
        numbers=read_scores(config.numbers),
        overwrite=config.overwrite,
    )
    result = WeightsWritten(
        out=config.out,
        model=card.model,
        preset=card.preset,
        options=card.options,
        source="run",
        tensors=card.tensors,
        left_out=(),
        bytes=file_size(config.out),
        card=card,
    )
    if config.json_file is not None:
        write_json(config.json_file, _plain(result), overwrite=config.overwrite)
    return result


def _listed(weights: BundledWeights) -> ListedWeights:
    card = weights.card()
    intact = None if card is None else card.sha256 == sha256_of(weights.path)
    return ListedWeights(weights.model, weights.preset, file_size(weights.path), card, intact)


def _check_json(path: Path | None, *, overwrite: bool) -> None:
    """A place that cannot be written to is told before the work."""
    if path is not None:
        check_output(path, overwrite=overwrite)


def _plain(value: object) -> object:
    """Records as JSON has them."""
    match value:
        case WeightsCard():
            return value.model_dump(mode="json")
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case tuple() | list():
            return [_plain(item) for item in value]
        case _ if is_dataclass(value):
            return {name: _plain(item) for name, item in vars(value).items()}
    return value
