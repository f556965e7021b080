"""Pictures of materials: what streets, houses, rooms and things are covered with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from kinema.data.procedural.patterns import KINDS, SIDE, STRANGE_KINDS, Field, Picture, coloured, spectrum


def grey(level: float, warmth: float = 0.0) -> np.ndarray:
    """A colour near grey.

    Args:
        level: brightness in [0, 1].
        warmth: above 0 is redder, below 0 bluer.

    Returns:
        (3,) float32 RGB.
    """
    return np.array([level * (1 + warmth), level, level * (1 - warmth)], np.float32)


def shades(*colours: tuple[float, float, float]) -> np.ndarray:
    """Colours for `coloured`.

    Args:
        colours: RGB in [0, 1].

    Returns:
        (N, 3) float32.
    """
    return np.array(colours, np.float32)


def _plain(rng: np.random.Generator, colour: np.ndarray, *, coarse: float, fine: float) -> Picture:
    """One colour with stains and grain."""
    stains, grain = spectrum(rng, 3.0), spectrum(rng, 1.0)
    light = 1 + coarse * stains + fine * grain
    return np.asarray(colour * light[..., None], np.float32)


def _asphalt(rng: np.random.Generator) -> Picture:
    picture = _plain(rng, grey(rng.uniform(0.26, 0.42), rng.normal(0, 0.02)), coarse=0.10, fine=0.13)
    for _ in range(int(rng.integers(2, 7))):  # patches of another age
        low, size = rng.integers(0, SIDE, 2), rng.integers(30, 170, 2)
        picture[low[0] : low[0] + size[0], low[1] : low[1] + size[1]] *= rng.uniform(0.75, 1.2)
    for _ in range(int(rng.integers(3, 9))):
        _crack(picture, rng, float(rng.uniform(0.08, 0.2)))
    return picture


def _crack(picture: Picture, rng: np.random.Generator, level: float) -> None:
    turn = rng.uniform(0, math.tau) + np.cumsum(rng.normal(0, 0.35, 40))
    points = np.cumsum(np.stack([np.cos(turn), np.sin(turn)], axis=-1) * 9, axis=0) + rng.uniform(0, SIDE, 2)
    cv2.polylines(
        picture,
        [np.rint(points * 16).astype(np.int32)],
        isClosed=False,
        color=(level,) * 3,
        thickness=int(rng.integers(1, 3)),
        lineType=cv2.LINE_AA,
        shift=4,
    )


def _road(rng: np.random.Generator) -> Picture:
    """A street across its whole width (u), with lines along v; it repeats in the mirror."""
    picture = _asphalt(rng)
    wear = np.clip(1.0 - 0.35 * np.maximum(spectrum(rng, 1.5), 0), 0.2, 1)[..., None]
    paint = np.zeros((SIDE, SIDE, 1), np.float32)
    wide = 5
    paint[140:372, SIDE // 2 - wide : SIDE // 2 + wide] = 1  # a dash in the middle
    if rng.random() < 0.7:
        for side in (104, SIDE - 104):  # where parked cars begin
            paint[:, side - 3 : side + 3] = 1
    tracks = 1 - 0.10 * np.exp(-((np.abs(np.arange(SIDE) - SIDE / 2) - 95) ** 2) / 900)
    picture *= tracks[None, :, None].astype(np.float32)
    return np.asarray(picture + wear * paint * (grey(0.85, 0.02) - picture), np.float32)


def _slabs(
    rng: np.random.Generator, rows: int, columns: int, colour: np.ndarray, *, spread: float, joint: float
) -> Picture:
    """Rectangles in a bond, each a little different."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    row = np.floor(y * rows / SIDE)
    along = x * columns / SIDE + (row % 2) * 0.5
    each = rng.normal(1, spread, (rows, columns + 2)).astype(np.float32)
    picture = each[row.astype(int), np.floor(along).astype(int)][..., None] * colour
    down, right = y * rows / SIDE - row, along - np.floor(along)
    seam = (down * SIDE / rows < joint) | (right * SIDE / columns < joint)
    picture = np.where(seam[..., None], colour * np.float32(rng.uniform(0.45, 0.7)), picture)
    return np.asarray(picture * (1 + 0.05 * spectrum(rng, 2.0) + 0.05 * spectrum(rng, 0.8))[..., None])


def _paving(rng: np.random.Generator) -> Picture:
    rows = int(rng.choice([4, 6, 8, 16]))
    columns = rows if rng.random() < 0.5 else rows // 2
    colour = grey(rng.uniform(0.45, 0.68), rng.normal(0.03, 0.03))
    return _slabs(rng, rows, columns, colour, spread=0.07, joint=3.0)


