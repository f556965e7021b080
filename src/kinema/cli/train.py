"""`kinema train`: parse, run, say where the weights are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinema.apps.train_config import command_type, split
from kinema.apps.train_plan import read_run
from kinema.cli.console import set_up_logging, verbosity
from kinema.cli.parsing import parse
from kinema.errors import UsageError
from kinema.recipes import RECIPES, find_recipe
from kinema.recipes.base import RecipeConfig

_DESCRIPTION = (
    "Train a network by a recipe, go on with a run, or make a release of one. "
    "Examples: kinema train pwcnet-rendered --out runs/first; kinema train --resume runs/first; "
    "kinema train --resume runs/first --release. kinema train RECIPE --help shows every setting of a recipe."
)


def run(argv: Sequence[str]) -> int:
    """Run the verb.

    Args:
        argv: the words after `kinema train`.

    Returns:
        0 when the last step is done.

    Raises:
        KinemaError: when something must be corrected by the user.
        KeyboardInterrupt: when stopped; what is saved is in its note.
    """
    if "--list" in argv:
        print(_recipes())
        return 0
    name, defaults = _meant(argv)
    command = parse(command_type(defaults), argv, prog="kinema train", description=_DESCRIPTION)
    options, config = split(command, type(defaults))
    if name is None:
        raise UsageError(f"say which RECIPE: {', '.join(RECIPES)}, or --resume DIR; see kinema train --help")
    level = verbosity(quiet=options.quiet, verbose=options.verbose)
    set_up_logging(level)
    from kinema.apps import train  # after parsing: --help and errors come at once

    result = train.run(options, config, recipe=name)
    if level != "quiet" and train.is_first():
        metrics = "".join(f", {metric} {value:.3f}" for metric, value in result.metrics.items())
        print(f"{result.recipe}: {result.step} steps{metrics} -> {result.weights}")
    return 0


def _meant(argv: Sequence[str]) -> tuple[str | None, RecipeConfig]:
    """The recipe's name and the settings to start from: the recipe's own, or those of the run to go on with.

    They are needed before the words can be read, because they decide which options there are.
    """
    word = argv[0] if argv and not argv[0].startswith("-") else None
    folder = _value(argv, "--resume")
    if folder is not None:
        name, config = read_run(Path(folder))
        if word not in (None, name):
            raise UsageError(f"--resume {folder}: that run follows {name}, not {word}")
        return name, config
    if word is not None:
        return word, find_recipe(word)
    later = [name for name in RECIPES if name in argv]
    if later:
        raise UsageError(f"write the recipe first: kinema train {later[0]} ...")
    return None, RecipeConfig()


def _value(argv: Sequence[str], option: str) -> str | None:
    for position, word in enumerate(argv):
        if word == option and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith(f"{option}="):
            return word.removeprefix(f"{option}=")
    return None


def _recipes() -> str:
    width = max(map(len, RECIPES))
    return "\n".join(
        f"{name:<{width}}  {(make.__doc__ or '').splitlines()[0]}" for name, make in RECIPES.items()
    )
