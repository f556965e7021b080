"""Continuous-looking textures, made on a canvas and read between its points by the layers.

Everything is smooth at the scale of a few canvas points, so that bicubic interpolation reads it almost
without error: what is wrong in a warped frame is then the flow and not the rendering. Only numpy is used: its
numbers do not depend on how many threads there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Texture = NDArray[np.float32]
"""(3, H, W) RGB in [0, 1]."""

Colour = tuple[float, float, float]
"""RGB in [0, 1]."""


def hex_colours(text: str) -> list[Colour]:
    """Read colours as designers write them.

    Args:
        text: hexadecimal RGB colours between spaces, such as ``"ff8800 102030"``.

    Returns:
        RGB in [0, 1].
    """
    return [
        (int(word[0:2], 16) / 255, int(word[2:4], 16) / 255, int(word[4:6], 16) / 255)
        for word in text.split()
    ]


def noise(
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    wavelengths: tuple[float, float],
    slope: float = 1.0,
) -> NDArray[np.float64]:
    """Draw Gaussian noise whose waves have lengths in a band only: clouds, marble, grain.

    Args:
        size_hw: of the canvas.
        rng: where the randomness comes from.
        wavelengths: the shortest and the longest wave, in canvas points; 4 or more can be interpolated well.
        slope: amplitudes fall with frequency to this power: 0 is grain, 1 natural, 2 clouds.

    Returns:
        (H, W), mean 0, standard deviation 1; its opposite edges fit together.
    """
    shortest, longest = wavelengths
    waves = np.fft.rfft2(rng.standard_normal(size_hw))
    frequency = _frequencies(size_hw)
    low, high = 1 / longest, 1 / shortest
    inside = 1 / (1 + (low / np.maximum(frequency, 1e-9)) ** 8) * np.exp(-((frequency / high) ** 8))
    field = np.fft.irfft2(waves * inside * np.maximum(frequency, low) ** -slope, s=size_hw)
    field -= field.mean()
    result: NDArray[np.float64] = field / field.std()
    return result


def smoothed(values: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Blur with a Gaussian, around the edges of the canvas.

    Args:
        values: (..., H, W).
        sigma: standard deviation in canvas points.

    Returns:
        (..., H, W).
    """
    size_hw = (values.shape[-2], values.shape[-1])
    keep = np.exp(-2 * (math.pi * sigma * _frequencies(size_hw)) ** 2)
    result: NDArray[np.float64] = np.fft.irfft2(np.fft.rfft2(values) * keep, s=size_hw)
    return result


def _frequencies(size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(H, W // 2 + 1) waves per point, in any direction, as `rfft2` orders them."""
    height, width = size_hw
    down, right = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    frequencies: NDArray[np.float64] = np.hypot(down, right)
    return frequencies


def ramp(values: NDArray[np.float64], colours: Sequence[Colour]) -> NDArray[np.float64]:
    """Turn numbers into colours.

    Args:
        values: (H, W); 0 is the first colour, 1 the last, clipped outside.
        colours: evenly spaced in between.

    Returns:
        (3, H, W) RGB in [0, 1].
    """
    places = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(values, places, channel) for channel in np.array(colours).T])


def dead_leaves(
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    colours: Sequence[Colour],
    radii: tuple[float, float],
    count: int,
) -> NDArray[np.float64]:
    """Throw discs of many sizes on top of each other: edges and junctions as in natural pictures.

    The radii follow the power law r^-3 of natural scenes (Lee, Mumford and Huang 2001).

    Args:
        size_hw: of the canvas.
        rng: where the randomness comes from.
        colours: of the leaves; the first one is the ground as well.
        radii: the smallest and the largest, in canvas points.
        count: how many.

    Returns:
        (3, H, W) RGB in [0, 1] with edges about two points wide.
    """
    height, width = size_hw
    canvas = np.empty((3, height, width))
    canvas[:] = np.array(colours[0])[:, None, None]
    smallest, largest = radii
    share = rng.random(count)  # the power law's distribution function, inverted
    sizes = (smallest**-2 - share * (smallest**-2 - largest**-2)) ** -0.5
    centres = rng.random((count, 2)) * (height, width)
    chosen = np.array(colours)[rng.integers(len(colours), size=count)]
    chosen = np.clip(chosen + rng.normal(0, 0.04, (count, 3)), 0, 1)
    for radius, centre, colour in zip(sizes, centres, chosen, strict=True):
        _paint_disc(canvas, centre, radius, colour)
    return smoothed(canvas, 0.7)


def _paint_disc(
    canvas: NDArray[np.float64], centre: NDArray[np.float64], radius: float, colour: NDArray[np.float64]
) -> None:
    """Paint one disc with a light rising from its lower right to its upper left."""
    low = np.maximum(np.floor(centre - radius - 1).astype(int), 0)
    high = np.minimum(np.ceil(centre + radius + 2).astype(int), canvas.shape[1:])
    y, x = np.mgrid[low[0] : high[0], low[1] : high[1]]
    dy, dx = y - centre[0], x - centre[1]
    cover = np.clip(radius + 0.5 - np.hypot(dy, dx), 0, 1)
    light = 1 - 0.16 * (dx + dy) / radius
    part = canvas[:, low[0] : high[0], low[1] : high[1]]
    part += cover * (np.clip(colour[:, None, None] * light, 0, 1) - part)


def as_texture(values: NDArray[np.float64]) -> Texture:
    """Finish a texture.

    Args:
        values: (3, H, W), RGB.

    Returns:
        (3, H, W) float32, clipped to [0.02, 0.98], so that the overshoot of bicubic interpolation is not cut
        off.
    """
    return np.clip(values, 0.02, 0.98).astype(np.float32)
