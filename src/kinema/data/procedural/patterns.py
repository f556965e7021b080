"""Textures of rendered training scenes: square pictures drawn once and read many times."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 512
"""Texels along a side: a power of two, which sampling reads exactly."""

Picture = NDArray[np.float32]
"""(SIDE, SIDE, 3) RGB, around [0, 1]."""

Field = NDArray[np.float32]
"""(SIDE, SIDE), mean 0, standard deviation 1."""


def spectrum(rng: np.random.Generator, alpha: float) -> Field:
    """Draw Gaussian noise whose power falls with frequency as 1/f^alpha.

    Args:
        rng: where the randomness comes from.
        alpha: 0 is white, 2 as in natural pictures, above 3 clouds.

    Returns:
        (SIDE, SIDE), mean 0, standard deviation 1; opposite edges fit together.
    """
    waves = np.fft.rfft2(rng.standard_normal((SIDE, SIDE), np.float32))
    down, right = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
    frequency = np.hypot(down, right)
    frequency[0, 0] = np.inf
    # Above 0.3 waves per texel bilinear reading has little left: a soft end keeps the textures readable.
    keep = frequency ** (-alpha / 2) * np.exp(-((frequency / 0.33) ** 4))
    field = np.fft.irfft2(waves * keep, s=(SIDE, SIDE))
    return np.asarray(field / field.std(), np.float32)


def palette(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Draw colours that go together: around one hue or two, of various lightness.

    Args:
        rng: where the randomness comes from.
        count: how many.

    Returns:
        (count, 3) RGB in [0, 1].
    """
    hues = (
        rng.uniform(0, 360) + rng.choice([0.0, 0.0, rng.uniform(90, 200)], count) + rng.normal(0, 14, count)
    )
    value = np.clip(rng.uniform(0.08, 1.0, count), 0, 1)
    saturation = np.clip(rng.beta(1.3, 2.0) + rng.normal(0, 0.12, count), 0, 1)
    hsv = np.stack([hues % 360, saturation, value], axis=-1).astype(np.float32)[None]
    rgb: NDArray[np.float32] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]
    return rgb


def coloured(field: Field, colours: NDArray[np.float32], *, spread: float = 0.25) -> Picture:
    """Map a field to colours.

    Args:
        field: mean 0, standard deviation 1.
        colours: (N, 3), evenly spaced in between.
        spread: part of the whole ramp that one standard deviation takes.

    Returns:
        The picture.
    """
    table = np.stack(
        [np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(colours)), c) for c in colours.T]
    )
    place = np.clip(field * (spread * 255) + 127.5, 0, 254.999)
    low = place.astype(np.int32)
    part = (place - low)[..., None].astype(np.float32)
    steps = table.T.astype(np.float32)
    return np.asarray(steps[low] * (1 - part) + steps[low + 1] * part, np.float32)


