"""Learning rates as closed-form functions of the step: a resumed run cannot get them wrong.

Every function takes the step from 0, the one that is about to be done, and knows nothing of the steps before.
No torch is imported here.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from kinema.engine.config import LoopConfig
from kinema.engine.patterns import numbers, pairs

Shape = Literal["exponential", "linear", "cosine"]


def rate_at(config: LoopConfig, step: int) -> float:
    """The rate that a run's settings give a step.

    Args:
        config: of the run.
        step: from 0.

    Returns:
        The rate, 0 or more.
    """
    peak, rise = config.learning_rate, warmup(step, steps=config.warmup_steps)
    match config.schedule:
        case "constant":
            return peak
        case "multistep":
            milestones, factors = _parts(config.milestones, config.milestone_factor)
            return rise * peak * multistep(step, milestones=milestones, factors=factors)
        case "onecycle":
            return one_cycle(
                step,
                peak=peak,
                warmup_steps=config.warmup_steps,
                total_steps=config.steps,
                shape=config.anneal,
                start_divisor=config.start_divisor,
                end_divisor=config.end_divisor,
            )
        case "cosine":
            periods = [int(period) for period in numbers(config.periods)]
            weights = numbers(config.period_weights) or [1.0] * len(periods)
            restarts = cosine_restarts if config.restarts == "basicsr" else cosine_restarts_ascend
            return rise * restarts(
                step, peak=peak, periods=periods, weights=weights, lowest=config.lowest_rate
            )
        case "triangular2":
            return triangular2(step, low=config.lowest_rate, high=peak, half_cycle=config.half_cycle)
        case "decay":
            fall = late_decay(step, start=config.decay_from, span=config.decay_span, shape=config.decay_shape)
            return rise * peak * fall
    return warmup_stable_decay(
        step,
        peak=peak,
        warmup_steps=config.warmup_steps,
        total_steps=config.steps,
        decay_steps=config.decay_steps,
    )


def warmup(step: int, *, steps: int) -> float:
    """A linear rise.

    Args:
        step: from 0.
        steps: it is whole from this step on; 0 for no rise.

    Returns:
        The part of the rate, more than 0, at most 1.
    """
    return min(1.0, (step + 1) / (steps + 1))


def warmup_stable_decay(
    step: int, *, peak: float, warmup_steps: int, total_steps: int, decay_steps: int
) -> float:
    """A rate that rises, stays, and falls at the very end (Hu et al. 2024, MiniCPM, section 4).

    The constant part has no length of its own, so it can be continued whenever there is time; a branch with a
    short decay makes a release out of it. The fall is ``1 - sqrt(t)``, the best of the shapes compared by
    Hägele et al. 2024 (Scaling laws beyond fixed training durations, section 3).

    Args:
        step: from 0.
        peak: the constant rate.
        warmup_steps: the rate is whole from this step on.
        total_steps: where the fall ends.
        decay_steps: how long the fall is; 0 for none.

    Returns:
        The rate of this step; more than 0 for every step before `total_steps`.
    """
    rise = warmup(step, steps=warmup_steps)
    into_decay = step + 1 - (total_steps - decay_steps)
    if decay_steps == 0 or into_decay <= 0:
        return peak * rise
    return peak * rise * max(0.0, 1.0 - math.sqrt(into_decay / (decay_steps + 1)))


def multistep(step: int, *, milestones: Sequence[int], factors: Sequence[float]) -> float:
    """Constant parts, as in Caffe (PWC-Net, section 4; PWC-Net+ restarts from a next base, too).

    tfoptflow changes the rate one step after its boundaries: give it ``boundary + 1``.

    Args:
        step: from 0.
        milestones: the first step of each part but the first, rising.
        factors: of each part, one more than milestones.

    Returns:
        The factor of the part that the step lies in.
    """
    return factors[bisect.bisect_right(milestones, step)]


def one_cycle(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    total_steps: int,
    shape: Literal["linear", "cosine"] = "linear",
    start_divisor: float = 25.0,
    end_divisor: float = 1e4,
) -> float:
    """One rise and one long fall (Smith and Topin 2018, Super-convergence), as torch's ``OneCycleLR``.

    Args:
        step: from 0.
        peak: reached at step ``warmup_steps - 1``.
        warmup_steps: of the rise; torch's ``pct_start * total_steps``.
        total_steps: of rise and fall.
        shape: of both.
        start_divisor: the first rate is ``peak / start_divisor``.
        end_divisor: the last rate, of step ``total_steps - 1``, is the first one over it.

    Returns:
        The rate of this step; after the last one, the last rate.
    """
    first, top, last = peak / start_divisor, max(warmup_steps - 1, 0), max(total_steps - 1, 1)
    if step <= top and warmup_steps > 0:
        return _between(first, peak, step / top if top else 1.0, shape=shape)
    return _between(peak, first / end_divisor, min(1.0, (step - top) / max(last - top, 1)), shape=shape)


def cosine_restarts(
    step: int, *, peak: float, periods: Sequence[int], weights: Sequence[float], lowest: float
) -> float:
    """Falls along half a cosine, with restarts, as BasicSR trains EDVR (``CosineAnnealingRestartLR``).

    A period ends on its right border, where the rate is `lowest`; the next one begins a step later.

    Args:
        step: from 0.
        peak: where a period of weight 1 begins.
        periods: their lengths.
        weights: of the height above `lowest`, one per period.
        lowest: the rate at a period's end.

    Returns:
        The rate of this step; after the last period, `lowest`.
    """
    start = 0
    for length, weight in zip(periods, weights, strict=True):
        if step <= start + length:
            return lowest + weight * 0.5 * (peak - lowest) * (1 + math.cos(math.pi * (step - start) / length))
        start += length
    return lowest


def cosine_restarts_ascend(
    step: int, *, peak: float, periods: Sequence[int], weights: Sequence[float], lowest: float
) -> float:
    """The same as EDVR's Ascend port has it: borders belong to the next period, weights scale `lowest` too.

    Args:
        step: from 0.
        peak: where a period of weight 1 begins.
        periods: their lengths.
        weights: of the whole rate, one per period.
        lowest: the rate at the end of a period of weight 1.

    Returns:
        The rate of this step; after the last period, its lowest rate.
    """
    start, share = 0, lowest / peak
    for length, weight in zip(periods, weights, strict=True):
        if step < start + length:
            fall = 0.5 * (1 + math.cos(math.pi * (step - start) / length))
            return weight * peak * ((1 - share) * fall + share)
        start += length
    return weights[-1] * lowest


def triangular2(step: int, *, low: float, high: float, half_cycle: int) -> float:
    """Triangles, each half as high as the one before (Smith 2017, Cyclical learning rates, section 3.2).

    Args:
        step: from 0.
        low: where each triangle begins and ends.
        high: the top of the first.
        half_cycle: steps from `low` to the top.

    Returns:
        The rate of this step.
    """
    cycle = step // (2 * half_cycle) + 1
    height = max(0.0, 1.0 - abs(step / half_cycle - 2 * cycle + 1))
    return low + (high - low) * height / 2.0 ** (cycle - 1)


def late_decay(step: int, *, start: int, span: int, shape: Shape) -> float:
    """A rate that is whole until late, as UFlow's flags have it (``lr_decay_after_num_steps`` and its like).

    Args:
        step: from 0.
        start: the first step that is less than whole is ``start``.
        span: exponential: steps to a half, to a quarter, ...; linear, cosine: steps to zero.
        shape: of the fall.

    Returns:
        The part of the rate, 0 to 1.
    """
    passed = max(step - start + 1, 0) / span
    if shape == "exponential":
        return math.pow(0.5, passed)
    return _between(1.0, 0.0, min(passed, 1.0), shape=shape)


def _between(begin: float, end: float, part: float, *, shape: str) -> float:
    """From `begin` (part 0) to `end` (part 1)."""
    if shape == "cosine":
        return end + (begin - end) * 0.5 * (1 + math.cos(math.pi * part))
    return begin + (end - begin) * part


@lru_cache(maxsize=16)
def _parts(text: str, factor: float) -> tuple[tuple[int, ...], tuple[float, ...]]:
    given = pairs(text, steps=True)
    factors = itertools.accumulate(
        (own for _, own in given), lambda before, own: before * factor if own is None else own, initial=1.0
    )
    return tuple(int(name) for name, _ in given), tuple(factors)
