"""A rendered world seen by a camera, by another one beside it, and by a laser scanner."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kinema.data.procedural.world.cast import Rays, cast
from kinema.data.procedural.world.config import WorldConfig
from kinema.data.procedural.world.renderer import Renderer
from kinema.data.procedural.world.shade import see
from kinema.data.procedural.world.truth import Truth, truth_between
from kinema.data.procedural.world.view import look
from kinema.data.procedural.world.worlds import REACH

SCANNER_UP, SCANNER_DOWN = 2.0, -24.8
"""Degrees above the horizon between which the scanner measures."""

SCANNER_REACH = 120.0
"""Metres."""

T_CAMERA0_FROM_SCANNER = np.array(
    [[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -0.08], [1.0, 0.0, 0.0, -0.27], [0.0, 0.0, 0.0, 1.0]]
)
"""The scanner's x is ahead, y to the left, z up; it sits 8 cm above the left grey camera and 27 cm behind."""

_BEAMS, _STEP = 64, 0.18


@dataclass(frozen=True, eq=False)
class Motion:
    """The motion between neighbours of a clip, frame by frame.

    Attributes:
        flow: (T - 1, H, W, 2) float32 pixels; 0 where not valid.
        valid: (T - 1, H, W) bool.
        occluded: (T - 1, H, W) bool, something nearer hides the end point.
        in_frame: (T - 1, H, W) bool, the end point lies inside the other frame.
    """

    flow: np.ndarray
    valid: np.ndarray
    occluded: np.ndarray
    in_frame: np.ndarray

    @property
    def visible(self) -> np.ndarray:
        """(T - 1, H, W) bool: valid, inside and not hidden."""
        seen: np.ndarray = self.valid & self.in_frame & ~self.occluded
        return seen


@dataclass(frozen=True, eq=False)
class Shots:
    """What one camera took.

    Attributes:
        images: (T, H, W, 3) uint8 RGB, sharp.
        blurred: as `images`, with motion blur; None unless the config asks for it.
        depth: (T, H, W) float32 metres along z; 0 for sky.
        instance: (T, H, W) int16, 0 where nothing moves by itself.
        forward: motion to the next frame, on the pixels of frames 0 to T - 2.
        backward: motion to the frame before, on the pixels of frames 1 to T - 1.
        K: (3, 3) pixels.
        T_world_from_camera: (T, 4, 4).
        seconds: (T,) from 0 on.
    """

    images: np.ndarray
    blurred: np.ndarray | None
    depth: np.ndarray
    instance: np.ndarray
    forward: Motion
    backward: Motion
    K: np.ndarray
    T_world_from_camera: np.ndarray
    seconds: np.ndarray


