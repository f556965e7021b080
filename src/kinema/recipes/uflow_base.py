"""What all runs without labels can be told: network, losses, self-supervision. No torch is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from kinema.models import find_model
from kinema.recipes.base import RecipeConfig

if TYPE_CHECKING:
    from torch import nn

    from kinema.losses.unsupervised_flow import UnsupervisedFlowSettings
    from kinema.recipes.unlabelled_task import SelfSupervision

MULTIPLE = {"uflow": 32, "pwcnet": 64}
"""Sides of training samples: other sizes would be resized or padded inside."""


class UnlabelledFlowConfig(RecipeConfig):
    """A flow network, and the objective that needs no labels."""

    model: Literal["uflow", "pwcnet"] = Field(default="uflow", description="Which network learns.")
    preset: str = Field(default="", description="Of the network; default: its own.")
    dropout: float = Field(
        default=0.1, ge=0, le=1, description="[uflow] How often a level's flow and features are left out."
    )
    normalization: Literal["sample", "batch"] = Field(
        default="sample",
        description="[uflow] Of the features before they are compared: of each sample, or, as published, of "
        "a batch together. With one sample in a batch there is no difference.",
    )
    census: float = Field(default=1.0, ge=0, description="Weight of the census loss.")
    photometric: float = Field(default=0.0, ge=0, description="Weight of the difference of colours.")
    ssim: float = Field(default=0.0, ge=0, description="Weight of the structural difference.")
    smooth1: float = Field(default=4.0, ge=0, description="Weight of slopes in the flow.")
    smooth2: float = Field(default=0.0, ge=0, description="Weight of bends in the flow.")
    edge_weighting: Literal["exponential", "gaussian"] = Field(
        default="exponential", description="How edges of the picture allow edges of the flow."
    )
    edge_constant: float = Field(default=150.0, ge=0, description="How strongly they do.")
    occlusion: Literal[
        "none", "brox", "fb_abs", "wang", "wang4", "wangthres", "wang4thres", "uflow", "geonet"
    ] = Field(default="wang", description="How hidden points are found, which no loss compares.")
    occluded_from: int = Field(
        default=1000, ge=0, description="Before this step all points count as visible (the first epoch)."
    )
    selfsup: float = Field(
        default=0.6,
        ge=0,
        description="Weight of self-supervision: the network on cropped frames learns from "
        "itself on whole ones.",
    )
    selfsup_after: int = Field(default=500_000, ge=0, description="The step at which it begins.")
    selfsup_ramp: int = Field(default=100_000, ge=0, description="In how many steps it becomes whole.")
    selfsup_crop: int = Field(
        default=64, ge=4, description="How many pixels the student misses at each side."
    )
    selfsup_sides: Literal["gaussian", "ddflow"] = Field(
        default="gaussian", description="How the points to learn are chosen."
    )
    selfsup_shift: int = Field(
        default=0, ge=0, description="By how many pixels the student's part moves, ±; --selfsup-crop at most."
    )
    selfsup_teacher: Literal["live", "frozen"] = Field(
        default="live", description="The network as it is, or as it was when self-supervision began."
    )
    surround: str = Field(
        default="0x0",
        description="Rows and columns of the pictures around a sample, on each side, into which its points "
        "may move (full-image warping).",
    )

    def facts(self) -> dict[str, object]:
        """See `RecipeConfig.facts`."""
        return {"model": self.model, **({"preset": self.preset} if self.preset else {})}

    def network(self) -> nn.Module:
        """Make the network.

        Returns:
            With the weights that the global random numbers give.
        """
        own = {"dropout_rate": self.dropout, "normalize_before_cost_volume": self.normalization}
        return find_model(self.model).builder(self.preset or None, own if self.model == "uflow" else {})

    def settings(self) -> UnsupervisedFlowSettings:
        """Collect the settings of the losses.

        Returns:
            The settings.
        """
        from kinema.losses.unsupervised_flow import UnsupervisedFlowSettings

        return UnsupervisedFlowSettings(
            census=self.census,
            photometric=self.photometric,
            ssim=self.ssim,
            smooth1=self.smooth1,
            smooth2=self.smooth2,
            edge_weighting=self.edge_weighting,
            edge_constant=self.edge_constant,
            occlusion=self.occlusion,
        )

    def teaching(self) -> SelfSupervision | None:
        """Collect the settings of self-supervision.

        Returns:
            The settings; None for none.
        """
        from kinema.recipes.unlabelled_task import SelfSupervision

        if not self.selfsup:
            return None
        return SelfSupervision(
            weight=self.selfsup,
            after=self.selfsup_after,
            ramp=self.selfsup_ramp,
            crop=self.selfsup_crop,
            shift=min(self.selfsup_shift, self.selfsup_crop),
            frozen=self.selfsup_teacher == "frozen",
            seed=self.seed,
            sides=self.selfsup_sides,
        )
