"""What every recipe has: the loop's settings, where its weights begin, and how its task is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field
from tyro.conf import arg

from kinema.engine.config import LoopConfig
from kinema.errors import UsageError

if TYPE_CHECKING:
    from kinema.engine.contracts import Task

BUNDLED = Path("bundled")
"""For `RecipeConfig.init`: the weights that come with kinema."""

RANDOM = Path("random")
"""For `RecipeConfig.init`: as the seed draws them."""


class RecipeConfig(LoopConfig):
    """The settings of a run; recipes add their own, flat, so that each is an option of the command."""

    init: Annotated[Path | None, arg(metavar="FILE")] = Field(
        default=None,
        description="Begin from these weights: a file of weights or a saved state; bundled: those that come "
        "with kinema; random, or nothing: as the seed draws them.",
    )
    validation_pairs: int = Field(
        default=200, ge=1, description="How many pairs a validation looks at, at most."
    )

    def build(self) -> Task:
        """Make what is trained; torch is imported here and not before.

        Returns:
            The task, its network with the weights that the seed gives (and not those of `init`).
        """
        raise NotImplementedError

    def resolved(self) -> Self:
        """Settle what depends on this machine, once, before a run begins: the run keeps the answer.

        Returns:
            The settings with a file, or nothing, as `init`.

        Raises:
            UsageError: when what the recipe needs was not named.
        """
        if self.init == RANDOM:
            return self.model_copy(update={"init": None})
        if self.init != BUNDLED:
            return self
        from kinema.weights.bundled import find_bundled

        model, preset = str(self.facts().get("model", "")), str(self.facts().get("preset", ""))
        found = find_bundled(model, preset)
        if found is None:
            raise UsageError(
                f"--init FILE is missing: this recipe begins from trained weights, and kinema comes without "
                f"any for {model} (preset {preset or 'default'}) in this version; --init random begins "
                "from none"
            )
        return self.model_copy(update={"init": found})

    def facts(self) -> dict[str, object]:
        """Say what the weights are, for the files that hold them.

        Returns:
            Such as the model's name and preset.
        """
        return {}

    def needs(self) -> str:
        """Say what has to be at hand, in a few words, for the list of recipes.

        Returns:
            Such as ``flyingchairs@train``; empty for nothing.
        """
        return ""

    def validated_by(self) -> str:
        """Name the protocol of the validation.

        Returns:
            Such as ``sintel``.
        """
        return "reserved-pairs"
