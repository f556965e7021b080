"""Tiny clips made on the spot: every kind that people bring, a few kilobytes each.

`make_clip` is the general one; the named functions below it are the kinds that the tests ask for. All of them
return the path that they wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

NTSC = Fraction(30000, 1001)
SMOOTH = 0x2 | 0x2000 | 0x40000  # bilinear, full chroma interpolation, accurate rounding of libswscale
SMALL_GROUPS = {
    "crf": "12",
    "preset": "ultrafast",
    "g": "6",
}  # several key frames, so that seeking is exercised


def moving_texture(index: int, size_hw: tuple[int, int]) -> np.ndarray:
    """A smooth coloured pattern that moves one pixel right per frame, with a bar that tells the index."""
    height, width = size_hw
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    x = x - index
    image = np.stack([np.sin(x / 5), np.sin(y / 6 + x / 9), np.cos(y / 7)], axis=-1) * 90 + 128
    image[: max(1, height // 8), :] = frame_level(index)
    return image.round().astype(np.uint8)


def frame_level(index: int) -> int:
    """The grey value of the top bar of `moving_texture`: it identifies frames 0 to 24."""
    return 10 + 10 * (index % 25)


def index_of(image: np.ndarray) -> int:
    """The index of a decoded `moving_texture` frame, from its top bar (any 8 or 16 bit depth)."""
    scale = 257 if image.dtype == np.uint16 else 1
    level = float(image[0, :].mean()) / scale
    return round((level - 10) / 10)


def make_clip(
    path: Path,
    *,
    frames: int = 8,
    size_hw: tuple[int, int] = (48, 64),
    rate: Fraction = NTSC,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[Fraction] | None = None,
    audio: str | None = None,
    audio_seconds: Fraction | None = None,
    picture: Callable[[int, tuple[int, int]], np.ndarray] = moving_texture,
    matrix: int | None = 1,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip of frames from `picture`; times in seconds make it variable; audio names an encoder."""
    with av.open(str(path), "w") as container:
        base = 1 / rate if times is None else Fraction(1, 90000)
        stream = container.add_stream(
            codec, rate=rate, time_base=base, options=options or _default_options(codec)
        )
        stream.width, stream.height, stream.pix_fmt = size_hw[1], size_hw[0], pix_fmt
        if matrix is not None:
            stream.codec_context.colorspace = matrix
            stream.codec_context.color_range = ColorRange.MPEG
        sound = container.add_stream(audio, rate=48000) if audio else None
        if sound is not None:
            sound.layout = "mono"
        for index in range(frames):
            frame = _frame(picture(index, size_hw), pix_fmt, matrix)
            frame.pts = index if times is None else round(times[index] / base)
            frame.time_base = base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            for chunk in _sine(audio_seconds or frames / rate):
                container.mux(sound.encode(chunk))
            container.mux(sound.encode(None))
    return path


def _default_options(codec: str) -> dict[str, str]:
    if codec == "libx264":
        return dict(SMALL_GROUPS)
    if codec == "libvpx-vp9":
        return {"crf": "12", "b": "0", "deadline": "realtime", "cpu-used": "8", "g": "6"}
    return {}


def _frame(image: np.ndarray, pix_fmt: str, matrix: int | None) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(image, format="rgb48le" if image.dtype == np.uint16 else "rgb24")
    if pix_fmt.startswith(("rgb", "gbr", "bgr")):
        return frame.reformat(format=pix_fmt)
    space = Colorspace.ITU709 if matrix == 1 else Colorspace.ITU601
    return frame.reformat(
        format=pix_fmt,
        dst_colorspace=space,
        dst_color_range=ColorRange.JPEG if pix_fmt.startswith(("yuvj", "gray")) else ColorRange.MPEG,
        interpolation=SMOOTH,
    )


def _sine(seconds: Fraction | float, *, rate: int = 48000, pitch: float = 440.0) -> list[av.AudioFrame]:
    total = round(seconds * rate)
    wave = (0.3 * np.sin(2 * np.pi * pitch * np.arange(total) / rate)).astype(np.float32)
    chunks = []
    for first in range(0, total, 1024):
        chunk = av.AudioFrame.from_ndarray(wave[None, first : first + 1024], format="fltp", layout="mono")
        chunk.sample_rate, chunk.pts, chunk.time_base = rate, first, Fraction(1, rate)
        chunks.append(chunk)
    return chunks


