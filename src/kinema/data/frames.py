"""What unlabelled sets are made of: a few frames of one clip in order, and sets of such windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from kinema.data.sample import FlowDataset, halved_picture
from kinema.data.spec import DataSpec
from kinema.errors import InputError
from kinema.io.images import read_image


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameWindow:
    """Frames of one clip in order, without truth: a pair, a triplet or more.

    Attributes:
        name: unique within its data set, such as ``ambush_1/frame_0001``.
        frames: (T, H, W, 3) RGB, uint8 (uint16 where the files have 16 bits); grey is replicated.
    """

    name: str
    frames: np.ndarray

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or len(self.frames) < 2:
            raise InputError(
                f"{self.name}: frames are {self.frames.shape}, not (T, H, W, 3) with T from 2 on"
            )


@dataclass(frozen=True)
class FrameFiles:
    """Where the frames of one window lie.

    Attributes:
        name: the window's name.
        images: its frames in order.
        half: whether they are given at half their size.
    """

    name: str
    images: tuple[Path, ...]
    half: bool = False


@dataclass(frozen=True)
class FrameDataset(Sequence[FrameWindow]):
    """Unlabelled windows of image files: opening lists folders, an index reads one window, nothing is kept.

    Attributes:
        spec: what was asked for.
        files: one record per window, in order of scene and frame.
        official_count: how many windows the official part has; None where there is no official set.
        notes: sentences about the copy found.
    """

    spec: DataSpec
    files: tuple[FrameFiles, ...]
    official_count: int | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> FrameWindow: ...
    @overload
    def __getitem__(self, index: slice) -> FrameDataset: ...
    def __getitem__(self, index: int | slice) -> FrameWindow | FrameDataset:
        if isinstance(index, slice):
            return replace(self, files=self.files[index])
        return load_window(self.files[index])

    def name_of(self, index: int) -> str:
        """Tell a window's name without reading it.

        Args:
            index: of the window.

        Returns:
            Its name.
        """
        return self.files[index].name

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell which files make up a window, without looking at them.

        Args:
            index: of the window.

        Returns:
            The files by part: ``image1``, ``image2``, ...
        """
        return {f"image{place}": path for place, path in enumerate(self.files[index].images, start=1)}


@dataclass(frozen=True)
class UnlabelledPairs(Sequence[FrameWindow]):
    """A labelled set without its truth, for learning without labels.

    Attributes:
        pairs: the labelled set. Where it lies on disk only the pictures are read.
    """

    pairs: FlowDataset

    @property
    def spec(self) -> DataSpec:
        """What was asked for."""
        return self.pairs.spec

    @property
    def official_count(self) -> int | None:
        """How many pairs the official part has."""
        return self.pairs.official_count

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the copy found."""
        return self.pairs.notes

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> FrameWindow: ...
    @overload
    def __getitem__(self, index: slice) -> UnlabelledPairs: ...
    def __getitem__(self, index: int | slice) -> FrameWindow | UnlabelledPairs:
        if isinstance(index, slice):
            return UnlabelledPairs(self.pairs[index])
        if self.pairs.files:
            files = self.pairs.files[index]
            return load_window(FrameFiles(files.name, tuple(self.paths_of(index).values()), files.half))
        sample = self.pairs[index]
        return FrameWindow(name=sample.name, frames=np.stack([sample.image1, sample.image2]))

    def name_of(self, index: int) -> str:
        """Tell a pair's name without reading it.

        Args:
            index: of the pair.

        Returns:
            Its name.
        """
        return self.pairs.name_of(index)

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell which pictures make up a pair, without looking at them.

        Args:
            index: of the pair.

        Returns:
            ``image1`` and ``image2``; empty where nothing lies on disk.
        """
        paths = self.pairs.paths_of(index)
        return {part: paths[part] for part in ("image1", "image2") if part in paths}


def load_window(files: FrameFiles) -> FrameWindow:
    """Read the frames of one window.

    Args:
        files: where they lie.

    Returns:
        The frames, of one size and depth.

    Raises:
        InputError: when a file cannot be read, or sizes or depths differ.
    """
    images = [read_image(path) for path in files.images]
    for path, image in zip(files.images, images, strict=True):
        if image.shape != images[0].shape or image.dtype != images[0].dtype:
            raise InputError(
                f"{path} is {_kind(image)} but {files.images[0].name} is {_kind(images[0])}: "
                "frames of a clip need one size and depth"
            )
    if files.half:
        images = [halved_picture(image) for image in images]
    return FrameWindow(name=files.name, frames=np.stack(images))


def _kind(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]} of {8 * image.itemsize} bits"
