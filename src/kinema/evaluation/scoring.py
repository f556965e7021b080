"""Scoring predicted flows by a protocol, beside zero flow as a yardstick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from kinema.data.sample import FlowTruth
from kinema.errors import InputError
from kinema.evaluation.accumulators import Accumulator
from kinema.evaluation.flow_metrics import flow_tallies, nonfinite_pixels
from kinema.evaluation.protocols import Protocol, round_prediction

Metrics = dict[str, float | None]
"""Averages by name; None where not one pixel could be scored."""


@dataclass(frozen=True)
class PairScore:
    """One pair's own numbers.

    Attributes:
        name: of the pair.
        metrics: averages over this pair's pixels; those that it has no mask for are absent.
        seconds: time of the model; None for files.
    """

    name: str
    metrics: Metrics
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """Numbers that carry the protocol that made them.

    Attributes:
        protocol: how they were made.
        model: what was evaluated, such as ``tvnet`` or the folder of predictions.
        data: on what: label and path.
        metrics: averages by the protocol; and `epe` under the other averaging, with that in its name.
        zero_flow: the same averages for a flow of zero everywhere.
        counts: pairs, pixels, and what each metric rests on.
        seconds_per_pair: mean time of the model, without its first pair when there are more; None for files.
        settings: of the model and the protocol.
        versions: of the software.
        notes: what a reader must know: a partial copy, grey frames, another split than the protocol's.
        pairs: each pair's own numbers, in the order they were scored.
    """

    protocol: Protocol
    model: str
    data: str
    metrics: Metrics
    zero_flow: Metrics
    counts: Mapping[str, object]
    seconds_per_pair: float | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pairs: tuple[PairScore, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Turn the result into plain JSON values.

        Returns:
            The keys that every result has first; rates are in percent, lengths in pixels, times in seconds.
        """
        return {
            "protocol": self.protocol.name,
            "model": self.model,
            "data": self.data,
            "metrics": self.metrics,
            "counts": dict(self.counts),
            "versions": dict(self.versions),
            "settings": {
                **self.settings,
                "averaging": self.protocol.averaging,
                "resolution": self.protocol.resolution,
                "rounding": self.protocol.rounding,
            },
            "zero_flow": self.zero_flow,
            "seconds_per_pair": self.seconds_per_pair,
            "notes": list(self.notes),
            "pairs": [asdict(pair) for pair in self.pairs],
        }


class FlowScorer:
    """Collects the scores of predicted flows, and of zero flow on the same truth.

    Args:
        protocol: how to score.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._predicted = Accumulator()
        self._zero = Accumulator()
        self._nonfinite: dict[str, int] = {}

    def add(self, predicted: np.ndarray, truth: FlowTruth) -> None:
        """Score one pair.

        Args:
            predicted: (H, W, 2) pixels, of the truth's size.
            truth: its name must be unique in this evaluation.

        Raises:
            InputError: when the sizes differ.
        """
        bad = nonfinite_pixels(predicted, truth)
        if bad:
            self._nonfinite[truth.name] = bad
        rounded = round_prediction(predicted, self.protocol.rounding)
        metrics = self.protocol.metrics
        self._predicted.update(truth.name, flow_tallies(rounded, truth, metrics=metrics))
        self._zero.update(truth.name, flow_tallies(np.zeros_like(truth.flow), truth, metrics=metrics))

    def merge(self, other: FlowScorer) -> None:
        """Add the pairs of another scorer of the same protocol.

        Args:
            other: left as it is.

        Raises:
            ValueError: when a pair is in both, or the protocols differ.
        """
        if other.protocol != self.protocol:
            raise ValueError(f"cannot merge {other.protocol.name} into {self.protocol.name}")
        self._predicted.merge(other._predicted)
        self._zero.merge(other._zero)
        self._nonfinite.update(other._nonfinite)

    def check(self, *, source: str) -> None:
        """Refuse to average when there is nothing to average, or when a prediction is not a number.

        Args:
            source: what made the predictions, for the message.

        Raises:
            InputError: when no pixel was scored, or any scored pixel's prediction is NaN, infinite or
                unknown. A mean over the remaining pixels would hide it.
        """
        if self._nonfinite:
            first, pixels = next(iter(self._nonfinite.items()))
            flows = f"{len(self._nonfinite)} of {len(self._predicted)} predicted flows"
            raise InputError(
                f"{source}: {flows} are NaN, infinite or unknown at pixels with truth "
                f"({sum(self._nonfinite.values())} pixels; first: {first} with {pixels}); "
                "no average is reported, since leaving them out would hide them"
            )
        if self._predicted.count(self.protocol.metrics[0]).pixels == 0:
            raise InputError(
                f"{source}: not one pixel with truth was scored; check that the true flow is valid somewhere"
            )

    def metrics(self) -> Metrics:
        """Average the predictions' scores.

        Returns:
            By the protocol's averaging, and `epe` by the other one.
        """
        return self._averages(self._predicted)

    def zero_flow(self) -> Metrics:
        """Average the scores of zero flow.

        Returns:
            The same names as `metrics`.
        """
        return self._averages(self._zero)

    def counts(self) -> dict[str, object]:
        """Count what the averages rest on.

        Returns:
            ``pairs`` and ``pixels`` of the main metric, and both for every metric.
        """
        counted = {name: self._predicted.count(name) for name in self.protocol.metrics}
        return {
            "pairs": len(self._predicted),
            "pixels": counted[self.protocol.metrics[0]].pixels,
            "by_metric": {name: {"pairs": c.images, "pixels": c.pixels} for name, c in counted.items()},
        }

    def pairs(self, *, seconds: Sequence[float] | None = None) -> tuple[PairScore, ...]:
        """List each pair's own averages.

        Args:
            seconds: time of the model for each pair, in the order they were scored.

        Returns:
            In the order they were scored.
        """
        times = seconds if seconds is not None else [None] * len(self._predicted)
        return tuple(
            PairScore(name, {m: t.total / t.count if t.count else None for m, t in tallies.items()}, time)
            for (name, tallies), time in zip(self._predicted.images(), times, strict=True)
        )

    def _averages(self, scores: Accumulator) -> Metrics:
        protocol = self.protocol
        averages = {name: scores.result(name, averaging=protocol.averaging) for name in protocol.metrics}
        other = protocol.other_averaging
        averages[f"epe_{other.replace('-', '_')}"] = scores.result("epe", averaging=other)
        return averages
