"""PWC-Net from rendered scenes alone: the settings and the run. No torch is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator
from tyro.conf import arg

from kinema.recipes.crops import CropShare, crop_shares
from kinema.recipes.flow_data import RenderedConfig
from kinema.recipes.pwcnet_base import MULTIPLE, PwcnetNetworkConfig

if TYPE_CHECKING:
    from kinema.engine.contracts import Task


class PwcnetConfig(PwcnetNetworkConfig, RenderedConfig):
    """How PWC-Net is trained on rendered scenes."""

    crops: Annotated[str, arg(metavar="HxW:SHARE,...")] = Field(
        default="256x320:3,320x448:3,384x448:2,384x512:1,448x768:1",
        description="Sizes of the training samples, multiples of 64, with their shares of the training time.",
    )
    shifts_until: int = Field(
        default=0,
        ge=0,
        description="Before this step frame 2 is another window of frame 1, up to 48 px away, in the same "
        "colours: what matching is, in hundreds of steps.",
    )

    @field_validator("crops")
    @classmethod
    def _crops_can_be_read(cls, text: str) -> str:
        crop_shares(text, multiple=MULTIPLE)
        return text

    def crop_shares(self) -> tuple[CropShare, ...]:
        """Read `crops`.

        Returns:
            One record per size.
        """
        return crop_shares(self.crops, multiple=MULTIPLE)

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.recipes.pwcnet_task import PwcnetTask, ReservedPairs, rendered_source

        crops = self.crop_shares()
        pool = self.pair_pool((max(one.height for one in crops), max(one.width for one in crops)))
        source = rendered_source(
            textures=self.textures,
            crops=crops,
            seed=self.seed,
            batch_size=self.batch_size,
            on_cpu=self.workers > 0 or self.device == "cpu",
            pool=pool,
            shifts_until=self.shifts_until,
        )
        return PwcnetTask(
            network=self.network(),
            source=source,
            objective=self.objective(),
            validation=ReservedPairs(source.scenes, self.validation_pairs, pool),
        )


def pwcnet_rendered() -> PwcnetConfig:
    """PWC-Net (dc) from scratch on rendered scenes alone: warm-up, a constant rate, a decay to release it.

    ``kinema train pwcnet-rendered --out runs/first``, then ``kinema train --resume runs/first --release``.

    Hardware: one GPU, or a CPU with patience. Protocol: endpoint error over all pixels of 200 pairs of the
    reserved families of scenes. Expected number: none yet.
    """
    return PwcnetConfig(
        steps=100_000, precision="bf16", occluded_from=20_000, matching="cosine", shifts_until=1000
    )
