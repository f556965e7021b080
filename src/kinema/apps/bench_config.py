"""What `kinema bench` can be told. Importing it imports neither torch nor a model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from tyro.conf import Positional, arg


class BenchConfig(BaseModel):
    """Speed and memory of models on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Annotated[Positional[tuple[str, ...]], arg(metavar="[MODEL...]")] = Field(
        default=(), description="Which models; all of them when none is named."
    )
    size: Annotated[str, arg(metavar="HxW")] = Field(
        default="436x1024", description="Height and width of the frames in pixels, as HxW."
    )
    weights: Annotated[str | None, arg(metavar="FILE")] = Field(
        default=None, description="A file of weights; without it random ones, which take as long."
    )
    preset: str | None = Field(default=None, description="A named set of the models' settings.")
    device: str = Field(default="auto", description="Where to compute: auto, cpu, cuda, cuda:1, ...")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="The number format to compute in."
    )
    warm_up: int = Field(default=1, ge=0, description="Pairs computed first and not counted.")
    runs: int = Field(default=5, ge=1, description="Pairs measured; the median is reported.")
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write the result to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Replace a file that exists.")
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")

    @field_validator("size")
    @classmethod
    def _check_size(cls, size: str) -> str:
        if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", size):
            raise ValueError(f"--size {size}: write height and width in pixels as HxW, such as 436x1024")
        return size

    @property
    def size_hw(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.size.split("x")
        return int(height), int(width)


class TrainBenchOptions(BaseModel):
    """Speed and memory of training on this machine; the settings of a recipe come beside these."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    train: Annotated[str, arg(metavar="RECIPE")] = Field(
        description="Measure training steps by this recipe; kinema train --list names them."
    )
    steps: int = Field(default=10, ge=1, description="Steps measured; the median is reported.")
    warm_up: int = Field(default=2, ge=1, description="Steps done first and not counted.")
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write the result to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Replace a file that exists.")
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")


NOT_MEASURED = frozenset(
    {"steps", "out", "init", "validation_pairs", "log_every", "checkpoint_every", "validate_every"}
    | {"picture_every", "keep_states", "keep_best", "best_metric", "best_is", "trackers"}
)
"""Fields of recipes that say nothing about a step."""
