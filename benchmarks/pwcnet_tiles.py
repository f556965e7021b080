"""PWC-Net in tiles: memory of long clips and of a 4K pair, and whether the tiles leave seams.

python benchmarks/pwcnet_tiles.py --weights FILE         # all three, with a rendered pair for the seams
python benchmarks/pwcnet_tiles.py --weights FILE --part seams --images a.png b.png --tile 384

The seams are looked for in the difference between the flow in tiles and the flow of the whole frame. In
numbers: how much that difference jumps across the borders of tiles, over its jump nearby. In pictures:
OUT/difference.png shows its length, stretched so that the 99th percentile is white, difference_borders.png
the same with the borders of the tiles in red, whole.png and tiled.png the flows.
With random weights (``--weights random``) the flow means nothing, and its difference little.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import kinema
from kinema.data.procedural.pairs import render_pair
from kinema.data.procedural.render_config import RenderConfig
from kinema.inference.tiles import tile_overlap
from kinema.io.images import read_image, write_image
from kinema.io.video import Writer
from kinema.ops.tiling import Tile, tiles
from kinema.viz.flow import flow_to_rgb

GIB = 2**30
LARGE_HW = (2160, 3840)
NEAR = 16  # pixels on both sides of a line that it is compared with


def command_peak(*words: object) -> tuple[float, float]:
    """Peak resident memory in GiB and seconds of ``kinema WORDS`` in a process of its own."""
    running = subprocess.Popen([sys.executable, "-m", "kinema", *map(str, words)])
    _, status, usage = os.wait4(running.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"kinema {' '.join(map(str, words))} failed")
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * usage.ru_maxrss / GIB, usage.ru_utime + usage.ru_stime


def write_clip(path: Path, *, frames: int, size_hw: tuple[int, int]) -> None:
    """A moving texture."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32)
    with Writer(path, size_hw=size_hw, rate=Fraction(25)) as writer:
        for number in range(frames):
            waves = np.sin((x + 2 * number) / 5) + np.cos((y - number) / 7)
            writer.write(np.repeat((127.5 + 60 * waves).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))


def clip_memory(weights: str, console: Console) -> None:
    """Print the peaks of a short and a long clip."""
    with tempfile.TemporaryDirectory() as folder:
        for frames in (50, 500):
            clip = Path(folder) / f"{frames}.mp4"
            write_clip(clip, frames=frames, size_hw=(96, 128))
            out = Path(folder) / f"flow{frames}.mp4"
            peak, _ = command_peak("flow", clip, "-o", out, "--model", "pwcnet", "--weights", weights, "-q")
            console.print(f"{frames} frames of 96x128: peak {peak:.3f} GiB")


