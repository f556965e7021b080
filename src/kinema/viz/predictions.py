"""One picture of an estimate beside its truth, to watch a training by."""

from __future__ import annotations

import numpy as np

from kinema.viz.flow import flow_to_rgb
from kinema.viz.pictures import Picture, error_to_rgb, side_by_side

_LEAST_ERROR = 1.0
"""Pixels: a smaller largest error does not get the brightest colour, or noise would look like failure."""


def flow_prediction(
    image: np.ndarray, flow: np.ndarray, truth: np.ndarray, *, valid: np.ndarray | None = None
) -> Picture:
    """Show a frame, its estimated flow, its true flow in the same colours, and the error.

    Args:
        image: (H, W, 3) uint8 RGB, the first frame.
        flow: (H, W, 2) pixels, the estimate.
        truth: (H, W, 2) pixels.
        valid: (H, W) bool, where the truth is known; None where it is finite.

    Returns:
        (H, 4 W + gaps, 3) RGB.
    """
    known = np.isfinite(truth).all(axis=-1)
    if valid is not None:
        known &= valid.astype(bool)
    lengths = np.hypot(truth[..., 0], truth[..., 1])[known]
    scale = max(1.0, float(lengths.max())) if lengths.size else 1.0
    error = np.where(known, np.hypot(*np.moveaxis(flow - truth, -1, 0)), np.nan)
    worst = max(_LEAST_ERROR, float(np.nanmax(error))) if known.any() else _LEAST_ERROR
    return side_by_side(
        [
            image,
            flow_to_rgb(flow, max_flow=scale),
            flow_to_rgb(truth, max_flow=scale, valid=known),
            error_to_rgb(error, max_error=worst),
        ],
        ["frame 1", "estimate", "truth", f"error to {worst:.1f} px"],
    )
