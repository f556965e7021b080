"""What every recipe has: the loop's settings, where its weights begin, and how its task is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from tyro.conf import arg

from kinema.engine.config import LoopConfig

if TYPE_CHECKING:
    from kinema.engine.contracts import Task


class RecipeConfig(LoopConfig):
    """The settings of a run; recipes add their own, flat, so that each is an option of the command."""

    init: Annotated[Path | None, arg(metavar="FILE")] = Field(
        default=None, description="Begin from these weights: a file of weights, or a saved state."
    )
    validation_pairs: int = Field(
        default=200, ge=1, description="How many reserved pairs a validation looks at."
    )

    def build(self) -> Task:
        """Make what is trained; torch is imported here and not before.

        Returns:
            The task, its network with the weights that the seed gives (and not those of `init`).
        """
        raise NotImplementedError

    def facts(self) -> dict[str, object]:
        """Say what the weights are, for the files that hold them.

        Returns:
            Such as the model's name and preset.
        """
        return {}
