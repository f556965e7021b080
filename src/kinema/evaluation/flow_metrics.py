"""Flow metrics: each one is a value per pixel and the pixels that it looks at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kinema.data.sample import FlowTruth
from kinema.errors import InputError
from kinema.evaluation.accumulators import Tally


class FlowErrors:
    """What a predicted flow gets wrong, per pixel, in float64; computed once and used by every metric.

    Args:
        predicted: (H, W, 2) pixels; the values outside the truth's valid pixels do not matter.
        truth: the true flow of the same size.
    """

    def __init__(self, predicted: np.ndarray, truth: FlowTruth) -> None:
        self.predicted = predicted.astype(np.float64)
        # Unknown pixels hold anything, also NaN or 1e10; zero keeps the arithmetic quiet, and no metric
        # reads them.
        self.true = np.where(truth.valid[..., None], truth.flow, 0).astype(np.float64)
        self.truth = truth

    @cached_property
    def endpoint(self) -> np.ndarray:
        """(H, W) length of the difference, pixels."""
        return _length(self.predicted - self.true)

    @cached_property
    def magnitude(self) -> np.ndarray:
        """(H, W) length of the true flow, pixels."""
        return _length(self.true)

    def angular(self) -> np.ndarray:
        """Angle between (u, v, 1) of prediction and truth (Barron et al. 1994, section 4).

        Returns:
            (H, W) degrees.
        """
        dot = (self.predicted * self.true).sum(axis=-1) + 1.0
        norms = np.sqrt((1.0 + (self.predicted**2).sum(axis=-1)) * (1.0 + self.magnitude**2))
        degrees: np.ndarray = np.degrees(np.arccos(np.clip(dot / norms, -1.0, 1.0)))
        return degrees

    def outliers(self) -> np.ndarray:
        """KITTI 2015 outliers: wrong by more than 3 px **and** by more than 5 % of the true length.

        Returns:
            (H, W) bool.
        """
        outlier: np.ndarray = (self.endpoint > 3.0) & (self.endpoint > 0.05 * self.magnitude)
        return outlier

    def beyond(self, pixels: float) -> np.ndarray:
        """Endpoint errors above a length.

        Args:
            pixels: the length; an error of exactly this length is not beyond it.

        Returns:
            (H, W) bool.
        """
        beyond: np.ndarray = self.endpoint > pixels
        return beyond

    def between(self, low: float, high: float) -> np.ndarray:
        """Valid pixels by the speed of the true flow.

        Args:
            low: smallest length, pixels, inside the class.
            high: largest length, outside the class.

        Returns:
            (H, W) bool.
        """
        band: np.ndarray = self.truth.valid & (self.magnitude >= low) & (self.magnitude < high)
        return band

    def leaving(self) -> np.ndarray:
        """Valid pixels whose true end point is outside the frame.

        Returns:
            (H, W) bool.
        """
        height, width = self.truth.valid.shape
        end_x = np.arange(width)[None, :] + self.true[..., 0]
        end_y = np.arange(height)[:, None] + self.true[..., 1]
        outside = (end_x < 0) | (end_x > width - 1) | (end_y < 0) | (end_y > height - 1)
        leaving: np.ndarray = self.truth.valid & outside
        return leaving

    def where(self, mask: np.ndarray | None, *, inverted: bool = False) -> np.ndarray | None:
        """Valid pixels inside or outside one of the data set's masks.

        Args:
            mask: (H, W) bool, or None where the data set has none.
            inverted: take the pixels outside.

        Returns:
            (H, W) bool, or None without mask.
        """
        if mask is None:
            return None
        inside: np.ndarray = self.truth.valid & (~mask if inverted else mask)
        return inside


@dataclass(frozen=True)
class FlowMetric:
    """One named number.

    Attributes:
        unit: ``px``, ``%`` or ``deg``.
        meaning: half a sentence for tables.
        values: (H, W) value of each pixel in that unit.
        region: (H, W) bool of the pixels it looks at, or None where the data set cannot tell.
    """

    unit: str
    meaning: str
    values: Callable[[FlowErrors], np.ndarray]
    region: Callable[[FlowErrors], np.ndarray | None]


def _length(vectors: np.ndarray) -> np.ndarray:
    length: np.ndarray = np.hypot(vectors[..., 0], vectors[..., 1])
    return length


def _epe(meaning: str, region: Callable[[FlowErrors], np.ndarray | None]) -> FlowMetric:
    return FlowMetric("px", meaning, lambda e: e.endpoint, region)


def _rate(
    meaning: str,
    outlier: Callable[[FlowErrors], np.ndarray],
    region: Callable[[FlowErrors], np.ndarray | None],
) -> FlowMetric:
    return FlowMetric("%", meaning, lambda e: 100.0 * outlier(e), region)


def _valid(errors: FlowErrors) -> np.ndarray:
    return errors.truth.valid


def _noc(errors: FlowErrors) -> np.ndarray | None:
    return errors.where(errors.truth.valid_noc)


FLOW_METRICS: dict[str, FlowMetric] = {
    "epe": _epe("all pixels with truth", _valid),
    "epe_noc": _epe("not occluded and inside frame 2", _noc),
    "epe_reliable": _epe("not flagged by the data set", lambda e: e.where(e.truth.flagged, inverted=True)),
    "epe_nonoccluded": _epe("outside the occlusion mask", lambda e: e.where(e.truth.occluded, inverted=True)),
    "epe_occluded": _epe("inside the occlusion mask", lambda e: e.where(e.truth.occluded)),
    "epe_out_of_frame": _epe("true end point outside the frame", lambda e: e.leaving()),
    "epe_s0_10": _epe("true motion below 10 px", lambda e: e.between(0.0, 10.0)),
    "epe_s10_40": _epe("true motion of 10 to 40 px", lambda e: e.between(10.0, 40.0)),
    "epe_s40plus": _epe("true motion of 40 px and more", lambda e: e.between(40.0, np.inf)),
    "aae": FlowMetric("deg", "mean angular error of (u, v, 1)", lambda e: e.angular(), _valid),
    "fl_all": _rate("> 3 px and > 5 %", lambda e: e.outliers(), _valid),
    "fl_noc": _rate("> 3 px and > 5 %, not occluded", lambda e: e.outliers(), _noc),
    "out_1px": _rate("> 1 px", lambda e: e.beyond(1.0), _valid),
    "out_3px": _rate("> 3 px", lambda e: e.beyond(3.0), _valid),
    "out_5px": _rate("> 5 px", lambda e: e.beyond(5.0), _valid),
    "out_3px_noc": _rate("> 3 px, not occluded", lambda e: e.beyond(3.0), _noc),
}
"""Every flow metric by the name it has in JSON results."""


def flow_tallies(predicted: np.ndarray, truth: FlowTruth, *, metrics: Iterable[str]) -> dict[str, Tally]:
    """Score one predicted flow.

    Args:
        predicted: (H, W, 2) pixels, x right and y down, of the truth's size.
        truth: the true flow.
        metrics: names in `FLOW_METRICS`; others are left out.

    Returns:
        Sum and count per metric; those that the truth has no mask for are left out. A prediction that is not
        finite at a scored pixel gives a sum that is not finite: it cannot vanish from an average.

    Raises:
        InputError: when the sizes differ.
    """
    check_size(predicted, truth)
    errors = FlowErrors(predicted, truth)
    tallies: dict[str, Tally] = {}
    # NaN and infinity are dealt with below, not warned about.
    with np.errstate(invalid="ignore", over="ignore"):
        for name in metrics:
            if name not in FLOW_METRICS:  # of hidden points, which a flow alone does not tell
                continue
            region = FLOW_METRICS[name].region(errors)
            if region is not None:
                tallies[name] = _tally(FLOW_METRICS[name].values(errors)[region], errors.endpoint[region])
    return tallies


def _tally(values: np.ndarray, endpoint_errors: np.ndarray) -> Tally:
    # Comparisons with NaN are False: a rate would count NaN as a hit. No sum over such a pixel may stay
    # finite.
    finite = bool(np.isfinite(endpoint_errors).all())
    return Tally(float(values.sum()) if finite else math.nan, values.size)


def nonfinite_pixels(predicted: np.ndarray, truth: FlowTruth) -> int:
    """Count the pixels with truth where the prediction is NaN or infinite.

    Args:
        predicted: (H, W, 2).
        truth: the true flow of the same size.

    Returns:
        A number of pixels; pixels without truth do not count.

    Raises:
        InputError: when the sizes differ.
    """
    check_size(predicted, truth)
    return int((truth.valid & ~np.isfinite(predicted).all(axis=-1)).sum())


def check_size(predicted: np.ndarray, truth: FlowTruth) -> None:
    """Refuse a prediction of another size than the truth: scaling it silently would change the numbers.

    Args:
        predicted: should be (H, W, 2).
        truth: the true flow.

    Raises:
        InputError: when it has another shape.
    """
    if predicted.shape != truth.flow.shape:
        height, width = truth.flow.shape[:2]
        found = (
            f"{predicted.shape[1]}x{predicted.shape[0]}"
            if predicted.ndim == 3
            else f"shape {predicted.shape}"
        )
        raise InputError(
            f"{truth.name}: the predicted flow is {found} but the true flow is {width}x{height}; "
            "predict at the frames' own size"
        )
