"""What can be switched in UFlow's network, setting by setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from kinema.errors import UsageError

Preset = Literal["uflow", "port"]
Normalization = Literal["batch", "sample", "none"]
Upsampling = Literal["half_pixel", "tf1"]

LEVELS = (2, 6)  # the fewest and the most of a feature pyramid


@dataclass(frozen=True)
class Settings:
    """The network; each field is an option of its own.

    Attributes:
        levels: of the feature pyramid, 2 to 6; flow is estimated from the coarsest to a quarter of the size.
        level1_layers: convolutions of the finest level, 1 or more.
        level1_filters: their channels; ``original_layer_sizes`` has its own.
        level1_num_1x1: how many of them, the last ones, look at single pixels.
        channel_multiplier: factor of the channels of all layers; fractions are cut off.
        original_layer_sizes: channels of PWC-Net's pyramid (16, 32, 64, 96, 128, 196) instead of 32.
        shared_flow_decoder: one estimator for all levels, a third of the parameters.
        use_cost_volume: match in a window of 9x9; without it a 4x4 convolution looks at both feature maps.
        use_feature_warp: fetch the features of frame 2 along the flow so far.
        accumulate_flow: a level adds to the flow so far; without it, it replaces it.
        normalize_before_cost_volume: bring features to mean 0 and variance 1 before they are compared, by
            numbers shared by both maps and by all samples of a training batch (``batch``, as published) or
            taken for each pair by itself (``sample``, and always outside of training), or not (``none``).
        dropout_rate: share of levels whose estimate counts as zero in training, 0 to 1.
        rectify_costs: apply the leaky rectifier to the cost volume.
        upsampling: of flow: ``half_pixel``, or ``tf1``, as TensorFlow 1 resizes.
    """

    levels: int = 5
    level1_layers: int = 3
    level1_filters: int = 32
    level1_num_1x1: int = 0
    channel_multiplier: float = 1.0
    original_layer_sizes: bool = False
    shared_flow_decoder: bool = False
    use_cost_volume: bool = True
    use_feature_warp: bool = True
    accumulate_flow: bool = True
    normalize_before_cost_volume: Normalization = "batch"
    dropout_rate: float = 0.1
    rectify_costs: bool = True
    upsampling: Upsampling = "half_pixel"

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[float, float]] = {
            "levels": LEVELS,
            "level1_layers": (1, float("inf")),
            "level1_filters": (1, float("inf")),
            "level1_num_1x1": (0, self.level1_layers),
            "dropout_rate": (0, 1),
            "channel_multiplier": (1 / 16, float("inf")),  # below, the narrowest layer has no channel left
        }
        for name, (least, most) in ranges.items():
            if not least <= (value := getattr(self, name)) <= most:
                bounds = f"between {least:g} and {most:g}" if most < float("inf") else f"{least:g} or more"
                raise UsageError(f"{name} of uflow is {value!r}: use {bounds}")
        if self.level1_filters * self.channel_multiplier < 1:
            raise UsageError(
                f"level1_filters of uflow is {self.level1_filters}: with channel_multiplier "
                f"{self.channel_multiplier:g} no channel is left; use a larger one"
            )
        for name, known in (("normalize_before_cost_volume", Normalization), ("upsampling", Upsampling)):
            if (value := getattr(self, name)) not in get_args(known):
                raise UsageError(f"{name} of uflow is {value!r}: use {' or '.join(get_args(known))}")


PRESETS: dict[str, Settings] = {
    "uflow": Settings(),
    "port": Settings(rectify_costs=False, upsampling="tf1"),
}
