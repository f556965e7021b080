"""Vid4: four test clips for upscaling, with their published low twins."""

from __future__ import annotations

from pathlib import Path

from kinema.data.family import Facts, Family
from kinema.data.frame_list import FrameList, clips_in
from kinema.data.layout import first_root, nothing_usable
from kinema.data.restoration_layout import clip_notes, pair_clips
from kinema.data.restoration_sample import RestorationDataset
from kinema.data.spec import DataSpec

LAYOUT = "GT/{calendar,city,foliage,walk}/NNNNNNNN.png with BIx4 or BDx4 beside GT"
FRAMES = {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}
VARIANTS = {"bix4": "BIx4", "bdx4": "BDx4"}


def open_vid4(spec: DataSpec, path: Path) -> RestorationDataset:
    """Open Vid4.

    Args:
        spec: variant ``bix4`` (MATLAB bicubic, also when none is given) or ``bdx4`` (Gaussian of 1.6, then
            every fourth pixel).
        path: the folder that holds ``GT`` and the low twins.

    Returns:
        The clips that are present.

    Raises:
        InputError: when no clip has both halves.
    """
    folder = VARIANTS[spec.variant or "bix4"]
    layout = LAYOUT.replace("BIx4 or BDx4", folder)
    root = first_root(path, ("", "Vid4", "vid4"), needed=("GT", folder))
    if root is None:
        raise nothing_usable(spec, path, layout, sample="clip")
    low, sharp = _official(clips_in(root / folder)), _official(clips_in(root / "GT"))
    clips, unpaired = pair_clips(low, sharp, step=1)
    if not clips:
        raise nothing_usable(spec, path, layout, reason="no clip has frames in both folders", sample="clip")
    return RestorationDataset(spec, tuple(clips), len(FRAMES), clip_notes(clips, unpaired, frames=FRAMES))


def _official(clips: dict[str, FrameList]) -> dict[str, FrameList]:
    return {name: frames for name, frames in clips.items() if name in FRAMES}


FAMILY = Family(
    name="vid4",
    kind="restoration",
    title="Vid4, 4 test clips for upscaling by 4",
    layout=LAYOUT,
    open=open_vid4,
    facts=Facts(
        holds="clips of 34 to 49 sharp frames and their low twins",
        counts={"all": len(FRAMES)},
        unit="clips",
        size="720x576 to 720x480, low a quarter of it",
        source="C. Liu and D. Sun, Bayesian video super resolution (2011)",
        url="",
        terms="not stated",
    ),
    variants=tuple(VARIANTS),
)
