"""``kinema data list``: parse, run, show the families."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kinema.apps.data_list_config import DataListConfig
from kinema.cli.parsing import parse

if TYPE_CHECKING:
    from kinema.apps.data_list import FamilyFacts
    from kinema.data.family import Kind

_WIDTH = 160


def run(argv: Sequence[str]) -> int:
    """List the data sets.

    Args:
        argv: the words after ``kinema data list``.

    Returns:
        0.

    Raises:
        KinemaError: whatever the user can fix.
    """
    config = parse(
        DataListConfig,
        argv,
        prog="kinema data list",
        description="The data sets that --data can name: what each holds, how much, on which terms.",
        examples=("kinema data list", "kinema data list kitti_raw", "kinema data list --json sets.json"),
    )
    from kinema.apps import data_list  # after parsing: --help and errors come at once

    facts = data_list.run(config)
    if config.family is not None:
        print("\n".join(_details(facts[0])))
    else:
        _table(facts, data_list.KINDS)
    return 0


def _table(facts: Sequence[FamilyFacts], kinds: Mapping[Kind, str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False, markup=False)
    for kind, title in kinds.items():
        table = Table(title=title, title_justify="left", expand=True)
        table.add_column("spec", no_wrap=True)
        for column, ratio in (("what", 6), ("how many", 4), ("frames", 3), ("terms", 4)):
            table.add_column(column, ratio=ratio, overflow="fold")
        for fact in (fact for fact in facts if fact.kind == kind):
            counts = _counts(fact)
            table.add_row(*(Text(cell) for cell in (fact.spec, fact.holds, counts, fact.size, fact.terms)))
        console.print(table)
    console.print("kinema data list FAMILY tells layout, variants, splits, publisher and page.")


def _counts(fact: FamilyFacts) -> str:
    counted = ", ".join(f"{count} {part}" for part, count in fact.counts.items())
    return f"{counted} ({fact.unit})" if counted else ""


def _details(fact: FamilyFacts) -> list[str]:
    download = f"kinema data download {fact.name}" if fact.download else ""
    rows = {
        "spec": fact.spec,
        "holds": fact.holds,
        "how many": _counts(fact),
        "frames": fact.size,
        "variants": ", ".join(fact.variants),
        "splits": ", ".join(fact.splits),
        "layout": fact.layout,
        "published by": fact.source,
        "page": fact.url,
        "terms": fact.terms,
        "download": download,
        "check": f"kinema data check {fact.spec}",
    }
    width = max(map(len, rows))
    return [fact.title, *(f"  {name:<{width}}  {text}" for name, text in rows.items() if text)]
