"""What tasks have in common that are measured while they learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from torch import nn

from kinema.engine.contracts import Term


class Validation(Protocol):
    """What a run is measured on while it trains."""

    @property
    def metric(self) -> str:
        """Which of its metrics chooses the best weights."""

    def measure(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.validate`."""

    def pictures(self, network: nn.Module) -> Mapping[str, np.ndarray]:
        """See `kinema.engine.contracts.Draws.pictures`."""


class Measured:
    """The part of a task that its validation does."""

    validation: Validation

    @property
    def metric(self) -> str:
        """See `kinema.engine.contracts.Task.metric`."""
        return self.validation.metric

    def validate(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.validate`."""
        return self.validation.measure(network, rank=rank, world=world)

    def pictures(self, network: nn.Module) -> Mapping[str, np.ndarray]:
        """See `kinema.engine.contracts.Draws.pictures`."""
        return self.validation.pictures(network)
