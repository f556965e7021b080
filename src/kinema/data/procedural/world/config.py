"""What rendered worlds are made of: one knob per property. Importing it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

WorldFamily = Literal["train", "fog", "night", "corridor"]
"""Which generator draws the world. All but ``train`` are reserved: to validate on, never to learn from."""

RESERVED_WORLDS: tuple[WorldFamily, ...] = get_args(WorldFamily)[1:]

PlaceKind = Literal["street", "walk", "room", "yard"]
"""A drive through a town, a walk through it, a furnished room, a meadow with tumbling things."""

PLACES: tuple[PlaceKind, ...] = get_args(PlaceKind)

SMALLEST_SIDE = 32
LARGEST_SIDE = 2048

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Pair = tuple[float, float]
Counts = tuple[int, int]


class WorldConfig(BaseModel):
    """The worlds to draw and the camera that sees them; shares are of the clips unless it is said of what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_hw: tuple[int, int] = Field(default=(192, 640), description="Height and width of a frame in pixels.")
    family: WorldFamily = Field(default="train", description="The generator; all but train are reserved.")
    place_shares: tuple[Share, Share, Share, Share] = Field(
        default=(0.40, 0.15, 0.25, 0.20), description="Of street, walk, room and yard."
    )

    # Camera
    fov_degrees: Pair = Field(default=(35.0, 110.0), description="Horizontal field of view.")
    centre_offset: float = Field(
        default=0.02, ge=0.0, le=0.2, description="Principal point from the middle, in frame sizes, at most."
    )
    drive_hz: float = Field(default=10.0, gt=0.0, description="Frames per second of a drive.")
    hand_hz: float = Field(default=30.0, gt=0.0, description="Frames per second of a hand-held camera.")
    drive_speed: Pair = Field(default=(2.0, 20.0), description="Metres per second on a straight street.")
    turn_share: Share = Field(default=0.35, description="Of the crossings: the drive turns there.")
    road_roughness: float = Field(default=1.0, ge=0.0, description="Bumps and sway of a drive; 0 is none.")
    hand_speed: Pair = Field(default=(0.2, 1.6), description="Metres per second of a hand-held camera.")
    hand_shake: float = Field(default=1.0, ge=0.0, description="Shake of a hand; 0 is a perfect gimbal.")
    hand_turn: float = Field(
        default=25.0, ge=0.0, description="Degrees per second that a hand-held camera pans."
    )
    static_share: Share = Field(default=0.05, description="The camera stands still.")

    # Things
    vehicles: Counts = Field(default=(1, 6), description="Fewest and most moving vehicles in a town.")
    people: Counts = Field(default=(0, 6), description="Fewest and most walking people.")
    tumbling: Counts = Field(
        default=(1, 8), description="Fewest and most tumbling things in rooms and yards."
    )
    tumble_speed: Pair = Field(default=(0.2, 3.0), description="Metres per second of tumbling things.")
    parked_share: Share = Field(default=0.5, description="Of the places at a kerb: a parked vehicle.")
    tree_share: Share = Field(default=0.5, description="Of the places along a pavement: a tree or lamp post.")

    # Surfaces and light; part of the world, seen by the camera without effects as well
    textures: Path | None = Field(default=None, description="A folder of pictures for posters and things.")
    textures_share: Share = Field(default=0.5, description="Of those textures, with a folder: cut from it.")
    bank_textures: int = Field(default=3, ge=1, le=16, description="Pictures of every material in a block.")
    bank_clips: int = Field(default=512, ge=1, description="Clips in a block; they share its textures.")
    sun_share: Share = Field(default=0.7, description="Of the outdoor clips: sun with hard shadows.")
    antialias: int = Field(default=4, ge=1, le=16, description="Rays through a pixel with an edge in it.")

    # What breaks brightness constancy, and what a camera and a file do; the truth knows nothing of it
    photometric: bool = Field(default=True, description="False switches all of the following off.")
    shading_share: Share = Field(
        default=0.9,
        description="Moving things are lit anew and throw shadows; otherwise their light is baked.",
    )
    moving_light_share: Share = Field(default=0.25, description="The light moves or flickers.")
    gloss_share: Share = Field(default=0.35, description="Surfaces with highlights.")
    exposure_share: Share = Field(default=0.35, description="Exposure and white balance drift.")
    noise_share: Share = Field(default=0.50, description="Sensor noise.")
    noise_sigma: Pair = Field(default=(0.002, 0.025), description="Standard deviation; white is 1.")
    grey_share: Share = Field(default=0.05, description="Grey pictures.")
    jpeg_share: Share = Field(default=0.20, description="Through JPEG files.")
    jpeg_quality: Counts = Field(default=(40, 95), description="Lowest and highest.")
    video_share: Share = Field(default=0.03, description="Through an MPEG-4 video; slow.")

    # Motion blur: a second stack of frames beside the sharp ones
    blur_samples: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Moments that a blurred frame is averaged from; 0: no blurred frames.",
    )
    blur_exposure: Pair = Field(default=(0.3, 0.9), description="Shutter time in frame intervals.")

    # Truth
    valid_displacement: float = Field(
        default=0.75, gt=0.0, description="Points that go farther, in frame widths, have no valid flow."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in self.size_hw):
            raise ValueError(f"size_hw {self.size_hw}: {SMALLEST_SIDE} to {LARGEST_SIDE} pixels a side")
        if abs(sum(self.place_shares) - 1.0) > 1e-6:
            raise ValueError(f"place_shares {self.place_shares} must add up to 1")
        if not 10.0 <= self.fov_degrees[0] <= self.fov_degrees[1] <= 140.0:
            raise ValueError(f"fov_degrees {self.fov_degrees}: 10 to 140, the second not below the first")
        for name in _RANGES:
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} {(low, high)}: the second must not be below the first, nor below 0")
        if not 1 <= self.jpeg_quality[0] <= self.jpeg_quality[1] <= 100:
            raise ValueError(f"jpeg_quality {self.jpeg_quality}: 1 to 100, the second not below the first")
        if self.blur_samples == 1 or self.blur_exposure[1] > 1.0:
            raise ValueError("blur_samples is 0, or 2 or more; blur_exposure at most one frame interval")
        return self


_RANGES = (
    "drive_speed",
    "hand_speed",
    "vehicles",
    "people",
    "tumbling",
    "tumble_speed",
    "noise_sigma",
    "blur_exposure",
)
