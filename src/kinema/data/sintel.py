"""MPI-Sintel, the training part with truth, in its clean and final renderings."""

from __future__ import annotations

import re
from pathlib import Path

from kinema.data.layout import Family, first_root, incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec

LAYOUT = (
    "training/{VARIANT,flow}/SCENE/frame_NNNN.{png,flo} (occlusions/ and invalid/ beside them where present)"
)
OFFICIAL_PAIRS = 1041

_TRUTH = re.compile(r"frame_(\d+)\.flo")


def open_sintel(spec: DataSpec, path: Path) -> FlowDataset:
    """Open the labelled Sintel pairs.

    Args:
        spec: variant ``clean`` or ``final``; ``@training`` and no split are the same, since only that part
            has truth.
        path: the folder that holds ``training``, or ``training`` itself.

    Returns:
        One pair per true flow, frame N to N + 1, named ``SCENE/frame_NNNN``, with the occlusion and invalid
        masks.

    Raises:
        InputError: when no pair is complete.
    """
    variant = spec.variant or "clean"
    layout = LAYOUT.replace("VARIANT", variant)
    roots = ("training", "", "MPI-Sintel-complete/training", "MPI-Sintel/training")
    root = first_root(path, roots, needed=("flow", variant))
    if root is None:
        raise nothing_usable(spec, path, layout)
    usable: list[FlowFiles] = []
    incomplete: list[str] = []
    for scene in sorted(list_names(root / "flow")):
        _add_scene(root, variant, scene, usable=usable, incomplete=incomplete)
    if not usable:
        raise nothing_usable(spec, path, layout, reason="no true flow has both its frames")
    notes = (*incomplete_note(incomplete), *_mask_notes(usable))
    return FlowDataset(spec, tuple(usable), OFFICIAL_PAIRS, notes)


def _add_scene(
    root: Path, variant: str, scene: str, *, usable: list[FlowFiles], incomplete: list[str]
) -> None:
    frames = list_names(root / variant / scene)
    occlusions = list_names(root / "occlusions" / scene)
    invalid = list_names(root / "invalid" / scene)
    for truth in sorted(list_names(root / "flow" / scene)):
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
                flow=root / "flow" / scene / truth,
                image1=root / variant / scene / first,
                image2=root / variant / scene / second,
                occlusions=root / "occlusions" / scene / first if first in occlusions else None,
                invalid=root / "invalid" / scene / first if first in invalid else None,
            )
        )


def _mask_notes(usable: list[FlowFiles]) -> tuple[str, ...]:
    without = {
        "occlusions": sum(files.occlusions is None for files in usable),
        "invalid": sum(files.invalid is None for files in usable),
    }
    return tuple(
        f"{count} of {len(usable)} pairs have no {kind} mask" for kind, count in without.items() if count > 0
    )


FAMILY = Family(
    name="sintel",
    title="MPI-Sintel training scenes, 1041 pairs with truth",
    layout=LAYOUT,
    open=open_sintel,
    variants=("clean", "final"),
    splits=("training",),
)
