"""``kinema data download``: parse, run, say what is there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinema.apps.data_download_config import DataDownloadConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse

if TYPE_CHECKING:
    from kinema.apps.data_download import DataDownloadResult, PartResult

_WITH_VALUE = ("-o", "--out", "--mirror", "--json")
# The parts of REDS as options, which its publishers' own script takes.
_REDS_OPTION = re.compile(r"--((train|val|test)[_-](sharp|blur)\w*|all)")


def run(argv: Sequence[str]) -> int:
    """Download a data set.

    Args:
        argv: the words after ``kinema data download``. A part may also be written as an option, as in
            ``--train_sharp``.

    Returns:
        0.

    Raises:
        KinemaError: whatever the user can fix.
        KeyboardInterrupt: when stopped; what is kept is in its note.
    """
    config = parse(
        DataDownloadConfig,
        _parts_first(argv),
        prog="kinema data download",
        description="Fetch a published data set from its publishers and unpack it. A stopped download goes "
        "on with the same command. Archives are checked before anything of them is kept; an archive that you "
        "have put into DIR yourself is unpacked without being fetched.",
        examples=(
            "kinema data download reds --dry-run",
            "kinema data download reds train_sharp train_sharp_bicubic val_sharp -o /data/reds",
            "kinema data download kitti_raw 2011_09_26_drive_0001 -o /data/kitti_raw",
        ),
    )
    from kinema.apps import data_download  # after parsing: --help and errors come at once

    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    with progress(level, unit="MB") as watcher:
        result = data_download.run(config, progress=watcher)
    if level != "quiet" or config.dry_run:
        print("\n".join(_lines(result, dry_run=config.dry_run)))
    return 0


def _parts_first(argv: Sequence[str]) -> list[str]:
    """Family and parts before the options, and ``--train_sharp`` as the part ``train_sharp``."""
    words: list[str] = []
    options: list[str] = []
    for place, word in enumerate(argv):
        if place and argv[place - 1] in _WITH_VALUE:
            options.append(word)
        elif _REDS_OPTION.fullmatch(word):
            words.append(word.removeprefix("--"))
        else:
            (options if word.startswith("-") else words).append(word)
    return [*words, *options]


def _lines(result: DataDownloadResult, *, dry_run: bool) -> list[str]:
    width = max(len(part.part) for part in result.parts)
    if not dry_run:
        lines = [f"{part.part:<{width}}  {_done(part)}" for part in result.parts]
        return [*lines, f"{result.family} -> {result.folder}"]
    lines = [f"{part.part:<{width}}  {_size(part.size):>10}  {_address(part)}" for part in result.parts]
    total = sum(part.size or 0 for part in result.parts)
    facts = {"terms": result.terms, "page": result.page, "note": result.note}
    return [
        *lines,
        f"{'together':<{width}}  {_size(total or None):>10}",
        *(f"{name}: {text}" for name, text in facts.items() if text),
    ]


def _address(part: PartResult) -> str:
    return f"{part.url}  ({part.problem})" if part.problem else part.url


def _done(part: PartResult) -> str:
    if part.there:
        return "was there"
    return f"{_size(part.size)}, {part.files} file{'' if part.files == 1 else 's'}"


def _size(size: int | None) -> str:
    if size is None:
        return "?"
    from kinema.data.download import human

    return human(size)
