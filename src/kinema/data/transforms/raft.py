"""RAFT's augmentation: scale, stretch, mirrors, crop; colours that may differ between the frames; patches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kinema.data.transforms.colour import ColourJitter, Eraser, erase, jitter_colours
from kinema.data.transforms.pairs import FlowPairs, Generators
from kinema.data.transforms.views import Framing, View, look, placed

_SPARE = 8  # pixels that a scaled frame keeps beyond the crop, on each axis


@dataclass(frozen=True, kw_only=True)
class RaftStyle:
    """What RAFT's training code does to a pair; also trains PWC-Net well.

    Attributes:
        scale: smallest and largest scale, as powers of two.
        scaled: probability that the scale is not 1.
        stretch: x and y are scaled by another 2^±this each.
        stretched: probability of that, among the scaled.
        horizontal: probability that left and right change places.
        vertical: probability that top and bottom change places.
        margin_xy: see `kinema.data.transforms.views.placed`.
        jitter: the colours.
        eraser: the patches.
    """

    scale: tuple[float, float] = (-0.1, 1.0)
    scaled: float = 0.8
    stretch: float = 0.2
    stretched: float = 0.8
    horizontal: float = 0.5
    vertical: float = 0.1
    margin_xy: tuple[int, int] = (0, 0)
    jitter: ColourJitter = field(default_factory=ColourJitter)
    eraser: Eraser = field(default_factory=Eraser)

    def geometric(
        self, pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators, *, step: int
    ) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.geometric`."""
        return look(pairs, [self._view(pairs.size_hw, size_hw, rng) for rng in rngs], size_hw)

    def photometric(self, pairs: FlowPairs, rngs: Generators, *, step: int) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.photometric`."""
        return erase(jitter_colours(pairs, rngs, jitter=self.jitter), rngs, eraser=self.eraser)

    def _view(self, source_hw: tuple[int, int], size_hw: tuple[int, int], rng: np.random.Generator) -> View:
        chances, scale = rng.random(4), rng.uniform(*self.scale)
        stretch = rng.uniform(-self.stretch, self.stretch, 2)
        zoom = np.ones(2)
        if chances[0] < self.scaled:
            least = max((size + _SPARE) / source for size, source in zip(size_hw, source_hw, strict=True))
            powers = scale + (stretch if chances[1] < self.stretched else 0)
            zoom = np.maximum(2.0**powers * np.ones(2), least)
        framing = Framing(
            zoom_xy=(float(zoom[0]), float(zoom[1])),
            mirrored_xy=(bool(chances[2] < self.horizontal), bool(chances[3] < self.vertical)),
        )
        return placed(framing, source_hw, size_hw, rng, margin_xy=self.margin_xy)


def raft_chairs() -> RaftStyle:
    """RAFT on FlyingChairs (Teed and Deng 2020, training code; the public PWC-Net recipe of ezflow).

    Eight pairs in ten are scaled by 2^[-0.1, 1], eight in ten of these also stretched by 2^±0.2 on each axis.
    Left-right half of the time, top-bottom a tenth. Brightness, contrast, saturation ±0.4, hue ±0.16 of a
    turn; in a fifth of the pairs another draw for each frame. In half of them one or two patches of 50 to 99
    pixels of frame 2 are covered by its mean colour.

    What differs: patches are laid on the crop, not on the frame before it is scaled; hue turns RGB around the
    grey axis, so that all changes are one affine map, in one order.

    Returns:
        The set.
    """
    return RaftStyle()


def raft_things() -> RaftStyle:
    """RAFT on FlyingThings3D: as `raft_chairs`, scale 2^[-0.4, 0.8].

    Returns:
        The set.
    """
    return RaftStyle(scale=(-0.4, 0.8))


def raft_sintel() -> RaftStyle:
    """RAFT on Sintel: as `raft_chairs`, scale 2^[-0.2, 0.6].

    Returns:
        The set.
    """
    return RaftStyle(scale=(-0.2, 0.6))


def raft_kitti() -> RaftStyle:
    """RAFT on KITTI, whose truth is sparse and never blended.

    Scale 2^[-0.2, 0.4] for eight pairs in ten, never stretched and never mirrored; crops are drawn 50 pixels
    beyond the frame on both sides and 20 above and below, then pushed back in, so that its borders are seen
    often. Brightness, contrast, saturation ±0.3, hue ±0.096 of a turn, always the same for both frames;
    patches as in `raft_chairs`.

    Returns:
        The set.
    """
    return RaftStyle(
        scale=(-0.2, 0.4),
        stretched=0.0,
        horizontal=0.0,
        vertical=0.0,
        margin_xy=(50, 20),
        jitter=ColourJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.3 / 3.14, asymmetric=0.0),
    )


def smurf() -> RaftStyle:
    """SMURF (Stone et al. 2021, section 3.2, "heavy augmentation"), for learning without labels.

    Scale 2^[-0.2, 0.6] for eight pairs in ten, stretched by 2^±0.2, left-right half of the time, top-bottom a
    tenth; brightness, contrast, saturation ±0.4, hue ±0.5/π of a turn; in half of the pairs up to three
    patches of 50 to 99 pixels of frame 2 are covered.

    What differs: every scaled pair is stretched eight times in ten, as RAFT does.

    Returns:
        The set.
    """
    return RaftStyle(scale=(-0.2, 0.6), eraser=Eraser(most=3))
