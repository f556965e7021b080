"""What a camera does to rendered frames: light, noise, grey; numbers in, numbers out, no files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinema.data.procedural.effect_plan import Effects, Light
from kinema.data.procedural.scene_batch import SceneBatch

_NOISE_SIDE = 1024
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


def develop(scene: SceneBatch, frame: Float[Tensor, "b 3 h w"], *, second: bool) -> Float[Tensor, "b 3 h w"]:
    """Turn what falls onto the sensor into the picture it gives.

    Args:
        scene: whose plans say what happens.
        frame: (B, 3, H, W) RGB.
        second: frame 2, not frame 1.

    Returns:
        (B, 3, H, W) float32 in [0, 1], multiples of 1/255.
    """
    frame = apply_light(frame.clamp(0, 1), [plan.effects.light[int(second)] for plan in scene.plans])
    grey = [plan.effects.grey for plan in scene.plans]
    if any(grey):
        chosen = torch.tensor(grey, device=frame.device).view(-1, 1, 1, 1)
        frame = torch.where(chosen, grey_of(frame), frame)
    frame = _noisy(scene, frame, second=second)
    return (frame * 255).round_().clamp_(0, 255).div_(255)


def apply_light(frames: Float[Tensor, "b 3 h w"], lights: Sequence[Light]) -> Float[Tensor, "b 3 h w"]:
    """Change exposure, gamma and the distribution of light.

    Args:
        frames: (B, 3, H, W) RGB in [0, 1].
        lights: one per frame.

    Returns:
        (B, 3, H, W), not limited to [0, 1].
    """

    def tensor(values: object) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(frames.device)

    if any(light.gamma != 1.0 for light in lights):
        gammas = tensor([light.gamma for light in lights]).view(-1, 1, 1, 1)
        frames = frames.clamp_min(1e-4) ** gammas
    if any(light.gain != (1.0, 1.0, 1.0) or light.offset for light in lights):
        gains = tensor([light.gain for light in lights])[:, :, None, None]
        frames = frames * gains + tensor([light.offset for light in lights]).view(-1, 1, 1, 1)
    if any(light.slope != (0.0, 0.0) for light in lights):
        height, width = frames.shape[-2:]
        slopes = tensor([light.slope for light in lights])[:, :, None, None]
        x = torch.linspace(-1, 1, width, device=frames.device)
        y = torch.linspace(-1, 1, height, device=frames.device)[:, None]
        frames = frames * (1 + slopes[:, :1] * x + slopes[:, 1:] * y)
    return frames


def grey_of(frames: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Take the colours away.

    Args:
        frames: (B, 3, H, W) RGB.

    Returns:
        (B, 3, H, W), three equal channels.
    """
    # Through the sum of three, not a matrix product: its rounding could change with the batch.
    red, green, blue = (weight * frames[:, channel] for channel, weight in enumerate(_GREY))
    return (red + green + blue)[:, None].expand(frames.shape)


def _noisy(scene: SceneBatch, frame: Tensor, *, second: bool) -> Tensor:
    sigmas = scene.tensor([plan.effects.noise for plan in scene.plans])[:, :, None, None, None].unbind(1)
    if not any(plan.effects.noise[0] for plan in scene.plans):
        return frame
    noise = torch.stack([_noise(scene, plan.effects, second=second) for plan in scene.plans])
    dark, bright = sigmas[0], sigmas[1]
    return frame + noise * (dark**2 + bright**2 * frame.clamp_min(0)).sqrt()


def _noise(scene: SceneBatch, effects: Effects, *, second: bool) -> Tensor:
    """(3, H, W) normal numbers, cut from a large tile at places that the seed names."""
    tile = noise_tile(str(scene.device))
    height, width = scene.size_hw
    rng = np.random.default_rng((effects.noise_seed, int(second)))
    places = rng.integers(0, _NOISE_SIDE, (1 if effects.grey else 3, 2)).tolist()
    channels = [tile[top : top + height, left : left + width] for top, left in places]
    return torch.stack(channels * 3 if effects.grey else channels)


@lru_cache(maxsize=4)
def noise_tile(device: str) -> Tensor:
    """Normal numbers, continued periodically so that a frame of up to half its size can be cut out anywhere.

    Args:
        device: where they are.

    Returns:
        (2048, 2048) float32; four times the same quarter.
    """
    tile = np.random.default_rng(20_170_401).standard_normal((_NOISE_SIDE, _NOISE_SIDE), np.float32)
    return torch.from_numpy(np.tile(tile, (2, 2))).to(device)
