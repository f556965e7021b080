"""The named protocols of optical flow (see ``docs/protocols.md``)."""

from __future__ import annotations

from kinema.evaluation.records import FlowProtocol

_RATES = ("out_1px", "out_3px", "out_5px")
_OCCLUSION = ("occl_f_max", "best_occl_thresh")
_SPEEDS = ("epe_s0_10", "epe_s10_40", "epe_s40plus")
_SINTEL = (
    "epe",
    "epe_nonoccluded",
    "epe_occluded",
    "epe_out_of_frame",
    *_SPEEDS,
    "epe_reliable",
    "fl_all",
    *_RATES,
)
_KITTI = ("epe", "fl_all", "epe_noc", "fl_noc", "out_3px_noc", *_RATES)

FLOW_PROTOCOLS = (
    FlowProtocol(
        name="middlebury",
        title="Middlebury scenes with public truth, mean of the scenes",
        averaging="per-image",
        metrics=("epe", "aae", "fl_all", *_RATES),
        data="middlebury",
    ),
    FlowProtocol(
        name="sintel",
        title="Sintel training scenes, all pixels pooled",
        averaging="per-pixel",
        metrics=_SINTEL,
        data="sintel",
    ),
    FlowProtocol(
        name="sintel-per-image",
        title="Sintel training scenes, mean of the frames",
        averaging="per-image",
        metrics=_SINTEL,
        data="sintel",
    ),
    FlowProtocol(
        name="kitti12",
        title="KITTI 2012 training pairs, mean of the images as in its development kit",
        averaging="per-image",
        metrics=("epe", "epe_noc", "fl_all", "fl_noc", "out_3px_noc", *_RATES),
        data="kitti2012",
        rounding="kitti-png",
    ),
    FlowProtocol(
        name="kitti15",
        title="KITTI 2015 training pairs, all pixels pooled as in its development kit",
        averaging="per-pixel",
        metrics=_KITTI,
        data="kitti2015",
        rounding="kitti-png",
    ),
    FlowProtocol(
        name="pixels",
        title="any pairs with truth, all pixels pooled",
        averaging="per-pixel",
        metrics=("epe", *_SPEEDS, "fl_all", *_RATES),
    ),
    FlowProtocol(
        name="chairs-val",
        title="FlyingChairs validation pairs, all pixels pooled",
        averaging="per-pixel",
        metrics=("epe", "fl_all", *_RATES),
        data="flyingchairs@val",
    ),
    FlowProtocol(
        name="rendered",
        title="scenes that kinema renders, mean of the pairs",
        averaging="per-image",
        metrics=(
            "epe",
            "epe_nonoccluded",
            "epe_occluded",
            "epe_out_of_frame",
            *_SPEEDS,
            "fl_all",
            *_RATES,
        ),
        data="procedural",
    ),
    FlowProtocol(
        name="uflow-chairs",
        title="FlyingChairs validation pairs as UFlow scores them, mean of the pairs",
        averaging="per-image",
        metrics=("epe", "fl_all"),
        data="flyingchairs@val",
    ),
    FlowProtocol(
        name="uflow-sintel",
        title="Sintel training scenes as UFlow scores them, mean of the frames",
        averaging="per-image",
        metrics=("epe", "fl_all", *_OCCLUSION),
        data="sintel",
        occlusion="wang",
    ),
    FlowProtocol(
        name="uflow-kitti15",
        title="KITTI 2015 training pairs as UFlow scores them, mean of the images, EPE at most 50",
        averaging="per-image",
        metrics=("epe", "epe_noc", "fl_all", "fl_noc", *_OCCLUSION),
        data="kitti2015",
        largest_epe=50.0,
        occlusion="brox",
    ),
    FlowProtocol(
        name="occlusion",
        title="any pairs with masks of hidden points: flow, and how well such points are found",
        averaging="per-image",
        metrics=("epe", "epe_nonoccluded", "epe_occluded", "fl_all", *_OCCLUSION),
        occlusion="wang",
    ),
    FlowProtocol(
        name="geonet-kitti15",
        title="KITTI 2015 training pairs as GeoNet scores them, mean of the images",
        averaging="per-image",
        metrics=("epe_noc", "epe", "fl_noc", "fl_all"),
        data="kitti2015",
    ),
    FlowProtocol(
        name="tfoptflow-legacy",
        title="as tfoptflow scores any pairs: errors at known pixels over all pixels, mean of the pairs",
        averaging="per-image",
        metrics=("epe",),
        divisor="all",
    ),
)
"""All of them."""
