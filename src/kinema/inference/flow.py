"""Optical flow of pairs and clips: a flow model with its pre- and post-processing.

A predictor never builds an autograd graph, takes frames of any size that its model can use, and gives the
flow back at the size of the frames, in their pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, cast, overload, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import InputError, UsageError
from kinema.inference.device import resolve_device, resolve_precision
from kinema.inference.frames import (
    Frame,
    check_image_tensor,
    check_pair,
    check_smallest,
    frame_tensor,
    limited_size,
    pad_to_stride,
)
from kinema.inference.tiles import MIN_TILE, tiled_flow
from kinema.ops.occlusion import confidence as flow_confidence
from kinema.ops.occlusion import forward_backward_occlusion
from kinema.ops.resize import resize_flow, resize_image
from kinema.outputs import FlowOutput

if TYPE_CHECKING:
    from kinema.models.card import ModelCard


@dataclass(frozen=True)
class FlowPrediction:
    """What a predictor knows about one pair, as arrays of the frames' size.

    Attributes:
        flow: (H, W, 2) float32, from frame 1 to frame 2, x right, y down, in pixels.
        backward: (H, W, 2) float32, from frame 2 to frame 1; None unless asked for.
        occluded: (H, W) bool, True where a pixel of frame 1 is hidden in frame 2; None unless asked for.
        confidence: (H, W) float32 in [0, 1], how well forward and backward flow agree; None unless asked for.
    """

    flow: np.ndarray
    backward: np.ndarray | None = None
    occluded: np.ndarray | None = None
    confidence: np.ndarray | None = None


@dataclass(frozen=True)
class Origin:
    """What a model was built from.

    Attributes:
        preset: the settings in use, by name; what a file of weights says counts where nothing was asked for.
        options: single settings over it, asked for or from the file of weights.
        weights: the file; None for a model without weights, or with random ones.
        refine: what polishes its flow; "none" for nothing.
    """

    preset: str
    options: Mapping[str, object] = field(default_factory=dict)
    weights: Path | None = None
    refine: str = "none"


@dataclass(frozen=True)
class _Wanted:
    backward: bool
    occlusion: bool
    confidence: bool

    @property
    def both_directions(self) -> bool:
        return self.backward or self.occlusion or self.confidence


@dataclass(frozen=True)
class _Loaded:
    """A frame on the device at the size of computation, and the size it came in."""

    image: Float[Tensor, "b 3 h w"]
    size_hw: tuple[int, int]


@dataclass(frozen=True)
class _Flows:
    """Flow at the size of computation; the state that a warm start hands on."""

    forward: Float[Tensor, "b 2 h w"]
    backward: Float[Tensor, "b 2 h w"] | None


@runtime_checkable
class MeasuresGreyRange(Protocol):
    """A model that stretches the contrast of a pair.

    Its tiles get the range of the whole frame: a flat one, such as sky, would otherwise be stretched until
    its noise looks like motion.
    """

    def grey_range(self, image1: Tensor, image2: Tensor) -> Float[Tensor, "b 2"]:
        """Give the darkest and the lightest grey level: the `grey_range` of the model's `forward`."""


