"""`kinema train`: parse, run, say where the weights are."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from kinema.apps.progress import Silent
from kinema.apps.train_config import command_type, split
from kinema.apps.train_plan import read_run
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse, usage_error
from kinema.engine.config import GROUPS
from kinema.errors import UsageError
from kinema.processes import leave_as_one_of_several
from kinema.recipes import RECIPES, find_recipe
from kinema.recipes.base import RecipeConfig

if TYPE_CHECKING:
    from kinema.evaluation.results import EvaluationResult

_COLUMNS = ("epe", "epe_noc", "fl_all", "epe_s0_10", "epe_s10_40", "epe_s40plus")

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
    command = parse(
        command_type(defaults), argv, prog="kinema train", description=_DESCRIPTION, groups=GROUPS
    )
    try:
        options, config = split(command, type(defaults))
    except ValidationError as error:
        raise usage_error(type(command), error, "kinema train") from None
    if name is None:
        raise UsageError(f"say which RECIPE: {', '.join(RECIPES)}, or --resume DIR; see kinema train --help")
    level = verbosity(quiet=options.quiet, verbose=options.verbose)
    set_up_logging(level)
    from kinema.apps import train  # after parsing: --help and errors come at once

    shown = sys.stderr.isatty() and train.is_first()  # elsewhere the log's lines are enough
    with progress(level, unit="steps") if shown else nullcontext(Silent()) as bar:
        result = train.run(options, config, recipe=name, progress=bar)
    if level != "quiet" and train.is_first():
        metrics = "".join(f", {metric} {value:.3f}" for metric, value in result.metrics.items())
        print(f"{result.recipe}: {result.step} steps{metrics} -> {result.weights}")
        if result.evaluations:
            _print_evaluations(result.evaluations)
    leave_as_one_of_several()
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
    lines = []
    for name, make in RECIPES.items():
        needs = make().needs()
        wants = f" Needs: {needs}." if needs else ""
        lines.append(f"{name:<{width}}  {(make.__doc__ or '').splitlines()[0]}{wants}")
    return "\n".join(lines)


def _print_evaluations(results: Sequence[EvaluationResult]) -> None:
    """One table: a row for each data set, a column for each number that any of the protocols puts first."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    known = {name for result in results for name in _shown(result)}
    names = [name for name in _COLUMNS if name in known]
    table = Table("data", "protocol", box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("pairs", *names, "epe of zero flow"):
        table.add_column(heading, justify="right")
    for result in results:
        shown = [result.metrics.get(name) for name in names]
        numbers = [_number(value) for value in (*shown, result.yardstick.get("epe"))]
        table.add_row(result.data, result.protocol.name, str(result.counts["pairs"]), *numbers)
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for result in results:
        for note in result.notes:
            console.print(f"note: {result.data}: {note}", markup=False, soft_wrap=True)


def _shown(result: EvaluationResult) -> list[str]:
    return [name for name in _COLUMNS if result.metrics.get(name) is not None]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
