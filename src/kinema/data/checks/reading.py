"""Reading samples on trial: what cannot be read is told by file, with the cause where it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from kinema.data.checks.finding import Finding, below, error
from kinema.errors import InputError
from kinema.io.files import file_size, read_bytes
from kinema.io.flow import FLOW_SUFFIXES, read_flow
from kinema.io.formats.image_headers import inspect_image
from kinema.io.images import IMAGE_SUFFIXES, read_image

T = TypeVar("T")

SIXTEEN_BIT_PARTS = ("flow", "noc", "disparity", "disparity_noc", "disparity2", "depth")
"""Parts that are 16-bit pictures when they are PNG."""


def tried(
    read: Callable[[], T], *, name: str, paths: Mapping[str, Path], root: Path, findings: list[Finding]
) -> T | None:
    """Read a sample, or say why it cannot be read.

    Args:
        read: gives the sample.
        name: of it.
        paths: its files by part.
        root: the folder that is checked.
        findings: gets what was found.

    Returns:
        The sample; None when it cannot be read.
    """
    try:
        return read()
    except InputError as problem:
        told = [finding for part, path in paths.items() for finding in _file(part, path, root)]
        if not told:
            told = [_whole(str(problem), name)]
        findings += told
    return None


def _whole(problem: str, name: str) -> Finding:
    """Every file is sound by itself, so that they do not fit together."""
    check = "sizes differ" if " but " in problem or "multiple" in problem else "unreadable"
    return error(check, name, problem, "all parts of a sample must be of one size and kind: copy them again")


def _file(part: str, path: Path, root: Path) -> Iterator[Finding]:
    """What is wrong with one file by itself; nothing when it can be read."""
    name = below(path, root)
    try:
        if file_size(path) == 0:
            return  # told by the names already
    except InputError as problem:
        yield error("unreadable", name, _without(problem, path), "copy it again, or check its permissions")
        return
    if part in SIXTEEN_BIT_PARTS and path.suffix.lower() == ".png" and _bits(path) == 8:
        yield error(
            "8 bits",
            name,
            "is a picture of 8 bits where the set has 16: its values are lost",
            "take the file from the official archive; do not save it with a picture editor",
        )
        return
    try:
        _read_alone(part, path)
    except InputError as problem:
        yield error(cause_of(problem), name, _without(problem, path), "copy or download it again")


def _read_alone(part: str, path: Path) -> None:
    suffix = path.suffix.lower()
    if part in ("flow", "noc") and suffix in FLOW_SUFFIXES:
        read_flow(path)
    elif suffix in IMAGE_SUFFIXES:
        read_image(path)


def _bits(path: Path) -> int:
    try:
        return inspect_image(read_bytes(path), name=str(path)).bits
    except InputError:
        return 0


def cause_of(problem: InputError) -> str:
    """Tell why a file cannot be read.

    Args:
        problem: what the reader says.

    Returns:
        ``truncated`` when its end is missing or broken, otherwise ``unreadable``.
    """
    words = ("truncated", "cut", "ends", "too short", "bytes", "damaged", "missing")
    return "truncated" if any(word in str(problem) for word in words) else "unreadable"


def _without(problem: InputError, path: Path) -> str:
    """The message without the path, which has a column of its own."""
    return str(problem).removeprefix(str(path)).lstrip(": ")


def is_same(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether two pictures are equal.

    Args:
        first: of any shape.
        second: of any shape.

    Returns:
        True when every value is.
    """
    return first.shape == second.shape and bool(np.array_equal(first, second))


def spread(count: int, wanted: int | None) -> list[int]:
    """Choose samples evenly.

    Args:
        count: how many there are.
        wanted: how many to look at; None for all.

    Returns:
        Rising indices, the first and the last among them.
    """
    if wanted is None or wanted >= count:
        return list(range(count))
    return sorted({round(place) for place in np.linspace(0, count - 1, wanted).tolist()})


def merged(*chosen: Sequence[int]) -> list[int]:
    """Join choices.

    Args:
        chosen: indices.

    Returns:
        All of them, rising, each once.
    """
    return sorted({index for indices in chosen for index in indices})


def parts_of(opened: Any, index: int) -> Mapping[str, Path]:
    """The files of a sample; none where a set lies nowhere or packs its samples.

    Args:
        opened: a data set.
        index: of the sample.

    Returns:
        Files by part.
    """
    paths: Mapping[str, Path] = opened.paths_of(index)
    return paths
