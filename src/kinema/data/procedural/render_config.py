"""What rendered training scenes are made of: one knob per property. Importing it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

SceneFamily = Literal["train", "fog", "low_light", "lens", "strange", "compressed"]
"""Which generator draws the scene. All but ``train`` are reserved: to validate on, never to learn from."""

RESERVED_FAMILIES: tuple[SceneFamily, ...] = get_args(SceneFamily)[1:]

SMALLEST_SIDE = 64
LARGEST_SIDE = 1024

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Pair = tuple[float, float]


class RenderConfig(BaseModel):
    """The scenes to draw; shares are of the scenes unless it is said of what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_hw: tuple[int, int] = Field(default=(384, 448), description="Height and width of a frame in pixels.")
    family: SceneFamily = Field(default="train", description="The generator; all but train are reserved.")

    # Motion
    displacement_edges: tuple[float, float, float] = Field(
        default=(3.0, 20.0, 80.0),
        description="Pixels that part the four classes of speed; the last ends at max_displacement.",
    )
    displacement_shares: tuple[Share, Share, Share, Share] = Field(
        default=(0.35, 0.40, 0.20, 0.05), description="Of the layers, by class of mean displacement."
    )
    max_displacement: Share = Field(default=0.25, description="Fastest mean of a layer, in frame widths.")
    valid_displacement: float = Field(
        default=0.75, gt=0.0, description="Points that go farther, in frame widths, have no valid flow."
    )
    static_share: Share = Field(default=0.12, description="Of the slowest class: exactly still.")
    forward_share: Share = Field(default=0.20, description="Forward motion above a ground plane.")
    parallax_share: Share = Field(default=0.25, description="A sideways camera before planes in depth.")
    follow_share: Share = Field(
        default=0.35, description="Of the things: carried by the ground, plus a motion of their own."
    )
    perspective_share: Share = Field(default=0.35, description="Of the layers: tilting, not only affine.")
    nonrigid_share: Share = Field(default=0.30, description="Of the layers: bending smoothly.")
    shake_share: Share = Field(default=0.25, description="A shaking camera.")
    shake_px: float = Field(default=2.5, ge=0.0, description="Standard deviation of the shake in pixels.")

    # Things
    things: tuple[int, int] = Field(default=(3, 9), description="Fewest and most things before the ground.")
    thing_size: Pair = Field(default=(0.10, 0.85), description="Of a thing, in parts of the shorter side.")
    thin_share: Share = Field(default=0.25, description="Of the things: rods, branches, lattices, rings.")
    hole_share: Share = Field(default=0.25, description="Of the solid things: with holes.")
    softness: Pair = Field(default=(0.5, 2.0), description="Widths of soft edges in pixels.")

    # Surfaces
    spectrum: Pair = Field(default=(0.5, 3.5), description="Exponents alpha of the 1/f^alpha textures.")
    weak_share: Share = Field(default=1 / 3, description="Of the textures: hardly any contrast.")
    textures: Path | None = Field(default=None, description="A folder of pictures to cut textures from.")
    textures_share: Share = Field(default=0.5, description="Of the textures, with a folder: cut from it.")
    bank_textures: int = Field(default=48, ge=1, description="Textures that a block of scenes shares.")
    bank_shapes: int = Field(default=96, ge=1, description="Outlines that a block of scenes shares.")
    bank_scenes: int = Field(default=2048, ge=1, description="Scenes in a block.")

    # What a camera and a file do to the picture; the truth knows nothing of it
    photometric: bool = Field(default=True, description="False switches all of the following off.")
    blur_share: Share = Field(default=0.12, description="Motion blur.")
    blur_exposure: Pair = Field(default=(0.15, 0.6), description="Shutter time in frame intervals.")
    blur_samples: int = Field(default=8, ge=2, description="Most moments that a blurred frame is made of.")
    light_share: Share = Field(default=0.35, description="Another light in frame 2.")
    shadow_share: Share = Field(default=0.35, description="Things throw soft shadows.")
    noise_share: Share = Field(default=0.50, description="Sensor noise.")
    noise_sigma: Pair = Field(default=(0.003, 0.035), description="Standard deviation; white is 1.")
    grey_share: Share = Field(default=0.06, description="Grey pictures.")
    jpeg_share: Share = Field(default=0.20, description="Through a JPEG file.")
    jpeg_quality: tuple[int, int] = Field(default=(30, 95), description="Lowest and highest.")
    video_share: Share = Field(default=0.03, description="Through a two-frame MPEG-4 video; slow.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in self.size_hw):
            raise ValueError(f"size_hw {self.size_hw}: {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side")
        if abs(sum(self.displacement_shares) - 1.0) > 1e-6:
            raise ValueError(f"displacement_shares {self.displacement_shares} must add up to 1")
        if not 0 < self.displacement_edges[0] < self.displacement_edges[1] < self.displacement_edges[2]:
            raise ValueError(f"displacement_edges {self.displacement_edges} must rise from above 0")
        if self.forward_share + self.parallax_share > 1.0:
            raise ValueError("forward_share and parallax_share together exceed 1")
        for name in ("things", "thing_size", "softness", "spectrum", "blur_exposure", "noise_sigma"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} {(low, high)}: the second must not be below the first, nor below 0")
        if not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise ValueError(f"jpeg_quality {self.jpeg_quality}: 1 to 100, the second not below the first")
        if self.softness[0] <= 0 or self.thing_size[0] <= 0:
            raise ValueError("softness and thing_size must be above 0")
        return self
