"""Pairs of smooth pictures with exact affine motion: what a true flow explains to within interpolation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from helpers import flow_trees
from kinema.data.transforms import FlowPairs, leaves_frame
from kinema.ops.warp import backward_warp


def scene(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """(..., 3) in [0.1, 0.9]: waves of about 30 pixels and more, of any place."""
    rng = np.random.default_rng((99, seed))
    total = np.zeros((*x.shape, 3))
    for _ in range(4):
        angle, length, phase = rng.uniform(0, np.pi), rng.uniform(30, 80), rng.uniform(0, 2 * np.pi, 3)
        wave = 2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / length
        total += np.sin(wave[..., None] + phase)
    return 0.5 + 0.1 * total


def motion(x: np.ndarray, y: np.ndarray, seed: int, reach: float = 5.0) -> np.ndarray:
    """(..., 2): affine."""
    rng = np.random.default_rng((98, seed))
    slope, shift = rng.uniform(-0.03, 0.03, (2, 2)), rng.uniform(-reach, reach, 2)
    return np.stack((x, y), -1) @ slope.T + shift


def arrays(seed: int, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame 1, frame 2 (H, W, 3) and the flow (H, W, 2)."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float64)
    flow = motion(x, y, seed)
    first, second = scene(x + flow[..., 0], y + flow[..., 1], seed), scene(x, y, seed)
    return first, second, flow.astype(np.float32)


def smooth_pairs(count: int = 3, size_hw: tuple[int, int] = (96, 120), first: int = 0) -> FlowPairs:
    found = [arrays(first + number, size_hw) for number in range(count)]
    image1, image2, flow = (
        torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float().contiguous()
        for parts in zip(*found, strict=True)
    )
    valid = torch.ones(count, 1, *size_hw, dtype=torch.bool)
    return FlowPairs(image1=image1, image2=image2, flow=flow, valid=valid, hidden=leaves_frame(flow))


def worst(given: FlowPairs) -> float:
    """Largest error of frame 2 fetched along the flow against frame 1, where the point can be seen."""
    error = (backward_warp(given.image2, given.flow) - given.image1).abs().amax(1, keepdim=True)
    seen = given.valid & ~given.hidden
    assert seen.float().mean() > 0.3
    return float(error[seen].max())


def rngs(*seeds: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in seeds]


def chairs(root: Path, count: int, size_hw: tuple[int, int] = (96, 120)) -> Path:
    """A FlyingChairs tree of such pairs."""
    for number in range(1, count + 1):
        first, second, flow = arrays(number, size_hw)
        flow_trees.write_flo(root / "data" / f"{number:05d}_flow.flo", flow)
        for name, image in (("img1", first), ("img2", second)):
            picture = np.rint(image * 255).astype(np.uint8)[..., ::-1]
            flow_trees.write_picture(root / "data" / f"{number:05d}_{name}.ppm", picture)
    return root
