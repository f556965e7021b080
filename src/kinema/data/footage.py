"""``footage``: any videos and folders of frames as unlabelled pairs, triplets or longer windows."""

from __future__ import annotations

import bisect
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np

from kinema.data.family import Facts, Family
from kinema.data.footage_clips import FootageClip, FootageSource, find_sources, look_through
from kinema.data.frames import FrameWindow
from kinema.data.spec import DataSpec
from kinema.errors import InputError, UsageError

LAYOUT = "a video, a folder of videos or frames, or a pattern such as clips/*.mp4"

_LENGTHS = {"pairs": 2, "triplets": 3}
_VARIANT = r"[2-9](x[1-9][0-9]?)?|[1-9][0-9](x[1-9][0-9]?)?"
_OPEN_FILES = 4
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class FootageConfig:
    """How windows are cut from clips.

    Attributes:
        length: frames of a window, 2 or more.
        step: from one frame of a window to the next, 1 or more: 2 leaves one frame out between them.
        stride: from the first frame of a window to that of the next one, 1 or more.
        drop_duplicates: whether frames that repeat the one before are left out.
        split_at_cuts: whether no window may reach across a cut or a place where frames are missing.
    """

    length: int = 2
    step: int = 1
    stride: int = 1
    drop_duplicates: bool = True
    split_at_cuts: bool = True

    def __post_init__(self) -> None:
        for name, least in (("length", 2), ("step", 1), ("stride", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"footage: {name} is {getattr(self, name)}; give {least} or more")

    @property
    def span(self) -> int:
        """Frames from the first to the last of a window, both counted."""
        return (self.length - 1) * self.step + 1

    def windows_in(self, frames: int) -> int:
        """Count the windows of a run.

        Args:
            frames: how many it has.

        Returns:
            How many windows fit.
        """
        return max(0, (frames - self.span) // self.stride + 1)


@dataclass(frozen=True)
class _Run:
    """Neighbouring frames without a cut: its clip, their numbers, and its first window's number."""

    clip: FootageClip
    frames: np.ndarray
    first: int


@dataclass(frozen=True, eq=False)
class FootageDataset(Sequence[FrameWindow]):
    """Windows of clips, read by number; only where the frames lie is held in memory.

    Reading windows in order costs as little as playing the video. Reading at random decodes from the key
    frame before: videos with many key frames are faster.

    Attributes:
        spec: what was asked for.
        clips: every clip with at least one window.
        config: how windows are cut.
        notes: what was left out, and why.
        numbers: which windows, in order.
    """

    spec: DataSpec
    clips: tuple[FootageClip, ...]
    config: FootageConfig
    notes: tuple[str, ...]
    numbers: range
    _runs: tuple[_Run, ...] = field(repr=False)
    _starts: tuple[int, ...] = field(repr=False)
    _open: OrderedDict[int, FootageClip] = field(default_factory=OrderedDict, repr=False)

    @property
    def official_count(self) -> None:
        """There is no official set."""
        return

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> FrameWindow: ...
    @overload
    def __getitem__(self, index: slice) -> FootageDataset: ...
    def __getitem__(self, index: int | slice) -> FrameWindow | FootageDataset:
        if isinstance(index, slice):
            return replace(self, numbers=self.numbers[index])
        clip, frames = self._window(index)
        name = _window_name(clip, frames)
        self._hold(clip)
        return FrameWindow(name=name, frames=clip.read(name, frames))

    def name_of(self, index: int) -> str:
        """Tell a window's name without reading it.

        Args:
            index: of the window.

        Returns:
            Its clip, and the number of its first frame there.
        """
        return _window_name(*self._window(index))

    def frames_of(self, index: int) -> tuple[FootageClip, list[int]]:
        """Tell which frames make up a window, without reading them.

        Args:
            index: of the window.

        Returns:
            The clip, and the numbers of the frames in it.
        """
        return self._window(index)

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell which files make up a window, without looking at them.

        Args:
            index: of the window.

        Returns:
            ``video``, or ``image1``, ``image2``, ...
        """
        clip, frames = self._window(index)
        if clip.video is not None:
            return {"video": clip.source}
        return {f"image{place}": clip.images[number] for place, number in enumerate(frames, start=1)}

    def close(self) -> None:
        """Close the files that are open; reading opens them again."""
        for clip in self._open.values():
            clip.close()
        self._open.clear()

    def _window(self, index: int) -> tuple[FootageClip, list[int]]:
        number = self.numbers[index]
        run = self._runs[bisect.bisect_right(self._starts, number) - 1]
        begin = (number - run.first) * self.config.stride
        return run.clip, run.frames[begin : begin + self.config.span : self.config.step].tolist()

    def _hold(self, clip: FootageClip) -> None:
        """Few files are open at a time, however many clips there are."""
        self._open[id(clip)] = clip
        self._open.move_to_end(id(clip))
        while len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)[1].close()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": OrderedDict()}  # clips go by identity, and files stay behind


def _window_name(clip: FootageClip, frames: Sequence[int]) -> str:
    return f"{clip.name}/{frames[0]:06d}"


def cut_windows(
    spec: DataSpec, clips: Sequence[FootageClip], config: FootageConfig, notes: Sequence[str] = ()
) -> FootageDataset:
    """Cut clips into windows.

    Args:
        spec: what they come from.
        clips: in order.
        config: how.
        notes: what is known of the clips already.

    Returns:
        The windows.

    Raises:
        InputError: when there is not one.
    """
    runs: list[_Run] = []
    total = longest = 0
    for clip in clips:
        for frames in clip.runs(drop_duplicates=config.drop_duplicates, split_at_cuts=config.split_at_cuts):
            longest = max(longest, len(frames))
            count = config.windows_in(len(frames))
            if count:
                runs.append(_Run(clip, frames, total))
                total += count
    notes = (*notes, *_clip_notes(clips, config))
    if not runs:
        found = "; ".join((f"the longest run has {longest}", *notes))
        raise InputError(f"{spec}: no window of {config.span} frames in a row: {found}")
    used = {id(run.clip) for run in runs}
    chosen = tuple(clip for clip in clips if id(clip) in used)
    if len(chosen) < len(clips):
        notes = (*notes, f"{len(clips) - len(chosen)} of {len(clips)} clips are too short for a window")
    starts = tuple(run.first for run in runs)
    return FootageDataset(spec, chosen, config, notes, range(total), tuple(runs), starts)


def open_footage(spec: DataSpec, path: Path, *, config: FootageConfig | None = None) -> FootageDataset:
    """Open footage: every clip is looked through once, which takes about as long as decoding it.

    Args:
        spec: variant ``pairs`` (as without one), ``triplets``, or the length of a window such as ``5``, with
            the step from frame to frame such as ``5x2``.
        path: a video, a folder, or a pattern.
        config: how windows are cut; by default as the variant says.

    Returns:
        The windows. Repeated frames are left out, and no window reaches across a cut; notes tell how many.

    Raises:
        InputError: when there is no such file, or not one window can be cut.
    """
    sources = find_sources(path)
    if not sources:
        raise InputError(f"{spec}: no video and no image in {path}: expected {LAYOUT}")
    clips: list[FootageClip] = []
    failed: list[str] = []
    for source, name in zip(sources, _names(sources), strict=True):
        try:
            clips.append(look_through(source, name))
        except InputError as error:
            failed.append(str(error))
    return cut_windows(spec, clips, config or _config(spec.variant), _failure_notes(failed))


def _config(variant: str | None) -> FootageConfig:
    if variant is None or variant in _LENGTHS:
        return FootageConfig(length=_LENGTHS[variant or "pairs"])
    length, _, step = variant.partition("x")
    return FootageConfig(length=int(length), step=int(step or 1))


def _names(sources: Sequence[FootageSource]) -> Iterator[str]:
    """Each clip's own name below the folder that all have in common."""
    paths = [Path(os.path.abspath(source.path)) for source in sources]  # noqa: PTH100 - links stay as they are
    common = Path(os.path.commonpath([path.parent for path in paths]))
    taken: set[str] = set()
    for path, source in zip(paths, sources, strict=True):
        relative = path.relative_to(common)
        name = (relative if source.images else relative.with_suffix("")).as_posix()
        name = relative.as_posix() if name in taken else name  # one.mp4 beside one.mov
        taken.add(name)
        yield name


def _clip_notes(clips: Sequence[FootageClip], config: FootageConfig) -> list[str]:
    notes = [
        f"{clip.name}: only its first {clip.frame_count} frames: {clip.damage}"
        for clip in clips
        if clip.damage
    ]
    repeats = sum(len(clip.duplicates) for clip in clips)
    frames = sum(clip.frame_count for clip in clips)
    if repeats and config.drop_duplicates:
        notes.append(f"{repeats} of {frames} frames repeat the one before and are left out")
    cuts = sum(len(clip.cuts) for clip in clips)
    if cuts and config.split_at_cuts:
        notes.append(f"{cuts} cuts between scenes: no window reaches across one")
    gaps = sum(len(clip.gaps) for clip in clips)
    if gaps and config.split_at_cuts:
        notes.append(f"frames are missing in {gaps} places: no window reaches across one")
    return notes


def _failure_notes(failed: Sequence[str]) -> list[str]:
    notes = [f"a clip is left out: {reason}" for reason in failed[:_SHOWN]]
    if len(failed) > _SHOWN:
        notes.append(f"{len(failed) - _SHOWN} more clips cannot be read")
    return notes


FAMILY = Family(
    name="footage",
    kind="footage",
    title="any videos and folders of frames, without truth",
    layout=LAYOUT,
    open=open_footage,
    facts=Facts(
        holds="pairs, triplets or longer windows of frames; repeats left out, no window across a cut",
        counts={},
        unit="windows",
        size="",
        source="you",
        url="",
        terms="your own",
    ),
    variants=("pairs", "triplets"),
    other_variants=_VARIANT,
    place="anything",
)
