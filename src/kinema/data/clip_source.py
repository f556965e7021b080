"""Training batches of windows of degraded frames: from opened data sets, from rendered clips, mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from kinema.data import open_restoration
from kinema.data.restoration_sample import RestorationSample
from kinema.data.sampler import Draw, Order
from kinema.data.spec import DataSpec
from kinema.data.transforms.edvr import EdvrStyle, Windows, windows_of
from kinema.errors import InputError

_MOST_DRAWS = 1000  # for a window whose middle frame has a sharp twin


class Clip(Protocol):
    """Low frames and the sharp twins of some or all of them, read when they are wanted."""

    @property
    def name(self) -> str:
        """Unique within its set."""

    @property
    def targets(self) -> Sequence[int]:
        """Numbers of the frames that have a sharp twin, rising."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int], targets: Sequence[int], *, name: str = "") -> RestorationSample:
        """See `kinema.data.restoration_sample.RestorationClip.read`."""


@dataclass(frozen=True)
class ClipPart:
    """A set of clips in a mix.

    Attributes:
        clips: the clips.
        weight: its share of the samples, in any unit.
    """

    clips: Sequence[Clip]
    weight: float = 1.0


@dataclass(frozen=True)
class ClipSource:
    """Windows of clips as a source of training batches; see `kinema.engine.contracts.BatchSource`.

    Each clip comes once in a turn, whatever its length; the window and the crop are drawn anew.

    Attributes:
        parts: the sets of clips.
        style: how windows are drawn and turned.
        frames: of a window, odd.
        side: of the crop in low resolution, in pixels; it is square.
        batch_size: over all devices.
        seed: of the order and the augmentation.
    """

    parts: tuple[ClipPart, ...]
    style: EdvrStyle
    frames: int
    side: int
    batch_size: int
    seed: int = 0

    def batch(self, step: int, slots: range) -> dict[str, Tensor]:
        """Make a part of the batch of one step.

        Args:
            step: which step, from 0.
            slots: which of the step's samples.

        Returns:
            ``low`` (B, T, 3, h, w) and ``sharp`` (B, 3, s h, s w), uint8 where the files have 8 bits,
            otherwise float32 in [0, 1]. A pure function of the settings, the step and the slot.

        Raises:
            UsageError: when a clip is too short for a window, or a frame too small for the crop.
            InputError: when a frame cannot be read.
        """
        windows = [self._sample(self.order.draw(step * self.batch_size + slot)) for slot in slots]
        return {
            "low": torch.cat([window.low for window in windows]).contiguous(),
            "sharp": torch.cat([window.sharp for window in windows])[:, 0].contiguous(),
        }

    @cached_property
    def order(self) -> Order:
        """Which clip comes when."""
        counts = tuple(len(part.clips) for part in self.parts)
        return Order(counts, tuple(part.weight for part in self.parts), self.seed)

    def _sample(self, draw: Draw) -> Windows:
        clip, rng = self.parts[draw.part].clips[draw.index], self.order.generator(draw)
        indices = self._indices(clip, rng)
        middle = indices[self.frames // 2]
        windows = windows_of(clip.read(indices, (middle,)))
        return self.style.geometric(windows, (self.side, self.side), [rng])

    def _indices(self, clip: Clip, rng: np.random.Generator) -> tuple[int, ...]:
        """A window whose middle frame has a sharp twin."""
        everywhere = len(clip.targets) == len(clip)
        for _ in range(_MOST_DRAWS):
            indices = self.style.frames(len(clip), self.frames, rng)
            if everywhere or indices[self.frames // 2] in clip.targets:
                return indices
        raise InputError(f"{clip.name}: no window of {self.frames} frames has a sharp twin in its middle")


def open_clips(specs: Sequence[DataSpec]) -> tuple[ClipPart, ...]:
    """Open restoration sets for training, their weights those of the specs.

    Args:
        specs: of `kinema.data.parse_spec`.

    Returns:
        One part per spec.

    Raises:
        UsageError: when a family, variant or split is unknown, or holds no frames to restore.
        InputError: when nothing usable lies at a path.
    """
    return tuple(ClipPart(open_restoration(spec).clips, spec.weight) for spec in specs)
