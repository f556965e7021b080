"""EDVR's augmentation of windows of frames: which ones, a crop in low and high resolution, eight poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.data.restoration_sample import RestorationSample
from kinema.data.transforms.pairs import Generators, channels_first
from kinema.data.windows import centres_inside, window_indices
from kinema.errors import UsageError


@dataclass(frozen=True, kw_only=True, eq=False)
class Windows:
    """A batch of windows of degraded frames with the truth of some of them.

    Attributes:
        low: (B, T, 3, h, w) RGB, float32 in [0, 1] or uint8: what the network sees.
        sharp: (B, S, 3, s h, s w) as `low`: the truth, of the centre frame (S = 1) or of all; s is a whole
            number.
    """

    low: Float[Tensor, "b t 3 h w"] | UInt8[Tensor, "b t 3 h w"]
    sharp: Float[Tensor, "b s 3 hh ww"] | UInt8[Tensor, "b s 3 hh ww"]

    def __len__(self) -> int:
        return self.low.shape[0]

    def scale(self) -> int:
        """How many pixels of the truth a pixel is wide.

        Returns:
            1 or more.

        Raises:
            UsageError: when the sizes are no whole multiples, or not the same ones.
        """
        (low_h, low_w), (sharp_h, sharp_w) = self.low.shape[-2:], self.sharp.shape[-2:]
        scale = sharp_h // low_h
        if scale < 1 or (scale * low_h, scale * low_w) != (sharp_h, sharp_w):
            raise UsageError(f"frames of {low_w}x{low_h} do not fit a truth of {sharp_w}x{sharp_h}")
        return scale


def windows_of(sample: RestorationSample) -> Windows:
    """Take a window as training sees it; bytes stay bytes.

    Args:
        sample: a window, or a clip.

    Returns:
        A batch of one.
    """
    return Windows(low=channels_first(sample.low)[None], sharp=channels_first(sample.sharp)[None])


@dataclass(frozen=True, kw_only=True)
class EdvrStyle:
    """What happens to windows.

    Attributes:
        horizontal: probability that left and right change places.
        vertical: probability that top and bottom change places.
        transposed: probability that rows and columns change places; with the mirrors all quarter turns.
        intervals: of the frames of a window, one is drawn.
        reversed: probability that time runs backwards.
    """

    horizontal: float = 0.5
    vertical: float = 0.5
    transposed: float = 0.5
    intervals: tuple[int, ...] = (1,)
    reversed: float = 0.5

    def frames(self, count: int, length: int, rng: np.random.Generator) -> tuple[int, ...]:
        """Draw which frames of a clip make a window.

        Args:
            count: frames of the clip.
            length: of the window, odd.
            rng: decides.

        Returns:
            Indices for `kinema.data.restoration_sample.RestorationClip.read`, the centre in the middle; none
            lies outside the clip.

        Raises:
            UsageError: when the clip is too short for every interval.
        """
        fitting = [step for step in self.intervals if centres_inside(count, frames=length, interval=step)]
        if not fitting:
            raise UsageError(
                f"a clip of {count} frames is too short for a window of {length} with interval "
                f"{min(self.intervals)}"
            )
        step = fitting[int(rng.integers(len(fitting)))]
        centres = centres_inside(count, frames=length, interval=step)
        centre = centres[int(rng.integers(len(centres)))]
        window = window_indices(centre, count, frames=length, interval=step)
        return window[::-1] if rng.random() < self.reversed else window

    def geometric(self, windows: Windows, size_hw: tuple[int, int], rngs: Generators) -> Windows:
        """Cut the same window out of all frames of a sample, and turn it into one of its eight poses.

        Args:
            windows: at least as large as the crop.
            size_hw: of the crop in low resolution; a transposed sample needs a square.
            rngs: one per sample.

        Returns:
            The crops, of the type of what was given.

        Raises:
            UsageError: when the crop does not fit, or is to be transposed and not square.
        """
        scale, (height, width) = windows.scale(), size_hw
        full_h, full_w = windows.low.shape[-2:]
        if height > full_h or width > full_w:
            raise UsageError(f"a crop of {width}x{height} does not fit in frames of {full_w}x{full_h}")
        if self.transposed > 0 and height != width:
            raise UsageError(f"a crop of {width}x{height} is transposed at times: it has to be square")
        lows, sharps = [], []
        for low, sharp, rng in zip(windows.low, windows.sharp, rngs, strict=True):
            top, left = int(rng.integers(full_h - height + 1)), int(rng.integers(full_w - width + 1))
            pose = rng.random(3) < (self.horizontal, self.vertical, self.transposed)
            lows.append(posed(_cut(low, top, left, size_hw), pose))
            large = (height * scale, width * scale)
            sharps.append(posed(_cut(sharp, top * scale, left * scale, large), pose))
        return Windows(low=torch.stack(lows), sharp=torch.stack(sharps))


def posed(frames: Tensor, pose: Sequence[bool] | np.ndarray) -> Tensor:
    """Mirror and transpose frames.

    Args:
        frames: (..., H, W).
        pose: whether left and right, top and bottom, and then rows and columns change places.

    Returns:
        (..., H, W), or (..., W, H) when transposed.
    """
    axes = [axis for axis, chosen in ((-1, pose[0]), (-2, pose[1])) if chosen]
    frames = frames.flip(axes) if axes else frames
    return frames.transpose(-1, -2) if pose[2] else frames


def _cut(frames: Tensor, top: int, left: int, size_hw: tuple[int, int]) -> Tensor:
    return frames[..., top : top + size_hw[0], left : left + size_hw[1]]


def edvr() -> EdvrStyle:
    """EDVR's set (BasicSR, REDS): 64x64 of the low resolution, 256x256 of the truth.

    The centre is drawn so that the window lies in the clip, interval 1, half of the time backwards. One crop
    for all frames; left-right, top-bottom, and rows against columns each half of the time. No colours change.

    What differs: an interval that does not fit a short clip is not drawn, instead of drawing centres for
    ever.

    Returns:
        The set.
    """
    return EdvrStyle()
