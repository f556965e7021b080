"""The parts of EDVR: deformable alignment, attention over frames, the network for blurred frames."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.ops.deform import deform_conv2d

LEVELS = (3, 2, 1)  # of the pyramid, coarsest first; level 1 is the finest
OFFSET_LEVELS = ("l3", "l2", "l1", "cascade")
"""Where deformable convolutions sit, in order of computation."""

SLOPE = 0.1  # of the leaky rectifiers
TAPS = 9  # of a 3x3 kernel


class FeaturePyramid(NamedTuple):
    """Feature maps of frames, each by itself.

    Attributes:
        l1: (N, F, h, w), h and w being the frames' (``scale`` 4) or a quarter of it (``scale`` 1).
        l2: (N, F, h / 2, w / 2).
        l3: (N, F, h / 4, w / 4).
    """

    l1: Float[Tensor, "n f h w"]
    l2: Float[Tensor, "n f h2 w2"]
    l3: Float[Tensor, "n f h4 w4"]


class PyramidAlignment(nn.Module):
    """Alignment of two pyramids from coarse to fine, and once more at the finest level (section 3.2, PCD).

    Args:
        width: channels F.
        groups: channel groups with offsets of their own.
    """

    def __init__(self, width: int, *, groups: int) -> None:
        super().__init__()
        doubled = {f"l{level}": 2 * width for level in LEVELS}
        self.offset_conv1 = _convs(doubled, width)
        self.offset_conv2 = _convs({**doubled, "l3": width}, width)
        self.offset_conv3 = _convs({"l2": width, "l1": width}, width)
        self.dcn_pack = nn.ModuleDict(
            {f"l{level}": GuidedDeformConv(width, groups=groups) for level in LEVELS}
        )
        self.feat_conv = _convs({"l2": 2 * width, "l1": 2 * width}, width)
        self.cas_offset_conv1 = conv(2 * width, width)
        self.cas_offset_conv2 = conv(width, width)
        self.cas_dcnpack = GuidedDeformConv(width, groups=groups)

    def forward(self, neighbour: FeaturePyramid, reference: FeaturePyramid) -> tuple[Tensor, list[Tensor]]:
        """Align.

        Args:
            neighbour: of N frames.
            reference: of N frames.

        Returns:
            (N, F, h, w) features, and the offsets at `OFFSET_LEVELS`.
        """
        features, guide, above = neighbour.l3, None, None
        offsets: list[Tensor] = []
        for level in LEVELS:
            name, own = f"l{level}", neighbour[level - 1]
            guide = self._guide(name, torch.cat([own, reference[level - 1]], 1), guide)
            features, offset = self.dcn_pack[name](own, guide)
            offsets.append(offset)
            if above is not None:
                features = self.feat_conv[name](torch.cat([features, above], 1))
            if level > 1:  # nothing rectifies the finest level before the cascade
                features = leaky(features)
                above = enlarged(features, 2)
        guide = leaky(self.cas_offset_conv1(torch.cat([features, reference.l1], 1)))
        guide = leaky(self.cas_offset_conv2(guide))
        features, offset = self.cas_dcnpack(features, guide)
        return leaky(features), [*offsets, offset]

    def _guide(self, name: str, pair: Tensor, coarser: Tensor | None) -> Tensor:
        """The map that a level's offsets are read from; doubled on the way down, as displacements are."""
        guide = leaky(self.offset_conv1[name](pair))
        if coarser is None:
            return leaky(self.offset_conv2[name](guide))
        guide = torch.cat([guide, 2 * enlarged(coarser, 2)], 1)
        return leaky(self.offset_conv3[name](leaky(self.offset_conv2[name](guide))))


