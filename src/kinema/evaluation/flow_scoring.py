"""Scoring predicted flows by a protocol, beside zero flow as a yardstick."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kinema.data.sample import FlowTruth
from kinema.evaluation.accumulators import Tally
from kinema.evaluation.flow_metrics import flow_tallies, nonfinite_pixels
from kinema.evaluation.occlusion_metrics import occlusion_tallies
from kinema.evaluation.records import FlowProtocol, Rounding
from kinema.evaluation.scoring import ItemScore, Scorer


def score_flow(
    predicted: np.ndarray,
    truth: FlowTruth,
    protocol: FlowProtocol,
    *,
    occluded: np.ndarray | None = None,
) -> ItemScore:
    """Score one predicted flow, and zero flow on the same truth.

    Args:
        predicted: (H, W, 2) pixels, of the truth's size.
        truth: the true flow.
        protocol: how to score.
        occluded: (H, W), 0 to 1, the estimate of what is hidden; None without.

    Returns:
        Sums and counts, and at how many pixels with truth the prediction is not a number.

    Raises:
        InputError: when the sizes differ.
    """
    bad = nonfinite_pixels(predicted, truth)
    rounded = round_prediction(predicted, protocol.rounding)
    tallies = flow_tallies(rounded, truth, metrics=protocol.metrics)
    zero = flow_tallies(np.zeros_like(truth.flow), truth, metrics=protocol.metrics)
    found = dict(_divided(tallies, truth, protocol))
    if protocol.occlusion != "none":
        found |= occlusion_tallies(occluded, truth)
    return ItemScore(found, _divided(zero, truth, protocol), bad)


class FlowScorer(Scorer):
    """Collects the scores of predicted flows, and of zero flow on the same truth.

    Args:
        protocol: how to score.
    """

    def __init__(self, protocol: FlowProtocol) -> None:
        super().__init__(protocol)
        self._flow_protocol = protocol

    def add(
        self,
        predicted: np.ndarray,
        truth: FlowTruth,
        *,
        occluded: np.ndarray | None = None,
        seconds: float | None = None,
    ) -> None:
        """Score one pair.

        Args:
            predicted: (H, W, 2) pixels, of the truth's size.
            truth: its name must be unique in this evaluation.
            occluded: see `score_flow`.
            seconds: time of the model.

        Raises:
            InputError: when the sizes differ.
        """
        score = score_flow(predicted, truth, self._flow_protocol, occluded=occluded)
        self.add_score(truth.name, score, seconds=seconds)


def round_prediction(flow: np.ndarray, rounding: Rounding) -> np.ndarray:
    """Give a prediction the precision that the protocol's file format would leave it.

    Args:
        flow: (H, W, 2) pixels.
        rounding: the protocol's rule.

    Returns:
        (H, W, 2); the same array when nothing is to be done.
    """
    if rounding == "none":
        return flow
    # 16 bits with an offset of 2^15 and 64 steps per pixel: -512 to 511.98 px.
    stored = np.clip(np.rint(flow.astype(np.float64) * 64.0), -(2**15), 2**15 - 1) / 64.0
    # The limits must not make an ordinary number of an infinite one.
    rounded: np.ndarray = np.where(np.isfinite(flow), stored, flow)
    return rounded


def _divided(tallies: Mapping[str, Tally], truth: FlowTruth, protocol: FlowProtocol) -> Mapping[str, Tally]:
    if protocol.divisor == "scored":
        return tallies
    return {name: Tally(tally.total, truth.valid.size) for name, tally in tallies.items()}
