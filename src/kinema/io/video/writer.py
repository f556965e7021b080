"""Video out: exact rates and times, matching colour tags, sound carried along, whole files or none."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from kinema.errors import OutputError, UsageError
from kinema.io.files import replacing
from kinema.io.video.matroska import ROOM, declare_pixel_aspect
from kinema.io.video.pixels import RgbWriter
from kinema.io.video.sound import SoundTrack

__all__ = ["WRITABLE_SUFFIXES", "VideoCodec", "Writer"]

VideoCodec = Literal["auto", "h264", "hevc", "vp9", "av1", "ffv1"]

_FORMATS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
}
WRITABLE_SUFFIXES: frozenset[str] = frozenset(_FORMATS)
# What players expect inside each container; FFmpeg itself would also write stranger pairs.
_HELD = {
    "mp4": frozenset({"h264", "hevc", "vp9", "av1"}),
    "mov": frozenset({"h264", "hevc"}),
    "matroska": frozenset({"h264", "hevc", "vp9", "av1", "ffv1"}),
    "webm": frozenset({"vp9", "av1"}),
}
_COARSEST = 10_000  # ticks per second at least: times of variable rate are kept within 50 microseconds
_FINEST = 10_000_000  # and at most: an MP4 clock is a 32-bit number


@dataclass(frozen=True)
class _Encoder:
    """One choice of `VideoCodec`: FFmpeg's name for the encoder, settings for visually lossless quality."""

    name: str
    options: dict[str, str]
    odd_sizes: str  # pixel format for sizes that 4:2:0 of this codec cannot express
    smallest: int = 1  # below this side the encoders refuse, or old versions hang
    keeps_aspect: bool = True  # whether its own stream says what shape the pixels have


