"""Files that lie in shards, by the paths that stand for them: what they hold, and depth read from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.driving_sample import DepthTruth
from kinema.data.frame_list import fetched
from kinema.data.lidar import DepthValue


@dataclass(frozen=True, eq=False)
class HeldFiles(Mapping[Path, bytes]):
    """What the files of a set hold, by the path below `root` that stands for each; fetched one at a time.

    Attributes:
        root: where the shards lie.
        folders: names of the files by folder, in the order of the shards.
        fetch: gives the content of a file by its number.
    """

    root: Path
    folders: Mapping[str, Sequence[str]]
    fetch: Callable[[int], bytes]

    @cached_property
    def _numbers(self) -> dict[Path, int]:
        names = ((folder, name) for folder, held in self.folders.items() for name in held)
        return {self.root / folder / name: number for number, (folder, name) in enumerate(names)}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "folders": self.folders, "fetch": self.fetch}

    def __getitem__(self, path: Path) -> bytes:
        return self.fetch(self._numbers[path])

    def __contains__(self, path: object) -> bool:
        return path in self._numbers  # without fetching it

    def __iter__(self) -> Iterator[Path]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


@dataclass(frozen=True, eq=False)
class HeldTruth:
    """True depth whose files lie in shards.

    Attributes:
        inner: reads them, by the paths that stand for them.
        held: what they hold.
    """

    inner: DepthTruth
    held: Mapping[Path, bytes]

    def has(self, name: str) -> bool:
        """See `DepthTruth.has`."""
        return self.path(name) in self.held

    def path(self, name: str) -> Path:
        """See `DepthTruth.path`."""
        return self.inner.path(name)

    def read(self, name: str, size_hw: tuple[int, int], *, value: DepthValue) -> np.ndarray:
        """See `DepthTruth.read`."""
        with fetched(self.held, self.path(name)):
            return self.inner.read(name, size_hw, value=value)
