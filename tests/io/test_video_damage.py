"""Videos that are missing, empty, cut or damaged: one line that says what to do, and silence from FFmpeg."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from helpers import clips
from helpers.video_checks import message, run_python
from kinema.errors import InputError, UsageError
from kinema.io.video import Reader, probe
from kinema.io.video.cut import missing_bytes

NTSC = Fraction(30000, 1001)


def test_missing_empty_text_and_sound_only_are_plain_errors(tmp_path: Path) -> None:
    for path, word in [
        (tmp_path / "none.mp4", "no such file"),
        (clips.empty_file(tmp_path / "empty.mp4"), "empty"),
        (clips.text_named_video(tmp_path / "text.mp4"), "not a video"),
        (clips.sound_only_clip(tmp_path / "sound.mp4"), "no picture"),
        (tmp_path, "folder"),
    ]:
        with pytest.raises(InputError) as error:
            Reader(path)
        assert word in message(error, path)


def test_a_play_list_under_the_name_of_a_video_is_refused(tmp_path: Path) -> None:
    clips.ntsc_clip(tmp_path / "other.mp4", frames=3)
    for name, text in [
        ("list.mp4", "ffconcat version 1.0\nfile other.mp4\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError):
            probe(tmp_path / name)


def test_a_truncated_file_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = clips.truncated_clip(tmp_path / "clip.mp4")
    assert missing_bytes(path) > 0
    with pytest.raises(InputError) as error:
        Reader(path)
    text = message(error, path)
    assert "truncated" in text
    end = float(text.rsplit("--end ", 1)[1])
    frames = list(Reader(path, end=end))
    assert [clips.index_of(frame.image) for frame in frames] == list(range(len(frames)))
    assert frames[-1].time < end <= frames[-1].time + 1 / NTSC
    with pytest.raises(InputError, match="truncated"):
        Reader(path, end=end + 0.1)


def test_a_truncated_file_without_index_says_so(tmp_path: Path) -> None:
    path = clips.truncated_clip(tmp_path / "clip.mp4", index_first=False)
    with pytest.raises(InputError) as error:
        probe(path)
    assert "truncated" in message(error, path)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm", "clip.avi"])
def test_other_containers_that_are_cut_short_are_noticed(tmp_path: Path, name: str) -> None:
    codec = {"clip.mkv": "libx264", "clip.webm": "libvpx-vp9", "clip.avi": "mpeg4"}[name]
    path = clips.make_clip(tmp_path / name, frames=24, codec=codec)
    assert missing_bytes(path) == 0
    clips.cut_file(path, keep=0.7)
    with pytest.raises(InputError) as error:
        list(Reader(path))
    assert "truncated" in message(error, path)


def test_damage_in_the_middle_says_where_and_how_to_use_the_rest(tmp_path: Path) -> None:
    path = clips.make_clip(tmp_path / "clip.mp4", frames=24, size_hw=(96, 128))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pos is not None and packet.size]
        target = packets[12]
        data[target.pos : target.pos + target.size] = b"\xff" * target.size
    path.write_bytes(bytes(data))
    seen = []
    with pytest.raises(InputError) as error:
        seen += [clips.index_of(frame.image) for frame in Reader(path)]
    text = message(error, path)
    assert "damaged" in text
    end = float(text.rsplit("--end ", 1)[1])
    assert Fraction(10) / NTSC < end <= Fraction(12) / NTSC
    assert [clips.index_of(frame.image) for frame in Reader(path, end=end)] == list(range(round(end * NTSC)))


def patch_table(path: Path, box: bytes, first: int, value: int) -> None:
    """Set all entries from `first` on of the first ``stsz`` or ``stco`` table in an mp4."""
    data = bytearray(path.read_bytes())
    count = data.index(box) + (
        12 if box == b"stsz" else 8
    )  # after name, version and, in stsz, the common size
    for entry in range(first, int.from_bytes(data[count : count + 4], "big")):
        place = count + 4 + 4 * entry
        data[place : place + 4] = value.to_bytes(4, "big")
    path.write_bytes(bytes(data))


def test_an_mp4_whose_last_frames_vanish_without_a_word_is_an_error(tmp_path: Path) -> None:
    path = clips.make_clip(tmp_path / "clip.mp4", frames=60, rate=Fraction(20))
    patch_table(path, b"stsz", 40, 0)
    reader = Reader(path)
    with pytest.raises(InputError) as error:
        list(reader)
    assert "damaged 2 s after" in message(error, path)
    assert len(list(Reader(path, end=2))) == 40


def test_an_index_that_points_beyond_the_end_is_noticed_when_opening(tmp_path: Path) -> None:
    path = clips.sound_clip(tmp_path / "clip.mp4", frames=60)
    patch_table(path, b"stco", 1, 10**8)
    with pytest.raises(InputError) as error:
        Reader(path)
    assert "truncated (its index points beyond its end)" in message(error, path)


def test_options_out_of_range_are_usage_errors(tmp_path: Path) -> None:
    path = clips.ntsc_clip(tmp_path / "clip.mp4", frames=6)
    for options in (
        {"start": -1},
        {"end": float("nan")},
        {"start": 2, "end": 1},
        {"stride": 0},
        {"start": 1e300},
    ):
        with pytest.raises(UsageError):
            Reader(path, **options)
    with pytest.raises(InputError) as error:
        Reader(path, start=5)
    assert "lasts 0.2 s" in message(error, path)


QUIET = """
import sys
from kinema.errors import InputError
from kinema.io.video import Reader
for name in sys.argv[1:]:
    try:
        for frame in Reader(name): pass
    except InputError as error:
        print("one line")
"""


def test_ffmpeg_does_not_write_to_stderr(tmp_path: Path) -> None:
    cut = clips.truncated_clip(tmp_path / "cut.mp4")
    damaged = clips.ntsc_clip(tmp_path / "damaged.mp4")
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    damaged.write_bytes(bytes(data))
    done = run_python(QUIET, str(cut), str(damaged))
    assert (done.stdout, done.stderr) == ("one line\none line\n", "")
