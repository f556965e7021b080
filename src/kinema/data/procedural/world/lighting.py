"""The light of a world over time, and what the camera and the file do to its pictures: drawn numbers only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kinema.data.procedural.effect_plan import Light as Development
from kinema.data.procedural.world.config import WorldConfig
from kinema.data.procedural.world.light import Light
from kinema.data.procedural.world.paths import Waves, draw_waves
from kinema.data.procedural.world.solids import Colour
from kinema.data.procedural.world.worlds import World


@dataclass(frozen=True, eq=False)
class Look:
    """How a world is lit and taken.

    Attributes:
        light: at a time in seconds, seen from a camera at a place (4, 4), world from camera.
        baked: moving things keep the light of the first moment and throw no shadows.
        develop: the light of a frame on the sensor, at a time.
        noise: standard deviation in the dark, and how its variance grows with brightness.
        noise_seed: picks the noise.
        grey: without colour.
        jpeg: quality, or 0: no file.
        video: quantiser, or 0: no video.
        exposure: shutter time in frame intervals, for blurred frames.
    """

    light: Callable[[float, np.ndarray], Light]
    baked: bool
    develop: Callable[[float], Development]
    noise: tuple[float, float] = (0.0, 0.0)
    noise_seed: int = 0
    grey: bool = False
    jpeg: int = 0
    video: int = 0
    exposure: float = 0.5


def plan_look(config: WorldConfig, world: World) -> Look:
    """Draw the light and the effects of a world.

    Args:
        config: shares and ranges; the family adds its own.
        world: that is lit.

    Returns:
        The look. Effects use numbers of their own: without them the world and its standing light are the
        same.
    """
    rng = np.random.default_rng(world.light_seed)
    base = _standing(config, world, rng)
    own = np.random.default_rng(rng.integers(2**63))
    rolls, exposure = own.random(12), float(own.uniform(*config.blur_exposure))
    if not config.photometric:
        return Look(_fixed(config, base), baked=True, develop=lambda _: Development(), exposure=exposure)
    sigma = _between(own, *config.noise_sigma)
    noise = (sigma, sigma * own.uniform(0, 1.0))
    dark = config.family == "night"
    if dark:
        noise = (own.uniform(0.01, 0.03), own.uniform(0.01, 0.05))
    base = replace(base, gloss=own.uniform(0.2, 0.8) if rolls[0] < config.gloss_share else 0.0)
    moving = _moving(config, base, own) if rolls[1] < config.moving_light_share else _fixed(config, base)
    quality = int(own.integers(config.jpeg_quality[0], config.jpeg_quality[1] + 1))
    return Look(
        light=moving,
        baked=bool(rolls[2] >= config.shading_share),
        develop=_drift(own) if rolls[3] < config.exposure_share else lambda _: Development(),
        noise=noise if dark or rolls[4] < config.noise_share else (0.0, 0.0),
        noise_seed=int(own.integers(2**31)),
        grey=bool(rolls[5] < config.grey_share),
        jpeg=quality if rolls[6] < config.jpeg_share else 0,
        video=int(own.integers(3, 16)) if rolls[7] < config.video_share else 0,
        exposure=exposure,
    )


def _standing(config: WorldConfig, world: World, rng: np.random.Generator) -> Light:
    """The light of a place, before anything moves."""
    turn, height = rng.uniform(0, math.tau), math.radians(rng.uniform(22, 65))
    sunny, warm = bool(rng.random() < config.sun_share), rng.uniform(0, 0.12)
    thick, pale = math.exp(rng.uniform(math.log(0.012), math.log(0.05))), rng.uniform(0.45, 0.75)
    lamp_light, lamp_radius = rng.uniform(0.7, 1.1), rng.uniform(2.5, 4.0)
    fog = thick if config.family == "fog" else 0.0
    hazy: Colour = (pale, pale, pale * rng.uniform(0.95, 1.08))
    if config.family == "night":
        return _head_light()
    if world.indoors:
        direct = (lamp_light, lamp_light * (1 - 0.5 * warm), lamp_light * (1 - 1.5 * warm))
        dusk = (pale * 0.5,) * 3
        room = Light(
            np.array(world.lamp),
            parallel=False,
            direct=direct,
            above=(0.30, 0.29, 0.28),
            below=(0.24, 0.22, 0.20),
        )
        return replace(room, radius=lamp_radius, fog=3 * fog, fog_colour=dusk)
    sun = np.array([math.cos(height) * math.sin(turn), -math.sin(height), math.cos(height) * math.cos(turn)])
    if not sunny or fog > 0:
        dull = Light(
            sun,
            parallel=True,
            direct=(0.12, 0.12, 0.12),
            above=(0.80, 0.82, 0.86),
            below=(0.34, 0.33, 0.32),
            shadows=False,
        )
        return replace(dull, sky=(0.85, 0.86, 0.88), fog=fog, fog_colour=hazy)
    direct = (0.95, 0.95 * (1 - warm), 0.95 * (1 - 2 * warm))
    return Light(sun, parallel=True, direct=direct, above=(0.36, 0.40, 0.48), below=(0.22, 0.20, 0.18))


def _head_light() -> Light:
    """Next to nothing but a lamp, whose place is filled in with the camera's."""
    dark = Light(
        np.zeros(3),
        parallel=False,
        direct=(1.2, 1.15, 1.0),
        above=(0.05, 0.055, 0.08),
        below=(0.03, 0.03, 0.03),
        shadows=False,
    )
    return replace(dark, sky=(0.04, 0.045, 0.07), radius=7.0)


def _fixed(config: WorldConfig, base: Light) -> Callable[[float, np.ndarray], Light]:
    if config.family != "night":
        return lambda _, __: base

    def head_lamp(_: float, camera: np.ndarray) -> Light:
        return replace(base, place=(camera @ np.array([0.0, 0.3, 0.5, 1.0]))[:3])

    return head_lamp


def _moving(
    config: WorldConfig, base: Light, rng: np.random.Generator
) -> Callable[[float, np.ndarray], Light]:
    """The sun wanders or clouds pass; a lamp swings or flickers."""
    standing = _fixed(config, base)
    swing = draw_waves(rng, (0.10, 0.05, 0.10), (0.1, 0.8))
    flicker = draw_waves(rng, (rng.uniform(0.03, 0.15),), (0.3, 4.0))

    def light(time: float, camera: np.ndarray) -> Light:
        now = standing(time, camera)
        r, g, b = (max(0.2, 1 + float(flicker.at(time)[0])) * part for part in now.direct)
        if not now.parallel:
            return replace(now, place=now.place + 2 * swing.at(time), direct=(r, g, b))
        sun = now.place + swing.at(time)
        return replace(now, place=sun / np.linalg.norm(sun), direct=(r, g, b))

    return light


def _drift(rng: np.random.Generator) -> Callable[[float], Development]:
    """Exposure, gamma and white balance change smoothly, by a few percent or by a lot."""
    size = 0.05 if rng.random() < 0.75 else 0.2
    drift: Waves = draw_waves(rng, (size, size / 3, size / 3, size / 3, size / 2), (0.2, 3.0))

    def develop(time: float) -> Development:
        gain, red, green, blue, gamma = drift.at(time).tolist()
        gains = (math.exp(gain + red), math.exp(gain + green), math.exp(gain + blue))
        return Development(gain=gains, gamma=math.exp(gamma))

    return develop


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Evenly by logarithm."""
    low = max(low, 1e-6)
    return float(low * (max(high, low) / low) ** rng.random())
