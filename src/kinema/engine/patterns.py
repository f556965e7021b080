"""Short texts in settings: names with wildcards, numbers, and pairs of both. No torch is imported here."""

from __future__ import annotations

import itertools
import math
from fnmatch import fnmatchcase


def names(text: str) -> tuple[str, ...]:
    """Read ``a.*,b``.

    Args:
        text: patterns with commas between them; empty for none.

    Returns:
        The patterns.
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> tuple[float, ...]:
    """Read ``1,0.5,0.5``.

    Args:
        text: numbers with commas between them; empty for none.

    Returns:
        The numbers, each above 0.

    Raises:
        ValueError: when one is not a number above 0.
    """
    return tuple(_number(part) for part in names(text))


def pairs(text: str, *, steps: bool = False) -> tuple[tuple[str, float | None], ...]:
    """Read ``NAME:NUMBER,...``.

    Args:
        text: the pairs; empty for none.
        steps: whether the names are steps in rising order, and the numbers may be left out.

    Returns:
        Names with their numbers, None where one is left out.

    Raises:
        ValueError: when a part is something else.
    """
    found = []
    for part in names(text):
        name, colon, number = part.rpartition(":") if ":" in part else (part, "", "")
        if not name or (not colon and not steps) or (steps and not name.isdecimal()):
            wanted = "STEP[:FACTOR], such as 400000:0.5" if steps else "NAME:FACTOR, such as *offset*:0.1"
            raise ValueError(f"{part!r} is no {wanted}")
        found.append((name, _number(number) if colon else None))
    places = [int(name) for name, _ in found] if steps else []
    if any(later <= earlier for earlier, later in itertools.pairwise(places)):
        raise ValueError(f"{text!r}: the steps must rise")
    return tuple(found)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Ask whether a name is meant.

    Args:
        name: such as ``pcd.offset.weight``.
        patterns: with ``*``, ``?`` and ``[...]``.

    Returns:
        Whether any pattern fits the whole name.
    """
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number") from None
    if not 0 < number < math.inf:
        raise ValueError(f"{text!r}: must be more than 0")
    return number
