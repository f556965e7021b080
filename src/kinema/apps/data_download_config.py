"""What `kinema data download` can be told. Importing it imports neither torch nor a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from tyro.conf import Positional, arg


class DataDownloadConfig(BaseModel):
    """A published data set, fetched and unpacked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Annotated[Positional[str], arg(metavar="FAMILY")] = Field(
        description="Which data set: reds, sintel, flyingchairs, flyingthings_subset, middlebury, kitti2012, "
        "kitti2015, kitti_raw, kitti_odometry, vimeo90k."
    )
    parts: Annotated[Positional[tuple[str, ...]], arg(metavar="[PART...]")] = Field(
        default=(),
        description="Which parts of it, or all; --dry-run lists them. Without any: the usual ones.",
    )
    out: Annotated[Path | None, arg(aliases=("-o",), metavar="DIR")] = Field(
        default=None, description="The folder to fill (required, but for --dry-run)."
    )
    dry_run: bool = Field(default=False, description="Show addresses and sizes, and fetch nothing.")
    mirror: Annotated[str | None, arg(metavar="URL")] = Field(
        default=None, description="Fetch the same files from URL/FILE instead."
    )
    keep_archive: bool = Field(default=False, description="Keep the archives after they have been unpacked.")
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write what was done to this JSON file."
    )
    overwrite: bool = Field(
        default=False, description="Fetch again what is there, and replace files that are not the archive's."
    )
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")

    @model_validator(mode="after")
    def _has_place(self) -> Self:
        if self.out is None and not self.dry_run:
            raise ValueError("--out is missing: name the folder to fill, or add --dry-run")
        if self.mirror is not None and not self.mirror.startswith(("http://", "https://")):
            raise ValueError(f"--mirror {self.mirror}: write an address that begins with http:// or https://")
        return self
