"""Frames compared along a flow."""

import cv2
import numpy as np


def fetched(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32: the image sampled where the flow leads."""
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32)[None] + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return cv2.remap(image.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def mean_difference(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    """Mean over the pixels and channels, in levels of 255."""
    return float(np.abs(one.astype(np.float32) - other.astype(np.float32))[where].mean())
