"""The way in: what a video says about itself, and its frames one after the other."""

from __future__ import annotations

import math
import weakref
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import av
import numpy as np

from kinema.errors import InputError, UsageError
from kinema.io.video.decode import Damage, Source, seconds_text
from kinema.io.video.pixels import Orientation, RgbReader, bit_depth, orientation_of

__all__ = ["VIDEO_SUFFIXES", "Reader", "VideoFrame", "VideoInfo", "exact_seconds", "probe"]

VIDEO_SUFFIXES: frozenset[str] = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv"),
        *(".flv", ".ogv", ".3gp", ".gif", ".y4m", ".mxf"),
    )
)
_LONGEST = 10**9  # seconds; thirty years, so that a time always fits the container's clock


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a video.

    Attributes:
        image: (H, W, 3) RGB, uint8 or uint16 as the reader was asked; rotation applied.
        time: seconds since the video's first frame, exact (also when reading began later).
        index: 0, 1, 2, ... counted over the frames that this reader gives.
        duration: seconds that the frame is shown, as far as the container tells; else one over the rate.
    """

    image: np.ndarray
    time: Fraction
    index: int
    duration: Fraction


@dataclass(frozen=True)
class VideoInfo:
    """What the header and the first frame tell about a video.

    Attributes:
        size_hw: height and width in pixels, rotation applied.
        rate: frames per second; the average where the rate varies.
        duration: seconds, or None where the container does not say.
        frame_count: the header's claim, or None; not verified.
        rotation: degrees clockwise that stored pictures are turned for display: 0, 90, 180 or 270.
        has_audio: whether there is a sound track.
        variable_rate: whether the frame rate varies, as far as the header tells (MP4 tells exactly).
        codec: name of the codec, such as ``h264``.
        bit_depth: bits per colour sample.
        time_base: unit of the container's time stamps in seconds; `Writer` keeps times exact when it is given
            this.
        start_time: time stamp of the first frame on the container's own clock, in seconds.
        pixel_aspect: width of one pixel over its height, rotation applied; 1 for square pixels.
    """

    size_hw: tuple[int, int]
    rate: Fraction
    duration: Fraction | None
    frame_count: int | None
    rotation: int
    has_audio: bool
    variable_rate: bool
    codec: str
    bit_depth: int
    time_base: Fraction
    start_time: Fraction
    pixel_aspect: Fraction


def probe(path: Path | str) -> VideoInfo:
    """Open a video, decode its first frame, and say what it is.

    Args:
        path: a video file.

    Returns:
        What header and first frame tell.

    Raises:
        InputError: the file is missing, empty, no video, has no picture track, or not one frame can be
            decoded.
    """
    with Source(Path(path)) as source:
        first = source.first_frame()
        return _info(source, first, orientation_of(first))


def _info(source: Source, first: av.VideoFrame, orientation: Orientation) -> VideoInfo:
    start_time = (first.pts or 0) * source.tick
    aspect = source.stream.sample_aspect_ratio or Fraction(1)
    if orientation.transpose:
        aspect = 1 / aspect
    return VideoInfo(
        size_hw=orientation.size_hw((first.height, first.width)),
        rate=source.rate,
        duration=source.duration(start_time),
        frame_count=source.stream.frames or None,
        rotation=orientation.degrees,
        has_audio=bool(source.container.streams.audio),
        variable_rate=source.variable_rate(),
        codec=source.codec_name,
        bit_depth=bit_depth(first),
        time_base=source.tick,
        start_time=start_time,
        pixel_aspect=aspect,
    )


def exact_seconds(value: float | Fraction | None, field: str) -> Fraction | None:
    """The number that was typed: 1.1 means 11/10, not the nearest binary fraction.

    Args:
        value: seconds, 0 or more; None stays None.
        field: the option's name, for the message.

    Returns:
        The exact fraction.

    Raises:
        UsageError: the value is negative, not finite, or beyond thirty years.
    """
    if value is None:
        return None
    if not math.isfinite(value) or not 0 <= value <= _LONGEST:
        raise UsageError(f"{field} is {value}: give seconds from the beginning of the video, 0 or more")
    return value if isinstance(value, Fraction) else Fraction(repr(float(value)))


class Reader:
    """Streams the frames of a video with bounded memory; every loop over it starts again.

    Frames with ``start <= time < end`` are chosen, and of these every `stride`-th. Reading from `start` jumps
    to the key frame before it and decodes from there, so the frames are exactly those that a full decode
    would give.

    A damaged video is an error at the first frame that cannot be decoded cleanly; a file that is cut short is
    refused when it is opened, unless `end` is given. Both messages say where clean frames end.

    Args:
        path: a video file.
        start: seconds from the first frame; None for the beginning.
        end: seconds, exclusive; None for the whole video.
        stride: keep one frame of so many, 1 or more.
        dtype: ``"uint8"``, or ``"uint16"`` for all bits of deep video, scaled to 0..65535.

    Raises:
        UsageError: an option is out of range.
        InputError: see `probe`; a cut file; `start` is after the end of the video.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        start: float | Fraction | None = None,
        end: float | Fraction | None = None,
        stride: int = 1,
        dtype: Literal["uint8", "uint16"] = "uint8",
    ) -> None:
        self.path = Path(path)
        self._start = exact_seconds(start, "start") or Fraction(0)
        self._end = exact_seconds(end, "end")
        if self._end is not None and self._end <= self._start:
            raise UsageError(f"end ({end} s) is not after start ({start or 0} s): nothing is left of {path}")
        if stride < 1:
            raise UsageError(f"stride is {stride}: give 1 or more")
        self._stride = stride
        self._dtype = dtype
        self._jumped = False
        self._running: weakref.WeakSet[Generator[VideoFrame, None, None]] = weakref.WeakSet()
        with Source(self.path) as source:
            first = source.first_frame()
            self._orientation = orientation_of(first)
            self.info: VideoInfo = _info(source, first, self._orientation)
            source.check_whole(self._end, self.info.start_time)
        if self.info.duration is not None and self._start >= self.info.duration:
            raise self._nothing_chosen()

    def __iter__(self) -> Iterator[VideoFrame]:
        run = self._frames()
        self._running.add(run)
        return run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; loops that are still open end."""
        for run in list(self._running):
            run.close()

    def _frames(self) -> Generator[VideoFrame, None, None]:
        pixels = RgbReader(self._dtype)
        chosen = 0
        for frame, time, duration in self._chosen():
            if chosen % self._stride == 0:
                image = self._orientation.apply(self._rgb(pixels, frame))
                yield VideoFrame(image, time, chosen // self._stride, duration)
            chosen += 1
        if chosen == 0:
            raise self._nothing_chosen()

    def _chosen(self) -> Iterator[tuple[av.VideoFrame, Fraction, Fraction]]:
        """Frames from start to end with their times and durations; fails where the clean part ends before."""
        reached = Fraction(0)
        try:
            for frame, time in self._timed():
                if self._end is not None and time >= self._end:
                    return
                duration = self._duration(frame)
                reached = max(reached, time + duration)
                if time >= self._start:
                    yield frame, time, duration
        except Damage:
            if self._end is None or reached < self._end:
                raise self._damaged(reached) from None
        self._check_end(reached)

    def _timed(self) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """Clean frames with their times since the first frame of the video, from before the start on."""
        reached: Fraction | None = None
        self._jumped = self._start > 0
        if self._jumped:
            with suppress(Damage):
                for frame, time in self._after_jump():
                    reached = time
                    yield frame, time
                if reached is not None:
                    return
        # The container could not jump to a place before the start, or what it calls a key frame is none (a
        # stream that renews its pictures strip by strip): decode from the beginning.
        self._jumped = False
        with Source(self.path) as source:
            for frame, time in self._with_times(source.frames(None)):
                if reached is None or time > reached:
                    yield frame, time

    def _after_jump(self) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """Frames from the key frame before the start on; none where the jump led elsewhere."""
        with Source(self.path) as source:
            frames = self._with_times(source.frames(self._start + self.info.start_time))
            first = next(frames, None)
            if first is not None and first[0].key_frame and first[1] <= self._start:
                yield first
                yield from frames

    def _with_times(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        previous: Fraction | None = None
        for frame in frames:
            if frame.pts is not None:
                time = frame.pts * self.info.time_base - self.info.start_time
                exact = self._on_grid(time)
                time = exact if previous is None or exact > previous else time
            else:
                time = Fraction(0) if previous is None else previous + 1 / self.info.rate
            previous = time
            yield frame, time

    def _on_grid(self, time: Fraction) -> Fraction:
        """Undo the rounding of a constant rate to the container's clock (milliseconds in Matroska)."""
        if self.info.variable_rate:
            return time
        exact = round(time * self.info.rate) / self.info.rate
        return exact if abs(exact - time) <= self.info.time_base else time

    def _duration(self, frame: av.VideoFrame) -> Fraction:
        shown = Fraction(frame.duration or 0) * self.info.time_base
        nominal = 1 / self.info.rate
        return shown if shown > 0 and abs(shown - nominal) > self.info.time_base else nominal

    def _check_size(self, frame: av.VideoFrame) -> None:
        size_hw = self._orientation.size_hw((frame.height, frame.width))
        if size_hw != self.info.size_hw:
            raise InputError(
                f"{self.path} changes its size from {_size_text(self.info.size_hw)} to {_size_text(size_hw)} "
                "on the way: cut it there, or re-encode it at one size"
            )

    def _rgb(self, pixels: RgbReader, frame: av.VideoFrame) -> np.ndarray:
        self._check_size(frame)
        try:
            return pixels.read(frame)
        except (av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"{self.path} has the pixel format {frame.format.name}, which cannot be converted to RGB: "
                "re-encode it"
            ) from error

    def _check_end(self, reached: Fraction) -> None:
        """An MP4 states its length: a decoder that ends earlier without a word has lost frames."""
        promised = self.info.duration
        if promised is None or self.path.suffix.lower() not in {".mp4", ".m4v", ".mov"}:
            return
        if self._end is not None:
            promised = min(promised, self._end)
        if promised - reached > max(Fraction(1, 2), 3 / self.info.rate):
            raise self._damaged(reached)

    def _damaged(self, reached: Fraction) -> InputError:
        if reached == 0:
            return InputError(f"{self.path} is damaged at its beginning: copy it again, or re-encode it")
        where = seconds_text(reached)
        return InputError(
            f"{self.path} is damaged {where} s after its beginning: copy it again, re-encode it, "
            f"or use --end {where}"
        )

    def _nothing_chosen(self) -> InputError:
        length = "" if self.info.duration is None else f": it lasts {seconds_text(self.info.duration)} s"
        until = "the end" if self._end is None else f"{seconds_text(self._end)} s"
        return InputError(
            f"{self.path} has no frame between {seconds_text(self._start)} s and {until}{length}; "
            "choose other times"
        )


def _size_text(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}x{size_hw[0]}"
