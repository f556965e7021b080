"""What all of PWC-Net's runs can be told: the network and the objective. No torch is imported here."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field

from kinema.recipes.base import RecipeConfig

if TYPE_CHECKING:
    from kinema.models.pwcnet import PWCNet
    from kinema.recipes.pwcnet_objective import Objective

_log = logging.getLogger(__name__)

MULTIPLE = 64
"""Sides of training samples: other sizes would be resized or padded inside, and with them the truth."""


class PwcnetNetworkConfig(RecipeConfig):
    """The network and what it is trained towards."""

    preset: Literal["dc", "tfoptflow"] = Field(default="dc", description="Which of the two networks.")
    connections: Literal["dense", "plain"] | None = Field(
        default=None, description="Inside an estimator; default: the preset's."
    )
    context: Literal["finest", "every_level"] | None = Field(
        default=None, description="Where the flow is refined; default: the preset's."
    )
    finest_level: Literal[2, 3] = Field(
        default=2,
        description="3 leaves out the finest estimator, four fifths of the arithmetic: to begin with. A run "
        "with 2 can go on from its weights by --init.",
    )
    matching: Literal["auto", "product", "cosine"] = Field(
        default="product",
        description="Cost volume of features as they are, or of equal length; auto: as in the weights of "
        "--init, product without any.",
    )
    loss: Literal["multiscale", "robust", "legacy-robust", "plus-sintel", "plus-kitti"] = Field(
        default="multiscale",
        description="The length of the error; the robust norm of each cell's error; tfoptflow's, of each "
        "level's sum; PWC-Net+'s two.",
    )
    downsampling: Literal["triangle", "area", "subsample"] = Field(
        default="area",
        description="Truth of a level's cells: as the authors' Caffe layer, means, or tfoptflow's one pixel.",
    )
    loss_mean: Literal["pixels", "samples"] = Field(
        default="pixels",
        description="pixels: per 384x448 pixels that count; samples: summed over each, as published, where a "
        "cell counts whole or not at all.",
    )
    loss_epsilon: float = Field(
        default=0.01, ge=0, description="Of the loss: Caffe 0.01; tfoptflow's multiscale 0."
    )
    loss_q: float = Field(default=0.4, gt=0, le=2, description="[robust, legacy-robust] The exponent.")
    occluded_from: int = Field(
        default=20_000, ge=0, description="Before this step, points hidden in frame 2 weigh nothing."
    )
    hidden_weight: float = Field(
        default=1.0, ge=0, le=1, description="What hidden points weigh from then on; visible ones weigh 1."
    )

    def resolved(self) -> Self:
        """See `RecipeConfig.resolved`; also settles `matching`."""
        config = super().resolved()
        stored = _stored_matching(config.init) if config.init is not None else None
        if config.matching == "auto":
            return config.model_copy(update={"matching": stored or "product"})
        if stored not in (None, config.matching):
            _log.warning(
                "%s was trained with --matching %s, and goes on with %s", config.init, stored, config.matching
            )
        return config

    def facts(self) -> dict[str, object]:
        """See `RecipeConfig.facts`."""
        published = {"connections": None, "context": None, "finest_level": 2, "matching": "product"}
        chosen = {**{name: getattr(self, name) for name in published}, "matching": self._matching()}
        options = {name: value for name, value in chosen.items() if value != published[name]}
        return {"model": "pwcnet", "preset": self.preset, **({"options": options} if options else {})}

    def network(self) -> PWCNet:
        """Make the network.

        Returns:
            With the weights that the global random numbers give.
        """
        from kinema.models.pwcnet import PWCNet

        return PWCNet(
            self.preset,
            connections=self.connections,
            context=self.context,
            finest_level=self.finest_level,
            matching=self._matching(),
        )

    def objective(self) -> Objective:
        """Collect the settings of the loss.

        Returns:
            The loss.
        """
        from kinema.recipes.pwcnet_objective import Objective

        return Objective(
            loss=self.loss,
            downsampling=self.downsampling,
            mean=self.loss_mean,
            epsilon=self.loss_epsilon,
            q=self.loss_q,
            occluded_from=self.occluded_from,
            hidden_weight=self.hidden_weight,
        )

    def _matching(self) -> Literal["product", "cosine"]:
        return "cosine" if self.matching == "cosine" else "product"


def _stored_matching(path: Path) -> str | None:
    """What a file of weights, or a saved state, says; None where it says nothing of the network."""
    import json

    from kinema.io.checkpoints import tensor_facts
    from kinema.weights.identity import stored_identity

    metadata = tensor_facts(path)[1]
    if "state" in metadata:
        config = json.loads(metadata["state"]).get("config", {})
        return str(config["matching"]) if "matching" in config else None
    if metadata.get("model") != "pwcnet":
        return None
    return str(stored_identity(path, metadata, model="pwcnet").options.get("matching", "product"))
