"""Snippet strips as SfMLearner and GeoNet prepare them: frames side by side in one picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from kinema.data.driving_sample import DrivingSample, resize_sample
from kinema.data.family import Facts, Family
from kinema.data.frame_list import fetched
from kinema.data.layout import list_names, nothing_usable
from kinema.data.spec import DataSpec
from kinema.errors import InputError, UsageError
from kinema.io.files import read_bytes
from kinema.io.formats.number_lines import read_number_lines
from kinema.io.images import read_image

if TYPE_CHECKING:
    from kinema.ops.resize import IntrinsicsConvention

LAYOUT = (
    "FOLDER/FRAME.jpg (the frames side by side) with FOLDER/FRAME_cam.txt, listed in train.txt and val.txt"
)

_CAMERA = "_cam.txt"
_SUFFIXES = (".jpg", ".png")
_MOST_FRAMES = 9
_NUMBER = re.compile(r"\d+$")


@dataclass(frozen=True)
class SnippetStrips(Sequence[DrivingSample]):
    """Prepared snippets: opening lists folders, an index reads one strip.

    Attributes:
        spec: what was asked for.
        strips: the pictures; beside each lies the file with its intrinsics.
        root: the folder that names are told from.
        notes: sentences about the copy found.
        frames: how many frames a sample has, the middle ones of its strip; None gives all that a strip holds.
        size_hw: to which height and width frames are resized; None keeps them.
        intrinsics: how K follows: see `kinema.ops.resize.resize_intrinsics`.
        held: what the files hold, by path, where they lie in shards; None where they lie on the disk.
    """

    spec: DataSpec
    strips: tuple[str, ...]
    root: Path
    notes: tuple[str, ...] = ()
    frames: int | None = None
    size_hw: tuple[int, int] | None = None
    intrinsics: IntrinsicsConvention = "half_pixel"
    held: Mapping[Path, bytes] | None = field(default=None, compare=False, repr=False)

    @property
    def official_count(self) -> int | None:
        """None: how many snippets there are depends on how they were prepared."""
        return None

    def __len__(self) -> int:
        return len(self.strips)

    @overload
    def __getitem__(self, index: int) -> DrivingSample: ...
    @overload
    def __getitem__(self, index: slice) -> SnippetStrips: ...
    def __getitem__(self, index: int | slice) -> DrivingSample | SnippetStrips:
        if isinstance(index, slice):
            return replace(self, strips=self.strips[index])
        strip, camera = self.files_of(index)
        with fetched(self.held, strip, camera):
            sample = read_strip(strip, camera, name=self.name_of(index), frames=self.frames)
        if self.size_hw is None:
            return sample
        return resize_sample(sample, self.size_hw, intrinsics=self.intrinsics)

    def snippets(self, frames: int) -> SnippetStrips:
        """Ask for snippets of a number of frames.

        Args:
            frames: in a snippet, odd; a strip that holds fewer is an error when it is read.

        Returns:
            The same data set.

        Raises:
            UsageError: for an even number.
        """
        if frames < 1 or frames % 2 == 0:
            raise UsageError(f"a snippet of {frames} frames has no middle; use 1, 3, 5 ...")
        return replace(self, frames=frames)

    def resized(
        self, size_hw: tuple[int, int], *, intrinsics: IntrinsicsConvention = "half_pixel"
    ) -> SnippetStrips:
        """Ask for frames of one size, with intrinsics that follow.

        Args:
            size_hw: height and width in pixels.
            intrinsics: ``"half_pixel"``, or ``"plain"`` as SfMLearner and GeoNet do.

        Returns:
            The same data set.
        """
        return replace(self, size_hw=size_hw, intrinsics=intrinsics)

    def name_of(self, index: int) -> str:
        """Tell a snippet's name without reading it.

        Args:
            index: of the snippet.

        Returns:
            Folder and target frame.
        """
        return self.strips[index].rpartition(".")[0]

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell which files make up a snippet, without looking at them.

        Args:
            index: of the snippet.

        Returns:
            ``strip`` and ``camera``.
        """
        if self.held is not None:
            return {}  # in shards no strip is a file of its own
        strip, camera = self.files_of(index)
        return {"strip": strip, "camera": camera}

    def files_of(self, index: int) -> tuple[Path, Path]:
        """Name the two files of a snippet, wherever they lie.

        Args:
            index: of the snippet.

        Returns:
            The strip, and its intrinsics.
        """
        strip = self.root / self.strips[index]
        return strip, strip.with_name(strip.stem + _CAMERA)


