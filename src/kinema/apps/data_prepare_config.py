"""What `kinema data prepare` can be told. Importing it imports neither torch nor a data set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from tyro.conf import Positional, arg

IN_PLACE = "reds"


class DataPrepareConfig(BaseModel):
    """A data set put into the form that other programs read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Annotated[Positional[str], arg(metavar="FAMILY")] = Field(
        description="reds; kitti_raw[@SPLIT] or kitti_odometry[@SPLIT] (snippets); sintel-VARIANT (flat)."
    )
    path: Annotated[Positional[Path], arg(metavar="PATH")] = Field(description="Where the data set lies.")
    out: Annotated[Path | None, arg(aliases=("-o",), metavar="DIR")] = Field(
        default=None, description="The folder to fill. REDS is regrouped in its own folder without it."
    )
    copy_files: Annotated[bool, arg(name="copy")] = Field(
        default=False, description="Copy files; without it they are linked (REDS, Sintel)."
    )
    layout: Literal["regrouped", "images"] = Field(
        default="regrouped",
        description="REDS: clips 240 to 269 beside the others, or images/NNN/{truth,blur4} with sets/*.json.",
    )
    frames: int = Field(default=3, ge=1, le=9, description="Snippets: frames side by side, odd.")
    size: Annotated[str, arg(metavar="HxW")] = Field(
        default="128x416", description="Snippets: size of a frame, height first."
    )
    intrinsics: Literal["half_pixel", "plain"] = Field(
        default="half_pixel", description="Snippets: how K follows the size; plain as the first scripts did."
    )
    gaps: Literal["refuse", "bridge"] = Field(
        default="refuse",
        description="Snippets: bridge lets them jump over frames left out, as first scripts did.",
    )
    strips: Literal["jpg", "png"] = Field(default="jpg", description="Snippets: format of the strips.")
    val_share: float = Field(default=0.1, ge=0, le=1, description="Snippets: share that val.txt gets.")
    seed: int = Field(default=8964, ge=0, le=2**32 - 1, description="Snippets: of the choice for val.txt.")
    threads: int = Field(default=2, ge=1, le=64, description="Snippets: how many are made at the same time.")
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write what was done to this JSON file."
    )
    overwrite: bool = Field(
        default=False, description="Replace the JSON file, and lists of REDS that say something else."
    )
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width."""
        height, _, width = self.size.partition("x")
        return int(height), int(width)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", self.size):
            raise ValueError(f"--size {self.size}: write HEIGHTxWIDTH, as in 128x416")
        if self.frames % 2 == 0:
            raise ValueError(f"--frames {self.frames}: a snippet has a middle; write 3 or 5")
        in_place = self.family == IN_PLACE and self.layout == "regrouped"
        if self.out is None and not in_place:
            raise ValueError("--out is missing: name the folder to fill")
        return self
