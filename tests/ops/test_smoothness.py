"""Smoothness: values by hand, edges, gradients, degenerate sizes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck

from kinema.errors import UsageError
from kinema.ops.smoothness import edge_weights, smoothness

LEVEL = 0.001  # of a step of zero


def test_edge_weights_by_hand() -> None:
    image = torch.zeros(1, 3, 2, 3, dtype=torch.float64)
    image[0, :, 0, 1] = torch.tensor([0.1, 0.2, 0.6])  # a mean rise of 0.3; of squares 0.41 / 3
    along_x, along_y = edge_weights(image, constant=2.0)
    assert along_x[0, 0].tolist() == [[pytest.approx(math.exp(-0.6))] * 2, [1.0, 1.0]]
    assert along_y[0, 0].tolist() == [[1.0, pytest.approx(math.exp(-0.6)), 1.0]]
    along_x, _ = edge_weights(image, constant=2.0, weighting="gaussian")
    assert along_x[0, 0, 0].tolist() == [pytest.approx(math.exp(-4 * 0.41 / 3))] * 2
    wide, tall = edge_weights(image, constant=2.0, stride=2)
    assert wide.tolist() == [[[[1.0], [1.0]]]]
    assert tall.shape == (1, 1, 0, 3)


def test_first_order_by_hand() -> None:
    """A ramp of 3 along x in u, and nothing in v."""
    flow = torch.zeros(1, 2, 4, 5, dtype=torch.float64)
    flow[0, 0] = 3 * torch.arange(5)
    even = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    along_x = (math.sqrt(9 + LEVEL**2) + LEVEL) / 2
    assert smoothness(flow, even).item() == pytest.approx((along_x + LEVEL) / 2)
    assert smoothness(flow, even, order=2).item() == pytest.approx(LEVEL)


def test_second_order_by_hand() -> None:
    flow = torch.zeros(1, 2, 4, 5, dtype=torch.float64)
    flow[0, 1] = torch.arange(4)[:, None] ** 2  # second difference 2 along y
    even = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    along_y = (math.sqrt(4 + LEVEL**2) + LEVEL) / 2
    assert smoothness(flow, even, order=2).item() == pytest.approx((along_y + LEVEL) / 2)


@pytest.mark.parametrize("order", [1, 2])
def test_motion_may_change_at_edges(order: int) -> None:
    flow = torch.zeros(1, 2, 8, 8)
    flow[..., 4:] = 5
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1
    assert smoothness(flow, edge, order=order) < 0.01 * smoothness(flow, torch.zeros_like(edge), order=order)
    assert smoothness(flow, edge.mT, order=order) > 0.5 * smoothness(flow, 0 * edge, order=order)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("weighting", ["exponential", "gaussian"])
def test_gradients(order: int, weighting: str) -> None:
    flow = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    image = torch.rand(1, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(
        lambda f, i: smoothness(f, i, order=order, weighting=weighting, edge_constant=2.0), (flow, image)
    )


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 6), (2, 2)])
def test_tiny_maps_are_finite(order: int, size_hw: tuple[int, int]) -> None:
    flow = torch.rand(1, 2, *size_hw, requires_grad=True)
    found = smoothness(flow, torch.rand(1, 3, *size_hw), order=order)
    found.backward()
    assert found.isfinite()
    assert flow.grad.isfinite().all()


def test_what_does_not_fit_is_refused() -> None:
    plain = getattr(smoothness, "__wrapped__", smoothness)
    flow, image = torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4)
    with pytest.raises(UsageError, match="order is 3"):
        plain(flow, image, order=3)
    with pytest.raises(UsageError, match="a map of"):
        plain(flow, torch.zeros(1, 3, 5, 4))
    with pytest.raises(UsageError, match="'sharp': use one of exponential, gaussian"):
        getattr(edge_weights, "__wrapped__", edge_weights)(image, weighting="sharp")
