"""PWC-Net's runs: each function returns a filled config. No torch is imported here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field, field_validator
from tyro.conf import arg

from kinema.recipes.base import RecipeConfig

if TYPE_CHECKING:
    from kinema.engine.contracts import Task

_MULTIPLE = 64  # what the network needs: other sizes would be resized inside, and with them the truth


class CropShare(NamedTuple):
    """A size of training samples, and its part of the training time."""

    height: int
    width: int
    share: float


class PwcnetConfig(RecipeConfig):
    """How PWC-Net is trained on rendered scenes."""

    preset: Literal["dc"] = Field(default="dc", description="Which of the two networks.")
    loss: Literal["multiscale", "robust"] = Field(
        default="multiscale", description="The length of the error, or the robust norm of fine-tuning."
    )
    crops: Annotated[str, arg(metavar="HxW:SHARE,...")] = Field(
        default="256x320:3,320x448:3,384x448:2,384x512:1,448x768:1",
        description="Sizes of the training samples, multiples of 64, with their shares of the training time.",
    )
    occluded_from: int = Field(
        default=20_000, ge=0, description="Before this step, points hidden in frame 2 weigh nothing."
    )
    hidden_weight: float = Field(
        default=1.0, ge=0, le=1, description="What hidden points weigh from then on; visible ones weigh 1."
    )
    textures: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None, description="Pictures of your own to cut textures from."
    )

    cache: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None,
        description="Render --pool pairs into this folder before the first step, and learn from windows of "
        "them; without it every sample is rendered when its step comes.",
    )
    pool: int = Field(default=4000, ge=32, description="With --cache: how many pairs there are.")
    cache_gib: float = Field(default=20.0, gt=0, description="With --cache: its largest size in 2^30 bytes.")

    @field_validator("crops")
    @classmethod
    def _crops_can_be_read(cls, text: str) -> str:
        _crop_shares(text)
        return text

    def crop_shares(self) -> tuple[CropShare, ...]:
        """Read `crops`.

        Returns:
            One record per size.
        """
        return _crop_shares(self.crops)

    def facts(self) -> dict[str, object]:
        """See `RecipeConfig.facts`."""
        return {"model": "pwcnet", "preset": self.preset}

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.recipes.pwcnet_task import build

        return build(self)


def _crop_shares(text: str) -> tuple[CropShare, ...]:
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)x(\d+):(\d+(?:\.\d+)?)", part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is no HEIGHTxWIDTH:SHARE, such as 384x448:2")
        height, width, share = int(match[1]), int(match[2]), float(match[3])
        if height % _MULTIPLE or width % _MULTIPLE or not height * width or not share:
            raise ValueError(f"{part.strip()!r}: sides are multiples of {_MULTIPLE}, the share is above 0")
        found.append(CropShare(height, width, share))
    return tuple(found)


def pwcnet_rendered() -> PwcnetConfig:
    """PWC-Net (dc) from scratch on rendered scenes alone: warm-up, a constant rate, a decay to release it.

    ``kinema train pwcnet-rendered --out runs/first``, then ``kinema train --resume runs/first --release``.

    Hardware: one GPU, or a CPU with patience. Protocol: endpoint error over all pixels of 200 pairs of the
    reserved families of scenes. Expected number: none yet.
    """
    return PwcnetConfig(steps=100_000, precision="bf16", occluded_from=20_000)
