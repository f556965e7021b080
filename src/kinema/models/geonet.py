"""GeoNet: depth, the camera's path and flow, learned together from plain video (Yin and Shi, CVPR 2018).

Three networks that explain a short sequence of frames, a *snippet*, together: how far everything in a frame
is, how the camera moved between the frame in the middle (the *target*) and the others (the *sources*), and
how things moved that the camera's motion does not explain. Depth and pose give rigid flow
(`kinema.ops.camera.rigid_flow`); the flow network begins there. Two presets:

``modern`` (default)
    Small networks to be trained from random weights (`kinema.models.geonet_modern`,
    `kinema.models.geonet_matching`): depth of one image, motion of any pair of frames, flow by matching.
``faithful``
    The published networks, number for number (`kinema.models.geonet_faithful`): DispNet with a ResNet50 or
    VGG encoder, PoseNet for 3 or 5 frames, ResFlowNet and DirFlowNetS.

Weights of one do not fit the other. Depth and translation have one common unit, which no video tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import InputError, UsageError
from kinema.models import geonet_faithful as faithful
from kinema.models import geonet_modern as modern
from kinema.models.geonet_blocks import Head, as_input, pad_to_multiple, size_of
from kinema.models.geonet_matching import FlowHead, MatchingFlowNetwork
from kinema.models.geonet_settings import PRESETS, Encoder, Networks, Preset, Settings
from kinema.ops.pose import invert_pose, pose_from_vector
from kinema.ops.resize import resize_flow
from kinema.ops.ssim import dissimilarity_map
from kinema.ops.warp import backward_warp
from kinema.outputs import DepthOutput, PoseOutput, ScaledFlowOutput, SnippetOutput

ALPHA = 0.85  # share of structure in the error of the rigid flow that the published flow network sees
_NORM_EPSILON = 1e-10  # added to each channel of that error

RigidFlow = Tensor | Sequence[Tensor]


class GeoNet(nn.Module):
    """Depth, pose and flow; which of them, the settings say.

    Each argument after the preset is the field of `Settings` with that name; None keeps the preset's.

    Args:
        preset: see the module's text.
        networks: which there are.
        encoder: of the depth network.
        frames: of a snippet.
        scale_normalize: divide inverse depth by its mean.

    Raises:
        UsageError: for an unknown preset or value.
    """

    settings: Settings

    def __init__(
        self,
        preset: Preset = "modern",
        *,
        networks: Networks | None = None,
        encoder: Encoder | None = None,
        frames: int | None = None,
        scale_normalize: bool | None = None,
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise UsageError(f"preset {preset!r} of geonet is unknown: use {' or '.join(PRESETS)}")
        given: dict[str, Any] = {
            "networks": networks,
            "encoder": encoder,
            "frames": frames,
            "scale_normalize": scale_normalize,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        self.settings = replace(PRESETS[preset], **changes)
        if self.settings.has_depth:
            self.depth_net = self._depth_network()
            self.pose_net = self._pose_network()
        if self.settings.has_flow:
            self.flow_net = self._flow_network()

    def _depth_network(self) -> nn.Module:
        return faithful.disp_net(self.settings.encoder) if self._faithful else modern.DepthNetwork()

    def _pose_network(self) -> nn.Module:
        return faithful.PoseNet(self.settings.frames) if self._faithful else modern.PairPoseNetwork()

    def _flow_network(self) -> nn.Module:
        inputs = 6 if self.settings.networks == "direct" else 12
        return faithful.flow_net(inputs) if self._faithful else MatchingFlowNetwork()

    def forward(
        self, frames: Float[Tensor, "b n 3 h w"], K: Float[Tensor, "b 3 3"] | None = None
    ) -> SnippetOutput:
        """Depth of every frame of a snippet and the camera's motion: what the rigid objective looks at.

        Args:
            frames: (B, N, 3, H, W) RGB in [0, 1], oldest first.
            K: see `pose`.

        Returns:
            Inverse depth and poses.

        Raises:
            InputError: for frames that are no snippet.
            UsageError: when the model has no network for depth.
        """
        self._check_snippet(frames)
        scales = self.depth(frames.flatten(0, 1)).inverse_depth
        b, n = frames.shape[:2]
        stacked = tuple(one.view(b, n, 1, *size_of(one)) for one in scales)
        return SnippetOutput(stacked, self.pose(frames, K))

    def depth(self, image: Float[Tensor, "b 3 h w"]) -> DepthOutput:
        """How far everything in an image is.

        Args:
            image: (B, 3, H, W) RGB in [0, 1], of any size: it is padded inside.

        Returns:
            Inverse depth at four scales: H x W and half of it each, rounded up.

        Raises:
            InputError: for an empty image.
            UsageError: when the model has no network for depth.
        """
        self._check_part("depth")
        _check_images(image)
        padded = pad_to_multiple(2 * image - 1, self._multiple)
        sizes = _scale_sizes(size_of(image))
        scales = self.depth_net(as_input(padded, self.depth_net))
        cut = [one[..., :h, :w] for one, (h, w) in zip(scales, sizes, strict=True)]
        if self.settings.scale_normalize:
            cut = [one / one.mean((2, 3), keepdim=True) for one in cut]
        return DepthOutput(tuple(cut))

    def pose(self, frames: Float[Tensor, "b n 3 h w"], K: Float[Tensor, "b 3 3"] | None = None) -> PoseOutput:
        """How the camera moved from the target, the frame in the middle, to each other frame.

        Args:
            frames: (B, N, 3, H, W) RGB in [0, 1], oldest first. N is that of the settings (faithful), or any
                number from 2 (modern); of an even number, the earlier one of the middle is the target.
            K: (B, 3, 3) pixels; the modern network turns shifts of the picture into angles by it. None: the
                focal length is the longer side. The published network does not use it.

        Returns:
            ``T_source_from_target`` of the N - 1 sources in order of time.

        Raises:
            InputError: for another number of frames, or intrinsics of another batch.
            UsageError: when the model has no network for poses.
        """
        self._check_part("pose")
        self._check_snippet(frames)
        middle = (frames.shape[1] - 1) // 2
        signed = 2 * frames - 1
        target, sources = signed[:, middle], torch.cat([signed[:, :middle], signed[:, middle + 1 :]], 1)
        if self._faithful:
            stacked = torch.cat([target, sources.flatten(1, 2)], 1)
            motion = self.pose_net(as_input(stacked, self.pose_net))
            return PoseOutput(pose_from_vector(motion, rotation="euler"))
        return PoseOutput(self._pairwise(target, sources, _intrinsics(frames, K), middle))

    def residual_flow(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"], rigid_flow: RigidFlow
    ) -> ScaledFlowOutput:
        """Flow from rigid flow and what it leaves unexplained.

        Args:
            first: (B, 3, H, W) RGB in [0, 1].
            second: (B, 3, H, W) RGB in [0, 1].
            rigid_flow: from ``first`` to ``second``, in pixels of its own grid: (B, 2, H, W); or one per
                scale, finest first, as the published model has it (the modern one reads the first).

        Returns:
            Whole flow, rigid part included: at H, H / 2, H / 4, H / 8 (faithful) or H, H / 8, H / 16, H / 32.

        Raises:
            InputError: when frames and rigid flow differ in size.
            UsageError: when the model's flow network does not begin with rigid flow.
        """
        self._check_part("residual")
        _check_images(first, second)
        given = (rigid_flow,) if isinstance(rigid_flow, Tensor) else tuple(rigid_flow)
        if not given or given[0].shape != (first.shape[0], 2, *first.shape[-2:]):
            raise InputError(f"rigid flow for frames of {tuple(first.shape)} is (B, 2, H, W), one per frame")
        if not self._faithful:
            return self._matched(first, second, given[0])
        sizes = _scale_sizes(size_of(first))
        rigid = given if len(given) > 1 else tuple(resize_flow(given[0], size, mode="area") for size in sizes)
        one, two = 2 * first - 1, 2 * second - 1
        warped = backward_warp(two, rigid[0], border="geonet")
        error = ALPHA * dissimilarity_map(warped, one, edges="average") + (1 - ALPHA) * (warped - one).abs()
        length = (error.abs() + _NORM_EPSILON).square().sum(1, keepdim=True).sqrt()
        residual = self._published_flow(torch.cat([one, two, warped, rigid[0], length], 1))
        whole = tuple(r + f for r, f in zip(rigid, residual, strict=True))
        return ScaledFlowOutput(whole[0], scales=whole)

    def direct_flow(
        self, first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]
    ) -> ScaledFlowOutput:
        """Flow from two frames alone.

        Args:
            first: (B, 3, H, W) RGB in [0, 1].
            second: (B, 3, H, W) RGB in [0, 1].

        Returns:
            Flow at the scales of `residual_flow`.

        Raises:
            InputError: when the frames differ in size.
            UsageError: when the model's flow network begins with rigid flow.
        """
        self._check_part("direct")
        _check_images(first, second)
        if not self._faithful:
            return self._matched(first, second, torch.zeros_like(first[:, :2]))
        flows = tuple(self._published_flow(2 * torch.cat([first, second], 1) - 1))
        return ScaledFlowOutput(flows[0], scales=flows)

    def reduce_precision(self, dtype: torch.dtype) -> None:
        """Store the weights of all convolutions but those of the heads in another type, for inference.

        Args:
            dtype: such as torch.bfloat16.
        """
        for name, module in self.named_modules():
            head = isinstance(module, Head | FlowHead) or name == "pose_net.head"
            if isinstance(module, nn.Conv2d) and not head:
                module.to(dtype)

    def complete_state(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add to the weights of the first stage, depth and pose, those of the flow network as it is built.

        Args:
            tensors: a state dict.

        Returns:
            It, completed; as it is when it is not of this very model without flow.
        """
        own = self.state_dict()
        rigid = {name: t.shape for name, t in own.items() if not name.startswith("flow_net.")}
        if not rigid or {name: t.shape for name, t in tensors.items()} != rigid:
            return dict(tensors)
        return {**own, **tensors}

    @property
    def _faithful(self) -> bool:
        return self.settings.preset == "faithful"

    @property
    def _multiple(self) -> int:
        return faithful.MULTIPLE if self._faithful else modern.MULTIPLE

    def _pairwise(self, target: Tensor, sources: Tensor, K: Tensor, earlier: int) -> Tensor:
        """Poses of pairs in order of time: of the first ``earlier`` sources, the way back is estimated."""
        targets = target[:, None].expand_as(sources)
        before, after = sources[:, :earlier], sources[:, earlier:]
        pairs = (
            torch.cat([before, targets[:, earlier:]], 1).flatten(0, 1),
            torch.cat([targets[:, :earlier], after], 1).flatten(0, 1),
        )
        first, second = (as_input(images, self.pose_net) for images in pairs)
        motion = self.pose_net(first, second, K.repeat_interleave(sources.shape[1], 0))
        T = pose_from_vector(motion, rotation="axis_angle").view(sources.shape[0], -1, 4, 4)
        return torch.cat([invert_pose(T[:, :earlier]), T[:, earlier:]], 1)

    def _published_flow(self, inputs: Tensor) -> list[Tensor]:
        """What the published flow network gives, in pixels of each scale."""
        sizes = _scale_sizes(size_of(inputs))
        raw = self.flow_net(as_input(pad_to_multiple(inputs, self._multiple), self.flow_net))
        flows = []
        for flow, (h, w) in zip(raw, sizes, strict=True):
            pixels = flow.new_tensor([flow.shape[-1], flow.shape[-2]]).view(2, 1, 1)
            flows.append((flow * pixels)[..., :h, :w])
        return flows

    def _matched(self, first: Tensor, second: Tensor, rigid: Tensor) -> ScaledFlowOutput:
        """What the modern flow network gives."""
        h, w = size_of(first)
        images = [
            as_input(pad_to_multiple(2 * i - 1, self._multiple), self.flow_net) for i in (first, second)
        ]
        flows = self.flow_net(*images, pad_to_multiple(rigid.float(), self._multiple))
        cut = tuple(
            one[..., : -(-h // s), : -(-w // s)] for one, s in zip(flows, (1, 8, 16, 32), strict=True)
        )
        return ScaledFlowOutput(cut[0], scales=cut)

    def _check_part(self, wanted: str) -> None:
        networks = self.settings.networks
        present = networks == wanted if wanted in ("residual", "direct") else self.settings.has_depth
        if not present:
            needs = wanted if wanted in ("residual", "direct") else "rigid or residual"
            raise UsageError(f"this geonet was built with networks={networks}: {wanted} needs {needs}")

    def _check_snippet(self, frames: Tensor) -> None:
        if frames.dim() != 5 or frames.shape[2] != 3 or frames.numel() == 0:
            raise InputError(
                f"frames of shape {tuple(frames.shape)}: geonet takes snippets (B, N, 3, H, W); flow is made "
                "by residual_flow or direct_flow"
            )
        count, needed = frames.shape[1], self.settings.frames
        if self._faithful and count != needed:
            raise InputError(
                f"a snippet of {count} frames: this pose network takes {needed}; see option frames"
            )
        if count < 2:
            raise InputError("a snippet of 1 frame has no motion: two are needed")


def _intrinsics(frames: Tensor, K: Tensor | None) -> Tensor:
    if K is None:
        return modern.nominal_intrinsics((frames.shape[-2], frames.shape[-1]), frames)
    if K.shape != (frames.shape[0], 3, 3):
        raise InputError(
            f"K of shape {tuple(K.shape)}: geonet takes ({frames.shape[0]}, 3, 3), one per snippet"
        )
    return K.to(frames.device, torch.float32)


def _scale_sizes(size_hw: tuple[int, int]) -> list[tuple[int, int]]:
    """H x W and three times half of it, rounded up."""
    return [(-(-size_hw[0] // s), -(-size_hw[1] // s)) for s in (1, 2, 4, 8)]


def _check_images(*images: Tensor) -> None:
    shapes = [tuple(image.shape) for image in images]
    if any(len(shape) != 4 or shape[1] != 3 or 0 in shape for shape in shapes) or len(set(shapes)) != 1:
        told = " and ".join(map(str, shapes))
        raise InputError(f"images of shape {told}: geonet takes (B, 3, H, W), all of a size")
