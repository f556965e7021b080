"""Scores of single items, averaged by a protocol, beside a trivial prediction as a yardstick."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from kinema.errors import InputError
from kinema.evaluation.accumulators import Accumulator, State, Tally
from kinema.evaluation.occlusion_metrics import pooled_occlusion
from kinema.evaluation.records import FlowProtocol, Protocol

Metrics = dict[str, float | None]
"""Averages by name; None where nothing could be scored."""


@dataclass(frozen=True)
class ItemScore:
    """What one pair, image, sequence or clip adds.

    Attributes:
        tallies: sum and count per metric; a metric that the item has no mask for is left out.
        yardstick: the same for the protocol's trivial prediction; empty where there is none.
        bad: how many of the scored parts have a prediction that is not a number.
    """

    tallies: Mapping[str, Tally]
    yardstick: Mapping[str, Tally] = field(default_factory=dict)
    bad: int = 0


@dataclass(frozen=True)
class ItemResult:
    """One item's own numbers.

    Attributes:
        name: of the item.
        metrics: averages over it; those that it has no mask for are absent.
        seconds: time of the model; None for files.
    """

    name: str
    metrics: Metrics
    seconds: float | None = None


class ScorerState(TypedDict):
    """A scorer as plain JSON values."""

    predicted: State
    yardstick: State
    bad: dict[str, int]
    seconds: dict[str, float]


class Scorer:
    """Collects scores by a protocol.

    Args:
        protocol: how items are averaged.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._predicted = Accumulator()
        self._yardstick = Accumulator()
        self._bad: dict[str, int] = {}
        self._seconds: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._predicted)

    def add_score(self, name: str, score: ItemScore, *, seconds: float | None = None) -> None:
        """Add one item.

        Args:
            name: unique in this evaluation.
            score: its numbers.
            seconds: time of the model.

        Raises:
            ValueError: when the item was added before.
        """
        self._predicted.update(name, score.tallies)
        if score.yardstick:
            self._yardstick.update(name, score.yardstick)
        if score.bad:
            self._bad[name] = score.bad
        if seconds is not None:
            self._seconds[name] = seconds

    def merge(self, other: Scorer) -> None:
        """Add the items of another scorer of the same protocol.

        Args:
            other: left as it is.

        Raises:
            ValueError: when an item is in both, or the protocols differ.
        """
        if other.protocol != self.protocol:
            raise ValueError(f"cannot merge {other.protocol.name} into {self.protocol.name}")
        self._predicted.merge(other._predicted)
        self._yardstick.merge(other._yardstick)
        self._bad.update(other._bad)
        self._seconds.update(other._seconds)

    def reorder(self, names: Iterable[str]) -> None:
        """Put the items into an order; averages do not depend on it, lists do.

        Args:
            names: of all items here, and perhaps of others.
        """
        order = list(names)
        self._predicted.reorder(order)
        self._yardstick.reorder(order)
        self._bad = {name: self._bad[name] for name in order if name in self._bad}

    def state(self) -> ScorerState:
        """Turn everything into plain values that another process can read.

        Returns:
            What `from_state` takes, to the bit.
        """
        return ScorerState(
            predicted=self._predicted.state(),
            yardstick=self._yardstick.state(),
            bad=dict(self._bad),
            seconds=dict(self._seconds),
        )

    @classmethod
    def from_state(cls, protocol: Protocol, state: ScorerState) -> Scorer:
        """Read what `state` made.

        Args:
            protocol: of the scorer.
            state: of it.

        Returns:
            Its twin.
        """
        twin = cls(protocol)
        twin._predicted = Accumulator.from_state(state["predicted"])
        twin._yardstick = Accumulator.from_state(state["yardstick"])
        twin._bad, twin._seconds = dict(state["bad"]), dict(state["seconds"])
        return twin

    def check(self, *, source: str) -> None:
        """Refuse to average when there is nothing to average, or when a prediction is not a number.

        Args:
            source: what made the predictions, for the message.

        Raises:
            InputError: when nothing was scored, or any scored prediction is NaN, infinite or unknown. A mean
                over the rest would hide it.
        """
        item, part = self.protocol.item, self.protocol.part
        if self._bad:
            first, count = next(iter(self._bad.items()))
            told = f"{len(self._bad)} of {len(self)} {_predicted(self.protocol)}"
            raise InputError(
                f"{source}: {told} are NaN, infinite or unknown at {part} with truth "
                f"({sum(self._bad.values())} {part}; first: {first} with {count}); "
                "no average is reported, since leaving them out would hide them"
            )
        if self._predicted.count(self.protocol.metrics[0]).pixels == 0:
            raise InputError(
                f"{source}: not one {part.removesuffix('s')} with truth was scored in {len(self)} {item}; "
                f"check that {_why_nothing(self.protocol)}"
            )

    def metrics(self) -> Metrics:
        """Average the predictions' scores.

        Returns:
            By the protocol's averaging; where it says so also by the other one, and with their spread.
        """
        return self._averages(self._predicted)

    def yardstick(self) -> Metrics:
        """Average the scores of the protocol's trivial prediction.

        Returns:
            The same names as `metrics`; empty where the protocol has none.
        """
        return self._averages(self._yardstick) if len(self._yardstick) else {}

    def counts(self) -> dict[str, object]:
        """Count what the averages rest on.

        Returns:
            Items and parts of the main metric, and both for every metric, named as the protocol names them.
        """
        item, part = self.protocol.item, self.protocol.part
        counted = {name: self._predicted.count(name) for name in self.protocol.metrics}
        main = counted[self.protocol.metrics[0]]
        return {
            item: len(self),
            part: main.pixels,
            "by_metric": {name: {item: c.images, part: c.pixels} for name, c in counted.items()},
        }

    def items(self) -> tuple[ItemResult, ...]:
        """List each item's own averages.

        Returns:
            In the order they were added, or that of `reorder`.
        """
        return tuple(
            ItemResult(
                name,
                {
                    metric: t.total / t.count if t.count else None
                    for metric, t in tallies.items()
                    if metric in self.protocol.metrics
                },
                self._seconds.get(name),
            )
            for name, tallies in self._predicted.images()
        )

    def _averages(self, scores: Accumulator) -> Metrics:
        protocol = self.protocol
        averages = {name: scores.result(name, averaging=protocol.averaging) for name in protocol.metrics}
        other = protocol.other_averaging
        for name in protocol.both:
            averages[f"{name}_{other.replace('-', '_')}"] = scores.result(name, averaging=other)
        for name in protocol.spread:
            averages[f"{name}_std"] = scores.spread(name)
        if isinstance(protocol, FlowProtocol) and protocol.largest_epe is not None:
            limit = protocol.largest_epe
            for name, value in averages.items():
                if name.startswith("epe") and value is not None:
                    averages[name] = min(value, limit)
        if isinstance(protocol, FlowProtocol) and protocol.occlusion != "none":
            averages.update(pooled_occlusion(scores))
        return averages


def _predicted(protocol: Protocol) -> str:
    return {
        "flow": "predicted flows",
        "depth": "predicted depth maps",
        "pose": "predicted paths",
        "restoration": "restored clips",
    }[protocol.task]


def _why_nothing(protocol: Protocol) -> str:
    return {
        "flow": "the true flow is valid somewhere",
        "depth": "the true depth is known somewhere inside the protocol's crop and range",
        "pose": "the true path is long enough for the protocol",
        "restoration": "the clips hold frames",
    }[protocol.task]
