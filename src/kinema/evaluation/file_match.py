"""Which predicted file belongs to which true one: the path below its folder, without the suffix."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import InputError

_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True)
class Matched:
    """What predictions and truth have in common.

    Attributes:
        names: matched, sorted; at least one.
        without_prediction: names of truths that nobody predicted.
        without_truth: names of predictions that have no truth.
    """

    names: tuple[str, ...]
    without_prediction: tuple[str, ...] = ()
    without_truth: tuple[str, ...] = ()


def check_exists(option: str, path: Path) -> None:
    """Refuse a path that is not there.

    Args:
        option: that it was given to.
        path: a file or folder.

    Raises:
        InputError: when it is neither.
    """
    if not path.exists():
        raise InputError(f"{option}: no such file or folder: {path}")


def check_same_kind(predictions: Path, truth: Path) -> None:
    """Refuse a file beside a folder.

    Args:
        predictions: a file or folder.
        truth: should be the same.

    Raises:
        InputError: when one is missing, or one is a file and the other a folder.
    """
    check_exists("--predictions", predictions)
    check_exists("--truth", truth)
    if predictions.is_dir() != truth.is_dir():
        kinds = ["a folder" if path.is_dir() else "a file" for path in (predictions, truth)]
        raise InputError(
            f"--predictions {predictions} is {kinds[0]} but --truth {truth} is {kinds[1]}; give two of a kind"
        )


def files_by_name(folder: Path, suffixes: Sequence[str], *, ending: str = "") -> dict[str, Path]:
    """List the files below a folder by their names.

    Args:
        folder: searched with its subfolders.
        suffixes: of the files wanted, in lower case; of several files of one name the first of these counts.
        ending: taken off the names.

    Returns:
        Files by path below the folder without suffix and ending.
    """
    best: dict[str, Path] = {}
    for path in _files(folder, suffixes):
        name = name_of(path.relative_to(folder), ending=ending)
        known = best.get(name)
        if known is None or suffixes.index(path.suffix.lower()) < suffixes.index(known.suffix.lower()):
            best[name] = path
    return best


def name_of(relative: Path, *, ending: str = "") -> str:
    """Name a file.

    Args:
        relative: its path below the folder.
        ending: taken off.

    Returns:
        The path with ``/``, without suffix and ending.
    """
    return relative.with_suffix("").as_posix().removesuffix(ending)


def match_names(
    predicted: Mapping[str, object],
    true: Collection[str],
    *,
    what: str,
    suffixes: Sequence[str],
    places: tuple[object, object],
) -> Matched:
    """Match names.

    Args:
        predicted: by name.
        true: names.
        what: the kind of thing, for messages: ``flow``, ``depth``, ...
        suffixes: that were looked for, for messages.
        places: where predictions and truth were looked for, for messages.

    Returns:
        What they have in common, and what is left over.

    Raises:
        InputError: when they have nothing in common.
    """
    names = set(true)
    common = sorted(predicted.keys() & names)
    if not common:
        raise InputError(
            f"no prediction in {places[0]} has the name of a true {what} in {places[1]}: "
            f"{_examples(predicted, what, suffixes)} against {_examples(names, what, suffixes)}; "
            "paths below the two folders must agree, apart from the suffix"
        )
    return Matched(
        tuple(common), tuple(sorted(names - predicted.keys())), tuple(sorted(predicted.keys() - names))
    )


def _files(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.suffix.lower() in suffixes and not name.startswith("."):
                yield path


def _examples(names: Collection[str], what: str, suffixes: Sequence[str]) -> str:
    if not names:
        return f"no {what} file ({', '.join(suffixes)})"
    shown = sorted(names)[:2]
    return ", ".join(shown) + (f", ... ({len(names)} files)" if len(names) > len(shown) else "")


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sort names as people count: ``im2`` before ``im10``.

    Args:
        name: to be sorted.

    Returns:
        What to sort by.
    """
    parts = _DIGITS.split(name)
    return tuple((int(part), part) if part.isdecimal() else (-1, part) for part in parts)
