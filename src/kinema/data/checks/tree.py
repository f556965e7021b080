"""The files below a folder, with their sizes: listed once, for all checks that need no content."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kinema.errors import InputError


@dataclass(frozen=True)
class Tree:
    """What lies below a folder.

    Attributes:
        root: the folder.
        sizes: bytes by name as seen from the root, with ``/``; hidden files and folders are left out.
        broken: links that lead nowhere, by the same names.
    """

    root: Path
    sizes: Mapping[str, int]
    broken: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        """The whole path of a file.

        Args:
            name: as in `sizes`.

        Returns:
            Where it lies.
        """
        return self.root / name


def list_tree(root: Path) -> Tree:
    """List everything below a folder; links are followed, each folder once.

    Args:
        root: an existing folder.

    Returns:
        Its files.

    Raises:
        InputError: when a folder may not be listed.
    """
    sizes: dict[str, int] = {}
    broken: list[str] = []
    for name, size in _walk(root, "", set()):
        if size is None:
            broken.append(name)
        else:
            sizes[name] = size
    return Tree(root, dict(sorted(sizes.items())), tuple(sorted(broken)))


def _walk(folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, int | None]]:
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen = seen | {(status.st_dev, status.st_ino)}  # of the way down: a loop of links ends here
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        raise InputError(f"{folder}: cannot be listed; check its permissions") from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", seen)
            else:
                yield prefix + entry.name, entry.stat().st_size
        except OSError:
            yield prefix + entry.name, None
