"""What distinguishes the published EDVR networks, setting by setting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from kinema.errors import UsageError

Preset = Literal[
    "m",
    "m-wotsa",
    "l",
    "l-wotsa",
    "l-vimeo90k",
    "l-srblur",
    "l-deblur",
    "l-deblur-stage2",
    "l-sr-stage2",
]
Fusion = Literal["tsa", "plain"]
Predeblur = Literal["none", "pyramid"]
Scale = Literal[1, 4]

_LARGEST_FRAMES = 99
_SMALLEST = {
    "features": 1,
    "frames": 1,
    "extraction_blocks": 0,
    "reconstruction_blocks": 0,
    "offset_groups": 1,
}


@dataclass(frozen=True)
class Settings:
    """What distinguishes the networks; each field is an option of its own.

    Attributes:
        features: channels of all feature maps but those of the tail, which are always 64.
        frames: of a window, odd; the middle one is restored.
        extraction_blocks: residual blocks that look at one frame.
        reconstruction_blocks: residual blocks behind the fusion.
        offset_groups: channel groups with offsets of their own; they divide ``features``.
        fusion: of the aligned frames: ``tsa`` (temporal and spatial attention), or ``plain``, one 1x1
            convolution.
        predeblur: ``pyramid``: blurred frames pass a small network of their own first.
        scale: 4: the restored frame is four times as large; 1: as large, and frames are brought to a quarter
            of their size inside (``hr_in``).
    """

    features: int = 64
    frames: int = 5
    extraction_blocks: int = 5
    reconstruction_blocks: int = 10
    offset_groups: int = 8
    fusion: Fusion = "tsa"
    predeblur: Predeblur = "none"
    scale: Scale = 4

    @property
    def multiple(self) -> int:
        """Sides of frames inside the network are multiples of this; two halvings below its first map."""
        return 16 if self.scale == 1 else 4

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            value, known = getattr(self, name), get_args(kind)
            if known and value not in known:
                raise UsageError(f"{name} of edvr is {value!r}: use {' or '.join(map(str, known))}")
        for name, least in _SMALLEST.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} of edvr is {getattr(self, name)}: use {least} or more")
        if self.frames % 2 == 0 or self.frames > _LARGEST_FRAMES:
            raise UsageError(
                f"frames of edvr is {self.frames}: use an odd number up to {_LARGEST_FRAMES}; the one in the "
                "middle is restored"
            )
        if self.features % self.offset_groups:
            raise UsageError(
                f"offset_groups of edvr is {self.offset_groups}: use a divisor of features, {self.features}"
            )


PRESETS: dict[str, Settings] = {
    "m": Settings(),
    "m-wotsa": Settings(fusion="plain"),
    "l": Settings(features=128, reconstruction_blocks=40),
    "l-wotsa": Settings(features=128, reconstruction_blocks=40, fusion="plain"),
    "l-vimeo90k": Settings(features=128, reconstruction_blocks=40, frames=7),
    "l-srblur": Settings(features=128, reconstruction_blocks=40, predeblur="pyramid"),
    "l-deblur": Settings(features=128, reconstruction_blocks=40, predeblur="pyramid", scale=1),
    "l-deblur-stage2": Settings(features=128, reconstruction_blocks=20, predeblur="pyramid", scale=1),
    "l-sr-stage2": Settings(features=128, reconstruction_blocks=20, scale=1),
}
"""Every published network by name."""
