"""Middlebury flow, the public part with truth: ``other-data`` (two frames) and ``other-gt-flow``."""

from __future__ import annotations

from pathlib import Path

from kinema.data.layout import Family, first_root, incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec

LAYOUT = "other-data/SCENE/{frame10,frame11}.png with other-gt-flow/SCENE/flow10.flo"
OFFICIAL_PAIRS = 8


def open_middlebury(spec: DataSpec, path: Path) -> FlowDataset:
    """Open the Middlebury scenes that have a published truth.

    Args:
        spec: what was asked for; ``@other`` and no split are the same.
        path: the folder that holds ``other-data`` and ``other-gt-flow``.

    Returns:
        One pair per scene, frame 10 to frame 11. Pixels without known flow are not valid.

    Raises:
        InputError: when no scene is complete.
    """
    root = first_root(path, ("",), needed=("other-data", "other-gt-flow"))
    if root is None:
        raise nothing_usable(spec, path, LAYOUT)
    usable, incomplete = [], []
    for scene in sorted(list_names(root / "other-gt-flow")):
        truth = root / "other-gt-flow" / scene / "flow10.flo"
        if not truth.is_file():
            continue
        frames = [root / "other-data" / scene / f"frame{number}.png" for number in (10, 11)]
        if not all(frame.is_file() for frame in frames):
            incomplete.append(scene)
            continue
        usable.append(FlowFiles(name=scene, flow=truth, image1=frames[0], image2=frames[1]))
    if not usable:
        raise nothing_usable(spec, path, LAYOUT, reason="no scene has both frames and a flow")
    return FlowDataset(spec, tuple(usable), OFFICIAL_PAIRS, incomplete_note(incomplete))


FAMILY = Family(
    name="middlebury",
    title="Middlebury flow, 8 scenes with truth",
    layout=LAYOUT,
    open=open_middlebury,
    splits=("other",),
)
