"""What a run of PWC-Net trains, on which data, towards what."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kinema.data.procedural.cache import RenderCache
from kinema.data.procedural.pairs import RenderedBatch, render_pair
from kinema.data.procedural.render_config import RESERVED_FAMILIES, RenderConfig, SceneFamily
from kinema.data.procedural.rendered_set import VALIDATION_SEED
from kinema.data.transforms import FlowPairs, crop, erase, flip, jitter_colours, look, shift_windows
from kinema.data.transforms.views import whole
from kinema.engine.contracts import Batch, BatchSource, Term
from kinema.errors import UsageError
from kinema.models.pwcnet import PWCNet
from kinema.recipes.crops import CropShare
from kinema.recipes.measured import Measured, Validation
from kinema.recipes.pwcnet_objective import Objective
from kinema.viz import flow_prediction

_log = logging.getLogger(__name__)
_AUGMENTATION, _SIZES, _ORDER = 1, 2, 3  # streams of random numbers
_RESERVED_PER_FILE = 8
_PICTURES = 3


@dataclass(frozen=True)
class PairPool:
    """Pairs on disk that a run learns from again and again.

    Attributes:
        folder: of the files.
        count: how many pairs.
        size_hw: of their frames; samples are windows of them.
        max_gib: how large the files together may become.
    """

    folder: Path
    count: int
    size_hw: tuple[int, int]
    max_gib: float


@dataclass(frozen=True)
class RenderedSource:
    """Rendered pairs, augmented: everything is a function of (seed, step, slot).

    Attributes:
        scenes: what they are made of, but for their size.
        crops: sizes of the samples and their shares of the training time.
        seed: of the scenes, their order and the augmentation.
        batch_size: over all devices.
        device: where they are rendered.
        pool: where they are kept; None renders each when its step comes.
        shifts_until: before this step frame 2 is another window of frame 1, and no colours change.
    """

    scenes: RenderConfig
    crops: Sequence[CropShare]
    seed: int
    batch_size: int
    device: str = "cpu"
    pool: PairPool | None = None
    shifts_until: int = 0

    def size_hw(self, step: int) -> tuple[int, int]:
        """The size of a step's samples: a step of a large size takes longer, so it comes more seldom.

        Args:
            step: from 0.

        Returns:
            One of the crops.
        """
        chances = np.array([one.share / (one.height * one.width) for one in self.crops])
        rng = np.random.default_rng((self.seed, _SIZES, step))
        chosen = self.crops[int(rng.choice(len(chances), p=chances / chances.sum()))]
        return chosen.height, chosen.width

    def batch(self, step: int, slots: range) -> Batch:
        """See `kinema.engine.contracts.BatchSource.batch`."""
        rngs = [np.random.default_rng((self.seed, _AUGMENTATION, step, slot)) for slot in slots]
        pairs = self.pairs(step, slots)
        if step < self.shifts_until:
            return shift_windows(pairs, self.size_hw(step), rngs).tensors()
        if self.pool is not None:
            pairs = crop(pairs, self.size_hw(step), rngs)
        return erase(jitter_colours(flip(pairs, rngs), rngs), rngs).tensors()

    def pairs(self, step: int, slots: range) -> FlowPairs:
        """The pairs of a step before anything happens to them.

        Args:
            step: from 0.
            slots: which of the step's samples.

        Returns:
            Whole pairs of the pool, or pairs rendered in the step's size.
        """
        numbers = [step * self.batch_size + slot for slot in slots]
        if self.pool is not None:
            return as_pairs(self.kept(self.pool).batch([self._pooled(number) for number in numbers]))
        scenes = self.scenes.model_copy(update={"size_hw": self.size_hw(step)})
        return as_pairs(render_pair(scenes, self.seed, numbers, device=self.device))

    def kept(self, pool: PairPool) -> RenderCache:
        """The files of the pool.

        Args:
            pool: where they are.

        Returns:
            The files, read or filled.
        """
        scenes = self.scenes.model_copy(update={"size_hw": pool.size_hw})
        return _cache(pool.folder, scenes, self.seed, max_gib=pool.max_gib)

    def _pooled(self, number: int) -> int:
        """Which pair of the pool is the run's n-th sample: another order each time round."""
        turn, place = divmod(number, self.pool.count if self.pool else 1)
        return int(_order(self.seed, turn, self.pool.count if self.pool else 1)[place])


