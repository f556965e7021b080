"""The scene of `kinema demo`: five textured things in front of a moving camera, with the true motion.

A frame is a pure function of (seed, size, frame number): a longer clip begins with the shorter one. All
lengths and speeds are given for a frame 240 pixels high and grow with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinema.data.procedural.layers import Layer, LayerTruth, layer_truth, render
from kinema.data.procedural.motion import Path, Wave
from kinema.data.procedural.shapes import Bar, Disc, Everywhere, Ring, Shape, Star
from kinema.data.procedural.textures import (
    Texture,
    as_texture,
    dead_leaves,
    hex_colours,
    noise,
    ramp,
    smoothed,
)
from kinema.errors import UsageError

SMALLEST_SIDE = 32
_HEIGHT = 240  # the height that the numbers below are meant for

_GROUND = hex_colours("12283a 1d4257 2f6672 5d9488 a9bfa0")
_LEAVES = hex_colours("17323f 22505c 2f6672 477f7d 6fa093 b9c8a8 d8cfae 8a6f5e")
_DISC = hex_colours("7a1f2b b8383a e2603f f39a55 fbd08a")
_STAR = hex_colours("8a5a12 d69a1e f5c945 fdeaa0")
_RING = hex_colours("39245c 6a3f9c a073c8 dcc3ee")
_BAR = hex_colours("8f1d5b e0458b ffc2dc fffaf5")


@dataclass(frozen=True, eq=False)
class RenderedClip:
    """A clip whose motion is known.

    Attributes:
        frames: (T, H, W, 3) uint8 RGB.
        flow: (T - 1, H, W, 2) float32, from frame t to t + 1, pixels, x right and y down; known everywhere.
        occluded: (T - 1, H, W) bool, True where the point of frame t is hidden behind something nearer in
            frame t + 1.
        in_frame: (T - 1, H, W) bool, True where the point of frame t lies inside frame t + 1.
        layer: (T - 1, H, W) uint8, what is seen in frame t: an index into `names`.
        names: of the layers, from the farthest to the nearest.
    """

    frames: NDArray[np.uint8]
    flow: NDArray[np.float32]
    occluded: NDArray[np.bool_]
    in_frame: NDArray[np.bool_]
    layer: NDArray[np.uint8]
    names: tuple[str, ...]

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(T - 1, H, W) bool, True where the point of frame t is seen in frame t + 1."""
        return self.in_frame & ~self.occluded


def render_clip(
    seed: int,
    *,
    frames: int = 12,
    size_hw: tuple[int, int] = (240, 432),
    progress: Callable[[], None] | None = None,
) -> RenderedClip:
    """Draw the scene, frame by frame, with the truth of every pair of neighbours.

    Args:
        seed: chooses textures, places and speeds; 0 or more.
        frames: how many, 2 or more.
        size_hw: of the frames, 32 pixels a side or more.
        progress: called after every frame.

    Returns:
        Frames and truth.

    Raises:
        UsageError: when a number is too small.
    """
    if seed < 0 or frames < 2 or min(size_hw) < SMALLEST_SIDE:
        raise UsageError(
            f"a scene of {frames} frames of {size_hw[0]}x{size_hw[1]}, seed {seed}: there must be 2 frames "
            f"of {SMALLEST_SIDE}x{SMALLEST_SIDE} at least, and the seed not below 0"
        )
    layers = demo_layers(seed, size_hw)
    pictures, truths = [], []
    for time in range(frames):
        pictures.append(render(layers, time, size_hw))
        if time > 0:
            truths.append(layer_truth(layers, time - 1, time, size_hw=size_hw))
        if progress is not None:
            progress()
    return _clip(pictures, truths, tuple(layer.name for layer in layers))


def _clip(
    pictures: list[NDArray[np.uint8]], truths: list[LayerTruth], names: tuple[str, ...]
) -> RenderedClip:
    return RenderedClip(
        frames=np.stack(pictures),
        flow=np.stack([truth.flow for truth in truths]),
        occluded=np.stack([truth.occluded for truth in truths]),
        in_frame=np.stack([truth.in_frame for truth in truths]),
        layer=np.stack([truth.layer for truth in truths]),
        names=names,
    )


def demo_layers(seed: int, size_hw: tuple[int, int]) -> list[Layer]:
    """Build the scene.

    Args:
        seed: chooses textures, places and speeds.
        size_hw: of the frames.

    Returns:
        The layers, from the background to the nearest.
    """
    makers = (_background, _ring, _star, _disc, _bar)
    # A generator for each: a change to one layer leaves the others as they are.
    return [
        make(np.random.default_rng((seed, index)), size_hw, size_hw[0] / _HEIGHT)
        for index, make in enumerate(makers)
    ]


