"""Video in and out: frames one after the other, with exact times, upright, RGB.

    with Reader("clip.mp4", start=1.5, stride=2) as reader:
        for frame in reader:
            use(frame.image, frame.time)

`IndexedReader` finds frames by number.

What is kept: rational frame rates, the container's own time stamps, variable rate, 10-bit depth
(``dtype="uint16"``), the shape of the pixels. What is applied: the container's rotation, the colour tags.
What is left alone: interlacing, high dynamic range.
"""

from __future__ import annotations

from kinema.io.video.indexed import Glance, IndexedReader
from kinema.io.video.reader import VIDEO_SUFFIXES, Reader, VideoFrame, VideoInfo, exact_seconds, probe
from kinema.io.video.writer import WRITABLE_SUFFIXES, VideoCodec, Writer

__all__ = [
    "VIDEO_SUFFIXES",
    "WRITABLE_SUFFIXES",
    "Glance",
    "IndexedReader",
    "Reader",
    "VideoCodec",
    "VideoFrame",
    "VideoInfo",
    "Writer",
    "exact_seconds",
    "probe",
]
