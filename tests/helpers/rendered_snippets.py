"""Snippets of rendered worlds with everything that is known about them, as objectives take them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from kinema.data.procedural.world.clip import RenderedClip, render_clip
from kinema.data.procedural.world.config import WorldConfig

PLACES = ("street", "walk", "room", "yard")


@dataclass(frozen=True)
class RenderedSnippet:
    """Three frames, the target in the middle."""

    clip: RenderedClip
    frames: Tensor  # (1, 3, 3, H, W)
    inverse_depth: Tensor  # (1, 3, 1, H, W); the sky is very far
    T_source_from_target: Tensor  # (1, 2, 4, 4)
    K: Tensor  # (1, 3, 3)

    @property
    def forward(self) -> Tensor:
        """(1, 2, 2, H, W) true flow from the target to both sources."""
        return torch.stack((self.clip.flow_backward[:, 0], self.clip.flow_forward[:, 1]), 1)

    @property
    def forward_known(self) -> Tensor:
        """(1, 2, 1, H, W) bool."""
        valid = torch.stack((self.clip.valid_backward[:, 0], self.clip.valid_forward[:, 1]), 1)
        return valid & ~self.clip.sky[:, 1:2]


def rendered_snippet(place: str, index: int = 0, size_hw: tuple[int, int] = (72, 160)) -> RenderedSnippet:
    shares = tuple(float(place == name) for name in PLACES)
    config = WorldConfig(
        size_hw=size_hw, photometric=False, bank_textures=1, place_shares=shares, static_share=0.0
    )
    clip = render_clip(config, 0, [index], frames=3)
    world = clip.T_world_from_camera
    poses = [clip.T_camera_from_world[:, source] @ world[:, 1] for source in (0, 2)]
    inverse = torch.where(clip.depth > 0, 1 / clip.depth.clamp(min=1e-3), 1e-4)
    return RenderedSnippet(clip, clip.images, inverse, torch.stack(poses, 1).float(), clip.K.float())
