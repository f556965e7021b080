"""Moving textures with known motion, for tests of predictors and commands."""

from __future__ import annotations

import cv2
import numpy as np


def texture(size_hw: tuple[int, int], *, seed: int = 0) -> np.ndarray:
    """A soft colour texture as (H, W, 3) uint8, the same for the same seed."""
    noise = np.random.default_rng(seed).random((*size_hw, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 2.0)
    low, high = soft.min(), soft.max()
    return np.rint(255 * (soft - low) / (high - low)).astype(np.uint8)


def moving_frames(
    count: int, size_hw: tuple[int, int], *, step_xy: tuple[int, int] = (2, -1), seed: int = 0
) -> list[np.ndarray]:
    """Frames cut from a large texture that moves by whole pixels: the flow is `step_xy` everywhere."""
    height, width = size_hw
    dx, dy = step_xy
    margin_x, margin_y = abs(dx) * count, abs(dy) * count
    canvas = texture((height + 2 * margin_y, width + 2 * margin_x), seed=seed)
    frames = []
    for index in range(count):
        top, left = margin_y - dy * index, margin_x - dx * index
        frames.append(np.ascontiguousarray(canvas[top : top + height, left : left + width]))
    return frames
