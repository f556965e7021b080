"""Middlebury flow: ``other-data`` with its public truth, and the frames of ``eval-data`` without."""

from __future__ import annotations

from pathlib import Path

from kinema.data.family import Facts, Family
from kinema.data.frames import FrameDataset, FrameFiles
from kinema.data.layout import first_root, incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec

LAYOUT = (
    "other-data/SCENE/{frame10,frame11}.png with other-gt-flow/SCENE/flow10.flo; "
    "@eval: eval-data/SCENE/{frame10,frame11}.png"
)
OFFICIAL_PAIRS = 8
OFFICIAL_EVAL_PAIRS = 12


def open_middlebury(spec: DataSpec, path: Path) -> FlowDataset | FrameDataset:
    """Open the Middlebury scenes.

    Args:
        spec: ``@other`` and no split are the scenes with published truth, ``@eval`` those without.
        path: the folder that holds ``other-data`` and ``other-gt-flow``, or ``eval-data``.

    Returns:
        One pair per scene, frame 10 to frame 11. Pixels without known flow are not valid.

    Raises:
        InputError: when no scene is complete.
    """
    if spec.split == "eval":
        return _open_eval(spec, path)
    root = first_root(path, ("",), needed=("other-data", "other-gt-flow"))
    if root is None:
        raise nothing_usable(spec, path, LAYOUT)
    usable, incomplete = [], []
    for scene in sorted(list_names(root / "other-gt-flow")):
        truth = root / "other-gt-flow" / scene / "flow10.flo"
        if not truth.is_file():
            continue
        frames = _frames(root / "other-data" / scene)
        if frames is None:
            incomplete.append(scene)
            continue
        usable.append(FlowFiles(name=scene, flow=truth, image1=frames[0], image2=frames[1]))
    if not usable:
        raise nothing_usable(spec, path, LAYOUT, reason="no scene has both frames and a flow")
    return FlowDataset(spec, tuple(usable), OFFICIAL_PAIRS, incomplete_note(incomplete))


def _open_eval(spec: DataSpec, path: Path) -> FrameDataset:
    root = path / "eval-data" if (path / "eval-data").is_dir() else path
    scenes = {scene: _frames(root / scene) for scene in sorted(list_names(root))}
    files = tuple(FrameFiles(scene, frames) for scene, frames in scenes.items() if frames is not None)
    if not files:
        raise nothing_usable(spec, path, LAYOUT)
    return FrameDataset(spec, files, OFFICIAL_EVAL_PAIRS)


def _frames(folder: Path) -> tuple[Path, Path] | None:
    first, second = folder / "frame10.png", folder / "frame11.png"
    return (first, second) if first.is_file() and second.is_file() else None


FAMILY = Family(
    name="middlebury",
    kind="flow",
    title="Middlebury flow, 8 scenes with truth, 12 without",
    layout=LAYOUT,
    open=open_middlebury,
    facts=Facts(
        holds="pairs with dense flow, unknown pixels marked; evaluation frames without truth",
        counts={"other": OFFICIAL_PAIRS, "eval": OFFICIAL_EVAL_PAIRS},
        unit="pairs",
        size="316x252 to 640x480",
        source="Middlebury optical flow",
        url="https://vision.middlebury.edu/flow/data/",
        terms="not stated",
    ),
    splits=("other", "eval"),
)