_ENCODERS: dict[str, _Encoder] = {
    # A short look-ahead keeps the number of frames in memory small; quality is set by crf.
    "h264": _Encoder("libx264", {"crf": "18", "preset": "fast", "rc-lookahead": "10"}, "yuv444p"),
    # With B-frames x265 gives clips of one or two frames senseless time stamps, and below the size of one of
    # its blocks it damages the memory of the process.
    "hevc": _Encoder(
        "libx265",
        {"crf": "20", "preset": "fast", "x265-params": "log-level=none:rc-lookahead=10:bframes=0"},
        "yuv444p",
        64,
    ),
    "vp9": _Encoder(
        "libvpx-vp9",
        {"crf": "22", "b": "0", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
        "yuv420p",
        keeps_aspect=False,
    ),
    "av1": _Encoder("libsvtav1", {"crf": "24", "preset": "8"}, "yuv420p", 16, keeps_aspect=False),
    "ffv1": _Encoder("ffv1", {"level": "3", "g": "1"}, "bgr0", keeps_aspect=False),
}
_AUTOMATIC = ("h264", "vp9", "av1")  # the first that this FFmpeg has; builds without GPL parts have no x264


class Writer:
    """Writes a video frame by frame; a context manager.

    The file appears under its name when the block ends well, and not at all otherwise. Without times the rate
    is exactly constant (30000/1001 in, 30000/1001 out); with times they are kept, so a variable rate stays
    what it was. Colours are converted to bt709, limited range, and tagged so.

    Sizes are kept exactly. H.264 and HEVC with 4:2:0 chroma know only even sizes; an odd one is written with
    full chroma (4:4:4), which desktop players and Chromium play, but Safari, QuickTime and many televisions
    do not: ``.webm`` (VP9) is the choice for odd sizes everywhere. HEVC and AV1 need 64 and 16 pixels a side.
    ``ffv1`` in ``.mkv`` is lossless RGB. VP9, AV1 and FFV1 need neither x264 nor x265.

    Args:
        path: ``.mp4``, ``.m4v``, ``.mov``, ``.mkv`` or ``.webm``.
        size_hw: height and width of the frames in pixels.
        rate: frames per second.
        audio_from: a file whose first sound track is carried along: copied packet by packet where the
            container takes its codec, else re-encoded (Opus in WebM, AAC elsewhere); `note` says so.
        audio_start: moment of `audio_from`, in seconds since its first picture, that coincides with the first
            frame. By default the `time` of the first frame that is written, else 0.
        audio_end: moment of `audio_from` where its sound ends; None for all of it.
        codec: ``auto`` is VP9 in ``.webm`` and H.264 elsewhere.
        overwrite: whether an existing file may be replaced.
        time_base: unit of the times given to `write`, in seconds (`VideoInfo.time_base`); they are kept
            exactly where the container can. Matroska and WebM round to milliseconds.
        pixel_aspect: width of one pixel over its height. VP9, AV1 and FFV1 in ``.mkv`` and ``.webm`` round
            the width on the screen to whole pixels.

    Raises:
        UsageError: suffix, codec, size or rate cannot be written.
        InputError: `audio_from` cannot be read.
        OutputError: on entering: the place exists or is not writable; later: it is full.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        size_hw: tuple[int, int],
        rate: Fraction,
        audio_from: Path | str | None = None,
        audio_start: float | Fraction | None = None,
        audio_end: float | Fraction | None = None,
        codec: VideoCodec = "auto",
        overwrite: bool = True,
        time_base: Fraction | None = None,
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self.path = Path(path)
        self._format = _format_of(self.path)
        self._encoder = _encoder_for(self.path, codec, _HELD[self._format])
        if min(size_hw) < 1 or rate <= 0 or pixel_aspect <= 0:
            raise UsageError(f"{path}: size {size_hw}, rate {rate}, pixels {pixel_aspect}: must be above 0")
        if min(size_hw) < self._encoder.smallest:
            raise UsageError(
                f"{path}: {codec} cannot write {size_hw[1]}x{size_hw[0]} pixels; choose h264, vp9 or ffv1 "
                f"below {self._encoder.smallest} pixels"
            )
        self.size_hw = size_hw
        self.rate = Fraction(rate)
        self._tick = _tick(self.rate, time_base)
        self._overwrite = overwrite
        self._pixel_aspect = pixel_aspect
        self._audio_from = None if audio_from is None else Path(audio_from)
        self._audio_start = None if audio_start is None else Fraction(audio_start)
        self._audio_end = None if audio_end is None else Fraction(audio_end)
        self._sound: SoundTrack | None = None
        self._session: AbstractContextManager[None] | None = None
        self._origin = Fraction(0)
        self._last: int | None = None
        self._durations: dict[int, int] = {}

    @property
    def note(self) -> str | None:
        """What happened to the sound, when it was not simply copied; one sentence."""
        return None if self._sound is None else self._sound.note

    def __enter__(self) -> Self:
        session = self._run()
        session.__enter__()
        self._session = session
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.__exit__(kind, error, trace)

    @contextmanager
    def _run(self) -> Iterator[None]:
        with replacing(self.path, overwrite=self._overwrite) as temporary:
            container = av.open(
                f"file:{temporary}", "w", format=self._format, container_options=self._muxing()
            )
            try:
                with self._plain_errors():
                    self._prepare(container)
                yield
                with self._plain_errors():
                    self._finish(container)
                if self._aspect_in_header:
                    with suppress(ValueError):  # another layout: square pixels are better than no file
                        declare_pixel_aspect(temporary, self.size_hw, self._pixel_aspect)
            finally:
                self._abandon(container)

    def _muxing(self) -> dict[str, str]:
        """Index first, so that players start at once; lengths in the pictures' own unit, not milliseconds."""
        if self._format not in {"mp4", "mov"}:
            return {}
        return {"movflags": "+faststart", "movie_timescale": str(self._tick.denominator)}

    @property
    def _aspect_in_header(self) -> bool:
        """Whether the container alone must say that the pixels are not square; FFmpeg sees to it in MP4."""
        matroska = self._format in {"matroska", "webm"}
        return matroska and not self._encoder.keeps_aspect and self._pixel_aspect != 1

    def _prepare(self, container: OutputContainer) -> None:
        """Open encoder, sound and header: what cannot work fails before the first frame is computed."""
        self._container = container
        self._stream = self._add_stream(container)
        if self._audio_from is not None:
            self._sound = SoundTrack(self._audio_from, container, self._audio_end)
        with _quiet_svt(self._encoder.name):
            container.start_encoding()

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        height, width = self.size_hw
        even = height % 2 == 0 and width % 2 == 0
        pix_fmt = "yuv420p" if even and self._encoder.odd_sizes != "bgr0" else self._encoder.odd_sizes
        self._pixels = RgbWriter(pix_fmt)
        added = container.add_stream(
            self._encoder.name, rate=self.rate, options=dict(self._encoder.options), time_base=self._tick
        )
        stream = cast(VideoStream, added)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.sample_aspect_ratio = self._pixel_aspect
        stream.codec_context.thread_type = "AUTO"
        if self._aspect_in_header:
            stream.metadata["title"] = ROOM
        self._pixels.tag(stream.codec_context)
        if self._encoder.name == "libx265" and self._format in {"mp4", "mov"}:
            stream.codec_context.codec_tag = "hvc1"  # the name that Apple's players ask for
        return stream

    def write(
        self, image: np.ndarray, *, time: Fraction | None = None, duration: Fraction | None = None
    ) -> None:
        """Add one frame.

        Args:
            image: (H, W, 3) RGB or (H, W) grey, uint8 or uint16 (written with 8 bits).
            time: seconds, rising from frame to frame; the first one is the beginning of the file. None: one
                over the rate after the frame before.
            duration: seconds that the frame is shown; only the last frame's matters. None: one over the rate.

        Raises:
            ValueError: the array is no picture of this size.
            OutputError: the disk is full.
        """
        if self._session is None:
            raise RuntimeError("write() outside the writer's with block")
        pts = self._time_stamp(time)
        frame = self._pixels.frame(_eight_bit_rgb(image, self.size_hw))
        frame.pts, frame.time_base = pts, self._tick
        self._durations[pts] = max(1, round((duration or 1 / self.rate) / self._tick))
        with self._plain_errors():
            for packet in self._stream.encode(frame):
                self._mux(packet)

    def _time_stamp(self, time: Fraction | None) -> int:
        if self._last is None:
            self._origin = Fraction(0) if time is None else Fraction(time)
            if self._sound is not None:
                self._sound.begin(self._origin if self._audio_start is None else self._audio_start)
            self._last = 0
            return 0
        step = round(1 / self.rate / self._tick)
        wanted = self._last + step if time is None else round((time - self._origin) / self._tick)
        # Equal times, which no container allows, are moved by one tick.
        self._last = max(wanted, self._last + 1)
        return self._last

    def _mux(self, packet: Packet[VideoStream]) -> None:
        """Write pictures, then the sound that belongs to them: the muxer never has to hold much."""
        packet.duration = self._durations.pop(packet.pts or 0, packet.duration or 0)
        time = (packet.dts or 0) * self._tick
        self._container.mux(packet)
        if self._sound is not None:
            self._sound.feed(time)

    def _finish(self, container: OutputContainer) -> None:
        if self._last is None:
            raise OutputError(f"{self.path} is not written: there was no frame to write")
        for packet in self._stream.encode(None):
            self._mux(packet)
        if self._sound is not None:
            self._sound.feed(None)
        container.close()

    def _abandon(self, container: OutputContainer) -> None:
        """Close what is open; after a clean end this does nothing more."""
        with suppress(av.error.FFmpegError, OSError, ValueError):
            container.close()
        if self._sound is not None:
            self._sound.close()

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """FFmpeg's complaints about encoder, muxer and disk, in our words."""
        try:
            yield
        except av.error.FFmpegError as error:
            reason = error.strerror or "unknown error"
            if isinstance(error, OSError):
                raise OutputError(
                    f"{self.path} cannot be written: {reason.lower()}; free some space, or write elsewhere"
                ) from error
            height, width = self.size_hw
            raise OutputError(
                f"{self.path}: {self._encoder.name} cannot write {width}x{height} pixels at {self.rate} "
                f"frames per second into {self._format} ({reason.lower()}); try another --codec or suffix"
            ) from error


def _format_of(path: Path) -> str:
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(
            f"{path}: videos are written as {', '.join(sorted(_FORMATS))}; give one of these suffixes"
        )
    return kind


def _encoder_for(path: Path, codec: str, held: frozenset[str]) -> _Encoder:
    """The encoder of a choice, when the container holds it and this build of FFmpeg has it."""
    if codec != "auto" and codec not in _ENCODERS:
        raise UsageError(f"codec {codec!r} is unknown: choose auto, {', '.join(_ENCODERS)}")
    if codec != "auto" and codec not in held:
        raise UsageError(
            f"{path}: {path.suffix} does not hold {codec}; choose {', '.join(sorted(held))} or use .mkv"
        )
    wanted = [name for name in _AUTOMATIC if name in held] if codec == "auto" else [codec]
    for name in wanted:
        if _ENCODERS[name].name in av.codecs_available:
            return _ENCODERS[name]
    raise UsageError(f"{path}: this FFmpeg has no encoder for {' or '.join(wanted)}; choose another --codec")


def _tick(rate: Fraction, time_base: Fraction | None) -> Fraction:
    """A clock on which a constant rate and the given times both fall exactly, where there is one."""
    ticks = rate.numerator
    if time_base is not None and math.lcm(ticks, time_base.denominator) <= _FINEST:
        ticks = math.lcm(ticks, time_base.denominator)
    elif time_base is not None or ticks > _FINEST:
        ticks = 90_000 if time_base is None else min(time_base.denominator, _FINEST)
    return Fraction(1, ticks * math.ceil(_COARSEST / ticks))


def _eight_bit_rgb(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    if image.shape != (*size_hw, 3) or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"expected uint8 or uint16 {(*size_hw, 3)}, got {image.dtype} {image.shape}")
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return image


@contextmanager
def _quiet_svt(encoder: str) -> Iterator[None]:
    """SVT-AV1 prints a page about itself when it is opened unless this variable is set."""
    if encoder != "libsvtav1" or "SVT_LOG" in os.environ:
        yield
        return
    os.environ["SVT_LOG"] = "0"
    try:
        yield
    finally:
        del os.environ["SVT_LOG"]
