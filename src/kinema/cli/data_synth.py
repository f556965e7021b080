"""``kinema data synth``: parse, run, say how the folder is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinema.apps.data_synth_config import DataSynthConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse

if TYPE_CHECKING:
    from kinema.apps import data_synth


def run(argv: Sequence[str]) -> int:
    """Render data.

    Args:
        argv: the words after ``kinema data synth``.

    Returns:
        0.

    Raises:
        KinemaError: whatever the user can fix.
        KeyboardInterrupt: when stopped; what is kept is in its note.
    """
    config = parse(
        DataSynthConfig,
        argv,
        prog="kinema data synth",
        description="Render data with exact truth and write it in an official layout, file formats included, "
        "to try a reader, an evaluation or a training on. Every file follows from layout, seed, size, frames "
        "and its number. A stopped command goes on with the same command; a larger --count adds.",
        examples=(
            "kinema data synth --layout sintel --count 4 --size 218x512 -o rendered/sintel",
            "kinema data synth --layout kitti-raw --count 8 --frames 30 --processes 4 -o rendered/kitti_raw",
        ),
    )
    from kinema.apps import data_synth as app  # after parsing: --help and errors come at once

    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    with progress(level, unit="samples") as watcher:
        result = app.run(config, progress=watcher)
    if level != "quiet":
        print(_summary(result))
    return 0


def _summary(result: data_synth.DataSynthResult) -> str:
    counted = f"{result.count} {result.unit}{'' if result.count == 1 else 's'}"
    done = f"{result.written} written" + (f", {result.there} there before" if result.there else "")
    reads = "\n".join(f"read as --data {spec}" for spec in result.specs)
    return f"{result.layout}: {counted}; {done} -> {result.folder}\n{reads}"
