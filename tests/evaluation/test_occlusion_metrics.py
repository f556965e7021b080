"""The best F-score of hidden points: by hand, pooled, merged, without masks."""

from __future__ import annotations

import numpy as np
import pytest

from kinema.data.sample import FlowTruth
from kinema.errors import InputError
from kinema.evaluation.accumulators import Accumulator
from kinema.evaluation.flow_scoring import FlowScorer
from kinema.evaluation.occlusion_metrics import THRESHOLDS, occlusion_tallies, pooled_occlusion
from kinema.evaluation.protocols import get_flow_protocol
from kinema.evaluation.scoring import Scorer


def truth_of(hidden: list[int] | np.ndarray | None, *, name: str = "x", **masks: np.ndarray) -> FlowTruth:
    size_hw = (1, 4) if hidden is None else np.atleast_2d(hidden).shape
    mask = None if hidden is None else np.atleast_2d(hidden).astype(bool)
    masks.setdefault("valid", np.ones(size_hw, bool))
    return FlowTruth(name=name, flow=np.zeros((*size_hw, 2), np.float32), occluded=mask, **masks)


def pooled(*pairs: tuple[list[float], FlowTruth]) -> dict[str, float | None]:
    scores = Accumulator()
    for number, (estimate, truth) in enumerate(pairs):
        scores.update(str(number), occlusion_tallies(np.atleast_2d(np.float32(estimate)), truth))
    return dict(pooled_occlusion(scores))


def slowly(estimate: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    best = (-1.0, 0.0)
    for threshold in THRESHOLDS:
        found = estimate > threshold
        hit, wrong, missed = (found & true).sum(), (found & ~true).sum(), (~found & true).sum()
        if hit:
            precision, recall = hit / (hit + wrong), hit / (hit + missed)
            best = max(best, (2 * precision * recall / (precision + recall), -threshold))
    return best[0], -best[1]


def test_thresholds_are_forty_from_zero_to_one() -> None:
    assert len(THRESHOLDS) == 40
    assert (THRESHOLDS[0], THRESHOLDS[1], THRESHOLDS[-1]) == (0.0, pytest.approx(1 / 39), 1.0)


def test_by_hand() -> None:
    """At 0: 2 hits, 1 wrong, 1 missed, F 4/6; from 0.1 on: 2 hits, none wrong, F 4/5; from 0.5 on: 2/4."""
    found = pooled(([0.0, 0.1, 0.5, 0.9], truth_of([1, 0, 1, 1])))
    assert found == {"occl_f_max": pytest.approx(0.8), "best_occl_thresh": pytest.approx(4 / 39)}


def test_the_comparison_is_strict() -> None:
    assert pooled(([0, 0, 0, 0], truth_of([1, 1, 0, 0])))["occl_f_max"] == 0  # not above 0
    assert pooled(([1, 1, 0, 0], truth_of([1, 1, 0, 0]))) == {"occl_f_max": 1, "best_occl_thresh": 0}


def test_counts_are_pooled_and_the_best_threshold_is_common() -> None:
    rng = np.random.default_rng(0)
    estimates = [rng.random((5, 7)) ** power for power in (0.5, 1, 3)]
    truths = [rng.random((5, 7)) < 0.3 + 0.3 * estimate for estimate in estimates]
    found = pooled(*((e, truth_of(t)) for e, t in zip(estimates, truths, strict=True)))
    f, threshold = slowly(np.float32(np.stack(estimates)), np.stack(truths))
    assert found["occl_f_max"] == pytest.approx(f)
    assert found["best_occl_thresh"] == pytest.approx(threshold)


def test_kitti_s_hidden_points_are_those_without_visible_truth() -> None:
    valid, visible = np.array([[1, 1, 1, 0]], bool), np.array([[1, 0, 1, 0]], bool)
    truth = truth_of(None, valid=valid, valid_noc=visible)
    assert pooled(([0, 1, 0, 1], truth)) == {"occl_f_max": 1, "best_occl_thresh": 0}  # the last is unknown
    assert pooled(([1, 1, 0, 1], truth))["occl_f_max"] == pytest.approx(2 / 3)


def test_without_mask_or_estimate_there_is_no_number() -> None:
    assert occlusion_tallies(np.zeros((1, 4)), truth_of(None)) == {}
    assert occlusion_tallies(None, truth_of([1, 0, 0, 0])) == {}
    assert dict(pooled_occlusion(Accumulator())) == {"occl_f_max": None, "best_occl_thresh": None}


def test_an_estimate_that_is_not_a_number_cannot_vanish() -> None:
    assert np.isnan(pooled(([np.nan, 0, 0, 1], truth_of([0, 0, 0, 1])))["occl_f_max"])


def test_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="the occlusion is"):
        occlusion_tallies(np.zeros((2, 4)), truth_of([1, 0, 0, 0]))


def test_a_protocol_reports_them_and_processes_merge() -> None:
    protocol = get_flow_protocol("uflow-sintel")
    rng = np.random.default_rng(1)
    pairs = [
        (rng.random((6, 8)).astype(np.float32), truth_of(rng.random((6, 8)) < 0.4, name=f"pair {n}"))
        for n in range(4)
    ]
    whole, first, second = (FlowScorer(protocol) for _ in range(3))
    for number, (estimate, truth) in enumerate(pairs):
        for scorer in (whole, (first, second)[number % 2]):
            scorer.add(truth.flow + 1, truth, occluded=estimate)
    merged = Scorer.from_state(protocol, second.state())
    merged.merge(first)
    assert merged.metrics() == whole.metrics()
    assert set(whole.metrics()) == {"epe", "fl_all", "occl_f_max", "best_occl_thresh", "epe_per_pixel"}
    assert whole.metrics()["epe"] == pytest.approx(2**0.5)
    assert whole.yardstick()["occl_f_max"] is None
    counts = whole.counts()["by_metric"]
    assert counts["occl_f_max"] == {"pairs": 4, "pixels": 4 * 48}
    for item, (estimate, truth) in zip(whole.items(), pairs, strict=True):
        assert set(item.metrics) == set(protocol.metrics)
        assert item.metrics["occl_f_max"] == pytest.approx(slowly(estimate, truth.occluded)[0])
