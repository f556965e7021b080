"""Throughput of the training loader for PWC-Net, and where its time goes.

python benchmarks/loader.py                        # a rendered FlyingChairs tree in a temporary folder
python benchmarks/loader.py --data flyingchairs:/data/chairs --augmentation flownet2 --crop 384x448
python benchmarks/loader.py --data flyingchairs:/data/chairs --against shards:/data/chairs-shards

CPU time is counted, not time on the clock, so that other work on the machine changes little. Samples per
second on two cores are two seconds divided by the CPU seconds of one sample, those of the workers and of the
receiving process together.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table

import kinema.data.flow_source
import kinema.data.sample
import kinema.data.transforms.colour
import kinema.data.transforms.raft
import kinema.data.transforms.views
from kinema.data import parse_spec
from kinema.data.flow_source import FlowSource, open_parts
from kinema.data.procedural.pairs import render_pair
from kinema.data.procedural.render_config import RenderConfig
from kinema.engine.loading import batches
from kinema.io.flow import write_flow
from kinema.io.images import write_image

FRAME_HW, RENDERED = (384, 512), 24
STAGES = {
    "read and decode frames": (kinema.data.sample, "read_image"),
    "read flow": (kinema.data.sample, "read_flow"),
    "to pairs": (kinema.data.flow_source, "pairs_of"),
    "view: frames": (kinema.data.transforms.views, "affine_image"),
    "view: flow and masks": (kinema.data.transforms.views, "affine_flow"),
    "colours": (kinema.data.transforms.raft, "jitter_colours"),
    "patches": (kinema.data.transforms.raft, "erase"),
    "one batch of many": (kinema.data.flow_source, "joined"),
}


def rendered_chairs(root: Path, count: int) -> None:
    """Write rendered pairs in the layout of FlyingChairs."""
    config = RenderConfig(size_hw=FRAME_HW, bank_textures=12, bank_shapes=24)
    for number in range(count):
        pair = render_pair(config, 0, [number])
        name = f"{number + 1:05d}"
        for image, field in (("img1", pair.image1), ("img2", pair.image2)):
            pixels = (field[0] * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
            write_image(root / "data" / f"{name}_{image}.ppm", pixels)
        write_flow(root / "data" / f"{name}_flow.flo", pair.flow[0].permute(1, 2, 0).numpy())


@contextmanager
def timed_stages(spent: dict[str, float]) -> Iterator[None]:
    """Count the CPU time of this thread in each stage."""
    patches = []
    for stage, (module, name) in STAGES.items():
        patches.append(patch.object(module, name, timed(getattr(module, name), stage, spent)))
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def timed(function: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    """A function that adds its CPU time to a stage."""

    def run(*args: Any, **options: Any) -> Any:
        start = time.thread_time()
        try:
            return function(*args, **options)
        finally:
            spent[stage] += time.thread_time() - start

    return run


def profile(source: FlowSource, steps: int) -> tuple[float, dict[str, float]]:
    """CPU seconds per sample in one thread, whole and by stage."""
    source.batch(0, range(source.batch_size))
    spent: dict[str, float] = defaultdict(float)
    with timed_stages(spent):
        start = time.thread_time()
        for step in range(steps):
            source.batch(step, range(source.batch_size))
        whole = time.thread_time() - start
    samples = steps * source.batch_size
    return whole / samples, {stage: seconds / samples for stage, seconds in spent.items()}


@dataclass(frozen=True)
class Metered:
    """A source whose batches tell how much CPU time their process has used so far."""

    source: FlowSource

    def batch(self, step: int, slots: range) -> dict[str, torch.Tensor]:
        """The source's batch, and beside it the time and the process, for each sample."""
        batch = self.source.batch(step, slots)
        used = torch.tensor([time.process_time()], dtype=torch.float64).expand(len(slots))
        return {**batch, "used": used.clone(), "process": torch.full((len(slots),), os.getpid())}


def through_workers(source: FlowSource, steps: int, workers: int) -> float:
    """CPU seconds per sample of workers and receiver together, without their start.

    A worker's time runs from its first batch to its last, which holds the sending of all but the last.
    """
    first: dict[int, float] = {}
    used: dict[int, float] = {}
    made: dict[int, int] = defaultdict(int)
    here = 0.0
    stream = batches(Metered(source), slots=range(source.batch_size), start=0, stop=steps, workers=workers)
    for step, batch in enumerate(stream):
        process, seconds = int(batch["process"][0]), float(batch["used"][0])
        made[process] += process in first
        first.setdefault(process, seconds)
        used[process] = seconds - first[process]
        here = time.process_time() if step == 0 else here
    receiving = (time.process_time() - here) / ((steps - 1) * source.batch_size)
    return receiving + sum(used.values()) / (sum(made.values()) * source.batch_size)


def report(source: FlowSource, title: str, console: Console, *, steps: int) -> float:
    """Print the profile of a source; return CPU seconds per sample."""
    whole, stages = profile(source, steps)
    table = Table("stage", "ms per sample", "share", title=title)
    for stage, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        table.add_row(stage, f"{1e3 * seconds:.2f}", f"{100 * seconds / whole:.0f} %")
    rest = whole - sum(stages.values())
    table.add_row("the rest", f"{1e3 * rest:.2f}", f"{100 * rest / whole:.0f} %")
    table.add_row("all, one thread", f"{1e3 * whole:.2f}", f"{2 / whole:.0f} samples/s on 2 cores")
    console.print(table)
    return whole


def main() -> None:
    """Parse the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="a data spec; default: rendered pairs in FlyingChairs' layout")
    parser.add_argument("--against", help="another data spec with the same pairs, such as shards")
    parser.add_argument("--augmentation", default="raft-chairs")
    parser.add_argument("--crop", default="320x448", metavar="HxW")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(width=100)
    height, width = (int(side) for side in arguments.crop.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.data is None:
            console.print(f"Rendering {RENDERED} pairs of {FRAME_HW[1]}x{FRAME_HW[0]}")
            rendered_chairs(Path(folder), RENDERED)
        per_sample = {}
        for spec in [arguments.data or f"flyingchairs:{folder}", *filter(None, [arguments.against])]:
            parts = open_parts(parse_spec(spec), arguments.augmentation)
            source = FlowSource(parts, (height, width), arguments.batch_size)
            title = f"{parse_spec(spec)[0].label}, {arguments.augmentation}, crop {arguments.crop}"
            per_sample[spec] = report(source, title, console, steps=arguments.steps)
            if arguments.workers:
                seconds = through_workers(source, arguments.steps, arguments.workers)
                console.print(
                    f"Through {arguments.workers} workers, receiver included: {1e3 * seconds:.2f} ms per "
                    f"sample, {2 / seconds:.0f} samples/s on 2 cores"
                )
        if arguments.against:
            first, second = per_sample.values()
            console.print(
                f"{arguments.against} takes {second / first:.2f} of the CPU time of {arguments.data}"
            )


if __name__ == "__main__":
    main()
