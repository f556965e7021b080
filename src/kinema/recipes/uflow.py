"""UFlow: learning flow without labels from data sets, footage or rendered scenes. No torch is imported."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator
from tyro.conf import arg

from kinema.data.spec import parse_spec
from kinema.recipes.base import BUNDLED
from kinema.recipes.crops import CropShare, crop_size
from kinema.recipes.flow_data import FlowDataConfig, RenderedConfig
from kinema.recipes.labelled import check_named
from kinema.recipes.uflow_base import MULTIPLE, UnlabelledFlowConfig

if TYPE_CHECKING:
    from kinema.engine.contracts import BatchSource, Task
    from kinema.recipes.measured import Validation


class _Cropped(UnlabelledFlowConfig):
    """What runs on any frames have in common: the size of the samples."""

    crop: Annotated[str, arg(metavar="HxW")] = Field(
        default="384x512", description="Size of the training samples, multiples of 32 (pwcnet: 64)."
    )

    @model_validator(mode="after")
    def _sizes_can_be_read(self) -> Self:
        height, width = crop_size(self.crop, multiple=MULTIPLE[self.model])
        self.margin_hw()
        if self.selfsup and (height <= 2 * self.selfsup_crop or width <= 2 * self.selfsup_crop):
            raise ValueError(
                f"--selfsup-crop {self.selfsup_crop} leaves nothing of --crop {self.crop}; see --selfsup"
            )
        return self

    def margin_hw(self) -> tuple[int, int]:
        """Read `surround`.

        Returns:
            Rows above and below, columns left and right.
        """
        match = re.fullmatch(r"(\d+)x(\d+)", self.surround.strip())
        if match is None:
            raise ValueError(f"--surround {self.surround!r} is no ROWSxCOLUMNS, such as 32x64")
        return int(match[1]), int(match[2])

    def sample_hw(self) -> tuple[int, int]:
        """The size of what is read: the network's part and what surrounds it.

        Returns:
            Height and width.
        """
        height, width = crop_size(self.crop, multiple=MULTIPLE[self.model])
        rows, columns = self.margin_hw()
        return height + 2 * rows, width + 2 * columns

    def task(self, source: BatchSource, validation: Validation) -> Task:
        """Put the task together.

        Args:
            source: of the frames.
            validation: what the run is measured on.

        Returns:
            The task.
        """
        from kinema.recipes.unlabelled_task import UnlabelledFlowTask

        return UnlabelledFlowTask(
            network=self.network(),
            source=source,
            settings=self.settings(),
            validation=validation,
            occluded_from=self.occluded_from,
            teaching=self.teaching(),
            margin_hw=self.margin_hw(),
        )


class UflowConfig(_Cropped, FlowDataConfig):
    """How a flow network learns from frames on disk: footage, or data sets whose truth is not looked at."""

    augmentation: str = Field(
        default="uflow", description="A named set of changes: uflow, uflow-sintel, uflow-all, smurf, crop."
    )

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.data.flow_source import FlowSource, open_footage_parts

        check_named(self.data)
        source = FlowSource(
            open_footage_parts(parse_spec(self.data), self.augmentation),
            self.sample_hw(),
            batch_size=self.batch_size,
            seed=self.seed,
            clean=True,
        )
        return self.task(source, self.opened_validation())


class UflowRenderedConfig(_Cropped, RenderedConfig):
    """How a flow network learns from rendered frames, whose truth only the validation looks at."""

    augmentation: str = Field(
        default="uflow-scaled",
        description="A named set of changes: uflow, uflow-all, uflow-scaled, smurf, crop.",
    )
    frames: Annotated[str, arg(metavar="HxW")] = Field(
        default="384x512", description="Size of the rendered frames, from which samples are cut."
    )
    shifts_until: int = Field(
        default=0,
        ge=0,
        description="Before this step, in every other sample frame 2 is another window of frame 1, by shifts "
        "that grow to 48 px.",
    )
    validate_on: str = Field(
        default="train",
        description="Scenes of the validation: train (what is learned from, by another seed) or reserved.",
    )
    validate_at: Annotated[str, arg(metavar="HxW")] = Field(
        default="192x256", description="Size that the frames of the validation are resized to."
    )

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.data.procedural.render_config import RESERVED_FAMILIES
        from kinema.data.transforms.sets import named_set
        from kinema.recipes.hidden_validation import HiddenValidation
        from kinema.recipes.pwcnet_task import ReservedPairs, rendered_source
        from kinema.recipes.rendered_pairs import RenderedPairs

        frames_hw = crop_size(self.frames, multiple=1)
        pool = self.pair_pool(frames_hw)
        source = rendered_source(
            textures=self.textures,
            crops=(CropShare(*frames_hw, 1.0),),
            seed=self.seed,
            batch_size=self.batch_size,
            on_cpu=self.workers > 0 or self.device == "cpu",
            pool=pool,
        )
        frames = RenderedPairs(
            source, named_set(self.augmentation), self.sample_hw(), clean=True, shifts_until=self.shifts_until
        )
        families = RESERVED_FAMILIES if self.validate_on == "reserved" else ("train",)
        pairs = ReservedPairs(
            source.scenes,
            self.validation_pairs,
            pool,
            families=families,
            size_hw=frames_hw,
            seen_hw=crop_size(self.validate_at, multiple=1),
        )
        return self.task(frames, HiddenValidation(pairs))


_PUBLISHED = UflowConfig(
    steps=1_000_000,
    epoch_steps=1000,
    batch_size=1,
    optimizer="adam",
    learning_rate=1e-4,
    schedule="constant",
    weight_decay=0.0,
    clip_norm=0.0,
    ema_decay=0.0,
)


def _adjusted(config: UflowConfig, **changes: object) -> UflowConfig:
    return type(config).model_validate({**dict(config), **changes})


def uflow_chairs() -> UflowConfig:
    """UFlow on FlyingChairs without its labels, from scratch: 1.2 million steps.

    ``kinema train uflow-chairs --data flyingchairs@train:DIR``

    Jonschkowski et al. 2020 and its MindSpore port: 384x512, one pair a step, Adam at a constant 1e-4, census
    loss, first-order smoothness of weight 4, range-map occlusion, self-supervision from step 500,000 on.
    Hardware: one GPU; the port: eight Ascend 910, 294.9 ms a step. Expected, protocol chairs-val: 2.735 (the
    port), about 2.55 (the original).
    """
    return _adjusted(
        _PUBLISHED, steps=1_200_000, data="flyingchairs@train:DIR", validation="flyingchairs@val:DIR"
    )


def uflow_sintel() -> UflowConfig:
    """UFlow on Sintel without its labels, from a checkpoint: 448x1024 at 5e-5.

    ``kinema train uflow-sintel --data sintel-clean@training:DIR --init runs/uflow-chairs/last.safetensors``

    As ``uflow-chairs``, and top and bottom change places half of the time. Hardware: one GPU. Protocol:
    sintel. Expected: 3.345 on clean (the port); 3.01 and 4.09 on clean and final when learned from the frames
    of the test part (the original).
    """
    return _adjusted(
        _PUBLISHED,
        steps=1_200_000,
        learning_rate=5e-5,
        data="sintel-clean@training:DIR",
        validation="sintel-clean@training:DIR",
        crop="448x1024",
        augmentation="uflow-sintel",
        init=BUNDLED,
    )


def uflow_kitti() -> UflowConfig:
    """UFlow on KITTI's multi-view frames: 640x640, second-order smoothness, forward-backward occlusion.

    ``kinema train uflow-kitti --data kitti2015-multiview@testing:DIR
    --validation kitti2015@training:DIR``

    Jonschkowski et al. 2020: one million steps of one pair, Adam at 1e-4, weight 2 on bends of the flow, none
    on slopes. Hardware: one GPU. Protocol: kitti15. Expected: 2.84 px and 9.39 % on the training pairs,
    learned from the frames of the test part.
    """
    return _adjusted(
        _PUBLISHED,
        data="kitti2015-multiview@testing:DIR",
        validation="kitti2015@training:DIR",
        crop="640x640",
        smooth1=0.0,
        smooth2=2.0,
        occlusion="brox",
    )


def uflow_footage() -> UflowConfig:
    """UFlow on footage of your own, from trained weights; ``kinema adapt`` does all of it by itself.

    ``kinema train uflow-footage --data "footage:clips/*.mp4" --crop 320x448``

    20,000 steps of two pairs, Adam at 5e-5, self-supervision after 2,000. Hardware: a CPU will do. Protocol:
    endpoint error on reserved rendered scenes; footage has none of its own.
    """
    return _adjusted(
        _PUBLISHED,
        steps=20_000,
        batch_size=2,
        learning_rate=5e-5,
        clip_norm=1.0,
        ema_decay=0.999,
        data="footage:DIR",
        augmentation="uflow-all",
        occlusion="brox",
        occluded_from=0,
        selfsup=0.3,
        selfsup_after=2000,
        selfsup_ramp=2000,
        selfsup_crop=32,
        init=BUNDLED,
    )


def uflow_rendered() -> UflowRenderedConfig:
    """UFlow from scratch on rendered frames, without their labels: where its default weights come from.

    ``kinema train uflow-rendered --cache runs/pool --out runs/uflow``

    Samples of 192x256, four a step, at 2e-4 with a decay to release it; points count as visible for the first
    2,000 steps, self-supervision begins at 6,000. Hardware: one GPU, or a CPU with an evening. Protocol:
    endpoint error over all pixels of pairs by another seed.
    """
    return UflowRenderedConfig(
        steps=20_000,
        batch_size=4,
        optimizer="adam",
        learning_rate=2e-4,
        weight_decay=0.0,
        warmup_steps=200,
        precision="bf16",
        crop="192x256",
        occlusion="brox",
        occluded_from=2000,
        selfsup=0.3,
        selfsup_after=6000,
        selfsup_ramp=1000,
        selfsup_crop=32,
        validation_pairs=40,
    )
