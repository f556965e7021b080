"""What restoration data sets are made of: clips of low frames with sharp twins, and windows cut from them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Literal, overload

import numpy as np

from kinema.data.frame_list import FrameList
from kinema.data.spec import DataSpec
from kinema.data.windows import Border, centres_inside, window_indices
from kinema.errors import InputError

Targets = Literal["centre", "all"]
"""Which frames of a window come with their sharp twin."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RestorationSample:
    """Low frames and the sharp twins of some or all of them: a window, or a whole clip.

    Attributes:
        name: unique within its data set: of a clip such as ``011``, of a window ``011/00000042``.
        low: (T, H, W, 3) RGB, what a network gets; uint8 (uint16 where the files have 16 bits).
        sharp: (S, s H, s W, 3) RGB, what it should give; s is 1, 2, 3 ...
        indices: T numbers of frames in the clip, in time order; at a border frames may repeat.
        targets: S numbers of frames in the clip: which frames `sharp` shows.
    """

    name: str
    low: np.ndarray
    sharp: np.ndarray
    indices: tuple[int, ...]
    targets: tuple[int, ...]

    def __post_init__(self) -> None:
        low_hw, sharp_hw = self.low.shape[1:3], self.sharp.shape[1:3]
        scale = sharp_hw[0] // low_hw[0]
        if scale < 1 or sharp_hw != (scale * low_hw[0], scale * low_hw[1]):
            raise InputError(
                f"{self.name}: sharp frames of {_size(sharp_hw)} are no whole multiple of low ones of"
                f" {_size(low_hw)}; crop the sharp frames to one"
            )

    @property
    def scale(self) -> int:
        """How many times the low frames' size the sharp ones have."""
        return int(self.sharp.shape[1] // self.low.shape[1])


@dataclass(frozen=True, slots=True)
class RestorationClip:
    """A clip on disk; nothing of it has been read.

    Attributes:
        name: unique within its data set.
        low: all low frames, without a gap in time.
        sharp: the sharp frames.
        targets: for each sharp frame the number of the low frame that it belongs to, rising.
    """

    name: str
    low: FrameList
    sharp: FrameList
    targets: Sequence[int]

    def __len__(self) -> int:
        return len(self.low)

    def read(self, indices: Sequence[int], targets: Sequence[int], *, name: str = "") -> RestorationSample:
        """Read some frames, each file once.

        Args:
            indices: which low frames.
            targets: of which frames the sharp twin; all must have one.
            name: of the sample; the clip's when empty.

        Returns:
            These frames.

        Raises:
            InputError: when a file cannot be read, sizes differ, or a target has no sharp twin.
        """
        missing = sorted(set(targets) - set(self.targets))
        if missing:
            raise InputError(f"{self.name}: frame {self.low.stem(missing[0])} has no sharp twin")
        return RestorationSample(
            name=name or self.name,
            low=_stack(self.low, indices),
            sharp=_stack(self.sharp, [self.targets.index(target) for target in targets]),
            indices=tuple(indices),
            targets=tuple(targets),
        )

    def whole(self) -> RestorationSample:
        """Read the whole clip; 100 frames of 1280x720 take 280 MB.

        Returns:
            All low and all sharp frames.

        Raises:
            InputError: as `read`.
        """
        return self.read(range(len(self)), self.targets)

    def window(
        self,
        centre: int,
        *,
        frames: int,
        interval: int = 1,
        border: Border = "replicate",
        targets: Targets = "centre",
    ) -> RestorationSample:
        """Read the window around a frame, and nothing else.

        Args:
            centre: number of the frame in the clip.
            frames: in the window, odd.
            interval: from one frame of the window to the next.
            border: what stands before the first and behind the last frame: see `window_indices`.
            targets: the sharp twin of the centre, or of every frame.

        Returns:
            The window.

        Raises:
            UsageError: when there is no such window.
            InputError: as `read`.
        """
        indices = window_indices(centre, len(self), frames=frames, interval=interval, border=border)
        name = f"{self.name}/{self.low.stem(centre)}"
        return self.read(indices, (centre,) if targets == "centre" else indices, name=name)


@dataclass(frozen=True)
class RestorationDataset(Sequence[RestorationSample]):
    """Clips on disk: opening lists folders; an index reads one whole clip, `windows` reads less.

    Attributes:
        spec: what was asked for.
        clips: what was found, to be read frame by frame.
        official_count: how many clips the official set or split has; None where there is no official set.
        notes: sentences about the copy found.
    """

    spec: DataSpec
    clips: tuple[RestorationClip, ...]
    official_count: int | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    @overload
    def __getitem__(self, index: int) -> RestorationSample: ...
    @overload
    def __getitem__(self, index: slice) -> RestorationDataset: ...
    def __getitem__(self, index: int | slice) -> RestorationSample | RestorationDataset:
        if isinstance(index, slice):
            return replace(self, clips=self.clips[index])
        return self.clips[index].whole()

    def name_of(self, index: int) -> str:
        """Tell a clip's name without reading it.

        Args:
            index: of the clip.

        Returns:
            Its name.
        """
        return self.clips[index].name

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell which files make up a clip, without looking at them.

        Args:
            index: of the clip.

        Returns:
            The files by part and frame, such as ``low/00000000``.
        """
        clip = self.clips[index]
        return _paths(clip, range(len(clip)), clip.targets)

    def windows(
        self,
        *,
        frames: int,
        interval: int = 1,
        border: Border | None = None,
        targets: Targets = "centre",
    ) -> RestorationWindows:
        """Cut all clips into windows, one around each frame that has a sharp twin.

        Args:
            frames: in a window, odd.
            interval: from one frame of a window to the next.
            border: what stands before the first and behind the last frame of a clip; None leaves out the
                windows that would reach there, as training does.
            targets: the sharp twin of the centre, or of every frame.

        Returns:
            A data set of windows: an index reads one window's files.

        Raises:
            UsageError: when there is no such window.
        """
        window_indices(0, 1, frames=frames, interval=interval, border=border or "replicate")  # is it one?
        centres = tuple(
            _centres(clip, frames=frames, interval=interval, border=border, targets=targets)
            for clip in self.clips
        )
        return RestorationWindows(self, frames, interval, border, targets, centres)


@dataclass(frozen=True)
class RestorationWindows(Sequence[RestorationSample]):
    """Windows of a data set's clips, in order of clips and frames.

    Attributes:
        source: the clips.
        frames: in a window.
        interval: from one frame of a window to the next.
        border: the rule at the ends; None where all windows lie inside their clip.
        targets: which frames come with their sharp twin.
        centres: for each clip the numbers of the centre frames.
    """

    source: RestorationDataset
    frames: int
    interval: int
    border: Border | None
    targets: Targets
    centres: tuple[Sequence[int], ...]
    _ends: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ends = tuple(accumulate(len(centres) for centres in self.centres))
        object.__setattr__(self, "_ends", ends)

    @property
    def spec(self) -> DataSpec:
        """What was asked for."""
        return self.source.spec

    @property
    def official_count(self) -> int | None:
        """None: windows are counted by nobody."""
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the copy found."""
        return self.source.notes

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> RestorationSample: ...
    @overload
    def __getitem__(self, index: slice) -> list[RestorationSample]: ...
    def __getitem__(self, index: int | slice) -> RestorationSample | list[RestorationSample]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        clip, centre = self.place_of(index)
        border = self.border or "replicate"
        return clip.window(
            centre, frames=self.frames, interval=self.interval, border=border, targets=self.targets
        )

    def place_of(self, index: int) -> tuple[RestorationClip, int]:
        """Tell where a window lies, without reading it.

        Args:
            index: of the window.

        Returns:
            Its clip, and the number of its centre frame there.
        """
        index = range(len(self))[index]
        number = bisect_right(self._ends, index)
        before = self._ends[number - 1] if number else 0
        return self.source.clips[number], self.centres[number][index - before]

    def name_of(self, index: int) -> str:
        """Tell a window's name without reading it.

        Args:
            index: of the window.

        Returns:
            Clip and centre frame.
        """
        clip, centre = self.place_of(index)
        return f"{clip.name}/{clip.low.stem(centre)}"

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell which files make up a window, without looking at them.

        Args:
            index: of the window.

        Returns:
            The files by part and frame.
        """
        clip, centre = self.place_of(index)
        indices = window_indices(
            centre,
            len(clip),
            frames=self.frames,
            interval=self.interval,
            border=self.border or "replicate",
        )
        return _paths(clip, indices, (centre,) if self.targets == "centre" else indices)


def _centres(
    clip: RestorationClip, *, frames: int, interval: int, border: Border | None, targets: Targets
) -> Sequence[int]:
    inside = centres_inside(len(clip), frames=frames, interval=interval)
    allowed = inside if border is None else range(len(clip))
    if len(clip.targets) == len(clip):
        return allowed
    known = set(clip.targets)
    if targets == "centre":
        return tuple(centre for centre in allowed if centre in known)
    rule = border or "replicate"
    return tuple(
        centre
        for centre in allowed
        if known.issuperset(window_indices(centre, len(clip), frames=frames, interval=interval, border=rule))
    )


def _paths(clip: RestorationClip, indices: Sequence[int], targets: Sequence[int]) -> dict[str, Path]:
    if clip.low.held is not None:
        return {}  # in shards no frame is a file of its own
    low = {f"low/{clip.low.stem(index)}": clip.low.path(index) for index in indices}
    places = [clip.targets.index(target) for target in targets]
    return low | {f"sharp/{clip.sharp.stem(place)}": clip.sharp.path(place) for place in places}


def _stack(frames: FrameList, indices: Sequence[int]) -> np.ndarray:
    pictures = {index: frames.read(index) for index in dict.fromkeys(indices)}
    first = pictures[indices[0]]
    for index, picture in pictures.items():
        if picture.shape != first.shape or picture.dtype != first.dtype:
            raise InputError(
                f"{frames.path(index)}: is {_size(picture.shape)} {picture.dtype} but frame"
                f" {frames.stem(indices[0])} is {_size(first.shape)} {first.dtype}"
            )
    stacked: np.ndarray = np.stack([pictures[index] for index in indices])
    return stacked


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
