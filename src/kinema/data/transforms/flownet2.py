"""FlowNet2's augmentation, with which PWC-Net and PWC-Net+ were trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from kinema.data.transforms.colour import add_noise
from kinema.data.transforms.eigen_colour import EigenColours, drawn_eigen, eigen_changed
from kinema.data.transforms.pairs import FlowPairs, Generators
from kinema.data.transforms.views import Framing, View, about_centre, centred, chained, look, placed

_TRIES = 50
_SLACK = 1e-6  # pixels


@dataclass(frozen=True, kw_only=True)
class FlowNet2:
    """What the original training did to a pair.

    Attributes:
        translation: of both frames, ± this part of the crop's sides.
        rotation: of both frames, ± radians.
        zoom: mean and half width of the logarithm of the enlargement of both frames.
        squeeze: ± logarithm of the enlargement of x over that of y.
        second: standard deviation, for frame 2 alone, of a shift in parts of the crop's sides, a turn in
            radians and the logarithm of a zoom.
        colours: of both frames alike.
        second_colours: standard deviation, for frame 2 alone, of the logarithms of gamma, contrast and each
            colour's factor, and of the brightness.
        noise: largest standard deviation of white noise; white is 1.
        noisy: probability of noise.
        half_life: steps after which half of the way of the strength from a half to one is done; 0 is one
            from the start.
    """

    translation: float = 0.4
    rotation: float = 0.4
    zoom: tuple[float, float] = (0.2, 0.4)
    squeeze: float = 0.3
    second: float = 0.03
    colours: EigenColours = field(default_factory=EigenColours)
    second_colours: float = 0.02
    noise: float = 0.06
    noisy: float = 1.0
    half_life: int = 50_000

    def strength(self, step: int) -> float:
        """The factor of all spreads.

        Args:
            step: of the training, from 0.

        Returns:
            A half at the start, three quarters at `half_life`, then towards one.
        """
        if self.half_life == 0:
            return 1.0
        return 1 / (1 + math.exp(-math.log(3) * step / self.half_life))

    def geometric(
        self, pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators, *, step: int
    ) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.geometric`."""
        strength = self.strength(step)
        first = [self._view(pairs.size_hw, size_hw, rng, strength) for rng in rngs]
        second = [
            chained(view, self._change(size_hw, rng, strength)) for view, rng in zip(first, rngs, strict=True)
        ]
        return look(pairs, first, size_hw, views2=second)

    def photometric(self, pairs: FlowPairs, rngs: Generators, *, step: int) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.photometric`."""
        strength = self.strength(step)
        draw = drawn_eigen(self.colours, rngs, strength=strength)
        frames = eigen_changed(torch.stack((pairs.image1, pairs.image2), 1), draw)
        second = self._second_colours(frames[:, 1], rngs, strength)
        sigmas = [self._sigma(rng) for rng in rngs]
        return add_noise(replace(pairs, image1=frames[:, 0], image2=second), sigmas, rngs)

    def _view(
        self,
        source_hw: tuple[int, int],
        size_hw: tuple[int, int],
        rng: np.random.Generator,
        strength: float,
    ) -> View:
        """Redrawn until the crop stays inside; at last a window of that shape that fits."""
        sides, middle = np.array([size_hw[1], size_hw[0]]), (np.array([source_hw[1], source_hw[0]]) - 1) / 2
        framing = Framing()
        for _ in range(_TRIES):
            shift = strength * rng.uniform(-self.translation, self.translation, 2) * sides
            turn = strength * rng.uniform(-self.rotation, self.rotation)
            zoom = self.zoom[0] + strength * rng.uniform(-self.zoom[1], self.zoom[1])
            squeeze = strength * rng.uniform(-self.squeeze, self.squeeze) / 2
            framing = Framing(zoom_xy=(math.exp(zoom + squeeze), math.exp(zoom - squeeze)), angle=turn)
            centre = middle + shift / framing.zoom_xy
            if (np.abs(centre - middle) + framing.reach_xy(size_hw) <= middle + 0.5 + _SLACK).all():
                return centred(framing, centre, size_hw)
        return placed(framing, source_hw, size_hw, rng)

    def _change(self, size_hw: tuple[int, int], rng: np.random.Generator, strength: float) -> View:
        x, y, turn, zoom = strength * rng.normal(0, self.second, 4)
        shift = x * size_hw[1], y * size_hw[0]
        return about_centre(size_hw, zoom=math.exp(zoom), angle=float(turn), shift_xy=shift)

    def _second_colours(self, images: Tensor, rngs: Sequence[np.random.Generator], strength: float) -> Tensor:
        draws = np.stack([strength * rng.normal(0, self.second_colours, 6) for rng in rngs])
        numbers = torch.from_numpy(draws).to(images)[..., None, None]
        gamma, contrast, brightness = numbers[:, 0:1].exp(), numbers[:, 1:2].exp(), numbers[:, 2:3]
        shaded = (images * numbers[:, 3:6].exp()).clamp_(0, 1).pow_(gamma)
        return ((shaded - 0.5) * contrast + 0.5 + brightness).clamp_(0, 1)

    def _sigma(self, rng: np.random.Generator) -> float:
        chance, sigma = rng.random(), rng.uniform(0, self.noise)
        return float(sigma) if chance < self.noisy else 0.0


def flownet2() -> FlowNet2:
    """FlowNet2's set, with the numbers of the official PWC-Net (FlyingChairs and FlyingThings3D).

    Both frames: moved by ±0.4 of the crop's sides, turned by ±0.4 rad, zoomed by exp(0.2 ± 0.4), squeezed by
    exp(±0.3), redrawn until the crop stays inside the frame. Colours along the axes of natural colours:
    luminance to the power exp(-0.2 ± 0.4), times exp(±0.4), plus ±0.03; saturation to the power exp(±0.4),
    times exp(-0.3 ± 0.5), plus ±0.03; each axis to the power exp(N(0.4)), times exp(N(0.2)), plus N(0.02);
    contrast to the power exp(N(0.4)), times exp(N(0.4)), plus N(0.04); a turn of the colours by ±1 rad; white
    noise of sigma 0 to 0.06. Frame 2 alone: moved, turned and zoomed by N(0.03); gamma, brightness, contrast
    and colour by N(0.02). All spreads grow from a half to the whole, half of that in 50,000 steps.

    What differs: the axes are Ohta's; the squeeze is shared by both sides, so that the area stays; after 50
    draws that do not fit, the window is enlarged until it does.

    Returns:
        The set.
    """
    return FlowNet2()


def pwcnet_plus_sintel() -> FlowNet2:
    """PWC-Net+ on Sintel: as `flownet2`, without noise.

    Returns:
        The set.
    """
    return FlowNet2(noise=0.0)


def pwcnet_plus_kitti() -> FlowNet2:
    """PWC-Net+ on KITTI: as `flownet2`, with noise in half of the pairs.

    The originals also store mirrored copies of the data; use `kinema.data.transforms.flip` for that.

    Returns:
        The set.
    """
    return FlowNet2(noisy=0.5)


def disentangled() -> FlowNet2:
    """The published numbers of "Disentangling Architecture and Training" for PWC-Net (Sun et al. 2022).

    Moved and turned by ±0.4, squeezed by exp(±0.3), zoomed by exp(±0.3); frame 2 alone by N(0.03); noise of
    sigma up to 0.06; no mirror. The crop is 320x448. Colours, which it does not list, as in `flownet2`.

    Returns:
        The set.
    """
    return FlowNet2(zoom=(0.0, 0.3), half_life=0)
