"""A tree in Sintel's layout whose scenes are pictures of noise in known motion: something to learn from."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from helpers import flow_trees, smooth_pairs

_MARGIN = 24  # pixels of the picture beyond frame 2


def moving_sintel(root: Path, scenes: dict[str, int], size_hw: tuple[int, int] = (80, 144)) -> Path:
    """Scenes with so many pairs each; every pair is a scene of two frames to itself, named SCENE_NNN."""
    number = 0
    for scene, pairs in scenes.items():
        for pair in range(pairs):
            number += 1
            name = scene if pairs == 1 else f"{scene}_{pair:03d}"
            first, second, flow = textured(number, size_hw)
            flow_trees.write_flo(root / "training" / "flow" / name / "frame_0001.flo", flow)
            for time, image in ((1, first), (2, second)):
                picture = np.rint(image * 255).astype(np.uint8)[..., ::-1]
                flow_trees.write_picture(
                    root / "training" / "clean" / name / f"frame_{time:04d}.png", picture
                )
    return root


def textured(seed: int, size_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Affine motion of up to a dozen pixels of a picture of blurred noise, fine and coarse."""
    rng, (height, width) = np.random.default_rng((97, seed)), size_hw
    y, x = np.mgrid[:height, :width].astype(np.float64)
    flow = smooth_pairs.motion(x - width / 2, y - height / 2, seed, reach=10.0).astype(np.float32)
    noise = rng.standard_normal((height + 2 * _MARGIN, width + 2 * _MARGIN, 3)).astype(np.float32)
    octaves = [cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4.0, 10.0)]
    canvas = np.clip(0.5 + 0.2 * np.sum(octaves, axis=0), 0, 1)
    places = (np.stack((x, y), -1) + flow + _MARGIN).astype(np.float32)
    first = cv2.remap(canvas, places, None, cv2.INTER_LINEAR)
    return first, canvas[_MARGIN : _MARGIN + height, _MARGIN : _MARGIN + width], flow
