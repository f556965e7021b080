"""`kinema bench`: parse, measure, print a table."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from kinema.apps.bench_config import NOT_MEASURED, BenchConfig, TrainBenchOptions
from kinema.apps.train_config import command_type
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse, usage_error
from kinema.errors import UsageError
from kinema.models import find_model
from kinema.recipes import RECIPES, find_recipe

if TYPE_CHECKING:
    from rich.console import Console

    from kinema.apps.bench import BenchResult
    from kinema.apps.bench_train import TrainBenchResult
    from kinema.recipes.base import RecipeConfig

_DESCRIPTION = (
    "Measure how long each model takes for a pair of frames on this machine; with --train RECIPE, how long "
    "that recipe takes for a step of training: see kinema bench --train RECIPE --help."
)
_TRAIN_DESCRIPTION = "Measure training steps of a recipe on this machine. Nothing is saved."


def run(argv: Sequence[str]) -> int:
    """Run the verb.

    Args:
        argv: the words after `kinema bench`.

    Returns:
        0 when all is measured.

    Raises:
        KinemaError: when something must be corrected by the user.
    """
    if any(word.split("=")[0] == "--train" for word in argv):
        return _run_training(argv)
    config = parse(
        BenchConfig,
        argv,
        prog="kinema bench",
        description=_DESCRIPTION,
        examples=("kinema bench tvnet --size 436x1024", "kinema bench --train pwcnet-rendered --steps 5"),
    )
    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    for name in config.models:
        find_model(name)  # before torch is imported: a wrong name is told at once
    from kinema.apps import bench

    with progress(level, unit="pairs") as bar:
        result = bench.run(config, progress=bar)
    if level != "quiet":
        _print(result)
    return 0


def _print(result: BenchResult) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from kinema.apps.versions import versions

    table = Table("model", "preset", "format", box=SIMPLE_HEAD)
    for name in ("ms/pair", "fastest", "slowest", "first", "peak MiB"):
        table.add_column(name, justify="right")
    for row in result.rows:
        numbers = (row.median_ms, row.fastest_ms, row.slowest_ms, row.first_ms, row.peak_mib)
        table.add_row(
            row.model, row.preset, row.precision, *("-" if n is None else f"{n:.1f}" for n in numbers)
        )
    console = _console()
    console.print(table)
    height, width = result.size_hw
    console.print(
        f"{height}x{width} (height x width) on {result.device}; "
        f"median of {result.runs} after {result.warm_up} to warm up"
    )
    console.print(", ".join(f"{name} {version}" for name, version in versions().items()))


def _run_training(argv: Sequence[str]) -> int:
    options, config = _training(argv)
    level = verbosity(quiet=options.quiet, verbose=options.verbose)
    set_up_logging(level)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler reports its own beginning and end
    from kinema.apps import bench_train, train

    with progress(level, unit="steps") as bar:
        result = bench_train.run(options, config, progress=bar if train.is_first() else None)
    if level != "quiet" and train.is_first():
        _print_training(result)
    return 0


def _training(argv: Sequence[str]) -> tuple[TrainBenchOptions, RecipeConfig]:
    name = _recipe(argv)
    recipe = find_recipe(name)
    prog = f"kinema bench --train {name}"
    command = parse(
        command_type(recipe, base=TrainBenchOptions, without=NOT_MEASURED),
        argv,
        prog="kinema bench" if {"-h", "--help"} & set(argv) else prog,  # its usage names --train itself
        description=_TRAIN_DESCRIPTION,
        examples=("kinema bench --train pwcnet-rendered --steps 5 --crops 384x448:1",),
    )
    own = {field: getattr(command, field) for field in TrainBenchOptions.model_fields}
    asked = {
        field: getattr(command, field) for field in type(recipe).model_fields if field not in NOT_MEASURED
    }
    try:
        return TrainBenchOptions(**own), type(recipe)(**{**dict(recipe), **asked})
    except ValidationError as error:  # of what only the recipe's own type can check
        raise usage_error(type(command), error, prog) from None


def _recipe(argv: Sequence[str]) -> str:
    """The word after ``--train``: it decides which other words there are."""
    for word, after in zip(argv, [*argv[1:], ""], strict=True):
        name = after if word == "--train" else word.removeprefix("--train=") if "--train=" in word else None
        if name is not None and (not name or name.startswith("-")):
            raise UsageError(f"--train needs a recipe: {', '.join(RECIPES)}")
        if name is not None:
            return name
    raise UsageError("--train is missing")


def _print_training(result: TrainBenchResult) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from kinema.apps.versions import versions

    table = Table("where the computing goes", box=SIMPLE_HEAD)
    table.add_column("ms", justify="right")
    table.add_column("%", justify="right")
    for share in result.shares:
        table.add_row(share.part, f"{share.ms:.1f}", f"{share.percent:.1f}")
    sizes = ", ".join(f"{height}x{width}" for height, width in result.sizes_hw)
    console = _console()
    console.print(
        f"{result.ms:.1f} ms per step ({result.fastest_ms:.1f} to {result.slowest_ms:.1f}): "
        f"data {result.data_ms:.1f}, compute {result.compute_ms:.1f}; {result.samples_per_s:.3g} samples/s, "
        f"peak {result.peak_mib:.0f} MiB"
    )
    console.print(table)
    console.print(
        f"{result.recipe}, batch of {result.batch_size}{f' at {sizes}' if sizes else ''}, {result.device}; "
        f"median of {result.steps} after {result.warm_up} to warm up"
    )
    console.print(", ".join(f"{name} {version}" for name, version in versions().items()))


def _console() -> Console:
    from rich.console import Console

    # A file has no width: names are cut short on narrow terminals only.
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
