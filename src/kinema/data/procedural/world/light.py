"""The light of a world at one moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinema.data.procedural.world.solids import Colour, Matrix


@dataclass(frozen=True, eq=False)
class Light:
    """A sun or a lamp, and what comes from all around; linear, 1 is the brightest that a picture shows.

    Attributes:
        place: (3,) where a lamp is in the world, or the direction towards the sun, of unit length.
        parallel: it is a sun.
        direct: RGB of the sun, or of the lamp one metre away from it (it falls off softly).
        above: RGB of what comes from above.
        below: RGB of what comes from below.
        shadows: whether solids hide the sun or the lamp.
        gloss: strength of highlights, as a factor.
        sky: factor of the sky's colours.
        fog: per metre; what is d metres away keeps exp(-fog d) of its colour.
        fog_colour: RGB of the rest.
        radius: of the lamp's fall-off in metres: direct / (1 + (d / radius)^2).
    """

    place: NDArray[np.float64]
    parallel: bool
    direct: Colour
    above: Colour
    below: Colour
    shadows: bool = True
    gloss: float = 0.0
    sky: Colour = (1.0, 1.0, 1.0)
    fog: float = 0.0
    fog_colour: Colour = (0.6, 0.6, 0.6)
    radius: float = 3.0

    def seen_from(self, T_seer_from_world: Matrix) -> NDArray[np.float64]:
        """Bring the light into other coordinates.

        Args:
            T_seer_from_world: (..., 4, 4).

        Returns:
            (..., 3) direction to the sun, or place of the lamp.
        """
        turn, shift = T_seer_from_world[..., :3, :3], T_seer_from_world[..., :3, 3]
        seen: NDArray[np.float64] = turn @ self.place + (0.0 if self.parallel else shift)
        return seen

    def own_frame(self, eye: NDArray[np.float64]) -> Matrix:
        """Where the light looks from: its z runs with the light.

        Args:
            eye: (3,) a place near which a sun's coordinates are small.

        Returns:
            (4, 4) light from world.
        """
        down = np.array([0.0, 1.0, 0.0])
        forward, origin = (-self.place, eye) if self.parallel else (down, self.place)
        side = np.cross(forward, (0.0, 0.0, 1.0) if abs(forward[2]) < 0.9 else (1.0, 0.0, 0.0))
        side /= np.linalg.norm(side)
        turn = np.stack([side, np.cross(forward, side), forward])
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = turn, -turn @ origin
        return matrix
