"""The frames of one clip where they lie, in files or in an LMDB folder: listed, not read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from kinema.data.layout import list_names
from kinema.errors import InputError
from kinema.io.files import holding, read_bytes
from kinema.io.images import IMAGE_SUFFIXES, read_image
from kinema.io.lmdb_images import list_lmdb_images, read_lmdb_bytes, read_lmdb_image

_NUMBER = re.compile(r"\d+$")
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class FrameList:
    """The frames of one clip in time order.

    Attributes:
        folder: where they lie; text, since sets of many short clips hold a hundred thousand of these.
        names: file names; of an LMDB folder, its keys.
        packed: whether `folder` is an LMDB folder.
        held: what the files hold, by path, where they lie in shards; None where they lie on the disk.
    """

    folder: str
    names: tuple[str, ...]
    packed: bool = False
    held: Mapping[Path, bytes] | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Iterable[int]) -> FrameList:
        """Keep some frames.

        Args:
            indices: of these, in this order.

        Returns:
            A shorter list in the same place.
        """
        return replace(self, names=tuple(self.names[index] for index in indices))

    def stem(self, index: int) -> str:
        """The name of a frame, without its suffix and the folders before it.

        Args:
            index: of the frame.

        Returns:
            Such as ``00000012``.
        """
        return stem_of(self.names[index]) if not self.packed else self.names[index].rpartition("/")[2]

    def path(self, index: int) -> Path:
        """The file that holds a frame.

        Args:
            index: of the frame.

        Returns:
            The image, or the data file of the LMDB folder.
        """
        return Path(self.folder, "data.mdb" if self.packed else self.names[index])

    def read(self, index: int) -> np.ndarray:
        """Read one frame.

        Args:
            index: of the frame.

        Returns:
            (H, W, 3) RGB, uint8, or uint16 where the file has 16 bits.

        Raises:
            InputError: when it cannot be read.
            MissingExtraError: when it lies in an LMDB folder and the package lmdb is not installed.
        """
        if self.packed:
            return read_lmdb_image(self.folder, self.names[index])
        path = self.path(index)
        with fetched(self.held, path):
            return read_image(path)

    def encoded(self, index: int) -> bytes:
        """Read the file of one frame as it is.

        Args:
            index: of the frame.

        Returns:
            The encoded picture.

        Raises:
            InputError: when it cannot be read.
            MissingExtraError: as `read`.
        """
        if self.packed:
            return read_lmdb_bytes(self.folder, self.names[index])
        path = self.path(index)
        with fetched(self.held, path):
            return read_bytes(path)


@contextmanager
def fetched(held: Mapping[Path, bytes] | None, *paths: Path) -> Iterator[None]:
    """Let files be read by their names while the body runs, also where they lie in shards.

    Args:
        held: what the files hold; None where they lie on the disk.
        paths: which files are to be read; each is fetched once.
    """
    if held is None:
        yield
    else:
        with holding({path: held[path] for path in paths}):
            yield


def stem_of(name: str) -> str:
    """A file name without its suffix.

    Args:
        name: such as ``00000012.png``.

    Returns:
        What stands before the last dot.
    """
    return name.rpartition(".")[0] or name


def frames_in(folder: Path) -> FrameList:
    """List the pictures of a folder.

    Args:
        folder: may be absent.

    Returns:
        Its pictures in natural order (``im2`` before ``im10``); hidden and other files are passed over.

    Raises:
        InputError: when it may not be listed.
    """
    names = (name for name in list_names(folder) if not name.startswith("."))
    pictures = [name for name in names if f".{name.rpartition('.')[2].lower()}" in IMAGE_SUFFIXES]
    return FrameList(str(folder), tuple(sorted(pictures, key=_natural)))


def clips_in(folder: Path) -> dict[str, FrameList]:
    """List the clips of a folder: one for each folder in it with pictures, and the pictures beside them.

    Args:
        folder: may be absent; an LMDB folder (its name ends in ``.lmdb``) has clips by the part of the key
            before the last ``/``.

    Returns:
        Frames by name of the clip; the clip of pictures in no folder is called ``""``.

    Raises:
        InputError: when a folder may not be listed, or the list of an LMDB folder is broken.
    """
    if folder.suffix == ".lmdb":
        return _packed_clips(folder) if folder.is_dir() else {}
    inside = sorted((name for name in list_names(folder) if not name.startswith(".")), key=_natural)
    found = {name: frames_in(folder / name) for name in inside if "." not in name or (folder / name).is_dir()}
    return {name: frames for name, frames in {"": frames_in(folder), **found}.items() if len(frames)}


def frame_numbers(frames: FrameList) -> tuple[int, ...] | None:
    """The numbers at the end of the names.

    Args:
        frames: of one clip.

    Returns:
        One number a frame, rising; None when a name ends in no number, or two in the same.
    """
    matches = [_NUMBER.search(frames.stem(index)) for index in range(len(frames))]
    numbers = tuple(int(match[0]) for match in matches if match)
    rising = all(low < high for low, high in pairwise(numbers))
    return numbers if len(numbers) == len(frames) and rising else None


def unbroken_runs(numbers: Sequence[int], *, step: int | None = None) -> list[range]:
    """Split a clip where frames are missing.

    Args:
        numbers: of the frames, rising.
        step: from one frame to the next; None takes the most common one, so that a clip of every second frame
            is whole.

    Returns:
        Ranges of positions; one when nothing is missing.
    """
    steps = np.diff(np.asarray(numbers, dtype=np.int64))
    usual = (int(np.median(steps)) if len(steps) else 1) if step is None else step
    cuts = [0, *(np.flatnonzero(steps != usual) + 1).tolist(), len(numbers)]
    return [range(first, last) for first, last in pairwise(cuts) if last > first]


def _packed_clips(folder: Path) -> dict[str, FrameList]:
    by_clip: dict[str, list[str]] = {}
    for key in list_lmdb_images(folder):
        by_clip.setdefault(key.rpartition("/")[0], []).append(key)
    if not by_clip:
        raise InputError(f"{folder}: meta_info.txt lists no picture")
    return {
        clip: FrameList(str(folder), tuple(sorted(keys, key=_natural)), packed=True)
        for clip, keys in sorted(by_clip.items(), key=lambda item: _natural(item[0]))
    }


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    parts = _DIGITS.split(name)
    return tuple((int(part), part) if part.isdecimal() else (-1, part) for part in parts)


def by_stem(frames: FrameList) -> Mapping[str, int]:
    """Positions of frames by name.

    Args:
        frames: of one clip.

    Returns:
        Position by name without suffix.
    """
    return {frames.stem(index): index for index in range(len(frames))}
