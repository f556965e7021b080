"""Every schedule by numbers worked out by hand, and beside torch's own where torch has it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from pydantic import ValidationError

from kinema.engine.config import LoopConfig
from kinema.engine.schedule import (
    cosine_restarts,
    cosine_restarts_ascend,
    late_decay,
    multistep,
    one_cycle,
    rate_at,
    triangular2,
    warmup_stable_decay,
)


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


def config(**settings):
    return LoopConfig(**{"warmup_steps": 0, **settings})


def at(settings, *steps):
    return [rate_at(settings, step) for step in steps]


def test_constant_is_constant_from_the_first_step():
    """GeoNet's and TVNet's: also where the settings have a warm-up and a decay for other schedules."""
    settings = LoopConfig(schedule="constant", learning_rate=2e-4, steps=10, warmup_steps=5, decay_steps=5)
    assert at(settings, *range(10)) == [2e-4] * 10


def test_multistep_long_schedule_of_pwcnet():
    """S_long: 1e-4, halved at 400, 600, 800 and 1000 thousand."""
    settings = config(
        schedule="multistep", learning_rate=1e-4, milestones="400000,600000,800000,1000000", steps=1_200_000
    )
    got = at(settings, 0, 399_999, 400_000, 599_999, 600_000, 800_000, 1_000_000, 1_199_999)
    assert got == pytest.approx([1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 1.25e-5, 6.25e-6, 6.25e-6], rel=1e-12)


def test_multistep_that_restarts_from_a_lower_base():
    """PWC-Net+: a stage halves the rate, the next one begins from a lower base."""
    settings = config(
        schedule="multistep", learning_rate=5e-5, milestones="45000,65000:0.25,150000:0.6,195000"
    )
    got = at(settings, 0, 45_000, 65_000, 149_999, 150_000, 194_999, 195_000)
    assert got == pytest.approx([5e-5, 2.5e-5, 1.25e-5, 1.25e-5, 3e-5, 3e-5, 1.5e-5], rel=1e-12)


def test_multistep_as_tfoptflow_has_it():
    """piecewise_constant keeps the old rate on a boundary: its 80k is our 80001."""
    settings = config(
        schedule="multistep", learning_rate=1e-4, milestones="80001,120001,160001", milestone_factor=0.5
    )
    tf = [1e-4, 5e-5, 2.5e-5, 1.25e-5]
    for step in (0, 79_999, 80_000, 80_001, 120_000, 120_001, 160_001):
        boundary = sum(step > b for b in (80_000, 120_000, 160_000))
        assert rate_at(settings, step) == pytest.approx(tf[boundary], rel=1e-12)
    assert multistep(5, milestones=(5,), factors=(1.0, 3.0)) == 3.0


def test_multistep_can_rise_slowly_first():
    settings = LoopConfig(schedule="multistep", learning_rate=1.0, milestones="5", warmup_steps=3)
    assert at(settings, 0, 1, 2, 3, 4, 5) == [0.25, 0.5, 0.75, 1.0, 1.0, 0.5]


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize("total", [40, 100])
def test_one_cycle_is_that_of_torch(shape, total):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-4, total, pct_start=0.05, anneal_strategy={"cosine": "cos"}.get(shape, shape),
        cycle_momentum=False,
    )  # fmt: skip
    settings = LoopConfig(
        schedule="onecycle", learning_rate=4e-4, steps=total, warmup_steps=total // 20, anneal=shape
    )
    for step in range(total):
        assert rate_at(settings, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        if step + 1 < total:
            torchs.step()


def test_one_cycle_by_hand():
    ends = {"start_divisor": 10.0, "end_divisor": 10.0}
    got = [one_cycle(step, peak=1.0, warmup_steps=4, total_steps=10, **ends) for step in range(12)]
    assert got[:4] == pytest.approx([0.1, 0.4, 0.7, 1.0])
    assert got[9] == pytest.approx(0.01)
    assert got[6] == pytest.approx(1 - 0.99 * 3 / 6)
    assert got[10:] == pytest.approx([0.01, 0.01])
    flat = [one_cycle(step, peak=1.0, warmup_steps=0, total_steps=3, **ends) for step in range(3)]
    assert flat == pytest.approx([1.0, 0.505, 0.01])
    assert one_cycle(0, peak=1.0, warmup_steps=1, total_steps=5) == 1.0


def test_cosine_restarts_of_edvr():
    """The checkable numbers of BasicSR's stage 2 of EDVR-L."""
    settings = config(
        schedule="cosine",
        learning_rate=4e-4,
        periods="50000,100000,150000,150000,150000",
        period_weights="1,0.5,0.5,0.5,0.5",
        lowest_rate=1e-7,
        steps=600_000,
    )
    got = at(settings, 0, 25_000, 50_000, 50_001, 225_000, 600_000, 700_000)
    expected = [4e-4, 2.0005e-4, 1e-7, 2.0005e-4, 1.00075e-4, 1e-7, 1e-7]
    assert got == pytest.approx(expected, rel=1e-6)


