"""A flow field with its mask: what every flow file is read to, and how unknown values are told apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.errors import InputError

__all__ = ["UNKNOWN_ABOVE", "FlowField", "checked_flow", "known_flow"]

UNKNOWN_ABOVE = 1e9  # the Middlebury rule: a component beyond it, in either direction, is not known


@dataclass(frozen=True, eq=False)
class FlowField:
    """Optical flow on a pixel grid, with the pixels where it is known.

    Attributes:
        flow: (H, W, 2) float32, x to the right and y down, in pixels; 0 where not valid.
        valid: (H, W) bool, True where the flow is known.
    """

    flow: np.ndarray
    valid: np.ndarray


def known_flow(values: np.ndarray) -> FlowField:
    """Separate known from unknown values.

    Args:
        values: (H, W, 2), any real numbers, as a file holds them.

    Returns:
        The flow; a pixel is valid where both components are finite and at most 1e9 in magnitude.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        flow = np.array(values, dtype=np.float32)  # a copy, in native byte order
        # False for NaN. Component by component: numpy is slow to reduce an axis of two.
        valid = (np.abs(flow[..., 0]) <= UNKNOWN_ABOVE) & (np.abs(flow[..., 1]) <= UNKNOWN_ABOVE)
    flow[~valid] = 0
    return FlowField(flow, valid)


def checked_flow(flow: np.ndarray, valid: np.ndarray | None, *, name: str) -> FlowField:
    """Check a flow that is about to be written.

    Args:
        flow: (H, W, 2), any real type, in pixels.
        valid: (H, W) bool, or numbers of which 0 means unknown; None where all is known.
        name: the file's name, for messages.

    Returns:
        The flow as float32, 0 where not valid.

    Raises:
        InputError: a wrong shape or type, or a value that is not finite, or beyond 1e9, in a valid pixel.
    """
    flow = np.asarray(flow)
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.size == 0 or flow.dtype.kind not in "fiu":
        raise InputError(f"{name}: flow of shape {flow.shape} and type {flow.dtype}; use numbers (H, W, 2)")
    mask = np.ones(flow.shape[:2], bool) if valid is None else np.asarray(valid).astype(bool)
    if mask.shape != flow.shape[:2]:
        raise InputError(
            f"{name}: the valid mask is {mask.shape}, the flow is {flow.shape[:2]}; they must agree"
        )
    known = known_flow(flow)
    wrong = int(np.count_nonzero(mask & ~known.valid))
    if wrong:
        raise InputError(
            f"{name}: {wrong} pixels of the flow are not finite or beyond 1e9; mark them not valid"
        )
    known.flow[~mask] = 0
    return FlowField(known.flow, mask)
