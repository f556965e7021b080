"""Rendered clips to restore: sharp frames of worlds and their low twins, rendered when read, or kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import safetensors
import torch
from torch import Tensor

from kinema.data.procedural.bank import picture_files
from kinema.data.procedural.world.clip import render_clip
from kinema.data.procedural.world.config import WorldConfig, WorldFamily
from kinema.data.restoration_sample import RestorationSample
from kinema.errors import InputError, UsageError
from kinema.io.checkpoints import save_tensors
from kinema.io.files import reading
from kinema.ops.resize import matlab_bicubic

SCALE = 4
"""How many times the low frames' size the sharp ones have."""

_FORMAT = "1"


def film_worlds(
    size_hw: tuple[int, int],
    *,
    textures: Path | None = None,
    family: WorldFamily = "train",
    blur_samples: int = 0,
) -> WorldConfig:
    """What clips to restore are made of: hand-held, sharp and without noise.

    Args:
        size_hw: height and width of the sharp frames.
        textures: a folder of pictures to cut textures from.
        family: which generator draws the worlds.
        blur_samples: moments that a blurred frame is averaged from; 0 for no blurred frames.

    Returns:
        The config.
    """
    return WorldConfig(
        size_hw=size_hw,
        family=family,
        textures=textures,
        place_shares=(0.1, 0.4, 0.25, 0.25),
        fov_degrees=(45.0, 80.0),
        hand_hz=24.0,
        drive_hz=24.0,
        static_share=0.0,
        exposure_share=0.0,
        noise_share=0.0,
        grey_share=0.0,
        jpeg_share=0.0,
        video_share=0.0,
        blur_samples=blur_samples,
        blur_exposure=(0.4, 0.7),
    )


@dataclass(frozen=True, eq=False)
class FilmClip:
    """One rendered clip.

    Attributes:
        film: which it is of.
        index: its number.
    """

    film: Film
    index: int

    @property
    def name(self) -> str:
        """Its number."""
        return f"{self.index:06d}"

    @property
    def targets(self) -> range:
        """Every frame has its sharp twin."""
        return range(self.film.frames)

    def __len__(self) -> int:
        return self.film.frames

    def read(self, indices: Sequence[int], targets: Sequence[int], *, name: str = "") -> RestorationSample:
        """See `kinema.data.restoration_sample.RestorationClip.read`."""
        frames = self.film.load(self.index)
        return RestorationSample(
            name=name or self.name,
            low=_last(frames["low"][list(indices)]),
            sharp=_last(frames["sharp"][list(targets)]),
            indices=tuple(indices),
            targets=tuple(targets),
        )


@dataclass(frozen=True)
class Film(Sequence[FilmClip]):
    """The clips 0, 1, 2, ... of one (config, seed), with bicubic low twins at a quarter of the size.

    Attributes:
        config: of the worlds; sides are multiples of 4.
        seed: of the clips.
        frames: of a clip.
        clips: how many there are.
        folder: where they are kept, a file each; None renders them whenever they are read.
    """

    config: WorldConfig
    seed: int
    frames: int
    clips: int
    folder: Path | None = None
    _checked: set[int] = field(default_factory=set, compare=False, repr=False)

    def __post_init__(self) -> None:
        if any(side % SCALE for side in self.config.size_hw) or self.frames < 1 or self.clips < 1:
            raise UsageError(
                f"clips of {self.config.size_hw[0]}x{self.config.size_hw[1]}, {self.frames} frames, "
                f"{self.clips} of them: sides must be multiples of {SCALE}, and there is one at least"
            )

    def __len__(self) -> int:
        return self.clips

    @overload
    def __getitem__(self, index: int) -> FilmClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[FilmClip]: ...
    def __getitem__(self, index: int | slice) -> FilmClip | list[FilmClip]:
        if isinstance(index, slice):
            return [FilmClip(self, number) for number in range(*index.indices(self.clips))]
        return FilmClip(self, range(self.clips)[index])

    @property
    def gib(self) -> float:
        """How large all files together are, in 2^30 bytes."""
        height, width = self.config.size_hw
        values = height * width + height * width // SCALE**2
        return self.clips * (self.frames * 3 * values + 4096) / 2**30

    def load(self, index: int) -> dict[str, Tensor]:
        """Read or render a clip.

        Args:
            index: its number.

        Returns:
            ``sharp`` (T, 3, H, W) and ``low`` (T, 3, H / 4, W / 4), uint8.

        Raises:
            InputError: when its file is missing, damaged or of other worlds.
        """
        if self.folder is None:
            return self._render(index)
        path = self._path(index)
        if not path.is_file():
            raise InputError(f"{self.folder}: clip {index} has not been rendered; fill the folder up to it")
        self._check(index)
        try:
            with reading(path), safetensors.safe_open(path, framework="pt", device="cpu") as file:
                return {name: file.get_tensor(name) for name in ("sharp", "low")}
        except (safetensors.SafetensorError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it, and fill the folder again") from None

    def fill(self, *, part: int = 0, parts: int = 1) -> int:
        """Render into the folder what is missing; it goes on where it stopped.

        Args:
            part: of the work that this process does.
            parts: how many processes share the work.

        Returns:
            How many clips were rendered.

        Raises:
            UsageError: when there is no folder.
            InputError: when it holds other worlds.
            OutputError: when a file cannot be written.
        """
        if self.folder is None:
            raise UsageError("these clips have no folder to be kept in")
        made = 0
        for index in range(part, self.clips, parts):
            if self._path(index).is_file():
                self._check(index)
                continue
            save_tensors(self._path(index), self._render(index), metadata={"worlds": self._worlds})
            made += 1
        return made

    @property
    def missing(self) -> int:
        """How many clips are not in the folder yet; 0 without one."""
        if self.folder is None:
            return 0
        return sum(not self._path(index).is_file() for index in range(self.clips))

    @cached_property
    def _worlds(self) -> str:
        """What a file must be of."""
        folder = self.config.textures
        pictures = [] if folder is None else [(str(p), p.stat().st_size) for p in picture_files(folder)]
        parts = [_FORMAT, self.seed, self.frames, self.config.model_dump_json(), pictures]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _path(self, index: int) -> Path:
        return (self.folder or Path()) / f"clip-{index:06d}.safetensors"

    def _render(self, index: int) -> dict[str, Tensor]:
        images = render_clip(self.config, self.seed, [index], frames=self.frames).images[0]
        sharp = (images * 255).round().to(torch.uint8)
        return {"sharp": sharp, "low": torch.stack([matlab_bicubic(f, scale=1 / SCALE) for f in sharp])}

    def _check(self, index: int) -> None:
        """Once per file: is it of these worlds?"""
        if index in self._checked:
            return
        path = self._path(index)
        try:
            with reading(path), safetensors.safe_open(path, framework="pt", device="cpu") as file:
                found = (file.metadata() or {}).get("worlds")
        except (safetensors.SafetensorError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it, and fill the folder again") from None
        if found != self._worlds:
            raise InputError(f"{path} holds other worlds (config, seed or length); choose another folder")
        self._checked.add(index)


def _last(frames: Tensor) -> np.ndarray:
    """(T, 3, H, W) as (T, H, W, 3)."""
    return np.ascontiguousarray(frames.permute(0, 2, 3, 1).numpy())
