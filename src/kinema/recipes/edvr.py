"""EDVR from rendered clips alone: the settings and the run. No torch is imported here."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator
from tyro.conf import arg

from kinema.errors import UsageError
from kinema.recipes.crops import crop_size
from kinema.recipes.edvr_base import RENDERED, EdvrNetworkConfig

if TYPE_CHECKING:
    from kinema.data.procedural.world.film import Film
    from kinema.engine.contracts import Task

_log = logging.getLogger(__name__)

_SCALE = 4
_ENDLESS = 100_000  # clips, where none is kept


class EdvrRenderedConfig(EdvrNetworkConfig):
    """How EDVR is trained on rendered clips, reduced to a quarter by MATLAB's bicubic."""

    cache: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None,
        description="Render --pool clips into this folder before the first step, and learn from windows of "
        "them; without it every sample is rendered when its step comes, which takes seconds each.",
    )
    pool: int = Field(default=400, ge=1, description="With --cache: how many clips there are.")
    clip_frames: int = Field(default=9, ge=1, description="With --cache: frames of a clip.")
    clip_size: Annotated[str, arg(metavar="HxW")] = Field(
        default="320x448", description="With --cache: size of the sharp frames, multiples of 4."
    )
    cache_gib: float = Field(default=20.0, gt=0, description="With --cache: its largest size in 2^30 bytes.")
    textures: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None, description="Pictures of your own to cut textures from."
    )

    @field_validator("clip_size")
    @classmethod
    def _size_can_be_read(cls, text: str) -> str:
        crop_size(text, multiple=_SCALE)
        return text

    def build(self) -> Task:
        """See `RecipeConfig.build`."""
        from kinema.data.clip_source import ClipPart, ClipSource
        from kinema.data.transforms.edvr import edvr
        from kinema.recipes.edvr_task import EdvrTask
        from kinema.recipes.edvr_validation import open_restored

        network = self.network()
        if network.settings.scale != _SCALE:
            raise UsageError(f"--preset {self.preset}: rendered clips are to be enlarged; use m or l")
        frames = network.settings.frames
        film = self._film(frames)
        _fill(film)
        source = ClipSource(
            (ClipPart(film),), edvr(), frames, self.crop, batch_size=self.batch_size, seed=self.seed
        )
        validation = open_restored(RENDERED, windows=self.validation_pairs, frames=frames, scale=_SCALE)
        return EdvrTask(network=network, source=source, objective=self.objective(), validation=validation)

    def _film(self, frames: int) -> Film:
        from kinema.data.procedural.world.film import Film, film_worlds

        if self.cache is None:
            side = _SCALE * self.crop
            return Film(film_worlds((side, side), textures=self.textures), self.seed, frames, _ENDLESS)
        size_hw = crop_size(self.clip_size, multiple=_SCALE)
        if self.clip_frames < frames or min(size_hw) < _SCALE * self.crop:
            raise UsageError(
                f"--clip-frames {self.clip_frames}, --clip-size {self.clip_size}: samples of {frames} frames "
                f"and {_SCALE * self.crop} pixels do not fit into them"
            )
        worlds = film_worlds(size_hw, textures=self.textures)
        film = Film(worlds, self.seed, self.clip_frames, self.pool, self.cache)
        if film.gib > self.cache_gib:
            raise UsageError(
                f"--pool {self.pool}: the clips take {film.gib:.1f} GiB; allow more by --cache-gib, or fewer"
            )
        return film


def _fill(film: Film) -> None:
    """Render what is missing; processes of one run share the work, then see to what still is."""
    if film.folder is None:
        return
    if film.missing:
        _log.info("rendering %d clips into %s; it goes on where it stopped", film.missing, film.folder)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    film.fill(part=rank, parts=world)
    film.fill()


def edvr_rendered() -> EdvrRenderedConfig:
    """EDVR-M (x4) from scratch on rendered clips alone: warm-up, a constant rate, a decay to release it.

    ``kinema train edvr-rendered --cache clips --out runs/first``, then ``kinema train --resume runs/first
    --release``.

    Offsets beyond 24 pixels cost something, so that alignment cannot run away. Hardware: one GPU, or a CPU
    with patience. Protocol: PSNR in RGB of 12 windows of reserved worlds, beside bicubic. Expected number:
    none yet.
    """
    return EdvrRenderedConfig(
        steps=100_000,
        batch_size=8,
        optimizer="adam",
        beta2=0.99,
        weight_decay=0.0,
        precision="auto",
        loss_mean="values",
        offset_limit=24.0,
        offset_weight=0.01,
        best_is="highest",
    )
