"""Inputs of the command line: pairs, sequences, folders, patterns, videos, and all ways to get them wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers import clips
from kinema.errors import InputError, KinemaError, UsageError
from kinema.io.clips import Clip, natural_key, open_clips


def save(path: Path, *, level: int = 0, size_hw: tuple[int, int] = (6, 8)) -> Path:
    """A small image of one grey level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size_hw, 3), level, np.uint8))
    return path


def folder(path: Path, count: int = 12) -> Path:
    """frame_0.png to frame_N.png, whose level is their number, beside things that are no frames."""
    for number in range(count):
        save(path / f"frame_{number}.png", level=number)
    (path / "notes.txt").write_text("not an image")
    save(path / ".hidden.png", level=200)
    (path / "sub.png").mkdir(exist_ok=True)
    return path


def levels(clip: Clip) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in clip.frames()]


def failure(kind: type[KinemaError], *inputs: Path | str, **options: float) -> str:
    """The one-line message of an error of this kind."""
    with pytest.raises(kind) as error:
        open_clips([str(text) for text in inputs], **options)
    assert "\n" not in str(error.value)
    return str(error.value)


# What the inputs mean


def test_two_images_are_a_pair(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.png", level=3), save(tmp_path / "b.jpg", level=3)
    (clip,) = open_clips([str(b), str(a)])
    assert (clip.kind, clip.name, clip.size_hw, clip.length) == ("pair", "b", (6, 8), 2)
    assert (clip.source, clip.rate) == (None, None)
    frames = list(clip.frames())
    assert [frame.name for frame in frames] == ["b", "a"]
    assert [frame.time for frame in frames] == [0, 1]
    assert frames[0].image.shape == (6, 8, 3)
    assert len(list(clip.frames())) == 2


def test_three_images_are_a_sequence_in_the_order_given(tmp_path: Path) -> None:
    names = [save(tmp_path / f"{level}.png", level=level) for level in (5, 1, 9)]
    (clip,) = open_clips([str(name) for name in names])
    assert (clip.kind, clip.name, clip.length) == ("sequence", "5", 3)
    assert levels(clip) == [5, 1, 9]


def test_a_folder_is_a_sequence_in_natural_order(tmp_path: Path) -> None:
    (clip,) = open_clips([str(folder(tmp_path / "walk"))])
    assert (clip.kind, clip.name, clip.length) == ("sequence", "walk", 12)
    assert levels(clip) == list(range(12))


def test_a_folder_of_two_images_is_a_sequence(tmp_path: Path) -> None:
    (clip,) = open_clips([str(folder(tmp_path / "walk", 2))])
    assert (clip.kind, clip.length) == ("sequence", 2)


def test_patterns_find_sequences(tmp_path: Path) -> None:
    folder(tmp_path / "walk")
    (clip,) = open_clips([str(tmp_path / "walk" / "*.png")])
    assert (clip.kind, clip.name) == ("sequence", "walk")
    assert levels(clip) == list(range(12))
    (some,) = open_clips([str(tmp_path / "walk" / "frame_[135].png")])
    assert levels(some) == [1, 3, 5]
    (all_files,) = open_clips([str(tmp_path / "walk" / "*")])
    assert levels(all_files) == list(range(12))
    (deep,) = open_clips([str(tmp_path / "**" / "frame_?.png")])
    assert levels(deep) == list(range(10))


def test_a_name_with_brackets_that_exists_is_that_file(tmp_path: Path) -> None:
    a, b = save(tmp_path / "frame[1].png", level=1), save(tmp_path / "frame[2].png", level=2)
    save(tmp_path / "frame1.png", level=99)
    (clip,) = open_clips([str(a), str(b)])
    assert clip.kind == "pair"
    assert levels(clip) == [1, 2]
    brackets = folder(tmp_path / "[set]", 3)
    assert levels(open_clips([str(brackets)])[0]) == [0, 1, 2]


def test_a_video_is_itself(tmp_path: Path) -> None:
    path = clips.ntsc_clip(tmp_path / "clip.mp4", frames=12)
    (clip,) = open_clips([str(path)])
    assert (clip.kind, clip.name, clip.source, clip.length) == ("video", "clip", path, 12)
    assert (clip.rate, clip.size_hw, clip.time_base) == (clips.NTSC, (48, 64), Fraction(1, 30000))
    frames = list(clip.frames())
    assert [clips.index_of(frame.image) for frame in frames] == list(range(12))
    assert [frame.name for frame in frames[:3]] == ["000000", "000001", "000002"]
    assert frames[5].time == 5 / clips.NTSC
    assert len(list(clip.frames())) == 12


def test_several_videos_and_folders_are_a_clip_each_with_names_of_their_own(tmp_path: Path) -> None:
    first = clips.ntsc_clip(tmp_path / "clip.mp4", frames=3)
    second = clips.ntsc_clip(tmp_path / "clip.mkv", frames=3)
    third = folder(tmp_path / "other" / "clip", 3)
    found = open_clips([str(first), str(second), str(third)])
    assert [clip.name for clip in found] == ["clip", "clip_2", "clip_3"]
    assert [clip.kind for clip in found] == ["video", "video", "sequence"]


def test_a_folder_or_pattern_of_videos_stands_for_each(tmp_path: Path) -> None:
    for name in ("b10.mp4", "b9.mp4"):
        clips.ntsc_clip(tmp_path / name, frames=3)
    for text in (tmp_path, tmp_path / "*.mp4"):
        found = open_clips([str(text)])
        assert [clip.name for clip in found] == ["b9", "b10"]


def test_suffixes_count_without_regard_to_case(tmp_path: Path) -> None:
    for name in ("A.PNG", "B.PNG"):
        save(tmp_path / name)
    assert open_clips([str(tmp_path)])[0].length == 2


def test_natural_order_is_total_and_stable() -> None:
    names = ["b2", "a10", "a2", "a02", "A3", "a1b10", "a1b9", "a"]
    ordered = [path.name for path in sorted(map(Path, names), key=natural_key)]
    assert ordered == ["a", "a1b9", "a1b10", "a02", "a2", "A3", "a10", "b2"]


# Choosing frames


def test_sequences_are_cut_by_frame_numbers(tmp_path: Path) -> None:
    path = folder(tmp_path / "walk")
    (clip,) = open_clips([str(path)], start=2, end=9, stride=3)
    assert levels(clip) == [2, 5, 8]
    assert [frame.time for frame in clip.frames()] == [2, 5, 8]
    assert clip.length == 3
    assert levels(open_clips([str(path)], end=99)[0]) == list(range(12))


def test_videos_are_cut_by_seconds(tmp_path: Path) -> None:
    path = clips.make_clip(tmp_path / "clip.mp4", frames=20, rate=Fraction(10))
    (clip,) = open_clips([str(path)], start=0.5, end=1.5, stride=4)
    frames = list(clip.frames())
    assert [frame.time for frame in frames] == [Fraction(5, 10), Fraction(9, 10), Fraction(13, 10)]
    assert (clip.length, clip.rate) == (3, Fraction(10, 4))
    assert sum(frame.duration or 0 for frame in frames) == Fraction(12, 10)


@pytest.mark.parametrize(("start", "end", "stride"), [(0.11, 0.5, 1), (0.1001, None, 2), (None, 0.2002, 3)])
def test_the_length_that_is_promised_is_kept(
    tmp_path: Path, start: float | None, end: float | None, stride: int
) -> None:
    path = clips.ntsc_clip(tmp_path / "clip.mp4", frames=24)
    (clip,) = open_clips([str(path)], start=start, end=end, stride=stride)
    assert clip.length == len(list(clip.frames()))


def test_a_cut_of_variable_rate_promises_no_length(tmp_path: Path) -> None:
    path = clips.variable_clip(tmp_path / "clip.mp4")
    assert open_clips([str(path)])[0].length == 12
    assert open_clips([str(path)], start=0.1)[0].length is None


def test_one_frame_is_enough_when_the_caller_says_so(tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", level=7)
    video = clips.one_frame_clip(tmp_path / "b.mp4")
    assert levels(open_clips([str(image)], minimum=1)[0]) == [7]
    assert open_clips([str(video)], minimum=1)[0].length == 1


# Mistakes


def test_no_input(tmp_path: Path) -> None:
    assert "no input" in failure(UsageError)


def test_missing_files_name_what_looks_alike(tmp_path: Path) -> None:
    save(tmp_path / "holiday.png")
    text = failure(InputError, tmp_path / "holliday.png")
    assert "did you mean" in text
    assert str(tmp_path / "holiday.png") in text
    assert "did you mean" not in failure(InputError, tmp_path / "zzz.mp4")
    assert "there is no folder" in failure(InputError, tmp_path / "none" / "a.png")
    assert "nothing matches" in failure(InputError, tmp_path / "*.mp4")
    assert "a" * 50 in failure(InputError, "a" * 5000 + ".png")


def test_unknown_kinds_name_the_accepted_ones(tmp_path: Path) -> None:
    (tmp_path / "paper.pdf").write_text("x")
    (tmp_path / "plain").write_text("x")
    for name in ("paper.pdf", "plain"):
        text = failure(InputError, tmp_path / name)
        assert str(tmp_path / name) in text
        assert ".png" in text
        assert ".mp4" in text


def test_folders_without_frames(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no image and no video" in failure(InputError, tmp_path / "empty")
    save(tmp_path / "one" / "a.png")
    assert "at least two" in failure(InputError, tmp_path / "one")
    assert "only folders match" in failure(InputError, tmp_path / "*")


def test_images_and_videos_do_not_mix(tmp_path: Path) -> None:
    video = clips.ntsc_clip(tmp_path / "clip.mp4", frames=3)
    image = save(tmp_path / "a.png")
    assert "images and other inputs" in failure(UsageError, image, video)
    text = failure(UsageError, tmp_path)
    assert "1 images and 1 videos" in text
    assert "'*.png'" in text


def test_one_image_is_not_enough(tmp_path: Path) -> None:
    text = failure(InputError, save(tmp_path / "a.png"))
    assert "at least two frames" in text
    assert "a.png" in text


def test_different_sizes_are_found_before_anything_is_read(tmp_path: Path) -> None:
    path = folder(tmp_path / "walk")
    odd = save(path / "frame_7.png", size_hw=(6, 9))
    text = failure(InputError, path)
    assert f"{odd} is 9x6" in text
    assert "8x6" in text
    assert open_clips([str(path)], end=7)[0].length == 7


def test_a_header_that_cannot_be_read_is_found_before_anything_else(tmp_path: Path) -> None:
    path = folder(tmp_path / "walk")
    (path / "frame_5.png").write_bytes(b"not a png at all")
    assert "frame_5.png" in failure(InputError, path)


def test_one_frame_videos_and_short_parts(tmp_path: Path) -> None:
    one = clips.one_frame_clip(tmp_path / "one.mp4")
    assert "one frame" in failure(InputError, one)
    unknown = clips.make_clip(tmp_path / "one.mkv", frames=1)
    (clip,) = open_clips([str(unknown)])
    with pytest.raises(InputError, match="one frame"):
        list(clip.frames())
    path = clips.make_clip(tmp_path / "clip.mp4", frames=20, rate=Fraction(10))
    assert "one frame" in failure(InputError, path, start=1.9)
    assert "no frame" in failure(InputError, path, start=7)


def test_broken_videos_are_found_when_opening(tmp_path: Path) -> None:
    for path in (
        clips.text_named_video(tmp_path / "text.mp4"),
        clips.empty_file(tmp_path / "empty.mp4"),
        clips.truncated_clip(tmp_path / "cut.mp4"),
    ):
        assert str(path) in failure(InputError, path)


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    path = folder(tmp_path / "walk")
    pair = [path / "frame_0.png", path / "frame_1.png"]
    assert "--stride" in failure(UsageError, path, stride=0)
    assert "--start" in failure(UsageError, path, start=-1)
    assert "--end" in failure(UsageError, path, start=5, end=5)
    assert "whole numbers" in failure(UsageError, path, start=0.5)
    assert "pair" in failure(UsageError, *pair, start=1)
    assert "0 of 12" in failure(InputError, path, start=50)
