"""Numbers that carry the protocol that made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from kinema.evaluation.depth_metrics import DEPTH_METRICS
from kinema.evaluation.flow_metrics import FLOW_METRICS
from kinema.evaluation.image_metrics import IMAGE_METRICS
from kinema.evaluation.occlusion_metrics import OCCLUSION_METRICS
from kinema.evaluation.pose_scoring import POSE_METRICS
from kinema.evaluation.records import Fact, Protocol
from kinema.evaluation.scoring import ItemResult, Metrics


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """What an evaluation found.

    Attributes:
        protocol: how the numbers were made.
        model: what was evaluated, such as ``tvnet`` or the folder of predictions.
        data: on what: label and path.
        metrics: averages by the protocol.
        yardstick: the same averages for the protocol's trivial prediction; empty where it has none.
        counts: items and parts, and what each metric rests on.
        seconds: mean time of the model for an item, without its first when there are more; None for files.
        settings: of the model.
        versions: of the software.
        notes: what a reader must know: a partial copy, grey frames, another split than the protocol's.
        items: each item's own numbers, in the order of the data.
    """

    protocol: Protocol
    model: str
    data: str
    metrics: Metrics
    counts: Mapping[str, object]
    yardstick: Metrics = field(default_factory=dict)
    seconds: float | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    items: tuple[ItemResult, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Turn the result into plain JSON values.

        Returns:
            The keys that every result has first; rates are in percent, lengths in the data's unit (pixels,
            metres), times in seconds.
        """
        protocol = self.protocol
        return {
            "protocol": protocol.name,
            "model": self.model,
            "data": self.data,
            "metrics": self.metrics,
            "counts": dict(self.counts),
            "versions": dict(self.versions),
            "settings": {**self.settings, **protocol.settings()},
            **({protocol.yardstick: self.yardstick} if self.yardstick else {}),
            f"seconds_per_{protocol.item.removesuffix('s')}": self.seconds,
            "notes": list(self.notes),
            protocol.item: [asdict(item) for item in self.items],
        }


def fact_of(protocol: Protocol, metric: str) -> Fact:
    """Look up what a table says about a metric.

    Args:
        protocol: that reports it.
        metric: its name; also with ``_std`` or the other averaging at its end.

    Returns:
        Unit and meaning.
    """
    flow = {name: Fact(known.unit, known.meaning) for name, known in FLOW_METRICS.items()}
    facts = {**flow, **OCCLUSION_METRICS, **DEPTH_METRICS, **POSE_METRICS, **IMAGE_METRICS}
    if metric in facts:
        return facts[metric]
    for name in protocol.both:
        if metric.startswith(f"{name}_"):
            return Fact(facts[name].unit, f"{name}, averaged {protocol.other_averaging}")
    base = metric.removesuffix("_std")
    return Fact(facts[base].unit, f"standard deviation of {base} over {protocol.item}")
