"""Sintel laid flat as TVNet's scripts read it: frames and flow of a scene in one folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kinema.data.family import OpenedSet
from kinema.data.frames import FrameDataset
from kinema.data.placing import How, place_file


def lay_flat(
    dataset: OpenedSet[Any],
    out: Path,
    *,
    how: How,
    begin: Callable[[int], None] = lambda _: None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[int, int]:
    """Put the frames and flows of Sintel into ``MPISintel_train/SCENE`` or ``MPISintel_test/SCENE``.

    Args:
        dataset: an opened Sintel; its part with truth, or the test part.
        out: the folder to fill.
        how: by links or copies.
        begin: told how many files there are to place.
        advance: told after each.

    Returns:
        How many files were placed, and how many were there before.

    Raises:
        OutputError: when other files are in the way, or nothing can be written.
    """
    top = "MPISintel_test" if isinstance(dataset, FrameDataset) else "MPISintel_train"
    moves = dict(_moves(dataset, out / top))
    begin(len(moves))
    placed = 0
    for target, source in moves.items():
        placed += place_file(source, target, how=how)
        advance()
    return placed, len(moves) - placed


def _moves(dataset: OpenedSet[Any], top: Path) -> Iterator[tuple[Path, Path]]:
    for index in range(len(dataset)):
        scene = dataset.name_of(index).partition("/")[0]
        for part, path in dataset.paths_of(index).items():
            if part.startswith("image") or part == "flow":
                yield top / scene / path.name, path
