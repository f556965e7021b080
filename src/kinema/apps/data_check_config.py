"""What `kinema data check` can be told. Importing it imports neither torch nor a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from tyro.conf import Positional, arg


class DataCheckConfig(BaseModel):
    """A data set, looked at before something is trained on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: Annotated[Positional[str], arg(metavar="SPEC")] = Field(
        description="NAME[-VARIANT][@SPLIT]:PATH, as in sintel-clean:/data/sintel; several joined by commas."
    )
    samples: int = Field(
        default=32, ge=1, description="How many samples of each set are read, spread evenly over it."
    )
    full: bool = Field(default=False, description="Read every file instead.")
    all_findings: bool = Field(default=False, description="Show every finding, not three of a kind.")
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write all findings to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Replace the JSON file.")
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")

    @model_validator(mode="after")
    def _one_extent(self) -> Self:
        if self.full and "samples" in self.model_fields_set and self.samples != 32:
            raise ValueError("--full reads everything: leave out --samples")
        return self
