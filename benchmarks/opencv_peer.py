"""OpenCV's flow methods behind a pipe, for `flow_against_opencv.py`; runs in an environment of its own.

Reads JSON lines with the keys method, settings, image1, image2 (paths) and out (where the flow is saved
as .npy), and answers each with ``{"seconds": ...}``.
"""

from __future__ import annotations

import json
import sys
import time

import cv2
import numpy as np


def build(method: str, settings: dict[str, float]) -> cv2.DenseOpticalFlow:
    """The OpenCV object for ``dual_tvl1`` (with setter names as settings) or ``dis``."""
    if method == "dis":
        return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    solver = cv2.optflow.DualTVL1OpticalFlow_create()
    for name, value in settings.items():
        getattr(solver, f"set{name}")(value)
    return solver


def main() -> None:
    """Answer requests until the pipe closes."""
    cv2.setNumThreads(2)
    for line in sys.stdin:
        request = json.loads(line)
        grey = [cv2.imread(request[k], cv2.IMREAD_GRAYSCALE) for k in ("image1", "image2")]
        solver = build(request["method"], request["settings"])
        start = time.perf_counter()
        flow = solver.calc(grey[0], grey[1], None)
        seconds = time.perf_counter() - start
        np.save(request["out"], flow)
        print(json.dumps({"seconds": seconds, "opencv": cv2.__version__}), flush=True)


if __name__ == "__main__":
    main()
