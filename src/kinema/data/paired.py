"""Anyone's own frames: a folder of low ones beside a folder of sharp ones, in files or LMDB folders."""

from __future__ import annotations

from pathlib import Path

from kinema.data.family import Facts, Family
from kinema.data.frame_list import FrameList, clips_in, frame_numbers
from kinema.data.layout import nothing_usable
from kinema.data.restoration_layout import clip_notes, pair_clips
from kinema.data.restoration_sample import RestorationClip, RestorationDataset
from kinema.data.spec import DataSpec

LAYOUT = (
    "low/[CLIP/]NNNNNNNN.png with sharp/[CLIP/] of the same names; also lq and gt, LR and HR, lq.lmdb ..."
)
NAMES = (
    ("low", "sharp"),
    ("low", "high"),
    ("lq", "gt"),
    ("LQ", "GT"),
    ("lr", "hr"),
    ("LR", "HR"),
    ("input", "target"),
    ("blur", "sharp"),
    ("noisy", "clean"),
)


def open_paired(spec: DataSpec, path: Path) -> RestorationDataset:
    """Open a folder of low and a folder of sharp frames.

    Args:
        spec: what was asked for.
        path: holds both folders, under one of the pairs of `NAMES`, or with ``.lmdb`` behind the name.
            In each lie the frames of one clip, or a folder for each clip.

    Returns:
        The clips with frames on both sides, paired by name; numbers at the end of the names give the order,
        and a clip ends where one is missing. Pictures without a number are clips of one frame. Low frames
        without a sharp twin serve as neighbours.

    Raises:
        InputError: when there are no such folders, or nothing in them fits together.
    """
    for names in NAMES:
        for suffix in ("", ".lmdb"):
            low, sharp = (path / f"{name}{suffix}" for name in names)
            if low.is_dir() and sharp.is_dir():
                return _open_folders(spec, path, low=low, sharp=sharp)
    raise nothing_usable(spec, path, LAYOUT, sample="clip")


def _open_folders(spec: DataSpec, path: Path, *, low: Path, sharp: Path) -> RestorationDataset:
    low_clips, sharp_clips = _numbered(clips_in(low), path.name), _numbered(clips_in(sharp), path.name)
    clips, unpaired = pair_clips(low_clips, sharp_clips)
    if not clips:
        reason = f"no frame of {low.name} has the name of one of {sharp.name}"
        raise nothing_usable(spec, path, LAYOUT, reason=reason, sample="clip")
    return RestorationDataset(
        spec, tuple(clips), None, (*clip_notes(clips, unpaired, frames=None), *_target_notes(clips))
    )


def _numbered(clips: dict[str, FrameList], title: str) -> dict[str, FrameList]:
    """Pictures without numbers become clips of one frame; frames in no folder a clip with a name."""
    found: dict[str, FrameList] = {}
    for name, frames in clips.items():
        if frame_numbers(frames) is not None:
            found[name or title or "frames"] = frames
            continue
        for index in range(len(frames)):
            stem = frames.stem(index)
            found[f"{name}/{stem}" if name else stem] = frames.take([index])
    return found


def _target_notes(clips: list[RestorationClip]) -> tuple[str, ...]:
    lonely = sum(len(clip) - len(clip.targets) for clip in clips)
    total = sum(len(clip) for clip in clips)
    return (f"{lonely} of {total} low frames have no sharp twin and serve as neighbours",) if lonely else ()


FAMILY = Family(
    name="paired",
    kind="restoration",
    title="your own low and sharp frames, side by side in two folders",
    layout=LAYOUT,
    open=open_paired,
    facts=Facts(
        holds="clips of low frames with sharp twins",
        counts={},
        unit="clips",
        size="",
        source="your own",
        url="",
        terms="your own",
    ),
)
