"""Pictures of flow and of its errors, side-by-side frames, and reports in one HTML file.

Pictures are uint8 RGB arrays (H, W, 3).
"""

from __future__ import annotations

from kinema.viz.flow import FlowScale, colour_wheel, flow_to_rgb, wheel_legend
from kinema.viz.pictures import error_legend, error_to_rgb, mask_overlay, side_by_side
from kinema.viz.predictions import flow_prediction
from kinema.viz.report import Figure, HtmlReport

__all__ = [
    "Figure",
    "FlowScale",
    "HtmlReport",
    "colour_wheel",
    "error_legend",
    "error_to_rgb",
    "flow_prediction",
    "flow_to_rgb",
    "mask_overlay",
    "side_by_side",
    "wheel_legend",
]
