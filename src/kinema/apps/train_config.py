"""What `kinema train` can be told: a recipe's own settings, and what to do with the run. No torch here."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from tyro.conf import Positional, arg

from kinema.recipes.base import RecipeConfig


class TrainOptions(BaseModel):
    """What to do with a run, beside the settings that it keeps."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    recipe: Annotated[Positional[str | None], arg(metavar="RECIPE")] = Field(
        default=None, description="Which recipe to follow; --list names them."
    )
    resume: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None, description="Go on with this run; everything else comes from the run itself."
    )
    release: bool = Field(
        default=False,
        description="With --resume: branch off, let the rate fall to zero over --decay-steps (default: a "
        "tenth of the steps done), and leave the run itself as it is.",
    )
    then_evaluate: Annotated[tuple[str, ...], arg(metavar="SPEC...")] = Field(
        default=(),
        description="After the last step score the averaged weights on these data sets, each by its own "
        "protocol, and print one table.",
    )
    list_recipes: Annotated[bool, arg(name="list")] = Field(
        default=False, description="Name the recipes and leave."
    )
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write the result to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Begin anew where a run already is.")
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Print no lines.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Print details.")


def command_type(
    config: RecipeConfig, *, base: type[BaseModel] = TrainOptions, without: Collection[str] = ()
) -> type[BaseModel]:
    """Join a command's own options with a recipe's settings: one flat set, each field an option.

    Args:
        config: the settings; its values become the defaults.
        base: the command's own options.
        without: names of settings that the command does not take.

    Returns:
        A type whose instances `split` takes apart.
    """
    fields: dict[str, Any] = {}
    for name, info in type(config).model_fields.items():
        if name in without:
            continue
        copied = info._copy() if hasattr(info, "_copy") else info
        copied.default = getattr(config, name)
        annotation = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
        fields[name] = (annotation, copied)
    return create_model("Command", __base__=base, __doc__=base.__doc__, **fields)


def split(command: BaseModel, kind: type[RecipeConfig]) -> tuple[TrainOptions, RecipeConfig]:
    """Take a command apart.

    Args:
        command: an instance of what `command_type` made.
        kind: of the recipe's settings.

    Returns:
        The options, and the settings, checked.
    """
    values = {name: getattr(command, name) for name in type(command).model_fields}
    options = {name: values[name] for name in TrainOptions.model_fields}
    return TrainOptions(**options), kind(**{name: values[name] for name in kind.model_fields})
