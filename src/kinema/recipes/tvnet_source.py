"""Where TVNet's training pairs come from: drawn as the published scripts do, or rendered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from kinema.data.family import OpenedSet
from kinema.data.flow_source import FlowPart, FlowSource
from kinema.data.sampler import Draw, Order
from kinema.data.transforms.pairs import FlowPairs, Generators, with_float_images
from kinema.data.transforms.views import look, whole

Sampling = Literal["turns", "pairs", "scenes"]

_DRAWS = 14  # stream of random numbers


@dataclass(frozen=True)
class WholeFrames:
    """The whole frame at the size of the samples, bilinear and not antialiased, its flow rescaled with it."""

    def geometric(
        self, pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators, *, step: int
    ) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.geometric`."""
        return look(pairs, [whole(pairs.size_hw, size_hw)] * len(pairs), size_hw)

    def photometric(self, pairs: FlowPairs, rngs: Generators, *, step: int) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.photometric`."""
        return with_float_images(pairs)


@dataclass(frozen=True)
class DrawnOrder(Order):
    """Samples drawn with replacement: some come often, some never.

    Attributes:
        scenes: of each data set, the places of each scene's samples. A scene is drawn first, then one of its
            samples.
    """

    scenes: tuple[tuple[tuple[int, ...], ...], ...] = ()

    def draw(self, number: int) -> Draw:
        """See `Order.draw`."""
        rng = np.random.default_rng((self.seed, _DRAWS, number))
        weights = np.array(self.weights or (1.0,) * len(self.counts))
        part = int(rng.choice(len(weights), p=weights / weights.sum()))
        scene = self.scenes[part][int(rng.integers(len(self.scenes[part])))]
        return Draw(part, number, scene[int(rng.integers(len(scene)))])


@dataclass(frozen=True)
class DrawnSource(FlowSource):
    """Pairs on disk, drawn with replacement, as the published scripts do.

    Attributes:
        scenes_first: whether short scenes come as often as long ones.
    """

    scenes_first: bool = False

    @cached_property
    def order(self) -> Order:
        """Which sample comes when."""
        return DrawnOrder(
            tuple(len(part.dataset) for part in self.parts),
            tuple(part.weight for part in self.parts),
            self.seed,
            tuple(self._scenes(part) for part in self.parts),
        )

    def _scenes(self, part: FlowPart) -> tuple[tuple[int, ...], ...]:
        places, dataset = range(len(part.dataset)), part.dataset
        if not (self.scenes_first and isinstance(dataset, OpenedSet)):
            return (tuple(places),)
        scenes: dict[str, list[int]] = {}
        for place in places:
            scenes.setdefault(dataset.name_of(place).rpartition("/")[0], []).append(place)
        return tuple(tuple(scene) for scene in scenes.values())


def flow_source(
    parts: Sequence[FlowPart],
    size_hw: tuple[int, int],
    *,
    sampling: Sampling,
    batch_size: int,
    seed: int,
) -> FlowSource:
    """Make the source of a run's pairs.

    Args:
        parts: the data sets.
        size_hw: of the samples.
        sampling: ``turns`` goes through each set again and again; ``pairs`` draws any pair at any time,
            ``scenes`` a scene first and then one of its pairs.
        batch_size: over all devices.
        seed: of order and augmentation.

    Returns:
        The source.
    """
    if sampling == "turns":
        return FlowSource(tuple(parts), size_hw, batch_size=batch_size, seed=seed)
    first = sampling == "scenes"
    return DrawnSource(tuple(parts), size_hw, batch_size=batch_size, seed=seed, scenes_first=first)
