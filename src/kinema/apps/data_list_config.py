"""What `kinema data list` can be told. Importing it imports neither torch nor a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from tyro.conf import Positional, arg


class DataListConfig(BaseModel):
    """The data sets that can be read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Annotated[Positional[str | None], arg(metavar="[FAMILY]")] = Field(
        default=None, description="Tell everything about this one; without it, a line for each."
    )
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write the list to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Replace the JSON file.")
