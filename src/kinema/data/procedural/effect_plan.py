"""What happens to the pictures of one rendered scene: drawn numbers only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kinema.data.procedural.render_config import RenderConfig


@dataclass(frozen=True)
class Fog:
    """Grey air: what is at depth d keeps exp(-density (0.25 + d)) of its colour.

    Attributes:
        density: per depth of the scene.
        colour: RGB.
    """

    density: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """The light of a frame: ``gain * colour ** gamma * (1 + slope x) + offset``.

    Attributes:
        gain: per channel.
        gamma: exponent.
        offset: added.
        slope: along x and y, from -1 at one side to 1 at the other.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    offset: float = 0.0
    slope: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Effects:
    """The effects of one scene.

    Attributes:
        light: of both frames.
        exposure: shutter time in frame intervals; 0 is no blur.
        noise: standard deviation in the dark, and how its variance grows with brightness.
        noise_seed: picks the noise.
        grey: without colour.
        jpeg: quality, or 0: no file.
        video: quantiser, or 0: no video.
        fog: or None.
        shadow_xy: direction away from the light, or None: no shadows.
    """

    light: tuple[Light, Light] = (Light(), Light())
    exposure: float = 0.0
    noise: tuple[float, float] = (0.0, 0.0)
    noise_seed: int = 0
    grey: bool = False
    jpeg: int = 0
    video: int = 0
    fog: Fog | None = None
    shadow_xy: tuple[float, float] | None = None


def plan_effects(config: RenderConfig, rng: np.random.Generator) -> Effects:
    """Draw the effects of a scene.

    Args:
        config: shares and ranges; the family adds its own.
        rng: where the randomness comes from; the same amount of it is used whatever the config.

    Returns:
        The effects; none where the config switches them off, except fog, which belongs to the scene.
    """
    rolls, own = rng.random(8), np.random.default_rng(rng.integers(2**63))
    fog = _fog(own) if config.family == "fog" else None
    if not config.photometric:
        return Effects(fog=fog)
    compressed, dark = config.family == "compressed", config.family == "low_light"
    light = _lights(own) if rolls[0] < config.light_share else (Light(), Light())
    if dark:
        light = _dark_lights(own)
    exposure = own.uniform(*config.blur_exposure)
    sigma = _between(own, *config.noise_sigma)
    turn = own.uniform(0, math.tau)
    quality = int(own.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))
    noise = (sigma, sigma * own.uniform(0, 1.0))
    if dark:
        noise = (own.uniform(0.02, 0.05), own.uniform(0.02, 0.08))
    return Effects(
        light=light,
        exposure=exposure if rolls[1] < config.blur_share else 0.0,
        noise=noise if rolls[2] < config.noise_share or dark else (0.0, 0.0),
        noise_seed=int(own.integers(2**31)),
        grey=bool(rolls[3] < config.grey_share or compressed),
        jpeg=min(quality, 32) if compressed else quality if rolls[4] < config.jpeg_share else 0,
        video=int(own.integers(3, 16)) if rolls[5] < config.video_share else 0,
        fog=fog,
        shadow_xy=(math.cos(turn), math.sin(turn)) if rolls[6] < config.shadow_share else None,
    )


def _lights(rng: np.random.Generator) -> tuple[Light, Light]:
    """The second frame differs from the first by a few percent, now and then by a lot."""
    size = 0.05 if rng.random() < 0.75 else 0.22
    slopes = rng.normal(0, 0.12, 2)
    first = Light(slope=(float(slopes[0]), float(slopes[1])))
    gain = math.exp(rng.normal(0, size)) * np.exp(rng.normal(0, size / 3, 3))
    moved = slopes + rng.normal(0, size / 2, 2)
    second = Light(
        gain=(float(gain[0]), float(gain[1]), float(gain[2])),
        gamma=math.exp(rng.normal(0, size)),
        offset=float(rng.normal(0, size / 3)),
        slope=(float(moved[0]), float(moved[1])),
    )
    return first, second


def _dark_lights(rng: np.random.Generator) -> tuple[Light, Light]:
    gain, gamma = rng.uniform(0.18, 0.45), rng.uniform(1.0, 1.3)
    both = [gain * math.exp(rng.normal(0, 0.04)) for _ in range(2)]
    return Light((both[0],) * 3, gamma), Light((both[1],) * 3, gamma)


def _fog(rng: np.random.Generator) -> Fog:
    grey, tint = rng.uniform(0.55, 0.9), rng.normal(0, 0.02, 3)
    return Fog(rng.uniform(0.8, 2.2), (grey + tint[0], grey + tint[1], grey + tint[2]))


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Evenly by logarithm."""
    low = max(low, 1e-6)
    return float(low * (max(high, low) / low) ** rng.random())
