"""EDVR: video restoration with deformable alignment (Wang, Chan, Yu, Dong and Loy, CVPR workshops 2019).

A window of frames becomes one restored frame in four steps, each a method, so that a clip need not repeat
what neighbouring windows share:

1. `EDVR.features`: a pyramid of three feature maps, of each frame by itself;
2. `EDVR.align`: a neighbour's pyramid is fetched to where the middle frame's things are, by deformable
   convolutions from coarse to fine and once more (section 3.2, PCD);
3. `EDVR.fuse`: the aligned frames become one map, each weighted by how much it agrees (section 3.3, TSA);
4. `EDVR.reconstruct`: residual blocks, twice pixel shuffle, and the enlarged middle frame is added.

Parameters carry the names of BasicSR's state dict. ``scale=1`` without ``predeblur``, which only the authors'
first code has, keeps that code's names of its three first convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import InputError, UsageError
from kinema.models.edvr_parts import (
    AttentionFusion,
    FeaturePyramid,
    PredeblurPyramid,
    PyramidAlignment,
    blocks,
    conv,
    enlarged,
    leaky,
)
from kinema.models.edvr_settings import PRESETS, Fusion, Predeblur, Preset, Scale, Settings
from kinema.outputs import RestoreOutput

TAIL = 64  # channels behind the second pixel shuffle, whatever the width of the network


class Aligned(NamedTuple):
    """Features of neighbours at the places of their reference.

    Attributes:
        features: (N, F, h, w).
        offsets: (N, 2 G 9, h, w) float32 at each of `OFFSET_LEVELS`, in pixels of the level; none unless
            they were asked for.
    """

    features: Float[Tensor, "n f h w"]
    offsets: tuple[Float[Tensor, "n c _ _"], ...]


@dataclass(frozen=True)
class EdvrOutput(RestoreOutput):
    """A restored frame, and what alignment did.

    Attributes:
        offsets: as `Aligned.offsets`, of all frames of all windows: N is B times T.
    """

    offsets: tuple[Float[Tensor, "n c _ _"], ...] = ()


class EDVR(nn.Module):
    """Video restoration: the middle frame of a window from all of its frames.

    Each argument after the preset is the field of `Settings` with that name; None keeps the preset's.

    Args:
        preset: a published network.
        features: channels.
        frames: of a window.
        extraction_blocks: residual blocks before the alignment.
        reconstruction_blocks: residual blocks behind the fusion.
        offset_groups: channel groups with offsets of their own.
        fusion: of the aligned frames.
        predeblur: whether blurred frames pass a network of their own first.
        scale: of the restored frame.

    Raises:
        UsageError: for an unknown preset or value.
    """

    settings: Settings

    def __init__(
        self,
        preset: Preset = "m",
        *,
        features: int | None = None,
        frames: int | None = None,
        extraction_blocks: int | None = None,
        reconstruction_blocks: int | None = None,
        offset_groups: int | None = None,
        fusion: Fusion | None = None,
        predeblur: Predeblur | None = None,
        scale: Scale | None = None,
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise UsageError(f"preset {preset!r} of edvr is unknown: use {' or '.join(PRESETS)}")
        base = PRESETS[preset]
        self.settings = settings = replace(
            base,
            features=base.features if features is None else features,
            frames=base.frames if frames is None else frames,
            extraction_blocks=base.extraction_blocks if extraction_blocks is None else extraction_blocks,
            reconstruction_blocks=(
                base.reconstruction_blocks if reconstruction_blocks is None else reconstruction_blocks
            ),
            offset_groups=base.offset_groups if offset_groups is None else offset_groups,
            fusion=fusion or base.fusion,
            predeblur=predeblur or base.predeblur,
            scale=base.scale if scale is None else scale,
        )
        width = settings.features
        self._add_first_layers()
        self.feature_extraction = blocks(width, settings.extraction_blocks)
        self.conv_l2_1 = conv(width, width, stride=2)
        self.conv_l2_2 = conv(width, width)
        self.conv_l3_1 = conv(width, width, stride=2)
        self.conv_l3_2 = conv(width, width)
        self.pcd_align = PyramidAlignment(width, groups=settings.offset_groups)
        self.fusion: nn.Module = (
            AttentionFusion(width, frames=settings.frames)
            if settings.fusion == "tsa"
            else conv(settings.frames * width, width, side=1)
        )
        self.reconstruction = blocks(width, settings.reconstruction_blocks)
        self.upconv1 = conv(width, 4 * width)
        self.upconv2 = conv(width, 4 * TAIL)
        self.conv_hr = conv(TAIL, TAIL)
        self.conv_last = conv(TAIL, 3)

    def _add_first_layers(self) -> None:
        """What turns a frame into the first feature map."""
        width, quarter = self.settings.features, self.settings.scale == 1
        if self.settings.predeblur == "pyramid":
            self.predeblur = PredeblurPyramid(width, quarter=quarter)
            self.conv_1x1 = conv(width, width, side=1)
        elif quarter:
            self.conv_first_1 = conv(3, width)
            self.conv_first_2 = conv(width, width, stride=2)
            self.conv_first_3 = conv(width, width, stride=2)
        else:
            self.conv_first = conv(3, width)

    def reduce_precision(self, dtype: torch.dtype) -> None:
        """Store the weights in another type, for inference.

        Autocast gives the same result, but would convert all weights again for each window. Offsets,
        modulation and what is added to the frame stay float32: they are widened as soon as they are computed.

        Args:
            dtype: such as torch.bfloat16.
        """
        self.to(dtype)

    def complete_state(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add to the weights of a network without attention what this one, which has it, needs.

        That is how the published networks are trained: without attention first. Its layers keep the weights
        that they have now; the one convolution that they replace is left out.

        Args:
            tensors: a state dict.

        Returns:
            It, completed; as it is when it is not of this very network without attention.
        """
        own = self.state_dict()
        shared = {name: tensor.shape for name, tensor in own.items() if not name.startswith("fusion.")}
        known = {name: tensor.shape for name, tensor in tensors.items() if not name.startswith("fusion.")}
        if self.settings.fusion != "tsa" or known != shared or "fusion.weight" not in tensors:
            return dict(tensors)
        return {**own, **{name: tensors[name] for name in shared}}

    def forward(self, frames: Float[Tensor, "b t 3 h w"], *, keep_offsets: bool = False) -> EdvrOutput:
        """Restore the middle frame of each window.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], T as the settings say, in time order, of any size: sides
                that are no multiples of `Settings.multiple` are continued by reflection inside.
            keep_offsets: whether the output holds the offsets, which takes memory: to look at them, or to
                train with them.

        Returns:
            (B, 3, s H, s W), s being the scale; not clamped.

        Raises:
            InputError: when the window has another length, or frames are smaller than the multiple.
        """
        _, t, _, h, w = frames.shape
        if t != self.settings.frames:
            raise InputError(f"a window of {t} frames: this edvr takes {self.settings.frames}")
        middle = t // 2
        images = self.pad(frames.flatten(0, 1))
        pyramid = self.features(images)
        reference = FeaturePyramid(*(_windows(level, t)[:, middle] for level in pyramid))
        aligned = self.align(pyramid, reference, keep_offsets=keep_offsets)
        fused = self.fuse(_windows(aligned.features, t))
        restored = self.reconstruct(fused, _windows(images, t)[:, middle])
        scale = self.settings.scale
        return EdvrOutput(restored[..., : scale * h, : scale * w], aligned.offsets)

    def pad(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h2 w2"]:
        """Continue frames by reflection at the bottom and right, until `features` can take them.

        Args:
            images: (N, 3, H, W).

        Returns:
            (N, 3, H2, W2), multiples of `Settings.multiple`; the frames themselves where they are.

        Raises:
            InputError: when a side is shorter than the multiple.
        """
        multiple, (h, w) = self.settings.multiple, images.shape[-2:]
        if min(h, w) < multiple:
            raise InputError(f"frames of {w}x{h} are too small for edvr: {multiple} pixels a side at least")
        more = (-w % multiple, -h % multiple)
        return F.pad(images, (0, more[0], 0, more[1]), mode="reflect") if any(more) else images

    def features(self, images: Float[Tensor, "n 3 h w"]) -> FeaturePyramid:
        """Look at each frame by itself; neighbouring windows share the result.

        Args:
            images: (N, 3, H, W) RGB in [0, 1], H and W multiples of `Settings.multiple`.

        Returns:
            The pyramids.

        Raises:
            InputError: for sides that are no such multiples: `pad` helps.
        """
        multiple, (h, w) = self.settings.multiple, images.shape[-2:]
        if h % multiple or w % multiple or not h * w:
            raise InputError(f"frames of {w}x{h}: both sides must be multiples of {multiple}; pad them")
        images = images.to(self.conv_last.weight.dtype, memory_format=torch.channels_last)
        l1 = self.feature_extraction(self._first(images))
        l2 = leaky(self.conv_l2_2(leaky(self.conv_l2_1(l1))))
        l3 = leaky(self.conv_l3_2(leaky(self.conv_l3_1(l2))))
        return FeaturePyramid(l1, l2, l3)

    def _first(self, images: Tensor) -> Tensor:
        if self.settings.predeblur == "pyramid":
            return cast("Tensor", self.conv_1x1(self.predeblur(images)))
        if self.settings.scale == 1:
            for layer in (self.conv_first_1, self.conv_first_2, self.conv_first_3):
                images = leaky(layer(images))
            return images
        return leaky(self.conv_first(images))

    def align(
        self, neighbour: FeaturePyramid, reference: FeaturePyramid, *, keep_offsets: bool = False
    ) -> Aligned:
        """Fetch the features of neighbours to the places of their references (section 3.2).

        The reference itself takes part as a neighbour.

        Args:
            neighbour: pyramids of N frames.
            reference: of as many frames, or of a divisor B of N: then the first N / B neighbours belong to
                the first reference, and so on.
            keep_offsets: whether to return the offsets.

        Returns:
            Features at the finest level, and the offsets if they were asked for.
        """
        times = len(neighbour.l1) // len(reference.l1)
        if times > 1:
            reference = FeaturePyramid(*(level.repeat_interleave(times, 0) for level in reference))
        features, offsets = self.pcd_align(neighbour, reference)
        return Aligned(features, tuple(offsets) if keep_offsets else ())

    def fuse(self, aligned: Float[Tensor, "b t f h w"]) -> Float[Tensor, "b f h w"]:
        """Make one feature map of all frames of a window (section 3.3).

        Args:
            aligned: (B, T, F, h, w), in time order.

        Returns:
            (B, F, h, w).
        """
        if isinstance(self.fusion, AttentionFusion):
            return cast("Tensor", self.fusion(aligned))
        return cast("Tensor", self.fusion(torch.cat(aligned.unbind(1), 1)))

    def reconstruct(
        self, fused: Float[Tensor, "b f h w"], frame: Float[Tensor, "b 3 hh ww"]
    ) -> Float[Tensor, "b 3 _ _"]:
        """Draw the restored frame.

        Args:
            fused: of `fuse`.
            frame: (B, 3, H, W) RGB in [0, 1], the window's middle frame as `features` saw it.

        Returns:
            (B, 3, s H, s W) in the type of the frame.
        """
        x: Tensor = self.reconstruction(fused)
        x = leaky(F.pixel_shuffle(self.upconv1(x), 2))
        x = leaky(F.pixel_shuffle(self.upconv2(x), 2))
        x = cast("Tensor", self.conv_last(leaky(self.conv_hr(x))))
        base: Tensor = enlarged(frame, 4) if self.settings.scale == 4 else frame
        return base + x.to(base.dtype)  # bfloat16 holds 8 bits of a picture, but more of what is added to it


def _windows(x: Tensor, frames: int) -> Tensor:
    """(B T, ...) as (B, T, ...)."""
    return x.reshape(len(x) // frames, frames, *x.shape[1:])