def _brick(rng: np.random.Generator) -> Picture:
    reds = shades((0.55, 0.27, 0.20), (0.62, 0.42, 0.30), (0.70, 0.62, 0.50), (0.42, 0.22, 0.18))
    return _slabs(rng, 32, 12, reds[rng.integers(4)], spread=0.14, joint=2.5)


def _plaster(rng: np.random.Generator) -> Picture:
    tones = shades((0.80, 0.76, 0.66), (0.76, 0.70, 0.58), (0.72, 0.74, 0.74), (0.78, 0.62, 0.52))
    return _plain(rng, tones[rng.integers(4)], coarse=0.06, fine=0.06)


def _grass(rng: np.random.Generator) -> Picture:
    field = 0.8 * spectrum(rng, 1.1) + 0.6 * spectrum(rng, 2.8)
    ramp = shades((0.12, 0.20, 0.06), (0.24, 0.36, 0.12), (0.40, 0.50, 0.20), (0.58, 0.58, 0.32))
    return coloured(np.asarray(field, np.float32), ramp)


def _soil(rng: np.random.Generator) -> Picture:
    field = 0.7 * spectrum(rng, 1.4) + 0.7 * spectrum(rng, 2.6)
    ramp = shades((0.22, 0.16, 0.10), (0.42, 0.33, 0.22), (0.60, 0.52, 0.38))
    return coloured(np.asarray(field, np.float32), ramp)


def _foliage(rng: np.random.Generator) -> Picture:
    """Leaf upon leaf, the lower ones in the dark."""
    canvas = np.empty((SIDE, SIDE, 3), np.float32)
    base = shades((0.20, 0.34, 0.10), (0.30, 0.40, 0.12), (0.16, 0.30, 0.16), (0.46, 0.40, 0.12))
    colour = base[rng.integers(4)]
    canvas[:] = 0.25 * colour
    count = 2600
    centres, turns = rng.uniform(-8, SIDE + 8, (count, 2)), rng.uniform(0, math.tau, count)
    sizes, lights = rng.uniform(5, 17, count), np.linspace(0.35, 1.7, count) * rng.uniform(0.8, 1.2, count)
    around = np.linspace(0, math.tau, 9)[:-1]
    for centre, turn, size, light in zip(centres, turns, sizes, lights, strict=True):
        leaf = np.stack([size * np.cos(around), 0.5 * size * np.sin(around)], axis=-1)
        cosine, sine = math.cos(turn), math.sin(turn)
        points = leaf @ np.array([[cosine, sine], [-sine, cosine]]) + centre
        shade = (colour * light + rng.normal(0, 0.015, 3)).tolist()
        cv2.fillConvexPoly(canvas, np.rint(points * 16).astype(np.int32), shade, cv2.LINE_AA, 4)
    return canvas


def _bark(rng: np.random.Generator) -> Picture:
    field = cv2.resize(spectrum(rng, 2.0)[:32], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).T
    rough = 0.8 * field + 0.5 * spectrum(rng, 1.5)
    return coloured(
        np.asarray(rough, np.float32), shades((0.16, 0.11, 0.08), (0.36, 0.28, 0.2), (0.5, 0.43, 0.34))
    )


def _roof(rng: np.random.Generator) -> Picture:
    tones = shades((0.48, 0.24, 0.17), (0.30, 0.29, 0.29), (0.40, 0.32, 0.26))
    return _slabs(rng, 24, 24, tones[rng.integers(3)], spread=0.12, joint=3.0)


