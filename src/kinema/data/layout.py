"""Official folders: what a data set family is, and one-line errors that show expected beside found."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.data.sample import FlowDataset
from kinema.data.spec import DataSpec
from kinema.errors import InputError, UsageError

_SHOWN = 8


@dataclass(frozen=True)
class Family:
    """A data set family: what can be asked of it and how it is opened.

    Attributes:
        name: as written in a spec.
        title: one line for people.
        layout: the official tree, in one line.
        open: opens a spec whose variant and split have been checked, at an existing folder.
        variants: one of these must be given; empty when the family has none.
        splits: official splits that can be asked for.
        needs_path: False where nothing lies on disk.
    """

    name: str
    title: str
    layout: str
    open: Callable[[DataSpec, Path], FlowDataset]
    variants: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    needs_path: bool = True


def checked_path(spec: DataSpec, family: Family) -> Path:
    """Check a spec against its family.

    Args:
        spec: what was asked for.
        family: the family of that name.

    Returns:
        The existing folder that the spec names; for a family that needs none, the working folder.

    Raises:
        UsageError: when the variant or split is unknown or missing, or there is no path, or one too many.
        InputError: when the path is not a folder.
    """
    _check_choice(spec, "variant", spec.variant, family.variants, separator="-", needed=bool(family.variants))
    _check_choice(spec, "split", spec.split, family.splits, separator="@", needed=False)
    if not family.needs_path:
        if spec.path is not None:
            raise UsageError(f"--data {spec}: {spec.name} takes no folder; write {spec.label}")
        return Path()
    if spec.path is None:
        raise UsageError(f"--data {spec}: needs a folder; write {spec}:PATH")
    path = Path(spec.path).expanduser()
    if not path.is_dir():
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


def nothing_usable(spec: DataSpec, path: Path, layout: str, *, reason: str = "") -> InputError:
    """Build the error for a folder without a single usable sample.

    Args:
        spec: what was asked for.
        path: the folder that was searched.
        layout: the expected tree.
        reason: what was missing, when more is known than an absent folder.

    Returns:
        An error that shows the expected tree beside the found one.
    """
    detail = f" ({reason})" if reason else ""
    return InputError(
        f"{spec.label}: no usable pair in {path}{detail}: expected {layout}; found {describe_folder(path)}"
    )


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


def _check_choice(
    spec: DataSpec, kind: str, value: str | None, known: tuple[str, ...], *, separator: str, needed: bool
) -> None:
    if value is None and not needed:
        return
    if value in known:
        return
    if not known:
        raise UsageError(f"--data {spec}: {spec.name} has no {kind}s; leave out {separator}{value}")
    choices = " or ".join(f"{spec.name}{separator}{name}" for name in known)
    problem = f"unknown {kind} {value!r}" if value is not None else f"a {kind} is needed"
    raise UsageError(f"--data {spec}: {problem}; write {choices}")
