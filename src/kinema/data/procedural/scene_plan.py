"""The plan of one rendered scene: which layers, how they look, how they move; numbers only, no pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinema.data.procedural.bank import SCENES, generator
from kinema.data.procedural.effect_plan import Effects, plan_effects
from kinema.data.procedural.outlines import REACH, TILE
from kinema.data.procedural.patterns import SIDE
from kinema.data.procedural.planar_motion import Camera, Motion
from kinema.data.procedural.render_config import RenderConfig
from kinema.data.procedural.scene_motion import (
    Place,
    camera_plan,
    draw_shake,
    own_motion,
    standing_motion,
)


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """One layer, in pixels from the middle of frame 1.

    Attributes:
        motion: from frame 1 to frame 2.
        outline: number in the bank, or None: a half plane.
        outline_map: (2, 3), pixels to points of the outline's tile; half planes have none.
        half_plane: (3,) n, c: the layer is where n x + c <= 0, in pixels; n is 0 for things.
        texture: number in the bank.
        texture_map: (3, 3), pixels to texels.
        colour: (3, 4), RGB read to RGB seen.
        softness: width of the edge in pixels.
        shadow: x, y in pixels, width in pixels, and strength in [0, 1] of the shadow it throws.
        place: where it lies.
    """

    motion: Motion
    outline: int | None
    outline_map: NDArray[np.float64]
    half_plane: NDArray[np.float64]
    texture: int
    texture_map: NDArray[np.float64]
    colour: NDArray[np.float64]
    softness: float
    shadow: tuple[float, float, float, float]
    place: Place


@dataclass(frozen=True, eq=False)
class ScenePlan:
    """One scene.

    Attributes:
        index: in its data set.
        block: of the bank.
        kind: ``flat``, ``parallax`` or ``forward``.
        layers: the farthest, which covers everything, first.
        effects: on the pictures.
        exposures: how many moments a frame is averaged from; 1 is no motion blur.
        lens: k of the lens: the true radius is r / (1 + k r^2) where r is seen, in half diagonals; 0 is none.
    """

    index: int
    block: int
    kind: str
    layers: tuple[LayerPlan, ...]
    effects: Effects = field(repr=False)
    exposures: int
    lens: float


def plan_scene(config: RenderConfig, seed: int, index: int) -> ScenePlan:
    """Plan a scene; a pure function of its arguments.

    Args:
        config: what scenes are made of.
        seed: of the data set, 0 or more.
        index: of the scene, 0 or more.

    Returns:
        The plan.
    """
    rng = generator(config, seed, SCENES, index)
    roll = rng.random()
    kind = "forward" if roll < config.forward_share else "flat"
    if config.forward_share <= roll < config.forward_share + config.parallax_share:
        kind = "parallax"
    effects = plan_effects(config, rng)
    lens = rng.choice([-1, 1]) * rng.uniform(0.04, 0.16) if config.family == "lens" else 0.0
    layers = _Planner(config, rng, kind, effects).layers()
    exposures = _exposures(config, effects, layers)
    return ScenePlan(index, index // config.bank_scenes, kind, tuple(layers), effects, exposures, float(lens))


def _exposures(config: RenderConfig, effects: Effects, layers: list[LayerPlan]) -> int:
    """As many moments as it takes for fast things to leave a smear, not copies: one per three pixels."""
    if effects.exposure == 0.0:
        return 1
    ways = [layer.motion.displacement(layer.place.points(config.size_hw)) for layer in layers]
    fastest = float(np.quantile(np.hypot(*np.concatenate(ways, axis=1)), 0.9))
    return min(max(2, math.ceil(effects.exposure * fastest / 3)), config.blur_samples)


class _Planner:
    """Draws the layers of one scene, in order."""

    def __init__(self, config: RenderConfig, rng: np.random.Generator, kind: str, effects: Effects) -> None:
        self.config, self.rng, self.kind, self.effects = config, rng, kind, effects
        self.camera: Camera | None = None
        self.strength = 1.0
        self.count = int(rng.integers(config.things[0], config.things[1] + 1))

    def layers(self) -> list[LayerPlan]:
        """Background, ground, things; the camera's shake on top of all."""
        config, rng = self.config, self.rng
        whole = Place.frame(config.size_hw)
        layers = []
        if self.kind == "flat":
            motion = own_motion(config, rng, whole)
            layers.append(self._layer(motion, whole, depth=1.0))
        else:
            plan = camera_plan(config, rng, forward=self.kind == "forward")
            self.camera, self.strength = plan.camera, plan.strength
            for plane in plan.planes:
                layers.append(
                    self._layer(plane.motion, whole, depth=plane.depth, half_plane=plane.half_plane)
                )
        if self.kind == "forward":
            layers[1:] = [self._on_ground(layer) for layer in layers[1:]]
        depths = np.sort(rng.uniform(0.1, 0.9, self.count))[::-1]
        layers += [self._thing(layers[0].motion, float(depth)) for depth in depths]
        return with_shake_all(config, rng, layers)

    def _thing(self, ground: Motion, depth: float) -> LayerPlan:
        config, rng = self.config, self.rng
        place = Place.thing(config, rng, nearness=1 - depth)
        follows = rng.random() < config.follow_share
        if self.camera is not None and rng.random() < 0.6:
            # A thing that stands still in the world: an upright plane at its depth.
            still = standing_motion(config, self.camera, self.strength, place, 0.6 + 6.0 * depth**2)
            motion = Motion(still, own_motion(config, rng, place, slow=True).waves)
        elif follows:
            motion = own_motion(config, rng, place, slow=True).after(ground.homography)
        else:
            motion = own_motion(config, rng, place)
        return self._layer(motion, place, depth=depth, outline=int(rng.integers(config.bank_shapes)))

    def _layer(
        self,
        motion: Motion,
        place: Place,
        *,
        depth: float,
        outline: int | None = None,
        half_plane: NDArray[np.float64] | None = None,
    ) -> LayerPlan:
        config, rng = self.config, self.rng
        # Drawn in any case: effects must not shift the numbers that the truth is made of.
        width, strength = rng.uniform(0.4, 1.4), rng.uniform(0.15, 0.6)
        shadow = (0.0, 0.0, 1.0, 0.0)
        if outline is not None and self.effects.shadow_xy is not None:
            reach = 0.12 * place.radius + 3
            x, y = self.effects.shadow_xy
            shadow = (reach * x, reach * y, reach * width, strength)
        return LayerPlan(
            motion=motion,
            outline=outline,
            outline_map=_outline_map(rng, place),
            half_plane=np.array([0.0, 0.0, -1e6]) if half_plane is None else half_plane,
            texture=int(rng.integers(config.bank_textures)),
            texture_map=_texture_map(rng, place),
            colour=_colour(rng, self.effects, depth),
            softness=float(rng.uniform(*config.softness)),
            shadow=shadow,
            place=place,
        )

    def _on_ground(self, layer: LayerPlan) -> LayerPlan:
        """Lay the texture onto the plane in space: fine towards the horizon, coarse below the camera."""
        n, c = layer.half_plane[:2], layer.half_plane[2]
        height = self.config.size_hw[0]
        # Distance below the horizon is -(n x + c); texels per pixel grow with 1 / distance squared.
        along = np.array([n[1], -n[0], 0.0])
        scale = 0.35 * height * self.rng.uniform(0.8, 1.6)
        rows = np.stack([scale * along, [0.0, 0.0, scale * 0.35 * height], [-n[0], -n[1], -c]])
        turn = layer.texture_map[:2, :2] / math.sqrt(abs(np.linalg.det(layer.texture_map[:2, :2])))
        middle = np.eye(3)
        middle[:2, :2] = turn
        middle[:2, 2] = layer.texture_map[:2, 2]
        values = vars(layer) | {"texture_map": middle @ rows}
        return LayerPlan(**values)


