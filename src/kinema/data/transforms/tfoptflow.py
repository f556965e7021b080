"""tfoptflow's "heavy" augmentation, with which its PWC-Net was fine-tuned on Sintel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.data.transforms.pairs import FlowPairs, Generators, with_float_images
from kinema.data.transforms.views import Framing, View, about_centre, chained, look, placed


@dataclass(frozen=True, kw_only=True)
class TfoptflowHeavy:
    """What tfoptflow does to a pair; it changes no colours.

    Attributes:
        horizontal: probability that left and right change places.
        vertical: probability that top and bottom change places.
        shifted: probability that frame 2 is moved.
        shift: by ± this part of the crop's sides.
        zoomed: probability that both frames are zoomed.
        zoom: by 1 ± this.
    """

    horizontal: float = 0.5
    vertical: float = 0.5
    shifted: float = 0.5
    shift: float = 0.05
    zoomed: float = 0.5
    zoom: float = 0.05

    def geometric(
        self, pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators, *, step: int
    ) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.geometric`."""
        drawn = [self._views(pairs.size_hw, size_hw, rng) for rng in rngs]
        return look(pairs, [first for first, _ in drawn], size_hw, views2=[second for _, second in drawn])

    def photometric(self, pairs: FlowPairs, rngs: Generators, *, step: int) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.photometric`."""
        return with_float_images(pairs)

    def _views(
        self, source_hw: tuple[int, int], size_hw: tuple[int, int], rng: np.random.Generator
    ) -> tuple[View, View]:
        chances = rng.random(4)
        shift = np.rint(rng.uniform(-self.shift, self.shift, 2) * (size_hw[1], size_hw[0]))
        zoom = 1 + rng.uniform(-self.zoom, self.zoom)
        mirrored = bool(chances[0] < self.horizontal), bool(chances[1] < self.vertical)
        cut = placed(Framing(mirrored_xy=mirrored), source_hw, size_hw, rng)
        if chances[3] < self.zoomed:
            cut = chained(cut, about_centre(size_hw, zoom=float(zoom)))
        moved = chained(cut, about_centre(size_hw, shift_xy=-shift)) if chances[2] < self.shifted else cut
        return cut, moved


def tfoptflow_heavy() -> TfoptflowHeavy:
    """The "heavy" set of tfoptflow.

    A crop first. Mirrored left-right half of the time, top-bottom half of the time. Half of the time frame 2
    is moved by up to ±5 % of its sides, and the flow grows by it; half of the time both frames are zoomed by
    0.95 to 1.05. Points that end outside stay supervised. No colours change; users of the original blame that
    for weak results on Sintel and KITTI.

    What differs: frame 2 is moved by whole pixels; where a shift or a zoom shows more than the crop, it is
    filled from the frame as far as that reaches, then black; black pixels of frame 1 have no known flow,
    instead of a flow of zero.

    Returns:
        The set.
    """
    return TfoptflowHeavy()
