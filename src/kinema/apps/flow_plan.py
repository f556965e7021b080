"""Where the flow of each clip goes: formats and file names, decided before any work."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinema.apps.flow_config import FlowConfig, FlowFormat
from kinema.errors import MissingExtraError, UsageError
from kinema.io.clips import Clip
from kinema.io.files import user_path
from kinema.io.images import IMAGE_SUFFIXES
from kinema.io.video import WRITABLE_SUFFIXES

EXTENSIONS: dict[FlowFormat, str] = {
    "flo": ".flo",
    "png16": ".png",
    "pfm": ".pfm",
    "npz": ".npz",
    "mat": ".mat",
    "viz": ".png",
    "bounded8": ".png",
    "video": ".mp4",
}
"""The suffix that a format has in a folder."""

BUNDLES: frozenset[FlowFormat] = frozenset({"npz", "mat"})
"""Formats that hold flow, backward, occluded and confidence in one file."""


@dataclass(frozen=True)
class ClipPlan:
    """Where the flow of one clip goes.

    Attributes:
        clip: what is read.
        formats: what is written, without repetition.
        folder: where the files are; it may not exist yet.
        file: the one file, or None for a folder of files.
    """

    clip: Clip
    formats: tuple[FlowFormat, ...]
    folder: Path
    file: Path | None

    def path(self, fmt: FlowFormat, kind: str, index: int) -> Path:
        """Name a file.

        Args:
            fmt: how it is written; masks of number and picture formats are PNG, whatever this is.
            kind: `flow`, `backward`, `occluded` or `confidence`; bounded8 adds `_x` and `_y`.
            index: of the pair, from 0; without meaning for videos.

        Returns:
            The path: `NNNNNN_kind.ext` or `kind.mp4` in a folder; the file itself or `file_kind.ext` beside
            it.
        """
        extension = EXTENSIONS[fmt] if self.file is None else self.file.suffix
        if kind in ("occluded", "confidence") and fmt != "video":
            extension = ".png"
        if self.file is not None:
            return self.file if kind == "flow" else self.file.with_name(f"{self.file.stem}_{kind}{extension}")
        return self.folder / (f"{kind}{extension}" if fmt == "video" else f"{index:06d}_{kind}{extension}")


def kinds(fmt: FlowFormat, config: FlowConfig) -> list[str]:
    """The kinds of file that a format writes for one pair, or for one clip when it is a video.

    Args:
        fmt: the format.
        config: says what is wanted beside the flow.

    Returns:
        Names for `ClipPlan.path`, the flow first.
    """
    if fmt in BUNDLES:
        return ["flow"]
    flows = ["flow", "backward"] if config.backward else ["flow"]
    if fmt == "bounded8":
        flows = [f"{kind}_{axis}" for kind in flows for axis in "xy"]
    masks = [("occluded", config.occlusion), ("confidence", config.confidence)]
    return flows + [kind for kind, wanted in masks if wanted]


def plan_outputs(clips: Sequence[Clip], config: FlowConfig) -> list[ClipPlan]:
    """Decide formats and places for all clips.

    Args:
        clips: what is read.
        config: says where to write and how.

    Returns:
        One plan per clip.

    Raises:
        UsageError: when formats, suffix and number of pairs contradict each other.
        MissingExtraError: when a format needs a package that is not installed.
    """
    plans = [_plan(clip, config, several=len(clips) > 1) for clip in clips]
    for plan in plans:
        _check_options(plan, config)
    return plans


def _plan(clip: Clip, config: FlowConfig, *, several: bool) -> ClipPlan:
    out = user_path(config.out)
    formats = tuple(dict.fromkeys(config.format))
    # os.path: Path.is_dir raises where a name is too long.
    if not out.suffix or config.out.endswith(("/", os.sep)) or os.path.isdir(out):  # noqa: PTH112
        default: tuple[FlowFormat, ...] = ("video",) if clip.kind == "video" else ("flo", "viz")
        return ClipPlan(clip, formats or default, out / clip.name if several else out, None)
    if several:
        raise UsageError(
            f"--out {out}: several videos need a folder, not one file; leave out the suffix {out.suffix}"
        )
    fmt = _file_format(out, formats)
    if fmt != "video" and clip.kind != "pair" and clip.length != 2:
        raise UsageError(
            f"--out {out}: {clip.name} has several pairs and one {out.suffix} file holds one; "
            "name a folder or a video"
        )
    return ClipPlan(clip, (fmt,), out.parent, out)


def _file_format(out: Path, formats: tuple[FlowFormat, ...]) -> FlowFormat:
    suffix = out.suffix.lower()
    by_suffix: dict[str, tuple[FlowFormat, ...]] = {
        ".flo": ("flo",),
        ".pfm": ("pfm",),
        ".npz": ("npz",),
        ".mat": ("mat",),
        ".png": ("viz", "png16"),
    }
    by_suffix |= dict.fromkeys(IMAGE_SUFFIXES - {".png"}, ("viz",))
    by_suffix |= dict.fromkeys(WRITABLE_SUFFIXES, ("video",))
    if suffix not in by_suffix:
        raise UsageError(
            f"--out {out}: {out.suffix} is no known suffix; use .flo, .png, .pfm, .npz, .mat or .mp4, "
            f"or write {out}/ if it is to be a folder"
        )
    if len(formats) > 1:
        raise UsageError(f"--out {out}: one file holds one format, not {', '.join(formats)}; name a folder")
    if formats and formats[0] not in by_suffix[suffix]:
        raise UsageError(
            f"--format {formats[0]} does not fit --out {out}; leave one of them out, or name a folder"
        )
    return formats[0] if formats else by_suffix[suffix][0]


def _check_options(plan: ClipPlan, config: FlowConfig) -> None:
    formats = plan.formats
    if "viz" in formats and "png16" in formats:
        raise UsageError(
            "--format viz and --format png16 give files of the same name; write them to two folders"
        )
    if "mat" in formats and importlib.util.find_spec("scipy") is None:
        raise MissingExtraError("scipy", "mat", "writing .mat files")
    if config.codec != "auto" and "video" not in formats:
        raise UsageError("--codec is for video output; add --format video or leave it out")
    if config.side_by_side and not {"video", "viz"} & set(formats):
        raise UsageError(
            "--side-by-side is for pictures and videos; add --format viz or video, or leave it out"
        )
