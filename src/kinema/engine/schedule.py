"""Learning rates as closed-form functions of the step: a resumed run cannot get them wrong."""

from __future__ import annotations

import math


def warmup_stable_decay(
    step: int, *, peak: float, warmup_steps: int, total_steps: int, decay_steps: int
) -> float:
    """A rate that rises, stays, and falls at the very end (Hu et al. 2024, MiniCPM, section 4).

    The constant part has no length of its own, so it can be continued whenever there is time; a branch with a
    short decay makes a release out of it. The fall is ``1 - sqrt(t)``, the best of the shapes compared by
    Hägele et al. 2024 (Scaling laws beyond fixed training durations, section 3).

    Args:
        step: from 0, the step that is about to be done.
        peak: the constant rate.
        warmup_steps: the rate is whole from this step on.
        total_steps: where the fall ends.
        decay_steps: how long the fall is; 0 for none.

    Returns:
        The rate of this step; more than 0 for every step before `total_steps`.
    """
    rise = min(1.0, (step + 1) / (warmup_steps + 1))
    into_decay = step + 1 - (total_steps - decay_steps)
    if decay_steps == 0 or into_decay <= 0:
        return peak * rise
    return peak * rise * max(0.0, 1.0 - math.sqrt(into_decay / (decay_steps + 1)))
