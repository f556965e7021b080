"""What is known about a file of weights: a record in JSON beside it. No torch is imported here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kinema.errors import InputError
from kinema.io.files import read_bytes, write_bytes

__all__ = ["Rounding", "Score", "WeightsCard", "card_path", "read_card", "score_from", "write_card"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Record):
    """Numbers on one set of data, with the protocol that made them."""

    protocol: str = Field(min_length=1, description="Its name.")
    data: str = Field(description="Label of the data.")
    metrics: dict[str, float | None] = Field(description="Averages by name.")
    zero_flow: dict[str, float | None] = Field(default={}, description="The same for no motion at all.")
    counts: dict[str, int | None] = Field(default={}, description="Pairs, pixels, ...")
    settings: dict[str, str | int | float | None] = Field(default={}, description="Precision, ...")


class Rounding(_Record):
    """What storing the weights in half precision has changed."""

    largest: float = Field(description="The largest change of a number.")
    tensor: str = Field(description="Where.")
    relative: float = Field(description="Root of the squared changes over that of the squared numbers.")


class WeightsCard(_Record):
    """Where weights come from, what they can do, where they fail, and under which terms they may be used."""

    file: str = Field(description="Name of the file, in the same folder.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of the file.")
    model: str = Field(description="The model's name.")
    preset: str = Field(description="Of the model.")
    options: dict[str, object] = Field(default={}, description="Over the preset.")
    tensors: int = Field(ge=1, description="How many there are.")
    parameters: int = Field(ge=1, description="How many numbers they hold.")
    precision: str = Field(description="How they are stored.")
    rounding: Rounding | None = Field(default=None, description="By storing them so.")
    recipe: str = Field(description="Of the training.")
    data: str = Field(min_length=1, description="What they were trained on, in words.")
    steps: int = Field(ge=0, description="Of training.")
    settings: dict[str, object] = Field(default={}, description="Of the training, whole.")
    kinema: str = Field(description="The version that trained them.")
    numbers: list[Score] = Field(default=[], description="Measured with this file.")
    known_failures: list[str] = Field(default=[], description="Where not to rely on them.")
    licence: str = Field(min_length=1, description="Of the weights.")


def card_path(weights: Path) -> Path:
    """Where the card of a file lies.

    Args:
        weights: the file.

    Returns:
        The same name with ``.json``.
    """
    return weights.with_suffix(".json")


def read_card(weights: Path) -> WeightsCard | None:
    """Read the card of a file.

    Args:
        weights: the file.

    Returns:
        The card; None when the file has none.

    Raises:
        InputError: when it is no card.
    """
    path = card_path(weights)
    if not path.is_file():
        return None
    try:
        return WeightsCard.model_validate_json(read_bytes(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path} is no card of weights: {where}: {first['msg']}") from None


def write_card(weights: Path, card: WeightsCard, *, overwrite: bool) -> None:
    """Write the card of a file.

    Args:
        weights: the file.
        card: what is known about it.
        overwrite: whether an existing card may be replaced.

    Raises:
        OutputError: when it cannot be written.
    """
    text = json.dumps(card.model_dump(mode="json"), indent=2, ensure_ascii=False)
    write_bytes(card_path(weights), (text + "\n").encode(), overwrite=overwrite)


def score_from(record: Mapping[str, object], *, path: Path) -> Score:
    """Take what a card needs from a result of ``kinema evaluate --json``.

    Args:
        record: the result; paths and times stay out.
        path: of the file that it is from, for messages.

    Returns:
        Protocol, data, averages and counts.

    Raises:
        InputError: when it is no such result.
    """
    kept = {name: record[name] for name in Score.model_fields if name in record}
    if isinstance(kept.get("data"), str):
        kept["data"] = Path(str(kept["data"]).partition(":")[0]).name  # a label, or the name of a file
    for field, left_out in (("counts", ()), ("settings", ("weights", "device"))):
        values = kept.get(field)
        if isinstance(values, Mapping):  # of the finer counts, those of each metric, there are too many
            kept[field] = {
                name: value
                for name, value in values.items()
                if name not in left_out and not isinstance(value, Mapping | list)
            }
    try:
        return Score.model_validate(kept)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path} is no result of kinema evaluate --json: {where}: {first['msg']}") from None
