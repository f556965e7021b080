"""Text files with a fixed number of numbers a line, read strictly and written without loss."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from kinema.errors import InputError
from kinema.io.files import read_bytes

__all__ = ["exact_lines", "read_number_lines"]


def read_number_lines(path: Path | str, *, columns: Collection[int], comments: str = "") -> np.ndarray:
    """Read a table of numbers.

    Args:
        path: the file; numbers are separated by blanks or commas, empty lines do not count.
        columns: how many numbers a line may have; every line has as many as the first.
        comments: lines that start with this are left out; none when empty.

    Returns:
        (lines, columns) float64, finite, at least one line.

    Raises:
        InputError: the file is missing or empty, or a line holds something else; the line is named.
    """
    text = read_bytes(path).decode("utf-8", errors="replace")
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or (comments and words[0].startswith(comments)):
            continue
        if len(words) not in columns or (rows and len(words) != len(rows[0])):
            wanted = len(rows[0]) if rows else " or ".join(str(count) for count in sorted(columns))
            raise InputError(f"{path}: line {number} has {len(words)} values; expected {wanted} numbers")
        rows.append([_number(word, f"{path}: line {number}") for word in words])
    if not rows:
        raise InputError(f"{path}: holds no numbers; was it written completely?")
    return np.array(rows, dtype=np.float64)


def exact_lines(rows: np.ndarray, *, decimals: int | None = None) -> str:
    """Write a table of numbers.

    Args:
        rows: (lines, columns) float64.
        decimals: digits after the point; None for as many as give back the same float64.

    Returns:
        One line a row, separated by blanks.
    """
    form = repr if decimals is None else f"{{:.{decimals}f}}".format
    return "".join(" ".join(form(value) for value in row) + "\n" for row in rows.tolist())


def _number(word: str, place: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise InputError(f"{place}: {word!r} is no number") from None
    if not np.isfinite(value):
        raise InputError(f"{place}: {word} is not finite")
    return value
