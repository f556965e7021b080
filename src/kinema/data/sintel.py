"""MPI-Sintel: clean, final and albedo renderings, TVNet's flat copy, and the test part."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from kinema.data.family import Facts, Family
from kinema.data.frames import FrameDataset, FrameFiles
from kinema.data.layout import first_root, incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec

LAYOUT = (
    "training/{VARIANT,flow}/SCENE/frame_NNNN.{png,flo} (occlusions/ and invalid/ beside them where "
    "present); @test: test/VARIANT/SCENE/frame_NNNN.png"
)
LAYOUT_FLAT = (
    "MPISintel_train/SCENE/frame_NNNN.{png,flo} together; @test: MPISintel_test/SCENE/frame_NNNN.png"
)

_FIFTY = (
    "alley_1 alley_2 ambush_5 ambush_7 bamboo_1 bamboo_2 bandage_1 bandage_2 cave_2 cave_4 market_2 market_5"
)
_FIFTY += " mountain_1 shaman_2 shaman_3 sleeping_1 sleeping_2 temple_2 temple_3"
TRAINING_FRAMES = dict.fromkeys(_FIFTY.split(), 50) | {
    "ambush_2": 21,
    "ambush_4": 33,
    "ambush_6": 20,
    "market_6": 40,
}
"""Frames of each official training scene; there is one pair less."""

_FIFTY_TEST = (
    "bamboo_3 cave_3 market_1 market_4 mountain_2 PERTURBED_market_3 PERTURBED_shaman_1 temple_1 tiger wall"
)
TEST_FRAMES = dict.fromkeys(_FIFTY_TEST.split(), 50) | {"ambush_1": 23, "ambush_3": 41}
"""Frames of each official test scene."""

VALIDATION_SCENES = frozenset({"ambush_2", "ambush_6", "bamboo_2", "cave_4", "market_6", "temple_2"})
"""Scenes of ``@val``: none of them is in ``@train``, slow and fast, lit and dark among them."""

OFFICIAL_PAIRS = sum(TRAINING_FRAMES.values()) - len(TRAINING_FRAMES)
OFFICIAL_TEST_PAIRS = sum(TEST_FRAMES.values()) - len(TEST_FRAMES)

_TRUTH = re.compile(r"frame_(\d+)\.flo")
_PICTURE = re.compile(r"frame_(\d+)\.png")


@dataclass(frozen=True)
class _Tree:
    """Where the parts of a training scene lie."""

    scenes: Path
    frames: Path
    occlusions: Path | None = None
    invalid: Path | None = None


def open_sintel(spec: DataSpec, path: Path) -> FlowDataset | FrameDataset:
    """Open Sintel pairs.

    Args:
        spec: variant ``clean``, ``final``, ``albedo`` or ``flat``. Split ``training`` (all that has truth, as
            without split); ``train`` and ``val``, which share no scene; ``legacy-train`` and ``legacy-val``,
            the random pairs of tfoptflow, which are neighbours of each other; ``test``, without truth.
        path: the folder that holds ``training`` and ``test``, or one of these itself.

    Returns:
        Frame N to N + 1, named ``SCENE/frame_NNNN``, with the occlusion and invalid masks; for ``test``
        frames only.

    Raises:
        InputError: when no pair of the part is complete.
    """
    if spec.split == "test":
        return _open_test(spec, path)
    tree = _training_tree(spec, path)
    usable: list[FlowFiles] = []
    incomplete: list[str] = []
    for scene in sorted(list_names(tree.scenes)):
        _add_scene(tree, scene, usable=usable, incomplete=incomplete)
    wanted = _split_filter(spec.split)
    chosen = tuple(files for files in usable if wanted(files.name))
    if not chosen:
        reason = "no true flow has both its frames"
        if usable:
            reason = f"{len(usable)} pairs present, none of them in {spec.split}"
        raise nothing_usable(spec, path, _layout(spec), reason=reason)
    notes = (*incomplete_note(list(filter(wanted, incomplete))), *_mask_notes(chosen, tree))
    return FlowDataset(spec, chosen, sum(map(wanted, official_pairs())), notes)


@cache
def official_pairs() -> tuple[str, ...]:
    """Name the official training pairs.

    Returns:
        ``SCENE/frame_NNNN``, sorted.
    """
    return tuple(
        f"{scene}/frame_{number:04d}"
        for scene, frames in sorted(TRAINING_FRAMES.items())
        for number in range(1, frames)
    )


@cache
def legacy_validation() -> frozenset[str]:
    """Name the pairs that tfoptflow keeps for validation: 3 % at random.

    They are drawn as scikit-learn draws them with seed 1969. tfoptflow lists scenes in the order of the file
    system, so its own choice differs between machines; here the order is sorted.

    Returns:
        32 of the 1041 official pairs.
    """
    pairs = official_pairs()
    order = np.random.RandomState(1969).permutation(len(pairs))
    return frozenset(pairs[place] for place in order[: math.ceil(0.03 * len(pairs))])


def _split_filter(split: str | None) -> Callable[[str], bool]:
    """Which pairs belong to a split, by their names; pairs beyond the official ones are for training."""
    rules: dict[str | None, Callable[[str], bool]] = {
        "val": lambda name: name.partition("/")[0] in VALIDATION_SCENES,
        "train": lambda name: name.partition("/")[0] not in VALIDATION_SCENES,
        "legacy-val": lambda name: name in legacy_validation(),
        "legacy-train": lambda name: name not in legacy_validation(),
    }
    return rules.get(split, lambda name: True)


def _layout(spec: DataSpec) -> str:
    return LAYOUT_FLAT if spec.variant == "flat" else LAYOUT.replace("VARIANT", spec.variant or "clean")


def _training_tree(spec: DataSpec, path: Path) -> _Tree:
    if spec.variant == "flat":
        root = first_root(path, ("MPISintel_train", ""), needed=("",)) or path
        return _Tree(scenes=root, frames=root)
    variant = spec.variant or "clean"
    roots = ("training", "", "MPI-Sintel-complete/training", "MPI-Sintel/training")
    found = first_root(path, roots, needed=("flow", variant))
    if found is None:
        raise nothing_usable(spec, path, _layout(spec))
    return _Tree(found / "flow", found / variant, found / "occlusions", found / "invalid")


def _add_scene(tree: _Tree, scene: str, *, usable: list[FlowFiles], incomplete: list[str]) -> None:
    frames = list_names(tree.frames / scene)
    occlusions = _masks(tree.occlusions, scene)
    invalid = _masks(tree.invalid, scene)
    for truth in sorted(list_names(tree.scenes / scene)):
        match = _TRUTH.fullmatch(truth)
        if match is None:
            continue
        number = match[1]
        first = f"frame_{number}.png"
        second = f"frame_{int(number) + 1:0{len(number)}d}.png"
        name = f"{scene}/frame_{number}"
        if not {first, second} <= frames:
            incomplete.append(name)
            continue
        usable.append(
            FlowFiles(
                name=name,
                flow=tree.scenes / scene / truth,
                image1=tree.frames / scene / first,
                image2=tree.frames / scene / second,
                occlusions=occlusions.get(first),
                invalid=invalid.get(first),
            )
        )


def _masks(folder: Path | None, scene: str) -> dict[str, Path]:
    if folder is None:
        return {}
    return {name: folder / scene / name for name in list_names(folder / scene)}


def _mask_notes(usable: tuple[FlowFiles, ...], tree: _Tree) -> tuple[str, ...]:
    if tree.occlusions is None:
        return ()  # the flat copy never has any
    without = {
        "occlusions": sum(files.occlusions is None for files in usable),
        "invalid": sum(files.invalid is None for files in usable),
    }
    return tuple(
        f"{count} of {len(usable)} pairs have no {kind} mask" for kind, count in without.items() if count > 0
    )


def _open_test(spec: DataSpec, path: Path) -> FrameDataset:
    root = _test_root(spec, path)
    files = tuple(_test_pairs(root)) if root is not None else ()
    if not files:
        raise nothing_usable(spec, path, _layout(spec))
    return FrameDataset(spec, files, OFFICIAL_TEST_PAIRS)


def _test_root(spec: DataSpec, path: Path) -> Path | None:
    if spec.variant == "flat":
        return first_root(path, ("MPISintel_test",), needed=("",))
    variant = spec.variant or "clean"
    roots = ["test", "MPI-Sintel-complete/test", "MPI-Sintel/test"]
    if not (path / "flow").is_dir():  # the training folder is not the test folder
        roots.append("")
    root = first_root(path, roots, needed=(variant,))
    return None if root is None else root / variant


def _test_pairs(root: Path) -> Iterator[FrameFiles]:
    for scene in sorted(list_names(root)):
        numbers = {match[1] for match in map(_PICTURE.fullmatch, list_names(root / scene)) if match}
        for number in sorted(numbers):
            following = f"{int(number) + 1:0{len(number)}d}"
            if following in numbers:
                frames = tuple(root / scene / f"frame_{n}.png" for n in (number, following))
                yield FrameFiles(f"{scene}/frame_{number}", frames)


FAMILY = Family(
    name="sintel",
    kind="flow",
    title="MPI-Sintel, 1041 training pairs with truth of 23 scenes, 552 test pairs without",
    layout=LAYOUT,
    open=open_sintel,
    facts=Facts(
        holds="pairs with dense flow, occlusion and invalid masks; test frames without truth",
        counts={"training": OFFICIAL_PAIRS, "test": OFFICIAL_TEST_PAIRS},
        unit="pairs",
        size="1024x436",
        source="MPI Sintel",
        url="http://sintel.is.tue.mpg.de",
        terms="from the film Sintel, Blender Foundation, CC BY 3.0",
    ),
    variants=("clean", "final", "albedo", "flat"),
    variant_needed=True,
    splits=("training", "train", "val", "legacy-train", "legacy-val", "test"),
)
