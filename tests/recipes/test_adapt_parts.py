"""The score that chooses, and when a run ends."""

import time

import pytest

from kinema.recipes.adapt import crop_for
from kinema.recipes.adapt_task import Patience
from kinema.recipes.adapt_validation import score


def test_the_score_is_the_mean_of_what_is_left_or_the_worse_of_both():
    start = {"photometric": 2.0, "rewarped_epe": 4.0}
    assert score(start, start) == pytest.approx(1.0)
    assert score({"photometric": 1.0, "rewarped_epe": 4.0}, start) == pytest.approx(0.5**0.5)
    assert score({"photometric": 0.5, "rewarped_epe": 4.4}, start) == pytest.approx(1.1)


def test_a_run_ends_when_its_minutes_are_over_earlier_parts_included():
    patience = Patience(minutes=1.0, spent=50.0, reserve=5.0)
    assert patience.over() == ""
    patience.spent = 56.0
    assert "1 minutes are over" in patience.over()
    assert Patience(minutes=None, spent=1e9).over() == ""


def test_a_run_ends_after_validations_that_bring_nothing():
    patience = Patience(rounds=2)
    for value in (0.9, 0.8, 0.85, 0.85, 0.81):
        assert patience.over() == ""
        patience.look({"score": value})
    assert "no better score in 2" in patience.over()
    assert patience.best == 0.8


def test_elapsed_goes_on():
    patience = Patience(spent=10.0, began=time.monotonic() - 3)
    assert patience.elapsed == pytest.approx(13, abs=0.5)


@pytest.mark.parametrize(
    ("size_hw", "model", "expected"),
    [
        ((360, 640), "uflow", (256, 320)),
        ((272, 640), "pwcnet", (256, 320)),
        ((144, 176), "uflow", (128, 160)),
        ((144, 176), "pwcnet", (128, 128)),
        ((40, 50), "uflow", (64, 64)),
    ],
)
def test_samples_fit_in_the_pictures(size_hw, model, expected):
    assert crop_for(size_hw, model) == expected
