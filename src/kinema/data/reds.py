"""REDS: 270 clips of 100 frames, sharp, low (bicubic x4), blurred, blurred and compressed.

Clips are named as after regrouping: 000 to 239 are the published training clips, 240 to 269 the published
validation clips 000 to 029. It does not matter whether a copy has been regrouped.
"""

from __future__ import annotations

import re
from pathlib import Path

from kinema.data.family import Facts, Family
from kinema.data.frame_list import FrameList, clips_in
from kinema.data.layout import list_names, nothing_usable
from kinema.data.restoration_layout import clip_notes, pair_clips
from kinema.data.restoration_sample import RestorationDataset
from kinema.data.spec import DataSpec

LAYOUT = (
    "{train,val}/{train,val}_sharp/NNN/NNNNNNNN.png with train_sharp_bicubic/X4, train_blur, train_blur_comp"
    " or train_blur_bicubic/X4 beside it; also without train/ and val/, regrouped, as"
    " images/NNN/{truth,blur4} or as train_sharp.lmdb"
)
FRAMES = 100
REDS4 = (0, 11, 15, 20)
VARIANTS = {
    "bicubic": "sharp_bicubic",
    "blur": "blur",
    "blur_comp": "blur_comp",
    "blur_bicubic": "blur_bicubic",
}
SPLITS: dict[str | None, frozenset[int]] = {
    "train": frozenset(range(270)) - set(REDS4),
    "reds4": frozenset(REDS4),
    "official_train": frozenset(range(240)),
    "official_val": frozenset(range(240, 270)),
    None: frozenset(range(270)),
}

_ROOTS = ("", "REDS", "reds")
_CLIP = re.compile(r"\d{3}")
_FIRST_VALIDATION = 240


def open_reds(spec: DataSpec, path: Path) -> RestorationDataset:
    """Open REDS, as downloaded, regrouped, indexed by the Ascend port, or packed in LMDB folders.

    Args:
        spec: variant ``bicubic`` (also when none is given), ``blur``, ``blur_comp`` or ``blur_bicubic`` says
            what the low frames are; ``@train`` is the 266 clips outside REDS4, ``@reds4`` the four clips that
            papers test on, ``@official_train`` and ``@official_val`` the published parts.
        path: the folder that holds one of the layouts.

    Returns:
        The clips of the split that are present, sorted by number.

    Raises:
        InputError: when no clip of the split has both halves.
    """
    kind = VARIANTS[spec.variant or "bicubic"]
    low: dict[str, FrameList] = {}
    sharp: dict[str, FrameList] = {}
    for root in (path / name for name in _ROOTS):
        _add(sharp, root, "sharp", port_folder="truth")
        _add(low, root, kind, port_folder="blur4" if kind == "sharp_bicubic" else "")
    wanted = {f"{number:03d}" for number in SPLITS[spec.split]}
    clips, unpaired = pair_clips(
        {name: low[name] for name in sorted(wanted & low.keys())},
        {name: sharp[name] for name in sorted(wanted & sharp.keys())},
        step=1,
    )
    if not clips:
        found = f"{len(sharp)} sharp and {len(low)} {kind} clips present, none of {spec.label} with both"
        reason = found if low or sharp else ""
        raise nothing_usable(spec, path, LAYOUT, reason=reason, sample="clip")
    return RestorationDataset(
        spec, tuple(clips), len(SPLITS[spec.split]), clip_notes(clips, unpaired, frames=FRAMES)
    )


def _add(found: dict[str, FrameList], root: Path, kind: str, *, port_folder: str) -> None:
    """Add the clips of one kind by their regrouped name; what was found first stays."""
    for part in ("train", "val"):
        for place in _places(root, part, kind):
            for name, frames in clips_in(place).items():
                if _CLIP.fullmatch(name):
                    number = int(name)
                    number += _FIRST_VALIDATION if part == "val" and number < _FIRST_VALIDATION else 0
                    found.setdefault(f"{number:03d}", frames)
    if port_folder:
        for name, frames in _port_clips(root / "images", port_folder).items():
            found.setdefault(name, frames)


def _places(root: Path, part: str, kind: str) -> list[Path]:
    name = f"{part}_{kind}"
    folders = [root / part / name, root / name]
    scaled = [folder / "X4" if (folder / "X4").is_dir() else folder for folder in folders]
    return [*scaled, root / f"{name}.lmdb", root / f"{name}_with_val.lmdb"]


def _port_clips(images: Path, folder: str) -> dict[str, FrameList]:
    """The clips below ``images``: ``NNN/truth`` or, with the port's "prefix", ``truth/NNN``."""
    found = dict(clips_in(images / folder))
    for clip in filter(_CLIP.fullmatch, list_names(images)):
        inside = clips_in(images / clip)
        if folder in inside:
            found.setdefault(clip, inside[folder])
    return {name: frames for name, frames in found.items() if _CLIP.fullmatch(name)}


FAMILY = Family(
    name="reds",
    kind="restoration",
    title="REDS, 270 clips of 100 frames for upscaling and deblurring",
    layout=LAYOUT,
    open=open_reds,
    facts=Facts(
        holds="clips of 100 sharp frames and their low twins",
        counts={split: len(numbers) for split, numbers in SPLITS.items() if split is not None},
        unit="clips",
        size="1280x720, low 320x180 or the same",
        source="Seoul National University, NTIRE 2019 challenges",
        url="https://seungjunnah.github.io/Datasets/reds",
        terms="CC BY 4.0",
    ),
    variants=tuple(VARIANTS),
    splits=tuple(split for split in SPLITS if split is not None),
)
