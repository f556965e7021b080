"""One open video file: its picture track, its claims, and its clean frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from kinema.errors import InputError
from kinema.io.files import file_size
from kinema.io.video.cut import missing_bytes

__all__ = ["Damage", "Source", "open_container", "seconds_text"]

# Only formats that hold pictures themselves: a play list under the name of a video must not make us open
# other files.
_FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,ogg,asf,gif,ivf,yuv4mpegpipe,mxf,nut,dv,h264,hevc,obu"
)
_MOST_PIXELS = 1 << 27  # 16384 x 8192: more than that from a few header bytes is damage, not a picture
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": _FORMATS,
    "max_pixels": str(_MOST_PIXELS),
}
# Titles and such that are no UTF-8 must not make a video unreadable. PyAV 19 sees to it by itself.
_METADATA: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
_DEFAULT_RATE = Fraction(25)


class Damage(Exception):  # noqa: N818 - a signal inside this package; the reader says what it means
    """A frame after the first clean one cannot be decoded."""


def seconds_text(value: Fraction) -> str:
    """Seconds with three digits, rounded down: ``--end`` with this text keeps only frames before it."""
    text = f"{int(value * 1000) / 1000:.3f}"
    return text.rstrip("0").rstrip(".")


def open_container(path: Path) -> InputContainer:
    """Open a media file for reading.

    Args:
        path: the file.

    Returns:
        The open container.

    Raises:
        InputError: it is missing, empty, cut short so that nothing can be read, or no media file.
    """
    file_size(path)
    try:
        container: InputContainer = av.open(f"file:{path}", options=_OPTIONS, **_METADATA)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        if missing_bytes(path):
            raise _unreadable_rest(path) from error
        raise InputError(
            f"{path} is not a video that can be read: is it complete, and really a video?"
        ) from error
    return container


def _unreadable_rest(path: Path) -> InputError:
    size = path.stat().st_size
    promised = size + missing_bytes(path)
    return InputError(
        f"{path} is truncated ({size} of {promised} bytes are there) and cannot be read: copy it again"
    )


def _clock_text(text: str) -> Fraction | None:
    """Seconds from ``hours:minutes:seconds.fraction``; None for anything else."""
    match = re.fullmatch(r"([0-9]{1,6}):([0-9]{2}):([0-9]{2}(?:[.][0-9]{1,12})?)", text.strip())
    if match is None:
        return None
    return int(match[1]) * 3600 + int(match[2]) * 60 + Fraction(match[3])


class Source:
    """An open video file; a context manager.

    Args:
        path: the file.

    Raises:
        InputError: see `open_container`; also no picture track, or one of an unknown codec.
    """

    container: InputContainer
    stream: VideoStream

    def __init__(self, path: Path) -> None:
        self.path = path
        self.container = open_container(path)
        try:
            self.stream = self._picture_track()
            self.tick: Fraction = self._tick()
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.container.close()

    def _picture_track(self) -> VideoStream:
        """The first video stream that is not a cover picture."""
        tracks = [
            stream
            for stream in self.container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        if not tracks:
            raise InputError(f"{self.path} has no picture track: give a video")
        if tracks[0].codec_context is None:
            raise InputError(
                f"{self.path} uses a codec that cannot be decoded: re-encode it, for example as H.264"
            )
        tracks[0].thread_type = "AUTO"
        tracks[0].codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
        return tracks[0]

    def _tick(self) -> Fraction:
        tick = self.stream.time_base
        if not tick or tick <= 0:
            raise InputError(f"{self.path} has no usable clock: re-encode it")
        return Fraction(tick)

    @property
    def codec_name(self) -> str:
        """The codec's own name (``av1``), not the decoder's (``libdav1d``)."""
        codec = self.stream.codec_context.codec
        return str(getattr(codec, "canonical_name", codec.name))

    @property
    def rate(self) -> Fraction:
        """Frames per second: the average; 25 where the file says nothing at all."""
        for rate in (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate):
            if rate is not None and rate > 0:
                return Fraction(rate)
        return _DEFAULT_RATE

    def duration(self, start_time: Fraction) -> Fraction | None:
        """How long the pictures last by what the container says, else the whole file.

        Args:
            start_time: the first frame's time on the container's clock, seconds.

        Returns:
            Seconds, or None when the container is silent.
        """
        if self.stream.duration is not None and self.stream.duration > 0:
            return self.stream.duration * self.tick
        tagged = _clock_text(self.stream.metadata.get("DURATION", ""))  # Matroska, per track
        if tagged is not None and tagged > start_time:
            return tagged - start_time  # the tag is the time at which the track ends
        if self.container.duration is not None and self.container.duration > 0:
            return Fraction(self.container.duration, av.time_base)
        return None

    def variable_rate(self) -> bool:
        """Whether the frame rate varies: exact with an index of all frames, else a guess from the rates."""
        entries = getattr(self.stream, "index_entries", ())  # PyAV 16 and later
        if self.stream.frames > 2 and len(entries) == self.stream.frames:
            times = [int(entry.timestamp) for entry in entries][:-1]  # the last frame may be short
            steps = {later - earlier for earlier, later in pairwise(times)}
            return max(steps) - min(steps) > 1  # steps may differ by one tick of rounding
        average, base = self.stream.average_rate, self.stream.base_rate
        if not average or not base:
            return False
        return min(abs(base / average / whole - 1) for whole in (1, 2)) > Fraction(1, 100)

    def first_frame(self) -> av.VideoFrame:
        """Decode the first clean frame.

        Returns:
            The frame.

        Raises:
            InputError: there is none.
        """
        with suppress(Damage):
            for frame in self.frames(None):
                return frame
        if missing_bytes(self.path):
            raise _unreadable_rest(self.path)
        raise InputError(
            f"{self.path} holds no frame that can be decoded: it is empty or damaged; copy it again"
        )

    def check_whole(self, end: Fraction | None, start_time: Fraction) -> None:
        """Refuse a file that was cut short, unless only a part before the cut is wanted.

        Args:
            end: seconds since the first frame, exclusive; None for all.
            start_time: the first frame's time on the container's clock, seconds.

        Raises:
            InputError: data are missing, and `end` is None or after the cut.
        """
        missing, cut = missing_bytes(self.path), self._cut_time(start_time)
        if not missing and cut is None:
            return
        if end is not None and (cut is None or end <= cut):
            return
        size = self.path.stat().st_size
        there = (
            f"{size} of {size + missing} bytes are there" if missing else "its index points beyond its end"
        )
        remedy = f"use --end {seconds_text(cut)}" if cut else "give --end to use a part before the cut"
        raise InputError(f"{self.path} is truncated ({there}): copy it again, or {remedy}")

    def _cut_time(self, start_time: Fraction) -> Fraction | None:
        """Seconds since the first frame up to which all data are there, from the file's index."""
        size = self.path.stat().st_size
        for entry in getattr(self.stream, "index_entries", ()):
            if entry.pos + entry.size > size:  # frames before this decoding time are shown before it as well
                return max(Fraction(0), int(entry.timestamp) * self.tick - start_time)
        return None

    def frames(self, start: Fraction | None) -> Iterator[av.VideoFrame]:
        """Decode the clean frames in display order.

        Frames before the first clean one are passed over, as recordings often begin between two key frames.

        Args:
            start: seconds on the container's clock: begin at the key frame before it where the container can
                jump there; None for the beginning.

        Yields:
            Decoded frames.

        Raises:
            Damage: at the first frame after a clean one that cannot be decoded without errors.
        """
        if start is not None:
            with suppress(av.error.FFmpegError, OSError, OverflowError):
                self.container.seek(int(start / self.tick), stream=self.stream, backward=True)
        begun = False
        for frame in self._decoded():
            if frame is not None and not frame.is_corrupt:
                begun = True
                yield frame
            elif begun:
                yield from self._drained()
                raise Damage

    def _decoded(self) -> Iterator[av.VideoFrame | None]:
        """All frames; None stands for a packet that the demuxer or decoder rejected."""
        packets = self.container.demux(self.stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError):
                yield None  # a demuxer that failed has ended
                return
            if packet is None:
                return
            if not packet.size and packet.dts is not None:
                continue  # an empty sample repeats the last picture; the decoder would take it for the end
            try:
                frames = packet.decode()
            except EOFError:
                return
            except (av.error.FFmpegError, ValueError):
                yield None
                continue
            yield from frames

    def _drained(self) -> Iterator[av.VideoFrame]:
        """Clean frames before the damage that the decoder still holds back for reordering."""
        with suppress(av.error.FFmpegError, EOFError, ValueError):
            for frame in self.stream.codec_context.decode(None):
                if frame.is_corrupt:
                    return
                yield frame
