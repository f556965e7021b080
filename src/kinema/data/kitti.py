"""KITTI optical flow (2012), the training part with truth."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from kinema.data.layout import Family, first_root, incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec

LAYOUT_2012 = (
    "training/{colored_0 or image_0}/NNNNNN_{10,11}.png with training/{flow_occ,flow_noc}/NNNNNN_10.png"
)
OFFICIAL_PAIRS_2012 = 194

# Colour first. image_2 is the colour folder's name in the 2015 set, and copies often use it for 2012 as well.
_IMAGE_FOLDERS = ("colored_0", "image_2", "image_0")
_TRUTH = re.compile(r"(\d{6})_10\.png")


def open_kitti2012(spec: DataSpec, path: Path) -> FlowDataset:
    """Open the labelled KITTI 2012 pairs.

    Args:
        spec: what was asked for; ``@training`` and no split are the same, since only that part has truth.
        path: the folder that holds ``training``, or ``training`` itself.

    Returns:
        One pair per ``flow_occ`` file, frame 10 to 11, with the ``flow_noc`` pixels. The grey camera's
        frames serve where colour is absent, and a note says so.

    Raises:
        InputError: when no pair is complete.
    """
    root = first_root(path, ("training", "", "data_stereo_flow/training"), needed=("flow_occ",))
    if root is None:
        raise nothing_usable(spec, path, LAYOUT_2012)
    pictures = {folder: list_names(root / folder) for folder in _IMAGE_FOLDERS}
    noc = list_names(root / "flow_noc")
    usable: list[FlowFiles] = []
    incomplete: list[str] = []
    for truth in sorted(filter(_TRUTH.fullmatch, list_names(root / "flow_occ"))):
        frames = _frames(root, truth, pictures)
        if frames is None:
            incomplete.append(Path(truth).stem)
            continue
        usable.append(
            FlowFiles(
                name=Path(truth).stem,
                flow=root / "flow_occ" / truth,
                image1=frames[0],
                image2=frames[1],
                noc=root / "flow_noc" / truth if truth in noc else None,
            )
        )
    if not usable:
        raise nothing_usable(spec, path, LAYOUT_2012, reason="no true flow has both its frames")
    return FlowDataset(
        spec, tuple(usable), OFFICIAL_PAIRS_2012, (*incomplete_note(incomplete), *_notes(usable))
    )


def _frames(root: Path, truth: str, pictures: Mapping[str, set[str]]) -> tuple[Path, Path] | None:
    second = truth.replace("_10.png", "_11.png")
    for folder, present in pictures.items():
        if {truth, second} <= present:
            return root / folder / truth, root / folder / second
    return None


def _notes(usable: list[FlowFiles]) -> list[str]:
    folders = Counter(files.image1.parent.name for files in usable if files.image1 is not None)
    grey = folders["image_0"]
    without_noc = sum(files.noc is None for files in usable)
    notes = []
    if grey:
        notes.append(f"{grey} of {len(usable)} pairs are read from the grey camera (image_0)")
    if without_noc:
        notes.append(f"{without_noc} of {len(usable)} pairs have no flow_noc")
    return notes


FAMILY_2012 = Family(
    name="kitti2012",
    title="KITTI flow 2012, 194 training pairs with truth",
    layout=LAYOUT_2012,
    open=open_kitti2012,
    splits=("training",),
)
