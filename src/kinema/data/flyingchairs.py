"""FlyingChairs with its published training and validation lists, and FlyingChairs2 with both directions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from kinema.data.chairs_split import PAIRS, validation_numbers
from kinema.data.family import Facts, Family
from kinema.data.layout import first_root, incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec
from kinema.errors import InputError

LAYOUT = (
    "data/NNNNN_{img1.ppm,img2.ppm,flow.flo} (FlyingChairs_train_val.txt beside data/ is used if present)"
)
LAYOUT_2 = "{train,val}/NNNNNNN-{img_0.png,img_1.png,flow_01.flo,flow_10.flo,occ_01.png,occ_10.png}"
OFFICIAL_PAIRS = {"train": 22232, "val": 640, None: PAIRS}
SPLIT_FILES = ("FlyingChairs_train_val.txt", "chairs_train_val.txt", "chairs_split.txt")

_TRUTH = re.compile(r"(\d{5})_flow\.flo")
_TRUTH_2 = re.compile(r"(\d{7})-flow_(01|10)\.flo")
_SPLIT_CODES = {"1": "train", "2": "val"}


def open_flyingchairs(spec: DataSpec, path: Path) -> FlowDataset:
    """Open the FlyingChairs pairs.

    Args:
        spec: split ``train``, ``val``, or none for every pair present.
        path: the folder that holds ``data``, or ``data`` itself.

    Returns:
        The pairs of the split that are present, named by number.

    Raises:
        InputError: when no pair of the split is present, or the list beside the pairs is broken.
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
    places = [folder / name for folder in (path, root, root.parent) for name in SPLIT_FILES]
    found = next((place for place in places if place.is_file()), None)
    codes = _published() if found is None else _read_split(found)
    if int(numbers[-1]) > len(codes):
        source = "the published list" if found is None else "the split list"
        raise InputError(
            f"{path}: pair {numbers[-1]} is present but {source} has {len(codes)} lines only; name no split"
        )
    return [n for n in numbers if codes[int(n) - 1] == split]


def _published() -> list[str]:
    validation = validation_numbers()
    return ["val" if number in validation else "train" for number in range(1, PAIRS + 1)]


def _read_split(found: Path) -> list[str]:
    codes = found.read_text(encoding="ascii", errors="replace").split()
    strange = sorted(set(codes) - set(_SPLIT_CODES))
    if strange or not codes:
        raise InputError(
            f"{found}: expected one line per pair with 1 (train) or 2 (val), found {strange[:3]}"
        )
    return [_SPLIT_CODES[code] for code in codes]


def open_flyingchairs2(spec: DataSpec, path: Path) -> FlowDataset:
    """Open the FlyingChairs2 pairs, both directions of each.

    Args:
        spec: split ``train``, ``val``, or none for every pair present.
        path: the folder that holds ``train`` and ``val``, or one of these.

    Returns:
        Forward and backward pairs with their occlusion masks, named ``PART/NNNNNNN_01`` and ``_10``.

    Raises:
        InputError: when no pair of the split is complete.
    """
    parts = ("train", "val") if spec.split is None else (spec.split,)
    roots = {part: root for part in parts if (root := first_root(path, (part,), needed=("",))) is not None}
    if not roots and spec.split is None:
        roots = {path.name: path}
    usable: list[FlowFiles] = []
    incomplete: list[str] = []
    for part, root in roots.items():
        present = list_names(root)
        for files in _chairs2_pairs(root, part, present):
            whole = all(image.name in present for image in (files.image1, files.image2) if image)
            usable.append(files) if whole else incomplete.append(files.name)
    if not usable:
        raise nothing_usable(spec, path, LAYOUT_2)
    official = 2 * sum(OFFICIAL_PAIRS[part] for part in parts)
    return FlowDataset(spec, tuple(usable), official, incomplete_note(incomplete))


def _chairs2_pairs(root: Path, part: str, present: set[str]) -> Iterator[FlowFiles]:
    for truth in sorted(present):
        match = _TRUTH_2.fullmatch(truth)
        if match is None:
            continue
        number, first, second = match[1], match[2][0], match[2][1]
        mask = f"{number}-occ_{match[2]}.png"
        yield FlowFiles(
            name=f"{part}/{number}_{match[2]}",
            flow=root / truth,
            image1=root / f"{number}-img_{first}.png",
            image2=root / f"{number}-img_{second}.png",
            occlusions=root / mask if mask in present else None,
        )


_URL = "https://lmb.informatik.uni-freiburg.de/resources/datasets/FlyingChairs.en.html"

FAMILY = Family(
    name="flyingchairs",
    kind="flow",
    title="FlyingChairs, 22232 training and 640 validation pairs",
    layout=LAYOUT,
    open=open_flyingchairs,
    facts=Facts(
        holds="rendered pairs of flying chairs with dense flow",
        counts={"train": OFFICIAL_PAIRS["train"], "val": OFFICIAL_PAIRS["val"]},
        unit="pairs",
        size="512x384",
        source="Computer Vision Group, University of Freiburg",
        url=_URL,
        terms="for research only",
    ),
    splits=("train", "val"),
)

FAMILY_2 = Family(
    name="flyingchairs2",
    kind="flow",
    title="FlyingChairs2, the same kind of pairs with flow and occlusions in both directions",
    layout=LAYOUT_2,
    open=open_flyingchairs2,
    facts=Facts(
        holds="rendered pairs of flying chairs with dense flow and occlusions, forward and backward",
        counts={"train": 2 * OFFICIAL_PAIRS["train"], "val": 2 * OFFICIAL_PAIRS["val"]},
        unit="pairs",
        size="512x384",
        source="Computer Vision Group, University of Freiburg",
        url=_URL,
        terms="for research only",
    ),
    splits=("train", "val"),
)
