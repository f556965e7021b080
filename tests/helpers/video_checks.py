"""What several video tests look at: copies, sound, messages, fresh processes."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kinema.errors import KinemaError
from kinema.io.video import Reader, VideoCodec, VideoInfo, Writer


def copy_clip(source: Path, target: Path, *, codec: VideoCodec = "auto") -> VideoInfo:
    """Decode a clip and write it again with its own times and sound."""
    reader = Reader(source)
    info = reader.info
    with Writer(
        target,
        size_hw=info.size_hw,
        rate=info.rate,
        time_base=info.time_base,
        audio_from=source,
        codec=codec,
    ) as writer:
        for frame in reader:
            writer.write(frame.image, time=frame.time, duration=frame.duration)
    return info


def sound_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and content of all packets of the first sound track."""
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        packets = [packet for packet in container.demux(track) if packet.pts is not None]
        return [(packet.pts * track.time_base, bytes(packet)) for packet in packets]


def decoded_sound(path: Path) -> np.ndarray:
    """All samples of the first sound track, 48000 a second, from its time zero on."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "mono", 48000)
        parts = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([part.to_ndarray()[0] for part in parts])


def message(error: pytest.ExceptionInfo[KinemaError], path: Path) -> str:
    """The error's text, after checking that it is one line that names the file."""
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
