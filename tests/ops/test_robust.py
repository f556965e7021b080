"""Penalties: values by hand, growth, slopes."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from kinema.errors import UsageError
from kinema.ops.robust import robust_l1, robust_norm, robust_power


def test_values_by_hand() -> None:
    errors = torch.tensor([0.0, 3.0, -4.0], dtype=torch.float64)
    assert robust_l1(errors, epsilon=4.0).tolist() == pytest.approx([4, 5, 32**0.5])
    assert robust_power(errors, epsilon=1.0, q=0.5).tolist() == pytest.approx([1, 2, 5**0.5])
    assert robust_norm(errors, norm="l1").tolist() == pytest.approx([1e-6, 3.000001, 3.999999], rel=1e-12)
    assert torch.equal(robust_norm(errors, norm="robust_l1"), robust_l1(errors))
    assert torch.equal(robust_norm(errors, norm="ddflow"), robust_power(errors))


@pytest.mark.parametrize("norm", ["robust_l1", "l1", "ddflow"])
def test_slopes_are_finite_at_zero_and_right_elsewhere(norm: str) -> None:
    zero = torch.zeros(3, requires_grad=True)
    robust_norm(zero, norm=norm).sum().backward()
    assert zero.grad.isfinite().all()
    errors = torch.tensor([0.3, -1.2, 7.0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda e: robust_norm(e, norm=norm), errors)


def test_outliers_lose_weight() -> None:
    errors = torch.tensor([0.1, 1.0, 100.0], requires_grad=True)
    robust_power(errors).sum().backward()
    assert errors.grad[0] > errors.grad[1] > 100 * errors.grad[2] / 10


def test_unknown_norm_is_a_clear_error() -> None:
    plain = getattr(robust_norm, "__wrapped__", robust_norm)
    with pytest.raises(UsageError, match="'l3': use one of robust_l1, l1, ddflow"):
        plain(torch.zeros(1), norm="l3")
