"""How good the truth of rendered worlds is, and what a frame costs.

python benchmarks/rendered_worlds.py               # four places, four clips each, at 192x640

CPU time is counted, not time on the clock, so that other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from kinema.data.procedural.world.clip import RenderedClip, render_clip
from kinema.data.procedural.world.config import PLACES, WorldConfig
from kinema.data.procedural.world.picture import draw, sensor_of
from kinema.data.procedural.world.renderer import Renderer
from kinema.ops.grid import pixel_grid
from kinema.ops.warp import backward_warp, sample

COLUMNS = ("flow px", "floor", "fetched", "aside", "no motion", "rigid px", "plan s", "frame s")


def inner(clip: RenderedClip, frame: int) -> Tensor:
    """Pixels three away from a jump of depth or an outline of a moving thing, (1, 1, H, W)."""
    depth, thing = clip.depth[:1, frame], clip.instance[:1, frame].float()
    far = torch.where(depth == 0, 1e4, depth).log()
    calm = torch.ones_like(depth, dtype=torch.bool)
    for values, jump in ((far, 0.15), (thing, 0.5)):
        wide = F.pad(values, (3,) * 4, mode="replicate")
        calm &= F.max_pool2d(wide, 7, 1) + F.max_pool2d(-wide, 7, 1) < jump
    return calm


def errors(clip: RenderedClip) -> dict[str, Tensor]:
    """Frame 1 against frame 2 fetched along the flow, along it and a quarter aside, and as it is."""
    flow = clip.flow_forward[:1, 0]
    there = sample(
        inner(clip, 1).float(), pixel_grid(flow.shape[-2:])[None] + flow, border="replicate", mode="nearest"
    )
    good = clip.visible_forward[:1, 0] & inner(clip, 0) & (there > 0.5)
    result = {}
    for name, way in (("fetched", flow), ("a quarter aside", flow + 0.25), ("without motion", 0 * flow)):
        warped = backward_warp(clip.images[:1, 1], way, border="replicate", mode="bicubic")
        result[name] = (warped - clip.images[:1, 0]).abs().mean(1, keepdim=True)[good]
    return result


def floor(config: WorldConfig, index: int, clip: RenderedClip) -> Tensor:
    """Interpolation alone: frame 1 against itself, rendered a part of a pixel aside and fetched back."""
    renderer = Renderer(config, 0, index, frames=1, device=torch.device("cpu"))
    moment, _ = renderer.moment(0.0)
    shift = np.random.default_rng(index).uniform(0, 1, 2)
    K = renderer.world.K.copy()
    K[:2, 2] += shift
    aside = sensor_of(config.size_hw, K, torch.device("cpu"))
    first, second = (
        (draw(moment, sensor, antialias=config.antialias)[0].clamp(0, 1).sqrt() * 255).round()[None] / 255
        for sensor in (renderer.sensor, aside)
    )
    flow = torch.from_numpy(shift).float().view(1, 2, 1, 1).expand(1, 2, *config.size_hw)
    warped = backward_warp(second, flow, border="replicate", mode="bicubic")
    good = inner(clip, 0)
    good[..., -3:], good[..., -3:, :] = False, False
    return (warped - first).abs().mean(1, keepdim=True)[good]


def reprojection(clip: RenderedClip) -> float:
    """Largest distance in pixels between the rigid flow and what depth, poses and K give in float64."""
    K, height, width = clip.K[0].numpy(), *clip.depth.shape[-2:]
    y, x = np.mgrid[:height, :width].reshape(2, -1).astype(np.float64)
    depth = clip.depth[0, 0, 0].double().numpy().ravel()
    points = np.linalg.inv(K) @ np.stack([x, y, np.ones_like(x)]) * depth
    T = (clip.T_camera_from_world[0, 1] @ clip.T_world_from_camera[0, 0]).numpy()
    moved = T[:3, :3] @ points + T[:3, 3:]
    good = clip.rigid_valid_forward[0, 0, 0].numpy().ravel() & (depth > 0)
    ends = (K @ moved)[:2, good] / moved[2, good]
    expected = ends - np.stack([x, y])[:, good]
    return float(np.abs(clip.rigid_forward[0, 0].numpy().reshape(2, -1)[:, good] - expected).max())


def cost(config: WorldConfig, index: int, frames: int) -> tuple[float, float]:
    """CPU seconds for planning a clip, and for a frame with all of its truth."""
    start = time.process_time()
    renderer = Renderer(config, 0, index, frames=frames, device=torch.device("cpu"))
    planned = time.process_time()
    renderer.tensors()
    return planned - start, (time.process_time() - planned) / frames


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--frames", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    table = Table("place", *COLUMNS)
    for number, place in enumerate(PLACES):
        shares = tuple(float(number == other) for other in range(4))
        config = WorldConfig(place_shares=shares, photometric=False)
        found: dict[str, list[Tensor]] = {}
        worst, times, lengths = 0.0, [], []
        for index in range(options.clips):
            clip = render_clip(config, 0, [index], frames=2)
            worst = max(worst, reprojection(clip))
            lengths.append(clip.flow_forward.norm(dim=2).mean())
            for name, values in ({"floor": floor(config, index, clip)} | errors(clip)).items():
                found.setdefault(name, []).append(values)
            times.append(cost(config, index, options.frames))
        means = [f"{torch.cat(values).mean():.4f}" for values in found.values()]
        plan, frame = np.median(np.array(times), axis=0)
        row = [f"{torch.stack(lengths).mean():.1f}", *means, f"{worst:.1e}", f"{plan:.2f}", f"{frame:.2f}"]
        table.add_row(place, *row)
    Console().print(table)


if __name__ == "__main__":
    main()
