from __future__ import annotations

import itertools
import math

import pytest

from kinema.engine.schedule import warmup_stable_decay


def rates(total, *, warmup=0, decay=0, peak=1.0):
    return [
        warmup_stable_decay(s, peak=peak, warmup_steps=warmup, total_steps=total, decay_steps=decay)
        for s in range(total)
    ]


def test_the_three_parts_by_hand():
    got = rates(12, warmup=3, decay=3, peak=8.0)
    assert got[:9] == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0]
    assert got[9:] == pytest.approx([8 * (1 - math.sqrt(k / 4)) for k in (1, 2, 3)])


def test_without_warmup_and_decay_it_is_constant():
    assert rates(5, peak=4e-4) == [4e-4] * 5


def test_the_rate_is_never_zero_and_falls_to_the_end():
    got = rates(200, warmup=20, decay=50)
    assert min(got) > 0
    assert all(a > b for a, b in itertools.pairwise(got[150:]))
    assert all(a <= b for a, b in itertools.pairwise(got[:150]))


def test_a_longer_run_has_the_same_beginning():
    assert rates(100, warmup=10, decay=20)[:80] == rates(300, warmup=10, decay=20)[:80]


def test_all_decay():
    got = rates(4, decay=4)
    assert got == pytest.approx([1 - math.sqrt(k / 5) for k in (1, 2, 3, 4)])
