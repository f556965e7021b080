"""A small real flow network on moving textures: what the engine is tested with."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from pydantic import Field

from kinema.recipes import RECIPES
from kinema.recipes.base import RecipeConfig

if TYPE_CHECKING:
    import torch

SIDE = 48


class TinyConfig(RecipeConfig):
    """Settings of the tiny run."""

    poison: int = Field(default=-1, description="At this step the images are not numbers.")
    die: int = Field(default=-1, description="The worker that makes this step's batch is killed.")
    pool: int = Field(default=0, description="Samples in an epoch; 0: each step has new ones.")
    broken: int = Field(default=-1, description="With a pool: this sample cannot be read.")
    plain: bool = Field(default=False, description="No batch statistics and no dropout.")

    def build(self):
        return build_task(self)

    def facts(self):
        return {"model": "tiny"}


def tiny_flow() -> TinyConfig:
    """A tiny network on moving textures."""
    return TinyConfig(
        steps=12,
        batch_size=4,
        learning_rate=2e-3,
        warmup_steps=2,
        ema_decay=0.9,
        workers=0,
        log_every=1,
        checkpoint_every=3,
        validate_every=4,
        validation_pairs=4,
        device="cpu",
        precision="fp32",
    )


def moving_pair(entropy: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Frame 1 is frame 2 fetched along a smooth flow, so the flow is exact."""
    rng = np.random.default_rng(entropy)
    canvas = cv2.GaussianBlur(rng.random((SIDE + 16, SIDE + 16, 3)).astype(np.float32), (0, 0), 1.5)
    canvas = np.clip((canvas - 0.5) * 3 + 0.5, 0, 1)
    centre, slope = rng.uniform(-4, 4, 2), rng.uniform(-0.03, 0.03, (2, 2))
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) - SIDE / 2
    flow = np.stack([centre[0] + slope[0, 0] * x + slope[0, 1] * y,
                     centre[1] + slope[1, 0] * x + slope[1, 1] * y], -1).astype(np.float32)  # fmt: skip
    grid = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1).astype(np.float32) + 8
    image1 = cv2.remap(canvas, grid + flow, None, cv2.INTER_LINEAR)
    return {
        "image1": image1.transpose(2, 0, 1),
        "image2": canvas[8 : 8 + SIDE, 8 : 8 + SIDE].transpose(2, 0, 1).copy(),
        "flow": flow.transpose(2, 0, 1),
    }


def stacked(entropies: list[tuple[int, ...]]) -> dict[str, torch.Tensor]:
    import torch

    pairs = [moving_pair(entropy) for entropy in entropies]
    return {name: torch.from_numpy(np.stack([p[name] for p in pairs])) for name in pairs[0]}


@dataclass(frozen=True)
class MovingTextures:
    """A batch source; every sample is a function of (seed, step, slot)."""

    seed: int
    poison: int = -1
    die: int = -1
    pool: int = 0
    broken: int = -1
    batch_size: int = 4

    def samples(self, step: int, slots: range) -> list[int]:
        """Numbers of a pool's samples: another order in each epoch, the last batch of each may be smaller."""
        per_epoch = -(-self.pool // self.batch_size)
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((self.seed, 77, epoch)).permutation(self.pool)
        end = min(self.pool, (place + 1) * self.batch_size)
        places = [place * self.batch_size + slot for slot in slots]
        standing_in = bool(slots) and slots[0] >= self.batch_size
        return [int(order[p % self.pool]) for p in places if p < end or standing_in]

    def batch(self, step: int, slots: range) -> dict[str, torch.Tensor]:
        if step == self.die:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        if self.pool:
            numbers = self.samples(step, slots)
            if self.broken in numbers:
                from kinema.errors import InputError

                raise InputError(f"pair_{self.broken}.png cannot be read; copy it again")
            batch = stacked([(self.seed, 99, number) for number in numbers])
        else:
            batch = stacked([(self.seed, step, slot) for slot in slots])
        if step == self.poison and 0 in slots:  # in one process of several
            batch["image1"][:] = float("nan")
        return batch


def build_task(config: TinyConfig):
    import torch
    import torch.nn.functional as F
    from torch import nn

    from kinema.engine.contracts import Term
    from kinema.viz import flow_to_rgb, side_by_side

    class TinyFlow(nn.Module):
        """Features at half size, a 7x7 cost volume, and four convolutions."""

        def __init__(self) -> None:
            super().__init__()
            norm = nn.Identity() if config.plain else nn.BatchNorm2d(32)
            self.features = nn.Sequential(
                nn.Conv2d(3, 16, 3, 2, 1), nn.LeakyReLU(0.1), nn.Conv2d(16, 16, 3, 1, 1)
            )
            self.drop = nn.Dropout(
                0.0 if config.plain else 0.05
            )  # draws global random numbers: resume has to restore them
            self.estimate = nn.Sequential(
                nn.Conv2d(49 + 16, 32, 3, 1, 1), nn.LeakyReLU(0.1), nn.Conv2d(32, 32, 3, 1, 1),
                nn.LeakyReLU(0.1), norm, nn.Conv2d(32, 32, 3, 1, 1), nn.LeakyReLU(0.1)
            )  # fmt: skip
            self.head = nn.Conv2d(32, 2, 3, 1, 1)

        def forward(self, image1, image2):
            one, two = self.features(image1 - 0.5), self.features(image2 - 0.5)
            h, w = one.shape[-2:]
            around = F.pad(two, (3, 3, 3, 3))
            cost = [
                (one * around[..., i : i + h, j : j + w]).mean(1, keepdim=True)
                for i in range(7)
                for j in range(7)
            ]
            hidden = self.estimate(self.drop(torch.cat([*cost, one], 1)))
            with torch.autocast(hidden.device.type, enabled=False):
                flow = 4 * self.head(hidden.float())
            return F.interpolate(flow, scale_factor=2, mode="bilinear")

    def error(network, batch):
        return (network(batch["image1"], batch["image2"]) - batch["flow"]).norm(dim=1)

    @dataclass(frozen=True)
    class TinyTask:
        network: nn.Module
        source: MovingTextures
        pairs: int
        metric: str = "epe"

        def losses(self, network, batch, *, step):
            epe = error(network, batch)
            return {
                "epe": Term(epe.sum(), torch.tensor(epe.numel())),
                "outer": Term(0.1 * epe[:, ::4, ::4].sum(), torch.tensor(epe[:, ::4, ::4].numel())),
            }

        def validate(self, network, *, rank, world):
            numbers = range(rank, self.pairs, world)
            batch = stacked([(999, number) for number in numbers])
            epe, zero = error(network, batch).double(), batch["flow"].double().norm(dim=1)
            count = torch.tensor(epe.numel())
            return {"epe": Term(epe.sum(), count), "zero_epe": Term(zero.sum(), count)}

        def pictures(self, network):
            batch = stacked([(999, 0)])
            flow = network(batch["image1"], batch["image2"])
            shown = [flow_to_rgb(one[0].permute(1, 2, 0).numpy()) for one in (flow, batch["flow"])]
            return {"flow": side_by_side(shown, ["estimate", "truth"])}

    source = MovingTextures(
        config.seed, config.poison, config.die, config.pool, config.broken, config.batch_size
    )
    return TinyTask(TinyFlow(), source, config.validation_pairs)


RECIPES["tiny-flow"] = tiny_flow

if __name__ == "__main__":
    from kinema.cli.main import main

    sys.exit(main(sys.argv[1:]))
