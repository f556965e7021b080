"""What GeoNet can be built as: the presets and their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from kinema.errors import UsageError

Preset = Literal["modern", "faithful"]
Networks = Literal["rigid", "residual", "direct"]
Encoder = Literal["compact", "resnet50", "vgg"]

SNIPPETS = (3, 5)  # frames that the published pose network is trained for


@dataclass(frozen=True)
class Settings:
    """What distinguishes the networks that this model can be.

    Attributes:
        preset: which of the two families of networks.
        networks: ``rigid``: depth and pose, which the first stage of training learns; ``residual``: these,
            and flow that begins with the rigid flow; ``direct``: only flow, from two frames alone.
        encoder: of the depth network: ``resnet50`` or ``vgg`` (faithful), ``compact`` (modern).
        frames: of a snippet, the target in the middle: 3 or 5 (faithful). The modern pose network compares
            pairs, and takes any number.
        scale_normalize: divide inverse depth by its mean over the image, at each scale.
    """

    preset: Preset
    networks: Networks = "residual"
    encoder: Encoder = "compact"
    frames: int = 3
    scale_normalize: bool = False

    @property
    def has_depth(self) -> bool:
        """Whether there are networks for depth and pose."""
        return self.networks != "direct"

    @property
    def has_flow(self) -> bool:
        """Whether there is a network for flow."""
        return self.networks != "rigid"

    def __post_init__(self) -> None:
        for name, kind in (("networks", Networks), ("encoder", Encoder)):
            value, known = getattr(self, name), get_args(kind)
            if value not in known:
                raise UsageError(f"{name} of geonet is {value!r}: use {' or '.join(known)}")
        if (self.encoder == "compact") != (self.preset == "modern"):
            raise UsageError(
                f"encoder {self.encoder!r} is none of preset {self.preset} of geonet: modern has compact, "
                "faithful has resnet50 and vgg"
            )
        if self.preset == "modern" and self.frames != SNIPPETS[0]:
            raise UsageError("frames of geonet: preset modern takes any number as it is; leave it out")
        if self.frames not in SNIPPETS:
            raise UsageError(f"frames of geonet is {self.frames}: use {' or '.join(map(str, SNIPPETS))}")


PRESETS: dict[str, Settings] = {
    "modern": Settings("modern"),
    "faithful": Settings("faithful", encoder="resnet50"),
}