def with_shake_all(
    config: RenderConfig, rng: np.random.Generator, layers: list[LayerPlan]
) -> list[LayerPlan]:
    """Let the camera shake: the same small rotation for every layer.

    Args:
        config: how often and how much.
        rng: where the randomness comes from.
        layers: of the scene.

    Returns:
        The layers with the joint motion.
    """
    shake = draw_shake(config, rng)
    if shake is None:
        return layers
    return [LayerPlan(**(vars(layer) | {"motion": layer.motion.after(shake)})) for layer in layers]


def _outline_map(rng: np.random.Generator, place: Place) -> NDArray[np.float64]:
    turn, stretch = rng.uniform(0, math.tau), rng.uniform(0.75, 1.33)
    size = place.radius / REACH  # pixels per point
    turned = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    matrix = np.diag([1 / (size * stretch), stretch / size]) @ turned
    middle = np.full(2, (TILE - 1) / 2)
    return np.concatenate([matrix, (middle - matrix @ np.array(place.centre))[:, None]], axis=1)


def _texture_map(rng: np.random.Generator, place: Place) -> NDArray[np.float64]:
    turn, size = rng.uniform(0, math.tau), math.exp(rng.uniform(math.log(0.6), math.log(1.3)))
    if rng.random() < 0.5:
        turn = rng.normal(0, 0.08)  # upright: bricks and writing mostly are
    flip = rng.choice([-1.0, 1.0])
    cosine, sine = size * math.cos(turn), size * math.sin(turn)
    matrix = np.array([[flip * cosine, -sine], [flip * sine, cosine]])
    # The layer lies on the texture as far as it fits: past its end the texture goes on as in a mirror.
    slack = max(12.0, SIDE / 2 - 0.8 * size * place.radius)
    shift = SIDE / 2 + rng.uniform(-slack, slack, 2) - matrix @ np.array(place.centre)
    return np.concatenate([np.concatenate([matrix, shift[:, None]], axis=1), [[0.0, 0.0, 1.0]]])


def _colour(rng: np.random.Generator, effects: Effects, depth: float) -> NDArray[np.float64]:
    """Another hue, saturation, contrast and brightness for every use of a texture; fog by distance."""
    hue = rng.uniform(0, math.tau) if rng.random() < 0.6 else 0.0
    axis = np.full(3, 1 / math.sqrt(3))
    cosine, sine = math.cos(hue), math.sin(hue)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turned = cosine * np.eye(3) + sine * cross + (1 - cosine) * np.outer(axis, axis)
    grey = np.full((3, 3), 1 / 3)
    saturated = grey + rng.uniform(0.1, 1.0) * (np.eye(3) - grey)
    gain, level = rng.uniform(0.6, 1.1), rng.uniform(0.3, 0.65)
    matrix = gain * (saturated @ turned)
    matrix = np.concatenate([matrix, (level - gain * 0.5 + rng.normal(0, 0.05, 3))[:, None]], axis=1)
    if effects.fog is not None:
        left = math.exp(-effects.fog.density * (0.25 + depth))
        matrix = left * matrix
        matrix[:, 3] += (1 - left) * np.array(effects.fog.colour)
    return np.asarray(matrix, np.float64)
