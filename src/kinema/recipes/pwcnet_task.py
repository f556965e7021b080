"""What a run of PWC-Net trains, on which data, towards what."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kinema.data.procedural.cache import RenderCache
from kinema.data.procedural.pairs import RenderedBatch, render_pair
from kinema.data.procedural.render_config import RESERVED_FAMILIES, RenderConfig
from kinema.data.procedural.rendered_set import VALIDATION_SEED
from kinema.data.transforms import FlowPairs, crop, erase, flip, jitter_colours
from kinema.engine.contracts import Batch, Term
from kinema.errors import UsageError
from kinema.losses.pyramid_flow import LEVELS, REFERENCE_PIXELS, multiscale_errors
from kinema.models.pwcnet import PWCNet
from kinema.recipes.pwcnet import CropShare, PwcnetConfig

_log = logging.getLogger(__name__)
_AUGMENTATION, _SIZES, _ORDER = 1, 2, 3  # streams of random numbers
_RESERVED_PER_FILE = 8


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
    """

    scenes: RenderConfig
    crops: Sequence[CropShare]
    seed: int
    batch_size: int
    device: str = "cpu"
    pool: PairPool | None = None

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
        size_hw = self.size_hw(step)
        numbers = [step * self.batch_size + slot for slot in slots]
        rngs = [np.random.default_rng((self.seed, _AUGMENTATION, step, slot)) for slot in slots]
        if self.pool is None:
            scenes = self.scenes.model_copy(update={"size_hw": size_hw})
            pairs = as_pairs(render_pair(scenes, self.seed, numbers, device=self.device))
        else:
            indices = [self._pooled(number) for number in numbers]
            pairs = crop(as_pairs(self.kept(self.pool).batch(indices)), size_hw, rngs)
        return erase(jitter_colours(flip(pairs, rngs), rngs), rngs).tensors()

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
class PwcnetTask:
    """PWC-Net on rendered pairs.

    Attributes:
        network: the network.
        source: of its training pairs.
        config: of the run.
        metric: chooses the best weights.
    """

    network: PWCNet
    source: RenderedSource
    config: PwcnetConfig
    metric: str = "epe"
    _kept: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def losses(self, network: nn.Module, batch: Batch, *, step: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.losses`."""
        output = network(batch["image1"], batch["image2"])
        hidden_weight = self.config.hidden_weight if step >= self.config.occluded_from else 0.0
        weight = batch["valid"].float() * torch.where(batch["hidden"], hidden_weight, 1.0)
        sums = multiscale_errors(
            output.pyramid,
            batch["flow"],
            weight,
            units=[2**level * self.network.level_pixels(level) for level in LEVELS],
            robust=self.config.loss == "robust",
        )
        count = weight.sum() / REFERENCE_PIXELS
        return {f"level{level}": Term(total, count) for level, total in zip(LEVELS, sums, strict=True)}

    def validate(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """Endpoint errors in pixels, over all pixels with truth of the reserved pairs.

        Args:
            network: with averaged weights.
            rank: which share of the pairs.
            world: how many shares.

        Returns:
            ``epe``, of visible and of hidden points, of each reserved family, and of zero flow.
        """
        device = next(network.parameters()).device
        names = ("epe", "epe_visible", "epe_hidden", "zero_epe", *(f"epe_{f}" for f in RESERVED_FAMILIES))
        sums = {name: torch.zeros(2, dtype=torch.float64) for name in names}
        for number in range(rank, self.config.validation_pairs, world):
            pair = self._reserved(number)
            flow = network(pair.image1.to(device), pair.image2.to(device)).flow.cpu()
            error, zero = _length(flow - pair.flow), _length(pair.flow)
            _add(sums["epe"], error, pair.valid)
            _add(sums["epe_visible"], error, pair.valid & ~pair.hidden)
            _add(sums["epe_hidden"], error, pair.valid & pair.hidden)
            _add(sums["zero_epe"], zero, pair.valid)
            _add(sums[f"epe_{_family(number)}"], error, pair.valid)
        return {name: Term(*pair.float().to(device).unbind()) for name, pair in sums.items()}

    def _reserved(self, number: int) -> FlowPairs:
        """A pair of ``procedural@reserved``, families that are never trained on; rendered once and kept."""
        scenes = self.source.scenes.model_copy(update={"family": _family(number), "size_hw": (384, 448)})
        index = number // len(RESERVED_FAMILIES)
        if self.source.pool is not None:
            folder = self.source.pool.folder / f"reserved-{_family(number)}"
            cache = _cache(folder, scenes, VALIDATION_SEED, max_gib=1.0, pairs_per_file=_RESERVED_PER_FILE)
            cache.fill(index + 1)
            return as_pairs(cache.batch([index]))
        if number not in self._kept:
            pairs = as_pairs(render_pair(scenes, VALIDATION_SEED, [index]))
            small = {"image1": _bytes(pairs.image1), "image2": _bytes(pairs.image2)}
            self._kept[number] = {**pairs.tensors(), **small}
        kept = self._kept[number]
        return FlowPairs(**{**kept, "image1": kept["image1"] / 255, "image2": kept["image2"] / 255})


def _bytes(images: Tensor) -> Tensor:
    """Rendered colours are multiples of 1/255: a quarter of the memory, and nothing is lost."""
    return (images * 255).round().byte()


def _family(number: int) -> str:
    return RESERVED_FAMILIES[number % len(RESERVED_FAMILIES)]


def _length(vectors: Tensor) -> Tensor:
    length: Tensor = vectors.double().norm(dim=1, keepdim=True)
    return length


def _add(sums: Tensor, values: Tensor, where: Tensor) -> None:
    sums[0] += values[where].sum()
    sums[1] += where.sum()


def build(config: PwcnetConfig) -> PwcnetTask:
    """Make the task of a run.

    Args:
        config: of the run.

    Returns:
        The task; its network's weights are drawn from the global generator.
    """
    on_cpu = config.workers > 0 or config.device == "cpu" or not torch.accelerator.is_available()
    accelerator = None if on_cpu else torch.accelerator.current_accelerator()
    shares = config.crop_shares()
    pool = None
    if config.cache is not None:
        largest = max(one.height for one in shares), max(one.width for one in shares)
        pool = PairPool(config.cache, config.pool, largest, config.cache_gib)
    source = RenderedSource(
        scenes=RenderConfig(textures=config.textures),
        crops=shares,
        seed=config.seed,
        batch_size=config.batch_size,
        device="cpu" if accelerator is None else accelerator.type,
        pool=pool,
    )
    if pool is not None:
        _fill(source, pool)
    return PwcnetTask(PWCNet(config.preset), source, config)


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
