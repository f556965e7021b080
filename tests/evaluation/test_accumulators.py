import random

import pytest

from kinema.evaluation.accumulators import Accumulator, Count, Tally


def filled(tallies):
    scores = Accumulator()
    for name, tally in tallies:
        scores.update(name, {"epe": tally})
    return scores


def test_per_pixel_and_per_image_by_hand():
    # 10 pixels of mean 1 and 90 pixels of mean 3: (10 + 270) / 100 against (1 + 3) / 2.
    scores = filled([("small", Tally(10.0, 10)), ("large", Tally(270.0, 90))])
    assert scores.result("epe", averaging="per-pixel") == 2.8
    assert scores.result("epe", averaging="per-image") == 2.0
    assert scores.count("epe") == Count(pixels=100, images=2)


def test_an_image_without_scored_pixels_enters_neither_average():
    scores = filled([("a", Tally(6.0, 3)), ("empty", Tally(0.0, 0))])
    assert scores.result("epe", averaging="per-image") == 2.0
    assert scores.result("epe", averaging="per-pixel") == 2.0
    assert scores.count("epe").images == 1


def test_nothing_scored_is_none_not_a_number():
    scores = filled([("empty", Tally(0.0, 0))])
    assert scores.result("epe", averaging="per-pixel") is None
    assert scores.result("absent", averaging="per-image") is None
    assert scores.count("absent") == Count(0, 0)


def test_grouping_and_order_change_not_one_bit():
    rng = random.Random(0)
    tallies = [
        (f"{i}", Tally(rng.random() * 10.0 ** rng.randint(-8, 8), rng.randint(1, 999))) for i in range(400)
    ]
    whole = filled(tallies)
    shuffled = rng.sample(tallies, len(tallies))
    merged = Accumulator()
    for begin in range(0, 400, 7):  # the last share is smaller
        merged.merge(filled(shuffled[begin : begin + 7]))
    for averaging in ("per-pixel", "per-image"):
        assert merged.result("epe", averaging=averaging) == whole.result("epe", averaging=averaging)
    assert merged.count("epe") == whole.count("epe")


def test_nan_and_infinity_stay_visible():
    scores = filled([("a", Tally(1.0, 1)), ("b", Tally(float("nan"), 1))])
    result = scores.result("epe", averaging="per-image")
    assert result is not None
    assert result != result
    assert filled([("a", Tally(float("inf"), 1))]).result("epe", averaging="per-pixel") == float("inf")


def test_an_image_counted_twice_is_an_error():
    scores = filled([("a", Tally(1.0, 1))])
    with pytest.raises(ValueError, match="already"):
        scores.merge(filled([("a", Tally(1.0, 1))]))
