"""From linear light to the pictures of a file: tone, drifting exposure, noise, grey, compression."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinema.data.procedural.effects import apply_light, grey_of, noise_tile
from kinema.data.procedural.file_effects import through_jpeg, through_video
from kinema.data.procedural.world.lighting import Look


def developed(linear: Float[Tensor, "t 3 h w"], look: Look, times: list[float]) -> Float[Tensor, "t 3 h w"]:
    """Turn linear light into pictures.

    Args:
        linear: (T, 3, H, W), 1 is the brightest that a picture shows.
        look: what happens to them.
        times: of the frames in seconds.

    Returns:
        (T, 3, H, W) float32 in [0, 1], multiples of 1/255.
    """
    frames = linear.clamp(0, 1).sqrt_()  # pictures of files are read as squares, too
    frames = apply_light(frames, [look.develop(time) for time in times])
    if look.grey:
        frames = grey_of(frames)
    if look.noise[0] > 0:
        noise = torch.stack([_noise(look, number, frames[0]) for number in range(len(frames))])
        frames = frames + noise * (look.noise[0] ** 2 + look.noise[1] ** 2 * frames.clamp_min(0)).sqrt()
    frames = (frames * 255).round_().clamp_(0, 255)
    return _through_files(frames, look).div_(255)


def _noise(look: Look, number: int, like: Tensor) -> Tensor:
    """(3, H, W) normal numbers of one frame: rows and columns of a large tile, shuffled by the seed."""
    tile = noise_tile(str(like.device))
    side, (height, width) = len(tile) // 2, like.shape[-2:]
    rng = np.random.default_rng((look.noise_seed, number))
    places = rng.integers(0, side, (1 if look.grey else 3, 2)).tolist()
    channels = []
    for top, left in places:
        rows = (torch.arange(height, device=like.device) + top) % side
        columns = (torch.arange(width, device=like.device) + left) % side
        channels.append(tile[rows[:, None], columns])
    return torch.stack(channels * 3 if look.grey else channels)


def _through_files(frames: Tensor, look: Look) -> Tensor:
    if not look.video and not look.jpeg:
        return frames
    arrays = [frame.byte().permute(1, 2, 0).contiguous().cpu().numpy() for frame in frames]
    if look.video:
        arrays = through_video(arrays, quantiser=look.video)
    else:
        arrays = [through_jpeg(array, look.jpeg) for array in arrays]
    stacked = torch.from_numpy(np.stack(arrays)).to(frames.device)
    return stacked.permute(0, 3, 1, 2).float().contiguous()
