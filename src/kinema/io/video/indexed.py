"""Frames of a video by number: one pass that tells where they lie, then jumps to the key frame before."""

from __future__ import annotations

import os
import weakref
from collections.abc import Generator, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from kinema.errors import InputError, UsageError
from kinema.io.video.pixels import RgbReader
from kinema.io.video.reader import Reader

__all__ = ["Glance", "IndexedReader"]

_Timed = tuple[av.VideoFrame, Fraction, Fraction]
_ABANDONED: list[object] = []


@dataclass(frozen=True)
class Glance:
    """A frame in small.

    Attributes:
        number: 0, 1, 2, ... from the beginning of the video.
        picture: (h, w, 3) uint8 RGB, as small as was asked for.
    """

    number: int
    picture: np.ndarray


class IndexedReader(Reader):
    """A video whose frames are read by number.

    `glances` goes through the video once and notes the time of every frame and which are key frames; after
    that `read` finds any of them. It begins at the key frame before, or goes on from where it stands when
    that is nearer, so reading in order costs as little as a loop. It holds one open decoder and the frames of
    the last call. It can be copied to other processes, which open the file themselves.

    Args:
        path: a video file.

    Raises:
        InputError: see `Reader`.
    """

    _times: list[Fraction]
    _keys: list[int]
    _part: IndexedReader | None
    _run: Generator[_Timed, None, None] | None
    _next: int
    _kept: dict[int, np.ndarray]
    _owner: int
    _pixels: RgbReader

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._times, self._keys = [], []
        self._forget()

    @property
    def times(self) -> Sequence[Fraction]:
        """Seconds of every frame that `glances` has seen, from the first frame on."""
        return self._times

    def glances(self, size_hw: tuple[int, int]) -> Iterator[Glance]:
        """Go through all frames in small, and note where they lie.

        Args:
            size_hw: height and width of the small pictures.

        Yields:
            Every frame.

        Raises:
            InputError: at the first frame that cannot be decoded; those before it can be read.
        """
        height, width = size_hw
        scaler = VideoReformatter()
        self._times, self._keys = [], []
        for number, (frame, time, _) in enumerate(self._chosen()):
            self._check_size(frame)
            self._times.append(time)
            if frame.key_frame:
                self._keys.append(number)
            small = scaler.reformat(frame, width=width, height=height, format="rgb24", interpolation="AREA")
            yield Glance(number, small.to_ndarray())

    def read(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """Read frames by number.

        Args:
            numbers: of the frames, rising; all seen by `glances`.

        Returns:
            (H, W, 3) uint8 RGB of each, rotation applied.

        Raises:
            UsageError: a number does not rise, or is not that of a frame that `glances` has seen.
            InputError: the file has changed, or cannot be decoded.
        """
        if not numbers or numbers[0] < 0 or numbers[-1] >= len(self._times):
            raise UsageError(f"{self.path}: frames {list(numbers)} are not among the {len(self._times)} seen")
        if any(later <= earlier for earlier, later in pairwise(numbers)):
            raise UsageError(f"{self.path}: frames {list(numbers)} are not in rising order")
        self._leave_to_owner()
        frames = [self._kept[number] if number in self._kept else self._decoded(number) for number in numbers]
        self._kept = dict(zip(numbers, frames, strict=True))
        return frames

    def _decoded(self, number: int) -> np.ndarray:
        if self._run is None or not self._nearer(number):
            self._begin_at(number)
        frame = self._advance(number)
        if self._part is not None and self._part._start > 0 and not self._part._jumped:
            self._keys = [key for key in self._keys if key > number]  # no jump leads to one of these
        if frame is None:  # this container cannot jump exactly: count from the beginning
            self._begin_at(0)
            frame = self._advance(number)
        if frame is None:
            raise InputError(f"{self.path}: frame {number} is no longer where it was; the file has changed")
        return self._orientation.apply(self._rgb(self._pixels, frame))

    def _nearer(self, number: int) -> bool:
        """Whether the frame is ahead, with no key frame between here and there."""
        return self._next <= number and not any(self._next < key <= number for key in self._keys)

    def _begin_at(self, number: int) -> None:
        if self._run is not None:
            self._run.close()
        self._part = copy(self)
        self._part._start = self._times[number]
        self._run, self._next = self._part._chosen_frames(), number

    def _chosen_frames(self) -> Generator[_Timed, None, None]:
        yield from self._chosen()

    def _advance(self, number: int) -> av.VideoFrame | None:
        """Go on to a frame; None when what comes there has another time."""
        if self._run is None:
            return None
        for frame, time, _ in self._run:
            here, self._next = self._next, self._next + 1
            if time != self._times[here]:
                return None
            if here == number:
                return frame
        return None

    def _leave_to_owner(self) -> None:
        """In a forked process, let go of a decoder that came along, without closing it.

        Its file is still read by the other process, and closing would wait for threads that are not here.
        """
        if self._owner != os.getpid():
            _ABANDONED.append((self._run, self._pixels))
            self._forget()

    def _forget(self) -> None:
        self._part, self._run, self._next, self._kept = None, None, 0, {}
        self._owner = os.getpid()
        self._pixels = RgbReader("uint8")

    def close(self) -> None:
        """Close the file; the next `read` opens it again."""
        self._leave_to_owner()
        if self._run is not None:
            self._run.close()
        self._forget()
        super().close()

    def __getstate__(self) -> dict[str, object]:
        own = {"_part", "_run", "_kept", "_pixels", "_running", "_owner", "_next"}
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._running = weakref.WeakSet()
        self._forget()
