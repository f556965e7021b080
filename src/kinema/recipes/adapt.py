"""Adapting a flow network to footage: the settings of such a run. No torch is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from kinema.models import find_model
from kinema.recipes.uflow_base import MULTIPLE, UnlabelledFlowConfig

if TYPE_CHECKING:
    from torch import nn

    from kinema.recipes.adapt_task import AdaptTask
    from kinema.recipes.adapt_validation import AdaptValidation

FRAMES, START = "frames", "start.safetensors"
"""Names inside a run's folder: the pictures, and what the starting weights were."""

_LARGEST_CROP = (256, 320)


class AdaptFlowConfig(UnlabelledFlowConfig):
    """How a flow network learns from footage, on which a run is measured too."""

    minutes: float | None = Field(default=None, gt=0, description="Wall time of the run, all included.")
    patience: int = Field(default=8, ge=0, description="Validations without a better score that end the run.")
    frames: Path = Field(description="Folder of the pictures.")
    crop_hw: tuple[int, int] = Field(description="Size of the samples.")
    motions: tuple[float, ...] = Field(description="Displacements of the known flows, pixels.")
    noise: float = Field(default=0.0, ge=0, description="White noise of the footage; white is 1.")
    known_weight: float = Field(default=1.0, ge=0, description="Weight of the error where flow is known.")
    known_pairs: int = Field(default=24, ge=1, description="Validation pairs with known flow.")
    augmentation: str = Field(default="adapt", description="Changes of the footage.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the network over those of its preset."
    )

    def facts(self) -> dict[str, object]:
        """See `RecipeConfig.facts`."""
        return {**super().facts(), **({"options": self.options} if self.options else {})}

    def network(self) -> nn.Module:
        """Make the network as it is used: nothing is left out at random."""
        options = {**self.options, **({"dropout_rate": 0.0} if self.model == "uflow" else {})}
        return find_model(self.model).builder(self.preset or None, options)

    def validation(self) -> AdaptValidation:
        """What the run is measured on.

        Returns:
            The validation.
        """
        from kinema.data.rewarped import Rewarp
        from kinema.data.working_frames import read_working_frames
        from kinema.recipes.adapt_validation import AdaptValidation

        rewarp = Rewarp(size_hw=self.crop_hw, motions=self.motions, noise=self.noise)
        frames = read_working_frames(self.frames)
        return AdaptValidation(frames, rewarp, self.known_pairs, self.frames.parent / START)

    def build(self) -> AdaptTask:
        """See `RecipeConfig.build`."""
        from kinema.data.flow_source import FlowPart, FlowSource
        from kinema.data.transforms.sets import named_set
        from kinema.recipes.adapt_task import AdaptSource, AdaptTask, Patience

        validation, augmentation = self.validation(), named_set(self.augmentation)
        training = validation.frames.training
        footage = FlowSource(
            (FlowPart(training, augmentation),),
            self.crop_hw,
            batch_size=self.batch_size,
            seed=self.seed,
            clean=True,
        )
        return AdaptTask(
            network=self.network(),
            source=AdaptSource(footage, training, validation.rewarp, augmentation),
            settings=self.settings(),
            known_weight=self.known_weight,
            validation=validation,
            patience=Patience(minutes=self.minutes, rounds=self.patience),
        )


def crop_for(size_hw: tuple[int, int], model: Literal["uflow", "pwcnet"]) -> tuple[int, int]:
    """Choose the size of the samples.

    Args:
        size_hw: of the pictures.
        model: whose coarsest level decides which sizes there are.

    Returns:
        As large as the pictures allow, 256x320 at most; 64 pixels a side at least.
    """
    multiple = MULTIPLE[model]
    most = [-(-side // multiple) * multiple for side in _LARGEST_CROP]
    height, width = (
        max(64, min(limit, side // multiple * multiple)) for side, limit in zip(size_hw, most, strict=True)
    )
    return height, width
