"""Video out: rates, times, sizes, colours, sound, and nothing half-written."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest

from helpers import clips
from helpers.video_checks import copy_clip, decoded_sound, run_python, sound_packets
from kinema.errors import InputError, OutputError, UsageError
from kinema.io.video import Reader, VideoCodec, Writer, probe

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("out.mp4", "auto"),
        ("out.mov", "h264"),
        ("out.mkv", "auto"),
        ("out.webm", "auto"),
        ("out.mp4", "vp9"),
        ("out.mp4", "av1"),
        ("out.mp4", "hevc"),
        ("out.mkv", "ffv1"),
    ],
)
def test_rate_count_and_duration_are_kept(
    tmp_path: Path, name: str, codec: str, capfd: pytest.CaptureFixture[str]
) -> None:
    source = clips.sound_clip(tmp_path / "clip.mp4", frames=20, size_hw=(64, 80))
    copy_clip(source, tmp_path / name, codec=codec)
    info = probe(tmp_path / name)
    frames = list(Reader(tmp_path / name))
    assert info.rate == NTSC
    assert [frame.time for frame in frames] == [k / NTSC for k in range(20)]
    assert [clips.index_of(frame.image) for frame in frames] == list(range(20))
    slack = Fraction(1, 1000) if name.endswith(("mkv", "webm")) else 0
    assert abs(info.duration - 20 / NTSC) <= slack
    assert capfd.readouterr() == ("", "")


def test_lossless_is_lossless(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 21, 34, 3), dtype=np.uint8)
    with Writer(tmp_path / "out.mkv", size_hw=(21, 34), rate=Fraction(25), codec="ffv1") as writer:
        for image in noise:
            writer.write(image)
    assert np.array_equal([frame.image for frame in Reader(tmp_path / "out.mkv")], noise)


@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_variable_times_are_kept_exactly(tmp_path: Path, name: str) -> None:
    source = clips.variable_clip(tmp_path / "clip.mp4")
    info = copy_clip(source, tmp_path / name)
    result = Reader(tmp_path / name)
    assert [frame.time for frame in result] == clips.variable_times(12)
    assert result.info.duration == info.duration
    assert result.info.variable_rate


def test_variable_times_in_matroska_are_kept_to_the_millisecond(tmp_path: Path) -> None:
    source = clips.variable_clip(tmp_path / "clip.mp4")
    copy_clip(source, tmp_path / "out.mkv")
    times = [frame.time for frame in Reader(tmp_path / "out.mkv")]
    assert max(abs(a - b) for a, b in zip(times, clips.variable_times(12), strict=True)) <= Fraction(1, 1000)


def test_a_constant_rate_comes_back_exact_from_the_milliseconds_of_matroska(tmp_path: Path) -> None:
    source = clips.ntsc_clip(tmp_path / "clip.mkv", frames=20)
    copy_clip(source, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    assert (info.rate, info.duration, info.variable_rate) == (NTSC, 20 / NTSC, False)


def test_times_that_do_not_rise_are_moved_by_one_tick(tmp_path: Path) -> None:
    with Writer(tmp_path / "out.mp4", size_hw=(16, 16), rate=Fraction(25)) as writer:
        for time in (Fraction(5), Fraction(5), Fraction(126, 25)):
            writer.write(np.zeros((16, 16, 3), np.uint8), time=time)
    assert [frame.time for frame in Reader(tmp_path / "out.mp4")] == [0, Fraction(1, 10000), Fraction(1, 25)]


@pytest.mark.parametrize("codec", ["h264", "vp9", "av1", "hevc"])
@pytest.mark.parametrize("colour", [(200, 30, 40), (20, 180, 60), (10, 20, 210), (255, 255, 255), (0, 0, 0)])
def test_flat_colours_come_back(tmp_path: Path, codec: str, colour: tuple[int, int, int]) -> None:
    with Writer(tmp_path / "out.mp4", size_hw=(64, 80), rate=Fraction(25), codec=codec) as writer:
        for _ in range(3):
            writer.write(np.full((64, 80, 3), colour, np.uint8))
    images = [frame.image.astype(float) for frame in Reader(tmp_path / "out.mp4")]
    assert np.abs(np.mean(images, axis=(0, 1, 2)) - colour).max() < 3
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_range) == (1, 1)
        assert (context.color_primaries, context.color_trc) == (1, 1)


@pytest.mark.parametrize(
    ("name", "codec", "size_hw"),
    [
        *[
            ("out.mp4", "h264", size)
            for size in ((1, 1), (1, 2), (3, 5), (47, 63), (48, 63), (47, 64), (2, 2))
        ],
        *[("out.webm", "vp9", size) for size in ((1, 1), (3, 5), (47, 63))],
        *[("out.mp4", "av1", size) for size in ((16, 17), (47, 63))],
        *[("out.mp4", "hevc", size) for size in ((65, 64), (67, 83))],
        *[("out.mkv", "ffv1", size) for size in ((1, 1), (47, 63))],
    ],
)
def test_any_size_is_kept_exactly(tmp_path: Path, name: str, codec: str, size_hw: tuple[int, int]) -> None:
    with Writer(tmp_path / name, size_hw=size_hw, rate=Fraction(25), codec=codec) as writer:
        for _ in range(3):
            writer.write(np.full((*size_hw, 3), 100, np.uint8))
    frames = list(Reader(tmp_path / name))
    assert [frame.image.shape for frame in frames] == [(*size_hw, 3)] * 3
    assert abs(frames[0].image.mean() - 100) < 3


def test_even_sizes_get_the_chroma_that_all_players_know(tmp_path: Path) -> None:
    with Writer(tmp_path / "out.mp4", size_hw=(16, 16), rate=Fraction(25)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def write_anamorphic(path: Path, codec: VideoCodec, aspect: Fraction) -> None:
    with Writer(path, size_hw=(64, 66), rate=Fraction(25), codec=codec, pixel_aspect=aspect) as writer:
        for level in (0, 90):
            writer.write(np.full((64, 66, 3), level, np.uint8))


@pytest.mark.parametrize("name", ["a.mp4:h264", "a.mov:hevc", "a.mp4:vp9", "a.mp4:av1", "a.mkv:h264"])
def test_pixel_aspect_is_carried(tmp_path: Path, name: str) -> None:
    name, codec = name.split(":")
    write_anamorphic(tmp_path / name, cast(VideoCodec, codec), Fraction(128, 117))
    assert probe(tmp_path / name).pixel_aspect == Fraction(128, 117)


@pytest.mark.parametrize("name", ["a.mkv:ffv1", "a.mkv:vp9", "a.webm:vp9", "a.webm:av1"])
def test_matroska_says_the_shape_of_pixels_in_its_header(tmp_path: Path, name: str) -> None:
    name, codec = name.split(":")
    write_anamorphic(tmp_path / name, cast(VideoCodec, codec), Fraction(128, 117))
    # 66 pixels of 128:117 are 72.2 wide on the screen, which the header holds as 72.
    assert probe(tmp_path / name).pixel_aspect == Fraction(72, 66)
    # The demuxer compares the checksum of the tracks when it is told to.
    with av.open(str(tmp_path / name), options={"err_detect": "crccheck+explode"}) as container:
        track = container.streams.video[0]
        assert "title" not in track.metadata
        levels = [frame.to_ndarray(format="gray").mean() for frame in container.decode(track)]
    assert len(levels) == 2
    assert levels[0] + 50 < levels[1]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_shortest_hevc_has_its_times(tmp_path: Path, frames: int) -> None:
    for _ in range(3):  # what was wrong was memory never written: sometimes it happened to be right
        with Writer(tmp_path / "a.mp4", size_hw=(64, 64), rate=Fraction(25), codec="hevc") as writer:
            for level in range(frames):
                writer.write(np.full((64, 64, 3), 60 * level, np.uint8))
        assert [frame.time * 25 for frame in Reader(tmp_path / "a.mp4")] == list(range(frames))


def test_square_pixels_and_absurd_ones_in_matroska(tmp_path: Path) -> None:
    for aspect in (Fraction(1), Fraction(10**6), Fraction(1, 10**6)):
        write_anamorphic(tmp_path / "a.mkv", "ffv1", aspect)
        assert len(list(Reader(tmp_path / "a.mkv"))) == 2
    with pytest.raises(UsageError, match="above 0"):
        write_anamorphic(tmp_path / "b.mkv", "ffv1", Fraction(0))


def test_grey_and_sixteen_bit_arrays_are_written(tmp_path: Path) -> None:
    with Writer(tmp_path / "out.mkv", size_hw=(4, 6), rate=Fraction(25), codec="ffv1") as writer:
        writer.write(np.full((4, 6), 77, np.uint8))
        writer.write(np.full((4, 6, 3), 65535, np.uint16))
        with pytest.raises(ValueError, match="expected"):
            writer.write(np.zeros((5, 6, 3), np.uint8))
        with pytest.raises(ValueError, match="expected"):
            writer.write(np.zeros((4, 6, 3), np.float32))
    assert [int(frame.image.max()) for frame in Reader(tmp_path / "out.mkv")] == [77, 255]


def test_names_with_special_characters_are_only_names(tmp_path: Path) -> None:
    for name in ("a%03d.mp4", "http:b.mp4", "c ?#&.mp4", "-d.mp4", "concat:e|f.mkv"):
        with Writer(tmp_path / name, size_hw=(16, 16), rate=Fraction(25)) as writer:
            writer.write(np.zeros((16, 16, 3), np.uint8))
        assert len(list(Reader(tmp_path / name))) == 1


# Sound


@pytest.mark.parametrize("name", ["out.mp4", "out.mov"])
def test_sound_is_copied_bit_by_bit_and_in_step(tmp_path: Path, name: str) -> None:
    source = clips.sound_clip(tmp_path / "clip.mp4", frames=20)
    copy_clip(source, tmp_path / name)
    before, after = sound_packets(source), sound_packets(tmp_path / name)
    assert [data for _, data in after] == [data for _, data in before]
    assert [time for time, _ in after] == [time for time, _ in before]


def test_sound_in_matroska_does_not_delay_the_pictures(tmp_path: Path) -> None:
    source = clips.sound_clip(tmp_path / "clip.mp4", frames=20)
    copy_clip(source, tmp_path / "out.mkv")
    heard = {data: time for time, data in sound_packets(source) if time >= 0}
    for time, data in sound_packets(tmp_path / "out.mkv"):
        assert abs(heard[data] - time) <= Fraction(1, 1000)
    assert probe(tmp_path / "out.mkv").start_time == 0


def test_a_cut_clip_gets_the_sound_of_its_part(tmp_path: Path) -> None:
    source = clips.sound_clip(tmp_path / "clip.mp4", frames=60)
    reader = Reader(source, start=0.5, end=1.2)
    with Writer(
        tmp_path / "out.mp4", size_hw=(48, 64), rate=NTSC, audio_from=source, audio_end=1.2
    ) as writer:
        first = None
        for frame in reader:
            first = frame.time if first is None else first
            writer.write(frame.image, time=frame.time)
    assert first is not None
    wanted = {data: time - first for time, data in sound_packets(source) if first <= time < Fraction("1.2")}
    got = {data: time for time, data in sound_packets(tmp_path / "out.mp4")}
    assert got.keys() == wanted.keys()
    assert max(abs(got[data] - wanted[data]) for data in got) <= Fraction(1, 48000)
    assert next(iter(Reader(tmp_path / "out.mp4"))).time == 0


def test_sound_that_webm_cannot_hold_becomes_opus_with_a_note(tmp_path: Path) -> None:
    source = clips.sound_clip(tmp_path / "clip.mp4", frames=30)
    with Writer(tmp_path / "out.webm", size_hw=(48, 64), rate=NTSC, audio_from=source) as writer:
        for frame in Reader(source):
            writer.write(frame.image, time=frame.time)
    assert writer.note is not None
    assert "re-encoded as opus" in writer.note
    samples = decoded_sound(tmp_path / "out.webm")[4800:43200]
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert abs(spectrum.argmax() * 48000 / len(samples) - 440) < 3
    assert 0.15 < np.abs(samples).max() < 0.45


def test_a_clip_without_sound_stays_silent(tmp_path: Path) -> None:
    source = clips.ntsc_clip(tmp_path / "clip.mp4", frames=6)
    copy_clip(source, tmp_path / "out.mp4")
    assert not probe(tmp_path / "out.mp4").has_audio


# Nothing half-written


def leftovers(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write_and_raise(path: Path, error: type[BaseException]) -> None:
    with Writer(path, size_hw=(16, 16), rate=Fraction(25)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_nothing_and_keeps_the_older_file(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"older")
    with pytest.raises(error):
        write_and_raise(path, error)
    assert leftovers(tmp_path) == ["out.mp4"]
    assert path.read_bytes() == b"older"


def test_no_frame_at_all_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="no frame"),
        Writer(tmp_path / "a.mp4", size_hw=(16, 16), rate=Fraction(25)),
    ):
        pass
    assert leftovers(tmp_path) == []


def test_what_cannot_be_written_is_said_before_the_first_frame(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_bytes(b"older")
    sizes = {"size_hw": (16, 16), "rate": Fraction(25)}
    with (
        pytest.raises(OutputError, match="--overwrite"),
        Writer(tmp_path / "old.mp4", **sizes, overwrite=False),
    ):
        pass
    with pytest.raises(OutputError), Writer(tmp_path / "old.mp4" / "new.mp4", **sizes):
        pass
    with pytest.raises(UsageError, match="ffv1"), Writer(tmp_path / "new.mp4", **sizes, codec="ffv1"):
        pass
    for codec in ("hevc", "av1"):
        with pytest.raises(UsageError, match="8x4"):
            Writer(tmp_path / "new.mp4", size_hw=(4, 8), rate=Fraction(25), codec=codec)
    with (
        pytest.raises(OutputError, match="libx264 cannot write 20000x2"),
        Writer(tmp_path / "new.mp4", size_hw=(2, 20000), rate=Fraction(25)),
    ):
        pass
    with pytest.raises(InputError), Writer(tmp_path / "new.mp4", **sizes, audio_from=tmp_path / "none.mp4"):
        pass
    with pytest.raises(UsageError, match="suffix"):
        Writer(tmp_path / "new.txt", **sizes)
    with pytest.raises(UsageError, match="codec"):
        Writer(tmp_path / "new.mp4", **sizes, codec="divx")
    assert leftovers(tmp_path) == ["old.mp4"]


FULL_DISK = """
import resource, sys
from fractions import Fraction
from pathlib import Path
from typing import cast
import numpy as np
from kinema.errors import OutputError
from kinema.io.video import Writer
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
try:
    with Writer(Path(sys.argv[1]), size_hw=(96, 128), rate=Fraction(25)) as writer:
        for k in range(40):
            writer.write(np.roll(noise, k, axis=1))
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_python(FULL_DISK, str(tmp_path / "out.mp4"))
    assert "out.mp4 cannot be written" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert leftovers(tmp_path) == []
