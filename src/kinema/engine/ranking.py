"""Which validations were the best: a small table that goes into every state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Ranking:
    """The steps with the best values of one metric.

    Attributes:
        keep: how many.
        highest: whether the highest value is the best.
        entries: ``step`` and ``value``, the best first; of equal values the earlier one.
    """

    keep: int = 1
    highest: bool = False
    entries: list[dict[str, float]] = field(default_factory=list)

    def offer(self, step: int, value: float) -> bool:
        """Take a value if it is good enough.

        Args:
            step: how many steps were done.
            value: of the metric; one that is not finite is never good enough.

        Returns:
            Whether it is among the best now.
        """
        if not math.isfinite(value):
            return False
        sign = -1.0 if self.highest else 1.0
        others = [entry for entry in self.entries if entry["step"] != step]
        ranked = [*others, {"step": step, "value": value}]
        self.entries = sorted(ranked, key=lambda one: (sign * one["value"], one["step"]))[: self.keep]
        return step in self.steps

    @property
    def best(self) -> dict[str, float]:
        """Step and value of the best; empty before the first."""
        return dict(self.entries[0]) if self.entries else {}

    @property
    def steps(self) -> list[int]:
        """The steps, the best first."""
        return [int(entry["step"]) for entry in self.entries]

    def restore(self, saved: object) -> None:
        """Take over a saved table.

        Args:
            saved: the entries, or of older states the best one alone, as JSON had them.
        """
        entries = saved if isinstance(saved, list) else [saved]
        self.entries = [dict(entry) for entry in entries if isinstance(entry, Mapping) and entry][: self.keep]
