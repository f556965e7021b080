"""Pictures of things with parts: house fronts, shops, doors, cars, shelves."""

from __future__ import annotations

import cv2
import numpy as np

from kinema.data.procedural.patterns import SIDE, Picture, glyph, palette, sixteenths, spectrum
from kinema.data.procedural.world.materials import PLAIN_MATERIALS, Material, grey, shades

Box = tuple[int, int, int, int]
"""First row, first column, height and width."""


def _fill(picture: Picture, box: Box, colour: np.ndarray) -> None:
    top, left, height, width = box
    picture[max(top, 0) : top + height, max(left, 0) : left + width] = colour


def _pane(picture: Picture, box: Box, rng: np.random.Generator) -> None:
    """Glass: dark, with the sky in its upper part, sometimes a curtain behind it."""
    top, left, height, width = box
    part = picture[top : top + height, left : left + width]
    down = np.linspace(1, 0, part.shape[0], dtype=np.float32)[:, None, None]
    part[:] = grey(0.10, -0.1) + rng.uniform(0.05, 0.35) * down * shades((0.7, 0.85, 1.0))[0]
    if rng.random() < 0.4:
        drop = int(part.shape[0] * rng.uniform(0.2, 1.0))
        part[:drop] = grey(rng.uniform(0.45, 0.8), rng.normal(0.03, 0.04))


