"""Vimeo-90K septuplets: seven frames of 448x256 each, with low twins for upscaling by 4."""

from __future__ import annotations

import re
from pathlib import Path

from kinema.data.family import Facts, Family
from kinema.data.frame_list import FrameList, frames_in
from kinema.data.layout import list_names, nothing_usable
from kinema.data.restoration_sample import RestorationClip, RestorationDataset
from kinema.data.spec import DataSpec
from kinema.errors import InputError
from kinema.io.files import read_bytes

LAYOUT = (
    "sequences/NNNNN/NNNN/im{1..7}.png with sep_trainlist.txt and sep_testlist.txt, and the low twins in"
    " FOLDER/NNNNN/NNNN/"
)
FRAMES = 7
CENTRE = 3
OFFICIAL_CLIPS = {"train": 64612, "test": 7824, None: 91701}
LISTS = {"train": "sep_trainlist.txt", "test": "sep_testlist.txt"}
# Where low twins lie, below the folder that holds the sharp ones or beside it.
LOW_FOLDERS = {
    "bix4": (
        "vimeo_septuplet_matlabLRx4/sequences",
        "sequences_matlabLRx4",
        "sequences_BIx4",
        "BIx4",
        "low_resolution",
    ),
    "bdx4": ("vimeo_septuplet_BDLRx4/sequences", "sequences_BDLRx4", "sequences_BDx4", "BDx4"),
}

_SHARP_FOLDERS = ("sequences", "GT", "target")
_NAME = re.compile(r"\d{5}/\d{4}")


def open_vimeo90k(spec: DataSpec, path: Path) -> RestorationDataset:
    """Open the septuplets.

    Only the two upper levels of folders are listed: whether each of 91701 septuplets has all its frames shows
    when it is read, or is asked of `kinema data check`.

    Args:
        spec: variant ``bix4`` (MATLAB bicubic, also when none is given) or ``bdx4`` (Gaussian blur, every
            fourth pixel); ``@train`` and ``@test`` are the published lists. In the test list the fourth frame
            alone is scored, so it alone has a sharp twin there.
        path: the folder that holds ``sequences`` and the lists, or the one above it.

    Returns:
        The septuplets of the split that are present with both halves, named ``00001/0001``.

    Raises:
        InputError: when there is none, or the split's list is missing or broken.
    """
    variant = spec.variant or "bix4"
    layout = LAYOUT.replace("FOLDER", LOW_FOLDERS[variant][0])
    found = _find(path, LOW_FOLDERS[variant])
    if found is None:
        raise nothing_usable(spec, path, layout, sample="septuplet")
    root, sharp, low = found
    present = _septuplets(sharp)
    wanted = present if spec.split is None else _listed(root, path, LISTS[spec.split])
    sharp_present, low_present = set(present), set(_septuplets(low))
    both = [name for name in wanted if name in sharp_present and name in low_present]
    clips = _clips(both, low, sharp, only_centre=spec.split == "test")
    if not clips:
        reason = f"{len(sharp_present)} sharp and {len(low_present)} low ones, none of the split has both"
        raise nothing_usable(spec, path, layout, reason=reason, sample="septuplet")
    without_low = sum(name in sharp_present and name not in low_present for name in wanted)
    notes = (f"{without_low} septuplets have no low twin and are left out",) if without_low else ()
    return RestorationDataset(spec, clips, OFFICIAL_CLIPS[spec.split], notes)


def _find(path: Path, low_folders: tuple[str, ...]) -> tuple[Path, Path, Path] | None:
    for root in (path, path / "vimeo_septuplet"):
        for sharp in (root / name for name in _SHARP_FOLDERS):
            if sharp.is_dir():
                places = (base / name for name in low_folders for base in (root, root.parent))
                low = next((place for place in places if place.is_dir()), None)
                if low is not None:
                    return root, sharp, low
    return None


def _septuplets(folder: Path) -> list[str]:
    groups = sorted(name for name in list_names(folder) if len(name) == 5)
    names = (f"{group}/{name}" for group in groups for name in sorted(list_names(folder / group)))
    return [name for name in names if _NAME.fullmatch(name)]


def _listed(root: Path, path: Path, name: str) -> list[str]:
    places = [folder / name for folder in (root, path, root.parent)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(f"{path}: the split needs {name} in this folder or beside sequences/")
    lines = read_bytes(found).decode("ascii", errors="replace").split()
    strange = next((line for line in lines if not _NAME.fullmatch(line)), None)
    if strange is not None:
        raise InputError(f"{found}: expected one NNNNN/NNNN a line, found {strange[:40]!r}")
    return lines


def _clips(names: list[str], low: Path, sharp: Path, *, only_centre: bool) -> tuple[RestorationClip, ...]:
    """All septuplets have the frames of the first one: their folders are not listed."""
    if not names:
        return ()
    low_names, sharp_names = (frames_in(folder / names[0]).names for folder in (low, sharp))
    if len(low_names) != FRAMES:
        raise InputError(f"{low / names[0]}: {len(low_names)} pictures; expected im1 to im7")
    if len(sharp_names) != FRAMES:  # the published test set holds the middle frame alone
        only_centre = True
    if only_centre:
        sharp_names = tuple(name for name in sharp_names if name.startswith(f"im{CENTRE + 1}."))
        if not sharp_names:
            raise InputError(f"{sharp / names[0]}: the middle frame im4.png is missing")
    targets: range = range(CENTRE, CENTRE + 1) if only_centre else range(FRAMES)
    return tuple(
        RestorationClip(
            name, FrameList(f"{low}/{name}", low_names), FrameList(f"{sharp}/{name}", sharp_names), targets
        )
        for name in names
    )


FAMILY = Family(
    name="vimeo90k",
    kind="restoration",
    title="Vimeo-90K septuplets, 64612 for training and 7824 for testing",
    layout=LAYOUT.replace("FOLDER", LOW_FOLDERS["bix4"][0]),
    open=open_vimeo90k,
    facts=Facts(
        holds="clips of 7 sharp frames and their low twins",
        counts={split: count for split, count in OFFICIAL_CLIPS.items() if split is not None},
        unit="clips",
        size="448x256, low 112x64",
        source="MIT, Video Enhancement with Task-Oriented Flow (TOFlow)",
        url="http://toflow.csail.mit.edu",
        terms="not stated; the films belong to their makers on Vimeo",
    ),
    variants=tuple(LOW_FOLDERS),
    splits=tuple(LISTS),
)
