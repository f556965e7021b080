"""The sound track of one file carried into another: copied as it is where the container takes it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from kinema.errors import InputError
from kinema.io.video.decode import Source, open_container, seconds_text

__all__ = ["SoundTrack"]

_PLAIN = frozenset({"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"})
# What players expect inside each container; anything else that FFmpeg could squeeze in is re-encoded instead.
_COPIED: dict[str, frozenset[str]] = {
    "mp4": _PLAIN,
    "mov": _PLAIN | {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le"},
    "matroska": _PLAIN | {"vorbis", "mp2", "dts", "truehd", "pcm_s16le", "pcm_s24le", "pcm_f32le"},
    "webm": frozenset({"opus", "vorbis"}),
}
_ENCODERS = {"webm": "libopus"}  # elsewhere FFmpeg's own aac
_PRIMING = Fraction(1, 10)  # seconds of encoder delay before time zero that belong to the track


class SoundTrack:
    """Carries the first sound track of a file into an output, in step with its pictures, in bounded memory.

    Args:
        path: a video or sound file.
        container: the output, before its header is written.
        end: seconds on the source's own time (0 is its first picture) where the sound ends; None for all of
            it.

    Raises:
        InputError: the file cannot be opened.
    """

    def __init__(self, path: Path, container: OutputContainer, end: Fraction | None) -> None:
        self.path = path
        self.note: str | None = None
        self._output = container
        self._end = end
        self._copied = self._hides_run_up = False
        self._packets: Iterator[tuple[Fraction, Packet[AudioStream]]] = iter(())
        self._next: tuple[Fraction, Packet[AudioStream]] | None = None
        self._source = open_container(path)
        tracks = [track for track in self._source.streams.audio if track.codec_context is not None]
        self._track = tracks[0] if tracks else None
        self._origin = _picture_start(path) if self._source.streams.video else Fraction(0)
        self._stream = None if self._track is None else self._add_stream(self._track)

    def _add_stream(self, track: AudioStream) -> AudioStream | None:
        codec = track.codec_context.codec
        name = str(getattr(codec, "canonical_name", codec.name))
        kind = self._output.format.name
        self._hides_run_up = kind in {"mp4", "mov"} or name == "opus"
        self._copied = name in _COPIED.get(kind, frozenset())
        try:
            if self._copied:
                return self._output.add_stream_from_template(track)
            encoder = _ENCODERS.get(kind, "aac")
            stream = cast(AudioStream, self._output.add_stream(encoder, rate=48000))
            stream.layout = "mono" if track.codec_context.layout.nb_channels == 1 else "stereo"
            stream.codec_context.bit_rate = 128_000
            self.note = f"the sound of {self.path} is {name}: re-encoded as {encoder.removeprefix('lib')}"
        except (av.error.FFmpegError, ValueError):
            self.note = f"the sound of {self.path} ({name}) does not fit into {kind}: left out"
            return None
        return stream

    def begin(self, start: Fraction) -> None:
        """Say which moment of the source coincides with the first picture of the output.

        Args:
            start: seconds since the source's first picture.
        """
        if self._track is None or self._stream is None:
            return
        source = self._copies(start) if self._copied else self._encodes(start)
        self._packets = self._sound_only(source)
        self._next = next(self._packets, None)

    def feed(self, until: Fraction | None) -> None:
        """Write the sound up to a time.

        Args:
            until: seconds since the output's first picture; None for the rest.
        """
        while self._next is not None and (until is None or self._next[0] <= until):
            self._output.mux(self._next[1])
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _sound_only(
        self, packets: Iterator[tuple[Fraction, Packet[AudioStream]]]
    ) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
        """Damage in the sound ends the sound, with a note, and leaves the pictures alone."""
        last = Fraction(0)
        try:
            for time, packet in packets:
                last = time
                yield time, packet
        except (av.error.FFmpegError, ValueError, OSError):
            where = seconds_text(max(last, Fraction(0)))
            self.note = f"the sound of {self.path} is damaged after {where} s: cut there"

    def _copies(self, start: Fraction) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
        assert self._track is not None
        assert self._stream is not None
        tick = Fraction(self._track.time_base or Fraction(1, 48000))
        shift = round((self._origin + start) / tick)
        for packet in self._source.demux(self._track):
            if packet.pts is None or packet.dts is None:
                continue
            time = packet.pts * tick - self._origin
            if self._before(time, start):
                continue
            if self._end is not None and time >= self._end:
                return
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = self._stream
            yield time - start, packet

    def _encodes(self, start: Fraction) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
        assert self._stream is not None
        context = self._stream.codec_context
        resampler = AudioResampler(context.format, context.layout, context.sample_rate)
        for frame in self._decoded(start):
            for part in resampler.resample(frame):
                yield from _timed(self._stream.encode(part))
        for part in resampler.resample(None):
            yield from _timed(self._stream.encode(part))
        yield from _timed(self._stream.encode(None))

    def _decoded(self, start: Fraction) -> Iterator[AudioFrame]:
        """Decoded sound from start to end, with time stamps from the output's first picture on."""
        assert self._track is not None
        for frame in self._source.decode(self._track):
            if frame.pts is None:
                continue
            tick = Fraction(frame.time_base or self._track.time_base or 0)
            time = frame.pts * tick - self._origin
            if self._before(time, start):
                continue
            if self._end is not None and time >= self._end:
                return
            frame.pts -= round((self._origin + start) / tick)
            yield frame

    def _before(self, time: Fraction, start: Fraction) -> bool:
        """Sound before the cut is left out packet by packet, which keeps the rest in step.

        An uncut track keeps its encoder's run-up before time zero where the container can say that it is not
        heard; elsewhere that would delay the pictures.
        """
        return time < (-_PRIMING if start == 0 and self._hides_run_up else start)


def _timed(packets: list[Packet[AudioStream]]) -> Iterator[tuple[Fraction, Packet[AudioStream]]]:
    for packet in packets:
        yield (packet.pts or 0) * Fraction(packet.time_base), packet


def _picture_start(path: Path) -> Fraction:
    """Time stamp of the first picture on the container's clock, in seconds; 0 for a cover picture or none."""
    try:
        with Source(path) as source:
            return (source.first_frame().pts or 0) * source.tick
    except InputError:
        return Fraction(0)
