"""The settings of TVNet: presets, what can be learned, and the sizes of its pyramid. No torch is imported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from kinema.errors import UsageError

Preset = Literal["corrected", "reference"]
ChannelOrder = Literal["bgr", "rgb"]
Constants = Literal["fixed", "shared", "per_warp"]
Kernels = Literal["fixed", "shared", "per_iteration"]
KernelNorm = Literal["bounded", "free"]
Biases = Literal["none", "learned"]
Start = Literal["none", "constant", "map"]

MIN_SIDE = 3
COARSEST_SIDE = 16
LEARNED_LEVELS = 5
"""Levels with constants of their own where their number is not fixed; coarser ones share the last one's."""

LARGEST_TAU = 0.25
LARGEST_TAPS = 2.0
"""Absolute values of a kernel's two taps together: its operator norm; those of (-1, 1) are the largest."""


@dataclass(frozen=True)
class Settings:
    """The numbers of a preset.

    Attributes:
        scales: pyramid levels at most; None for as many as leave `COARSEST_SIDE` pixels.
        warps: linearisations per level.
        iterations: primal-dual iterations per warp.
        median: side of the median window after each warp; 1 for none.
        kernel_norm: of difference kernels that are learned.
        epsilon: squared grey-level gradient that counts as zero.
    """

    scales: int | None
    warps: int
    iterations: int
    median: int
    kernel_norm: KernelNorm
    epsilon: float = 1e-12


PRESETS: dict[str, Settings] = {
    "corrected": Settings(scales=None, warps=5, iterations=50, median=5, kernel_norm="bounded"),
    "reference": Settings(scales=5, warps=5, iterations=50, median=1, kernel_norm="free"),
}


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Which parts of the solver are learned; each field is an option of its own.

    Attributes:
        constants: tau, lambda and theta: ``fixed``; learned and ``shared``; or ``per_warp``, with values of
            their own for each warp of each level.
        kernels: the eight 2-tap difference kernels of an iteration: ``fixed`` at (-1, 1); learned and
            ``shared`` by all iterations; or ``per_iteration``, as published.
        kernel_norm: ``bounded`` keeps each learned kernel's operator norm at that of (-1, 1) or below, so
            that the iterations stay stable; ``free``, as published, does not.
        biases: ``learned``: one for each learned kernel, from zero, as in the Ascend port.
        start: where the coarsest level starts: from zero (``none``), from one learned vector (``constant``),
            or from a learned flow field (``map``), as published.
    """

    constants: Constants = "fixed"
    kernels: Kernels = "fixed"
    kernel_norm: KernelNorm = "bounded"
    biases: Biases = "none"
    start: Start = "none"

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self)).items():
            check_choice(name, getattr(self, name), get_args(kind))
        if self.biases == "learned" and self.kernels == "fixed":
            raise UsageError("biases='learned' needs learned kernels: kernels='shared' or 'per_iteration'")


def check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse a word that is none of some.

    Args:
        name: of the setting.
        value: what was given.
        known: what there is.

    Raises:
        UsageError: when it is none of them.
    """
    if value not in known:
        raise UsageError(f"{name} {value!r} of tvnet is unknown: use {' or '.join(known)}")


def check_numbers(
    *,
    counts: Mapping[str, int | None],
    constants: Mapping[str, float],
    zoom: float,
    median: int,
    stop_below: float,
) -> None:
    """Refuse numbers with which the solver cannot work.

    Args:
        counts: of levels, warps and iterations, by name; None where there is no limit.
        constants: tau, lbda and theta by name.
        zoom: size ratio of neighbouring levels.
        median: side of the median window.
        stop_below: of the early stop.

    Raises:
        UsageError: for a number out of its range.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"{name} must be at least 1 (got {count})")
    for name, value in constants.items():
        high = LARGEST_TAU if name == "tau" else math.inf
        if not 0 < value <= high:
            raise UsageError(f"{name} must lie in (0, {high:g}] (got {value})")
    if not 0 < zoom < 1:
        raise UsageError(f"zoom must lie between 0 and 1 (got {zoom})")
    if median < 1 or median % 2 == 0:
        raise UsageError(f"median must be an odd window side, 1 for none (got {median})")
    if stop_below < 0:
        raise UsageError(f"stop_below must not be negative (got {stop_below})")


def level_sizes(
    size_hw: tuple[int, int], *, scales: int | None, zoom: float, faithful: bool
) -> list[tuple[int, int]]:
    """Sizes of the pyramid's levels.

    Args:
        size_hw: height and width of the frames in pixels.
        scales: levels at most; None for as many as fit.
        zoom: size ratio of neighbouring levels, in (0, 1).
        faithful: count levels as published, by the diagonal; else leave `COARSEST_SIDE` pixels a side.

    Returns:
        (h, w), finest first.
    """
    h, w = size_hw
    shrink = math.log(1 / zoom)
    if faithful:
        count = math.floor(1 + math.log(math.hypot(h, w) / 4) / shrink)
    else:
        count = math.floor(1 + math.log(max(1.0, min(h, w) / COARSEST_SIDE)) / shrink + 1e-9)
    count = max(1, count if scales is None else min(count, scales))
    ratios = [zoom**s for s in range(count)]
    return [(max(1, int(h * r + 0.5)), max(1, int(w * r + 0.5))) for r in ratios]
