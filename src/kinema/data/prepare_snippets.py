"""Snippet strips in the form of SfMLearner and GeoNet, from KITTI raw or odometry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from kinema.data.driving_sample import DrivingDataset
from kinema.data.placing import write_list
from kinema.errors import OutputError
from kinema.io.files import write_bytes
from kinema.io.images import write_image

SETTINGS = "snippets.json"
"""Beside the lists: how the strips were made, so that a second call goes on with the same."""


@dataclass(frozen=True)
class Prepared:
    """What was done.

    Attributes:
        written: strips.
        there: strips that were there before.
        train: lines of the list for training.
        val: lines of the list for validation.
    """

    written: int
    there: int
    train: int
    val: int


def prepare_snippets(
    dataset: DrivingDataset,
    out: Path,
    *,
    suffix: Literal[".jpg", ".png"] = ".jpg",
    val_share: float = 0.1,
    seed: int = 8964,
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> Prepared:
    """Write a strip and its intrinsics for every snippet, then the lists.

    Folders are named by sequence, files by the target frame. A strip that is there with its intrinsics is
    whole, and is kept.

    Args:
        dataset: snippets of some frames, resized to one size.
        out: the folder to fill.
        suffix: format of the strips.
        val_share: of the snippets, at random, for ``val.txt``; GeoNet takes a tenth.
        seed: of that choice.
        threads: how many are read at the same time.
        advance: told after each.

    Returns:
        What was done.

    Raises:
        InputError: when a frame cannot be read.
        OutputError: when the folder holds strips made in another way, or cannot be written.
    """
    _check_settings(dataset, out, suffix)
    names = [strip_name(dataset, index) for index in range(len(dataset))]
    written = 0

    def one(index: int) -> bool:
        return _write(dataset, index, out / names[index], suffix)

    with ThreadPoolExecutor(threads) as pool:
        indices = iter(range(len(dataset)))
        while block := list(islice(indices, 4 * threads)):  # few frames wait in memory
            for done in pool.map(one, block):
                written += done
                advance()
    train, val = _lists(names, val_share=val_share, seed=seed)
    for name, lines in (("train.txt", train), ("val.txt", val)):
        write_list(out / name, "".join(f"{line}\n" for line in lines), overwrite=True)
    return Prepared(written, len(names) - written, len(train), len(val))


def strip_name(dataset: DrivingDataset, index: int) -> str:
    """Name a snippet as the preparation scripts do.

    Args:
        dataset: the snippets.
        index: of one.

    Returns:
        Such as ``2011_09_26_drive_0001_sync_02/0000000001``, or ``00/000001``.
    """
    folder, _, frame = dataset.name_of(index).rpartition("/")
    drive, separator, camera = folder.rpartition("_")
    if separator and "_drive_" in drive:
        folder = f"{drive}_sync_{camera}"
    return f"{folder}/{frame}"


def _write(dataset: DrivingDataset, index: int, stem: Path, suffix: str) -> bool:
    strip, camera = stem.with_name(stem.name + suffix), stem.with_name(f"{stem.name}_cam.txt")
    if strip.is_file() and camera.is_file():
        return False
    sample = dataset[index]
    count, height, width, _ = sample.frames.shape
    picture = np.ascontiguousarray(sample.frames.swapaxes(0, 1).reshape(height, count * width, 3))
    write_image(strip, picture)
    K = np.eye(3) if sample.K is None else sample.K
    write_bytes(camera, ",".join(repr(float(value)) for value in K.ravel()).encode())
    return True


def _lists(names: list[str], *, val_share: float, seed: int) -> tuple[list[str], list[str]]:
    """A number is drawn for each snippet in sorted order: the choice does not depend on the file system."""
    draws = np.random.RandomState(seed).random_sample(len(names))
    lists: tuple[list[str], list[str]] = ([], [])
    for name, draw in zip(sorted(names), draws, strict=True):
        lists[int(draw < val_share)].append(name.replace("/", " "))
    return lists


def _check_settings(dataset: DrivingDataset, out: Path, suffix: str) -> None:
    settings = dict(_settings(dataset, suffix))
    path = out / SETTINGS
    text = json.dumps(settings, indent=2) + "\n"
    if path.is_file():
        if path.read_text(encoding="utf-8", errors="replace") != text:
            raise OutputError(f"{out}: holds strips made in another way ({SETTINGS}); name another folder")
        return
    write_list(path, text, overwrite=False)


def _settings(dataset: DrivingDataset, suffix: str) -> Iterator[tuple[str, object]]:
    yield "data", dataset.spec.label
    yield "frames", dataset.frames
    yield "size_hw", list(dataset.size_hw or ())
    yield "intrinsics", dataset.intrinsics
    yield "gaps", dataset.gaps
    yield "suffix", suffix
