"""`kinema bench`: parse, measure, print a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinema.apps.bench_config import BenchConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse
from kinema.models import find_model

if TYPE_CHECKING:
    from kinema.apps.bench import BenchResult

_DESCRIPTION = "Measure how long each model takes for a pair of frames on this machine."


def run(argv: Sequence[str]) -> int:
    """Run the verb.

    Args:
        argv: the words after `kinema bench`.

    Returns:
        0 when all is measured.

    Raises:
        KinemaError: when something must be corrected by the user.
    """
    config = parse(
        BenchConfig,
        argv,
        prog="kinema bench",
        description=_DESCRIPTION,
        examples=("kinema bench tvnet --size 436x1024",),
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
    from rich.console import Console
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
    # A file has no width: names are cut short on narrow terminals only.
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    console.print(table)
    height, width = result.size_hw
    console.print(
        f"{height}x{width} (height x width) on {result.device}; "
        f"median of {result.runs} after {result.warm_up} to warm up"
    )
    console.print(", ".join(f"{name} {version}" for name, version in versions().items()))
