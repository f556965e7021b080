"""What `kinema demo` can be told. Importing it imports neither torch nor a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator
from tyro.conf import arg

_SMALLEST_SIDE = 32


class DemoConfig(BaseModel):
    """A rendered scene, its flow, and a report with the true error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    out: Annotated[Path, arg(aliases=("-o",), metavar="DIR")] = Field(description="The folder to write.")
    seed: int = Field(default=0, ge=0, description="Another number is another scene.")
    frames: int = Field(default=12, ge=2, le=240, description="Length of the clip.")
    size: Annotated[str, arg(metavar="HxW")] = Field(
        default="240x432", description="Height and width of the frames in pixels, as HxW."
    )
    overwrite: bool = Field(default=False, description="Replace what an earlier demo left in DIR.")
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")

    @field_validator("size")
    @classmethod
    def _check_size(cls, size: str) -> str:
        if not re.fullmatch(r"\d{1,4}x\d{1,4}", size) or min(map(int, size.split("x"))) < _SMALLEST_SIDE:
            raise ValueError(
                f"--size {size}: write height and width as HxW, {_SMALLEST_SIDE} to 9999 pixels each, "
                "such as 240x432"
            )
        return size

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.size.split("x")
        return int(height), int(width)
