"""Rendered pairs for learning without labels: frames before and after their colours change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from kinema.data.transforms import FlowPairs
from kinema.data.transforms.sets import Augmentation
from kinema.engine.contracts import Batch
from kinema.recipes.pwcnet_task import RenderedSource

_CHANGES = 5  # stream of random numbers


@dataclass(frozen=True)
class RenderedFrames:
    """Rendered pairs whose truth nobody looks at: everything is a function of (seed, step, slot).

    Attributes:
        rendered: where they come from; what it does to them is left out.
        augmentation: what is done to them instead.
        size_hw: of the samples.
    """

    rendered: RenderedSource
    augmentation: Augmentation
    size_hw: tuple[int, int]

    def batch(self, step: int, slots: range) -> Batch:
        """See `kinema.engine.contracts.BatchSource.batch`."""
        rngs = [np.random.default_rng((self.rendered.seed, _CHANGES, step, slot)) for slot in slots]
        pairs = self.rendered.pairs(step, slots)
        clean = self.augmentation.geometric(pairs, self.size_hw, rngs, step=step)
        seen = self.augmentation.photometric(clean, rngs, step=step)
        return _frames(seen, "image") | _frames(clean, "clean")


def _frames(pairs: FlowPairs, name: str) -> dict[str, Tensor]:
    return {f"{name}1": pairs.image1, f"{name}2": pairs.image2}
