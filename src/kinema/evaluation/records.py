"""What a protocol is: frozen records that say which pixels, which average, which numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, NamedTuple

from kinema.evaluation.accumulators import OTHER_AVERAGING, Averaging

Task = Literal["flow", "depth", "pose", "restoration"]
"""What is predicted."""

Rounding = Literal["none", "kitti-png"]
"""``kitti-png``: predictions are rounded to 1/64 px and limited to what KITTI's 16-bit PNG can hold."""

Crop = Literal["none", "garg", "eigen"]
"""Which part of a picture counts: all of it, that of Garg et al. (2016), or that of Eigen et al. (2014)."""

OcclusionEstimate = Literal["none", "wang", "brox"]
"""How hidden points are estimated from the flows of both directions: see `kinema.ops.occlusion`."""

Alignment = Literal["none", "se3", "sim3"]
"""How a trajectory is laid onto the true one: not at all, turned and moved, or also scaled."""


class Fact(NamedTuple):
    """What a table says about a metric.

    Attributes:
        unit: such as ``px``; empty for pure numbers.
        meaning: half a sentence.
    """

    unit: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How numbers are made from predictions. A number without the name of its protocol means nothing.

    Attributes:
        name: as given to ``--protocol`` and written beside every number.
        title: one line for people.
        averaging: of every metric.
        metrics: names, the main one first.
        data: label of the data set that the protocol is defined on, such as ``flyingchairs@val``; empty where
            it is defined on any.
        both: metrics that are also reported under the other averaging, with that in their name.
        spread: metrics whose standard deviation over the images is reported too.
    """

    task: ClassVar[Task]
    item: ClassVar[str]
    """What is counted: ``pairs``, ``images``, ..."""
    part: ClassVar[str] = "pixels"
    """What an item is made of."""
    yardstick: ClassVar[str] = ""
    """Name of the trivial prediction whose numbers stand beside every result; empty without one."""

    name: str
    title: str
    averaging: Averaging
    metrics: tuple[str, ...]
    data: str = ""
    both: tuple[str, ...] = ()
    spread: tuple[str, ...] = ()

    @property
    def other_averaging(self) -> Averaging:
        """The averaging that this protocol does not use."""
        return OTHER_AVERAGING[self.averaging]

    def settings(self) -> Mapping[str, object]:
        """List what makes the numbers what they are.

        Returns:
            Every field by name but those that name the protocol and its metrics.
        """
        left_out = {"name", "title", "metrics", "data", "both", "spread"}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name not in left_out}


@dataclass(frozen=True, kw_only=True)
class FlowProtocol(Protocol):
    """Optical flow; see `Protocol`.

    Attributes:
        rounding: what happens to a prediction before it is scored.
        resolution: at which size prediction and truth are compared; always the truth's own, without cropping.
        divisor: a sum of errors is divided by the number of scored pixels; ``all`` divides by the pixels of
            the whole image, known or not, as tfoptflow does.
        largest_epe: averages of `epe` above it are reported as this, px, as UFlow does; None for no limit.
        occlusion: how hidden points are estimated, on flows of a quarter of the size as in UFlow; ``none``
            where they are not scored.
    """

    task = "flow"
    item = "pairs"
    yardstick = "zero_flow"

    both: tuple[str, ...] = ("epe",)
    rounding: Rounding = "none"
    resolution: Literal["truth"] = "truth"
    divisor: Literal["scored", "all"] = "scored"
    largest_epe: float | None = None
    occlusion: OcclusionEstimate = "none"


_SEVEN = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")


@dataclass(frozen=True, kw_only=True)
class DepthProtocol(Protocol):
    """Depth maps; see `Protocol`. A prediction is brought to the truth's size.

    Attributes:
        crop: the part of the picture that counts.
        nearest: metres; predictions below it are raised to it, and truth must be above it.
        farthest: metres; predictions above it are lowered to it; None for no limit.
        truth_within: whether only truth between `nearest` and `farthest` counts; else all that is known.
        scaling: ``median`` multiplies each prediction by median(truth) / median(prediction).
        resizing: whether depth or inverse depth is interpolated (bilinear).
        value: which depth the truth is, where it comes from a laser scanner.
    """

    task = "depth"
    item = "images"
    yardstick = "constant_depth"

    averaging: Averaging = "per-image"
    metrics: tuple[str, ...] = (*_SEVEN, "scale")
    spread: tuple[str, ...] = ("scale",)
    crop: Crop = "none"
    nearest: float = 1e-3
    farthest: float | None = None
    truth_within: bool = True
    scaling: Literal["none", "median"] = "median"
    resizing: Literal["depth", "inverse depth"] = "depth"
    value: Literal["camera_z", "velodyne_x"] = "camera_z"


@dataclass(frozen=True, kw_only=True)
class SnippetProtocol(Protocol):
    """Short pieces of a camera path, each in its first camera's frame; see `Protocol`.

    Attributes:
        frames: of a snippet.
        alignment: first points laid upon each other and one scale for the positions; nothing is turned.
        time_tolerance: poses belong together when their times differ by no more, seconds.
    """

    task = "pose"
    item = "snippets"
    part = "snippets"
    yardstick = "straight_line"

    averaging: Averaging = "per-snippet"
    metrics: tuple[str, ...] = ("ate", "ate_rmse")
    spread: tuple[str, ...] = ("ate", "ate_rmse")
    frames: int
    alignment: Literal["scale"] = "scale"
    time_tolerance: float = 0.01


@dataclass(frozen=True, kw_only=True)
class TrajectoryProtocol(Protocol):
    """Whole camera paths; see `Protocol`.

    Attributes:
        alignment: how the predicted path is laid onto the true one, by all its positions.
        time_tolerance: poses belong together when their times differ by no more, seconds.
    """

    task = "pose"
    item = "sequences"
    part = "poses"

    averaging: Averaging = "per-sequence"
    metrics: tuple[str, ...] = (
        "ate_rmse",
        "ate_mean",
        "ate_median",
        "ate_max",
        "rpe_trans",
        "rpe_rot",
        "scale",
    )
    alignment: Alignment = "none"
    time_tolerance: float = 0.01


@dataclass(frozen=True, kw_only=True)
class SegmentProtocol(Protocol):
    """Drift over stretches of 100 to 800 m, as KITTI odometry ranks it; see `Protocol`.

    Attributes:
        alignment: how the predicted path is laid onto the true one; only its scale can matter here.
        lengths: of the stretches, metres.
        step: a stretch begins at every so many poses.
        time_tolerance: poses belong together when their times differ by no more, seconds.
    """

    task = "pose"
    item = "sequences"
    part = "segments"

    averaging: Averaging = "per-segment"
    metrics: tuple[str, ...] = ("t_err", "r_err")
    both: tuple[str, ...] = ("t_err", "r_err")
    alignment: Alignment = "none"
    lengths: tuple[float, ...] = (100, 200, 300, 400, 500, 600, 700, 800)
    step: int = 10
    time_tolerance: float = 0.01


@dataclass(frozen=True, kw_only=True)
class RestorationProtocol(Protocol):
    """Restored frames beside sharp ones of the same size; see `Protocol`.

    Attributes:
        channels: ``rgb``: PSNR of all three at once, SSIM their mean. ``y``: luma after BT.601, 16 to 235,
            not rounded.
        border: pixels left out along every edge.
        frames: all of a clip, or the one in its middle.
    """

    task = "restoration"
    item = "clips"
    part = "frames"

    averaging: Averaging = "per-clip"
    metrics: tuple[str, ...] = ("psnr", "ssim")
    both: tuple[str, ...] = ("psnr", "ssim")
    channels: Literal["rgb", "y"] = "rgb"
    border: int = 0
    frames: Literal["all", "centre"] = "all"
