"""TVNet's runs: Sintel and Middlebury as published, and rendered scenes. No torch is imported here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator
from tyro.conf import arg

from kinema.data.spec import parse_spec
from kinema.recipes.crops import CropShare, crop_size
from kinema.recipes.flow_data import FlowDataConfig, RenderedConfig
from kinema.recipes.labelled import PLACE, check_named, settled_validation, warn_of_overlap
from kinema.recipes.tvnet_base import TvnetConfig

if TYPE_CHECKING:
    from kinema.data.flow_source import FlowPart
    from kinema.data.transforms.sets import Augmentation
    from kinema.engine.contracts import Task


class TvnetDataConfig(TvnetConfig, FlowDataConfig):
    """How TVNet is trained on pairs on disk; with a loss that needs no truth also on footage."""

    sampling: Literal["turns", "pairs", "scenes"] = Field(
        default="turns",
        description="Go through the data again and again; or draw any pair at any time; or a scene, and then "
        "one of its pairs.",
    )
    fit: Literal["crop", "resize"] = Field(
        default="crop", description="How a sample gets its size: a part of the frame, or all of it, resized."
    )
    augmentation: str = Field(
        default="crop",
        description="[fit crop] A named set of changes: crop, flownet2, raft-chairs, raft-sintel, uflow, ...",
    )

    def settled(self) -> str:
        """See `SpecConfig.settled`; in the variant that the data have: flat, clean or final."""
        variants = {spec.name: spec.variant for spec in reversed(parse_spec(self.data))}
        specs = [
            replace(one, variant=variants.get(one.name, one.variant)) if one.path == PLACE else one
            for one in parse_spec(self.validation)
        ]
        return settled_validation(",".join(map(str, specs)), self.data)

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.recipes.tvnet_source import flow_source
        from kinema.recipes.tvnet_task import TvnetTask

        check_named(self.data)
        parts = self._parts()
        validation = self.opened_validation()
        warn_of_overlap([part.dataset for part in parts], [one.dataset for one in validation.sets])
        source = flow_source(
            parts, self.size_hw(), sampling=self.sampling, batch_size=self.batch_size, seed=self.seed
        )
        return TvnetTask(self.network(), source, self.objective(), validation)

    def _parts(self) -> tuple[FlowPart, ...]:
        from kinema.data.flow_source import open_footage_parts, open_parts
        from kinema.recipes.tvnet_source import WholeFrames

        specs = parse_spec(self.data)
        changes: Augmentation | str = WholeFrames() if self.fit == "resize" else self.augmentation
        opened = open_parts if self.loss == "epe" else open_footage_parts
        return opened(specs, changes)


class TvnetRenderedConfig(TvnetConfig, RenderedConfig):
    """How TVNet is trained on rendered scenes."""

    augmentation: str = Field(
        default="crop", description="A named set of changes: crop, flownet2, raft-chairs, uflow, ..."
    )
    pool_size: Annotated[str, arg(metavar="HxW")] = Field(
        default="384x512", description="With --cache: size of its pairs; samples are windows of them."
    )

    @field_validator("pool_size")
    @classmethod
    def _pool_size_can_be_read(cls, text: str) -> str:
        crop_size(text, multiple=1)
        return text

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.data.transforms.sets import named_set
        from kinema.recipes.pwcnet_task import ReservedPairs, rendered_source
        from kinema.recipes.rendered_pairs import RenderedPairs
        from kinema.recipes.tvnet_task import TvnetTask

        pool = self.pair_pool(crop_size(self.pool_size, multiple=1))
        rendered = rendered_source(
            textures=self.textures,
            crops=(CropShare(*self.size_hw(), 1.0),),
            seed=self.seed,
            batch_size=self.batch_size,
            on_cpu=self.workers > 0 or self.device == "cpu",
            pool=pool,
        )
        source = RenderedPairs(rendered, named_set(self.augmentation), self.size_hw())
        validation = ReservedPairs(rendered.scenes, self.validation_pairs, pool)
        return TvnetTask(self.network(), source, self.objective(), validation)


PUBLISHED = TvnetDataConfig(
    preset="reference",
    scales=1,
    warps=1,
    iterations=50,
    constants="fixed",
    kernels="per_iteration",
    start="map",
    optimizer="adam",
    schedule="constant",
    weight_decay=0.0,
    clip_norm=0.0,
    ema_decay=0.0,
    channels_last=False,
    log_every=1,
    picture_every=0,
)
"""What both published runs have in common."""


def tvnet_sintel() -> TvnetDataConfig:
    """TVNet (reference) on Sintel: every iteration with kernels of its own, one scale, 10,000 steps.

    ``kinema train tvnet-sintel --data sintel-flat@train:DIR --then-evaluate sintel-flat@val:DIR``

    The run of the Ascend port: 436x1024, one pair a step, Adam at 1e-4, 1 scale, 1 warp, 50 iterations, the
    mean endpoint error, no augmentation; a scene is drawn, then one of its pairs. Also learned is the flow
    that it starts from, at full size. ``--biases learned`` adds the port's biases. Frames and flow lie
    together (``sintel-flat``) or as published (``sintel-clean``, ``sintel-final``); the port did not say
    which. Hardware: any, one pair a step. Protocol: sintel. Expected: the port reports 8.72 (GPU) and 8.39
    (Ascend 910) as the mean of the training losses of all steps, here ``loss_average`` in the log, on all
    scenes (``@training``); of other data nothing is published. What differs: pairs of ``@val`` are held out,
    and the error has an epsilon.
    """
    return _adjusted(
        PUBLISHED,
        steps=10_000,
        batch_size=1,
        learning_rate=1e-4,
        crop="436x1024",
        data="sintel-flat@train:DIR",
        validation="sintel-flat@val:DIR",
        validation_pairs=50,
        sampling="scenes",
    )


def tvnet_middlebury() -> TvnetDataConfig:
    """TVNet (reference) on Middlebury: the authors' script, 240x240, batches of 32, 2000 steps.

    ``kinema train tvnet-middlebury --data middlebury:DIR --then-evaluate middlebury:DIR``

    All pairs with truth, resized whole to 240x240, drawn with replacement; Adam at 5e-3, 1 scale, 1 warp, 50
    iterations, the mean endpoint error. Hardware: any. Protocol: middlebury. Expected: none is published.
    Validation: rendered scenes of reserved families, since Middlebury has no held-out part. What differs:
    pixels of unknown motion count for nothing, not as standing still.
    """
    return _adjusted(
        PUBLISHED,
        steps=2000,
        batch_size=32,
        learning_rate=5e-3,
        crop="240x240",
        fit="resize",
        data="middlebury:DIR",
        validation_pairs=50,
        sampling="pairs",
    )


def tvnet_rendered() -> TvnetRenderedConfig:
    """TVNet (corrected) on rendered scenes: tau, lambda and theta of each warp of each level.

    ``kinema train tvnet-rendered --out runs/tvnet``

    Crops of 256x320, in which all five levels with constants of their own have pixels; batches of 4, Adam at
    5e-2, a decay at the end; the endpoint error of visible points to the power of 0.4, or with ``--loss
    census`` no truth at all. Hardware: a CPU. Protocol: endpoint error over all pixels of 200 pairs
    of the reserved families of scenes. Expected: none yet.
    """
    return TvnetRenderedConfig(
        constants="per_warp",
        positions="constant",
        optimizer="adam",
        learning_rate=5e-2,
        weight_decay=0.0,
        warmup_steps=10,
        decay_steps=200,
        steps=600,
        batch_size=4,
        crop="256x320",
        hidden_weight=0.0,
        loss_q=0.4,
        clip_norm=1.0,
        ema_decay=0.9,
        channels_last=False,
        log_every=10,
        checkpoint_every=100,
        validate_every=100,
        picture_every=0,
    )


def _adjusted(config: TvnetDataConfig, **changes: object) -> TvnetDataConfig:
    """Change settings, and check them all."""
    return type(config).model_validate({**dict(config), **changes})