class FlowPredictor:
    """A flow model ready for use on frames from anywhere.

    Args:
        model: computes a `FlowOutput` from two image tensors.
        card: of the model.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        tile: compute in overlapping squares of this side in pixels, to bound the memory of large frames.
        max_side: compute with the longer side of the frames reduced to this many pixels.
        origin: what the model was built from; None for the card's defaults.
        refinement: polishes the model's flow, called with both frames and it; None for nothing.

    Raises:
        UsageError: when device, precision, tile or max_side cannot be had.
    """

    def __init__(
        self,
        model: nn.Module,
        card: ModelCard,
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | None = None,
        max_side: int | None = None,
        origin: Origin | None = None,
        refinement: nn.Module | None = None,
    ) -> None:
        if tile is not None and tile < MIN_TILE:
            raise UsageError(f"tile is {tile}: a tile has at least {MIN_TILE} pixels a side")
        if max_side is not None and max_side < 1:
            raise UsageError(f"max_side is {max_side}: the longest side has at least 1 pixel")
        self.card = card
        self.origin = origin if origin is not None else Origin(card.default_preset)
        self.device = resolve_device(device)
        self.dtype = resolve_precision(precision, device=self.device, card=card)
        self.tile = tile
        self.max_side = max_side
        self.model = self._ready(model)
        self.refinement = None if refinement is None else self._ready(refinement)

    def _ready(self, module: nn.Module) -> nn.Module:
        return module.to(self.device).eval().requires_grad_(requires_grad=False)

    @overload
    def flow(self, image1: Frame, image2: Frame) -> np.ndarray: ...

    @overload
    def flow(self, image1: Tensor, image2: Tensor) -> Tensor: ...

    def flow(self, image1: Frame | Tensor, image2: Frame | Tensor) -> np.ndarray | Tensor:
        """Compute the flow from frame 1 to frame 2.

        Args:
            image1: an (H, W, 3) RGB array, uint8, uint16 or floating point in [0, 1]; or a batch (B, 3, H,
                W), floating point RGB in [0, 1].
            image2: the same kind and size.

        Returns:
            float32, x right, y down, in pixels of the frames: an (H, W, 2) array for arrays, a (B, 2, H, W)
            tensor on the device of `image1` for tensors.

        Raises:
            InputError: when a frame is not an image, is too small, or the two differ in size.
        """
        if isinstance(image1, Tensor) and isinstance(image2, Tensor):
            return self._flow_of_tensors(image1, image2)
        if isinstance(image1, Tensor) or isinstance(image2, Tensor):
            raise InputError("one frame is a tensor and the other is not: give two of a kind")
        return self.predict(image1, image2).flow

    def predict(
        self,
        image1: Frame,
        image2: Frame,
        *,
        backward: bool = False,
        occlusion: bool = False,
        confidence: bool = False,
    ) -> FlowPrediction:
        """Compute the flow of a pair and what follows from the flow in both directions.

        Args:
            image1: an (H, W, 3) RGB array, uint8, uint16 or floating point in [0, 1], or an object with such
                an `.image`.
            image2: the same kind and size.
            backward: also the flow from frame 2 to frame 1.
            occlusion: also which pixels of frame 1 are hidden in frame 2.
            confidence: also how well the two directions agree.

        Returns:
            Arrays of the frames' size.

        Raises:
            InputError: when a frame is not an image, is too small, or the two differ in size.
        """
        wanted = _Wanted(backward, occlusion, confidence)
        with torch.inference_mode():
            first = self._load(frame_tensor(image1, name="frame 1"))
            second = self._load(frame_tensor(image2, name="frame 2"))
            flows = self._compute(first, second, both=wanted.both_directions, start=None)
            return _prediction(flows, first.size_hw, wanted)

    def stream(
        self,
        frames: Iterable[Frame],
        *,
        backward: bool = False,
        occlusion: bool = False,
        confidence: bool = False,
        warm_start: bool = False,
    ) -> Iterator[FlowPrediction]:
        """Compute the flow of each pair of neighbours in a clip, frame by frame.

        Two frames are held at any time, whatever the length of the clip.

        Args:
            frames: RGB arrays, or what a video `Reader` or a `Clip` yields; all of one size.
            backward: as in `predict`.
            occlusion: as in `predict`.
            confidence: as in `predict`.
            warm_start: start each pair from the flow of the pair before.

        Yields:
            One prediction per pair: N - 1 for N frames.

        Raises:
            UsageError: when the model cannot start from a given flow.
            InputError: when a frame is not an image, is too small, or differs in size from the one before, or
                the clip is a name or has fewer than two frames.
        """
        if warm_start and not self.card.warm_start:
            raise UsageError(f"{self.card.name} cannot start from a given flow: leave out the warm start")
        if isinstance(frames, str | Path):
            raise InputError(f"{frames} is a name, not frames: give kinema.io.video.Reader({str(frames)!r})")
        wanted = _Wanted(backward, occlusion, confidence)
        first: _Loaded | None = None
        last: _Flows | None = None
        count = 0
        for frame in frames:
            # Entered per frame, not around the loop: the mode must not leak to the caller between two yields.
            with torch.inference_mode():
                second = self._load(frame_tensor(frame, name=f"frame {count}"))
                prediction = None
                if first is not None:
                    start = last if warm_start else None
                    last = self._compute(first, second, both=wanted.both_directions, start=start)
                    prediction = _prediction(last, first.size_hw, wanted)
            if prediction is not None:
                yield prediction
            first = second
            count += 1
        if count < 2:
            raise InputError(
                f"a clip of {count} frame{'' if count == 1 else 's'} has no motion: two are needed"
            )

    def _flow_of_tensors(self, image1: Tensor, image2: Tensor) -> Tensor:
        check_image_tensor(image1, name="image1")
        check_image_tensor(image2, name="image2")
        if image1.shape[0] != image2.shape[0]:
            raise InputError(f"image1 is a batch of {image1.shape[0]} and image2 of {image2.shape[0]}")
        with torch.inference_mode():
            first, second = self._load(image1), self._load(image2)
            flow = self._compute(first, second, both=False, start=None).forward
            result = resize_flow(flow, first.size_hw).to(image1.device)
        return result.clone()  # outside the mode: an ordinary tensor, which the caller may use in a graph

    def _load(self, image: Float[Tensor, "b 3 h w"]) -> _Loaded:
        if "flow" not in self.card.tasks:
            tasks = " and ".join(self.card.tasks)
            raise UsageError(f"{self.card.name} computes no flow: its task is {tasks}")
        size_hw = (image.shape[-2], image.shape[-1])
        target = limited_size(size_hw, self.max_side)
        check_smallest(target, self.card)
        image = image.to(device=self.device, dtype=torch.float32)
        if target != size_hw:
            image = resize_image(image, target, antialias=True).clamp(0, 1)
        return _Loaded(image, size_hw)

    def _compute(self, first: _Loaded, second: _Loaded, *, both: bool, start: _Flows | None) -> _Flows:
        check_pair(first.size_hw, second.size_hw)
        forward_start = start.forward if start else None
        if not both:
            return _Flows(self._run(first.image, second.image, forward_start), None)
        backward_start = start.backward if start else None
        if not self.card.batched:
            forward = self._run(first.image, second.image, forward_start)
            return _Flows(forward, self._run(second.image, first.image, backward_start))
        initial = None
        if forward_start is not None and backward_start is not None:
            initial = torch.cat([forward_start, backward_start])
        flow = self._run(
            torch.cat([first.image, second.image]), torch.cat([second.image, first.image]), initial
        )
        return _Flows(*flow.chunk(2))

    def _run(
        self, image1: Float[Tensor, "b 3 h w"], image2: Float[Tensor, "b 3 h w"], initial: Tensor | None
    ) -> Float[Tensor, "b 2 h w"]:
        if self.tile is None or self.tile >= max(image1.shape[-2:]):
            return self._run_whole(image1, image2, initial)
        shared: dict[str, Tensor] = {}
        if isinstance(self.model, MeasuresGreyRange):
            shared["grey_range"] = self.model.grey_range(image1, image2)

        def compute(part1: Tensor, part2: Tensor, start: Tensor | None) -> Tensor:
            return self._run_whole(part1, part2, start, shared)

        if initial is None and self.card.warm_start:
            initial = self._guide(image1, image2)
        return tiled_flow(compute, image1, image2, tile=self.tile, initial_flow=initial)

    def _guide(
        self, image1: Float[Tensor, "b 3 h w"], image2: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b 2 h w"] | None:
        """The whole frames' flow at the size of one tile: a tile alone cannot find motion that leaves it."""
        size_hw = (image1.shape[-2], image1.shape[-1])
        small = limited_size(size_hw, self.tile)
        if small[0] < self.card.min_size_hw[0] or small[1] < self.card.min_size_hw[1]:
            return None
        parts = [resize_image(image, small, antialias=True).clamp(0, 1) for image in (image1, image2)]
        return resize_flow(self._run_whole(parts[0], parts[1], None), size_hw)

    def _run_whole(
        self,
        image1: Float[Tensor, "b 3 h w"],
        image2: Float[Tensor, "b 3 h w"],
        initial: Tensor | None,
        shared: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> Float[Tensor, "b 2 h w"]:
        height, width = image1.shape[-2:]
        padded = [pad_to_stride(image, self.card.stride) for image in (image1, image2)]
        options = dict(shared)
        if initial is not None:
            options["initial_flow"] = pad_to_stride(initial, self.card.stride)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            output = cast("FlowOutput", self.model(*padded, **options))
        flow = output.flow[..., :height, :width].float()
        if self.refinement is None:
            return flow
        return cast("Tensor", self.refinement(image1, image2, flow))


def _prediction(flows: _Flows, size_hw: tuple[int, int], wanted: _Wanted) -> FlowPrediction:
    # Occlusion and confidence are judged on the grid of the computation: their thresholds are in its pixels.
    forward, backward = flows.forward, flows.backward
    occluded = confidence = None
    if backward is not None and wanted.occlusion:
        hidden = forward_backward_occlusion(forward, backward)
        occluded = _map_array(resize_image(hidden, size_hw, antialias=False, mode="nearest")) > 0.5
    if backward is not None and wanted.confidence:
        agreement = resize_image(flow_confidence(forward, backward), size_hw, antialias=False)
        confidence = _map_array(agreement.clamp(0, 1))
    return FlowPrediction(
        flow=_flow_array(forward, size_hw),
        backward=_flow_array(backward, size_hw) if backward is not None and wanted.backward else None,
        occluded=occluded,
        confidence=confidence,
    )


def _flow_array(flow: Float[Tensor, "1 2 h w"], size_hw: tuple[int, int]) -> np.ndarray:
    return np.ascontiguousarray(resize_flow(flow, size_hw)[0].permute(1, 2, 0).cpu().numpy())


def _map_array(values: Float[Tensor, "1 1 h w"]) -> np.ndarray:
    array: np.ndarray = values[0, 0].cpu().numpy()
    return array