def _noise(rng: np.random.Generator, alphas: tuple[float, float]) -> Picture:
    alpha = rng.uniform(*alphas)
    field = spectrum(rng, alpha)
    picture = coloured(field, palette(rng, int(rng.integers(3, 7))), spread=rng.uniform(0.12, 0.32))
    tint = cv2.resize(spectrum(rng, max(alpha, 2.0))[:128, :128], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return picture + tint[..., None] * rng.normal(0, 0.05, 3).astype(np.float32)


def _leaves(rng: np.random.Generator, _: tuple[float, float]) -> Picture:
    """Dead leaves: outlines of many sizes upon each other, radii by the law r^-3 of natural pictures."""
    colours = palette(rng, 9)
    canvas = np.empty((SIDE, SIDE, 3), np.float32)
    canvas[:] = colours[0]
    count, smallest, largest = int(rng.integers(120, 800)), rng.uniform(2.5, 7), rng.uniform(30, 130)
    share = rng.random(count)
    radii = (smallest**-2 - share * (smallest**-2 - largest**-2)) ** -0.5
    corners = int(rng.choice([0, 0, 3, 4, 5]))
    for radius in radii:
        centre, turn = rng.uniform(0, SIDE, 2), rng.uniform(0, math.tau)
        sides = corners or 18
        angles = turn + np.arange(sides) * (math.tau / sides)
        stretch = rng.uniform(0.5, 1.0)
        points = centre + radius * np.stack([np.cos(angles), stretch * np.sin(angles)], axis=-1)
        colour = colours[rng.integers(len(colours))] + rng.normal(0, 0.05, 3)
        # Sixteenths of a texel: outlines at any place, not on whole texels only.
        cv2.fillConvexPoly(canvas, np.rint(points * 16).astype(np.int32), colour.tolist(), cv2.LINE_8, 4)
    grain = spectrum(rng, rng.uniform(1, 2.5)) * np.clip(spectrum(rng, 3.0), 0, 1.5)
    return canvas + rng.uniform(0, 0.08) * grain[..., None]


def _stripes(rng: np.random.Generator, _: tuple[float, float]) -> Picture:
    x, y = _grid()
    turn, period = rng.uniform(0, math.pi), math.exp(rng.uniform(math.log(6), math.log(70)))
    bend = spectrum(rng, 3.5) * rng.choice([0.0, rng.uniform(0, 14)])
    wave = np.sin((math.cos(turn) * x + math.sin(turn) * y + bend) * (math.tau / period) + rng.uniform(0, 6))
    sharp = np.tanh(wave * rng.uniform(0.5, 6))
    return coloured(sharp.astype(np.float32), palette(rng, 3), spread=0.4) + _grain(rng, 0.04)


def _gradient(rng: np.random.Generator, _: tuple[float, float]) -> Picture:
    x, y = _grid()
    turn, centre = rng.uniform(0, math.tau), rng.uniform(0, SIDE, 2)
    straight = (math.cos(turn) * x + math.sin(turn) * y) / SIDE
    field = np.hypot(x - centre[0], y - centre[1]) / SIDE if rng.random() < 0.4 else straight
    field = field - field.mean() + 0.05 * spectrum(rng, 3.3)
    return coloured(field.astype(np.float32), palette(rng, 4), spread=1.0) + _grain(rng, 0.03)


def _marks(rng: np.random.Generator, alphas: tuple[float, float]) -> Picture:
    """Writing and strokes on a calm ground."""
    canvas = np.ascontiguousarray(_gradient(rng, alphas))
    colours = palette(rng, 5)
    for _line in range(int(rng.integers(8, 40))):
        size, place = rng.uniform(8, 60), rng.uniform(-40, SIDE, 2)
        colour = colours[rng.integers(len(colours))].tolist()
        for letter in range(int(rng.integers(2, 14))):
            strokes = place + (letter * 0.85 * size, 0) + size * glyph(rng)
            cv2.polylines(
                canvas,
                sixteenths(strokes),
                isClosed=False,
                color=colour,
                thickness=max(1, int(size / 9)),
                shift=4,
            )
    for _stroke in range(int(rng.integers(0, 12))):
        points = np.cumsum(rng.normal(0, 35, (5, 2)), axis=0) + rng.uniform(0, SIDE, 2)
        colour = colours[rng.integers(len(colours))].tolist()
        cv2.polylines(
            canvas,
            [np.rint(points).astype(np.int32)],
            isClosed=False,
            color=colour,
            thickness=int(rng.integers(1, 5)),
        )
    return canvas


def _cells(rng: np.random.Generator, _: tuple[float, float]) -> Picture:
    """Cobbles, scales, cracked mud: the cells of random points with dark or bright seams."""
    count = int(math.exp(rng.uniform(math.log(40), math.log(900))))
    seeds = np.full((SIDE, SIDE), 255, np.uint8)
    places = rng.integers(0, SIDE, (count, 2))
    seeds[places[:, 0], places[:, 1]] = 0
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    shades = palette(rng, 6)[rng.integers(0, 6, label.max() + 1)]
    shades = shades + rng.normal(0, 0.06, shades.shape).astype(np.float32)
    rim = distance / (distance.mean() * 2.2)
    shaded = shades[label] * (1 - rng.uniform(-0.2, 0.7) * np.clip(rim, 0, 1.3)[..., None])
    return np.asarray(shaded + _grain(rng, 0.05), np.float32)


def _bricks(rng: np.random.Generator, _: tuple[float, float]) -> Picture:
    x, y = _grid()
    height, ratio, gap = rng.uniform(14, 60), rng.uniform(0.8, 3.2), rng.uniform(1, 4)
    row = np.floor(y / height)
    along = x / (height * ratio) + (row % 2) * rng.choice([0.0, 0.5])
    column = np.floor(along)
    key = (row.astype(np.int64) * 7919 + column.astype(np.int64) * 104729) % 64
    shades = palette(rng, 3)[rng.integers(0, 2, 64)] + rng.normal(0, 0.06, (64, 1)).astype(np.float32)
    seam = (y - row * height < gap) | ((along - column) * height * ratio < gap)
    joint = palette(rng, 1)[0]
    laid = np.where(seam[..., None], joint, shades[key])
    return np.asarray(laid + _grain(rng, 0.08), np.float32)


def _dots(rng: np.random.Generator, _: tuple[float, float]) -> Picture:
    cells = int(rng.choice([64, 128, 256]))
    dots = (rng.random((cells, cells, 1)) < rng.uniform(0.1, 0.6)).astype(np.float32)
    large = cv2.resize(np.repeat(dots, 3, axis=2), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    return np.asarray(large, np.float32)


def _rings(rng: np.random.Generator, _: tuple[float, float]) -> Picture:
    x, y = _grid()
    centre, chirp = rng.uniform(0, SIDE, 2), rng.uniform(0.0004, 0.003)
    wave = np.sin(((x - centre[0]) ** 2 + (y - centre[1]) ** 2) * chirp)
    return coloured(wave.astype(np.float32), palette(rng, 2), spread=0.5)


def _drawing(rng: np.random.Generator, _: tuple[float, float]) -> Picture:
    """A line drawing: dark curves on flat colours."""
    field = spectrum(rng, 3.4)
    flat = coloured(np.asarray(np.round(field * 1.5) / 1.5, np.float32), palette(rng, 5))
    slope = np.hypot(cv2.Sobel(field, cv2.CV_32F, 1, 0), cv2.Sobel(field, cv2.CV_32F, 0, 1)) / 8
    near = np.abs(np.remainder(field * 2.0 + 0.5, 1.0) - 0.5) / np.maximum(2 * slope, 1e-3)
    return np.asarray(flat * np.clip(near - 0.6, 0, 1)[..., None], np.float32)


def _blocks(rng: np.random.Generator, _: tuple[float, float]) -> Picture:
    small = rng.random((int(rng.choice([16, 32, 64])),) * 2 + (3,)).astype(np.float32)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST), np.float32)


