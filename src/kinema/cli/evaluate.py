"""``kinema evaluate``: errors against known truth, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinema.apps.evaluate_config import EvaluateConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kinema.evaluation.scoring import EvaluationResult


def run(argv: Sequence[str]) -> int:
    """Evaluate a model or flow files and print the numbers.

    Args:
        argv: the words after ``kinema evaluate``.

    Returns:
        0.

    Raises:
        KinemaError: whatever the user can fix.
    """
    config = parse(
        EvaluateConfig,
        argv,
        prog="kinema evaluate",
        description="Score a model on labelled data, or flow files made by anyone, by a named protocol.",
        examples=(
            "kinema evaluate tvnet --data sintel-clean:/data/sintel --json tvnet.json",
            "kinema evaluate --predictions mine/ --truth /data/flow/ --protocol middlebury",
        ),
    )
    from kinema.apps import evaluate  # after parsing: --help and errors come at once

    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    with progress(level, unit="pairs") as watcher:
        results = evaluate.run(config, progress=watcher)
    if level != "quiet":
        _print(results, every_pair=level == "verbose")
    return 0


def _print(results: Sequence[EvaluationResult], *, every_pair: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    for result in results:
        console.print(f"\n{result.model} on {result.data}", markup=False, soft_wrap=True)
        console.print(f"{_summary(result)}", markup=False, soft_wrap=True)
        console.print(_table(result))
        if every_pair:
            _print_pairs(console, result)
        for note in result.notes:
            console.print(f"note: {note}", markup=False, soft_wrap=True)


def _summary(result: EvaluationResult) -> str:
    pairs, official = result.counts["pairs"], result.counts.get("official_pairs")
    of = f" of {official} official" if official is not None else ""
    parts = [
        f"protocol {result.protocol.name} ({result.protocol.averaging})",
        f"{pairs}{of} {'pair' if pairs == 1 and not of else 'pairs'}",
        f"{result.counts['pixels']:,} pixels with truth",
    ]
    if result.seconds_per_pair is not None:
        parts.append(f"{result.seconds_per_pair:.3g} s per pair")
    return ", ".join(parts)


def _table(result: EvaluationResult) -> Table:
    from rich import box
    from rich.table import Table

    from kinema.evaluation.flow_metrics import FLOW_METRICS

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("metric", "value", "zero flow", "unit", "over"):
        table.add_column(heading, justify="right" if heading in ("value", "zero flow") else "left")
    for name, value in result.metrics.items():
        metric = FLOW_METRICS.get(name)
        unit = metric.unit if metric else "px"
        over = metric.meaning if metric else "epe by the other average"
        table.add_row(name, _number(value), _number(result.zero_flow[name]), unit, over)
    return table


def _print_pairs(console: Console, result: EvaluationResult) -> None:
    from rich import box
    from rich.table import Table

    shown = result.protocol.metrics[:4]
    table = Table("pair", *shown, box=box.SIMPLE_HEAD, pad_edge=False)
    for pair in result.pairs:
        table.add_row(pair.name, *(_number(pair.metrics.get(name)) for name in shown))
    console.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
