"""Deformable convolution beside two forms of it by grid_sample, alternating in one run; peak memory of each.

python benchmarks/deform.py                        # 5 frames of 64 channels at 90x160, 8 deformable groups
python benchmarks/deform.py --size 180x320 --frames 7 --threads 1
python benchmarks/deform.py --device cuda --rounds 50

The textbook's form calls grid_sample once per tap, nine times for all deformable groups together, keeps the
columns and multiplies them with the kernel; ``gridsample`` is the form for export, one call for all taps. In
bfloat16 both sample in float32, as autocast has it. Ours gets its maps with channels last, as networks on a
CPU have them, the others in the layout that suits them better. The processor's time is told beside that of
the clock, because it depends less on what else the machine does. Memory is what one step adds to its inputs,
each method in a process of its own (on Linux; on a GPU what the device says).
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import kinema
from kinema.inference.device import describe_device, resolve_device
from kinema.ops.deform import deform_conv2d, deform_conv_gridsample
from kinema.ops.grid import ALIGN_CORNERS, pixel_grid, to_sampling_grid

CHANNELS, GROUPS, TAPS = 64, 8, 9
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def textbook(x: Tensor, offset: Tensor, weight: Tensor, strength: Tensor) -> Tensor:
    """One grid_sample per tap over all groups, columns side by side, one product; 3x3, padding 1."""
    b, _, h, w = x.shape
    maps = x.float().reshape(b * GROUPS, -1, h, w)
    points = offset.float().view(b * GROUPS, TAPS, 2, h, w).flip(2)
    strengths = strength.float().view(b * GROUPS, TAPS, 1, h, w)
    grid = pixel_grid((h, w), device=x.device)
    columns = []
    for k in range(TAPS):
        tap = grid.new_tensor([k % 3 - 1, k // 3 - 1]).view(2, 1, 1)
        places = to_sampling_grid(grid + tap + points[:, k], (h, w))
        sample = F.grid_sample(maps, places, padding_mode="zeros", align_corners=ALIGN_CORNERS)
        columns.append((sample * strengths[:, k]).to(x.dtype))
    stacked = torch.stack(columns, 2).view(b, CHANNELS * TAPS, h * w)
    return (weight.flatten(1) @ stacked).view(b, -1, h, w)


def ours(x: Tensor, offset: Tensor, weight: Tensor, strength: Tensor) -> Tensor:
    """The operator."""
    return deform_conv2d(x, offset, weight, modulation=strength, padding=1, deformable_groups=GROUPS)


def gridsample(x: Tensor, offset: Tensor, weight: Tensor, strength: Tensor) -> Tensor:
    """The form for export."""
    return deform_conv_gridsample(x, offset, weight, modulation=strength, padding=1, deformable_groups=GROUPS)


METHODS = {"ours": ours, "textbook": textbook, "gridsample": gridsample}


def make_step(
    name: str, *, size_hw: tuple[int, int], frames: int, dtype: torch.dtype, device: torch.device, train: bool
) -> Callable[[], None]:
    """A function that does one step of a method on inputs that are the same for all."""
    g = torch.Generator().manual_seed(0)
    shapes = ((frames, CHANNELS), (frames, 2 * GROUPS * TAPS), (frames, GROUPS * TAPS))
    layout = torch.channels_last if name == "ours" else torch.contiguous_format
    x, offset, strength = (
        torch.randn(*shape, *size_hw, generator=g).to(device, dtype).contiguous(memory_format=layout)
        for shape in shapes
    )
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, generator=g).to(device, dtype) / 24
    inputs = [x, offset.mul_(2), weight, strength.sigmoid_()]
    slope = torch.randn(frames, CHANNELS, *size_hw, generator=g).to(x)

    def step() -> None:
        for tensor in inputs:
            tensor.requires_grad_(train)
        with torch.set_grad_enabled(train):
            result = METHODS[name](*inputs)
            if train:
                torch.autograd.grad(result, inputs, slope)
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    return step


def seconds(step: Callable[[], None]) -> tuple[float, float]:
    """Time of one step: on the clock, and of the processor over all threads."""
    start, work = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - start, time.process_time() - work


def compare(settings: argparse.Namespace, precision: str, *, train: bool) -> None:
    """Print the times of all methods, in turn, and the medians of the ratios of rounds."""
    common = {"size_hw": settings.size_hw, "frames": settings.frames, "device": settings.device}
    steps = {name: make_step(name, dtype=PRECISIONS[precision], train=train, **common) for name in METHODS}
    rounds = [{name: seconds(step) for name, step in steps.items()} for _ in range(settings.rounds + 1)][1:]
    print(f"{precision}, {'forward and backward' if train else 'forward'}, {len(rounds)} rounds in turn")
    for name in METHODS:
        clock, work = (statistics.median(r[name][i] for r in rounds) for i in (0, 1))
        ratios = [[r[name][i] / r["ours"][i] for r in rounds] for i in (0, 1)]
        told = ", ".join(
            f"{what} {statistics.median(r):.1f} ({min(r):.1f} .. {max(r):.1f})"
            for what, r in zip(("clock", "processor"), ratios, strict=True)
        )
        print(f"  {name:<11}{1e3 * clock:9.1f} ms, processor {1e3 * work:9.1f} ms; times ours by {told}")


def added_bytes(step: Callable[[], None], device: torch.device) -> int:
    """What a step holds at most beyond what is there before."""
    step()  # compiles
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL(None).malloc_trim(0)  # what that step freed would serve the next one unseen
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = status_bytes("VmRSS")
    step()
    return status_bytes("VmHWM") - before


def status_bytes(field: str) -> int:
    """A number of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def memory(settings: argparse.Namespace) -> None:
    """Print what each method adds to its inputs, each in a process of its own."""
    for precision in PRECISIONS:
        for train in (False, True):
            told = []
            for name in METHODS:
                words = [sys.executable, __file__, "--size", settings.size, "--frames", str(settings.frames)]
                words += ["--threads", str(settings.threads), "--device", str(settings.device)]
                words += ["--peak-of", name, "--precision", precision, *(["--train"] if train else [])]
                done = subprocess.run(words, capture_output=True, text=True, check=True)
                told.append(f"{name} {int(done.stdout) / 2**20:.0f} MiB")
            kind = "forward and backward" if train else "forward"
            print(f"{precision}, {kind}, memory beyond the inputs: {', '.join(told)}")


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", default="90x160", help="height and width of the maps")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--part", choices=("all", "speed", "memory"), default="all")
    parser.add_argument("--peak-of", choices=tuple(METHODS), help=argparse.SUPPRESS)  # one child's task
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="float32", help=argparse.SUPPRESS)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    settings = parser.parse_args()
    h, w = map(int, settings.size.split("x"))
    settings.size_hw, settings.device = (h, w), resolve_device(settings.device)
    return settings


def main() -> None:
    """Compare speed, then memory; or, as a child, tell the memory of one method."""
    settings = parse()
    torch.set_num_threads(settings.threads)
    if settings.peak_of:
        step = make_step(
            settings.peak_of,
            size_hw=settings.size_hw,
            frames=settings.frames,
            dtype=PRECISIONS[settings.precision],
            device=settings.device,
            train=settings.train,
        )
        print(added_bytes(step, settings.device))
        return
    print(
        f"kinema {kinema.__version__}, torch {torch.__version__}, {describe_device(settings.device)}, "
        f"{settings.threads} threads, {settings.frames} frames of {CHANNELS} channels at {settings.size}"
    )
    if settings.part != "memory":
        for precision in PRECISIONS:
            for train in (False, True):
                compare(settings, precision, train=train)
    if settings.part != "speed":
        memory(settings)


if __name__ == "__main__":
    main()
