"""FlyingChairs, with its published training and validation lists."""

from __future__ import annotations

import re
from pathlib import Path

from kinema.data.layout import Family, first_root, incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec
from kinema.errors import InputError

LAYOUT = (
    "data/NNNNN_{img1.ppm,img2.ppm,flow.flo} with FlyingChairs_train_val.txt beside data/ for @train and @val"
)
OFFICIAL_PAIRS = {"train": 22232, "val": 640, None: 22872}
SPLIT_FILES = ("FlyingChairs_train_val.txt", "chairs_train_val.txt", "chairs_split.txt")

_TRUTH = re.compile(r"(\d{5})_flow\.flo")
_SPLIT_CODES = {"train": "1", "val": "2"}


def open_flyingchairs(spec: DataSpec, path: Path) -> FlowDataset:
    """Open the FlyingChairs pairs.

    Args:
        spec: split ``train``, ``val``, or none for every pair present.
        path: the folder that holds ``data`` and the split list, or ``data`` itself.

    Returns:
        The pairs of the split that are present, named by number.

    Raises:
        InputError: when no pair of the split is present, or its list is missing or broken.
    """
    root = first_root(path, ("data", "FlyingChairs_release/data"), needed=("",)) or path
    present = list_names(root)
    numbers = sorted(match[1] for match in map(_TRUTH.fullmatch, present) if match)
    if not numbers:
        raise nothing_usable(spec, path, LAYOUT)
    wanted = numbers if spec.split is None else _in_split(numbers, spec.split, root, path)
    complete = [n for n in wanted if {f"{n}_img1.ppm", f"{n}_img2.ppm"} <= present]
    official = OFFICIAL_PAIRS[spec.split]
    if not complete:
        reason = (
            f"{len(numbers)} pairs present, {len(wanted)} of them in {spec.split or 'the set'}, none complete"
        )
        raise nothing_usable(spec, path, LAYOUT, reason=reason)
    files = tuple(
        FlowFiles(
            name=n, flow=root / f"{n}_flow.flo", image1=root / f"{n}_img1.ppm", image2=root / f"{n}_img2.ppm"
        )
        for n in complete
    )
    return FlowDataset(spec, files, official, incomplete_note(sorted(set(wanted) - set(complete))))


def _in_split(numbers: list[str], split: str, root: Path, path: Path) -> list[str]:
    codes = _read_split(root, path)
    last = int(numbers[-1])
    if last > len(codes):
        raise InputError(
            f"{path}: pair {numbers[-1]} is present but the split list has {len(codes)} lines only"
        )
    return [n for n in numbers if codes[int(n) - 1] == _SPLIT_CODES[split]]


def _read_split(root: Path, path: Path) -> list[str]:
    places = [folder / name for folder in (path, root, root.parent) for name in SPLIT_FILES]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(f"{path}: @train and @val need {SPLIT_FILES[0]} in this folder or beside data/")
    codes = found.read_text(encoding="ascii", errors="replace").split()
    strange = sorted(set(codes) - set(_SPLIT_CODES.values()))
    if strange or not codes:
        raise InputError(
            f"{found}: expected one line per pair with 1 (train) or 2 (val), found {strange[:3]}"
        )
    return codes


FAMILY = Family(
    name="flyingchairs",
    title="FlyingChairs, 22232 training and 640 validation pairs",
    layout=LAYOUT,
    open=open_flyingchairs,
    splits=("train", "val"),
)
