"""Rendered pairs under a named set of changes, with or without the frames as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.data.transforms.sets import Augmentation
from kinema.engine.contracts import Batch
from kinema.recipes.pwcnet_task import RenderedSource

_CHANGES = 6  # stream of random numbers


@dataclass(frozen=True)
class RenderedPairs:
    """Rendered pairs with their truth: everything is a function of (seed, step, slot).

    Attributes:
        rendered: where they come from; what it does to them is left out.
        augmentation: what is done to them instead.
        size_hw: of the samples.
        clean: whether batches also hold ``clean1`` and ``clean2``, the frames before their colours changed,
            which losses without labels compare.
    """

    rendered: RenderedSource
    augmentation: Augmentation
    size_hw: tuple[int, int]
    clean: bool = False

    def batch(self, step: int, slots: range) -> Batch:
        """See `kinema.engine.contracts.BatchSource.batch`."""
        rngs = [np.random.default_rng((self.rendered.seed, _CHANGES, step, slot)) for slot in slots]
        moved = self.augmentation.geometric(self.rendered.pairs(step, slots), self.size_hw, rngs, step=step)
        batch = self.augmentation.photometric(moved, rngs, step=step).tensors()
        return batch | ({"clean1": moved.image1, "clean2": moved.image2} if self.clean else {})
