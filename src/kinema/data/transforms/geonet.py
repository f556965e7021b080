"""GeoNet's augmentation of snippets of video with known intrinsics: zoom, crop, colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from kinema.data.driving_sample import DrivingSample
from kinema.data.transforms.colour import ColourJitter, drawn_colours, mean_grey, recoloured
from kinema.data.transforms.pairs import Generators, channels_first
from kinema.data.transforms.views import Framing, View, as_tensor, placed, seen_intrinsics
from kinema.errors import InputError
from kinema.ops.affine import affine_image
from kinema.ops.resize import (
    IntrinsicsConvention,
    resize_depth,
    resize_image,
    resize_intrinsics,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Snippets:
    """A batch of short sequences of one moving camera each.

    Attributes:
        frames: (B, T, 3, H, W) RGB, float32 in [0, 1], or uint8 as files hold it.
        K: (B, 3, 3) intrinsics in pixels of the frames.
        depth: (B, D, 1, H, W) z in the camera of the target (D = 1) or of all frames, 0 where not known; None
            without.
    """

    frames: Float[Tensor, "b t 3 h w"] | UInt8[Tensor, "b t 3 h w"]
    K: Float[Tensor, "b 3 3"]
    depth: Float[Tensor, "b d 1 h w"] | None = None

    def __len__(self) -> int:
        return self.frames.shape[0]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.frames.shape[-2], self.frames.shape[-1]


def snippets_of(sample: DrivingSample) -> Snippets:
    """Take a snippet as training sees it; bytes stay bytes.

    Args:
        sample: with intrinsics. Depth in the size of the file is brought to that of the frames, not blended.

    Returns:
        A batch of one.

    Raises:
        InputError: when the intrinsics are not known.
    """
    if sample.K is None:
        raise InputError(f"{sample.name}: the intrinsics of its camera are not known; training needs them")
    frames = channels_first(sample.frames)
    depth = None
    if sample.depth is not None:
        size_hw = frames.shape[-2], frames.shape[-1]
        depth = resize_depth(torch.from_numpy(sample.depth)[None, None], size_hw)[None]
    return Snippets(frames=frames[None], K=torch.from_numpy(sample.K).float()[None], depth=depth)


@dataclass(frozen=True, kw_only=True)
class GeoNetStyle:
    """What happens to snippets.

    Attributes:
        zoom: least and largest enlargement, drawn for x and y apart.
        mirrored: probability that left and right change places: a mirrored world, x to -x, before a camera
            with the other principal point.
        recoloured: probability of other colours.
        gamma: least and largest power.
        brightness: least and largest factor.
        gains: least and largest factor of each channel.
        gains_per_frame: whether each frame has gains of its own.
        jitter: brightness, contrast, saturation and hue of the whole snippet, after the above; None for none.
        intrinsics: how the principal point moves with a zoom, see `kinema.ops.resize.resize_intrinsics`.
    """

    zoom: tuple[float, float] = (1.0, 1.15)
    mirrored: float = 0.0
    recoloured: float = 0.5
    gamma: tuple[float, float] = (0.8, 1.2)
    brightness: tuple[float, float] = (0.5, 2.0)
    gains: tuple[float, float] = (0.8, 1.2)
    gains_per_frame: bool = False
    jitter: ColourJitter | None = None
    intrinsics: IntrinsicsConvention = "half_pixel"

    def geometric(self, snippets: Snippets, size_hw: tuple[int, int], rngs: Generators) -> Snippets:
        """Resize to the training size, enlarge at random, and cut a window of that size out of it.

        Args:
            snippets: of any size.
            size_hw: height and width of the samples.
            rngs: one per snippet.

        Returns:
            The snippets in float32, with the intrinsics and depth of what is seen. Depth is not blended; its
            values do not change, since a crop of a larger picture is the same camera with another K.
        """
        snippets = resized(snippets, size_hw, intrinsics=self.intrinsics)
        views = as_tensor([self._view(size_hw, rng) for rng in rngs], snippets.frames.device)
        steps = torch.stack((views[:, 0, 0], views[:, 1, 1]), 1)
        K = seen_intrinsics(snippets.K, views)
        if self.intrinsics == "plain":
            K[:, :2, 2] -= (steps.sign() * 0.5 * (1 / steps.abs() - 1)).to(K)
        K[:, :, 0] *= steps[:, :1].sign().to(K)  # a mirrored world instead of a camera that mirrors
        frames = _each(snippets.frames, views, size_hw, "bilinear")
        depth = None if snippets.depth is None else _each(snippets.depth, views, size_hw, "nearest")
        return Snippets(frames=frames, K=K, depth=depth)

    def photometric(self, snippets: Snippets, rngs: Generators) -> Snippets:
        """Change colours; nothing moves.

        Args:
            snippets: in float32.
            rngs: one per snippet.

        Returns:
            The snippets in [0, 1].
        """
        count = snippets.frames.shape[1]
        frames = [self._recoloured(one, count, rng) for one, rng in zip(snippets.frames, rngs, strict=True)]
        return replace(snippets, frames=torch.stack(frames))

    def _view(self, size_hw: tuple[int, int], rng: np.random.Generator) -> View:
        x, y = rng.uniform(*self.zoom, 2)
        mirrored = bool(rng.random() < self.mirrored)
        framing = Framing(zoom_xy=(float(x), float(y)), mirrored_xy=(mirrored, False))
        return placed(framing, size_hw, size_hw, rng)

    def _recoloured(self, frames: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """One snippet; the same count of numbers is drawn whether or not it changes."""
        chosen = rng.random() < self.recoloured
        gamma, brightness = rng.uniform(*self.gamma), rng.uniform(*self.brightness)
        gains = rng.uniform(*self.gains, (count, 3))
        jitter = None if self.jitter is None else drawn_colours(self.jitter, rng)
        if not chosen:
            return frames
        factors = torch.tensor(gains if self.gains_per_frame else gains[:1]).to(frames)[..., None, None]
        frames = (frames.pow(gamma) * (brightness * factors)).clamp_(0, 1)
        if jitter is None:
            return frames
        return recoloured(frames, [jitter] * count, mean_grey(frames).mean().expand(count))


def resized(
    snippets: Snippets, size_hw: tuple[int, int], *, intrinsics: IntrinsicsConvention = "half_pixel"
) -> Snippets:
    """Resize snippets with their intrinsics and depth; images bilinear with antialias, depth not blended.

    Args:
        snippets: of any size.
        size_hw: the new height and width.
        intrinsics: see `kinema.ops.resize.resize_intrinsics`.

    Returns:
        The snippets at that size.
    """
    if snippets.size_hw == tuple(size_hw):
        return snippets
    frames = snippets.frames.flatten(0, 1)
    frames = frames.float() / 255 if frames.dtype == torch.uint8 else frames
    depth = snippets.depth
    if depth is not None:
        count = depth.shape[1]
        depth = resize_depth(depth.flatten(0, 1), size_hw).view(-1, count, 1, *size_hw)
    return Snippets(
        frames=resize_image(frames, size_hw, antialias=True).view(len(snippets), -1, 3, *size_hw),
        K=resize_intrinsics(snippets.K, snippets.size_hw, size_hw, convention=intrinsics),
        depth=depth,
    )


def _each(maps: Tensor, views: Tensor, size_hw: tuple[int, int], mode: str) -> Tensor:
    count = maps.shape[1]
    seen = affine_image(
        maps.flatten(0, 1),
        views.repeat_interleave(count, 0),
        size_hw,
        mode="nearest" if mode == "nearest" else "bilinear",
    )
    return seen.view(-1, count, *seen.shape[1:])


def geonet() -> GeoNetStyle:
    """GeoNet's set, repaired where it breaks brightness constancy.

    x and y are enlarged apart by 1 to 1.15, then a window of the training size (128x416) is cut out at random
    and K follows. Half of the time: gamma 0.8 to 1.2, brightness 0.5 to 2, each channel's gain 0.8 to 1.2,
    clipped. No mirror. One set of gains for the whole snippet; the principal point follows the half-pixel
    rule.

    Returns:
        The set.
    """
    return GeoNetStyle()


def geonet_original() -> GeoNetStyle:
    """GeoNet's set as published: as `geonet`, with gains for each channel of each frame, and plain c s.

    Returns:
        The set.
    """
    return GeoNetStyle(gains_per_frame=True, intrinsics="plain")


def geonet_modern() -> GeoNetStyle:
    """The set of today's self-supervised depth (Godard et al. 2019): for the network's frames alone.

    No zoom; mirrored half of the time; half of the time brightness, contrast and saturation ±0.2 and hue ±0.1
    of a turn, the same for all frames. The loss compares the frames of `geometric`.

    Returns:
        The set.
    """
    jitter = ColourJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    return GeoNetStyle(
        zoom=(1.0, 1.0),
        mirrored=0.5,
        gamma=(1.0, 1.0),
        brightness=(1.0, 1.0),
        gains=(1.0, 1.0),
        jitter=jitter,
    )


def snippet_sets() -> dict[str, GeoNetStyle]:
    """Every named set for snippets.

    Returns:
        The sets by name.
    """
    return {"geonet": geonet(), "geonet-original": geonet_original(), "geonet-modern": geonet_modern()}


def augment_snippets(
    snippets: Snippets, size_hw: tuple[int, int], rngs: Sequence[np.random.Generator], *, by: GeoNetStyle
) -> Snippets:
    """Apply a set whole.

    Args:
        snippets: of any size.
        size_hw: height and width of the samples.
        rngs: one per snippet.
        by: the set.

    Returns:
        The samples.
    """
    return by.photometric(by.geometric(snippets, size_hw, rngs), rngs)
