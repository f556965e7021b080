"""Rendered pairs under a named set of changes, with or without the frames as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from kinema.data.transforms.pairs import FlowPairs
from kinema.data.transforms.sets import Augmentation
from kinema.data.transforms.shifts import LARGEST_SHIFT, shift_windows
from kinema.engine.contracts import Batch
from kinema.recipes.pwcnet_task import RenderedSource

_CHANGES = 6  # stream of random numbers
_LEAST_SHIFT = 4  # pixels


@dataclass(frozen=True)
class RenderedPairs:
    """Rendered pairs with their truth: everything is a function of (seed, step, slot).

    Attributes:
        rendered: where they come from; what it does to them is left out.
        augmentation: what is done to them instead.
        size_hw: of the samples.
        clean: whether batches also hold ``clean1`` and ``clean2``, the frames before their colours changed,
            which losses without labels compare.
        shifts_until: before this step, in every other sample frame 2 is another window of frame 1, by shifts
            that grow from step to step: matching far away is learned from matching nearby.
    """

    rendered: RenderedSource
    augmentation: Augmentation
    size_hw: tuple[int, int]
    clean: bool = False
    shifts_until: int = 0

    def batch(self, step: int, slots: range) -> Batch:
        """See `kinema.engine.contracts.BatchSource.batch`."""
        rngs = [np.random.default_rng((self.rendered.seed, _CHANGES, step, slot)) for slot in slots]
        pairs = self.rendered.pairs(step, slots)
        moved = self.augmentation.geometric(pairs, self.size_hw, rngs, step=step)
        if step < self.shifts_until:
            largest = max(_LEAST_SHIFT, LARGEST_SHIFT * (step + 1) // self.shifts_until)
            shifted = shift_windows(pairs, self.size_hw, rngs, largest=largest)
            moved = _mixed(shifted, moved, slots)
        batch = self.augmentation.photometric(moved, rngs, step=step).tensors()
        return batch | ({"clean1": moved.image1, "clean2": moved.image2} if self.clean else {})


def _mixed(even: FlowPairs, odd: FlowPairs, slots: range) -> FlowPairs:
    """The samples of even slots of one batch, and those of odd slots of the other."""
    chosen = torch.tensor([slot % 2 == 0 for slot in slots], device=even.flow.device).view(-1, 1, 1, 1)
    others = odd.tensors()
    parts = {name: torch.where(chosen, tensor, others[name]) for name, tensor in even.tensors().items()}
    return FlowPairs(**parts, sparse=odd.sparse)
