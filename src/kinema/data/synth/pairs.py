"""FlyingChairs and Middlebury: pairs of planar scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema.data.procedural.pairs import RenderedBatch, render_pair
from kinema.data.procedural.render_config import RenderConfig
from kinema.data.synth.plan import SynthPlan
from kinema.io.flow import write_flow
from kinema.io.images import write_image

SCENES = ("Dimetrodon", "Grove2", "Grove3", "Hydrangea", "RubberWhale", "Urban2", "Urban3", "Venus")
"""Middlebury's names; further scenes are called ``SceneNN``."""


def chairs_config(plan: SynthPlan) -> RenderConfig:
    """What FlyingChairs pairs are made of: clean pictures, motion of any speed.

    Args:
        plan: size and textures.

    Returns:
        The config.
    """
    return RenderConfig(
        size_hw=plan.size_hw,
        textures=plan.textures,
        blur_share=0.0,
        noise_share=0.0,
        grey_share=0.0,
        jpeg_share=0.0,
        video_share=0.0,
    )


def middlebury_config(plan: SynthPlan) -> RenderConfig:
    """What Middlebury pairs are made of: small motion, little noise.

    Args:
        plan: size and textures.

    Returns:
        The config.
    """
    scale = plan.size_hw[1] / 640
    return RenderConfig(
        size_hw=plan.size_hw,
        textures=plan.textures,
        displacement_edges=(scale, 4 * scale, 10 * scale),
        displacement_shares=(0.3, 0.4, 0.2, 0.1),
        max_displacement=0.04,
        shake_share=0.0,
        blur_share=0.0,
        light_share=0.1,
        noise_sigma=(0.002, 0.008),
        grey_share=0.0,
        jpeg_share=0.0,
        video_share=0.0,
    )


def write_chairs_pair(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one FlyingChairs pair.

    Args:
        plan: what is written.
        index: of the pair; its number is one more.
        folder: that the layout begins in.
    """
    pair = render_pair(chairs_config(plan), plan.render_seed, [index])
    stem = f"{index + 1:05d}"
    write_image(folder / "data" / f"{stem}_img1.ppm", picture(pair.image1))
    write_image(folder / "data" / f"{stem}_img2.ppm", picture(pair.image2))
    _write_truth(folder / "data" / f"{stem}_flow.flo", pair)


def write_middlebury_pair(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one Middlebury scene.

    Args:
        plan: what is written.
        index: of the scene.
        folder: that the layout begins in.
    """
    pair = render_pair(middlebury_config(plan), plan.render_seed, [index])
    scene = SCENES[index] if index < len(SCENES) else f"Scene{index + 1:02d}"
    for number, image in ((10, pair.image1), (11, pair.image2)):
        write_image(folder / "other-data" / scene / f"frame{number}.png", picture(image))
    _write_truth(folder / "other-gt-flow" / scene / "flow10.flo", pair)


def picture(image: Tensor) -> np.ndarray:
    """Turn a rendered picture into the numbers of a file.

    Args:
        image: (1, 3, H, W) in [0, 1], multiples of 1/255.

    Returns:
        (H, W, 3) uint8.
    """
    array: np.ndarray = (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return array


def _write_truth(path: Path, pair: RenderedBatch) -> None:
    flow = pair.flow[0].permute(1, 2, 0).contiguous().numpy()
    write_flow(path, flow, valid=pair.valid[0, 0].numpy())
