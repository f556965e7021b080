"""Clips of rendered worlds: any clip is a pure function of (config, seed, index)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kinema.data.procedural.world.config import PlaceKind, WorldConfig
from kinema.data.procedural.world.renderer import Renderer
from kinema.errors import UsageError


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """Clips of one size and length, with everything that is known about them.

    The camera is a pinhole: x right, y down, z forward; whole numbers are pixel centres. The world is in
    metres, y down, the ground at y = 0. Fields named ``forward`` lead from frame t to t + 1 and lie on the
    pixels of frame t, t = 0 .. T - 2; fields named ``backward`` lead from frame t + 1 to t and lie on the
    pixels of frame t + 1, in the same order. Sky is infinitely far: its flow is that of the camera's
    rotation.

    Attributes:
        images: (B, T, 3, H, W) float32 RGB in [0, 1], multiples of 1/255; no motion blur.
        blurred: as `images`, averaged over the time that the shutter is open, in linear light; None unless
            `WorldConfig.blur_samples` asks for it. The middle of the exposure is the sharp frame's moment.
        depth: (B, T, 1, H, W) float32, z in the camera in metres, above 0; 0 where there is sky.
        sky: (B, T, 1, H, W) bool, True where nothing is hit.
        instance: (B, T, 1, H, W) int16, 0 for the standing world and the sky, otherwise the number of the
            moving thing: the index into `T_world_from_thing`.
        K: (B, 3, 3) float64 intrinsics in pixels.
        T_world_from_camera: (B, T, 4, 4) float64.
        T_world_from_thing: (B, T, N, 4, 4) float64, rigid, N at least 1: thing 0 is the world itself
            (identity), and so are numbers that a clip has no thing for.
        seconds: (B, T) float64, times of the frames from 0 on.
        flow_forward: (B, T - 1, 2, H, W) float32 pixels, x right and y down, camera and things moving; also
            of what gets hidden or leaves the frame; 0 where not valid.
        flow_backward: as `flow_forward`, from frame t + 1 to t.
        rigid_forward: as `flow_forward`, if all things stood still in the world: depth and camera path alone;
            0 where not `rigid_valid_forward`.
        rigid_backward: as `rigid_forward`, from frame t + 1 to t.
        valid_forward: (B, T - 1, 1, H, W) bool, False where the point ends behind the camera or farther away
            than `WorldConfig.valid_displacement`.
        valid_backward: as `valid_forward`, from frame t + 1 to t.
        rigid_valid_forward: as `valid_forward`, for `rigid_forward`.
        rigid_valid_backward: as `valid_forward`, for `rigid_backward`.
        occluded_forward: (B, T - 1, 1, H, W) bool, True where the end point lies inside frame t + 1 and
            something nearer hides it there.
        occluded_backward: as `occluded_forward`, from frame t + 1 to t.
        in_frame_forward: (B, T - 1, 1, H, W) bool, True where the end point is valid and inside frame t + 1.
        in_frame_backward: as `in_frame_forward`, from frame t + 1 to t.
        places: what each clip shows.
    """

    images: Float[Tensor, "b t 3 h w"]
    blurred: Float[Tensor, "b t 3 h w"] | None
    depth: Float[Tensor, "b t 1 h w"]
    sky: Bool[Tensor, "b t 1 h w"]
    instance: Int[Tensor, "b t 1 h w"]
    K: Float[Tensor, "b 3 3"]
    T_world_from_camera: Float[Tensor, "b t 4 4"]
    T_world_from_thing: Float[Tensor, "b t n 4 4"]
    seconds: Float[Tensor, "b t"]
    flow_forward: Float[Tensor, "b t-1 2 h w"]
    flow_backward: Float[Tensor, "b t-1 2 h w"]
    rigid_forward: Float[Tensor, "b t-1 2 h w"]
    rigid_backward: Float[Tensor, "b t-1 2 h w"]
    valid_forward: Bool[Tensor, "b t-1 1 h w"]
    valid_backward: Bool[Tensor, "b t-1 1 h w"]
    rigid_valid_forward: Bool[Tensor, "b t-1 1 h w"]
    rigid_valid_backward: Bool[Tensor, "b t-1 1 h w"]
    occluded_forward: Bool[Tensor, "b t-1 1 h w"]
    occluded_backward: Bool[Tensor, "b t-1 1 h w"]
    in_frame_forward: Bool[Tensor, "b t-1 1 h w"]
    in_frame_backward: Bool[Tensor, "b t-1 1 h w"]
    places: tuple[PlaceKind, ...]

    @property
    def T_camera_from_world(self) -> Float[Tensor, "b t 4 4"]:  # noqa: N802 - named as all poses are
        """(B, T, 4, 4) float64, the inverse of `T_world_from_camera`."""
        inverse: Tensor = torch.linalg.inv(self.T_world_from_camera)
        return inverse

    @property
    def moving(self) -> Bool[Tensor, "b t 1 h w"]:
        """(B, T, 1, H, W) bool, True on things that have a motion of their own."""
        return self.instance > 0

    @property
    def visible_forward(self) -> Bool[Tensor, "b t-1 1 h w"]:
        """(B, T - 1, 1, H, W) bool, True where the point of frame t is seen in frame t + 1."""
        return self.in_frame_forward & ~self.occluded_forward

    @property
    def visible_backward(self) -> Bool[Tensor, "b t-1 1 h w"]:
        """(B, T - 1, 1, H, W) bool, True where the point of frame t + 1 is seen in frame t."""
        return self.in_frame_backward & ~self.occluded_backward

    def __len__(self) -> int:
        return self.images.shape[0]


def render_clip(
    config: WorldConfig,
    seed: int,
    indices: Sequence[int],
    *,
    frames: int,
    device: torch.device | str = "cpu",
) -> RenderedClip:
    """Render clips. What one looks like depends on nothing but (config, seed, index).

    A longer clip begins with the shorter one. The knobs of effects (`WorldConfig.photometric`, blur) change
    the pictures and never the geometry: the same index without effects is the same world.

    Args:
        config: what worlds are made of.
        seed: of the data set, 0 or more.
        indices: of the clips, 0 or more; neighbours share textures, so far jumps cost more.
        frames: T, 1 or more; 1 gives no flow.
        device: to compute on; the same pictures on every device up to rounding.

    Returns:
        One clip per index, in order, on the device.

    Raises:
        UsageError: when the seed, an index or the number of frames is too small, or there is no index.
        InputError: when the folder of textures cannot be used.
    """
    if seed < 0 or not indices or min(indices) < 0 or frames < 1:
        raise UsageError(
            f"seed {seed}, indices {list(indices)[:4]}, frames {frames}: seed and indices must be 0 or more, "
            "frames 1 or more, and one index at least"
        )
    place = torch.device(device)
    with torch.no_grad():
        parts = [Renderer(config, seed, index, frames=frames, device=place) for index in indices]
        return _joined([part.tensors() for part in parts], tuple(part.world.kind for part in parts))


def _joined(clips: list[dict[str, Tensor]], places: tuple[PlaceKind, ...]) -> RenderedClip:
    """A batch of clips; those with fewer things get more of them that do not move."""
    most = max(clip["T_world_from_thing"].shape[1] for clip in clips)
    for clip in clips:
        things = clip["T_world_from_thing"]
        still = torch.eye(4, dtype=things.dtype, device=things.device)
        more = still.expand(len(things), most - things.shape[1], 4, 4)
        clip["T_world_from_thing"] = torch.cat([things, more], dim=1)
    stacked: dict[str, Tensor | None] = {"blurred": None}
    stacked |= {name: torch.stack([clip[name] for clip in clips]) for name in clips[0]}
    return RenderedClip(**stacked, places=places)  # type: ignore[arg-type]
