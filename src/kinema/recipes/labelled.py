"""Data arguments of recipes that learn from labelled pairs. No torch is imported here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from kinema.data.spec import DataSpec, parse_spec
from kinema.errors import InputError, UsageError

_log = logging.getLogger(__name__)

PLACE = "DIR"
"""In a recipe's default: stands for a folder that the user names."""

RESERVED = "procedural@reserved"
"""What there is to validate on where nothing else is."""


def needed(text: str) -> str:
    """Say which data a recipe learns from.

    Args:
        text: specs joined by commas.

    Returns:
        Their labels, without folders and weights.
    """
    return ", ".join(spec.label for spec in parse_spec(text))


def check_named(text: str) -> None:
    """Refuse a recipe's default, whose folders have no names yet.

    Args:
        text: specs joined by commas.

    Raises:
        UsageError: when a folder is `PLACE`; it shows what to type.
    """
    if any(_open_place(spec) for spec in parse_spec(text)):
        raise UsageError(
            f"--data SPEC is missing: this recipe learns from {needed(text)}; write --data {text} with your "
            f"folders in place of {PLACE}"
        )


def settled_validation(validation: str, data: str) -> str:
    """Find the folders of a recipe's own validation among those of the data.

    Args:
        validation: specs joined by commas; where a folder is `PLACE`, it is that of the same family in the
            data.
        data: what the run learns from.

    Returns:
        Specs with folders; `RESERVED`, with a line in the log, where the data hold no such part.
    """
    specs, folders = parse_spec(validation), {spec.name: spec.path for spec in parse_spec(data)}
    if not any(map(_open_place, specs)):
        return validation
    settled = [replace(one, path=folders.get(one.name)) if _open_place(one) else one for one in specs]
    if all(one.path is not None and _is_there(one) for one in settled):
        return ",".join(map(str, settled))
    _log.warning(
        "--data holds no %s: validating on %s; --validation SPEC names other data",
        " and ".join(spec.label for spec in specs),
        RESERVED,
    )
    return RESERVED


def warn_of_overlap(training: Iterable[Sequence[object]], validation: Iterable[Sequence[object]]) -> None:
    """Tell when pairs are both learned from and validated on.

    Args:
        training: opened data sets.
        validation: opened data sets.
    """
    known = {path for dataset in training for path in _truths(dataset)}
    checked = [path for dataset in validation for path in _truths(dataset)]
    both = [path for path in checked if path in known]
    if both:
        _log.warning(
            "%d of %d validation pairs are learned from too (first: %s): their error says nothing about new "
            "data; name another --validation, or learn from a part such as @train",
            len(both),
            len(checked),
            both[0],
        )


def _truths(dataset: Sequence[object]) -> list[Path]:
    """The files of true flow, without a look at them; none of data that lie in no such files."""
    from kinema.data.sample import FlowDataset

    if not isinstance(dataset, FlowDataset):
        return []
    paths = (dataset.paths_of(index).get("flow") for index in range(len(dataset)))
    return [path.absolute() for path in paths if path is not None]


def _open_place(spec: DataSpec) -> bool:
    return spec.path == PLACE and not Path(PLACE).exists()


def _is_there(spec: DataSpec) -> bool:
    from kinema.data import open_flow

    try:
        return len(open_flow(spec)) > 0
    except InputError:
        return False
