"""``kinema data prepare``: parse, run, say what is there."""

from __future__ import annotations

from collections.abc import Sequence

from kinema.apps.data_prepare_config import DataPrepareConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse


def run(argv: Sequence[str]) -> int:
    """Prepare a data set.

    Args:
        argv: the words after ``kinema data prepare``.

    Returns:
        0.

    Raises:
        KinemaError: whatever the user can fix.
        KeyboardInterrupt: when stopped; what is kept is in its note.
    """
    config = parse(
        DataPrepareConfig,
        argv,
        prog="kinema data prepare",
        description="Put a data set into the form that other programs read; kinema itself reads all as they "
        "lie. Nothing is moved or removed, and a stopped call goes on with the same command.",
        examples=(
            "kinema data prepare reds /data/reds",
            "kinema data prepare kitti_raw@eigen_train /data/kitti_raw -o /data/snippets",
            "kinema data prepare kitti_odometry@train /data/odometry -o /data/strips --frames 5",
            "kinema data prepare sintel-final /data/sintel -o /data/flat",
        ),
        groups={
            "REDS and Sintel": ("copy_files", "layout"),
            "snippets": (
                "frames",
                "size",
                "intrinsics",
                "gaps",
                "strips",
                "val_share",
                "seed",
                "threads",
            ),
        },
    )
    from kinema.apps import data_prepare  # after parsing: --help and errors come at once

    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    with progress(level, unit="items") as watcher:
        result = data_prepare.run(config, progress=watcher)
    if level != "quiet":
        before = f", {result.there} there before" if result.there else ""
        print(f"{result.data}: {result.placed} {result.unit} placed{before} -> {result.folder}")
        for path in result.lists:
            print(f"list: {path}")
        print(f"read as --data {result.read_as}")
    return 0