_Painter = Callable[[np.random.Generator, tuple[float, float]], Picture]
KINDS: dict[str, tuple[_Painter, float]] = {
    "noise": (_noise, 0.30),
    "leaves": (_leaves, 0.25),
    "stripes": (_stripes, 0.08),
    "gradient": (_gradient, 0.07),
    "marks": (_marks, 0.10),
    "cells": (_cells, 0.11),
    "bricks": (_bricks, 0.09),
}
"""Kinds of training textures: how they are painted, and their share."""

STRANGE_KINDS: dict[str, tuple[_Painter, float]] = {
    "dots": (_dots, 0.25),
    "rings": (_rings, 0.25),
    "drawing": (_drawing, 0.25),
    "blocks": (_blocks, 0.25),
}
"""Reserved kinds: never in training scenes."""


def draw_texture(
    rng: np.random.Generator, *, alphas: tuple[float, float], weak: bool, strange: bool = False
) -> NDArray[np.float32]:
    """Draw a texture of a random kind.

    Args:
        rng: where the randomness comes from.
        alphas: range of the 1/f^alpha exponents.
        weak: leave between 4 and 20 % of the contrast.
        strange: of the reserved kinds.

    Returns:
        (3, SIDE, SIDE) RGB in [0, 1].
    """
    kinds = STRANGE_KINDS if strange else KINDS
    painters, shares = zip(*kinds.values(), strict=True)
    picture = painters[rng.choice(len(painters), p=shares)](rng, alphas)
    return finished(picture, rng, weak=weak)


def finished(picture: Picture, rng: np.random.Generator, *, weak: bool) -> NDArray[np.float32]:
    """Smooth a texture a little, weaken it where asked for, and order it by channel.

    Args:
        picture: (SIDE, SIDE, 3) RGB.
        rng: draws how weak.
        weak: leave between 4 and 20 % of the contrast.

    Returns:
        (3, SIDE, SIDE) RGB in [0, 1].
    """
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.7, borderType=cv2.BORDER_REFLECT_101)
    if weak:
        mean = smooth.mean(axis=(0, 1))
        smooth = mean + (smooth - mean) * np.float32(rng.uniform(0.04, 0.20))
    return np.ascontiguousarray(np.moveaxis(np.clip(smooth, 0, 1), 2, 0), np.float32)


def glyph(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw something like a letter: strokes between the points of a small lattice.

    Args:
        rng: where the randomness comes from.

    Returns:
        (strokes, 3, 2), x from 0 to 0.6 and y from 0 to 1.
    """
    lattice = rng.integers((0, 0), (3, 4), (int(rng.integers(2, 4)), 3, 2))
    return np.asarray(lattice * np.array([0.3, 1 / 3]), np.float64)


def sixteenths(polygons: NDArray[np.float64]) -> list[NDArray[np.int32]]:
    """Write outlines in sixteenths of a texel, as drawing with ``shift=4`` takes them.

    Args:
        polygons: (count, points, 2), x and y.

    Returns:
        As many arrays of whole numbers.
    """
    return list(np.rint(polygons * 16).astype(np.int32))


def _grain(rng: np.random.Generator, strongest: float) -> Picture:
    grain: Picture = spectrum(rng, rng.uniform(0.5, 2.5))[..., None] * np.float32(rng.uniform(0, strongest))
    return grain


def _grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    axis = np.arange(SIDE, dtype=np.float32)
    return axis[None, :], axis[:, None]
