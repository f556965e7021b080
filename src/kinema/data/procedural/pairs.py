"""Pairs of frames with their true motion: any pair is a pure function of (config, seed, index)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kinema.data.procedural.bank import Bank
from kinema.data.procedural.effects import develop
from kinema.data.procedural.file_effects import through_files
from kinema.data.procedural.raster import draw_exposed
from kinema.data.procedural.render_config import RenderConfig
from kinema.data.procedural.scene_batch import SceneBatch
from kinema.data.procedural.scene_plan import plan_scene
from kinema.data.procedural.scene_truth import scene_truth
from kinema.errors import UsageError

_GPU_CHUNK = 16  # scenes that are drawn at once where memory is wide and every launch costs


@dataclass(frozen=True, eq=False)
class RenderedBatch:
    """Rendered pairs.

    Attributes:
        image1: (B, 3, H, W) float32 RGB in [0, 1], multiples of 1/255.
        image2: the next frame, as `image1`.
        flow: (B, 2, H, W) float32 pixels, x right and y down; also of hidden and leaving points; 0 where not
            valid.
        valid: (B, 1, H, W) bool, True where the flow is known and not farther than the config allows.
        occluded: (B, 1, H, W) bool, True where a nearer thing covers the point in frame 2.
        in_frame: (B, 1, H, W) bool, True where the point lies inside frame 2.
    """

    image1: Float[Tensor, "b 3 h w"]
    image2: Float[Tensor, "b 3 h w"]
    flow: Float[Tensor, "b 2 h w"]
    valid: Bool[Tensor, "b 1 h w"]
    occluded: Bool[Tensor, "b 1 h w"]
    in_frame: Bool[Tensor, "b 1 h w"]

    @property
    def visible(self) -> Bool[Tensor, "b 1 h w"]:
        """(B, 1, H, W) bool, True where the point is seen in frame 2."""
        return self.valid & self.in_frame & ~self.occluded

    def __len__(self) -> int:
        return self.image1.shape[0]


def render_pair(
    config: RenderConfig, seed: int, indices: Sequence[int], *, device: torch.device | str = "cpu"
) -> RenderedBatch:
    """Render pairs. What one looks like depends on nothing but (config, seed, index).

    Args:
        config: what scenes are made of.
        seed: of the data set, 0 or more.
        indices: of the pairs, 0 or more; neighbours share textures and outlines, so far jumps cost more.
        device: to compute on; the same pictures on every device up to rounding.

    Returns:
        One pair per index, in order, on the device.

    Raises:
        UsageError: when the seed or an index is below 0, or there is no index.
        InputError: when the folder of textures cannot be used.
    """
    if seed < 0 or not indices or min(indices) < 0:
        raise UsageError(
            f"seed {seed}, indices {list(indices)[:4]}: both must be 0 or more, and one index at least"
        )
    place = torch.device(device)
    bank = _bank(config, seed, str(place))
    # On a CPU one scene at a time fits the cache and skips what that scene does not have.
    step = 1 if place.type == "cpu" else _GPU_CHUNK
    with torch.no_grad():
        parts = [
            _render(config, seed, indices[first : first + step], bank, place)
            for first in range(0, len(indices), step)
        ]
    if len(parts) == 1:
        return parts[0]
    return RenderedBatch(
        **{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(RenderedBatch)}
    )


def _render(
    config: RenderConfig, seed: int, indices: Sequence[int], bank: Bank, device: torch.device
) -> RenderedBatch:
    plans = [plan_scene(config, seed, index) for index in indices]
    scene = SceneBatch(plans, bank, config.size_hw, device)
    frames = [draw_exposed(scene, time) for time in (0.0, 1.0)]
    first, second = (develop(scene, frame, second=bool(number)) for number, frame in enumerate(frames))
    first, second = through_files(scene, first, second)
    truth = scene_truth(scene)
    # A few points of large tilted planes pass close by the camera: a thousand pixels teach nothing.
    near = truth.flow.norm(dim=1, keepdim=True) <= config.valid_displacement * config.size_hw[1]
    valid = truth.valid & near
    return RenderedBatch(
        first, second, truth.flow * valid, valid, truth.occluded & valid, truth.in_frame & valid
    )


@lru_cache(maxsize=8)
def _bank(config: RenderConfig, seed: int, device: str) -> Bank:
    return Bank(config, seed, torch.device(device))
