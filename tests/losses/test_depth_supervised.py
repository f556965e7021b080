"""Objectives with true depth and pose: by hand, free of units, blind to the unknown, gradients."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from kinema.losses.depth_supervised import (
    depth_scale,
    multiscale_gradient_loss,
    pose_loss,
    scale_invariant_log_loss,
)
from kinema.ops.pose import pose_from_vector


def mean_of(part):
    return (part.total / part.count).item()


def row(*values):
    return torch.tensor(values).view(1, 1, 1, -1)


def test_log_loss_by_hand():
    depth, truth = row(math.e, 1.0, 1.0, math.e), row(1.0, 1.0, 1.0, 1.0)
    # Errors 1, 0, 0, 1: mean square 1/2, mean 1/2.
    for invariance, expected in ((0.0, 0.5), (0.5, 0.375), (1.0, 0.25)):
        found = scale_invariant_log_loss(depth, truth, invariance=invariance, weight=2.0)
        assert mean_of(found) == pytest.approx(2 * expected)
    assert mean_of(scale_invariant_log_loss(7 * depth, truth, invariance=1.0)) == pytest.approx(0.25)


def test_gradient_loss_by_hand():
    depth, truth = row(1.0, 1.0, math.e, math.e, math.e), row(1.0, 1.0, 1.0, 1.0, 1.0)
    # Scale 0: one of four steps is 1; every second pixel 1, e, e: one of two; every fourth: 1, e: one of one.
    for scales, expected in ((1, 0.25), (2, (0.25 + 0.5) / 2), (3, (0.25 + 0.5 + 1) / 3)):
        assert mean_of(multiscale_gradient_loss(depth, truth, scales=scales)) == pytest.approx(expected)
    assert mean_of(multiscale_gradient_loss(5 * truth, truth)) == pytest.approx(0, abs=1e-7)
    column = multiscale_gradient_loss(depth.transpose(-1, -2), truth.transpose(-1, -2), scales=1)
    assert mean_of(column) == pytest.approx(0.25)


@pytest.mark.parametrize("loss", [scale_invariant_log_loss, multiscale_gradient_loss])
def test_unknown_truth_does_not_count(loss):
    depth = 1 + torch.rand(2, 1, 8, 9)
    truth = 1 + torch.rand(2, 1, 8, 9)
    valid = (torch.rand(2, 1, 8, 9) > 0.4).float()
    expected = mean_of(loss(depth, truth, valid=valid))
    for unknown in (0.0, -1.0, math.nan, math.inf):
        given = depth.clone().requires_grad_()
        part = loss(given, torch.where(valid > 0, truth, unknown))
        assert mean_of(part) == pytest.approx(expected)
        part.total.backward()
        assert given.grad.isfinite().all()
        assert (given.grad[valid == 0] == 0).all()
    none = loss(depth, torch.zeros_like(truth))
    assert mean_of(none) == 0
    one = loss(depth, torch.cat((truth[:1], torch.zeros_like(truth[1:]))))
    assert one.count.item() == 1, "an image without truth is no image of the mean"


def test_scale_and_distance_of_a_scene():
    found = depth_scale(row(2.0, 6.0, 99.0), row(1.0, 3.0, 0.0))
    assert found.scale.tolist() == pytest.approx([2])
    assert found.distance.tolist() == pytest.approx([1.5])  # 1 / mean(1, 1/3) = 1 / (2/3)
    unknown = depth_scale(row(2.0), row(0.0))
    assert (unknown.scale.item(), unknown.distance.item()) == (1, 1)


def test_pose_loss_is_an_angle_and_free_of_units():
    truth = pose_from_vector(torch.tensor([[1.0, 0.0, 2.0, 0.0, 0.0, 0.0]]))
    off = pose_from_vector(torch.tensor([[1.3, 0.4, 2.0, 0.0, 0.02, 0.0]]))
    ones = torch.ones(1)
    parts = pose_loss(off, truth, scale=ones, distance=10 * ones)
    assert mean_of(parts["translation"]) == pytest.approx(0.05, rel=1e-4)  # half a metre at ten metres
    assert mean_of(parts["rotation"]) == pytest.approx(0.02, rel=1e-4)
    small = off.clone()
    small[:, :3, 3] *= 0.01
    scaled = pose_loss(small, truth, scale=0.01 * ones, distance=10 * ones)
    assert mean_of(scaled["translation"]) == pytest.approx(0.05, rel=1e-4)
    exact = truth.clone().requires_grad_()
    parts = pose_loss(exact, truth, scale=ones, distance=ones)
    (parts["translation"].total + parts["rotation"].total).backward()
    assert exact.grad.isfinite().all()
    assert mean_of(parts["translation"]) < 1e-5


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    depth, truth = (1 + torch.rand(2, 1, 5, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    truth[0, 0, 2, 3] = 0
    depth.requires_grad_()
    for loss in (scale_invariant_log_loss, multiscale_gradient_loss):
        assert gradcheck(lambda d, loss=loss: loss(d, truth).total, depth)
    six = torch.rand(2, 6, dtype=torch.float64, generator=generator).requires_grad_()
    goal = pose_from_vector(torch.rand(2, 6, dtype=torch.float64, generator=generator))
    ones = torch.ones(2, dtype=torch.float64)

    def both(vector):
        parts = pose_loss(pose_from_vector(vector), goal, scale=ones, distance=2 * ones)
        return parts["translation"].total + 3 * parts["rotation"].total

    assert gradcheck(both, six)