class Rig:
    """One world, and who looks at it; a pure function of its arguments.

    Args:
        config: what the world is made of.
        seed: of the data set, 0 or more.
        index: of the clip, 0 or more.
        frames: of the clip.
        baseline: metres from the left camera to the right one; 0 for no right one.
    """

    def __init__(
        self, config: WorldConfig, seed: int, index: int, *, frames: int, baseline: float = 0.0
    ) -> None:
        self.baseline = baseline
        device = torch.device("cpu")
        self._left = Renderer(config, seed, index, frames=frames, device=device)
        self._right: Renderer | None = None
        if baseline:
            self._right = Renderer(config, seed, index, frames=frames, device=device)
            _move_aside(self._right, baseline)

    @cached_property
    def left(self) -> Shots:
        """What the left, or only, camera took."""
        return _shots(self._left)

    @cached_property
    def right(self) -> Shots:
        """What the right camera took."""
        return _shots(self._second())

    def disparity(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """How far left of its place a point of the left frame is in the right one.

        Args:
            number: of the frame.

        Returns:
            (H, W) float32 pixels, 0 for sky; and (H, W) bool, where both cameras see the point.
        """
        truth = self._across(number, number)
        # Focal length times baseline over depth, and of the sky nothing.
        far = self.left.depth[number] == 0
        values = np.where(far, 0, -truth.flow[0].numpy()).astype(np.float32)
        return values, _seen(truth) & ~far

    def later_disparity(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Disparity that the points of a left frame have one frame later.

        Args:
            number: of the frame.

        Returns:
            (H, W) float32 pixels; (H, W) bool, where it is known; (H, W) bool, where the right camera sees
            the point then.
        """
        truth, forward = self._across(number, number + 1), self.left.forward
        known = truth.valid[0].numpy() & forward.valid[number] & (self.left.depth[number] > 0)
        values = forward.flow[number, ..., 0] - truth.flow[0].numpy()
        return np.where(known, values, 0).astype(np.float32), known, _seen(truth) & known

    def scan(self, number: int) -> np.ndarray:
        """Turn the laser scanner once, at the moment of a frame.

        Args:
            number: of the frame.

        Returns:
            (N, 4) float32, as KITTI stores points: x ahead, y to the left, z up in metres from the scanner;
            reflectance is not simulated and 0. The left camera is KITTI's left colour camera, 6 cm to the
            left of the grey one.
        """
        moment, _ = self._left.moment(self._left.times[number])
        T_world_from_grey = self._left.world.camera(self._left.times[number]) @ _aside(COLOUR_ASIDE)
        # A pinhole in the scanner's place, its axes as a camera's: z ahead.
        place = np.eye(4)
        place[:3, 3] = T_CAMERA0_FROM_SCANNER[:3, 3]
        x, y = _beams()
        found = []
        for quarter in range(4):
            T_world_from_seer = T_world_from_grey @ place @ _turned(quarter * math.pi / 2)
            view = look(
                self._left.table,
                moment.T_world_from_solid,
                np.linalg.inv(T_world_from_seer),
                window=(-1.001, 1.001, float(y.min()) - 0.001, float(y.max()) + 0.001),
                eye=T_world_from_seer[:3, 3],
                reach=REACH,
            )
            depth = cast(view, Rays(x, y))[0].double()
            points = torch.stack([x.double() * depth, y.double() * depth, depth], dim=1)
            met = torch.isfinite(depth)
            met &= torch.linalg.norm(torch.where(met[:, None], points, 0.0), dim=1) <= SCANNER_REACH
            found.append(points[met].numpy() @ _turned(quarter * math.pi / 2)[:3, :3].T)
        camera = np.concatenate(found)
        scanner = camera @ T_CAMERA0_FROM_SCANNER[:3, :3]
        return np.concatenate([scanner, np.zeros((len(scanner), 1))], axis=1).astype(np.float32)

    def measured(self, number: int) -> np.ndarray:
        """Where a laser scanner would measure.

        Args:
            number: of the frame.

        Returns:
            (H, W) bool: neither sky nor too far, and between the highest and the lowest beam.
        """
        shots = self.left
        depth, K = shots.depth[number], shots.K
        rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]]
        x, y = (columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1]
        height = np.degrees(np.arctan2(-y, np.hypot(x, 1)))
        reached: np.ndarray = (depth > 0) & (depth * np.sqrt(x * x + y * y + 1) <= SCANNER_REACH)
        reached &= (height <= SCANNER_UP) & (height >= SCANNER_DOWN)
        return reached

    def _second(self) -> Renderer:
        if self._right is None:
            raise ValueError("this rig has one camera")
        return self._right

    def _across(self, first: int, second: int) -> Truth:
        """From the left camera at one frame to the right camera at another."""
        left, right = self._left, self._second()
        start, places = left.moment(left.times[first])
        end, later = right.moment(right.times[second])
        seen = see(start, left.sensor.rays, left.sensor.pixel)
        return truth_between((start, seen, places), (end, later), left.sensor, farthest=math.inf)


COLOUR_ASIDE = 0.06
"""Metres that KITTI's left colour camera is to the left of the left grey one."""


def _move_aside(renderer: Renderer, metres: float) -> None:
    """Put the camera of a renderer to the right of where it is; it has noise of its own."""
    camera, shift = renderer.world.camera, _aside(metres)
    renderer.world = replace(renderer.world, camera=lambda time: camera(time) @ shift)
    renderer.look = replace(renderer.look, noise_seed=renderer.look.noise_seed + 1)


def _aside(metres: float) -> np.ndarray:
    shift = np.eye(4)
    shift[0, 3] = metres
    return shift


def _turned(angle: float) -> np.ndarray:
    """(4, 4): about the axis that points down, to the right."""
    turn = np.eye(4)
    turn[0, 0] = turn[2, 2] = math.cos(angle)
    turn[0, 2], turn[2, 0] = math.sin(angle), -math.sin(angle)
    return turn


def _beams() -> tuple[Tensor, Tensor]:
    """Rays of a quarter turn ahead, as x / z and y / z."""
    up = np.radians(np.linspace(SCANNER_UP, SCANNER_DOWN, _BEAMS))
    across = np.radians(np.arange(-45 + _STEP / 2, 45, _STEP))
    x = np.tile(np.tan(across), _BEAMS)
    y = (-np.tan(up)[:, None] / np.cos(across)).ravel()
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32))


def _seen(truth: Truth) -> np.ndarray:
    seen: np.ndarray = (truth.in_frame & ~truth.occluded)[0].numpy()
    return seen


def _shots(renderer: Renderer) -> Shots:
    with torch.no_grad():
        tensors = renderer.tensors()
    blurred = tensors.get("blurred")
    return Shots(
        images=_pictures(tensors["images"]),
        blurred=None if blurred is None else _pictures(blurred),
        depth=tensors["depth"][:, 0].numpy(),
        instance=tensors["instance"][:, 0].numpy(),
        forward=_motion(tensors, "forward"),
        backward=_motion(tensors, "backward"),
        K=tensors["K"].numpy(),
        T_world_from_camera=tensors["T_world_from_camera"].numpy(),
        seconds=tensors["seconds"].numpy(),
    )


def _motion(tensors: dict[str, Tensor], way: str) -> Motion:
    masks = {name: tensors[f"{name}_{way}"][:, 0].numpy() for name in ("valid", "occluded", "in_frame")}
    return Motion(tensors[f"flow_{way}"].permute(0, 2, 3, 1).contiguous().numpy(), **masks)


def _pictures(frames: Tensor) -> np.ndarray:
    pictures: np.ndarray = (frames * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return pictures
