"""Named evaluation protocols: which pixels, which average, which numbers (see ``docs/protocols.md``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kinema.errors import UsageError
from kinema.evaluation.accumulators import Averaging

Rounding = Literal["none", "kitti-png"]
"""``kitti-png``: predictions are rounded to 1/64 px and limited to what KITTI's 16-bit PNG can hold."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How numbers are made from predictions. A number without the name of its protocol means nothing.

    Attributes:
        name: as given to ``--protocol`` and written beside every number.
        title: one line for people.
        averaging: of every metric; `epe` is also reported under the other averaging, with that in its name.
        metrics: names in `FLOW_METRICS`, the main one first.
        data: label of the data set that the protocol is defined on, such as ``flyingchairs@val``.
        rounding: what happens to a prediction before it is scored.
        resolution: at which size prediction and truth are compared; always the truth's own, without cropping.
    """

    name: str
    title: str
    averaging: Averaging
    metrics: tuple[str, ...]
    data: str
    rounding: Rounding = "none"
    resolution: Literal["truth"] = "truth"

    @property
    def other_averaging(self) -> Averaging:
        """The averaging that this protocol does not use."""
        return "per-image" if self.averaging == "per-pixel" else "per-pixel"


_RATES = ("out_1px", "out_3px", "out_5px")
_SINTEL = (
    "epe",
    "epe_nonoccluded",
    "epe_occluded",
    "epe_out_of_frame",
    "epe_s0_10",
    "epe_s10_40",
    "epe_s40plus",
    "epe_reliable",
    "fl_all",
    *_RATES,
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="middlebury",
            title="Middlebury scenes with public truth, mean of the scenes",
            averaging="per-image",
            metrics=("epe", "aae", "fl_all", *_RATES),
            data="middlebury",
        ),
        Protocol(
            name="sintel",
            title="Sintel training scenes, all pixels pooled",
            averaging="per-pixel",
            metrics=_SINTEL,
            data="sintel",
        ),
        Protocol(
            name="sintel-per-image",
            title="Sintel training scenes, mean of the frames",
            averaging="per-image",
            metrics=_SINTEL,
            data="sintel",
        ),
        Protocol(
            name="kitti12",
            title="KITTI 2012 training pairs, mean of the images as in its development kit",
            averaging="per-image",
            metrics=("epe", "epe_noc", "fl_all", "fl_noc", "out_3px_noc", *_RATES),
            data="kitti2012",
            rounding="kitti-png",
        ),
        Protocol(
            name="chairs-val",
            title="FlyingChairs validation pairs, all pixels pooled",
            averaging="per-pixel",
            metrics=("epe", "fl_all", *_RATES),
            data="flyingchairs@val",
        ),
        Protocol(
            name="rendered",
            title="scenes that kinema renders, mean of the pairs",
            averaging="per-image",
            metrics=(
                "epe",
                "epe_nonoccluded",
                "epe_occluded",
                "epe_out_of_frame",
                "epe_s0_10",
                "epe_s10_40",
                "epe_s40plus",
                "fl_all",
                *_RATES,
            ),
            data="procedural",
        ),
    )
}
"""Every protocol by name."""

DEFAULT_PROTOCOLS: dict[str, str] = {
    "middlebury": "middlebury",
    "sintel": "sintel",
    "kitti2012": "kitti12",
    "flyingchairs": "chairs-val",
    "procedural": "rendered",
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


def round_prediction(flow: np.ndarray, rounding: Rounding) -> np.ndarray:
    """Give a prediction the precision that the protocol's file format would leave it.

    Args:
        flow: (H, W, 2) pixels.
        rounding: the protocol's rule.

    Returns:
        (H, W, 2); the same array when nothing is to be done.
    """
    if rounding == "none":
        return flow
    # 16 bits with an offset of 2^15 and 64 steps per pixel: -512 to 511.98 px.
    stored = np.clip(np.rint(flow.astype(np.float64) * 64.0), -(2**15), 2**15 - 1) / 64.0
    # The limits must not make an ordinary number of an infinite one.
    rounded: np.ndarray = np.where(np.isfinite(flow), stored, flow)
    return rounded
