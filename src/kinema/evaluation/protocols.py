"""Named evaluation protocols: which pixels, which average, which numbers (see ``docs/protocols.md``)."""

from __future__ import annotations

from kinema.errors import UsageError
from kinema.evaluation.flow_protocols import FLOW_PROTOCOLS
from kinema.evaluation.records import (
    DepthProtocol,
    FlowProtocol,
    Protocol,
    RestorationProtocol,
    SegmentProtocol,
    SnippetProtocol,
    TrajectoryProtocol,
)

__all__ = [
    "DEFAULT_PROTOCOLS",
    "PROTOCOLS",
    "Protocol",
    "get_flow_protocol",
    "get_protocol",
    "protocols_for",
]

DEPTH_PROTOCOLS = (
    DepthProtocol(
        name="eigen-80",
        title="Eigen test frames as GeoNet scores them: Garg's crop, to 80 m, scaled by the median",
        data="kitti_raw@eigen_test",
        crop="garg",
        farthest=80.0,
        value="velodyne_x",
    ),
    DepthProtocol(
        name="eigen-50",
        title="Eigen test frames as GeoNet scores them: Garg's crop, to 50 m, scaled by the median",
        data="kitti_raw@eigen_test",
        crop="garg",
        farthest=50.0,
        value="velodyne_x",
    ),
    DepthProtocol(
        name="eigen-80-inverse",
        title="Eigen test frames as Monodepth2 scores them: inverse depth resized, else as eigen-80",
        data="kitti_raw@eigen_test",
        crop="garg",
        farthest=80.0,
        resizing="inverse depth",
        value="velodyne_x",
    ),
    DepthProtocol(
        name="eigen-crop-80",
        title="Eigen test frames with the crop of Eigen et al., to 80 m, scaled by the median",
        data="kitti_raw@eigen_test",
        crop="eigen",
        farthest=80.0,
        value="velodyne_x",
    ),
    DepthProtocol(
        name="kitti-stereo-depth",
        title="KITTI 2015 stereo pictures as GeoNet scores them: every pixel with disparity, to 80 m",
        data="kitti_stereo",
        farthest=80.0,
        truth_within=False,
    ),
    DepthProtocol(
        name="depth",
        title="any depth, every pixel with truth, scaled by the median",
    ),
    DepthProtocol(
        name="depth-metric",
        title="any depth, every pixel with truth, in metres as predicted",
        metrics=("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3"),
        spread=(),
        scaling="none",
    ),
)

POSE_PROTOCOLS = (
    SnippetProtocol(
        name="snippet-ate-5",
        title="snippets of 5 frames as SfMLearner and GeoNet score them",
        data="kitti_odometry@test",
        frames=5,
    ),
    SnippetProtocol(
        name="snippet-ate-3",
        title="snippets of 3 frames as SfMLearner and GeoNet score them",
        data="kitti_odometry@test",
        frames=3,
    ),
    TrajectoryProtocol(
        name="trajectory-sim3",
        title="whole paths, turned, moved and scaled onto the true ones",
        alignment="sim3",
    ),
    TrajectoryProtocol(
        name="trajectory-se3",
        title="whole paths in true units, turned and moved onto the true ones",
        alignment="se3",
    ),
    TrajectoryProtocol(name="trajectory", title="whole paths as they are"),
    SegmentProtocol(
        name="kitti-odometry",
        title="KITTI odometry: drift over 100 to 800 m, in true units",
        data="kitti_odometry",
    ),
    SegmentProtocol(
        name="kitti-odometry-sim3",
        title="KITTI odometry after an alignment with scale, for a single camera",
        data="kitti_odometry",
        alignment="sim3",
    ),
)

RESTORATION_PROTOCOLS = (
    RestorationProtocol(
        name="reds4",
        title="REDS4 in RGB, all frames and pixels, mean of the clips",
        data="reds@reds4",
    ),
    RestorationProtocol(
        name="vid4-y",
        title="Vid4 in luma, all frames and pixels, mean of the clips",
        data="vid4",
        channels="y",
    ),
    RestorationProtocol(
        name="vid4-rgb",
        title="Vid4 in RGB, all frames and pixels, mean of the clips",
        data="vid4",
    ),
    RestorationProtocol(
        name="vimeo90k-y",
        title="Vimeo-90K test clips in luma, the middle frame of each",
        data="vimeo90k@test",
        channels="y",
        frames="centre",
    ),
    RestorationProtocol(
        name="vimeo90k-rgb",
        title="Vimeo-90K test clips in RGB, the middle frame of each",
        data="vimeo90k@test",
        frames="centre",
    ),
    RestorationProtocol(name="frames-rgb", title="any clips in RGB, mean of the clips"),
    RestorationProtocol(name="frames-y", title="any clips in luma, mean of the clips", channels="y"),
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (*FLOW_PROTOCOLS, *DEPTH_PROTOCOLS, *POSE_PROTOCOLS, *RESTORATION_PROTOCOLS)
}
"""Every protocol by name."""

DEFAULT_PROTOCOLS: dict[str, str] = {
    "middlebury": "middlebury",
    "sintel": "sintel",
    "kitti2012": "kitti12",
    "kitti2015": "kitti15",
    "flyingchairs": "chairs-val",
    "flyingchairs2": "pixels",
    "flyingthings": "pixels",
    "flyingthings_subset": "pixels",
    "custom": "pixels",
    "procedural": "rendered",
    "reds": "reds4",
    "vid4": "vid4-y",
    "vimeo90k": "vimeo90k-y",
    "paired": "frames-rgb",
    "kitti_raw": "eigen-80",
    "kitti_stereo": "kitti-stereo-depth",
    "kitti_odometry": "snippet-ate-5",
    "posed": "depth",
}
"""The protocol of each data set family when none is named."""


def get_protocol(name: str) -> Protocol:
    """Look a protocol up.

    Args:
        name: its name.

    Returns:
        The record.

    Raises:
        UsageError: when there is none of that name.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"--protocol {name}: unknown; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def get_flow_protocol(name: str) -> FlowProtocol:
    """Look a protocol of optical flow up.

    Args:
        name: its name.

    Returns:
        The record.

    Raises:
        UsageError: when there is none of that name, or it scores something else.
    """
    protocol = get_protocol(name)
    if not isinstance(protocol, FlowProtocol):
        flows = ", ".join(protocols_for("flow"))
        raise UsageError(f"--protocol {name}: scores {protocol.task}, not flow; choose from {flows}")
    return protocol


def protocols_for(task: str) -> tuple[str, ...]:
    """List the protocols of a task.

    Args:
        task: ``flow``, ``depth``, ``pose`` or ``restoration``.

    Returns:
        Their names.
    """
    return tuple(name for name, protocol in PROTOCOLS.items() if protocol.task == task)
