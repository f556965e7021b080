"""What `kinema data convert` can be told. Importing it imports neither torch nor a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from tyro.conf import Positional, arg


class DataConvertConfig(BaseModel):
    """A data set as tar shards with an index beside each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: Annotated[Positional[str], arg(metavar="SPEC")] = Field(
        description="NAME[-VARIANT][@SPLIT]:PATH, as in sintel-clean:/data/sintel or flyingchairs@val:chairs."
    )
    out: Annotated[Path, arg(aliases=("-o",), metavar="DIR")] = Field(
        description="The folder to write; one conversion in a folder."
    )
    num_shards: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="So many shards: each gets floor(N / shards) samples, the last one the rest too.",
    )
    shard: int | None = Field(
        default=None,
        ge=0,
        description="With --num-shards: write only this one, counted from 0; machines can share the work.",
    )
    samples_per_shard: int | None = Field(
        default=None,
        ge=1,
        description="Instead of --num-shards: at most so many samples in a shard. Clips, drives and "
        "snippets are stored file by file: here and with --num-shards each of their files counts as one.",
    )
    max_shard_mib: int | None = Field(
        default=None,
        ge=1,
        description="Instead of --num-shards: at most so many MiB of files in a shard; 1024 if nothing is "
        "said (256 samples where sizes are not known).",
    )
    processes: int = Field(default=1, ge=1, le=256, description="How many are written at the same time.")
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write what was done to this JSON file."
    )
    overwrite: bool = Field(
        default=False, description="Begin anew where DIR holds shards, and replace the JSON file."
    )
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")

    @model_validator(mode="after")
    def _one_cut(self) -> Self:
        limits = {"--samples-per-shard": self.samples_per_shard, "--max-shard-mib": self.max_shard_mib}
        given = [option for option, value in limits.items() if value is not None]
        if self.num_shards is not None and given:
            raise ValueError(f"--num-shards and {given[0]} exclude each other: name one")
        if self.shard is not None and self.num_shards is None:
            raise ValueError(f"--shard {self.shard} needs --num-shards: of how many is it one?")
        if self.shard is not None and self.num_shards is not None and self.shard >= self.num_shards:
            raise ValueError(f"--shard {self.shard}: shards are counted from 0 to {self.num_shards - 1}")
        return self
