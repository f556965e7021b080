"""Scenes as tensors: the maps between frames, outlines and textures of a batch of planned scenes.

Points are x and y in pixels from the middle of the frame, as tensors that broadcast to (B, h, w).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.procedural.bank import Bank
from kinema.data.procedural.outlines import REACH, TILE
from kinema.data.procedural.patterns import SIDE
from kinema.data.procedural.planar_motion import NEAREST
from kinema.data.procedural.scene_plan import LayerPlan, ScenePlan
from kinema.ops.grid import ALIGN_CORNERS, to_sampling_grid

Times = NDArray[np.float64]
"""(B,): the moment of each scene; 0 is frame 1, 1 is frame 2."""

Points = tuple[Tensor, Tensor]
"""x and y."""

Box = tuple[int, int, int, int]
"""First row, row after the last, first column, column after the last."""

FAR = 1e4
"""Distance in pixels that stands for: not there at all."""

_WAVES = 3


class SceneBatch:
    """Planned scenes, ready to be drawn and measured.

    Layers of all scenes lie in common slots: 0 is the background, then come half planes, then things; a scene
    that has less leaves slots empty.

    Args:
        plans: the scenes.
        bank: their textures and outlines.
        size_hw: of the frames.
        device: to compute on.
    """

    def __init__(
        self, plans: Sequence[ScenePlan], bank: Bank, size_hw: tuple[int, int], device: torch.device
    ) -> None:
        self.plans, self.size_hw, self.device = tuple(plans), size_hw, device
        self._bank = bank
        self.slots = _in_slots(plans)
        self.half_planes = _half_plane_slots(self.slots)
        self._homographies = np.stack([[_homography(layer) for layer in slot] for slot in self.slots])
        self._waves = np.stack([[_waves(layer) for layer in slot] for slot in self.slots])
        self._bends = [bool(np.any(waves[..., 3])) for waves in self._waves]
        self._affine = [bool(np.all(h[:, 2] == (0.0, 0.0, 1.0))) for h in self._homographies]

    def __len__(self) -> int:
        return len(self.plans)

    def tensor(self, values: object) -> Tensor:
        """Bring numbers to where the batch is computed.

        Args:
            values: an array or nested sequence.

        Returns:
            The same as float32.
        """
        return torch.from_numpy(np.asarray(values, np.float32)).to(self.device)

    def pixels(self, box: Box | None = None) -> Points:
        """Pixel centres of the frame, with the lens undone where there is one.

        Args:
            box: a part of the frame; None is all of it.

        Returns:
            x and y, which broadcast to (B, h, w).
        """
        height, width = self.size_hw
        top, bottom, left, right = box or (0, height, 0, width)
        x = torch.arange(left, right, device=self.device, dtype=torch.float32) - (width - 1) / 2
        y = torch.arange(top, bottom, device=self.device, dtype=torch.float32) - (height - 1) / 2
        return self.through_lens((x[None, None, :], y[None, :, None]))

    @cached_property
    def _lens(self) -> Tensor | None:
        strengths = [plan.lens for plan in self.plans]
        if not any(strengths):
            return None
        # In half diagonals squared.
        return self.tensor(strengths).view(-1, 1, 1) * (4.0 / (self.size_hw[0] ** 2 + self.size_hw[1] ** 2))

    def through_lens(self, seen: Points) -> Points:
        """From where points are seen to where they would be seen without lens.

        Args:
            seen: x and y.

        Returns:
            x and y (the division model of Fitzgibbon 2001).
        """
        if self._lens is None:
            return seen
        x, y = seen
        factor = 1 / (1 + self._lens * (x * x + y * y))
        return x * factor, y * factor

    def onto_lens(self, true: Points) -> tuple[Points, Tensor | None]:
        """The inverse of `through_lens`.

        Args:
            true: x and y.

        Returns:
            Where they are seen; where that is defined, or None for everywhere.
        """
        if self._lens is None:
            return true, None
        x, y = true
        root = 1 - 4 * self._lens * (x * x + y * y)
        factor = 2 / (1 + root.clamp_min(0).sqrt())
        return (x * factor, y * factor), root > 0

    def to_frame1(self, slot: int, times: Times, points: Points) -> tuple[Points, Tensor | None]:
        """Where points of a layer, seen at a moment, are in frame 1.

        Args:
            slot: of the layer.
            times: (B,).
            points: x and y at that moment, without lens.

        Returns:
            x and y; where they are before the camera, or None for everywhere.
        """
        if not times.any():
            return points, None
        inverse: NDArray[np.float64] = np.linalg.inv(self._at(slot, times)).astype(np.float64)
        (x, y), ok = self._project(inverse, points, affine=self._affine[slot])
        return self._bent(slot, times, (x, y), forward=False), ok

    def from_frame1(self, slot: int, times: Times, points: Points) -> tuple[Points, Tensor | None]:
        """Where points of a layer go.

        Args:
            slot: of the layer.
            times: (B,).
            points: x and y in frame 1, without lens.

        Returns:
            x and y at that moment, without lens; where they are before the camera, or None for everywhere.
        """
        if not times.any():
            return points, None
        return self._project(
            self._at(slot, times), self._bent(slot, times, points, forward=True), affine=self._affine[slot]
        )

    def _at(self, slot: int, times: Times) -> NDArray[np.float64]:
        still = np.eye(3)
        moved: NDArray[np.float64] = still + times[:, None, None] * (self._homographies[slot] - still)
        return moved

    def _project(
        self, matrices: NDArray[np.float64], points: Points, *, affine: bool
    ) -> tuple[Points, Tensor | None]:
        m = self.tensor(matrices)[:, :, :, None, None]
        x, y = points
        across = m[:, 0, 0] * x + (m[:, 0, 1] * y + m[:, 0, 2])
        down = m[:, 1, 0] * x + (m[:, 1, 1] * y + m[:, 1, 2])
        if affine:
            return (across, down), None
        depth = m[:, 2, 0] * x + (m[:, 2, 1] * y + m[:, 2, 2])
        ok = depth > NEAREST
        factor = 1 / depth.clamp_min(NEAREST)
        return (across * factor, down * factor), ok

    def _bent(self, slot: int, times: Times, points: Points, *, forward: bool) -> Points:
        if not self._bends[slot]:
            return points
        waves = self._waves[slot]
        frequency = np.hypot(waves[..., 0], waves[..., 1])
        amplitude = waves[..., 3] * times[:, None] * (1.0 if forward else -1.0)
        # Across the direction of the wave: along (-fy, fx).
        across, down = -waves[..., 1] / frequency * amplitude, waves[..., 0] / frequency * amplitude
        numbers = self.tensor(np.stack([*np.moveaxis(waves[..., :3], 2, 0), across, down]))[..., None, None]
        x, y = points
        for wave in range(_WAVES) if forward else reversed(range(_WAVES)):
            fx, fy, phase, right, below = numbers[:, :, wave]
            swing = torch.sin(fx * x + (fy * y + phase))
            x, y = x + right * swing, y + below * swing
        return x, y

    def distance(self, slot: int, points: Points) -> Tensor:
        """How far points of frame 1 are from a layer's outline.

        Args:
            slot: of the layer, 1 or more.
            points: x and y in frame 1, without lens.

        Returns:
            (B, h, w) pixels, negative inside.
        """
        x, y = points
        layers = self.slots[slot]
        if slot in self.half_planes:
            planes = [layer.half_plane if layer else (0.0, 0.0, FAR) for layer in layers]
            n = self.tensor(planes)[:, :, None, None]
            return n[:, 0] * x + (n[:, 1] * y + n[:, 2])
        maps = np.stack([layer.outline_map if layer else np.full((2, 3), 0.0) for layer in layers])
        grid = _mapped(
            self.tensor(_SAMPLING[TILE][:2, :2] @ maps + _SAMPLING[TILE][:2, 2:] * (0, 0, 1)), (x, y)
        )
        tiles, scale = self._outlines(slot)
        read = F.grid_sample(tiles, grid, padding_mode="border", align_corners=ALIGN_CORNERS)
        return read[:, 0] * scale

    def _outlines(self, slot: int) -> tuple[Tensor, Tensor]:
        """Tiles (B, 1, TILE, TILE) and pixels per point (B, 1, 1); an empty slot is far from everything."""
        tiles, scales = [], []
        for plan, layer in zip(self.plans, self.slots[slot], strict=True):
            if layer is None or layer.outline is None:
                tiles.append(torch.full((1, TILE, TILE), FAR, device=self.device))
                scales.append(1.0)
            else:
                tiles.append(self._bank.outline(plan.block, layer.outline))
                scales.append(abs(float(np.linalg.det(layer.outline_map[:, :2]))) ** -0.5)
        return _stacked(tiles), self.tensor(scales).view(-1, 1, 1)

    def colour(self, slot: int, points: Points) -> Tensor:
        """What a layer looks like at points of frame 1.

        Args:
            slot: of the layer.
            points: x and y in frame 1, without lens.

        Returns:
            (B, 3, h, w) RGB.
        """
        layers = self.slots[slot]
        textures = _stacked(
            [
                self._bank.texture(p.block, layer.texture if layer else 0)
                for p, layer in zip(self.plans, layers, strict=True)
            ]
        )
        maps = np.stack([layer.texture_map if layer else np.eye(3) for layer in layers])
        affine = bool(np.all(maps[:, 2] == (0.0, 0.0, 1.0)))
        grid, fade = _mapped(self.tensor(_SAMPLING[SIDE] @ maps), points), None
        if not affine:
            x, y = points
            m = self.tensor(maps)[:, 2, :, None, None]
            depth = (m[:, 0] * x + (m[:, 1] * y + m[:, 2])).clamp_min(0.5)
            grid /= depth[..., None]
            # Texels per pixel; where there are many, a mean is seen.
            tilted = np.any(maps[:, 2] != (0.0, 0.0, 1.0), axis=1)  # others stay as they are, in any company
            area = self.tensor(np.abs(np.linalg.det(maps)) * tilted).view(-1, 1, 1) / depth**3
            fade = area.rsqrt().clamp_max(1.0)[:, None]
        read = F.grid_sample(textures, grid, padding_mode="reflection", align_corners=ALIGN_CORNERS)
        if fade is not None:
            mean = textures.mean(dim=(2, 3), keepdim=True)
            read = mean + fade * (read - mean)
        table = self.tensor([layer.colour if layer else np.zeros((3, 4)) for layer in layers])
        mixed = torch.baddbmm(table[:, :, 3:], table[:, :, :3], read.flatten(2))
        return mixed.view(read.shape)

    def box(self, slot: int, times: Times, *, margin: float) -> Box | None:
        """The part of the frame that a slot's layers may touch.

        Args:
            slot: of the layers.
            times: (B,).
            margin: pixels beyond the outline.

        Returns:
            The box, or None when nothing of them is in the frame.
        """
        height, width = self.size_hw
        if slot <= len(self.half_planes) or self._lens is not None:
            return 0, height, 0, width
        corners = [
            _corners(layer, time, margin)
            for layer, time in zip(self.slots[slot], times, strict=True)
            if layer
        ]
        if any(points is None for points in corners):
            return 0, height, 0, width
        together = np.concatenate([points for points in corners if points is not None], axis=1)
        low, high = together.min(axis=1), together.max(axis=1)
        left = max(0, int(np.floor(low[0] + (width - 1) / 2)))
        right = min(width, int(np.ceil(high[0] + (width - 1) / 2)) + 1)
        top = max(0, int(np.floor(low[1] + (height - 1) / 2)))
        bottom = min(height, int(np.ceil(high[1] + (height - 1) / 2)) + 1)
        return (top, bottom, left, right) if top < bottom and left < right else None


def _mapped(maps: Tensor, points: Points) -> Tensor:
    """Map x and y by the first two rows of (B, 2 or 3, 3) matrices: (B, h, w, 2), for ``grid_sample``."""
    x, y = points
    m = maps[..., None, None]
    shape = np.broadcast_shapes(x.shape, y.shape, (len(maps), 1, 1))
    result = torch.empty((*shape, 2), device=x.device)
    for row in range(2):
        torch.add(m[:, row, 0] * x, m[:, row, 1] * y + m[:, row, 2], out=result[..., row])
    return result


def _sampling(side: int) -> NDArray[np.float64]:
    """(3, 3), `to_sampling_grid` of a square picture as a matrix: joined with maps, not applied to points."""
    corners = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)[None, :, None]
    origin, right, down = to_sampling_grid(corners, (side, side))[0, 0].numpy()
    return np.array([[right[0] - origin[0], 0, origin[0]], [0, down[1] - origin[1], origin[1]], [0, 0, 1]])


_SAMPLING = {side: _sampling(side) for side in (TILE, SIDE)}


def _stacked(tensors: list[Tensor]) -> Tensor:
    """A batch of one is a view: nothing is copied."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(tensors)


