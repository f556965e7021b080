"""Pictures and exact motion of textured layers, the nearest one last.

A layer is an outline and a texture, both in the layer's own coordinates, and a path that puts them into the
frame. Motion and visibility follow from the maps and the outlines alone: no estimate is involved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kinema.data.procedural.motion import Affine, Path
from kinema.data.procedural.shapes import Shape
from kinema.data.procedural.textures import Texture
from kinema.ops.grid import pixel_grid
from kinema.ops.warp import sample


@dataclass(frozen=True, eq=False)
class Layer:
    """One textured thing, or the background.

    Attributes:
        name: for people and tests.
        shape: the outline.
        texture: (3, H, W); its middle lies in the origin of the layer's coordinates, one point per unit, and
            it is continued by reflection.
        path: where the layer is, from frame to frame.
    """

    name: str
    shape: Shape
    texture: Texture
    path: Path


@dataclass(frozen=True, eq=False)
class LayerTruth:
    """What is known exactly about the way from one frame to another.

    Attributes:
        flow: (H, W, 2) float32, pixels, x right and y down; defined everywhere, also for what is hidden in or
            leaves the second frame.
        occluded: (H, W) bool, True where the point that flow leads to is covered by a nearer layer in the
            second frame.
        in_frame: (H, W) bool, True where the point lies inside the second frame, at 0 <= x <= W - 1 and 0 <=
            y <= H - 1.
        layer: (H, W) uint8, index of the layer that is seen in the first frame.
    """

    flow: NDArray[np.float32]
    occluded: NDArray[np.bool_]
    in_frame: NDArray[np.bool_]
    layer: NDArray[np.uint8]

    @property
    def visible(self) -> NDArray[np.bool_]:
        """(H, W) bool, True where the point is seen in the second frame."""
        return self.in_frame & ~self.occluded


def render(layers: Sequence[Layer], time: float, size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw one frame.

    Args:
        layers: from the farthest, which covers everything, to the nearest.
        time: in frames.
        size_hw: of the frame.

    Returns:
        (H, W, 3) RGB; outlines are blended over one pixel.
    """
    pixels = _pixels(size_hw)
    frame = np.zeros((3, *size_hw), np.float32)
    for layer in layers:
        points, distance = _look(layer, layer.path.at(time), pixels)
        cover = np.clip(0.5 - distance, 0, 1).astype(np.float32)
        box = _box(cover > 0)
        part = frame[:, *box]
        part += cover[box] * (_colours(layer.texture, points[:, *box]) - part)
    return np.rint(np.moveaxis(np.clip(frame, 0, 1), 0, -1) * 255).astype(np.uint8)


def layer_truth(
    layers: Sequence[Layer], first: float, second: float, *, size_hw: tuple[int, int]
) -> LayerTruth:
    """Say how the pixels of one frame move to another one.

    Args:
        layers: as given to `render`.
        first: the time of the frame that the motion starts from.
        second: the time of the other frame, later or earlier.
        size_hw: of the frames.

    Returns:
        Flow and visibility. A pixel belongs to the nearest layer that covers its centre.
    """
    pixels = _pixels(size_hw)
    seen = np.zeros(size_hw, np.uint8)
    ends = pixels.copy()
    for index, layer in enumerate(layers):
        start = layer.path.at(first)
        inside = _look(layer, start, pixels)[1] <= 0
        moved = layer.path.at(second).after(start.inverse())
        ends = np.where(inside, moved.apply(pixels), ends)
        seen[inside] = index
    occluded = np.zeros(size_hw, np.bool_)
    for index, layer in enumerate(layers):
        occluded |= (seen < index) & (_look(layer, layer.path.at(second), ends)[1] <= 0)
    height, width = size_hw
    x, y = ends
    in_frame = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    flow = np.moveaxis(ends - pixels, 0, -1).astype(np.float32)
    return LayerTruth(np.ascontiguousarray(flow), occluded, in_frame, seen)


def _pixels(size_hw: tuple[int, int]) -> NDArray[np.float64]:
    """(2, H, W), x and y of every pixel centre."""
    return pixel_grid(size_hw, dtype=torch.float64).numpy()


def _look(
    layer: Layer, place: Affine, pixels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels (2, H, W) in the layer's coordinates; how far (H, W) they are from its outline, in pixels."""
    points = place.inverse().apply(pixels)
    return points, layer.shape.distance(points) * place.scale()


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The smallest rows and columns that hold all of a mask; empty for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _colours(texture: Texture, points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Read (2, H, W) places of a texture, bicubically: (3, H, W) RGB."""
    if points.size == 0:
        return np.empty((3, *points.shape[1:]), np.float32)
    middle = np.array([(texture.shape[2] - 1) / 2, (texture.shape[1] - 1) / 2]).reshape(2, 1, 1)
    places = torch.from_numpy((points + middle).astype(np.float32))[None]
    colours = sample(torch.from_numpy(texture)[None], places, border="reflect", mode="bicubic")
    return colours[0].numpy()
