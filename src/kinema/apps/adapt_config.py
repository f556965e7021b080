"""What `kinema adapt` can be told. Importing it imports neither torch nor a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from tyro.conf import Positional, arg

_LONGEST_S = 1e9


class AdaptConfig(BaseModel):
    """Training of a network on footage of one's own, without labels."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")] = Field(
        default=(), description="Videos, folders of videos or of frames, or quoted patterns."
    )
    out: Annotated[Path, arg(aliases=("-o",), metavar="OUT.safetensors")] = Field(
        description="The adapted weights; the run itself lies beside it in OUT.adapt, with its report."
    )
    model: Literal["pwcnet", "uflow"] = Field(
        default="pwcnet", description="Which network; uflow needs --weights in this version."
    )
    weights: Annotated[Path | None, arg(metavar="FILE")] = Field(
        default=None, description="Begin from these weights instead of those that come with kinema."
    )
    minutes: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Wall time, all included; default: 10."
    )
    steps: int | None = Field(
        default=None, ge=1, description="Instead of --minutes: this many steps, the same bit by bit anywhere."
    )
    resume: bool = Field(
        default=False,
        description="Go on with the run in OUT.adapt; all but --minutes or --steps comes from it.",
    )
    start: float = Field(default=0.0, ge=0, le=_LONGEST_S, description="Begin at this second of each clip.")
    end: float | None = Field(default=None, gt=0, le=_LONGEST_S, description="Stop before this second.")
    stride: int = Field(default=1, ge=1, description="Use every n-th frame.")
    max_side: int = Field(
        default=640,
        ge=64,
        description="Learn with the longer side of the frames reduced to this many pixels.",
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="Of Adam.")
    batch_size: int = Field(default=2, ge=1, description="Pairs of footage per step.")
    patience: int = Field(
        default=10, ge=0, description="Validations without a better score that end the run; 0: none do."
    )
    validate_every: int = Field(default=50, ge=1, description="Steps between validations.")
    seed: int = Field(default=0, ge=0, description="Decides the order, the augmentation and the known flows.")
    device: str = Field(default="auto", description="auto, cpu, or a kind such as cuda.")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="What the layers compute in."
    )
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Also write the result to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Replace weights and a run that are there.")
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Print no lines.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Print details.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.minutes is not None and self.steps is not None:
            raise ValueError("--minutes and --steps exclude each other: give one")
        if self.out.suffix != ".safetensors":
            raise ValueError(f"--out {self.out}: must end in .safetensors")
        if not self.inputs and not self.resume:
            raise ValueError("INPUT is missing: name a video, a folder, or a quoted pattern")
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"--end {self.end:g} is not after --start {self.start:g}")
        return self

    @property
    def run_folder(self) -> Path:
        """Where the run lies."""
        return self.out.with_suffix(".adapt")
