"""Scoring predicted camera paths by a protocol."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kinema.errors import InputError
from kinema.evaluation.accumulators import Tally
from kinema.evaluation.pose_metrics import (
    IDENTITY,
    align,
    nearest_times,
    relative_positions,
    segment_errors,
    snippet_distance,
    step_errors,
)
from kinema.evaluation.records import (
    Alignment,
    Fact,
    Protocol,
    SegmentProtocol,
    SnippetProtocol,
    TrajectoryProtocol,
)
from kinema.evaluation.scoring import ItemScore
from kinema.io.poses import Trajectory

POSE_METRICS: dict[str, Fact] = {
    "ate": Fact("m", "as published for snippets: root of the summed squares over N"),
    "ate_rmse": Fact("m", "root mean square distance of positions"),
    "ate_mean": Fact("m", "mean distance of positions"),
    "ate_median": Fact("m", "median distance of positions"),
    "ate_max": Fact("m", "largest distance of positions"),
    "rpe_trans": Fact("m", "from pose to pose, root mean square"),
    "rpe_rot": Fact("deg", "from pose to pose, root mean square"),
    "scale": Fact("", "by which the predicted path is multiplied"),
    "t_err": Fact("%", "translation error over 100 to 800 m"),
    "r_err": Fact("deg/100 m", "rotation error over 100 to 800 m"),
}
"""Every pose metric by the name it has in JSON results."""


def score_path(
    name: str, predicted: Trajectory, true: Trajectory, protocol: Protocol
) -> Iterator[tuple[str, ItemScore]]:
    """Score one predicted path.

    Args:
        name: of the path.
        predicted: in any world frame.
        true: matched by time where both have times, else pose by pose.
        protocol: how to score.

    Yields:
        Names and scores: of the path; or, by a snippet protocol, of each snippet cut from it, ``NAME/000012``
        by its first pose. A path of just one snippet keeps its name.

    Raises:
        InputError: when paths do not belong together or are too short.
        ValueError: when the protocol scores no paths.
    """
    if isinstance(protocol, SnippetProtocol):
        yield from _score_snippets(name, predicted, true, protocol)
        return
    if not isinstance(protocol, TrajectoryProtocol | SegmentProtocol):
        raise ValueError(f"{protocol.name} scores no camera paths")
    guess, goal = _matched(name, predicted, true, tolerance=protocol.time_tolerance)
    moved, scale = _aligned(guess, goal, protocol.alignment)
    if isinstance(protocol, SegmentProtocol):
        shifts, angles = segment_errors(moved, goal, lengths=protocol.lengths, step=protocol.step)
        yield name, ItemScore({"t_err": _summed(shifts), "r_err": _summed(angles)})
    else:
        yield name, ItemScore(_trajectory(moved, goal, scale))


def _trajectory(moved: np.ndarray, goal: np.ndarray, scale: float) -> dict[str, Tally]:
    distance = np.linalg.norm(moved[:, :3, 3] - goal[:, :3, 3], axis=1)
    shifts, angles = step_errors(moved, goal)
    values = {
        "ate_rmse": _root_mean_square(distance),
        "ate_mean": float(distance.mean()),
        "ate_median": float(np.median(distance)),
        "ate_max": float(distance.max()),
        "rpe_trans": _root_mean_square(shifts),
        "rpe_rot": _root_mean_square(angles),
        "scale": scale,
    }
    return {metric: Tally(value * len(goal), len(goal)) for metric, value in values.items()}


def _score_snippets(
    name: str, predicted: Trajectory, true: Trajectory, protocol: SnippetProtocol
) -> Iterator[tuple[str, ItemScore]]:
    N = protocol.frames
    guess, goal = _matched(name, predicted, true, tolerance=protocol.time_tolerance)
    if len(goal) < N:
        raise InputError(
            f"{name}: has {len(goal)} poses in common with the truth; {protocol.name} needs {N} in a row"
        )
    line = np.arange(N)[:, None] * np.array([0.0, 0.0, 1.0])
    for first in range(len(goal) - N + 1):
        true_points = relative_positions(goal[first : first + N])
        distance = snippet_distance(relative_positions(guess[first : first + N]), true_points)
        yardstick = snippet_distance(line, true_points)
        label = name if len(goal) == N else f"{name}/{first:06d}"
        yield label, ItemScore(_snippet(distance, N), _snippet(yardstick, N))


def _snippet(distance: float, frames: int) -> dict[str, Tally]:
    return {"ate": Tally(distance / frames, 1), "ate_rmse": Tally(distance / frames**0.5, 1)}


def _matched(
    name: str, predicted: Trajectory, true: Trajectory, *, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Poses that belong together: by time, or one by one."""
    guess, goal = predicted.T_world_from_camera, true.T_world_from_camera
    if predicted.times is not None and true.times is not None:
        first, second = nearest_times(predicted.times, true.times, tolerance=tolerance)
        if len(first) < 2:
            raise InputError(
                f"{name}: {len(first)} of {len(predicted)} predicted poses have a true one within "
                f"{tolerance:g} s; do both count time from the same moment?"
            )
        return guess[first], goal[second]
    if len(predicted) != len(true):
        raise InputError(
            f"{name}: {len(predicted)} predicted poses but {len(true)} true ones, and no times to match them "
            "by; write one pose for each frame, or TUM files with times"
        )
    if len(true) < 2:
        raise InputError(f"{name}: a path of one pose has no length")
    return guess, goal


def _aligned(guess: np.ndarray, goal: np.ndarray, alignment: Alignment) -> tuple[np.ndarray, float]:
    if alignment == "none":
        return guess, IDENTITY.scale
    motion = align(guess[:, :3, 3], goal[:, :3, 3], scaled=alignment == "sim3")
    return motion.apply(guess), motion.scale


def _summed(values: np.ndarray) -> Tally:
    return Tally(float(values.sum()), len(values))


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
