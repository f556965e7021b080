"""``kinema evaluate``: errors against known truth, as a table and as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinema.apps.evaluate_config import EvaluateConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse
from kinema.errors import KinemaError
from kinema.processes import leave_as_one_of_several

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kinema.apps.evaluate import Result
    from kinema.evaluation.records import Protocol
    from kinema.evaluation.results import EvaluationResult

_SHOWN = 5  # metrics in the table of several checkpoints
_FIXABLE = 2
_PIPED = 160  # columns


def run(argv: Sequence[str]) -> int:
    """Evaluate a model or anyone's files and print the numbers.

    Args:
        argv: the words after ``kinema evaluate``.

    Returns:
        0; in a process that only helps another one, also 2, since that one says what is wrong.

    Raises:
        KinemaError: whatever the user can fix.
    """
    config = parse(
        EvaluateConfig,
        argv,
        prog="kinema evaluate",
        description="Score a model on labelled data, or results made by anyone, by a named protocol.",
        examples=(
            "kinema evaluate tvnet --data sintel-clean:/data/sintel --json tvnet.json",
            "kinema evaluate pwcnet --data kitti2015:/data/kitti15 --weights runs/first",
            "kinema evaluate --predictions mine/ --truth /data/flow/ --protocol middlebury",
        ),
    )
    from kinema.apps import evaluate  # after parsing: --help and errors come at once

    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, one speaks
    level = verbosity(quiet=config.quiet, verbose=config.verbose) if first else "quiet"
    set_up_logging(level)
    try:
        with progress(level, unit="items") as watcher:
            results = evaluate.run(config, progress=watcher)
    except KinemaError:
        if first:
            raise
        return _FIXABLE
    if level != "quiet":
        _print(results, every_item=level == "verbose", compared=evaluate.of_folder(config))
    leave_as_one_of_several()
    return 0


def _print(results: Sequence[Result], *, every_item: bool, compared: bool) -> None:
    from rich.console import Console

    from kinema.evaluation.results import EvaluationResult

    wide = None if sys.stdout.isatty() else _PIPED  # a file has no edge at which to break lines
    console = Console(highlight=False, width=wide)
    scored = [result for result in results if isinstance(result, EvaluationResult)]
    if compared:
        for data in dict.fromkeys(result.data for result in scored):
            _print_compared(console, [result for result in scored if result.data == data])
        return
    for result in results:
        if isinstance(result, EvaluationResult):
            _print_result(console, result, every_item=every_item)
            continue
        console.print(f"\n{result.model} on {result.data}", markup=False, soft_wrap=True)
        console.print(f"{result.counts['pairs']} flows for the server in {result.folder}", markup=False)
        _print_notes(console, result.notes)


def _print_result(console: Console, result: EvaluationResult, *, every_item: bool) -> None:
    console.print(f"\n{result.model} on {result.data}", markup=False, soft_wrap=True)
    console.print(_summary(result), markup=False, soft_wrap=True)
    console.print(_table(result))
    if every_item:
        _print_items(console, result)
    _print_notes(console, result.notes)


def _print_notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def _print_compared(console: Console, results: Sequence[EvaluationResult]) -> None:
    """One line for each checkpoint; the best number of each column is marked."""
    from rich import box
    from rich.table import Table

    from kinema.evaluation.occlusion_metrics import OCCLUSION_METRICS

    first = results[0]
    console.print(f"\n{len(results)} checkpoints on {first.data}", markup=False, soft_wrap=True)
    console.print(_summary(first, timed=False), markup=False, soft_wrap=True)
    # Of the others the larger is the better, or neither.
    errors = [name for name in first.protocol.metrics if name not in OCCLUSION_METRICS]
    shown = errors[:_SHOWN]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("checkpoint", no_wrap=True)
    for metric in shown:
        table.add_column(metric, justify="right")
    best = {
        metric: min((value for r in results if (value := r.metrics[metric]) is not None), default=None)
        for metric in shown
    }
    for result in results:
        values = [
            _number(result.metrics[metric], result.protocol)
            + ("*" if result.metrics[metric] == best[metric] else " ")
            for metric in shown
        ]
        table.add_row(result.model, *values)
    table.add_row(
        first.protocol.yardstick, *(f"{_number(first.yardstick.get(m), first.protocol)} " for m in shown)
    )
    console.print(table)
    console.print("* the least error", markup=False)
    _print_notes(console, first.notes)


def _summary(result: EvaluationResult, *, timed: bool = True) -> str:
    protocol = result.protocol
    count, official = result.counts[protocol.item], result.counts.get(f"official_{protocol.item}")
    of = f" of {official} official" if official is not None else ""
    parts = [
        f"protocol {protocol.name} ({protocol.averaging})",
        f"{count}{of} {protocol.item.removesuffix('s') if count == 1 and not of else protocol.item}",
    ]
    if protocol.part != protocol.item:
        parts.append(f"{result.counts[protocol.part]:,} {protocol.part} with truth")
    if result.seconds is not None and timed:
        parts.append(f"{result.seconds:.3g} s per {protocol.item.removesuffix('s')}")
    return ", ".join(parts)


def _table(result: EvaluationResult) -> Table:
    from rich import box
    from rich.table import Table

    from kinema.evaluation.results import fact_of

    yardstick = result.protocol.yardstick.replace("_", " ") if result.yardstick else ""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in filter(None, ("metric", "value", yardstick, "unit", "over")):
        table.add_column(heading, justify="right" if heading in ("value", yardstick) else "left")
    for name, value in result.metrics.items():
        unit, meaning = fact_of(result.protocol, name)
        numbers = [value, result.yardstick.get(name)] if yardstick else [value]
        table.add_row(name, *(_number(number, result.protocol) for number in numbers), unit, meaning)
    return table


def _print_items(console: Console, result: EvaluationResult) -> None:
    from rich import box
    from rich.table import Table

    shown = result.protocol.metrics[:4]
    table = Table(result.protocol.item.removesuffix("s"), *shown, box=box.SIMPLE_HEAD, pad_edge=False)
    for item in result.items:
        table.add_row(item.name, *(_number(item.metrics.get(name), result.protocol) for name in shown))
    console.print(table)


def _number(value: float | None, protocol: Protocol) -> str:
    digits = 3 if protocol.task == "flow" else 4
    return "-" if value is None else f"{value:.{digits}f}"
