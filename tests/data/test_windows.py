import json

import pytest

from kinema.data.windows import BORDERS, centres_inside, window_indices
from kinema.errors import UsageError


@pytest.mark.parametrize(
    ("border", "first", "last"),
    [
        ("replicate", (0, 0, 0, 1, 2), (97, 98, 99, 99, 99)),
        ("reflection", (2, 1, 0, 1, 2), (97, 98, 99, 98, 97)),
        ("reflection_circle", (4, 3, 0, 1, 2), (97, 98, 99, 96, 95)),
        ("circle", (3, 4, 0, 1, 2), (97, 98, 99, 95, 96)),
    ],
)
def test_five_frames_around_the_ends_of_a_hundred(border, first, last):
    assert window_indices(0, 100, frames=5, border=border) == first
    assert window_indices(99, 100, frames=5, border=border) == last
    assert window_indices(50, 100, frames=5, border=border) == (48, 49, 50, 51, 52)


def test_windows_equal_the_published_ones(shared):
    cases = json.loads((shared / "fixtures/edvr/golden_indices.json").read_text())
    assert len(cases) == 168
    for case in cases:
        found = window_indices(case["center"], case["length"], frames=case["num_frames"], border=case["mode"])
        assert list(found) == case["indices"], case


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("frames", [1, 3, 5, 7])
def test_every_window_of_every_short_clip_stays_inside_and_keeps_its_centre(border, frames):
    for length in range(1, 9):
        for centre in range(length):
            found = window_indices(centre, length, frames=frames, border=border)
            assert len(found) == frames
            assert found[frames // 2] == centre
            assert all(0 <= index < length for index in found)


def test_a_clip_too_short_for_the_rule_is_replicated():
    assert window_indices(0, 3, frames=5, border="reflection_circle") == (0, 0, 0, 1, 2)
    assert window_indices(0, 4, frames=5, border="circle") == (0, 0, 0, 1, 2)
    assert window_indices(0, 5, frames=5, border="circle") == (3, 4, 0, 1, 2)
    assert window_indices(1, 2, frames=5, border="reflection") == (0, 0, 1, 1, 1)


def test_intervals_step_over_frames():
    assert window_indices(6, 20, frames=5, interval=3) == (0, 3, 6, 9, 12)
    assert window_indices(2, 20, frames=5, interval=3) == (0, 0, 2, 5, 8)
    assert window_indices(2, 20, frames=5, interval=3, border="reflection") == (4, 1, 2, 5, 8)
    with pytest.raises(UsageError, match="'circle' has no meaning with interval 3"):
        window_indices(2, 20, frames=5, interval=3, border="circle")
    assert window_indices(6, 20, frames=5, interval=3, border="circle") == (0, 3, 6, 9, 12)


def test_centres_inside_leave_room_on_both_sides():
    assert list(centres_inside(7, frames=5)) == [2, 3, 4]
    assert list(centres_inside(7, frames=7)) == [3]
    assert list(centres_inside(6, frames=7)) == []
    assert list(centres_inside(9, frames=3, interval=2)) == [2, 3, 4, 5, 6]
    assert len(centres_inside(100, frames=1)) == 100


@pytest.mark.parametrize(
    ("centre", "length", "frames", "interval", "text"),
    [
        (0, 5, 4, 1, "no middle"),
        (0, 5, -1, 1, "no middle"),
        (5, 5, 3, 1, "outside a clip of 5 frames"),
        (-1, 5, 3, 1, "outside a clip of 5 frames"),
        (0, 0, 3, 1, "outside a clip of 0 frames"),
        (0, 5, 3, 0, "interval 0"),
    ],
)
def test_what_is_no_window_is_refused(centre, length, frames, interval, text):
    with pytest.raises(UsageError, match=text):
        window_indices(centre, length, frames=frames, interval=interval)
