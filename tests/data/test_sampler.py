"""The order of samples: a pure function of seed and number, exact in its mix, whole in every turn."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data import sampler
from kinema.data.sampler import Draw, Order, composition
from kinema.errors import UsageError


@given(st.integers(1, 40), st.integers(0, 5))
def test_each_turn_holds_every_sample_once(count: int, seed: int):
    order = Order((count,), seed=seed)
    draws = [order.draw(number) for number in range(3 * count)]
    for turn in range(3):
        part = draws[turn * count : (turn + 1) * count]
        assert sorted(draw.index for draw in part) == list(range(count))
        assert {draw.turn for draw in part} == {turn}


def test_turns_and_seeds_differ():
    orders = [
        [Order((50,), seed=s).draw(n + 50 * t).index for n in range(50)] for s in (0, 1) for t in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 4


@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.sampled_from([0.5, 1.0, 2.0, 3.0, 1.25])), min_size=1, max_size=4
    ),
    st.integers(0, 3),
)
def test_mixes_are_exact_and_leave_nothing_out(parts: list[tuple[int, float]], seed: int):
    counts, weights = zip(*parts, strict=True)
    order, shares = Order(counts, weights, seed), composition(weights)
    block = sum(shares)
    draws = [order.draw(number) for number in range(6 * block)]
    for first in range(0, 6 * block, block):
        found = Counter(draw.part for draw in draws[first : first + block])
        assert tuple(found[part] for part in range(len(counts))) == shares
    for part, count in enumerate(counts):
        mine = [draw for draw in draws if draw.part == part]
        assert [draw.turn for draw in mine] == [place // count for place in range(len(mine))]
        assert len(set(mine)) == len(mine)  # within a turn no sample twice
        assert {draw.index for draw in mine[:count]} <= set(range(count))


def test_weights_as_whole_numbers():
    assert composition((2.0, 1.0, 0.5)) == (4, 2, 1)
    assert composition((3.0,)) == (1,)
    assert composition((0.1, 0.2)) == (1, 2)
    long = composition((1.0, np.pi * 1e-3, 1e-9))
    assert min(long) >= 1
    assert long[0] / long[1] == pytest.approx(1 / (np.pi * 1e-3), rel=0.03)


def test_pwcnet_plus_batches():
    """Weights 2, 1, 1: every batch of four holds two, one and one."""
    order = Order((1041, 200, 1000), (2.0, 1.0, 1.0))
    batches = [sorted(order.draw(4 * step + slot).part for slot in range(4)) for step in range(50)]
    assert batches == [[0, 0, 1, 2]] * 50


def test_any_place_is_known_without_the_others():
    order, far = Order((22_872, 40), (1.0, 1.0)), 10**9 + 7
    draw = order.draw(far)
    number = order.generator(draw).integers(2**60)
    for cache in (sampler._turn, sampler._block, sampler.composition):
        cache.cache_clear()
    for place in (far + 30_000, 3, far - 1):
        order.draw(place)
    again = Order((22_872, 40), (1.0, 1.0)).draw(far)
    assert again == draw
    assert order.generator(again).integers(2**60) == number


def test_random_numbers_are_never_the_same_twice():
    """Neither between samples, nor turns, nor parts, nor seeds."""
    draws = [Draw(part, turn, index) for part in range(3) for turn in range(5) for index in range(40)]
    orders = [Order((40,) * 3, seed=seed) for seed in range(3)]
    numbers = [order.generator(draw).integers(2**62) for order in orders for draw in draws]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(
    ("counts", "weights", "words"),
    [
        ((), None, "one sample"),
        ((3, 0), None, "one sample"),
        ((3,), (1.0, 1.0), "weight"),
        ((3,), (0.0,), "weight"),
        ((3,), (float("nan"),), "weight"),
    ],
)
def test_mixes_that_cannot_be(counts, weights, words):
    with pytest.raises(UsageError, match=words):
        Order(counts, weights)
