"""The clips of footage: found in folders and patterns, looked through once, and then read by frame number."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from kinema.data.frame_changes import SMALL_HW, SceneWatcher, watch
from kinema.data.frames import FrameFiles, load_window
from kinema.errors import InputError
from kinema.io.clips import natural_key
from kinema.io.images import IMAGE_SUFFIXES, read_image
from kinema.io.video import VIDEO_SUFFIXES, IndexedReader


@dataclass(frozen=True, eq=False)
class FootageClip:
    """One clip after it was looked through.

    Attributes:
        name: unique among the clips, such as ``holiday/beach``.
        source: the video, or the folder of the images.
        frame_count: how many frames can be read.
        duplicates: numbers of frames that repeat the one before.
        cuts: numbers of frames with which another scene begins.
        gaps: numbers of frames before which others are missing, by the times of a video of constant rate.
        damage: why the frames after the last one cannot be read; empty where the clip is whole.
        images: the images in order; empty for a video.
        video: the video's reader; None for images.
    """

    name: str
    source: Path
    frame_count: int
    duplicates: tuple[int, ...]
    cuts: tuple[int, ...]
    gaps: tuple[int, ...] = ()
    damage: str = ""
    images: tuple[Path, ...] = field(default=(), repr=False)
    video: IndexedReader | None = field(default=None, repr=False)

    def runs(self, *, drop_duplicates: bool, split_at_cuts: bool) -> list[np.ndarray]:
        """List the frames from which windows may be cut.

        Args:
            drop_duplicates: whether repeated frames are left out.
            split_at_cuts: whether a cut or a gap ends a run.

        Returns:
            Frame numbers of each run, rising.
        """
        dropped = self.duplicates if drop_duplicates else ()
        kept = np.setdiff1d(np.arange(self.frame_count, dtype=np.int64), np.array(dropped, dtype=np.int64))
        ends = sorted({*self.cuts, *self.gaps}) if split_at_cuts else []
        borders = np.searchsorted(kept, np.array(ends, dtype=np.int64))
        return [run for run in np.split(kept, borders) if run.size]

    def read(self, name: str, numbers: Sequence[int]) -> np.ndarray:
        """Read frames.

        Args:
            name: of the window, for messages.
            numbers: of the frames, rising.

        Returns:
            (T, H, W, 3) RGB, uint8 or uint16.

        Raises:
            InputError: when a frame cannot be read any more.
        """
        if self.video is not None:
            return np.stack(self.video.read(numbers))
        return load_window(FrameFiles(name, tuple(self.images[number] for number in numbers))).frames

    def close(self) -> None:
        """Close the file; the next `read` opens it again."""
        if self.video is not None:
            self.video.close()


@dataclass(frozen=True)
class FootageSource:
    """A clip that was found and not yet opened.

    Attributes:
        path: the video, or the folder of the images.
        images: the images in order; empty for a video.
    """

    path: Path
    images: tuple[Path, ...] = ()


def find_sources(path: Path) -> list[FootageSource]:
    """Find the clips that a path stands for.

    Args:
        path: a video; a folder, in which every video and every folder of images is a clip, however deep; or a
            pattern that finds videos, images (those of one folder are a clip) or folders.

    Returns:
        The clips in natural order; hidden files are passed over.

    Raises:
        InputError: when there is no such file or folder, nothing matches, or it is a single image.
    """
    found: Iterable[Path]
    if path.is_dir():
        found = _walk(path)
    elif path.exists():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(f"{path}: one image is no clip; name its folder, or a quoted pattern")
        found = [path]
    elif re.search(r"[*?[]", str(path)):
        names = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob refuses roots
        if not names:
            raise InputError(f"{path}: nothing matches this pattern; check folder and spelling")
        found = _expanded(map(Path, names))
    else:
        raise InputError(f"{path}: no such file or folder")
    return _sources(found)


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(root) / name for name in names if not name.startswith("."))


def _expanded(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def _sources(files: Iterable[Path]) -> list[FootageSource]:
    videos: set[Path] = set()
    images: dict[Path, set[Path]] = {}
    for file in files:
        suffix = file.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            videos.add(file)
        elif suffix in IMAGE_SUFFIXES:
            images.setdefault(file.parent, set()).add(file)
    sources = [FootageSource(video) for video in videos]
    for folder, members in images.items():
        sources.append(FootageSource(folder, tuple(sorted(members, key=natural_key))))
    return sorted(sources, key=lambda source: natural_key(source.path))


def look_through(source: FootageSource, name: str) -> FootageClip:
    """Go through a clip once: count its frames, find repeats and cuts.

    Args:
        source: the clip; of a video that is damaged on the way, the frames before the damage are taken.
        name: what it shall be called.

    Returns:
        The clip.

    Raises:
        InputError: when no frame can be read, or its images differ in size.
    """
    if not source.images:
        return _look_through_video(source.path, name)
    seen = watch(_small_images(source.images))
    return FootageClip(
        name,
        source.path,
        len(source.images),
        tuple(seen.duplicates),
        tuple(seen.cuts),
        images=source.images,
    )


def _look_through_video(path: Path, name: str) -> FootageClip:
    watcher, video, damage = SceneWatcher(), IndexedReader(path), ""
    try:
        for glance in video.glances(SMALL_HW):
            watcher.see(glance.number, glance.picture)
    except InputError as error:
        damage = str(error)
    video.close()
    if not video.times:
        raise InputError(damage)
    return FootageClip(
        name,
        path,
        len(video.times),
        tuple(watcher.duplicates),
        tuple(watcher.cuts),
        gaps=_gaps(video),
        damage=damage,
        video=video,
    )


def _gaps(video: IndexedReader) -> tuple[int, ...]:
    if video.info.variable_rate:
        return ()
    longest = Fraction(3, 2) / video.info.rate
    steps = enumerate(pairwise(video.times), start=1)
    return tuple(number for number, (before, after) in steps if after - before > longest)


def _small_images(images: Sequence[Path]) -> Iterator[np.ndarray]:
    first: tuple[int, ...] = ()
    for path in images:
        image = read_image(path)
        first = first or image.shape
        if image.shape != first:
            raise InputError(
                f"{path} is {image.shape[1]}x{image.shape[0]} but {images[0].name} is {first[1]}x{first[0]}: "
                "all images of a clip need one size"
            )
        if image.dtype == np.uint16:
            image = (image >> 8).astype(np.uint8)
        yield cv2.resize(image, SMALL_HW[::-1], interpolation=cv2.INTER_AREA)
