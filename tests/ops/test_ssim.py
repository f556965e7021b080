"""Structural similarity: windows by hand, weights, edges, gradients, degenerate pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from kinema.ops.ssim import Edges, dissimilarity_map, weighted_ssim


def pair(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    first, second = (torch.rand(shape, dtype=torch.float64).to(dtype) for _ in range(2))
    return first, second


def window_by_hand(x: np.ndarray, y: np.ndarray, weight: np.ndarray, c1: float, c2: float) -> float:
    """One 3x3 window, from the moments with weights w + 0.01."""
    share = (weight + 0.01) / (weight.mean() + 0.01) / 9
    mx, my = (x * share).sum(), (y * share).sum()
    sx, sy, sxy = (
        (x * x * share).sum() - mx**2,
        (y * y * share).sum() - my**2,
        (x * y * share).sum() - mx * my,
    )
    ssim = (2 * sxy + c2) / (sx + sy + c2)
    if math.isfinite(c1):
        ssim *= (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    return min(max((1 - ssim) / 2, 0.0), 1.0)


@pytest.mark.parametrize("c1", [math.inf, 1e-4])
def test_windows_by_hand(c1: float) -> None:
    first, second = pair(2, 3, 5, 6)
    weight = torch.rand(2, 1, 5, 6, dtype=torch.float64)
    error, pooled = weighted_ssim(first, second, weight=weight, c1=c1)
    assert error.shape == (2, 3, 3, 4)
    assert pooled.shape == (2, 1, 3, 4)
    for n, c, y, x in ((0, 0, 0, 0), (1, 2, 2, 3), (0, 1, 1, 2)):
        place = (n, slice(None), slice(y, y + 3), slice(x, x + 3))
        parts = [t[place].numpy() for t in (first, second, weight)]
        expected = window_by_hand(parts[0][c], parts[1][c], parts[2][0], c1, 9e-6)
        assert error[n, c, y, x].item() == pytest.approx(expected, rel=1e-9)
        assert pooled[n, 0, y, x].item() == pytest.approx(parts[2].mean())


def test_equal_and_opposite_pictures() -> None:
    first, _ = pair(1, 1, 6, 7)
    assert weighted_ssim(first, first)[0].max() < 1e-9
    assert weighted_ssim(first, 1 - first)[0].min() > 0.99
    brighter, _ = weighted_ssim(first, first + 0.2)  # means are not compared
    assert brighter.max() < 1e-6


def test_pixels_without_weight_hardly_count() -> None:
    first, _ = pair(1, 1, 5, 5)
    second, weight = first.clone(), torch.ones(1, 1, 5, 5, dtype=torch.float64)
    second[..., 2, 2] += 3.0
    weight[..., 2, 2] = 0
    seen, hidden = (
        weighted_ssim(first, second)[0].mean(),
        weighted_ssim(first, second, weight=weight)[0].mean(),
    )
    assert hidden < seen


def test_even_and_unseen_pictures_are_finite() -> None:
    first = torch.full((1, 3, 5, 5), 0.7)
    second = first.clone().requires_grad_()
    for weight in (None, torch.zeros(1, 1, 5, 5)):
        error, pooled = weighted_ssim(first, second, weight=weight)
        error.sum().backward()
        assert error.isfinite().all()
        assert pooled.isfinite().all()
        assert second.grad.isfinite().all()


def test_gradients() -> None:
    first, second = pair(1, 2, 4, 5)
    weight = torch.rand(1, 1, 4, 5, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in (first, second, weight)]
    assert gradcheck(lambda a, b, w: weighted_ssim(a, b, weight=w), inputs)


def test_half_precision_is_widened() -> None:
    first, second = pair(1, 1, 4, 4, dtype=torch.bfloat16)
    error, _ = weighted_ssim(first, second)
    assert error.dtype == torch.float32


# --- one value for every pixel --------------------------------------------------------------------


def dissimilarity_by_hand(x: np.ndarray, y: np.ndarray, c1: float = 1e-4, c2: float = 9e-4) -> float:
    """One window, of as many pixels as there are."""
    mx, my, sxy = x.mean(), y.mean(), (x * y).mean() - x.mean() * y.mean()
    sx, sy = x.var(), y.var()
    ssim = (2 * mx * my + c1) * (2 * sxy + c2) / ((mx**2 + my**2 + c1) * (sx + sy + c2))
    return min(max((1 - ssim) / 2, 0.0), 1.0)


@pytest.mark.parametrize("edges", ["average", "reflect"])
def test_every_pixel_has_a_window(edges: Edges) -> None:
    first, second = pair(1, 2, 4, 5)
    found = dissimilarity_map(first, second, edges=edges)
    assert found.shape == first.shape
    for c, row, column in ((0, 0, 0), (1, 0, 3), (0, 2, 2), (1, 3, 4), (0, 3, 1)):
        windows = []
        for image in (first, second):
            plane = image[0, c].numpy()
            if edges == "reflect":
                plane = np.pad(plane, 1, mode="reflect")[row : row + 3, column : column + 3]
            else:
                plane = plane[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            windows.append(plane)
        assert found[0, c, row, column].item() == pytest.approx(dissimilarity_by_hand(*windows), rel=1e-9)


@pytest.mark.parametrize("edges", ["average", "reflect"])
def test_gradient_of_the_map(edges: Edges) -> None:
    first, second = (image.requires_grad_() for image in pair(1, 1, 3, 4))
    assert gradcheck(lambda a, b: dissimilarity_map(a, b, edges=edges), (first, second))