def large_memory(weights: str, tile: int, console: Console) -> None:
    """Print the peak of a 4K pair in tiles."""
    y, x = np.mgrid[: LARGE_HW[0], : LARGE_HW[1]].astype(np.float32)
    waves = np.sin(x / 11) + np.cos(y / 7) + np.sin((x + 2 * y) / 37)
    picture = np.repeat((127.5 + 40 * waves).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    with tempfile.TemporaryDirectory() as folder:
        pair = [Path(folder) / name for name in ("1.png", "2.png")]
        write_image(pair[0], picture)
        write_image(pair[1], np.roll(picture, (2, -3), axis=(0, 1)))
        words = ["--model", "pwcnet", "--weights", weights, "--tile", tile, "-q"]
        for precision in ("fp32", "bf16"):
            out = Path(folder) / f"{precision}.flo"
            peak, seconds = command_peak("flow", *pair, "-o", out, *words, "--precision", precision)
            console.print(
                f"{LARGE_HW[1]}x{LARGE_HW[0]}, --tile {tile}, {precision}: peak {peak:.2f} GiB, "
                f"{seconds:.0f} s of the processor"
            )


def frames_of(images: list[Path] | None) -> tuple[np.ndarray, np.ndarray]:
    """The pair of files, or a rendered one."""
    if images:
        return read_image(images[0]), read_image(images[1])
    pair = render_pair(RenderConfig(size_hw=(640, 1024)), 3, [0])
    first, second = (
        (255 * image[0].permute(1, 2, 0)).round().byte().numpy() for image in (pair.image1, pair.image2)
    )
    return first, second


def jumps(difference: np.ndarray, layout: list[Tile]) -> list[float]:
    """For each line where tiles begin or end: mean jump of a map (H, W, C) across it, over that nearby."""
    ratios = []
    for axis, spans in (
        (0, {(tile.top, tile.height) for tile in layout}),
        (1, {(tile.left, tile.width) for tile in layout}),
    ):
        profile = np.abs(np.diff(difference, axis=axis)).mean((1 - axis, 2))
        for edge in sorted({end for start, length in spans for end in (start, start + length)}):
            if 0 < edge < difference.shape[axis]:
                near = np.delete(profile[max(edge - 1 - NEAR, 0) : edge + NEAR], min(edge - 1, NEAR))
                ratios.append(float(profile[edge - 1] / max(near.mean(), 1e-9)))
    return ratios


def seams(weights: str, tile: int, images: list[Path] | None, out: Path, console: Console) -> None:
    """Print the jumps at the borders of tiles, and write the pictures."""
    first, second = frames_of(images)
    whole = kinema.load("pwcnet", weights=weights, precision="fp32", refine="none").flow(first, second)
    tiled = kinema.load("pwcnet", weights=weights, precision="fp32", refine="none", tile=tile).flow(
        first, second
    )
    layout = tiles((first.shape[0], first.shape[1]), tile, tile_overlap(tile))
    difference = tiled - whole
    length = np.linalg.norm(difference, axis=-1)
    found = jumps(difference, layout)
    console.print(
        f"{first.shape[1]}x{first.shape[0]} in {len(layout)} tiles of {tile}: "
        f"mean flow {np.linalg.norm(whole, axis=-1).mean():.2f} px; difference mean {length.mean():.3f} px, "
        f"99th percentile {np.percentile(length, 99):.3f} px; its jump across the {len(found)} "
        f"lines where tiles begin or end, over that nearby: median {np.median(found):.2f}, "
        f"largest {max(found):.2f} (1 is no seam)"
    )
    out.mkdir(parents=True, exist_ok=True)
    stretched = (255 * (length / max(np.percentile(length, 99), 1e-9)).clip(0, 1)).astype(np.uint8)
    picture = np.repeat(stretched[..., None], 3, axis=2)
    write_image(out / "difference.png", picture)
    for one in layout:
        bottom, right = one.top + one.height - 1, one.left + one.width - 1
        picture[[one.top, bottom], one.left : right + 1] = (255, 0, 0)
        picture[one.top : bottom + 1, [one.left, right]] = (255, 0, 0)
    write_image(out / "difference_borders.png", picture)
    largest = float(np.percentile(np.linalg.norm(whole, axis=-1), 99))
    write_image(out / "frame.png", first)
    write_image(out / "whole.png", flow_to_rgb(whole, max_flow=largest))
    write_image(out / "tiled.png", flow_to_rgb(tiled, max_flow=largest))
    console.print(f"pictures: {out}")


def main() -> None:
    """Parse the arguments and do the parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", default="random", help="file of weights; random for memory alone")
    parser.add_argument("--part", choices=("all", "clip", "large", "seams"), default="all")
    parser.add_argument("--tile", type=int, default=384, help="side of the tiles of the seams, in pixels")
    parser.add_argument("--large-tile", type=int, default=1024, help="side of the tiles of the 4K pair")
    parser.add_argument("--images", type=Path, nargs=2, help="a pair of your own for the seams")
    parser.add_argument("--out", type=Path, default=Path("tiles"), help="folder of the pictures")
    arguments = parser.parse_args()
    console = Console(width=120, highlight=False, soft_wrap=True)
    console.print(f"kinema {kinema.__version__}, torch {torch.__version__}, weights {arguments.weights}")
    if arguments.part in ("all", "clip"):
        clip_memory(arguments.weights, console)
    if arguments.part in ("all", "large"):
        large_memory(arguments.weights, arguments.large_tile, console)
    if arguments.part in ("all", "seams"):
        seams(arguments.weights, arguments.tile, arguments.images, arguments.out, console)


if __name__ == "__main__":
    main()
