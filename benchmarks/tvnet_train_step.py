"""One training step of TVNet beside plain autograd through the same iterations, alternating in one run.

python benchmarks/tvnet_train_step.py                               # 1 scale, 1 warp, 50 iterations
python benchmarks/tvnet_train_step.py --scales 5 --warps 5 --modes start

A step is forward, endpoint error and backward in float32; every difference kernel, tau, lambda, theta and a
map of starting flow are learned. The plain form is `tvl1_iterations_reference` under autograd. Peak memory
is that of a process of its own that does one step; that of one that only builds the network is told apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import kinema
from kinema.apps.bench import moving_texture
from kinema.losses.supervised_flow import endpoint_error_loss
from kinema.models import tvnet
from kinema.ops.variational import Unrolling, tvl1_iterations_reference

MODES = {
    "start": Unrolling(),
    "iterations": Unrolling(keep="iterations"),
    "truncated": Unrolling("truncated", steps=10),
    "implicit": Unrolling("implicit", steps=20),
}


def plain_iterations(
    flow: Tensor, dual: Tensor, data: Any, *, unrolling: Unrolling, **settings: Any
) -> tuple[Tensor, Tensor]:
    """What `tvl1_iterations` does, by autograd alone."""
    del unrolling
    return tvl1_iterations_reference(flow, dual, data, **settings)


def plain_form(mode: str) -> AbstractContextManager[Any]:
    """The network with plain iterations within, if that is the mode."""
    return patch.object(tvnet, "tvl1_iterations", plain_iterations) if mode == "plain" else nullcontext()


def make_step(arguments: argparse.Namespace, mode: str) -> Callable[[], float]:
    """A function that does one step and gives its loss."""
    h, w = map(int, arguments.size.split("x"))
    image1, image2 = (
        frame.expand(arguments.batch_size, -1, -1, -1).contiguous() for frame in moving_texture((h, w))
    )
    truth = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(arguments.batch_size, 2, h, w)
    network = tvnet.TVNet(
        arguments.preset,
        scales=arguments.scales,
        warps=arguments.warps,
        iterations=arguments.iterations,
        constants="shared",
        kernels="shared" if mode == "implicit" else "per_iteration",
        start="map",
        map_height=h,
        map_width=w,
    ).train()
    network.unrolling = MODES.get(mode, Unrolling())
    with torch.no_grad():
        for parameter in network.start.parameters() if network.start is not None else ():
            parameter.add_(0.05)

    def step() -> float:
        network.zero_grad(set_to_none=True)
        loss = endpoint_error_loss(network(image1, image2).flow, truth)
        loss.backward()
        return loss.item()

    return step


def peak_mib(arguments: argparse.Namespace, mode: str, *, steps: int) -> float:
    """Peak resident memory of a process that does so many steps."""
    command = [sys.executable, __file__, "--child", mode, "--child-steps", str(steps)]
    for name in ("size", "batch_size", "preset", "scales", "warps", "iterations", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(result.stdout)["peak_mib"])


def child(arguments: argparse.Namespace) -> None:
    """Do the steps and print the peak of this process."""
    step = make_step(arguments, arguments.child)
    with plain_form(arguments.child):
        for _ in range(arguments.child_steps):
            step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak_mib": peak / (2**20 if sys.platform == "darwin" else 2**10)}))


def seconds(step: Callable[[], float], mode: str) -> tuple[float, float]:
    """Time of one step: on the clock, and of the processor over all threads."""
    with plain_form(mode):
        start, work = time.perf_counter(), time.process_time()
        step()
        return time.perf_counter() - start, time.process_time() - work


def compare(arguments: argparse.Namespace, modes: list[str]) -> None:
    """Steps in turn; medians, and the ratios of the rounds to the first mode."""
    steps = {mode: make_step(arguments, mode) for mode in modes}
    times: dict[str, list[tuple[float, float]]] = {mode: [] for mode in modes}
    for number in range(arguments.rounds + 1):
        for mode, step in steps.items():
            taken = seconds(step, mode)
            if number:  # the first round compiles and allocates
                times[mode].append(taken)
    for mode in modes:
        clock, work = (statistics.median(column) for column in zip(*times[mode], strict=True))
        pairs = zip(times[mode], times[modes[0]], strict=True)
        ratio = statistics.median(mine[0] / first[0] for mine, first in pairs)
        print(f"{mode:>10}: clock {clock:.3f} s, processor {work:.3f} s, {ratio:.2f} of {modes[0]}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="436x1024", help="height and width of the frames")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--preset", default="reference", choices=["corrected", "reference"])
    parser.add_argument("--scales", type=int, default=1)
    parser.add_argument("--warps", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--modes", nargs="+", default=[*MODES, "plain"], choices=[*MODES, "plain"])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--child-steps", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Parse the arguments, measure memory, then do the steps in turn."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    if arguments.child:
        child(arguments)
        return
    modes = arguments.modes
    print(
        f"kinema {kinema.__version__}, torch {torch.__version__}, {arguments.threads} threads, "
        f"{arguments.preset}, {arguments.scales}/{arguments.warps}/{arguments.iterations}, batch "
        f"{arguments.batch_size} at {arguments.size}"
    )
    for mode in modes:
        peak, base = (peak_mib(arguments, mode, steps=n) for n in (1, 0))
        print(f"{mode:>10}: peak {peak:.0f} MiB, {peak - base:.0f} MiB of it for the step")
    compare(arguments, modes)


if __name__ == "__main__":
    main()