def _window(picture: Picture, box: Box, rng: np.random.Generator, frame: np.ndarray) -> None:
    """Frame, two panes, and a sill below."""
    top, left, height, width = box
    _fill(picture, box, frame)
    rim, half = max(2, width // 14), width // 2
    for start, wide in ((left + rim, half - rim - rim // 2), (left + half + rim // 2, half - rim - rim // 2)):
        _pane(picture, (top + rim, start, height - 2 * rim, wide), rng)
    _fill(picture, (top + height, left - 3, 4, width + 6), grey(0.62))
    _fill(picture, (top + height + 4, left - 2, 3, width + 4), grey(0.30))


def _front(rng: np.random.Generator) -> Picture:
    """Four floors of four windows each on plaster or brick; 12 m a side."""
    base = PLAIN_MATERIALS["brick" if rng.random() < 0.4 else "plaster"].paint(rng)
    picture = np.ascontiguousarray(base)
    columns, cell = int(rng.choice([3, 4, 5])), SIDE // 4
    wide = SIDE / columns
    height, width = int(cell * rng.uniform(0.45, 0.62)), int(wide * rng.uniform(0.35, 0.6))
    frame = grey(rng.choice([0.25, 0.85, 0.9]), rng.normal(0, 0.03))
    for row in range(4):
        for column in range(columns):
            top = int(row * cell + (cell - height) * 0.45)
            left = int(column * wide + (wide - width) / 2)
            _window(picture, (top, left, height, width), rng, frame)
        if rng.random() < 0.35:
            _fill(picture, (row * cell + cell - 5, 0, 5, SIDE), grey(0.55))
    return picture


def _office(rng: np.random.Generator) -> Picture:
    """Bands of glass."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = PLAIN_MATERIALS["metal"].paint(rng) * rng.uniform(0.7, 1.2)
    columns, cell = int(rng.choice([6, 8, 10])), SIDE // 4
    for row in range(4):
        for column in range(columns):
            left, wide = column * SIDE // columns, SIDE // columns
            _pane(picture, (row * cell + 34, left + 3, cell - 44, wide - 6), rng)
    return picture


def _shop(rng: np.random.Generator) -> Picture:
    """The ground floor: shop windows, doors and signs with writing; 12 m by 3.5 m."""
    picture = np.ascontiguousarray(PLAIN_MATERIALS["plaster"].paint(rng) * rng.uniform(0.5, 1.0))
    left = int(rng.integers(6, 40))
    while left < SIDE - 90:
        width = int(rng.integers(70, 150))
        if rng.random() < 0.3:
            _door(picture, (150, left, SIDE - 150, 62), rng)
            left += 90
            continue
        _sign(picture, (36, left, 74, width), rng)
        _fill(picture, (130, left, 300, width), palette(rng, 1)[0] * 0.6)
        _pane(picture, (140, left + 6, 280, width - 12), rng)
        left += width + int(rng.integers(14, 50))
    return picture


def _sign(picture: Picture, box: Box, rng: np.random.Generator) -> None:
    top, left, height, width = box
    colours = palette(rng, 2)
    _fill(picture, box, colours[0])
    size = height * 0.62
    letters = int((width - 12) / (0.8 * size))
    for letter in range(letters):
        strokes = np.array([left + 8 + letter * 0.8 * size, top + 0.2 * height]) + size * glyph(rng)
        ink = (1 - colours[0]).tolist()
        cv2.polylines(picture, sixteenths(strokes), isClosed=False, color=ink, thickness=5, shift=4)


def _door(picture: Picture, box: Box, rng: np.random.Generator) -> None:
    top, left, height, width = box
    colour = palette(rng, 1)[0] * 0.7
    _fill(picture, (top - 6, left - 6, height + 6, width + 12), grey(0.7))
    _fill(picture, box, colour)
    for row in range(2):
        inner = (top + 12 + row * height // 2, left + 10, height // 2 - 26, width - 20)
        _fill(picture, inner, colour * rng.uniform(0.6, 0.85))
    _fill(picture, (top + height // 2, left + width - 9, 10, 5), grey(0.85, 0.05))


def _house_door(rng: np.random.Generator) -> Picture:
    picture = np.ascontiguousarray(PLAIN_MATERIALS["wood"].paint(rng))
    for row in range(2):
        for column in range(2):
            box = (40 + row * 236, 50 + column * 222, 196, 190)
            top, left, height, width = box
            picture[top : top + height, left : left + width] *= 0.72
            picture[top + 8 : top + height - 8, left + 8 : left + width - 8] *= 1.25
    _fill(picture, (250, 462, 26, 14), grey(0.85, 0.05))
    return picture


def _car_side(rng: np.random.Generator) -> Picture:
    """White, to be tinted: sills, handles, seams."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    down = np.linspace(1.0, 0.72, SIDE, dtype=np.float32)[:, None]
    picture[:] = (down * (1 + 0.02 * spectrum(rng, 2.5)))[..., None] * 0.92
    _fill(picture, (SIDE - 60, 0, 60, SIDE), grey(0.16))
    for left in (150, 262, 372):
        _fill(picture, (0, left, SIDE - 60, 3), grey(0.25))
    for left in (230, 344):
        _fill(picture, (110, left, 26, 20), grey(0.35))
    _fill(picture, (190, 0, 10, SIDE), grey(0.6))
    return picture


def _car_end(rng: np.random.Generator) -> Picture:
    """Front or back: lights, plate, grille."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = (0.9 + 0.02 * spectrum(rng, 2.5))[..., None]
    lamp = shades((0.95, 0.12, 0.10), (1.0, 0.97, 0.85))[rng.integers(2)]
    for left in (14, SIDE - 114):
        _fill(picture, (90, left, 110, 100), lamp)
    _fill(picture, (100, 150, 90, SIDE - 300), grey(0.12))
    _fill(picture, (260, 166, 70, SIDE - 332), grey(0.92))
    for letter in range(6):
        strokes = np.array([178 + 26 * letter, 272]) + 44 * glyph(rng)
        cv2.polylines(picture, sixteenths(strokes), isClosed=False, color=(0.1,) * 3, thickness=5, shift=4)
    _fill(picture, (SIDE - 130, 0, 130, SIDE), grey(0.2))
    return picture


def _glass(rng: np.random.Generator) -> Picture:
    """The windows of a car: dark, with the sky in them and posts in between."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    down = np.linspace(1, 0, SIDE, dtype=np.float32)[:, None, None]
    picture[:] = grey(0.07, -0.1) + rng.uniform(0.1, 0.4) * down**2 * shades((0.7, 0.85, 1.0))[0]
    for left in (0, 240, SIDE - 30):
        _fill(picture, (0, left, SIDE, 30), grey(0.9))
    _fill(picture, (0, 0, 40, SIDE), grey(0.9))
    return picture


def _wheel(rng: np.random.Generator) -> Picture:
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius, angle = np.hypot(x, y) / (SIDE / 2), np.arctan2(y, x)
    spokes = np.cos(angle * int(rng.integers(5, 9))) > 0.1
    metal = np.where(spokes | (radius < 0.2), 0.75, 0.2)
    level = np.where(radius < 0.62, metal, 0.10)
    return np.asarray(np.repeat(level[..., None], 3, axis=2), np.float32)


def _books(rng: np.random.Generator) -> Picture:
    """Four shelves of books."""
    picture = np.empty((SIDE, SIDE, 3), np.float32)
    picture[:] = grey(0.12, 0.1)
    colours, rows = palette(rng, 9), 4
    cell = SIDE // rows
    for row in range(rows):
        left = 8
        while left < SIDE - 40:
            width, height = int(rng.integers(9, 30)), int(cell * rng.uniform(0.55, 0.88))
            top = (row + 1) * cell - 12 - height
            _fill(picture, (top, left, height, width), colours[rng.integers(9)] * rng.uniform(0.6, 1.1))
            _fill(picture, (top + 16, left, 5, width), colours[rng.integers(9)])
            left += width + (2 if rng.random() < 0.93 else 40)
        _fill(picture, ((row + 1) * cell - 12, 0, 12, SIDE), np.array([0.45, 0.32, 0.2], np.float32))
    return picture


def _view(rng: np.random.Generator) -> Picture:
    """A window of a room: frame, sky, something green below."""
    sky = PLAIN_MATERIALS["clouds"].paint(rng)
    green = PLAIN_MATERIALS["foliage"].paint(rng)
    edge = (SIDE * 0.62 + 24 * spectrum(rng, 3.0)[0])[None, :, None]
    picture = np.where(np.arange(SIDE)[:, None, None] < edge, sky, green * 1.4)
    picture = np.ascontiguousarray(picture, np.float32)
    for start in (0, SIDE // 2 - 12, SIDE - 24):
        _fill(picture, (0, start, SIDE, 24), grey(0.93))
    for start in (0, SIDE - 24, 150):
        _fill(picture, (start, 0, 24, SIDE), grey(0.93))
    return picture


MATERIALS: dict[str, Material] = PLAIN_MATERIALS | {
    "front": Material(_front, SIDE, variety=2),
    "office": Material(_office, SIDE),
    "shop": Material(_shop, SIDE),
    "door": Material(_house_door),
    "car_side": Material(_car_side),
    "car_end": Material(_car_end),
    "glass": Material(_glass),
    "wheel": Material(_wheel),
    "books": Material(_books, SIDE),
    "view": Material(_view),
}
"""All materials by name."""
