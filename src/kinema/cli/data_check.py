"""``kinema data check``: parse, run, show a table; status 2 when there are errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinema.apps.data_check_config import DataCheckConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse
from kinema.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from kinema.apps.data_check import DataCheckResult
    from kinema.data.checks.finding import Report

_WIDTH = 140  # where there is no terminal: lines stay readable in a log
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


def run(argv: Sequence[str]) -> int:
    """Check a data set.

    Args:
        argv: the words after ``kinema data check``.

    Returns:
        0 when there is no error.

    Raises:
        KinemaError: whatever the user can fix, errors in the data among it.
    """
    config = parse(
        DataCheckConfig,
        argv,
        prog="kinema data check",
        description="Look a data set over before training on it: counts, names, missing and cut files, "
        "flow against frames, masks, cameras, times, repeats. Nothing is changed. The status is 2 when there "
        "are errors; warnings and notes do not count.",
        examples=(
            "kinema data check sintel-clean:/data/sintel",
            "kinema data check kitti_raw:/data/kitti_raw --samples 200 --json report.json",
            "kinema data check 'footage:clips/*.mp4' --full",
        ),
    )
    from kinema.apps import data_check  # after parsing: --help and errors come at once

    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    with progress(level, unit="samples") as watcher:
        result = data_check.run(config, progress=watcher)
    if level != "quiet":
        _show(result, everything=config.all_findings)
    errors = result.number_of("error")
    if errors:
        count = "1 error" if errors == 1 else f"{errors} errors"
        names = ", ".join(report.data for report in result.reports if report.number_of("error"))
        raise InputError(f"{names}: {count} found; the table says what to do, --json FILE lists all")
    return 0


def _show(result: DataCheckResult, *, everything: bool) -> None:
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False, markup=False)
    for report in result.reports:
        for line in _head(report):
            console.print(line, soft_wrap=True)
        if report.findings:
            _table(console, report, everything=everything)
        if not report.number_of("error"):
            console.print(f"{report.data}: {_verdict(report)}")


def _verdict(report: Report) -> str:
    if report.number_of("warning"):
        return "no error; have a look at the warnings"
    return "fine"


def _head(report: Report) -> list[str]:
    official = f" of {report.official}" if report.official is not None else ""
    read = "all" if report.looked_at >= report.count else f"{report.looked_at}"
    files = f"; {report.files} files listed" if report.files else ""
    unit = report.unit.removesuffix("s") if report.count == 1 and not official else report.unit
    lines = [f"{report.data}: {report.count}{official} {unit}, {read} looked at{files}"]
    return lines + [f"  {note}" for note in report.notes]


def _table(console: Console, report: Report, *, everything: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from kinema.data.checks.finding import folded

    table = Table(show_lines=True, expand=False)
    for title in ("severity", "where", "what", "what to do"):
        table.add_column(title, overflow="fold")
    for finding in report.findings if everything else folded(report.findings):
        more = f"\n... and {finding.more} more" if finding.more else ""
        table.add_row(
            Text(finding.severity, style=_COLOURS[finding.severity]),
            Text(finding.place + more),
            Text(f"{finding.check}: {finding.what}"),
            Text(finding.advice),
        )
    console.print(table)
