"""``kinema data convert``: parse, run, say where the shards are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinema.apps.data_convert_config import DataConvertConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse

if TYPE_CHECKING:
    from kinema.apps import data_convert


def run(argv: Sequence[str]) -> int:
    """Convert a data set.

    Args:
        argv: the words after ``kinema data convert``.

    Returns:
        0.

    Raises:
        KinemaError: whatever the user can fix.
        KeyboardInterrupt: when stopped; what is kept is in its note.
    """
    config = parse(
        DataConvertConfig,
        argv,
        prog="kinema data convert",
        description="Write a data set as tar shards (WebDataset convention) with an index beside each, and a "
        "manifest with the hash of every shard. Read them back as --data shards:DIR, also behind https:// or "
        "s3://. A stopped conversion goes on with the same command and ends with the same files.",
        examples=(
            "kinema data convert sintel-clean:/data/sintel -o /data/shards/sintel-clean --processes 4",
            "kinema data convert flyingchairs@train:/data/chairs -o /data/shards --num-shards 100 --shard 7",
        ),
    )
    from kinema.apps import data_convert as app  # after parsing: --help and errors come at once

    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    with progress(level, unit="samples") as watcher:
        result = app.run(config, progress=watcher)
    if level != "quiet":
        print(_summary(result))
    return 0


def _summary(result: data_convert.DataConvertResult) -> str:
    files = "" if result.files is None else f" ({_count(result.files, 'file')})"
    counted = f"{result.data}: {_count(result.samples, 'sample')}{files} in {_count(result.shards, 'shard')}"
    done = f"{result.written} written" + (f", {result.there} there before" if result.there else "")
    if result.missing:
        return f"{counted}; {done}, {result.missing} still missing -> {result.folder}"
    return (
        f"{counted}, {result.size / 2**20:.1f} MiB; {done} -> {result.folder}\n"
        f"read as --data shards:{result.folder}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
