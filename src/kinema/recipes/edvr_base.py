"""What all of EDVR's runs can be told: network, loss, validation. No torch is imported here."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator
from tyro.conf import arg

from kinema.data.spec import parse_spec
from kinema.errors import KinemaError
from kinema.recipes.base import RecipeConfig
from kinema.recipes.flow_data import SpecConfig
from kinema.recipes.labelled import PLACE, check_named

if TYPE_CHECKING:
    from kinema.engine.contracts import Task
    from kinema.models.edvr import EDVR
    from kinema.recipes.edvr_task import EdvrObjective

_log = logging.getLogger(__name__)

RENDERED = "rendered"
"""In place of a data set to validate on: rendered clips of reserved worlds."""


class EdvrNetworkConfig(RecipeConfig):
    """The network and what it is trained towards."""

    preset: Literal[
        "m",
        "m-wotsa",
        "l",
        "l-wotsa",
        "l-vimeo90k",
        "l-srblur",
        "l-deblur",
        "l-deblur-stage2",
        "l-sr-stage2",
    ] = Field(default="m", description="Which of the published networks.")
    features: int | None = Field(default=None, ge=1, description="Channels; default: the preset's.")
    frames: int | None = Field(default=None, ge=1, description="Of a window, odd; default: the preset's.")
    reconstruction_blocks: int | None = Field(
        default=None, ge=0, description="Residual blocks behind the fusion; default: the preset's."
    )
    offset_groups: int | None = Field(
        default=None,
        ge=1,
        description="Channel groups with offsets of their own; default: the preset's.",
    )
    crop: int = Field(
        default=64,
        ge=16,
        multiple_of=4,
        description="Side of the training samples in low resolution; with a network that keeps the size a "
        "multiple of 16.",
    )
    loss: Literal["charbonnier", "l1", "l2", "marginal-l1"] = Field(
        default="charbonnier", description="What a wrong value costs: see kinema.losses.restoration."
    )
    loss_epsilon: float = Field(
        default=1e-12,
        ge=0,
        description="Of charbonnier, inside the root (the first code: 1e-6); of marginal-l1.",
    )
    loss_mean: Literal["values", "samples"] = Field(
        default="samples",
        description="samples: summed over each, as published; values: the mean error, whatever the crop.",
    )
    loss_weight: float = Field(
        default=1.0,
        gt=0,
        description="Of the loss: 4 with --loss-mean samples is the sum over four, as published.",
    )
    offset_limit: float = Field(
        default=0.0,
        ge=0,
        description="Offsets beyond so many pixels of their level cost something, so that training cannot "
        "run away; 0 is none, as published.",
    )
    offset_weight: float = Field(
        default=1.0,
        gt=0,
        description="[offset_limit] What a pixel beyond the limit costs, in the unit of the loss.",
    )

    def facts(self) -> dict[str, object]:
        """See `RecipeConfig.facts`."""
        options = self._options()
        return {"model": "edvr", "preset": self.preset, **({"options": options} if options else {})}

    def network(self) -> EDVR:
        """Make the network.

        Returns:
            With the weights that the global random numbers give.
        """
        from kinema.models.edvr import EDVR

        return EDVR(
            self.preset,
            features=self.features,
            frames=self.frames,
            reconstruction_blocks=self.reconstruction_blocks,
            offset_groups=self.offset_groups,
        )

    def objective(self) -> EdvrObjective:
        """Collect the settings of the loss.

        Returns:
            The loss.
        """
        from kinema.recipes.edvr_task import EdvrObjective

        return EdvrObjective(
            penalty="marginal_l1" if self.loss == "marginal-l1" else self.loss,
            epsilon=self.loss_epsilon,
            mean=self.loss_mean,
            weight=self.loss_weight,
            offset_limit=self.offset_limit,
            offset_weight=self.offset_weight,
        )

    def _options(self) -> dict[str, object]:
        names = ("features", "frames", "reconstruction_blocks", "offset_groups")
        chosen = {name: getattr(self, name) for name in names}
        return {name: value for name, value in chosen.items() if value is not None}


class EdvrConfig(EdvrNetworkConfig, SpecConfig):
    """How EDVR is trained on degraded frames with sharp twins."""

    data: Annotated[str, arg(metavar="SPEC,...")] = Field(
        default="paired:DIR",
        description="What to learn from: NAME[-VARIANT][@SPLIT]:PATH, several joined by commas, as shares of "
        "the samples 2*SPEC; DIR stands for a folder that you name.",
    )
    intervals: Annotated[str, arg(metavar="N,...")] = Field(
        default="1", description="Frames from one of a window to the next; each sample draws one."
    )
    reversed_share: float = Field(
        default=0.5, ge=0, le=1, description="Of the samples: time runs backwards in them."
    )
    validation: Annotated[str, arg(metavar="SPEC,...")] = Field(
        default=RENDERED,
        description="What to validate on; DIR is the folder of the same set in --data; rendered: clips of "
        "reserved worlds. The first one's PSNR chooses the best weights.",
    )

    @field_validator("intervals")
    @classmethod
    def _intervals_can_be_read(cls, text: str) -> str:
        if not all(part.strip().isdecimal() and int(part) > 0 for part in text.split(",")):
            raise ValueError(f"{text!r} is no list of whole numbers above 0, such as 1,2,3")
        return text

    def validated_by(self) -> str:
        """See `RecipeConfig.validated_by`."""
        from kinema.recipes.edvr_validation import protocol_of

        names = [protocol_of(spec, self.protocol).name for spec in parse_spec(self.validation)]
        return ", ".join(dict.fromkeys(names))

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.data.clip_source import ClipSource, open_clips
        from kinema.data.transforms.edvr import EdvrStyle
        from kinema.recipes.edvr_task import EdvrTask
        from kinema.recipes.edvr_validation import open_restored

        check_named(self.data)
        network = self.network()
        source = ClipSource(
            open_clips(parse_spec(self.data)),
            EdvrStyle(
                intervals=tuple(int(part) for part in self.intervals.split(",")), reversed=self.reversed_share
            ),
            frames=network.settings.frames,
            side=self.crop,
            batch_size=self.batch_size,
            seed=self.seed,
        )
        validation = open_restored(
            self.settled(),
            protocol=self.protocol,
            windows=self.validation_pairs,
            frames=network.settings.frames,
            scale=network.settings.scale,
        )
        return EdvrTask(network=network, source=source, objective=self.objective(), validation=validation)

    def settled(self) -> str:
        """See `SpecConfig.settled`; rendered clips, said in the log, where the data hold no such part."""
        from kinema.data import open_restoration

        specs, folders = parse_spec(self.validation), {spec.name: spec.path for spec in parse_spec(self.data)}
        settled = [replace(one, path=folders.get(one.name)) if one.path == PLACE else one for one in specs]
        if settled == specs:
            return self.validation
        try:
            for one in settled:
                open_restoration(one)
        except KinemaError:
            label = " and ".join(spec.label for spec in specs)
            _log.warning(
                "--data holds no %s: validating on rendered clips; --validation SPEC names other data", label
            )
            return RENDERED
        return ",".join(map(str, settled))
