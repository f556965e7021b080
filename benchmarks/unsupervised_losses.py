"""The losses of learning without labels beside their textbook form, alternating in one run.

python benchmarks/unsupervised_losses.py                     # one pair of 384x512, 7 rounds
python benchmarks/unsupervised_losses.py --device cuda --rounds 30
python benchmarks/unsupervised_losses.py --network           # and their share of a step of UFlow

Both compute UFlow's census loss with soft range masks and first-order smoothness of both directions, forward
and backward, and give the same numbers. The textbook's census stacks the 49 differences of every pixel, and
its masks are scattered by torch. The processor's time is told beside that of the clock, because it depends
less on what else the machine does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.losses.unsupervised_flow import UnsupervisedFlowSettings, unsupervised_flow_losses
from kinema.ops.census import grey_levels
from kinema.ops.grid import pixel_grid
from kinema.ops.resize import resize_flow, resize_image
from kinema.ops.robust import robust_power
from kinema.ops.smoothness import smoothness
from kinema.ops.warp import _splat, backward_warp, in_frame
from kinema.outputs import TwoWayFlow

Step = Callable[[], float]


def stacked_signs(grey: Tensor) -> Tensor:
    """(B, 49, H, W): the soft signs of all differences in 7x7 windows."""
    kernel = torch.eye(49, device=grey.device).view(49, 1, 7, 7)
    difference = F.conv2d(grey, kernel, padding=3) - grey
    return difference / (0.81 + difference.square()).sqrt()


def textbook_direction(first: Tensor, second: Tensor, flow: Tensor, backward: Tensor) -> Tensor:
    """Census loss of one direction as the paper's code has it."""
    warped = backward_warp(second, flow)
    squared = (stacked_signs(grey_levels(first)) - stacked_signs(grey_levels(warped))).square()
    error = robust_power((squared / (0.1 + squared)).sum(1, keepdim=True))
    size_hw = (flow.shape[-2], flow.shape[-1])
    with torch.no_grad():
        points = (pixel_grid(size_hw, device=flow.device) + backward).flatten(2)
        arrived = _splat(torch.ones_like(points[:, :1]), points, size_hw).view_as(error)
        visible = F.pad((arrived.clamp(0, 1) * in_frame(flow))[..., 3:-3, 3:-3], (3, 3, 3, 3))
    return (visible * error).sum() / (visible + 1e-6).sum()


def textbook(image1: Tensor, image2: Tensor, flows: TwoWayFlow) -> Tensor:
    """Both directions, and smoothness."""
    total = torch.zeros((), device=image1.device)
    quarter = (flows.coarse.shape[-2], flows.coarse.shape[-1])
    for first, second, flow, backward, coarse in (
        (image1, image2, flows.flow, flows.backward, flows.coarse),
        (image2, image1, flows.backward, flows.flow, flows.coarse_backward),
    ):
        small = resize_image(first, quarter, antialias=False, mode="area")
        total = total + textbook_direction(first, second, flow, backward) / 2
        total = total + 4 * smoothness(coarse, small) / 2
    return total


def ours(image1: Tensor, image2: Tensor, flows: TwoWayFlow) -> Tensor:
    """The same by kinema."""
    return unsupervised_flow_losses(image1, image2, flows, settings=UnsupervisedFlowSettings()).total


def losses_step(compute: Callable[[Tensor, Tensor, TwoWayFlow], Tensor], device: torch.device) -> Step:
    """A function that computes the losses of smooth random flow and their gradients."""
    g = torch.Generator().manual_seed(0)
    image1, image2 = (torch.rand(1, 3, 384, 512, generator=g).to(device) for _ in range(2))
    nodes = 6 * torch.randn(2, 2, 12, 16, generator=g)
    both = F.interpolate(nodes, (96, 128), mode="bilinear").to(device).requires_grad_()

    def step() -> float:
        both.grad = None
        full = resize_flow(both, (384, 512))
        total = compute(image1, image2, TwoWayFlow(full[:1], full[1:], both[:1], both[1:]))
        total.backward()
        return float(total.detach())

    return step


def network_step(device: torch.device) -> Step:
    """A function that does one step of UFlow in bfloat16 with kinema's losses."""
    from kinema.models.uflow import UFlow

    network = UFlow().to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    g = torch.Generator().manual_seed(0)
    image1, image2 = (torch.rand(1, 3, 384, 512, generator=g).to(device) for _ in range(2))

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            flows = network.forward_two_way(image1, image2)
        total = ours(image1, image2, flows)
        total.backward()
        optimizer.step()
        return float(total.detach())

    return step


def seconds(step: Step, device: torch.device) -> tuple[float, float]:
    """Time of one step: on the clock, and of the processor over all threads."""
    start, work = time.perf_counter(), time.process_time()
    step()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start, time.process_time() - work


def main() -> None:
    """Print medians and the ratios of rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--network", action="store_true", help="also a whole step of UFlow")
    args = parser.parse_args()
    device = torch.device(args.device)
    steps = {"kinema": losses_step(ours, device), "textbook": losses_step(textbook, device)}
    if args.network:
        steps["whole step of UFlow"] = network_step(device)
    values = {name: step() for name, step in steps.items()}  # compiles and warms up
    print(f"total: kinema {values['kinema']:.6f}, textbook {values['textbook']:.6f}")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            times[name].append(seconds(step, device))
    for name, taken in times.items():
        clock, work = (statistics.median(column) for column in zip(*taken, strict=True))
        ratios = sorted(one[1] / mine[1] for one, mine in zip(taken, times["kinema"], strict=True))
        middle = statistics.median(ratios)
        print(
            f"{name}: {1000 * clock:.0f} ms, processor {1000 * work:.0f} ms, which is {middle:.2f} times "
            f"that of kinema's losses ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