def _in_slots(plans: Sequence[ScenePlan]) -> list[list[LayerPlan | None]]:
    planes = [[layer for layer in plan.layers[1:] if layer.outline is None] for plan in plans]
    things = [[layer for layer in plan.layers[1:] if layer.outline is not None] for plan in plans]
    slots: list[list[LayerPlan | None]] = [[plan.layers[0] for plan in plans]]
    for kind in (planes, things):
        for number in range(max(len(layers) for layers in kind)):
            slots.append([layers[number] if number < len(layers) else None for layers in kind])
    return slots


def _half_plane_slots(slots: list[list[LayerPlan | None]]) -> frozenset[int]:
    return frozenset(
        number
        for number, slot in enumerate(slots)
        if number > 0 and all(layer is None or layer.outline is None for layer in slot)
    )


def _homography(layer: LayerPlan | None) -> NDArray[np.float64]:
    return np.eye(3) if layer is None else layer.motion.homography


def _waves(layer: LayerPlan | None) -> NDArray[np.float64]:
    if layer is None or len(layer.motion.waves) == 0:
        return np.tile([1.0, 0.0, 0.0, 0.0], (_WAVES, 1))
    return layer.motion.waves


def _corners(layer: LayerPlan, time: float, margin: float) -> NDArray[np.float64] | None:
    """Corners (2, 4) of what a thing may touch at a moment, or None: it comes too near."""
    inverse = np.linalg.inv(layer.outline_map[:, :2])
    # What an outline touches lies within REACH of the middle of its tile; waves and soft edges go farther.
    half = np.linalg.norm(inverse, axis=1) * REACH + margin + np.abs(layer.motion.waves[:, 3]).sum()
    x, y = layer.place.centre
    signs = np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]])
    points = np.concatenate([np.array([[x], [y]]) + half[:, None] * signs, np.ones((1, 4))])
    moved = layer.motion.homography_at(time) @ points
    if moved[2].min() < 2 * NEAREST:
        return None
    ends: NDArray[np.float64] = moved[:2] / moved[2]
    return ends
