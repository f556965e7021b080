"""REDS regrouped as papers use it: validation clips 000 to 029 as 240 to 269 among the training clips."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kinema.data.frame_list import frames_in
from kinema.data.layout import list_names, nothing_usable
from kinema.data.placing import How, place_folder, write_list
from kinema.data.reds import LAYOUT, REDS4
from kinema.data.spec import DataSpec
from kinema.io.images import image_size_hw

RedsLayout = Literal["regrouped", "images"]
"""Clips 240 to 269 beside 000 to 239; or all of them below ``images/NNN/{truth,blur4}``."""

KINDS = ("sharp", "sharp_bicubic", "blur", "blur_comp", "blur_bicubic")
FIRST_VALIDATION = 240
CLIPS = 270
LISTS: Mapping[str, Callable[[int], bool]] = {
    "meta_info_REDS_GT.txt": lambda number: True,
    "meta_info_REDS_train.txt": lambda number: number not in REDS4,
    "meta_info_REDS4.txt": lambda number: number in REDS4,
    "meta_info_REDS_official_train.txt": lambda number: number < FIRST_VALIDATION,
    "meta_info_REDS_official_val.txt": lambda number: number >= FIRST_VALIDATION,
}
"""Names of the lists, and which clips each names: all, the 266 outside REDS4, REDS4, the published parts."""

_CLIP = re.compile(r"\d{3}")
_PORT = {"sharp": "truth", "sharp_bicubic": "blur4"}


@dataclass(frozen=True)
class Regrouped:
    """What was done.

    Attributes:
        placed: clips of any kind that were linked or copied.
        there: clips that were at their place before.
        clips: numbers of the sharp clips that are there now.
        lists: the files of clip names that were written or were there.
    """

    placed: int
    there: int
    clips: tuple[int, ...]
    lists: tuple[Path, ...]


def regroup_reds(
    path: Path,
    out: Path,
    *,
    layout: RedsLayout,
    how: How,
    overwrite: bool,
    begin: Callable[[int], None] = lambda _: None,
    advance: Callable[[], None] = lambda: None,
) -> Regrouped:
    """Regroup REDS and write the lists of clips. Nothing is moved or removed.

    Args:
        path: the folder that holds ``train_sharp`` and ``val_sharp``, or ``train`` and ``val``.
        out: the folder to fill; for ``regrouped`` usually the same.
        layout: of the result.
        how: by links or copies.
        overwrite: whether lists that say something else may be replaced.
        begin: told how many clips there are to place.
        advance: told after each.

    Returns:
        What was done.

    Raises:
        InputError: when there is no REDS.
        OutputError: when something is in the way, or nothing can be written.
    """
    places = _places(path)
    if not any(places.values()):
        raise nothing_usable(DataSpec("reds", path=str(path)), path, LAYOUT, sample="clip")
    moves = list(_moves(places, path, out, layout))
    begin(len(moves))
    placed = 0
    for source, target in moves:
        placed += place_folder(source, target, how=how)
        advance()
    sharp = {number: folder for number, folder in places["sharp"].items() if number < CLIPS}
    lists = _write_lists(sharp, out, overwrite=overwrite)
    if layout == "images":
        lists += _write_sets(places, out, overwrite=overwrite)
    return Regrouped(placed, len(moves) - placed, tuple(sorted(sharp)), tuple(lists))


def _places(path: Path) -> dict[str, dict[int, Path]]:
    """By kind: the folder of each clip, by its number after regrouping; the original goes before its link."""
    found: dict[str, dict[int, Path]] = {}
    for kind in KINDS:
        clips: dict[int, Path] = {}
        for part in ("val", "train"):
            folder = part_folder(path, part, kind)
            for name in sorted(filter(_CLIP.fullmatch, list_names(folder))):
                number = int(name)
                number += FIRST_VALIDATION if part == "val" and number < FIRST_VALIDATION else 0
                if len(frames_in(folder / name)):
                    clips.setdefault(number, folder / name)
        found[kind] = clips
    return found


def part_folder(path: Path, part: str, kind: str) -> Path:
    """Find the folder of a part.

    Args:
        path: the folder that holds REDS.
        part: ``train`` or ``val``.
        kind: such as ``sharp_bicubic``.

    Returns:
        Where its clips lie, or would lie: beside what is there of the other part.
    """
    other = "val" if part == "train" else "train"
    choices = [root / top for root in (path, path / "REDS") for top in (part, "")]
    name = f"{part}_{kind}"
    found = next((place / name for place in choices if (place / name).is_dir()), None)
    if found is None:
        twins = [root / top for root in (path, path / "REDS") for top in (other, "")]
        beside = next((place for place in twins if (place / f"{other}_{kind}").is_dir()), None)
        if beside is None:
            return path / name
        found = (beside.with_name(part) if beside.name == other else beside) / name
        return found / "X4" if (beside / f"{other}_{kind}" / "X4").is_dir() else found
    return found / "X4" if (found / "X4").is_dir() else found


def _moves(
    places: Mapping[str, Mapping[int, Path]], path: Path, out: Path, layout: RedsLayout
) -> Iterator[tuple[Path, Path]]:
    if layout == "images":
        for kind, folder in _PORT.items():
            for number, source in sorted(places[kind].items()):
                yield source, out / "images" / f"{number:03d}" / folder
        return
    for kind, clips in places.items():
        train = part_folder(path, "train", kind)
        base = train if out == path else out / train.relative_to(path)
        for number, source in sorted(clips.items()):
            target = base / f"{number:03d}"
            if source != target:
                yield source, target


def _write_lists(sharp: Mapping[int, Path], out: Path, *, overwrite: bool) -> list[Path]:
    lines = {number: _meta_line(number, folder) for number, folder in sorted(sharp.items())}
    written: list[Path] = []
    for name, wanted in LISTS.items():
        chosen = [line for number, line in lines.items() if wanted(number)]
        if chosen:
            path = out / "meta_info" / name
            write_list(path, "".join(chosen), overwrite=overwrite)
            written.append(path)
    return written


def _meta_line(number: int, folder: Path) -> str:
    frames = frames_in(folder)
    height, width = image_size_hw(frames.path(0))
    return f"{number:03d} {len(frames)} ({height},{width},3)\n"


def _write_sets(places: Mapping[str, Mapping[int, Path]], out: Path, *, overwrite: bool) -> list[Path]:
    both = sorted(set(places["sharp"]) & set(places["sharp_bicubic"]))
    videos = {number: _video(number, places) for number in both}
    written: list[Path] = []
    for name, inside in (("train", False), ("val", True)):
        chosen = [video for number, video in videos.items() if (number in REDS4) is inside]
        if chosen:
            folders = {"prefix": False, "gt_folder": _PORT["sharp"], "x4_folder": _PORT["sharp_bicubic"]}
            path = out / "sets" / f"{name}.json"
            write_list(path, json.dumps({**folders, "videos": chosen}, indent=2) + "\n", overwrite=overwrite)
            written.append(path)
    return written


def _video(number: int, places: Mapping[str, Mapping[int, Path]]) -> dict[str, object]:
    sharp, low = (frames_in(places[kind][number]) for kind in ("sharp", "sharp_bicubic"))
    return {
        "name": f"{number:03d}",
        "gt_shape": list(image_size_hw(sharp.path(0))),
        "x4_shape": list(image_size_hw(low.path(0))),
        "nframes": min(len(sharp), len(low)),
    }
