"""Errors of camera paths: snippets, whole trajectories, and drift over stretches of them.

Three incompatible numbers are called "ATE" or "odometry error" in the literature; here each has its own name.
All arrays are float64. A path is (N, 4, 4) ``T_world_from_camera``, its points (N, 3) the cameras' positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kinema.io.poses import invert_poses


class Similarity(NamedTuple):
    """x_true = scale * rotation @ x + translation.

    Attributes:
        rotation: (3, 3).
        translation: (3,).
        scale: above zero.
    """

    rotation: np.ndarray
    translation: np.ndarray
    scale: float

    def apply(self, T_world_from_camera: np.ndarray) -> np.ndarray:
        """Move a path.

        Args:
            T_world_from_camera: (N, 4, 4).

        Returns:
            (N, 4, 4): turned and moved as a whole, its positions scaled.
        """
        moved = T_world_from_camera.copy()
        moved[:, :3, :3] = self.rotation @ T_world_from_camera[:, :3, :3]
        moved[:, :3, 3] = self.scale * T_world_from_camera[:, :3, 3] @ self.rotation.T + self.translation
        return moved


IDENTITY = Similarity(np.eye(3), np.zeros(3), 1.0)


def align(points: np.ndarray, true: np.ndarray, *, scaled: bool) -> Similarity:
    """Find the motion that lays points onto true ones with the least squared distance (Umeyama 1991).

    Args:
        points: (N, 3).
        true: (N, 3).
        scaled: whether a scale may be found as well; else it is 1.

    Returns:
        The motion. Where the points leave the rotation open (all on a line), any of those that are best.
    """
    middle, true_middle = points.mean(0), true.mean(0)
    centred, true_centred = points - middle, true - true_middle
    U, singular, Vt = np.linalg.svd(true_centred.T @ centred / len(points))
    signs = np.ones(3)
    if np.linalg.det(U) * np.linalg.det(Vt) < 0:
        signs[2] = -1
    rotation = (U * signs) @ Vt
    variance = float((centred**2).sum() / len(points))
    scale = float((singular * signs).sum() / variance) if scaled and variance > 0 else 1.0
    return Similarity(rotation, true_middle - scale * rotation @ middle, scale)


def nearest_times(
    times: np.ndarray, others: np.ndarray, *, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Match two lists of times: each of the shorter list with the nearest of the longer one.

    Args:
        times: (N,) seconds, rising.
        others: (M,) seconds, rising.
        tolerance: the largest difference, seconds.

    Returns:
        Positions in `times` and in `others`, of equal length.
    """
    if len(times) > len(others):
        second, first = nearest_times(others, times, tolerance=tolerance)
        return first, second
    right = np.clip(np.searchsorted(others, times), 1, max(len(others) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(others) - 1)
    nearer = np.where(np.abs(others[left] - times) <= np.abs(others[right] - times), left, right)
    close = np.abs(others[nearer] - times) <= tolerance
    return np.flatnonzero(close), nearer[close]


def snippet_distance(predicted: np.ndarray, true: np.ndarray) -> float:
    """How far a snippet's positions are from the true ones after one scale, as SfMLearner and GeoNet align.

    Both start in the same point; nothing is turned. The published "ATE" is this over N, the true root mean
    square this over the root of N.

    Args:
        predicted: (N, 3) positions in the first camera's frame, in any unit.
        true: (N, 3), metres.

    Returns:
        The Frobenius norm of the difference, metres. Where the prediction does not move at all, the length of
        the truth.
    """
    moved = predicted - predicted[0]
    goal = true - true[0]
    energy = float((moved**2).sum())
    scale = float((goal * moved).sum()) / energy if energy > 0 else 0.0
    return float(np.linalg.norm(scale * moved - goal))


def relative_positions(T_world_from_camera: np.ndarray) -> np.ndarray:
    """Positions in the first camera's frame.

    Args:
        T_world_from_camera: (N, 4, 4).

    Returns:
        (N, 3).
    """
    positions: np.ndarray = (invert_poses(T_world_from_camera[:1]) @ T_world_from_camera)[:, :3, 3]
    return positions


def step_errors(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Relative pose errors from each pose to the next (Sturm et al. 2012).

    Args:
        predicted: (N, 4, 4), in true units.
        true: (N, 4, 4).

    Returns:
        (N - 1,) lengths, metres; (N - 1,) angles, degrees.
    """
    steps = [invert_poses(T[:-1]) @ T[1:] for T in (predicted, true)]
    return _sizes(invert_poses(steps[1]) @ steps[0])


def segment_errors(
    predicted: np.ndarray, true: np.ndarray, *, lengths: Sequence[float], step: int
) -> tuple[np.ndarray, np.ndarray]:
    """Drift over stretches of a path, as the development kit of KITTI odometry measures it.

    Args:
        predicted: (N, 4, 4), in true units.
        true: (N, 4, 4).
        lengths: of the stretches along the true path, metres.
        step: a stretch begins at every so many poses.

    Returns:
        (S,) translation errors, percent; (S,) rotation errors, degrees per 100 m. Empty when the path is
        shorter than all stretches.
    """
    moves = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1)
    distance = np.concatenate([[0.0], np.cumsum(moves)])
    firsts = np.arange(0, len(true), step)
    begins, ends, spans = [], [], []
    for length in lengths:
        last = np.searchsorted(distance, distance[firsts] + length, side="right")  # the first beyond it
        reached = last < len(true)
        begins.append(firsts[reached])
        ends.append(last[reached])
        spans.append(np.full(int(reached.sum()), float(length)))
    begin, end, span = np.concatenate(begins), np.concatenate(ends), np.concatenate(spans)
    moved, goal = (invert_poses(T[begin]) @ T[end] for T in (predicted, true))
    shifts, angles = _sizes(invert_poses(moved) @ goal)
    return 100 * shifts / span, 100 * angles / span


def _sizes(T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length of the translation, and angle of the rotation in degrees."""
    half = (np.trace(T[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    # The arc cosine alone is blind to angles below 1e-8, and noisy far above: the sine sees those.
    antisymmetric = T[:, :3, :3] - np.swapaxes(T[:, :3, :3], 1, 2)
    sine = np.linalg.norm(antisymmetric, axis=(1, 2)) / np.sqrt(8)
    return np.linalg.norm(T[:, :3, 3], axis=1), np.degrees(np.arctan2(sine, half))
