"""One training step of PWC-Net beside its textbook form, alternating in one run.

python benchmarks/pwcnet_train_step.py                       # batch 8 at 384x448, 5 rounds
python benchmarks/pwcnet_train_step.py --device cuda --rounds 20

Both steps are the same network, loss, clipping and optimiser on the same batch. Ours computes layers in
bfloat16 with kinema's cost volume; the textbook's computes in float32, with one product per displacement of
the cost volume, as the paper describes it. The processor's time is told beside that of the clock, because it
depends less on what else the machine does. ``kinema bench --train pwcnet-rendered`` shows where the time of
ours goes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

import kinema
from kinema.apps.bench import moving_texture
from kinema.engine.meter import memory_bytes
from kinema.inference.device import describe_device, resolve_device
from kinema.losses.supervised_flow import multiscale_errors
from kinema.models import pwcnet


def textbook_cost_volume(first: Tensor, second: Tensor, *, radius: int = 4) -> Tensor:
    """Mean products over 81 displacements, one after the other, with whatever autograd makes of them."""
    h, w = first.shape[-2:]
    padded = F.pad(second, (radius,) * 4)
    offsets = range(2 * radius + 1)
    return torch.stack(
        [(first * padded[..., y : y + h, x : x + w]).mean(1) for y in offsets for x in offsets], 1
    )


def make_step(
    batch: tuple[Tensor, Tensor, Tensor], *, precision: torch.dtype, channels_last: bool
) -> Callable[[], float]:
    """A function that does one step on the batch and gives its loss."""
    image1, image2, truth = batch
    network = pwcnet.PWCNet().to(image1.device).train()
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=1e-4)
    weight = torch.ones_like(truth[:, :1])

    def step() -> float:
        with torch.autocast(image1.device.type, dtype=precision, enabled=precision != torch.float32):
            pyramid = network(image1, image2).pyramid
            loss = torch.stack(multiscale_errors(pyramid, truth, weight=weight, downsampling="area")).sum()
        optimiser.zero_grad(set_to_none=True)
        (loss / len(image1)).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        return float(loss.detach())

    return step


def seconds(step: Callable[[], float], device: torch.device) -> tuple[float, float]:
    """Time of one step: on the clock, and of the processor over all threads."""
    start, work = time.perf_counter(), time.process_time()
    step()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter() - start, time.process_time() - work


def summary(name: str, pairs: list[tuple[float, float]]) -> str:
    """Medians of both, and the median and range of the ratios of rounds."""
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [b / a for a, b in pairs]
    return (
        f"{name}: ours median {mine:.3f} s, textbook median {other:.3f} s, ratio median "
        f"{statistics.median(ratios):.2f} (min {min(ratios):.2f}, max {max(ratios):.2f})"
    )


def main() -> None:
    """Parse the arguments, do the steps in turn, print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="384x448", help="height and width of the samples")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = resolve_device(arguments.device)
    h, w = map(int, arguments.size.split("x"))
    frames = [image.to(device).expand(arguments.batch_size, -1, -1, -1) for image in moving_texture((h, w))]
    truth = torch.tensor([3.0, -2.0], device=device).view(1, 2, 1, 1).expand(arguments.batch_size, 2, h, w)
    batch = frames[0].contiguous(), frames[1].contiguous(), truth.contiguous()
    ours = make_step(batch, precision=torch.bfloat16, channels_last=True)
    textbook = make_step(batch, precision=torch.float32, channels_last=False)
    print(
        f"kinema {kinema.__version__}, torch {torch.__version__}, {describe_device(device)}, batch "
        f"{arguments.batch_size} at {h}x{w}"
    )
    clock, work = [], []
    for number in range(arguments.rounds + 1):
        mine = seconds(ours, device)
        with patch.object(pwcnet, "correlation", textbook_cost_volume):
            other = seconds(textbook, device)
        if number:  # the first round compiles and allocates
            clock.append((mine[0], other[0]))
            work.append((mine[1], other[1]))
            print(
                f"round {number}: ours {mine[0]:.3f} s, textbook {other[0]:.3f} s, "
                f"ratio {other[0] / mine[0]:.2f}"
            )
    print(summary("clock", clock))
    print(summary("processor", work))
    print(f"peak memory of both {memory_bytes(device) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
