"""What `kinema weights` can be told. Importing it imports neither torch nor a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from tyro.conf import Positional, UseAppendAction, arg

_JSON = "Also write this to a JSON file."


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description=_JSON
    )
    overwrite: bool = Field(default=False, description="Replace files that exist.")
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")


class WeightsListConfig(_Config):
    """The weights that come with kinema."""


class WeightsInfoConfig(_Config):
    """What a file of weights is."""

    file: Annotated[Positional[Path], arg(metavar="FILE")] = Field(
        description="safetensors, a file of torch.save (.pth, .pt, .tar, .pkl), or a checkpoint of "
        "TensorFlow: the name that its files share, or its .index."
    )


class WeightsConvertConfig(_Config):
    """Weights of other projects as kinema's own."""

    file: Annotated[Positional[Path], arg(metavar="FILE")] = Field(
        description="A file as for kinema weights info."
    )
    out: Annotated[Path, arg(aliases=("-o",), metavar="OUT")] = Field(
        description="The .safetensors file to write."
    )
    source: Annotated[
        Literal["nvlabs", "sniklaus", "tfoptflow", "basicsr", "edvr", "mmagic", "geonet"] | None,
        arg(name="from"),
    ] = Field(default=None, description="Whose checkpoint it is; without it the names in the file decide.")


class WeightsPackConfig(_Config):
    """The weights of a training run in half precision, with a card beside them."""

    file: Annotated[Positional[Path], arg(metavar="FILE")] = Field(
        description="Weights of a run: its last.safetensors or best.safetensors."
    )
    out: Annotated[Path, arg(aliases=("-o",), metavar="OUT")] = Field(
        description="The .safetensors file to write; its card is called the same with .json."
    )
    data: Annotated[str, arg(metavar="TEXT")] = Field(
        min_length=1, description="What they were trained on, in words."
    )
    licence: Annotated[str, arg(metavar="NAME")] = Field(
        min_length=1, description="Under which terms the weights may be used, such as Apache-2.0."
    )
    numbers: Annotated[UseAppendAction[tuple[Path, ...]], arg(metavar="FILE")] = Field(
        default=(),
        description="A result of kinema evaluate --json with these weights, for the card. Can be given "
        "several times.",
    )
    failure: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="TEXT")] = Field(
        default=(),
        description="Where not to rely on them, for the card. Can be given several times.",
    )
