"""Frames as files: numbers that are missing in the middle, and neighbours that are copies of each other."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from kinema.data.checks.finding import Finding, error, warning
from kinema.data.checks.tree import Tree
from kinema.data.frame_list import unbroken_runs
from kinema.io.images import IMAGE_SUFFIXES

CLIP_FAMILIES = frozenset(
    {
        "sintel",
        "flyingthings",
        "reds",
        "vid4",
        "vimeo90k",
        "paired",
        "kitti_raw",
        "kitti_odometry",
        "posed",
        "custom",
    }
)
"""Families in which the numbers of a folder's files follow each other."""

_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")
_TRUTH_SUFFIXES = frozenset({".flo", ".pfm"})
_RAW_SUFFIXES = frozenset({".ppm", ".pgm", ".pnm", ".bmp"})  # one size whatever they show

Clip = list[tuple[int, str]]
"""Number and name of each frame, in order."""


def clips_of(tree: Tree) -> Mapping[str, Clip]:
    """Group numbered files by folder and by what stands around the number.

    Args:
        tree: the files.

    Returns:
        By folder and form of the name, such as ``clean/alley_1/frame_*.png``: its frames in order. One file
        alone is no clip.
    """
    found: dict[str, Clip] = {}
    for name in tree.sizes:
        path = PurePosixPath(name)
        if path.suffix.lower() not in IMAGE_SUFFIXES | _TRUTH_SUFFIXES:
            continue
        match = _NUMBERED.fullmatch(path.stem)
        if match:
            form = str(path.with_name(f"{match[1]}*{match[3]}{path.suffix}"))
            found.setdefault(form, []).append((int(match[2]), name))
    return {form: sorted(frames) for form, frames in found.items() if len(frames) > 1}


def gaps(clips: Mapping[str, Clip]) -> Iterator[Finding]:
    """Find missing numbers between the first and the last frame.

    Args:
        clips: as `clips_of` gives them.

    Yields:
        An error for each gap.
    """
    for form, frames in clips.items():
        numbers = [number for number, _ in frames]
        runs = unbroken_runs(numbers) if len(set(numbers)) == len(numbers) else []
        for before, behind in pairwise(runs):
            low, high = frames[before.stop - 1], frames[behind.start]
            if high[0] - low[0] > 1:
                yield _gap(form, low, high)
    yield from _twice(clips)


def _gap(form: str, low: tuple[int, str], high: tuple[int, str]) -> Finding:
    missing = high[0] - low[0] - 1
    count = "1 frame is" if missing == 1 else f"{missing} frames are"
    between = f"{PurePosixPath(low[1]).name} and {PurePosixPath(high[1]).name}"
    return error(
        "missing frames",
        form,
        f"{count} missing between {between}",
        "copy them again; no window reaches across the gap",
    )


def _twice(clips: Mapping[str, Clip]) -> Iterator[Finding]:
    for frames in clips.values():
        for (first, one), (second, other) in pairwise(frames):
            if first == second:
                yield error(
                    "same number twice",
                    other,
                    f"has the number of {PurePosixPath(one).name}",
                    "keep one of the two: the order of the frames is not clear",
                )


def copies(tree: Tree, clips: Mapping[str, Clip]) -> Iterator[Finding]:
    """Find frames that are byte for byte the frame before; only files of equal size are opened.

    Args:
        tree: the files.
        clips: as `clips_of` gives them.

    Yields:
        A warning for each run of equal frames.
    """
    for frames in clips.values():
        names = [name for _, name in frames]
        if PurePosixPath(names[0]).suffix.lower() in _RAW_SUFFIXES | _TRUTH_SUFFIXES:
            continue
        for run in _equal_runs(tree, names):
            more = f" and {len(run) - 2} more" if len(run) > 2 else ""
            yield warning(
                "duplicate frames",
                run[1],
                f"is the same file as {PurePosixPath(run[0]).name}{more}",
                "remove repeated frames, or read the folder as footage, which leaves them out",
            )


def _equal_runs(tree: Tree, names: Sequence[str]) -> Iterator[list[str]]:
    run = [names[0]]
    for before, name in pairwise(names):
        size = tree.sizes[name]
        equal = size and size == tree.sizes[before]
        if equal and filecmp.cmp(tree.path(before), tree.path(name), shallow=False):
            run.append(name)
            continue
        if len(run) > 1:
            yield run
        run = [name]
    if len(run) > 1:
        yield run


def suspects(tree: Tree, names: Sequence[str]) -> list[str]:
    """Find files much smaller than those of their kind: they are read whatever the sample is.

    Args:
        tree: the files.
        names: those that make up samples.

    Returns:
        Files below a quarter of the median size of their folder's kind, or, of kinds that have one size,
        below it.
    """
    kinds: dict[tuple[str, str], list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        ending = _NUMBERED.fullmatch(path.stem)
        form = f"{ending[3] if ending else ''}{path.suffix.lower()}"
        kinds.setdefault((str(path.parent), form), []).append(name)
    small: list[str] = []
    for (_, form), members in kinds.items():
        sizes = sorted(tree.sizes[name] for name in members)
        usual = sizes[len(sizes) // 2]
        raw = form.endswith((".flo", ".ppm", ".pfm"))
        least = usual if raw else usual / 4
        small += [name for name in members if tree.sizes[name] < least]
    return small