def _metal(rng: np.random.Generator) -> Picture:
    lines = cv2.resize(spectrum(rng, 1.2)[:, :8], (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(grey(0.62) * (1 + 0.06 * lines + 0.03 * spectrum(rng, 2.5))[..., None], np.float32)


def _wood(rng: np.random.Generator) -> Picture:
    """Boards with grain, side by side along v."""
    boards = int(rng.choice([4, 5, 8]))
    x = np.tile(np.arange(SIDE, dtype=np.float32), (SIDE, 1))
    column = np.floor(x * boards / SIDE).astype(int)
    stretched = cv2.resize(spectrum(rng, 2.2)[: SIDE // 8], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    grain = np.sin((x * 0.22 + 9 * stretched) + 5.0 * column) * 0.08 + 0.06 * stretched
    tones = shades((0.52, 0.34, 0.19), (0.66, 0.48, 0.30), (0.36, 0.22, 0.13), (0.74, 0.62, 0.46))
    each = rng.normal(1, 0.09, boards).astype(np.float32)[column]
    gap = np.where((x * boards / SIDE - column) * SIDE / boards < 2.0, 0.45, 1.0)
    picture = tones[rng.integers(4)] * ((1 + grain) * each * gap)[..., None]
    return np.asarray(picture, np.float32)


def _tiles(rng: np.random.Generator) -> Picture:
    """A chessboard of tiles, or one colour of them."""
    count = int(rng.choice([4, 6, 8]))
    base = _slabs(rng, count, count, grey(0.75, rng.normal(0, 0.05)), spread=0.03, joint=4.0)
    if rng.random() < 0.5:
        y, x = np.mgrid[:SIDE, :SIDE] * count // SIDE
        base = base * np.where(((x + y) % 2 == 0)[..., None], 1.0, rng.uniform(0.25, 0.8, 3))
    return np.asarray(base, np.float32)


def _weave(rng: np.random.Generator) -> Picture:
    """Cloth: threads, and a pattern of a few colours."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    threads = 0.06 * np.sin(x * 1.3) * np.sin(y * 1.3)
    colours = rng.uniform(0.2, 0.85, (3, 3)).astype(np.float32)
    period, other = rng.uniform(40, 160), rng.uniform(40, 160)
    field: Field = np.asarray(np.sin(x * math.tau / period) + np.sin(y * math.tau / other), np.float32)
    if rng.random() < 0.5:
        field = spectrum(rng, 2.5)
    light = 1 + threads + 0.08 * spectrum(rng, 1.2)
    return np.asarray(coloured(field, colours) * light[..., None], np.float32)


def _wallpaper(rng: np.random.Generator) -> Picture:
    """A calm ground, sometimes striped or dotted."""
    ground = rng.uniform(0.55, 0.85) * (1 + rng.normal(0, 0.10, 3))
    picture = _plain(rng, np.asarray(ground, np.float32), coarse=0.03, fine=0.03)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    roll, period = rng.random(), SIDE / int(rng.integers(4, 14))
    if roll < 0.35:
        picture *= (1 + 0.10 * np.sign(np.sin(x * math.tau / period)))[..., None]
    elif roll < 0.65:
        near = np.hypot((x % period) - period / 2, (y % period) - period / 2)
        picture *= (1 - rng.uniform(0.1, 0.4) * (near < period / 5))[..., None].astype(np.float32)
    return picture


def _any_of(
    kinds: dict[str, tuple[Callable[[np.random.Generator, tuple[float, float]], Picture], float]],
    rng: np.random.Generator,
) -> Picture:
    painters = [painter for painter, _ in kinds.values()]
    chosen = int(rng.choice(len(painters), p=[share for _, share in kinds.values()]))
    return painters[chosen](rng, (1.0, 3.0))


def _poster(rng: np.random.Generator) -> Picture:
    """Any training pattern: pictures on walls, boxes, balls."""
    return _any_of(KINDS, rng)


def _strange(rng: np.random.Generator) -> Picture:
    return _any_of(STRANGE_KINDS, rng)


def _clouds(rng: np.random.Generator) -> Picture:
    """Sky from the zenith (top) to the horizon (bottom), with clouds of many sizes."""
    height = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
    blue = shades((0.22, 0.42, 0.75), (0.68, 0.79, 0.90))
    clear = blue[0] + (blue[1] - blue[0]) * height**1.4
    cover = 1 / (1 + np.exp(-(spectrum(rng, 3.2) * 2.2 - rng.uniform(-1.5, 2.0))))[..., None]
    light = 0.90 + 0.07 * spectrum(rng, 2.6)[..., None]
    return np.asarray(clear + cover * (light * grey(0.96, 0.01) - clear), np.float32)


@dataclass(frozen=True)
class Material:
    """How the pictures of a material are made.

    Attributes:
        paint: draws one, (SIDE, SIDE, 3).
        side: texels along a side that are kept, a power of two.
        variety: factor of the number of pictures in a block.
    """

    paint: Callable[[np.random.Generator], Picture]
    side: int = SIDE // 2
    variety: int = 1


PLAIN_MATERIALS: dict[str, Material] = {
    "asphalt": Material(_asphalt),
    "road": Material(_road, SIDE),
    "paving": Material(_paving),
    "brick": Material(_brick),
    "plaster": Material(_plaster),
    "grass": Material(_grass),
    "soil": Material(_soil),
    "foliage": Material(_foliage),
    "bark": Material(_bark),
    "roof": Material(_roof),
    "metal": Material(_metal),
    "wood": Material(_wood),
    "tiles": Material(_tiles),
    "weave": Material(_weave),
    "wallpaper": Material(_wallpaper),
    "poster": Material(_poster, variety=4),
    "strange": Material(_strange),
    "clouds": Material(_clouds, SIDE),
}
"""Materials without parts; those with parts are in `parts`."""
