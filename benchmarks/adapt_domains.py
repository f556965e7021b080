"""How much of what true labels would bring does `kinema adapt` bring without any?

For each reserved domain of rendered scenes, clips of two frames are written as footage would be.
`kinema adapt` learns from them for some minutes, and so does an oracle: the same network from the same start
on the true flow of the same pairs. All are measured on other pairs of the domain; the adapted weights also on
the scenes that the start was trained on.

    python benchmarks/adapt_domains.py --minutes 10 --seeds 0 1 2 --out runs/adapt-domains

It goes on where it stopped: every line of results.jsonl is one (domain, seed).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from kinema.apps import adapt
from kinema.apps.adapt_config import AdaptConfig
from kinema.data.procedural.pairs import render_pair
from kinema.data.procedural.render_config import RESERVED_FAMILIES, RenderConfig, SceneFamily
from kinema.data.transforms.pairs import FlowPairs, crop
from kinema.data.transforms.uflow import UflowColours, UflowStyle
from kinema.engine.contracts import Batch, Term
from kinema.engine.randomness import seed_all
from kinema.engine.state import RunFolder, load_weights
from kinema.engine.trainer import train
from kinema.io.images import write_image
from kinema.recipes.adapt import AdaptFlowConfig
from kinema.recipes.adapt_task import Patience, robust_error
from kinema.recipes.pwcnet_task import as_pairs
from kinema.recipes.unlabelled_task import TwoWayNetwork

Row = dict[str, Any]
"""One line of the results."""

SIZE_HW = (320, 448)
FOOTAGE_SEED, TEST_SEED = 2**42, 2**43


def pairs_of(family: SceneFamily, seed: int, count: int) -> list[FlowPairs]:
    """Render pairs of a domain."""
    config = RenderConfig(family=family, size_hw=SIZE_HW, bank_textures=24, bank_shapes=48)
    return [as_pairs(render_pair(config, seed, [number])) for number in range(count)]


def write_footage(pairs: list[FlowPairs], folder: Path) -> None:
    """Each pair as a clip of two frames."""
    for number, pair in enumerate(pairs):
        for name, image in (("a", pair.image1), ("b", pair.image2)):
            pixels = (image[0] * 255).round().byte().permute(1, 2, 0).numpy()
            write_image(folder / f"{number:04d}" / f"{name}.png", np.ascontiguousarray(pixels))


@torch.no_grad()
def endpoint_error(network: torch.nn.Module | None, pairs: list[FlowPairs]) -> float:
    """Mean endpoint error over all pixels with truth; of zero flow without a network."""
    total = count = 0.0
    for pair in pairs:
        flow = network(pair.image1, pair.image2).flow if network else torch.zeros_like(pair.flow)
        total += float((flow - pair.flow).norm(dim=1, keepdim=True)[pair.valid].sum())
        count += float(pair.valid.sum())
    return total / count


@dataclass(frozen=True)
class OracleSource:
    """Windows of pairs with their truth."""

    pairs: list[FlowPairs]
    crop_hw: tuple[int, int]
    batch_size: int
    seed: int

    def batch(self, step: int, slots: range) -> dict[str, torch.Tensor]:
        """See `kinema.engine.contracts.BatchSource.batch`."""
        colours = UflowStyle(
            colours=UflowColours(permuted=False, hue=0.05, own_contrast=(0.97, 1.03), own_brightness=0.01)
        )
        made = []
        for slot in slots:
            rng = np.random.default_rng((self.seed, step, slot))
            window = crop(self.pairs[int(rng.integers(len(self.pairs)))], self.crop_hw, [rng])
            made.append(colours.photometric(window, [rng], step=step).tensors())
        return {name: torch.cat([one[name] for one in made]) for name in made[0]}


@dataclass(frozen=True)
class OracleTask:
    """The network on true flow."""

    network: torch.nn.Module
    source: OracleSource
    held: list[FlowPairs]
    patience: Patience
    metric: str = "epe"

    def losses(self, network: torch.nn.Module, batch: Batch, *, step: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.losses`."""
        two_way = cast("TwoWayNetwork", network)
        flow = two_way.forward_two_way(batch["image1"], batch["image2"]).flow
        with torch.autocast("cpu", enabled=False):
            error = robust_error(flow, batch["flow"], batch["valid"])
        count = torch.tensor(float(len(flow)))
        return {"known": Term(error * count, count)}

    def validate(self, network: torch.nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.validate`."""
        value = endpoint_error(network, self.held)
        return {"epe": Term(torch.tensor(value), torch.tensor(1.0))}

    def ending(self, _step: int, _metrics: Mapping[str, float]) -> str:
        """See `kinema.engine.contracts.EndsEarly.ending`."""
        return self.patience.over()


def oracle(config: AdaptFlowConfig, pairs: list[FlowPairs], out: Path, minutes: float) -> torch.nn.Module:
    """The same network, start, samples per step, crops and time, on true flow; a fifth chooses the best."""
    assert config.init is not None
    seed_all(config.seed)
    network = config.network()
    load_weights(config.init, network)
    source = OracleSource(pairs[len(pairs) // 5 :], config.crop_hw, 2 * config.batch_size, config.seed)
    task = OracleTask(network, source, pairs[: len(pairs) // 5], Patience(minutes=minutes))
    config = config.model_copy(
        update={"out": out, "batch_size": 2 * config.batch_size, "steps": 10**7, "minutes": None}
    )
    folder = RunFolder(out)
    folder.clear()
    train(config, task, folder, recipe="oracle", facts=config.facts())
    load_weights(folder.best, network)
    return network.eval()


def one(domain: SceneFamily, seed: int, options: argparse.Namespace) -> Row:
    """Adapt, train the oracle, and measure."""
    place = options.out / f"{domain}-{seed}"
    footage = pairs_of(domain, FOOTAGE_SEED + seed, options.footage)
    write_footage(footage, place / "footage")
    config = AdaptConfig(
        inputs=(str(place / "footage"),),
        out=place / "adapted.safetensors",
        model=options.model,
        weights=options.weights,
        minutes=options.minutes,
        seed=seed,
        overwrite=True,
    )
    began = time.monotonic()
    result = adapt.run(config)
    settings = AdaptFlowConfig.model_validate(
        json.loads((config.run_folder / "config.json").read_text())["config"]
    )
    start, adapted = settings.network().eval(), settings.network().eval()
    load_weights(settings.init, start)
    load_weights(config.out, adapted)
    spent = time.monotonic() - began
    best = oracle(settings, footage, place / "oracle", options.minutes)
    test, source = pairs_of(domain, TEST_SEED, options.test), pairs_of("train", TEST_SEED, options.test)
    errors = {
        name: endpoint_error(net, test)
        for name, net in (("zero", None), ("start", start), ("adapted", adapted), ("oracle", best))
    }
    errors |= {
        "source_start": endpoint_error(start, source),
        "source_adapted": endpoint_error(adapted, source),
    }
    return {
        "domain": domain,
        "seed": seed,
        "kept_step": result.kept_step,
        "steps": result.step,
        "seconds": spent,
        **errors,
    }


def summary(rows: Sequence[Row]) -> str:
    """A table, and what counts of it."""
    lines = [f"{'domain':12} seed   zero  start adapted oracle  gap closed  falls  source"]
    shares, falls, losses = [], [], []
    for row in rows:
        gap = row["start"] - row["oracle"]
        shares.append((row["start"] - row["adapted"]) / gap if gap > 0 else float("nan"))
        falls.append(1 - row["adapted"] / row["start"])
        losses.append(row["source_adapted"] / row["source_start"] - 1)
        errors = " ".join(f"{row[name]:6.2f}" for name in ("zero", "start", "adapted", "oracle"))
        lines.append(
            f"{row['domain']:12} {row['seed']:4} {errors} "
            f"{100 * shares[-1]:10.0f}% {100 * falls[-1]:5.0f}% {100 * losses[-1]:+6.1f}%"
        )
    kinds = (("gap closed", shares, min), ("falls", falls, min), ("source", losses, max))
    for name, values, worst in kinds:
        lines.append(
            f"{name}: median {100 * statistics.median(values):.0f} %, worst {100 * worst(values):.0f} %"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--domains", nargs="+", default=list(RESERVED_FAMILIES))
    parser.add_argument("--model", default="uflow")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--footage", type=int, default=120, help="pairs to learn from")
    parser.add_argument("--test", type=int, default=40, help="pairs to measure on")
    parser.add_argument("--out", type=Path, default=Path("runs/adapt-domains"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else []
    for seed in options.seeds:
        for domain in options.domains:
            if any(row["domain"] == domain and row["seed"] == seed for row in rows):
                continue
            rows.append(one(domain, seed, options))
            with results.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(summary(rows[-1:]), flush=True)
    print(summary(rows))


if __name__ == "__main__":
    main()
