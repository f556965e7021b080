"""PWC-Net on labelled pairs on disk: the settings of all its published runs. No torch is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator
from tyro.conf import arg

from kinema.data.spec import parse_spec
from kinema.errors import UsageError
from kinema.recipes.crops import crop_size
from kinema.recipes.flow_data import FlowDataConfig
from kinema.recipes.labelled import check_named, warn_of_overlap
from kinema.recipes.pwcnet_base import MULTIPLE, PwcnetNetworkConfig

if TYPE_CHECKING:
    from kinema.data.flow_source import FlowPart
    from kinema.engine.contracts import Task


class PwcnetLabelledConfig(PwcnetNetworkConfig, FlowDataConfig):
    """How PWC-Net is trained on data sets with true flow."""

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

    @field_validator("crop")
    @classmethod
    def _crop_can_be_read(cls, text: str) -> str:
        crop_size(text, multiple=MULTIPLE)
        return text

    @field_validator("augmentation")
    @classmethod
    def _augmentation_can_be_read(cls, text: str) -> str:
        if not all(name.strip() for name in text.split(",")):
            raise ValueError(f"{text!r} names no augmentation between two commas")
        return text

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.data.flow_source import FlowSource
        from kinema.recipes.pwcnet_task import PwcnetTask

        check_named(self.data)
        parts = self._parts()
        validation = self.opened_validation()
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
