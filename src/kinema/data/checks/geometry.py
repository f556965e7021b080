"""Depth and poses on trial: together they must explain the next frame, with the scale that they claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kinema.data.checks.finding import Finding, error
from kinema.data.checks.motion import differences, local_contrast
from kinema.data.driving_sample import CameraSequence
from kinema.errors import InputError
from kinema.io.poses import invert_poses

FACTORS = (0.001, 0.01, 0.1, 0.2, 0.256, 0.5, 2.0, 3.906, 5.0, 10.0, 100.0, 1000.0)
"""Depths that are wrong are mostly wrong by one of these: units, and the scales that depth pictures have."""

_LEAST = 500
_MOVING = 0.7  # pixels
_TEXTURE = 0.012
_BETTER, _LITTLE = 0.85, 0.96  # of the difference as told: in few pairs, in many that agree
_ENOUGH, _NEARLY_ALL = 4, 0.85
_MOST = 6  # pairs: scale and direction are the same for a whole sequence
_STEPS = (1, 2, 4, 8)  # frames ahead


def relative_motion(T_world_from_first: np.ndarray, T_world_from_second: np.ndarray) -> np.ndarray:
    """Where the second camera stands, seen from the first.

    Args:
        T_world_from_first: (N, 4, 4).
        T_world_from_second: (N, 4, 4).

    Returns:
        (N, 4, 4) ``T_first_from_second``.
    """
    motion: np.ndarray = invert_poses(T_world_from_first) @ T_world_from_second
    return motion


def depth_findings(sequence: CameraSequence, places: Sequence[int]) -> Iterator[Finding]:
    """Warp frames by depth and poses, as told and in other readings.

    Args:
        sequence: with K, poses and depth.
        places: of frames.

    Yields:
        Poses that are inverted, or a depth of another unit, when the pairs of frames agree.
    """
    chosen = places[:: max(1, len(places) // _MOST)]
    pairs = [(place, fits) for place in chosen for fits in _pairs(sequence, place)]
    reading = _agreed([fits for _, fits in pairs])
    if reading != "as it is":
        yield _finding(reading, f"{sequence.name}/{sequence.frames.stem(pairs[0][0])}")


def _agreed(pairs: Sequence[Mapping[str, float]]) -> str:
    """The reading that explains nearly all pairs better than what is told; little each time is enough.

    A true depth has its least difference at the factor 1 in every pair, however small the share of the
    motion that depth explains; what else differs (hidden places, moving things) is in all readings.
    """
    if not pairs:
        return "as it is"
    best, least = "as it is", _BETTER if len(pairs) < _ENOUGH else _LITTLE
    for name in ("inverted", "zero", *(f"{factor:g}" for factor in FACTORS)):
        ratios = [fits[name] for fits in pairs if name in fits]
        better = sum(ratio < 1 for ratio in ratios)
        if len(ratios) * 2 > len(pairs) and better >= _NEARLY_ALL * len(ratios):
            mean = float(np.mean(ratios))
            if mean < least:
                best, least = name, mean
    return best


def _finding(reading: str, place: str) -> Finding:
    if reading == "inverted":
        return error(
            "poses inverted",
            place,
            "frames fit when the poses are read as camera from world",
            "write poses as world from camera: the inverse matrices",
        )
    if reading == "zero":
        return error(
            "depth and poses do not fit",
            place,
            "depth, poses and intrinsics together explain the next frame worse than no motion",
            "check that frames, depth and poses are of one sequence and in one order",
        )
    return error(
        "depth scale",
        place,
        f"frames fit when every depth is multiplied by {reading}",
        "store depth in millimetres, or scale the poses to metres",
    )


def _pairs(sequence: CameraSequence, place: int) -> list[dict[str, float]]:
    """Each reading's difference over that of what is told, for the frame and some later ones."""
    T, truth, K = sequence.T_world_from_camera, sequence.truth, sequence.K
    stem = sequence.frames.stem(place)
    if T is None or truth is None or K is None or not truth.has(stem):
        return []
    found: list[dict[str, float]] = []
    try:
        image = sequence.frames.read(place)
        depth = truth.read(stem, (image.shape[0], image.shape[1]), value="camera_z")
        for later in (place + step for step in _STEPS if place + step < len(T)):
            flows = _flows(depth, K, T[place], T[later])
            found.append(_fits(image, sequence.frames.read(later), flows, depth > 0))
    except InputError:
        return []
    return [fits for fits in found if fits]


def _flows(depth: np.ndarray, K: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    if np.isnan(first).any() or np.isnan(second).any():
        return {"as it is": np.zeros((*depth.shape, 2), np.float32)}
    T = invert_poses(second[None])[0] @ first
    inverse = second @ invert_poses(first[None])[0]
    flows = {"as it is": _rigid(depth, K, T), "inverted": _rigid(depth, K, inverse)}
    return flows | {f"{factor:g}": _rigid(depth * np.float32(factor), K, T) for factor in FACTORS}


def _rigid(depth: np.ndarray, K: np.ndarray, T_second_from_first: np.ndarray) -> np.ndarray:
    """Where points go: (H, W, 2) pixels; far away where they pass behind the camera."""
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)
    points = rays * depth[..., None]
    moved = points @ T_second_from_first[:3, :3].T + T_second_from_first[:3, 3]
    z = np.where(moved[..., 2] > 1e-6, moved[..., 2], np.nan)
    flow = np.stack(
        [moved[..., 0] / z * K[0, 0] + K[0, 2] - x, moved[..., 1] / z * K[1, 1] + K[1, 2] - y], axis=-1
    )
    finite: np.ndarray = np.nan_to_num(flow, nan=1e6).astype(np.float32)
    return finite


def _fits(
    image: np.ndarray, other: np.ndarray, flows: Mapping[str, np.ndarray], known: np.ndarray
) -> dict[str, float]:
    """Of two readings only pixels count whose points lie inside the other frame by both."""
    first, contrast = local_contrast(image)
    second, _ = local_contrast(other)
    told = flows["as it is"]
    apart, inside = differences(first, second, told)
    counted = known & (contrast > _TEXTURE) & inside & (np.hypot(told[..., 0], told[..., 1]) > _MOVING)
    if counted.sum() < _LEAST:
        return {}
    ratios: dict[str, float] = {}
    for name, flow in {**flows, "zero": np.zeros_like(told)}.items():
        other_apart, other_inside = differences(first, second, flow)
        both = counted & other_inside
        if name != "as it is" and both.sum() > 0.3 * counted.sum():
            ratios[name] = float(other_apart[both].mean()) / max(float(apart[both].mean()), 1e-6)
    return ratios