def _background(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Layer:
    """Stones on a sea floor, below a camera that pans, zooms and rolls by up to four pixels a frame."""
    turns = rng.uniform(0, 1, 4)  # before the texture: the same motion at every size
    canvas = _canvas(1.4 * size_hw[0], 1.4 * size_hw[1])
    waves = noise(canvas, rng, wavelengths=(14 * unit, 260 * unit), slope=1.6)
    ground = ramp(0.5 + 0.24 * waves, _GROUND)
    count = round(0.006 * canvas[0] * canvas[1] / unit**2)
    leaves = dead_leaves(canvas, rng, colours=_LEAVES, radii=(2.5 * unit, 30 * unit), count=count)
    grain = noise(canvas, rng, wavelengths=(4, 14), slope=0.6)
    cover = smoothed(
        (noise(canvas, rng, wavelengths=(70 * unit, 400 * unit)) > -0.5).astype(float), 14 * unit
    )
    texture = as_texture((ground + (0.25 + 0.6 * cover) * (leaves - ground)) * (1.14 + 0.09 * grain))
    path = Path(
        centre_xy=_place(size_hw, 0.5, 0.5),
        sway=(Wave(30 * unit, 80, turns[0]), Wave(14 * unit, 64, turns[1])),
        rock=Wave(4.5, 90, turns[2]),
        breathe=Wave(0.08, 70, turns[3]),
    )
    return Layer("background", Everywhere(), texture, path)


def _ring(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Layer:
    """A ring that comes nearer and goes away; the background is seen through it."""
    shape = Ring(44 * unit, 22 * unit)
    path = Path(
        centre_xy=_place(size_hw, 0.27, 0.38),
        sway=(Wave(22 * unit, 48, rng.uniform()), Wave(16 * unit, 40, rng.uniform())),
        angle=rng.uniform(0, 360),
        rock=Wave(25, 80, rng.uniform()),
        breathe=Wave(0.16, 40, rng.uniform(-0.1, 0.1)),
    )
    return Layer("ring", shape, _skin(shape, rng, 66 * unit, unit, _RING), path)


def _star(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Layer:
    """A star that spins by three degrees a frame and leans over."""
    shape = Star(40 * unit, points=5, depth=0.3)
    path = Path(
        centre_xy=_place(size_hw, 0.70, 0.64),
        sway=(Wave(30 * unit, 48, rng.uniform()), Wave(20 * unit, 36, rng.uniform())),
        angle=rng.uniform(0, 360),
        spin=3.0,
        slant=Wave(0.22, 36, rng.uniform()),
    )
    return Layer("star", shape, _skin(shape, rng, 62 * unit, unit, _STAR), path)


def _disc(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Layer:
    """A small fast ball that crosses the frame by up to thirteen pixels a frame."""
    shape = Disc(24 * unit)
    path = Path(
        centre_xy=_place(size_hw, 0.5, 0.3),
        sway=(Wave(106 * unit, 56, -0.12 + rng.uniform(-0.03, 0.03)), Wave(30 * unit, 40, rng.uniform())),
        angle=rng.uniform(0, 360),
        spin=-2.0,
    )
    return Layer("disc", shape, _skin(shape, rng, 34 * unit, unit, _DISC), path)


def _bar(rng: np.random.Generator, size_hw: tuple[int, int], unit: float) -> Layer:
    """A thin rod in front of all: thinner than it moves in a frame, the hard case of every pyramid."""
    shape = Bar(150 * unit, 9 * unit)
    path = Path(
        centre_xy=_place(size_hw, 0.52, 0.62),
        sway=(Wave(34 * unit, 72, rng.uniform()), Wave(42 * unit, 44, rng.uniform(-0.1, 0.1))),
        angle=rng.uniform(-40, -20),
        rock=Wave(14, 60, rng.uniform()),
    )
    return Layer("bar", shape, _skin(shape, rng, 86 * unit, unit, _BAR), path)


def _skin(
    shape: Shape,
    rng: np.random.Generator,
    reach: float,
    unit: float,
    colours: list[tuple[float, float, float]],
) -> Texture:
    """A marbled texture as large as the thing, darker towards its outline: it belongs to the thing."""
    canvas = _canvas(2 * reach, 2 * reach)
    marble = noise(canvas, rng, wavelengths=(6 * unit, 48 * unit), slope=1.2)
    grain = noise(canvas, rng, wavelengths=(4, 10), slope=0.3)
    y, x = np.mgrid[0 : canvas[0], 0 : canvas[1]].astype(np.float64)
    points = np.stack([x - (canvas[1] - 1) / 2, y - (canvas[0] - 1) / 2])
    depth = np.maximum(-shape.distance(points), 0) / unit
    shade = 1 - 0.42 * np.exp(-((depth / 3.2) ** 1.5))
    coloured = ramp(0.55 + 0.27 * marble, colours) * (1 + 0.06 * grain)
    return as_texture(smoothed(coloured * shade, 0.7))


def _canvas(height: float, width: float) -> tuple[int, int]:
    """Sides that are powers of two and hold a texture: they are read without padding."""
    return 1 << max(5, int(np.ceil(np.log2(height)))), 1 << max(5, int(np.ceil(np.log2(width))))


def _place(size_hw: tuple[int, int], right: float, down: float) -> tuple[float, float]:
    """A point of the frame, from parts of its width and height to pixels."""
    return right * (size_hw[1] - 1), down * (size_hw[0] - 1)