def ntsc_clip(path: Path, *, frames: int = 24, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """Constant 30000/1001 frames a second, H.264, no sound."""
    return make_clip(path, frames=frames, size_hw=size_hw)


def sound_clip(
    path: Path, *, frames: int = 24, size_hw: tuple[int, int] = (48, 64), audio: str = "aac"
) -> Path:
    """30000/1001 frames a second with a 440 Hz tone of the same length."""
    return make_clip(path, frames=frames, size_hw=size_hw, audio=audio)


def variable_times(frames: int) -> list[Fraction]:
    """Irregular times on a 1/90000 s clock: steps of 1/30, 1/15 and 1/60 s in turn, from zero."""
    steps = [Fraction(1, 30), Fraction(1, 15), Fraction(1, 60)]
    times = [Fraction(0)]
    for index in range(frames - 1):
        times.append(times[-1] + steps[index % 3])
    return times


def variable_clip(path: Path, *, frames: int = 12, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """Variable frame rate: the times are `variable_times(frames)`."""
    return make_clip(path, frames=frames, size_hw=size_hw, rate=Fraction(30), times=variable_times(frames))


_QUARTER_TURNS = {
    0: (1, 0, 0, 1),
    90: (0, 1, -1, 0),
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
}


def rotated_clip(path: Path, degrees: int, *, frames: int = 4, size_hw: tuple[int, int] = (32, 64)) -> Path:
    """An mp4 that asks players to turn its pictures clockwise by 90, 180 or 270 degrees, as phones do."""
    make_clip(path, frames=frames, size_hw=size_hw, picture=corners)
    return set_display_matrix(path, _QUARTER_TURNS[degrees])


def mirrored_clip(path: Path, *, frames: int = 4, size_hw: tuple[int, int] = (32, 64)) -> Path:
    """An mp4 that asks players to mirror its pictures left to right."""
    make_clip(path, frames=frames, size_hw=size_hw, picture=corners)
    return set_display_matrix(path, (-1, 0, 0, 1))


def corners(index: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Red, green, blue and white quarters: top left, top right, bottom left, bottom right."""
    height, width = size_hw
    image = np.empty((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (220, 20, 20)
    image[: height // 2, width // 2 :] = (20, 220, 20)
    image[height // 2 :, : width // 2] = (20, 20, 220)
    image[height // 2 :, width // 2 :] = (230, 230, 230)
    return image


def set_display_matrix(path: Path, abcd: tuple[int, int, int, int]) -> Path:
    """Write the 2x2 part of the display matrix into the first track header of an mp4."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes from the end of the name to the matrix
    a, b, c, d = (value * 65536 for value in abcd)
    matrix = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    data[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in matrix)
    path.write_bytes(bytes(data))
    return path


def ten_bit_clip(path: Path, *, frames: int = 4, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """10-bit 4:2:0 H.264."""
    return make_clip(path, frames=frames, size_hw=size_hw, pix_fmt="yuv420p10le")


def grey_clip(path: Path, *, frames: int = 4, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """One grey plane, lossless FFV1: use a `.mkv` name."""
    return make_clip(path, frames=frames, size_hw=size_hw, codec="ffv1", pix_fmt="gray", matrix=None)


def alpha_clip(path: Path, *, frames: int = 4, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """RGB with an alpha plane, lossless FFV1: use a `.mkv` name."""
    return make_clip(path, frames=frames, size_hw=size_hw, codec="ffv1", pix_fmt="bgra", matrix=None)


def odd_clip(path: Path, *, frames: int = 4, size_hw: tuple[int, int] = (47, 63)) -> Path:
    """Odd height and width: VP9 4:2:0 for `.webm`, H.264 4:4:4 otherwise."""
    if path.suffix == ".webm":
        return make_clip(path, frames=frames, size_hw=size_hw, codec="libvpx-vp9")
    return make_clip(path, frames=frames, size_hw=size_hw, pix_fmt="yuv444p")


def one_frame_clip(path: Path, *, size_hw: tuple[int, int] = (48, 64)) -> Path:
    """A video of a single frame."""
    return make_clip(path, frames=1, size_hw=size_hw)


def flat_clip(
    path: Path, colour: tuple[int, int, int], *, frames: int = 3, size_hw: tuple[int, int] = (48, 64)
) -> Path:
    """Every pixel of every frame has one RGB colour (bt709, tagged)."""
    return make_clip(
        path,
        frames=frames,
        size_hw=size_hw,
        picture=lambda index, size: np.full((*size, 3), colour, np.uint8),
    )


def sound_only_clip(path: Path, *, seconds: Fraction = Fraction(1, 2)) -> Path:
    """A file with an audio track and no video."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        sound.layout = "mono"
        for chunk in _sine(seconds):
            container.mux(sound.encode(chunk))
        container.mux(sound.encode(None))
    return path


def empty_file(path: Path) -> Path:
    """A file of zero bytes."""
    path.write_bytes(b"")
    return path


def text_named_video(path: Path) -> Path:
    """Plain text under the name of a video."""
    path.write_text("this is not a video\n" * 40, encoding="utf-8")
    return path


def truncated_clip(path: Path, *, keep: float = 0.6, index_first: bool = True, frames: int = 24) -> Path:
    """An mp4 cut off after a part of its bytes; with the index at the end, nothing can be read of it."""
    options = {"movflags": "+faststart"} if index_first else {}
    whole = path.with_name(f"whole_{path.name}")
    make_clip(whole, frames=frames, size_hw=(96, 128))
    if options:
        remux(whole, path, options=options)
        whole.unlink()
    else:
        whole.rename(path)
    return cut_file(path, keep=keep)


def remux(source: Path, target: Path, *, options: dict[str, str]) -> Path:
    """Copy all packets of the first video stream into another container, with muxer options."""
    with av.open(str(source)) as reader, av.open(str(target), "w", options=options) as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for packet in reader.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                writer.mux(packet)
    return target


def cut_file(path: Path, *, keep: float) -> Path:
    """Keep only the first part of a file, given as a fraction of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path
