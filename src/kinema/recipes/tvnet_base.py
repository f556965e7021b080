"""What all of TVNet's runs can be told: what is learned, and towards what. No torch is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator
from tyro.conf import arg

from kinema.errors import UsageError
from kinema.models.tvnet_settings import PRESETS, Learned, level_sizes
from kinema.recipes.base import RecipeConfig
from kinema.recipes.crops import crop_size

if TYPE_CHECKING:
    from kinema.models.tvnet import TVNet
    from kinema.recipes.tvnet_task import TvnetObjective

_PUBLISHED: dict[str, object] = {
    "scales": None,
    "warps": None,
    "iterations": None,
    "tau": 0.25,
    "lbda": 0.15,
    "theta": 0.3,
    "constants": "fixed",
    "kernels": "fixed",
    "kernel_norm": None,
    "biases": "none",
    "start": "none",
}
"""Options of the model that have these values if nothing is said."""

_ZOOM = 0.5


class TvnetConfig(RecipeConfig):
    """The network and what it is trained towards."""

    preset: Literal["corrected", "reference"] = Field(default="corrected", description="Which of the two.")
    scales: int | None = Field(default=None, ge=1, le=100, description="Levels of the pyramid at most.")
    warps: int | None = Field(default=None, ge=1, le=1000, description="Warps on each level.")
    iterations: int | None = Field(default=None, ge=1, le=10_000, description="Iterations for each warp.")
    tau: float = Field(default=0.25, gt=0, le=0.25, description="The dual step, before training.")
    lbda: float = Field(default=0.15, gt=0, description="Weight of the data term, before training.")
    theta: float = Field(default=0.3, gt=0, description="Coupling of the two terms, before training.")
    constants: Literal["fixed", "shared", "per_warp"] = Field(
        default="shared", description="Whether tau, lambda and theta are learned, once or for each warp."
    )
    kernels: Literal["fixed", "shared", "per_iteration"] = Field(
        default="fixed",
        description="Whether the difference kernels are learned, once or for each iteration, as published.",
    )
    kernel_norm: Literal["bounded", "free"] | None = Field(
        default=None, description="Whether learned kernels are kept stable; default: the preset's."
    )
    biases: Literal["none", "learned"] = Field(
        default="none", description="Whether learned kernels have biases, as in the Ascend port."
    )
    start: Literal["none", "constant", "map"] = Field(
        default="none",
        description="Whether the flow that the coarsest level starts from is learned: a vector, or a field.",
    )
    crop: Annotated[str, arg(metavar="HxW")] = Field(
        default="192x256", description="Size of the training samples."
    )
    precision: Literal["fp32"] = Field(default="fp32", description="What is computed in.")

    loss: Literal["epe", "legacy", "brightness", "census"] = Field(
        default="epe",
        description="Of the true flow: epe. Without truth: the published energy (legacy), or that of grey "
        "levels (brightness) or census distances where the flow stays in the frame.",
    )
    loss_epsilon: float = Field(
        default=1e-8, ge=0, description="[epe] Added to the squared error; 0 as published."
    )
    loss_q: float = Field(
        default=1.0, gt=0, le=2, description="[epe] Exponent of each error; below 1, outliers count less."
    )
    hidden_weight: float = Field(
        default=1.0, ge=0, le=1, description="[epe] What points hidden in frame 2 weigh; visible ones 1."
    )
    loss_lambda: float = Field(
        default=0.15, gt=0, description="[legacy, brightness, census] Weight of the data term."
    )
    unrolling: Literal["full", "truncated", "implicit"] = Field(
        default="full", description="How gradients go back through the iterations of a warp."
    )
    unrolled: int | None = Field(
        default=None, ge=1, description="[truncated, implicit] So many iterations; default: all."
    )
    positions: Literal["differentiated", "constant"] = Field(
        default="differentiated",
        description="Whether gradients also go back from warp to warp through where frame 2 is sampled, as "
        "published; constant: through the iterations alone, which is stable.",
    )
    keep: Literal["start", "iterations"] = Field(
        default="start",
        description="What a warp keeps for its gradient: where it started, or, for more memory, every "
        "iteration.",
    )

    @field_validator("crop")
    @classmethod
    def _crop_can_be_read(cls, text: str) -> str:
        crop_size(text, multiple=1)
        return text

    @model_validator(mode="after")
    def _something_is_learned(self) -> TvnetConfig:
        try:
            Learned(constants=self.constants, kernels=self.kernels, biases=self.biases, start=self.start)
        except UsageError as error:
            raise ValueError(str(error)) from None
        if self.constants == "fixed" and self.kernels == "fixed" and self.start == "none":
            raise ValueError("nothing is learned: --constants shared, --kernels shared or --start constant")
        if self.kernels == "per_iteration" and self.levels() is None:
            raise ValueError("--kernels per_iteration needs --scales N: each level has kernels of its own")
        if self.unrolling == "implicit" and self.kernels == "per_iteration":
            raise ValueError("--unrolling implicit needs iterations that are alike: --kernels shared")
        if min(self.size_hw()) < 3:
            raise ValueError(f"--crop {self.crop}: 3x3 is the smallest")
        return self

    def size_hw(self) -> tuple[int, int]:
        """Read `crop`.

        Returns:
            Height and width.
        """
        return crop_size(self.crop, multiple=1)

    def levels(self) -> int | None:
        """How many levels the pyramid has at most.

        Returns:
            The number; None for as many as fit.
        """
        return PRESETS[self.preset].scales if self.scales is None else self.scales

    def options(self) -> dict[str, object]:
        """Collect what distinguishes the network from its preset.

        Returns:
            Options of the model, by name.
        """
        chosen = {name: getattr(self, name) for name in _PUBLISHED}
        options = {name: value for name, value in chosen.items() if value != _PUBLISHED[name]}
        if self.start == "map":
            faithful = self.preset == "reference"
            sizes = level_sizes(self.size_hw(), scales=self.levels(), zoom=_ZOOM, faithful=faithful)
            options |= {"map_height": sizes[-1][0], "map_width": sizes[-1][1]}
        return options

    def facts(self) -> dict[str, object]:
        """See `RecipeConfig.facts`."""
        return {"model": "tvnet", "preset": self.preset, "options": self.options()}

    def network(self) -> TVNet:
        """Make the network.

        Returns:
            The classic solver, until it has learned something.
        """
        from kinema.models.tvnet import TVNet
        from kinema.ops.variational import Unrolling

        network = TVNet(self.preset, **self.options())  # type: ignore[arg-type]
        network.unrolling = Unrolling(mode=self.unrolling, steps=self.unrolled, keep=self.keep)
        network.differentiates_positions = self.positions == "differentiated"
        return network

    def objective(self) -> TvnetObjective:
        """Collect the settings of the loss.

        Returns:
            The loss.
        """
        from kinema.recipes.tvnet_task import TvnetObjective

        return TvnetObjective(
            loss=self.loss,
            epsilon=self.loss_epsilon,
            q=self.loss_q,
            hidden_weight=self.hidden_weight,
            lbda=self.loss_lambda,
        )
