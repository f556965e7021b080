"""FlowNet2's colours: powers, factors and offsets along the principal axes of natural colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# Ohta's axes: luminance, red against blue, green against magenta. The original uses fixed axes close to them.
_AXES = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
_FLAT = 1e-2  # a component that never exceeds this is left alone
_TINY = 1e-6

Draw = Mapping[str, Tensor]
"""Numbers of a batch by name: (B, 1) or (B, 3)."""


@dataclass(frozen=True, kw_only=True)
class EigenColours:
    """How strongly colours change; ranges are of the logarithm where a factor or a power is meant.

    Attributes:
        luminance_power: mean and half width of the logarithm of the power of the brightness.
        luminance_factor: the same of its factor.
        luminance_offset: half width of what is added to it.
        saturation_power: mean and half width of the logarithm of the power of the saturation.
        saturation_factor: the same of its factor.
        saturation_offset: half width of what is added to it.
        axis_power: standard deviation of the logarithm of the power of each axis, around its mean.
        axis_factor: the same of its factor.
        axis_offset: standard deviation of what is added to it.
        contrast_power: standard deviation of the logarithm of the power of the luminance axis.
        contrast_factor: the same of its factor.
        contrast_offset: standard deviation of what is added to it.
        turn: half width of the turn of the colours around grey, radians.
    """

    luminance_power: tuple[float, float] = (-0.2, 0.4)
    luminance_factor: tuple[float, float] = (0.0, 0.4)
    luminance_offset: float = 0.03
    saturation_power: tuple[float, float] = (0.0, 0.4)
    saturation_factor: tuple[float, float] = (-0.3, 0.5)
    saturation_offset: float = 0.03
    axis_power: float = 0.4
    axis_factor: float = 0.2
    axis_offset: float = 0.02
    contrast_power: float = 0.4
    contrast_factor: float = 0.4
    contrast_offset: float = 0.04
    turn: float = 1.0


def drawn_eigen(
    settings: EigenColours, rngs: Sequence[np.random.Generator], *, strength: float
) -> dict[str, Tensor]:
    """Draw a change of colours for each pair.

    Args:
        settings: how strongly.
        rngs: one per pair; each draws the same count of numbers.
        strength: factor of all spreads, 0 to 1.

    Returns:
        Powers, factors and offsets by name, (B, 1) or (B, 3) float32.
    """
    one = [_drawn(settings, rng, strength) for rng in rngs]
    return {
        name: torch.tensor(np.stack([draw[name] for draw in one]), dtype=torch.float32) for name in one[0]
    }


def _drawn(s: EigenColours, rng: np.random.Generator, strength: float) -> dict[str, np.ndarray]:
    even, normal = rng.uniform(-1, 1, 7) * strength, rng.normal(0, 1, 12) * strength
    return {
        "luminance_power": np.exp(s.luminance_power[0] + even[:1] * s.luminance_power[1]),
        "luminance_factor": np.exp(s.luminance_factor[0] + even[1:2] * s.luminance_factor[1]),
        "luminance_offset": even[2:3] * s.luminance_offset,
        "saturation_power": np.exp(s.saturation_power[0] + even[3:4] * s.saturation_power[1]),
        "saturation_factor": np.exp(s.saturation_factor[0] + even[4:5] * s.saturation_factor[1]),
        "saturation_offset": even[5:6] * s.saturation_offset,
        "turn": even[6:] * s.turn,
        "axis_power": np.exp(normal[:3] * s.axis_power),
        "axis_factor": np.exp(normal[3:6] * s.axis_factor),
        "axis_offset": normal[6:9] * s.axis_offset,
        "contrast_power": np.exp(normal[9:10] * s.contrast_power),
        "contrast_factor": np.exp(normal[10:11] * s.contrast_factor),
        "contrast_offset": normal[11:] * s.contrast_offset,
    }


def eigen_changed(frames: Float[Tensor, "b t 3 h w"], draw: Draw) -> Float[Tensor, "b t 3 h w"]:
    """Change the colours of all frames of a sample alike.

    Along each axis, relative to its largest value and around its mean: power, offset, factor. Then the same
    of the luminance axis from zero (contrast), of the saturation, the turn, and last of the length of the
    colour (luminance). Every power keeps the sign.

    Args:
        frames: (B, T, 3, H, W) RGB in [0, 1].
        draw: of `drawn_eigen`.

    Returns:
        (B, T, 3, H, W) in [0, 1].
    """
    axes = frames.new_tensor(_AXES)
    by_name = {name: value.to(frames).view(*value.shape, 1) for name, value in draw.items()}
    pixels = frames.transpose(1, 2).flatten(2)  # (B, 3, all pixels of all frames)
    eigen = torch.einsum("ij,bjn->bin", axes, pixels)
    largest = eigen.abs().amax(2, keepdim=True)
    scale = torch.where(largest > _FLAT, largest, 1)
    longest = pixels.norm(dim=1, keepdim=True).amax(2, keepdim=True).clamp_min(_TINY)
    eigen = eigen / scale
    mean = eigen.mean(2, keepdim=True)
    eigen = torch.where(largest > _FLAT, mean + _bent(eigen - mean, by_name, "axis"), eigen)
    light, first, second = eigen.chunk(3, 1)
    light = _bent(light, by_name, "contrast")
    first, second = _saturated(first, second, by_name)
    eigen = torch.cat((light, first, second), 1) * scale
    length = eigen.norm(dim=1, keepdim=True)
    wanted = _bent(length / longest, by_name, "luminance").clamp_min(0) * longest
    changed = torch.einsum("ij,bin->bjn", axes, eigen * (wanted / length.clamp_min(_TINY)))
    apart: Tensor = changed.clamp_(0, 1).view(-1, 3, frames.shape[1], *frames.shape[-2:])
    return apart.transpose(1, 2).contiguous()


def _saturated(first: Tensor, second: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    saturation = torch.hypot(first, second)
    ratio = _bent(saturation, draw, "saturation").clamp_min(0) / saturation.clamp_min(_TINY)
    ratio = torch.where(saturation > _TINY, ratio, 1)  # grey has no colour to strengthen
    cos, sin = draw["turn"].cos() * ratio, draw["turn"].sin() * ratio
    return cos * first - sin * second, sin * first + cos * second


def _bent(values: Tensor, draw: Draw, name: str) -> Tensor:
    """Power, then offset, then factor."""
    powered: Tensor = values.abs().pow(draw[f"{name}_power"]) * values.sign()
    return (powered + draw[f"{name}_offset"]) * draw[f"{name}_factor"]
