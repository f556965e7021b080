"""Smooth motions in time: waves, speeds and ways."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Waves:
    """A smooth random function of time: a few sines for every component.

    Attributes:
        frequency: (C, N) radians per second.
        phase: (C, N).
        amplitude: (C, N).
    """

    frequency: Array
    phase: Array
    amplitude: Array

    def at(self, time: float) -> Array:
        """Evaluate.

        Args:
            time: seconds.

        Returns:
            (C,).
        """
        values: Array = (self.amplitude * np.sin(self.frequency * time + self.phase)).sum(axis=1)
        return values


def draw_waves(
    rng: np.random.Generator, sizes: tuple[float, ...], hertz: tuple[float, float], *, count: int = 4
) -> Waves:
    """Draw a smooth random function.

    Args:
        rng: where the randomness comes from.
        sizes: standard deviations of the components.
        hertz: slowest and fastest sine; slower ones are larger, as in a random walk.
        count: sines of a component.

    Returns:
        The function.
    """
    low, high = (math.log(h) for h in hertz)
    frequency = np.exp(rng.uniform(low, high, (len(sizes), count)))
    weight = rng.uniform(0.5, 1.0, frequency.shape) / frequency
    weight *= math.sqrt(2) / np.linalg.norm(weight, axis=1, keepdims=True)
    amplitude = weight * np.array(sizes)[:, None]
    return Waves(math.tau * frequency, rng.uniform(0, math.tau, frequency.shape), amplitude)


class Way:
    """A line on the ground: straight pieces and quarter circles on a grid of streets.

    Args:
        turns: what happens at crossing 0, 1, ...: -1 left, 0 straight on, 1 right.
        start: metres before the first crossing where it begins, on the street x = 0, towards z.
        pitch: metres between the middles of streets, along x and along z.
        radius: of the quarter circles.
    """

    def __init__(
        self, turns: NDArray[np.int64], start: float, pitch: tuple[float, float], radius: float
    ) -> None:
        self._pieces: list[tuple[float, float, float, float, int]] = []
        x, z, heading = 0.0, -start, 0
        length = start
        arc = math.pi / 2 * radius
        done = 0.0
        for turn in turns.tolist():
            self._pieces.append((done, x, z, heading * math.pi / 2, 0))
            straight = length - (radius if turn else 0.0)
            sine, cosine = math.sin(heading * math.pi / 2), math.cos(heading * math.pi / 2)
            x, z, done = x + straight * sine, z + straight * cosine, done + straight
            if turn:
                self._pieces.append((done, x, z, heading * math.pi / 2, turn))
                x, z = x + radius * sine, z + radius * cosine
                heading += turn
                sine, cosine = math.sin(heading * math.pi / 2), math.cos(heading * math.pi / 2)
                x, z, done = x + radius * sine, z + radius * cosine, done + arc
            length = pitch[1 if heading % 2 == 0 else 0] - (radius if turn else 0.0)
        self._pieces.append((done, x, z, heading * math.pi / 2, 0))
        self._starts = np.array([piece[0] for piece in self._pieces])
        self.radius = radius
        self.length = done + length

    def at(self, distance: float, aside: float) -> tuple[float, float, float]:
        """Find a place.

        Args:
            distance: metres along the way.
            aside: metres to the right of it.

        Returns:
            x, z and heading (0 is towards z, positive towards x).
        """
        number = max(int(np.searchsorted(self._starts, distance, side="right")) - 1, 0)
        begun, x, z, heading, turn = self._pieces[number]
        rest = distance - begun
        if turn == 0:
            x, z = x + rest * math.sin(heading), z + rest * math.cos(heading)
        else:
            angle, r = rest / self.radius, self.radius
            x += turn * r * math.cos(heading) * (1 - math.cos(angle)) + r * math.sin(heading) * math.sin(
                angle
            )
            z += -turn * r * math.sin(heading) * (1 - math.cos(angle)) + r * math.cos(heading) * math.sin(
                angle
            )
            heading += turn * angle
        return x + aside * math.cos(heading), z - aside * math.sin(heading), heading

    def curves(self) -> Array:
        """Where it turns.

        Returns:
            (N, 2) distances where quarter circles begin and end.
        """
        arc = math.pi / 2 * self.radius
        found = [(piece[0], piece[0] + arc) for piece in self._pieces if piece[4] != 0]
        return np.array(found).reshape(-1, 2)


class Drive:
    """How far along a way a vehicle has come, at any time: slower before, in and after curves.

    Args:
        way: the way.
        cruise: metres per second on straight pieces.
        sway: changes of that speed in time, a factor of 1 + sway.
        in_curves: metres per second in curves.
        distance: how far it must come at least.
        slowing: metres per second squared.
    """

    STEP = 0.05

    def __init__(
        self,
        way: Way,
        *,
        cruise: float,
        sway: Waves,
        in_curves: float,
        distance: float,
        slowing: float = 2.5,
    ) -> None:
        curves = [(-1e9, -1e9), *way.curves().tolist(), (1e12, 1e12)]
        reached, distances, time, number = 0.0, [0.0], 0.0, 0
        while reached < distance:
            speed = cruise * max(0.3, 1 + float(sway.at(time)[0]))
            while curves[number + 1][1] < reached:
                number += 1
            gap = min(reached - curves[number][1], max(curves[number + 1][0] - reached, 0.0))
            speed = min(speed, math.sqrt(in_curves**2 + 2 * slowing * gap))
            reached += speed * self.STEP
            time += self.STEP
            distances.append(reached)
        # A window of a second: no sudden speeds, no sudden accelerations.
        steps = np.diff(np.array(distances))
        window = np.hanning(23)[1:-1]
        padded = np.concatenate([np.repeat(steps[:1], 10), steps, np.repeat(steps[-1:], 10)])
        smooth = np.convolve(padded, window / window.sum(), mode="valid")
        self._distances = np.concatenate([[0.0], np.cumsum(smooth)])
        self._times = np.arange(len(self._distances)) * self.STEP

    def at(self, time: float) -> float:
        """How far it has come.

        Args:
            time: seconds; before 0 it stands where it starts.

        Returns:
            Metres.
        """
        # Cubic between the steps: a piecewise straight motion would shake at 10 Hz.
        place = min(max(time / self.STEP, 0.0), len(self._distances) - 1.001)
        low = int(place)
        part = place - low
        d = self._distances
        a, b = d[low], d[low + 1]
        before = d[low - 1] if low > 0 else 2 * a - b
        after = d[low + 2] if low + 2 < len(d) else 2 * b - a
        slope_a, slope_b = 0.5 * (b - before), 0.5 * (after - a)
        h = part * part * (3 - 2 * part)
        value = a + h * (b - a) + part * (1 - part) * ((1 - part) * slope_a - part * slope_b)
        return float(value)

    def when(self, distance: float) -> float:
        """When it comes by a place.

        Args:
            distance: metres.

        Returns:
            Seconds.
        """
        return float(np.interp(distance, self._distances, self._times))
