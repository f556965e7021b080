"""What the loop asks of the things it trains: small protocols, so that it knows no model and no data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from torch import Tensor, nn

Batch: TypeAlias = Mapping[str, Tensor]
"""Tensors by name; the first dimension of each is the sample."""


@dataclass(frozen=True)
class Term:
    """One term of a loss, or one metric, before its division.

    Sum and count stay apart until those of all devices have been added: a mean of means would depend on how
    the samples are spread.

    Attributes:
        total: scalar; the sum, weights included, over whatever `count` counts. Of a loss: differentiable.
        count: scalar without gradient; how many samples or pixels.
    """

    total: Tensor
    count: Tensor


class BatchSource(Protocol):
    """Where training data come from.

    It is copied to the worker processes, so it holds settings and no open files.
    """

    def batch(self, step: int, slots: range) -> Batch:
        """Make a part of the batch of one step.

        Args:
            step: which step, from 0.
            slots: which of the step's samples; each device asks for its own. Slots past the step's last are
                further samples of the same size: they stand in for others that cannot be read.

        Returns:
            The samples, a pure function of the source's settings, `step` and the slot. Where an epoch ends
            in a smaller batch there may be fewer than slots, but one per process at least.

        Raises:
            InputError: when one of them cannot be read.
        """


class Task(Protocol):
    """What is trained, on which data, towards what."""

    @property
    def network(self) -> nn.Module:
        """The network, with its weights as they are before the first step."""

    @property
    def source(self) -> BatchSource:
        """The training data."""

    @property
    def metric(self) -> str:
        """Which of the validation's metrics chooses the best weights; lower is better."""

    def losses(self, network: nn.Module, batch: Batch, *, step: int) -> dict[str, Term]:
        """Compute the terms of the loss of a batch.

        Args:
            network: the task's own; it, or parts of it, may be called as often as needed.
            batch: on the network's device.
            step: which step, from 0.

        Returns:
            The terms by name; the loss is the sum of their means.
        """

    def validate(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """Measure the network on data that it is not trained on.

        Args:
            network: with averaged weights, in evaluation mode, gradients switched off.
            rank: which share of the data, from 0.
            world: how many shares.

        Returns:
            Sums and counts by the metric's name.
        """


@runtime_checkable
class CountsAhead(Protocol):
    """A task that tells the counts of its terms from the batch alone: that makes parts of batches cheaper."""

    def counts(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Count without computing.

        Args:
            batch: on the network's device.
            step: which step, from 0.

        Returns:
            The counts of the terms of `Task.losses`, by the same names, to the last bit.
        """


@runtime_checkable
class Draws(Protocol):
    """A task that can show what its network does."""

    def pictures(self, network: nn.Module) -> Mapping[str, np.ndarray]:
        """Draw predictions for data that are not trained on.

        Args:
            network: with averaged weights, in evaluation mode, gradients switched off.

        Returns:
            (H, W, 3) uint8 pictures by a name that can be part of a file's name.
        """


@runtime_checkable
class Keeps(Protocol):
    """A task with a memory of its own, which belongs to the state of a run."""

    def kept(self) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        """Tell what has to be saved.

        Returns:
            Tensors by name, and what JSON can hold.
        """

    def take_back(self, tensors: Mapping[str, Tensor], values: Mapping[str, object]) -> None:
        """Take over what was saved.

        Args:
            tensors: of `kept`.
            values: of `kept`.
        """


@runtime_checkable
class EndsEarly(Protocol):
    """A task that knows when it is done before the last step."""

    def ending(self, step: int, metrics: Mapping[str, float]) -> str:
        """Decide whether the run ends here.

        Args:
            step: how many steps are done.
            metrics: of the last validation; empty before the first one.

        Returns:
            Why it ends; empty to go on.
        """
