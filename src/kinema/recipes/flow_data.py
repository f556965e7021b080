"""Data arguments that recipes share: what to learn from, and what to measure on. No torch is imported here.

A recipe names its network's settings first and these second: where both know a field, the first decides.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, field_validator
from tyro.conf import arg

from kinema.data.spec import parse_spec
from kinema.errors import UsageError
from kinema.recipes.base import BUNDLED, RecipeConfig
from kinema.recipes.labelled import RESERVED, check_named, needed, settled_validation

if TYPE_CHECKING:
    from kinema.recipes.flow_validation import ProtocolValidation
    from kinema.recipes.pwcnet_task import PairPool


class SpecConfig(RecipeConfig):
    """A run on data that are named: what to learn from, and what to measure on."""

    data: Annotated[str, arg(metavar="SPEC,...")] = Field(
        default="custom:DIR",
        description="What to learn from: NAME[-VARIANT][@SPLIT]:PATH, several joined by commas, as shares of "
        "the samples 2*SPEC; DIR stands for a folder that you name.",
    )
    validation: Annotated[str, arg(metavar="SPEC,...")] = Field(
        default=RESERVED,
        description="What to validate on, with truth; DIR is the folder of the same set in --data. The first "
        "one's main number chooses the best weights.",
    )
    protocol: Annotated[str, arg(metavar="NAME")] = Field(
        default="", description="How validations are scored; default: each set's own protocol."
    )

    @field_validator("data", "validation")
    @classmethod
    def _specs_can_be_read(cls, text: str) -> str:
        try:
            parse_spec(text)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return text

    def resolved(self) -> Self:
        """See `RecipeConfig.resolved`; also finds the folder of the recipe's own validation."""
        check_named(self.data)
        return super().resolved().model_copy(update={"validation": self.settled()})

    def settled(self) -> str:
        """The validation with folders.

        Returns:
            Specs joined by commas.
        """
        return settled_validation(self.validation, self.data)

    def needs(self) -> str:
        """See `RecipeConfig.needs`."""
        return f"{needed(self.data)}{'; trained weights' if self.init == BUNDLED else ''}"


class FlowDataConfig(SpecConfig):
    """A run on pairs that are named, validated on pairs with true flow."""

    def validated_by(self) -> str:
        """See `RecipeConfig.validated_by`."""
        from kinema.evaluation.protocols import DEFAULT_PROTOCOLS

        families = [spec.name for spec in parse_spec(self.validation)]
        names = [self.protocol or DEFAULT_PROTOCOLS.get(name, "pixels") for name in families]
        return ", ".join(dict.fromkeys(names))

    def opened_validation(self) -> ProtocolValidation:
        """Open what the run is measured on.

        Returns:
            The validation.
        """
        from kinema.recipes.flow_validation import open_validation

        return open_validation(self.settled(), protocol=self.protocol, pairs=self.validation_pairs)


class RenderedConfig(RecipeConfig):
    """A run on rendered pairs, which a folder can keep."""

    textures: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None, description="Pictures of your own to cut textures from."
    )
    cache: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None,
        description="Render --pool pairs into this folder before the first step, and learn from windows of "
        "them; without it every sample is rendered when its step comes.",
    )
    pool: int = Field(default=4000, ge=32, description="With --cache: how many pairs there are.")
    cache_gib: float = Field(default=20.0, gt=0, description="With --cache: its largest size in 2^30 bytes.")

    def pair_pool(self, size_hw: tuple[int, int]) -> PairPool | None:
        """Where pairs are kept.

        Args:
            size_hw: of their frames.

        Returns:
            The pool; None to render each pair when its step comes.
        """
        from kinema.recipes.pwcnet_task import PairPool

        return None if self.cache is None else PairPool(self.cache, self.pool, size_hw, self.cache_gib)
