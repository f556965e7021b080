"""Video in: rates, times, cuts, rotation, depth, colours."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from helpers import clips
from kinema.errors import InputError
from kinema.io.video import Reader, VideoInfo, exact_seconds, probe

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov", "clip.ts", "clip.avi"])
def test_reader_gives_every_frame_at_its_exact_time(tmp_path: Path, name: str) -> None:
    path = clips.ntsc_clip(tmp_path / name, frames=20)
    frames = list(Reader(path))
    assert [clips.index_of(frame.image) for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == [k / NTSC for k in range(20)]
    assert [frame.index for frame in frames] == list(range(20))
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[0].image.dtype == np.uint8


def test_probe_tells_what_the_clip_is(tmp_path: Path) -> None:
    info = probe(clips.sound_clip(tmp_path / "clip.mp4", frames=20))
    assert info == VideoInfo(
        size_hw=(48, 64),
        rate=NTSC,
        duration=20 / NTSC,
        frame_count=20,
        rotation=0,
        has_audio=True,
        variable_rate=False,
        codec="h264",
        bit_depth=8,
        time_base=Fraction(1, 30000),
        start_time=Fraction(0),
        pixel_aspect=Fraction(1),
    )


def test_variable_rate_keeps_the_containers_times(tmp_path: Path) -> None:
    reader = Reader(clips.variable_clip(tmp_path / "clip.mp4"))
    assert reader.info.variable_rate
    assert [frame.time for frame in reader] == clips.variable_times(12)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.ts"])
@pytest.mark.parametrize(
    ("start", "end", "stride"), [(0.21, 0.6, 1), (0.1, None, 3), (None, 0.5, 2), (0.5005, 0.6, 1)]
)
def test_a_part_equals_the_same_part_of_a_full_decode(
    tmp_path: Path, name: str, start: float | None, end: float | None, stride: int
) -> None:
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
    path = clips.make_clip(tmp_path / name, frames=24, codec=codec)
    low, high = exact_seconds(start, "start") or 0, exact_seconds(end, "end") or 99
    wanted = [frame for frame in Reader(path) if low <= frame.time < high][::stride]
    part = list(Reader(path, start=start, end=end, stride=stride))
    assert [frame.time for frame in part] == [frame.time for frame in wanted]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(part, wanted, strict=True))
    assert [frame.index for frame in part] == list(range(len(wanted)))


def test_start_on_a_frames_own_time_includes_it_and_end_excludes_it(tmp_path: Path) -> None:
    path = clips.make_clip(tmp_path / "clip.mp4", frames=12, rate=Fraction(10))
    times = [frame.time for frame in Reader(path, start=0.3, end=0.7)]
    assert times == [Fraction(k, 10) for k in (3, 4, 5, 6)]


def test_a_reader_can_be_read_twice_and_is_closed_by_its_block(tmp_path: Path) -> None:
    path = clips.ntsc_clip(tmp_path / "clip.mp4", frames=6)
    with Reader(path) as reader:
        assert len(list(reader)) == len(list(reader)) == 6
        open_run = iter(reader)
        next(open_run)
    assert next(open_run, None) is None


# With the quarters red, green / blue, white, the turned picture tells its turn by the corner colours.
@pytest.mark.parametrize(
    ("degrees", "size_hw", "top_left", "top_right"),
    [(0, (32, 64), 0, 1), (90, (64, 32), 2, 0), (180, (32, 64), 3, 2), (270, (64, 32), 1, 3)],
)
def test_rotation_is_applied(
    tmp_path: Path, degrees: int, size_hw: tuple[int, int], top_left: int, top_right: int
) -> None:
    reader = Reader(clips.rotated_clip(tmp_path / "clip.mp4", degrees))
    image = next(iter(reader)).image.astype(int)
    colours = np.array([(220, 20, 20), (20, 220, 20), (20, 20, 220), (230, 230, 230)])
    assert reader.info.rotation == degrees
    assert reader.info.size_hw == image.shape[:2] == size_hw
    assert image.flags["C_CONTIGUOUS"]
    assert np.abs(image[3, 3] - colours[top_left]).max() < 8
    assert np.abs(image[3, -4] - colours[top_right]).max() < 8


def test_a_mirrored_picture_is_not_turned(tmp_path: Path) -> None:
    reader = Reader(clips.mirrored_clip(tmp_path / "clip.mp4"))
    image = next(iter(reader)).image.astype(int)
    assert reader.info.rotation == 0
    assert np.abs(image[3, 3] - (20, 220, 20)).max() < 8
    assert np.abs(image[-4, 3] - 230).max() < 8


def test_ten_bits_reach_eight_and_sixteen(tmp_path: Path) -> None:
    def ramp(index: int, size_hw: tuple[int, int]) -> np.ndarray:
        levels = np.linspace(0, 65535, size_hw[1]).astype(np.uint16)
        return np.repeat(np.broadcast_to(levels, size_hw)[..., None], 3, axis=2).copy()

    path = clips.make_clip(
        tmp_path / "clip.mkv",
        frames=1,
        size_hw=(16, 512),
        codec="ffv1",
        pix_fmt="gbrp10le",
        picture=ramp,
        matrix=None,
    )
    deep = next(iter(Reader(path, dtype="uint16"))).image
    plain = next(iter(Reader(path))).image
    truth = ramp(0, (16, 512)).astype(float)
    assert probe(path).bit_depth == 10
    assert deep.dtype == np.uint16
    assert np.abs(deep - truth).max() <= 65  # one step of 10 bits
    assert np.abs(plain - truth / 257).max() <= 1.3
    assert len(np.unique(deep[..., 0])) > 500  # 8 bits would leave 256


def test_h264_with_ten_bits(tmp_path: Path) -> None:
    path = clips.ten_bit_clip(tmp_path / "clip.mp4")
    assert probe(path).bit_depth == 10
    assert [clips.index_of(frame.image) for frame in Reader(path)] == [0, 1, 2, 3]


def test_eight_bits_asked_as_sixteen_span_the_whole_range(tmp_path: Path) -> None:
    path = clips.flat_clip(tmp_path / "clip.mp4", (255, 255, 255))
    image = next(iter(Reader(path, dtype="uint16"))).image
    assert image.dtype == np.uint16
    assert image.min() == 65535


def test_grey_is_replicated(tmp_path: Path) -> None:
    path = clips.grey_clip(tmp_path / "clip.mkv")
    for frame in Reader(path):
        truth = clips.moving_texture(frame.index, (48, 64)) @ (0.2126, 0.7152, 0.0722)
        assert np.array_equal(frame.image[..., 0], frame.image[..., 1])
        assert np.array_equal(frame.image[..., 0], frame.image[..., 2])
        assert np.abs(frame.image[0, :, 0] - float(clips.frame_level(frame.index))).max() <= 1
        assert np.corrcoef(frame.image[..., 0].ravel(), truth.ravel())[0, 1] > 0.95


def test_alpha_is_dropped(tmp_path: Path) -> None:
    path = clips.alpha_clip(tmp_path / "clip.mkv")
    for frame in Reader(path):
        assert np.array_equal(frame.image, clips.moving_texture(frame.index, (48, 64)))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.webm"])
def test_odd_sizes_are_read(tmp_path: Path, name: str) -> None:
    frames = list(Reader(clips.odd_clip(tmp_path / name)))
    assert [frame.image.shape for frame in frames] == [(47, 63, 3)] * 4
    assert [clips.index_of(frame.image) for frame in frames] == [0, 1, 2, 3]


@pytest.mark.parametrize("matrix", [1, 5, 6])
@pytest.mark.parametrize("colour", [(200, 30, 40), (20, 180, 60), (10, 20, 210), (128, 128, 128)])
def test_colour_tags_decide_the_matrix(tmp_path: Path, matrix: int, colour: tuple[int, int, int]) -> None:
    path = clips.make_clip(
        tmp_path / "clip.mp4",
        frames=1,
        matrix=matrix,
        picture=lambda index, size: np.full((*size, 3), colour, np.uint8),
    )
    image = next(iter(Reader(path))).image.astype(float)
    assert np.abs(image.mean((0, 1)) - colour).max() < 3


@pytest.mark.parametrize(("size_hw", "matrix"), [((720, 1280), 1), ((480, 640), 6)])
def test_untagged_high_definition_is_bt709_and_the_rest_bt601(
    tmp_path: Path, size_hw: tuple[int, int], matrix: int
) -> None:
    colour = (20, 180, 60)  # read with the other matrix, this green is off by more than ten
    made = clips.make_clip(
        tmp_path / "made.mp4",
        frames=1,
        size_hw=size_hw,
        matrix=matrix,
        picture=lambda index, size: np.full((*size, 3), colour, np.uint8),
    )
    path = strip_colour_tags(made, tmp_path / "clip.mp4", size_hw, matrix)
    image = next(iter(Reader(path))).image.astype(float)
    assert np.abs(image.mean((0, 1)) - colour).max() < 3


def strip_colour_tags(source: Path, target: Path, size_hw: tuple[int, int], matrix: int) -> Path:
    """The same picture encoded without any statement about its colours."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream("libx264", rate=25, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height = size_hw[1], size_hw[0]
        for frame in reader.decode(video=0):
            assert frame.colorspace == matrix
            frame.colorspace, frame.color_range, frame.pts = 2, 0, None
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    with av.open(str(target)) as check:
        assert next(check.decode(video=0)).colorspace == 2
    return target


def test_a_cover_picture_is_not_a_video(tmp_path: Path) -> None:
    made, path = clips.sound_only_clip(tmp_path / "made.mp4"), tmp_path / "song.mkv"
    cover = cv2.imencode(".png", np.zeros((90, 90, 3), np.uint8))[1].tobytes()
    with av.open(str(made)) as reader, av.open(str(path), "w") as writer:
        writer.add_attachment("cover.png", "image/png", cover)
        copied = writer.add_stream_from_template(reader.streams.audio[0])
        for packet in reader.demux(audio=0):
            if packet.dts is not None:
                packet.stream = copied
                writer.mux(packet)
    with av.open(str(path)) as container:
        assert [stream.width for stream in container.streams.video] == [90]
    with pytest.raises(InputError, match="no picture track"):
        probe(path)
