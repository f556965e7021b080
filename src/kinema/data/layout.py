"""Official folders: a spec checked against its family, and one-line errors with expected beside found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from kinema.data.family import Family
from kinema.data.spec import DataSpec
from kinema.errors import InputError, UsageError
from kinema.io.files import user_path

_SHOWN = 8


def checked_path(spec: DataSpec, family: Family) -> Path:
    """Check a spec against its family.

    Args:
        spec: what was asked for.
        family: the family of that name.

    Returns:
        The path that the spec names, with ``~`` resolved; the working folder for a family that needs none.

    Raises:
        UsageError: when the variant or split is unknown or missing, or there is no path, or one too many.
        InputError: when the path must be a folder and is none.
    """
    _check_variant(spec, family)
    _check_split(spec, family)
    if family.place == "nothing":
        if spec.path is not None:
            raise UsageError(f"--data {spec}: {spec.name} takes no folder; write {spec.label}")
        return Path()
    if spec.path is None:
        what = "folder" if family.place == "folder" else "file, folder or pattern"
        raise UsageError(f"--data {spec}: needs a {what}; write {spec}:PATH")
    path = user_path(spec.path)
    if family.place == "folder" and not path.is_dir():
        raise InputError(f"--data {spec}: no such folder: {path}")
    return path


def list_names(folder: Path) -> set[str]:
    """List a folder.

    Args:
        folder: may be absent.

    Returns:
        The names in it; empty when it is not a folder.

    Raises:
        InputError: when it may not be listed.
    """
    try:
        return set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 - one call, no Path per file
    except PermissionError:
        raise InputError(f"{folder}: cannot be listed; check its permissions") from None


def first_root(path: Path, candidates: Sequence[str], *, needed: Sequence[str]) -> Path | None:
    """Find which folder under a path is the root of a data set.

    Args:
        path: the folder that was given.
        candidates: folders to try below it, in order; ``""`` is the folder itself.
        needed: folders that the root must contain.

    Returns:
        The first candidate that contains them all, or None.
    """
    for candidate in candidates:
        root = path / candidate
        if all((root / name).is_dir() for name in needed):
            return root
    return None


def nothing_usable(
    spec: DataSpec, path: Path, layout: str, *, reason: str = "", sample: str = "pair"
) -> InputError:
    """Build the error for a folder without a single usable sample.

    Args:
        spec: what was asked for.
        path: the folder that was searched.
        layout: the expected tree.
        reason: what was missing, when more is known than an absent folder.
        sample: what one sample of the family is called.

    Returns:
        An error that shows the expected tree beside the found one.
    """
    detail = f" ({reason})" if reason else ""
    found = describe_folder(path)
    return InputError(f"{spec.label}: no usable {sample} in {path}{detail}: expected {layout}; found {found}")


def describe_folder(path: Path) -> str:
    """Describe a folder's first two levels in one line.

    Args:
        path: an existing folder.

    Returns:
        Such as ``training/{clean, flow}, README.md``, cut after a few names.
    """
    parts = [_describe_entry(path / name) for name in _shown(path)]
    return ", ".join(parts) or "an empty folder"


def incomplete_note(incomplete: Sequence[str]) -> tuple[str, ...]:
    """Tell how many true flows had to be left out because an image is missing.

    Args:
        incomplete: names of the pairs left out.

    Returns:
        One sentence, or nothing.
    """
    if not incomplete:
        return ()
    first = sorted(incomplete)[0]
    if len(incomplete) == 1:
        return (f"one true flow has no image pair and is left out ({first})",)
    return (f"{len(incomplete)} true flows have no image pair and are left out (first: {first})",)


def _describe_entry(entry: Path) -> str:
    if not entry.is_dir():
        return entry.name
    inside = [name + ("/" if (entry / name).is_dir() else "") for name in _shown(entry)]
    return f"{entry.name}/{{{', '.join(inside)}}}" if inside else f"{entry.name}/ (empty)"


def _shown(folder: Path) -> list[str]:
    names = sorted(list_names(folder), key=lambda name: (name.startswith("."), name))
    return names if len(names) <= _SHOWN else [*names[:_SHOWN], f"... {len(names) - _SHOWN} more"]


def _check_variant(spec: DataSpec, family: Family) -> None:
    if spec.variant is None:
        if family.variant_needed:
            raise UsageError(f"--data {spec}: a variant is needed; write {_choices(family, '-')}")
    elif not family.knows_variant(spec.variant):
        if not family.variants:
            raise UsageError(f"--data {spec}: {spec.name} has no variants; leave out -{spec.variant}")
        raise UsageError(f"--data {spec}: unknown variant {spec.variant!r}; write {_choices(family, '-')}")


def _check_split(spec: DataSpec, family: Family) -> None:
    if spec.split is None or spec.split in family.splits:
        return
    if not family.splits:
        raise UsageError(f"--data {spec}: {spec.name} has no splits; leave out @{spec.split}")
    raise UsageError(f"--data {spec}: unknown split {spec.split!r}; write {_choices(family, '@')}")


def _choices(family: Family, separator: str) -> str:
    names = family.variants if separator == "-" else family.splits
    return " or ".join(f"{family.name}{separator}{name}" for name in names)
