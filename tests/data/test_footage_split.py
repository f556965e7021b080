"""Held-out blocks: contiguous, a second apart from all that is learned from."""

from pathlib import Path

import numpy as np
import pytest

from kinema.data.footage_clips import FootageClip
from kinema.data.footage_split import IMAGES_PER_SECOND, split_footage
from kinema.errors import InputError


def clip(frames, *, name="clip", cuts=(), duplicates=()):
    return FootageClip(name, Path(name), frames, tuple(duplicates), tuple(cuts))


def numbers(stretches, name="clip"):
    found = [s.frames for s in stretches if s.clip.name == name]
    return set(np.concatenate(found).tolist()) if found else set()


@pytest.mark.parametrize("seconds", [8, 30, 61, 300])
def test_both_parts_are_a_second_apart_and_share_nothing(seconds):
    split = split_footage([clip(round(seconds * IMAGES_PER_SECOND))])
    training, held = numbers(split.training), numbers(split.held_out)
    nearest = min(abs(a - b) for a in training for b in held)
    assert nearest > IMAGES_PER_SECOND
    assert 0.15 < len(held) / (seconds * IMAGES_PER_SECOND) < 0.25
    assert len(training) > len(held)


def test_held_out_frames_are_blocks_not_single_frames():
    split = split_footage([clip(1000)])
    assert all(np.all(np.diff(stretch.frames) == 1) for stretch in split.held_out)
    assert all(len(stretch.frames) > IMAGES_PER_SECOND for stretch in split.held_out)
    assert len(split.held_out) == 2  # 40 seconds: one per 20


def test_no_stretch_reaches_across_a_cut_and_repeats_are_left_out():
    split = split_footage([clip(250, cuts=[50, 120, 230], duplicates=[10, 11, 60])])
    stretches = (*split.training, *split.held_out)
    for border in (50, 120, 230):
        assert not any(s.frames[0] < border <= s.frames[-1] for s in stretches)
    assert not {10, 11, 60} & numbers(stretches)
    assert any("3 cuts" in note for note in split.notes)
    assert any("3 of 250" in note for note in split.notes)


def test_stride_and_span_are_kept():
    split = split_footage([clip(500)], stride=3, span_seconds=(4.0, 16.0))
    both = numbers(split.training) | numbers(split.held_out)
    assert min(both) >= 100
    assert max(both) < 400
    assert all(np.all(np.diff(stretch.frames) == 3) for stretch in split.training)


def test_short_clips_are_held_out_whole():
    clips = [clip(20, name=f"clip{number}") for number in range(7)]
    split = split_footage(clips)
    assert {s.clip.name for s in split.held_out} == {"clip1", "clip6"}
    assert {s.clip.name for s in split.training}.isdisjoint({"clip1", "clip6"})


def test_one_short_clip_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"0\.8 s of usable footage in 1 clips cannot be split") as caught:
        split_footage([clip(20)])
    assert "\n" not in str(caught.value)
