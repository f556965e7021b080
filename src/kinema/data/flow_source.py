"""Training batches of pairs from opened data sets: mixed, augmented, whatever the number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from torch import Tensor

from kinema.data import open_flow, open_footage
from kinema.data.frames import FrameWindow
from kinema.data.sample import FlowSample
from kinema.data.sampler import Draw, Order
from kinema.data.spec import DataSpec
from kinema.data.transforms.pairs import LARGEST_FLOW, FlowPairs, joined, pairs_of, unlabelled
from kinema.data.transforms.sets import Augmentation, named_set


@dataclass(frozen=True)
class FlowPart:
    """A data set of a mix.

    Attributes:
        dataset: pairs with truth, or windows of frames without, of which the first two are taken; read when
            indexed, as opened data sets are.
        augmentation: what happens to its samples.
        weight: its share of the mix, in any unit.
    """

    dataset: Sequence[FlowSample | FrameWindow]
    augmentation: Augmentation
    weight: float = 1.0


@dataclass(frozen=True)
class FlowSource:
    """Pairs on disk as a source of training batches; see `kinema.engine.contracts.BatchSource`.

    Attributes:
        parts: the data sets.
        size_hw: height and width of the samples.
        batch_size: over all devices.
        seed: of the order and the augmentation.
        clean: whether batches also hold ``clean1`` and ``clean2``, the frames before their colours changed,
            which losses without labels compare.
        largest: longer flow, in pixels, counts as not known.
    """

    parts: tuple[FlowPart, ...]
    size_hw: tuple[int, int]
    batch_size: int
    seed: int = 0
    clean: bool = False
    largest: float = LARGEST_FLOW

    def batch(self, step: int, slots: range) -> dict[str, Tensor]:
        """Make a part of the batch of one step.

        Args:
            step: which step, from 0.
            slots: which of the step's samples.

        Returns:
            ``image1``, ``image2`` (B, 3, H, W) in [0, 1], ``flow`` (B, 2, H, W), ``valid`` and ``hidden``
            (B, 1, H, W), see `kinema.data.transforms.FlowPairs`; with `clean` also those frames. A pure
            function of the settings, the step and the slot.

        Raises:
            InputError: when a sample cannot be read.
        """
        draws = [self.order.draw(step * self.batch_size + slot) for slot in slots]
        moved, changed = zip(*(self._sample(draw, step) for draw in draws), strict=True)
        batch = joined(changed).tensors()
        if self.clean:
            plain = joined(moved)
            batch |= {"clean1": plain.image1, "clean2": plain.image2}
        return batch

    @cached_property
    def order(self) -> Order:
        """Which sample comes when."""
        counts = tuple(len(part.dataset) for part in self.parts)
        return Order(counts, tuple(part.weight for part in self.parts), self.seed)

    def _sample(self, draw: Draw, step: int) -> tuple[FlowPairs, FlowPairs]:
        """A sample before and after its colours change."""
        part, rngs = self.parts[draw.part], [self.order.generator(draw)]
        pairs = self._read(part.dataset[draw.index])
        moved = part.augmentation.geometric(pairs, self.size_hw, rngs, step=step)
        return moved, part.augmentation.photometric(moved, rngs, step=step)

    def _read(self, sample: FlowSample | FrameWindow) -> FlowPairs:
        if isinstance(sample, FrameWindow):
            return unlabelled(sample.frames[0], sample.frames[1])
        return pairs_of(sample, largest=self.largest)


def open_parts(specs: Sequence[DataSpec], augmentation: Augmentation | str) -> tuple[FlowPart, ...]:
    """Open labelled data sets for training, their weights those of the specs.

    Args:
        specs: of `kinema.data.parse_spec`.
        augmentation: of all of them; a name is one of `kinema.data.transforms.SETS`.

    Returns:
        One part per spec.

    Raises:
        UsageError: when a family, variant, split or the augmentation is unknown, or there is no true flow.
        InputError: when nothing usable lies at a path.
    """
    chosen = named_set(augmentation) if isinstance(augmentation, str) else augmentation
    return tuple(FlowPart(open_flow(spec), chosen, spec.weight) for spec in specs)


def open_footage_parts(specs: Sequence[DataSpec], augmentation: Augmentation | str) -> tuple[FlowPart, ...]:
    """Open frames for learning without labels, their weights those of the specs.

    Args:
        specs: of `kinema.data.parse_spec`; footage, or flow data sets, whose truth is left aside.
        augmentation: as in `open_parts`.

    Returns:
        One part per spec.

    Raises:
        UsageError: when a family, variant, split or the augmentation is unknown, or has no frames in order.
        InputError: when nothing usable lies at a path.
    """
    chosen = named_set(augmentation) if isinstance(augmentation, str) else augmentation
    opened = ((cast("Sequence[FrameWindow]", open_footage(spec)), spec.weight) for spec in specs)
    return tuple(FlowPart(windows, chosen, weight) for windows, weight in opened)