class GuidedDeformConv(nn.Module):
    """Modulated deformable 3x3 convolution whose offsets and modulation are read from another map.

    Args:
        width: channels F.
        groups: channel groups with offsets of their own.
    """

    def __init__(self, width: int, *, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(width, width, 3, 3))
        self.bias = nn.Parameter(torch.zeros(width))
        self.conv_offset = conv(width, 3 * groups * TAPS)
        bound = 1 / math.sqrt(TAPS * width)
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.zeros_(self.conv_offset.weight)  # the first step looks straight ahead, at half strength
        nn.init.zeros_(cast("Tensor", self.conv_offset.bias))

    def forward(self, x: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
        """Convolve.

        Args:
            x: (N, F, h, w).
            guide: (N, F, h, w).

        Returns:
            (N, F, h, w), and the offsets (N, 2 G 9, h, w): y before x, tap by tap, group by group.
        """
        # Positions are float32: bfloat16 knows 30 and 30.25 pixels, but nothing in between.
        steering = self.conv_offset(guide)
        steering = steering.to(torch.promote_types(steering.dtype, torch.float32))
        offset, logits = steering.split((2 * self.groups * TAPS, self.groups * TAPS), 1)
        with torch.autocast(x.device.type, enabled=False):  # its sums are wider than what it is given
            result = deform_conv2d(
                x,
                offset,
                self.weight.to(x.dtype),
                self.bias.to(x.dtype),
                modulation=logits.sigmoid(),
                padding=1,
                deformable_groups=self.groups,
            )
        return result, offset


class AttentionFusion(nn.Module):
    """Temporal and spatial attention over the aligned frames of a window (section 3.3, TSA).

    Args:
        width: channels F.
        frames: T of a window.
    """

    def __init__(self, width: int, *, frames: int) -> None:
        super().__init__()
        self.temporal_attn1 = conv(width, width)
        self.temporal_attn2 = conv(width, width)
        self.feat_fusion = conv(frames * width, width, side=1)
        self.spatial_attn1 = conv(frames * width, width, side=1)
        self.spatial_attn2 = conv(2 * width, width, side=1)
        self.spatial_attn3 = conv(width, width)
        self.spatial_attn4 = conv(width, width, side=1)
        self.spatial_attn5 = conv(width, width)
        self.spatial_attn_l1 = conv(width, width, side=1)
        self.spatial_attn_l2 = conv(2 * width, width)
        self.spatial_attn_l3 = conv(width, width)
        self.spatial_attn_add1 = conv(width, width, side=1)
        self.spatial_attn_add2 = conv(width, width, side=1)

    def forward(self, aligned: Tensor) -> Tensor:
        """Fuse.

        Args:
            aligned: (B, T, F, h, w).

        Returns:
            (B, F, h, w).
        """
        weighted = torch.cat(self._weighted(aligned), 1)
        features = leaky(self.feat_fusion(weighted))
        attention = self._attention(leaky(self.spatial_attn1(weighted)))
        added: Tensor = self.spatial_attn_add2(leaky(self.spatial_attn_add1(attention)))
        return 2 * features * attention.sigmoid() + added

    def _weighted(self, aligned: Tensor) -> list[Tensor]:
        """Each frame, weighted pixel by pixel by how much its embedding agrees with the middle one's."""
        frames = aligned.unbind(1)
        middle = self.temporal_attn1(frames[len(frames) // 2])
        embedded = self.temporal_attn2(aligned.flatten(0, 1)).view_as(aligned)
        wide = torch.promote_types(middle.dtype, torch.float32)  # of a sum over all channels
        likeness = (embedded * middle[:, None]).sum(2, keepdim=True, dtype=wide).sigmoid()
        return [
            frame * weight.to(frame.dtype) for frame, weight in zip(frames, likeness.unbind(1), strict=True)
        ]

    def _attention(self, x: Tensor) -> Tensor:
        """What the fused features are weighted by, before the sigmoid: a pyramid of two halvings."""
        x = leaky(self.spatial_attn2(_pooled(x)))
        below = leaky(self.spatial_attn_l1(x))
        below = leaky(self.spatial_attn_l2(_pooled(below)))
        below = enlarged(leaky(self.spatial_attn_l3(below)), 2)
        x = leaky(self.spatial_attn3(x)) + below
        x = enlarged(leaky(self.spatial_attn4(x)), 2)
        return cast("Tensor", self.spatial_attn5(x))


class PredeblurPyramid(nn.Module):
    """What blurred frames pass first: residual blocks at three sizes, joined from coarse to fine.

    Args:
        width: channels F.
        quarter: whether frames are brought to a quarter of their size.
    """

    def __init__(self, width: int, *, quarter: bool) -> None:
        super().__init__()
        self.conv_first = conv(3, width)
        if quarter:
            self.stride_conv_hr1 = conv(width, width, stride=2)
            self.stride_conv_hr2 = conv(width, width, stride=2)
        self.quarter = quarter
        self.stride_conv_l2 = conv(width, width, stride=2)
        self.stride_conv_l3 = conv(width, width, stride=2)
        self.resblock_l3 = ResidualBlock(width)
        self.resblock_l2_1 = ResidualBlock(width)
        self.resblock_l2_2 = ResidualBlock(width)
        self.resblock_l1 = nn.ModuleList(ResidualBlock(width) for _ in range(5))

    def forward(self, images: Tensor) -> Tensor:
        """Compute the first feature map.

        Args:
            images: (N, 3, H, W).

        Returns:
            (N, F, H, W), or a quarter of the size.
        """
        l1: Tensor = leaky(self.conv_first(images))
        if self.quarter:
            l1 = leaky(self.stride_conv_hr2(leaky(self.stride_conv_hr1(l1))))
        l2 = leaky(self.stride_conv_l2(l1))
        l3 = leaky(self.stride_conv_l3(l2))
        l2 = self.resblock_l2_1(l2) + enlarged(self.resblock_l3(l3), 2)
        l1 = self.resblock_l1[1](self.resblock_l1[0](l1)) + enlarged(self.resblock_l2_2(l2), 2)
        for number in (2, 3, 4):
            l1 = self.resblock_l1[number](l1)
        return l1


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to what they saw; small at first, so that deep stacks train.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = conv(width, width)
        self.conv2 = conv(width, width)
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(0.1)
            nn.init.zeros_(cast("Tensor", layer.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Compute.

        Args:
            x: (N, F, h, w).

        Returns:
            (N, F, h, w).
        """
        return x + cast("Tensor", self.conv2(F.relu(self.conv1(x), inplace=True)))


def blocks(width: int, count: int) -> nn.Sequential:
    """Stack residual blocks.

    Args:
        width: channels.
        count: how many, 0 or more.

    Returns:
        The stack.
    """
    return nn.Sequential(*(ResidualBlock(width) for _ in range(count)))


def conv(inputs: int, outputs: int, *, side: int = 3, stride: int = 1) -> nn.Conv2d:
    """Make a convolution that keeps the size, or divides it by the stride.

    Args:
        inputs: channels.
        outputs: channels.
        side: of the kernel, odd.
        stride: 1 or 2.

    Returns:
        The layer, its weights as torch draws them.
    """
    return nn.Conv2d(inputs, outputs, side, stride=stride, padding=side // 2)


def _convs(inputs: dict[str, int], outputs: int) -> nn.ModuleDict:
    return nn.ModuleDict({name: conv(width, outputs) for name, width in inputs.items()})


def leaky(x: Tensor) -> Tensor:
    """Rectify, keeping a tenth of what is negative, in place.

    Args:
        x: the result of a layer, which nothing else needs; the slope can be told from what comes out.

    Returns:
        The same tensor.
    """
    return F.leaky_relu(x, SLOPE, inplace=True)


def _pooled(x: Tensor) -> Tensor:
    """Largest and mean value of 3x3 windows at half the size; the mean counts the zeros outside."""
    return torch.cat([F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1)], 1)


def enlarged(x: Tensor, times: int) -> Tensor:
    """Enlarge: bilinear, half-pixel.

    Args:
        x: (N, C, h, w).
        times: a whole number.

    Returns:
        (N, C, times h, times w).
    """
    return F.interpolate(x, scale_factor=times, mode="bilinear", align_corners=False)
