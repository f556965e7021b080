"""PWC-Net on labelled pairs on disk: the settings of all its published runs. No torch is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, field_validator
from tyro.conf import arg

from kinema.data.spec import parse_spec
from kinema.errors import UsageError
from kinema.recipes.base import BUNDLED
from kinema.recipes.crops import crop_size
from kinema.recipes.labelled import RESERVED, check_named, needed, settled_validation, warn_of_overlap
from kinema.recipes.pwcnet_base import MULTIPLE, PwcnetNetworkConfig

if TYPE_CHECKING:
    from kinema.data.flow_source import FlowPart
    from kinema.engine.contracts import Task


class PwcnetLabelledConfig(PwcnetNetworkConfig):
    """How PWC-Net is trained on data sets with true flow."""

    data: Annotated[str, arg(metavar="SPEC,...")] = Field(
        default="custom:DIR",
        description="What to learn from: NAME[-VARIANT][@SPLIT]:PATH, several joined by commas, as shares of "
        "the samples 2*SPEC; DIR stands for a folder that you name.",
    )
    augmentation: Annotated[str, arg(metavar="NAME,...")] = Field(
        default="raft-chairs",
        description="A named set of changes, of all data, or one for each SPEC: crop, flownet2, "
        "pwcnet-plus-sintel, pwcnet-plus-kitti, disentangled, tfoptflow-heavy, raft-chairs, raft-things, "
        "raft-sintel, raft-kitti, uflow, uflow-sintel, uflow-all.",
    )
    crop: Annotated[str, arg(metavar="HxW")] = Field(
        default="384x448", description="Size of the training samples, multiples of 64."
    )
    largest_flow: float = Field(
        default=1000.0, gt=0, description="Longer true flow, in pixels, counts as not known."
    )
    validation: Annotated[str, arg(metavar="SPEC,...")] = Field(
        default=RESERVED,
        description="What to validate on; DIR is the folder of the same set in --data. The first one's main "
        "number chooses the best weights.",
    )
    protocol: Annotated[str, arg(metavar="NAME")] = Field(
        default="", description="How validations are scored; default: each set's own protocol."
    )

    @field_validator("crop")
    @classmethod
    def _crop_can_be_read(cls, text: str) -> str:
        crop_size(text, multiple=MULTIPLE)
        return text

    @field_validator("data", "validation")
    @classmethod
    def _specs_can_be_read(cls, text: str) -> str:
        try:
            parse_spec(text)
        except UsageError as error:
            raise ValueError(str(error)) from None
        return text

    @field_validator("augmentation")
    @classmethod
    def _augmentation_can_be_read(cls, text: str) -> str:
        if not all(name.strip() for name in text.split(",")):
            raise ValueError(f"{text!r} names no augmentation between two commas")
        return text

    def resolved(self) -> Self:
        """See `RecipeConfig.resolved`; also finds the folder of the recipe's own validation."""
        check_named(self.data)
        validation = settled_validation(self.validation, self.data)
        return super().resolved().model_copy(update={"validation": validation})

    def needs(self) -> str:
        """See `RecipeConfig.needs`."""
        return f"{needed(self.data)}{'; trained weights' if self.init == BUNDLED else ''}"

    def validated_by(self) -> str:
        """See `RecipeConfig.validated_by`."""
        from kinema.evaluation.protocols import DEFAULT_PROTOCOLS

        families = [spec.name for spec in parse_spec(self.validation)]
        names = [self.protocol or DEFAULT_PROTOCOLS.get(name, "pixels") for name in families]
        return ", ".join(dict.fromkeys(names))

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.data.flow_source import FlowSource
        from kinema.recipes.flow_validation import open_validation
        from kinema.recipes.pwcnet_task import PwcnetTask

        check_named(self.data)
        parts = self._parts()
        validation = open_validation(
            settled_validation(self.validation, self.data),
            protocol=self.protocol,
            pairs=self.validation_pairs,
        )
        warn_of_overlap([part.dataset for part in parts], [one.dataset for one in validation.sets])
        source = FlowSource(
            parts,
            crop_size(self.crop, multiple=MULTIPLE),
            batch_size=self.batch_size,
            seed=self.seed,
            largest=self.largest_flow,
        )
        return PwcnetTask(
            network=self.network(), source=source, objective=self.objective(), validation=validation
        )

    def _parts(self) -> tuple[FlowPart, ...]:
        from kinema.data.flow_source import open_parts

        specs, names = parse_spec(self.data), [name.strip() for name in self.augmentation.split(",")]
        if len(names) not in (1, len(specs)):
            raise UsageError(
                f"--augmentation {self.augmentation}: give one name, or one per SPEC of --data ({len(specs)})"
            )
        each = names * len(specs) if len(names) == 1 else names
        opened = (open_parts([spec], name) for spec, name in zip(specs, each, strict=True))
        return tuple(part for parts in opened for part in parts)
