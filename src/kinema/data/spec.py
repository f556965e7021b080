"""The data argument of every command as records: ``name[-variant][@split]:PATH``, joined by commas."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kinema.errors import UsageError

GRAMMAR = "NAME[-VARIANT][@SPLIT]:PATH, as in sintel-clean:/data/sintel; several are joined by commas"

_SPEC = re.compile(
    r"""(?:(?P<weight>[0-9]+(?:\.[0-9]+)?)\*)?
        (?P<name>[a-z][a-z0-9_]*)
        (?:-(?P<variant>[a-z0-9_-]+))?
        (?:@(?P<split>[a-z0-9_-]+))?
        (?::(?P<path>.+))?""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class DataSpec:
    """One data set as it was asked for; nothing has been looked at on disk.

    Attributes:
        name: the family, such as ``sintel``.
        variant: a rendering or part of the family, such as ``clean``; None when not given.
        split: an official part, such as ``val``; None means every labelled sample present.
        path: where it lies (a folder, or a glob for footage); None for families that need none.
        weight: its relative share in a training mix, positive.
    """

    name: str
    variant: str | None = None
    split: str | None = None
    path: str | None = None
    weight: float = 1.0

    @property
    def label(self) -> str:
        """The part before the path, such as ``sintel-clean@training``: the name of the data in reports."""
        variant = f"-{self.variant}" if self.variant else ""
        split = f"@{self.split}" if self.split else ""
        return f"{self.name}{variant}{split}"

    def __str__(self) -> str:
        weight = "" if self.weight == 1.0 else f"{self.weight:g}*"
        path = f":{self.path}" if self.path else ""
        return f"{weight}{self.label}{path}"


def parse_spec(text: str) -> list[DataSpec]:
    """Read a data argument.

    Args:
        text: one spec or several joined by commas. A path runs from the first colon to the next comma, so it
            may hold colons but no comma.

    Returns:
        The specs in the order given, at least one.

    Raises:
        UsageError: when a part does not follow the grammar or a weight is not positive.
    """
    return [_parse_one(part.strip(), whole=text) for part in text.split(",")]


def _parse_one(part: str, *, whole: str) -> DataSpec:
    match = _SPEC.fullmatch(part)
    if match is None:
        where = f"{part!r} in --data {whole!r}" if part != whole else f"--data {part!r}"
        raise UsageError(f"{where} is not a data spec; write {GRAMMAR}")
    weight = float(match["weight"] or 1.0)
    if weight <= 0.0:
        raise UsageError(f"--data {part!r}: a weight must be above zero")
    return DataSpec(match["name"], match["variant"], match["split"], match["path"], weight)