@lru_cache(maxsize=8)
def _cache(
    folder: Path, scenes: RenderConfig, seed: int, *, max_gib: float, pairs_per_file: int = 32
) -> RenderCache:
    """One per process, so that a file is checked once."""
    return RenderCache(folder, scenes, seed, max_gib=max_gib, pairs_per_file=pairs_per_file)


@lru_cache(maxsize=2)
def _order(seed: int, turn: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, _ORDER, turn)).permutation(count)


def as_pairs(rendered: RenderedBatch) -> FlowPairs:
    """Take from rendered pairs what training looks at.

    Args:
        rendered: the pairs.

    Returns:
        The same pairs.
    """
    return FlowPairs(
        image1=rendered.image1,
        image2=rendered.image2,
        flow=torch.where(rendered.valid, rendered.flow, 0),
        valid=rendered.valid,
        hidden=rendered.occluded | ~rendered.in_frame,
    )


@dataclass(frozen=True)
class PwcnetTask(Measured):
    """PWC-Net on pairs with true flow.

    Attributes:
        network: the network.
        source: of its training pairs: ``image1``, ``image2``, ``flow``, ``valid`` and ``hidden``.
        objective: the loss.
        validation: what it is measured on.
    """

    network: PWCNet
    source: BatchSource
    objective: Objective
    validation: Validation

    def losses(self, network: nn.Module, batch: Batch, *, step: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.losses`."""
        output = network(batch["image1"], batch["image2"])
        return self.objective.losses(output, batch, settings=self.network.settings, step=step)

    def counts(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """See `kinema.engine.contracts.CountsAhead.counts`."""
        return self.objective.counts(batch, settings=self.network.settings, step=step)


@dataclass(frozen=True)
class ReservedPairs:
    """Pairs of ``procedural@reserved``, never trained on, or of other families; rendered once and kept.

    Attributes:
        scenes: what they are made of, but for family and size.
        pairs: how many.
        pool: in whose folder they are kept; None keeps them in memory.
        metric: chooses the best weights.
        families: of the scenes, in turn.
        size_hw: of the rendered frames.
        seen_hw: what they are resized to, before the network and the truth see them; None to leave them.
    """

    scenes: RenderConfig
    pairs: int
    pool: PairPool | None = None
    metric: str = "epe"
    families: tuple[SceneFamily, ...] = RESERVED_FAMILIES
    size_hw: tuple[int, int] = (384, 448)
    seen_hw: tuple[int, int] | None = None
    _kept: dict[int, FlowPairs] = field(default_factory=dict, compare=False)

    def measure(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """Endpoint errors in pixels, over all pixels with truth of the reserved pairs.

        Args:
            network: with averaged weights.
            rank: which share of the pairs.
            world: how many shares.

        Returns:
            ``epe``, of visible and of hidden points, of each reserved family, and of zero flow.
        """
        device = next(network.parameters()).device
        names = ("epe", "epe_visible", "epe_hidden", "zero_epe", *(f"epe_{f}" for f in self.families))
        sums = {name: torch.zeros(2, dtype=torch.float64) for name in names}
        for number in range(rank, self.pairs, world):
            pair = self.pair(number)
            flow = network(pair.image1.to(device), pair.image2.to(device)).flow.cpu()
            error, zero = _length(flow - pair.flow), _length(pair.flow)
            _add(sums["epe"], error, pair.valid)
            _add(sums["epe_visible"], error, pair.valid & ~pair.hidden)
            _add(sums["epe_hidden"], error, pair.valid & pair.hidden)
            _add(sums["zero_epe"], zero, pair.valid)
            _add(sums[f"epe_{self.family(number)}"], error, pair.valid)
        return {name: Term(*pair.float().to(device).unbind()) for name, pair in sums.items()}

    def pictures(self, network: nn.Module) -> Mapping[str, np.ndarray]:
        """See `kinema.engine.contracts.Draws.pictures`.

        Args:
            network: with averaged weights.

        Returns:
            The first pairs, each with its estimate, truth and error, by the name of its family.
        """
        device, drawn = next(network.parameters()).device, {}
        for number in range(min(self.pairs, _PICTURES)):
            pair = self.pair(number)
            flow = network(pair.image1.to(device), pair.image2.to(device)).flow.float().cpu()
            estimate, truth = (one[0].permute(1, 2, 0).numpy() for one in (flow, pair.flow))
            frame = (pair.image1[0] * 255).round().byte().permute(1, 2, 0).numpy()
            known = pair.valid[0, 0].numpy()
            drawn[f"flow-{self.family(number)}"] = flow_prediction(frame, estimate, truth, valid=known)
        return drawn

    def family(self, number: int) -> SceneFamily:
        """Which generator draws a pair.

        Args:
            number: of the pair, from 0.

        Returns:
            One of the families.
        """
        return self.families[number % len(self.families)]

    def pair(self, number: int) -> FlowPairs:
        """One of the pairs.

        Args:
            number: from 0.

        Returns:
            A batch of one.
        """
        whole_pair = self._rendered(number)
        if self.seen_hw is None:
            return whole_pair
        return look(whole_pair, [whole(self.size_hw, self.seen_hw)], self.seen_hw)

    def _rendered(self, number: int) -> FlowPairs:
        scenes = self.scenes.model_copy(update={"family": self.family(number), "size_hw": self.size_hw})
        index = number // len(self.families)
        if self.pool is not None:
            folder = self.pool.folder / self._folder(number)
            cache = _cache(folder, scenes, VALIDATION_SEED, max_gib=1.0, pairs_per_file=_RESERVED_PER_FILE)
            cache.fill(index + 1)
            return as_pairs(cache.batch([index]))
        if number not in self._kept:
            pairs = as_pairs(render_pair(scenes, VALIDATION_SEED, [index]))
            self._kept[number] = replace(pairs, image1=_bytes(pairs.image1), image2=_bytes(pairs.image2))
        kept = self._kept[number]
        return replace(kept, image1=kept.image1 / 255, image2=kept.image2 / 255)

    def _folder(self, number: int) -> str:
        height, width = self.size_hw
        size = "" if self.size_hw == (384, 448) else f"-{height}x{width}"
        return f"reserved-{self.family(number)}{size}"


def _bytes(images: Tensor) -> Tensor:
    """Rendered colours are multiples of 1/255: a quarter of the memory, and nothing is lost."""
    return (images * 255).round().byte()


def _length(vectors: Tensor) -> Tensor:
    length: Tensor = vectors.double().norm(dim=1, keepdim=True)
    return length


def _add(sums: Tensor, values: Tensor, where: Tensor) -> None:
    sums[0] += values[where].sum()
    sums[1] += where.sum()


def rendered_source(
    *,
    textures: Path | None,
    crops: Sequence[CropShare],
    seed: int,
    batch_size: int,
    on_cpu: bool,
    pool: PairPool | None,
    shifts_until: int = 0,
) -> RenderedSource:
    """Make the source of a run's pairs, and render what its pool lacks.

    Args:
        textures: pictures to cut textures from.
        crops: sizes of the samples and their shares of the training time.
        seed: of scenes, their order and augmentation.
        batch_size: over all devices.
        on_cpu: render there, also where an accelerator is.
        pool: where pairs are kept; None renders each when its step comes.
        shifts_until: see `RenderedSource`.

    Returns:
        The source.

    Raises:
        UsageError: when the pool is larger than its limit.
    """
    accelerator = None
    if not on_cpu and torch.accelerator.is_available():
        accelerator = torch.accelerator.current_accelerator()
    source = RenderedSource(
        scenes=RenderConfig(textures=textures),
        crops=crops,
        seed=seed,
        batch_size=batch_size,
        device="cpu" if accelerator is None else accelerator.type,
        pool=pool,
        shifts_until=shifts_until,
    )
    if pool is not None:
        _fill(source, pool)
    return source


def _fill(source: RenderedSource, pool: PairPool) -> None:
    """Render what the pool lacks; processes of one run share the work, then see to what is still missing."""
    cache = source.kept(pool)
    if cache.max_pairs < pool.count:
        raise UsageError(
            f"--pool {pool.count}: only {cache.max_pairs} pairs fit in --cache-gib {pool.max_gib:g}"
        )
    if len(cache) < pool.count:
        _log.info("rendering %d pairs into %s; it goes on where it stopped", pool.count, pool.folder)
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    cache.fill(pool.count, device=source.device, part=rank, parts=world)
    cache.fill(pool.count, device=source.device)
