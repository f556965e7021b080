"""What a check says: how bad it is, where, what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""An error makes training or numbers wrong; a warning is worth a look; a note is to be known."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: how bad it is.
        check: the kind of fault in one or two words, such as ``truncated``; findings of one kind are shown
            together.
        place: the file, folder or sample.
        what: what is wrong, in one sentence.
        advice: what to do about it.
        more: how many further places have the same; only after `folded`.
    """

    severity: Severity
    check: str
    place: str
    what: str
    advice: str
    more: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of one check of one data set.

    Attributes:
        data: the part of the spec before its path.
        path: where it lies; empty where nothing lies on disk.
        unit: what is counted, such as ``pairs``.
        count: how many the copy has.
        official: how many the official part has; None where nothing is official.
        looked_at: how many were read.
        files: how many files lie there.
        notes: what the reader of the data set says about the copy.
        findings: what was found, errors first.
    """

    data: str
    path: str
    unit: str
    count: int
    official: int | None
    looked_at: int
    files: int
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]

    def number_of(self, severity: Severity) -> int:
        """Count findings.

        Args:
            severity: of which.

        Returns:
            How many there are.
        """
        return sum(finding.severity == severity for finding in self.findings)


def error(check: str, place: object, what: str, advice: str) -> Finding:
    """Make an error.

    Args:
        check: the kind of fault.
        place: the file, folder or sample.
        what: what is wrong.
        advice: what to do.

    Returns:
        The finding.
    """
    return Finding(severity="error", check=check, place=str(place), what=what, advice=advice)


def warning(check: str, place: object, what: str, advice: str) -> Finding:
    """Make a warning.

    Args:
        check: the kind of fault.
        place: the file, folder or sample.
        what: what is wrong.
        advice: what to do.

    Returns:
        The finding.
    """
    return Finding(severity="warning", check=check, place=str(place), what=what, advice=advice)


def note(check: str, place: object, what: str, advice: str) -> Finding:
    """Make a note.

    Args:
        check: the kind of thing.
        place: the file, folder or sample.
        what: what there is.
        advice: what to do.

    Returns:
        The finding.
    """
    return Finding(severity="note", check=check, place=str(place), what=what, advice=advice)


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings: errors first, one kind together, each once.

    Args:
        findings: in any order.

    Returns:
        The same in order.
    """
    once = dict.fromkeys(findings)
    return tuple(sorted(once, key=lambda f: (SEVERITIES.index(f.severity), f.check)))


def folded(findings: Sequence[Finding], *, shown: int = 3) -> tuple[Finding, ...]:
    """Shorten for people: of many findings of one kind the first few, the last of them with the number left.

    Args:
        findings: in order.
        shown: how many of one kind to keep.

    Returns:
        Fewer findings.
    """
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.severity, finding.check), []).append(finding)
    kept: list[Finding] = []
    for group in kinds.values():
        few = group[:shown]
        few[-1] = replace(few[-1], more=len(group) - len(few))
        kept += few
    return tuple(kept)


def below(path: Path | str, root: Path) -> str:
    """Name a file as seen from the folder that was checked.

    Args:
        path: of the file.
        root: the folder.

    Returns:
        The rest of the path, or the whole where the file lies elsewhere.
    """
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return str(path)


def by_folder(files: Iterable[str]) -> Mapping[str, list[str]]:
    """Group files by the folder they lie in.

    Args:
        files: names with ``/``.

    Returns:
        Names by folder, both sorted; ``.`` is the top.
    """
    folders: dict[str, list[str]] = {}
    for name in sorted(files):
        folders.setdefault(str(PurePosixPath(name).parent), []).append(name)
    return folders