def open_snippets(spec: DataSpec, path: Path) -> SnippetStrips:
    """Open prepared snippets.

    Args:
        spec: ``@train`` and ``@val`` are the lists of that name; no split is every strip that lies there.
        path: the folder that holds the lists.

    Returns:
        The strips that are present with their intrinsics.

    Raises:
        InputError: when there is none, or the split's list is missing or broken.
    """
    listed = None if spec.split is None else _listed(path / f"{spec.split}.txt")
    folders = list_names(path) if listed is None else {folder for folder, _ in listed}
    present = {folder: list_names(path / folder) for folder in sorted(folders)}
    wanted = _all_strips(present) if listed is None else listed
    found = [
        strip for folder, frame in wanted if (strip := _strip(folder, frame, present.get(folder, set())))
    ]
    if not found:
        reason = f"{len(wanted)} snippets are listed, none has its strip and its intrinsics" if wanted else ""
        raise nothing_usable(spec, path, LAYOUT, reason=reason, sample="snippet")
    missing = len(wanted) - len(found)
    notes = (f"{missing} of {len(wanted)} snippets lack their strip or their intrinsics",) if missing else ()
    return SnippetStrips(spec, tuple(found), path, notes)


def read_strip(strip: Path, camera: Path, *, name: str, frames: int | None = None) -> DrivingSample:
    """Read one strip.

    How many frames it holds follows from the principal point, which lies near the middle of a frame.

    Args:
        strip: the picture.
        camera: nine numbers, the intrinsics row by row.
        name: of the snippet.
        frames: how many to give, the middle ones; None gives all.

    Returns:
        The snippet. Frame numbers are counted on from the target's: strips do not tell them.

    Raises:
        InputError: when a file cannot be read, or it is not clear how many frames there are.
    """
    K = read_number_lines(camera, columns=(9,))[0].reshape(3, 3)
    picture = read_image(strip)
    height, width = picture.shape[:2]
    choices = [count for count in range(1, _MOST_FRAMES + 1, 2) if width % count == 0]
    count = min(choices, key=lambda count: abs(width / count / 2 - K[0, 2]))
    if abs(width / count / 2 - K[0, 2]) > width / count / 4:
        raise InputError(
            f"{strip}: is {width} wide and its principal point at {K[0, 2]:g}; no odd number of frames up to"
            f" {_MOST_FRAMES} fits"
        )
    given = count if frames is None else frames
    if given > count:
        raise InputError(f"{strip}: holds {count} frames, not {given}; prepare the snippets again")
    first = (count - given) // 2
    parts = picture.reshape(height, count, width // count, 3).swapaxes(0, 1)[first : first + given]
    match = _NUMBER.search(strip.stem)
    number = (int(match[0]) if match else 0) - given // 2
    return DrivingSample(
        name=name, frames=np.ascontiguousarray(parts), numbers=tuple(range(number, number + given)), K=K
    )


def _all_strips(present: Mapping[str, set[str]]) -> list[tuple[str, str]]:
    return [
        (folder, name.removesuffix(_CAMERA))
        for folder, names in present.items()
        for name in sorted(names)
        if name.endswith(_CAMERA)
    ]


def _strip(folder: str, frame: str, names: set[str]) -> str:
    if f"{frame}{_CAMERA}" not in names:
        return ""
    return next((f"{folder}/{frame}{suffix}" for suffix in _SUFFIXES if f"{frame}{suffix}" in names), "")


def _listed(path: Path) -> list[tuple[str, str]]:
    lines = read_bytes(path).decode("utf-8", errors="replace").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) not in (0, 2):
            raise InputError(f"{path}: line {number} does not read FOLDER FRAME")
        if words:
            found.append((words[0], words[1]))
    return found


FAMILY = Family(
    name="snippets",
    kind="driving",
    title="prepared snippets, frames side by side, as SfMLearner and GeoNet write them",
    layout=LAYOUT,
    open=open_snippets,
    facts=Facts(
        holds="snippets of 3 or 5 frames with intrinsics",
        counts={},
        unit="snippets",
        size="usually 416x128 a frame",
        source="prepared from KITTI or Cityscapes by the scripts of SfMLearner or GeoNet",
        url="",
        terms="those of the set that they were made from",
    ),
    splits=("train", "val"),
)
