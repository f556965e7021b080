"""What TVNet learns towards: sums and counts by hand, masks, and gradients that stay finite."""

from __future__ import annotations

import math

import pytest
import torch

from kinema.losses.supervised_flow import endpoint_error_loss
from kinema.losses.tvnet_objective import (
    BRIGHTNESS_TIP,
    VARIATION_TIP,
    endpoint_error_sum,
    energy_sums,
    sum_of_slopes,
)
from kinema.losses.unsupervised_flow import tvnet_unsupervised_loss


def test_endpoint_errors_by_hand() -> None:
    flow = torch.zeros(1, 2, 1, 3)
    truth = torch.tensor([[[[3.0, 0.0, 6.0]], [[4.0, 2.0, 8.0]]]])  # errors 5, 2, 10
    weight = torch.tensor([[[[1.0, 0.5, 0.0]]]])
    found = endpoint_error_sum(flow, truth, weight=weight, epsilon=0.0)
    assert (float(found.total), float(found.count)) == (6.0, 1.5)
    rooted = endpoint_error_sum(flow, truth, weight=weight, epsilon=0.0, q=0.5)
    assert float(rooted.total) == pytest.approx(math.sqrt(5) + 0.5 * math.sqrt(2))
    assert float(found.total / found.count) == pytest.approx(
        float(endpoint_error_loss(flow, truth, valid=weight))
    )


def test_the_epsilon_keeps_the_gradient_finite_where_the_flow_is_right() -> None:
    truth, weight = torch.randn(1, 2, 4, 5), torch.ones(1, 1, 4, 5)
    for epsilon, finite in ((0.0, False), (1e-8, True)):
        flow = truth.clone().requires_grad_()
        endpoint_error_sum(flow, truth, weight=weight, epsilon=epsilon).total.backward()
        assert bool(flow.grad.isfinite().all()) is finite


def test_legacy_is_the_published_loss_however_the_batch_is_split() -> None:
    g = torch.Generator().manual_seed(0)
    first, second = torch.rand((3, 3, 9, 11), generator=g), torch.rand((3, 3, 9, 11), generator=g)
    flow = torch.randn((3, 2, 9, 11), generator=g)
    whole = tvnet_unsupervised_loss(first, second, flow, lbda=0.2)
    parts = [energy_sums(first[p], second[p], flow[p], energy="legacy", lbda=0.2)["energy"] for p in (
        slice(0, 1), slice(1, 3))]  # fmt: skip
    mean = sum(part.total for part in parts) / sum(part.count for part in parts)
    assert float(mean) == pytest.approx(float(whole), rel=1e-6)


def test_brightness_counts_what_stays_in_the_frame() -> None:
    """Grey frames, 10 levels apart; a flow of 2 px to the right leaves the frame in the last two columns."""
    first = torch.full((1, 3, 4, 6), 100 / 255)
    second = torch.full((1, 3, 4, 6), 110 / 255)
    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0] = 2
    found = energy_sums(first, second, flow, energy="brightness", lbda=0.5)
    level = 10 * (0.2989 + 0.5870 + 0.1140)
    assert float(found["data"].count) == 4 * 4
    assert float(found["data"].total) == pytest.approx(0.5 * 16 * math.hypot(level, BRIGHTNESS_TIP), rel=1e-5)
    assert float(found["variation"].total / found["variation"].count) == pytest.approx(2 * VARIATION_TIP)


def test_census_does_not_see_a_change_of_brightness_and_sees_a_wrong_flow() -> None:
    g = torch.Generator().manual_seed(1)
    canvas = torch.rand((1, 3, 24, 40), generator=g)
    first, second = canvas[..., 4:36], 0.9 * canvas[..., 2:34]  # the content moves by 2 to the right
    right = torch.zeros(1, 2, 24, 32)
    right[:, 0] = 2

    def data(flow: torch.Tensor, energy: str) -> float:
        one = energy_sums(first, second, flow, energy=energy)["data"]
        return float(one.total / one.count)

    assert data(right, "census") < 0.5 * data(torch.zeros_like(right), "census")
    assert data(right, "brightness") > 0.15 * 5


def test_slopes_by_hand() -> None:
    flow = torch.zeros(1, 2, 2, 2)
    flow[0, 0] = torch.tensor([[0.0, 3.0], [4.0, 0.0]])
    slopes = sum_of_slopes(flow, tip=0.0)[0, 0]
    assert slopes.tolist() == [[5.0, 3.0], [4.0, 0.0]]


@pytest.mark.parametrize("energy", ["legacy", "brightness", "census"])
def test_every_energy_gives_the_flow_a_finite_gradient(energy: str) -> None:
    g = torch.Generator().manual_seed(2)
    first, second = (torch.rand((2, 3, 12, 14), generator=g) for _ in range(2))
    flow = torch.randn((2, 2, 12, 14), generator=g).requires_grad_()
    sums = energy_sums(first, second, flow, energy=energy).values()
    torch.stack([one.total / one.count for one in sums]).sum().backward()
    assert flow.grad is not None
    assert flow.grad.isfinite().all()
    assert flow.grad.abs().sum() > 0