def test_cosine_restarts_as_the_ascend_port_has_them():
    words = {"peak": 4e-4, "periods": [10, 10], "weights": [1.0, 0.5], "lowest": 1e-7}
    got = [cosine_restarts_ascend(step, **words) for step in (0, 5, 10, 15, 20)]
    # The border belongs to the next period, and its weight scales the lowest rate too.
    assert got == pytest.approx([4e-4, (4e-4 + 1e-7) / 2, 2e-4, (2e-4 + 5e-8) / 2, 5e-8], rel=1e-9)
    basicsr = [cosine_restarts(step, **words) for step in (0, 5, 10, 15, 20)]
    assert basicsr == pytest.approx([4e-4, (4e-4 + 1e-7) / 2, 1e-7, 1e-7 + (4e-4 - 1e-7) / 4, 1e-7])
    named = config(
        schedule="cosine", learning_rate=4e-4, periods="10,10", period_weights="1,0.5", lowest_rate=1e-7
    )
    assert at(named, 10) == pytest.approx([1e-7])
    assert at(named.model_copy(update={"restarts": "ascend"}), 10) == pytest.approx([2e-4])


def test_triangular2_of_tfoptflow():
    settings = config(
        schedule="triangular2", learning_rate=5e-4, lowest_rate=1e-5, half_cycle=20_000, steps=200_000
    )
    got = at(settings, 0, 10_000, 20_000, 30_000, 40_000, 60_000, 80_000, 100_000, 140_000, 180_000)
    top = 4.9e-4
    expected = [0, top / 2, top, top / 2, 0, top / 2, 0, top / 4, top / 8, top / 16]
    assert got == pytest.approx([1e-5 + height for height in expected], rel=1e-9)
    for step in range(0, 200_000, 777):
        cycle = math.floor(1 + step / 40_000)
        published = max(0, 1 - abs(step / 20_000 - 2 * cycle + 1)) / 2 ** (cycle - 1)
        assert triangular2(step, low=1e-5, high=5e-4, half_cycle=20_000) == pytest.approx(
            1e-5 + top * published
        )


def test_late_decay_of_uflow_and_smurf():
    """SMURF: whole for 62500 steps, then a half every 2500."""
    settings = config(schedule="decay", learning_rate=2e-4, decay_from=62_500, decay_span=2_500, steps=75_000)
    got = at(settings, 0, 62_499, 62_500, 64_999, 67_499, 74_999)
    assert got == pytest.approx([2e-4, 2e-4, 2e-4 * 0.5 ** (1 / 2500), 1e-4, 5e-5, 2e-4 / 32], rel=1e-12)
    words = {"start": 10, "span": 4}
    assert [late_decay(step, **words, shape="linear") for step in (9, 10, 11, 12, 13, 99)] == [
        1.0, 0.75, 0.5, 0.25, 0.0, 0.0,
    ]  # fmt: skip
    cosine = [late_decay(step, **words, shape="cosine") for step in (9, 10, 11, 13, 99)]
    assert cosine == pytest.approx([1.0, (math.cos(math.pi / 4) + 1) / 2, 0.5, 0.0, 0.0])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"schedule": "multistep"}, "needs --milestones"),
        ({"schedule": "cosine"}, "needs --periods"),
        ({"schedule": "triangular2"}, "needs --half-cycle"),
        ({"schedule": "decay"}, "needs --decay-span"),
        ({"schedule": "onecycle", "steps": 10, "warmup_steps": 10}, "less than --steps 10"),
        ({"schedule": "cosine", "periods": "5,5", "period_weights": "1"}, "as many numbers"),
        ({"milestones": "5,4"}, "must rise"),
        ({"milestones": "x"}, "STEP"),
        ({"milestones": "5:0"}, "more than 0"),
        ({"periods": "5,-1"}, "more than 0"),
        ({"periods": "5,nan"}, "more than 0"),
        ({"rate_factors": "offset"}, "NAME:FACTOR"),
        ({"rate_factors": ":0.5"}, "NAME:FACTOR"),
        ({"rate_factors": "offset:half"}, "no number"),
        ({"first_only": "*fusion*"}, "need each other"),
        ({"first_only_steps": 5}, "need each other"),
    ],
)
def test_settings_that_say_nothing_are_refused(settings, says):
    with pytest.raises(ValidationError, match=says):
        LoopConfig(**settings)
