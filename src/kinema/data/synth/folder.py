"""The folder that rendered data goes to: whole samples or none, and nothing of anyone else is touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from kinema.data.synth.plan import SynthPlan
from kinema.errors import OutputError
from kinema.io.files import check_folder, write_json, writing

STATE = ".kinema-synth"
"""The hidden folder with the books: settings, and for every sample its files with their sizes."""


class SynthFolder:
    """A folder of one plan. A sample is in the books before its files move in, and whole when all are there.

    Args:
        root: the folder.
        plan: what is written.
    """

    def __init__(self, root: Path, plan: SynthPlan) -> None:
        self.root, self.plan = root, plan
        self._state = root / STATE

    def begin(self, *, overwrite: bool) -> None:
        """Take the folder, or take it up again.

        Args:
            overwrite: remove what was written before by this command, and begin anew.

        Raises:
            OutputError: when it holds other files, or other rendered data and may not be overwritten.
        """
        check_folder(self.root)
        present = self._settings()
        with writing(self.root):
            if present is None and self.root.is_dir() and any(p.name != STATE for p in self.root.iterdir()):
                raise OutputError(
                    f"{self.root} holds files that are no rendered data; name a new or empty folder"
                )
            if overwrite and present is not None:
                self._clear()
                present = None
        wanted = self._wanted()
        if present is not None and present != wanted:
            other = ", ".join(
                f"{key} {present.get(key)}" for key in wanted if present.get(key) != wanted[key]
            )
            raise OutputError(
                f"{self.root} holds rendered data of {other}; add --overwrite to begin anew, or name another"
                " folder"
            )
        write_json(self._state / "settings.json", wanted)

    def is_written(self, index: int) -> bool:
        """Tell whether a sample is whole.

        Args:
            index: of the sample.

        Returns:
            True when all its files are there in full size.
        """
        files = self._book(_key(index))
        return bool(files) and all(_size(self.root / name) == size for name, size in files.items())

    def count(self) -> int:
        """How many samples are in the books from the first on, without a gap.

        Returns:
            The count.
        """
        number = 0
        while (self._state / "samples" / f"{_key(number)}.json").is_file():
            number += 1
        return number

    def add(self, index: int, write: Callable[[Path], None]) -> None:
        """Write a sample: into a hidden folder first, then file by file to its place.

        Args:
            index: of the sample.
            write: writes it below the folder that it is given.

        Raises:
            OutputError: when a file of someone else is in the way, or the place is full.
        """
        self._add(_key(index), write)

    def add_shared(self, name: str, write: Callable[[Path], None]) -> None:
        """Write what samples share, as `add` writes a sample.

        Args:
            name: of these files in the books.
            write: writes them below the folder that it is given.
        """
        self._add(name, write)

    def end(self) -> None:
        """Remove what an interruption may have left."""
        shutil.rmtree(self._state / "parts", ignore_errors=True)

    def _add(self, key: str, write: Callable[[Path], None]) -> None:
        part = self._state / "parts" / key
        shutil.rmtree(part, ignore_errors=True)
        try:
            with writing(part):
                part.mkdir(parents=True)
            write(part)
            self._place(key, part)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _place(self, key: str, part: Path) -> None:
        paths = sorted(path for path in part.rglob("*") if path.is_file())
        files = {path.relative_to(part).as_posix(): path.stat().st_size for path in paths}
        before = self._book(key)
        for name in files:
            target = self.root / name
            if (target.exists() or target.is_symlink()) and _size(target) != before.get(name):
                raise OutputError(f"{target} is in the way and was not written by this command; move it away")
        write_json(self._state / "samples" / f"{key}.json", {"files": files})
        with writing(self.root):
            for name in files:
                target = self.root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (part / name).replace(target)

    def _clear(self) -> None:
        """Remove every file that is in the books and as it was written, and folders that are empty then."""
        books = sorted((self._state / "samples").glob("*.json"))
        for book in books:
            files = self._book(book.stem)
            for name, size in files.items():
                path = self.root / name
                if _size(path) == size:
                    path.unlink()
                self._remove_empty(path.parent)
            book.unlink()
        shutil.rmtree(self._state, ignore_errors=True)

    def _remove_empty(self, folder: Path) -> None:
        with suppress(OSError):  # not empty, or gone
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent

    def _wanted(self) -> dict[str, object]:
        facts = asdict(self.plan)
        facts["textures"] = None if self.plan.textures is None else str(self.plan.textures)
        facts["size_hw"] = list(self.plan.size_hw)
        return facts

    def _settings(self) -> dict[str, object] | None:
        found = _read(self._state / "settings.json")
        return None if found is None else dict(found)

    def _book(self, key: str) -> dict[str, int]:
        found = _read(self._state / "samples" / f"{key}.json") or {}
        files = found.get("files")
        if not isinstance(files, dict):
            return {}
        # Whoever edits the books cannot make this command reach outside the folder.
        return {str(name): size for name, size in files.items() if _inside(str(name))}


def _key(index: int) -> str:
    return f"{index:06d}"


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _size(path: Path) -> int | None:
    """Bytes of a plain file; None where there is none, or a link."""
    if path.is_symlink() or not path.is_file():
        return None
    return path.stat().st_size


def _read(path: Path) -> Mapping[str, object] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
