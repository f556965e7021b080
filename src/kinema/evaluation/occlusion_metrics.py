"""How well hidden points are found: the best F-score over thresholds, pooled over a data set (UFlow)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kinema.data.sample import FlowTruth
from kinema.errors import InputError
from kinema.evaluation.accumulators import Accumulator, Tally
from kinema.evaluation.records import Fact

THRESHOLDS = tuple(float(threshold) for threshold in np.linspace(0, 1, 40))
"""A point counts as hidden where the estimate is above the threshold."""

F_MAX, BEST_THRESHOLD = "occl_f_max", "best_occl_thresh"

OCCLUSION_METRICS: dict[str, Fact] = {
    F_MAX: Fact("", "F-score of hidden points at the best of 40 thresholds, all pixels pooled"),
    BEST_THRESHOLD: Fact("", "the threshold of that F-score"),
}
"""Both metrics by the name they have in JSON results; F-scores are between 0 and 1."""

_AT_THRESHOLD = "occl_f_at_{}"


def occlusion_tallies(occluded: np.ndarray | None, truth: FlowTruth) -> dict[str, Tally]:
    """Compare an estimate of what is hidden with the data set's mask.

    Args:
        occluded: (H, W), 0 to 1, 1 = hidden; None where nothing was estimated.
        truth: with a mask: the data set's, or valid points that KITTI's ``flow_noc`` leaves out.

    Returns:
        The metrics of this pair alone, and per threshold a tally whose average over pixels is the F-score,
        2 TP / (2 TP + FP + FN); nothing without mask or estimate. NaN where the estimate is not a number.

    Raises:
        InputError: when the sizes differ.
    """
    hidden = _hidden(truth)
    if occluded is None or hidden is None:
        return {}
    if occluded.shape != hidden.shape:
        raise InputError(f"{truth.name}: the occlusion is {occluded.shape} and the true flow {hidden.shape}")
    scores, true = occluded[truth.valid], hidden[truth.valid]
    tallies = {}
    for number, threshold in enumerate(THRESHOLDS):
        found = scores > threshold
        hits = 2.0 * int((found & true).sum()) if np.isfinite(scores).all() else np.nan
        tallies[_AT_THRESHOLD.format(number)] = Tally(hits, int(found.sum() + true.sum()))
    best = _best([tally.total / tally.count if tally.count else None for tally in tallies.values()])
    if best is not None:
        for name, value in zip((F_MAX, BEST_THRESHOLD), best, strict=True):
            tallies[name] = Tally(value * true.size, true.size)
    return tallies


def pooled_occlusion(scores: Accumulator) -> Mapping[str, float | None]:
    """Average `occlusion_tallies` over a data set.

    Args:
        scores: of all pairs.

    Returns:
        Both metrics; None where no pair had a mask and an estimate.
    """
    names = [_AT_THRESHOLD.format(number) for number in range(len(THRESHOLDS))]
    best = _best([scores.result(name, averaging="per-pixel") for name in names])
    return dict(zip(OCCLUSION_METRICS, best or (None, None), strict=True))


def _hidden(truth: FlowTruth) -> np.ndarray | None:
    if truth.occluded is not None:
        return truth.occluded
    return None if truth.valid_noc is None else truth.valid & ~truth.valid_noc


def _best(values: list[float | None]) -> tuple[float, float] | None:
    """The largest F-score and its threshold, the first of equal ones; NaN comes out as NaN."""
    if all(value is None for value in values):
        return None
    scores = [0.0 if value is None else value for value in values]
    best = int(np.argmax(scores))
    return scores[best], THRESHOLDS[best]
