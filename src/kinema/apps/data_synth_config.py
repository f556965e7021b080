"""What `kinema data synth` can be told. Importing it imports neither torch nor a data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from tyro.conf import arg

LayoutName = Literal[
    "sintel",
    "flyingchairs",
    "flyingthings",
    "middlebury",
    "kitti2012",
    "kitti2015",
    "kitti-raw",
    "kitti-odometry",
    "reds",
    "vid4",
]
"""As `kinema.data.synth.plan.LayoutName`, which cannot be had without importing data sets."""


class DataSynthConfig(BaseModel):
    """Rendered data in an official layout."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: LayoutName = Field(description="Whose names and formats of files are written.")
    count: int = Field(ge=1, description="So many pairs, or clips where the layout is made of clips.")
    out: Annotated[Path, arg(aliases=("-o",), metavar="DIR")] = Field(
        description="The folder to write; new, empty, or of the same command before."
    )
    seed: int = Field(default=0, ge=0, description="Another seed gives other scenes.")
    size: Annotated[str | None, arg(metavar="HxW")] = Field(
        default=None, description="Height and width of the frames in pixels, as HxW; else the official size."
    )
    frames: int | None = Field(
        default=None, ge=1, description="Of a clip; of a KITTI pair: those around it too, up to 21."
    )
    textures: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None, description="A folder of your pictures to cut half of the textures from."
    )
    processes: int = Field(default=1, ge=1, le=256, description="How many are rendered at the same time.")
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write what was done to this JSON file."
    )
    overwrite: bool = Field(
        default=False,
        description="Remove what this command wrote to DIR before and begin anew; replace the JSON file.",
    )
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")

    @field_validator("size")
    @classmethod
    def _check_size(cls, size: str | None) -> str | None:
        if size is not None and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", size):
            raise ValueError(f"--size {size}: write height and width in pixels as HxW, such as 436x1024")
        return size

    @property
    def size_hw(self) -> tuple[int, int] | None:
        """Height and width; None where nothing was said."""
        if self.size is None:
            return None
        height, width = self.size.split("x")
        return int(height), int(width)
