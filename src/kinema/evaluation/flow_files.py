"""Anyone's flow files against truth: matched by name, with the masks that lie beside official truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinema.data.sample import FlowFiles
from kinema.io.flow import read_flow

FLOW_SUFFIXES = (".flo", ".pfm", ".npz", ".mat", ".png")
"""Flow formats; where one name has several files the first of these is taken: a ``.png`` may be a picture."""

FLOW_ENDING = "_flow"
"""What `kinema flow` puts at the end of its names."""


def read_prediction(path: Path) -> np.ndarray:
    """Read a predicted flow.

    Args:
        path: a flow file.

    Returns:
        (H, W, 2) float32 pixels; NaN where the file marks the flow as unknown, so that it cannot pass for
        zero motion.

    Raises:
        InputError: when it cannot be read.
    """
    field = read_flow(path)
    flow: np.ndarray = np.where(field.valid[..., None], field.flow, np.float32(np.nan))
    return flow


def with_masks(name: str, flow: Path) -> FlowFiles:
    """Find the masks that belong to a true flow in an official tree.

    Args:
        name: of the pair.
        flow: file of the true flow.

    Returns:
        The flow and what lies beside it: KITTI's ``flow_noc``, Sintel's ``occlusions`` and ``invalid``.
    """
    return FlowFiles(
        name=name,
        flow=flow,
        noc=_beside(flow, "flow_occ", "flow_noc", flow.suffix),
        occlusions=_beside(flow, "flow", "occlusions", ".png"),
        invalid=_beside(flow, "flow", "invalid", ".png"),
    )


def _beside(flow: Path, folder: str, sibling: str, suffix: str) -> Path | None:
    """The same file below another folder of the official tree: ``flow/x/y.flo`` to ``invalid/x/y.png``."""
    path = flow.absolute()
    for parent in path.parents:
        if parent.name == folder:
            other = (parent.parent / sibling / path.relative_to(parent)).with_suffix(suffix)
            return other if other.is_file() else None
    return None
