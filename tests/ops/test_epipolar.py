"""Two views: the constraint holds for true flow, four poses contain the true one, depth comes back."""

import pytest
import torch
from torch.autograd import gradcheck

from kinema.ops.camera import rigid_flow
from kinema.ops.epipolar import (
    essential_matrix,
    fundamental_matrix,
    poses_from_essential,
    sampson_error,
    triangulate,
)
from kinema.ops.pose import pose_from_vector

SIZE = (13, 17)


def pairs(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    depth = 3 + 2 * draw(count, 1, *SIZE)
    T = pose_from_vector(0.3 * draw(count, 6) - 0.15)
    K = torch.tensor([[[60.0, 1.0, 8.0], [0.0, 65.0, 6.0], [0.0, 0.0, 1.0]]], dtype=torch.float64)
    return depth, T, K.repeat(count, 1, 1)


def test_true_flow_meets_the_constraint_and_other_flow_does_not():
    depth, T, K = pairs()
    flow = rigid_flow(depth, T, K)
    F = fundamental_matrix(T, K, K)
    assert sampson_error(flow, F).max() < 1e-20
    # Off by 2 in x and in y, at most 8 ** 0.5 across the line, shared by both points: 8 / 2.
    moved = sampson_error(flow + 2, F)
    assert moved.max() <= 4 + 1e-6
    assert moved.mean() > 0.1


def test_sampson_error_of_a_sideways_camera_by_hand():
    """Pure shift along x: lines are rows. A flow 3 rows off misses both lines by 3: 9 / 2 to first order."""
    T = pose_from_vector(torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]))
    flow = torch.tensor([5.0, 3.0]).view(1, 2, 1, 1).expand(1, 2, 4, 6)
    K = torch.eye(3)[None]
    torch.testing.assert_close(
        sampson_error(flow, fundamental_matrix(T, K, K)), torch.full((1, 1, 4, 6), 4.5)
    )


def test_essential_matrix_by_hand():
    T = pose_from_vector(torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0, 0.0]]))
    assert essential_matrix(T)[0].tolist() == [[0, 0, 0], [0, 0, -1], [0, 1, 0]]


@pytest.mark.parametrize("sign", [1.0, -2.5])
def test_one_of_four_poses_is_the_true_one(sign):
    _, T, _ = pairs(5)
    four = poses_from_essential(sign * essential_matrix(T))
    assert four.shape == (5, 4, 4, 4)
    true = T.clone()
    true[:, :3, 3] /= true[:, :3, 3].norm(dim=-1, keepdim=True)
    distance = (four - true[:, None]).abs().amax((-1, -2))
    assert (distance.amin(1) < 1e-10).all()
    torch.testing.assert_close(torch.linalg.det(four[..., :3, :3]), torch.ones(5, 4, dtype=torch.float64))


def test_depth_comes_back_from_flow():
    depth, T, K = pairs()
    flow = rigid_flow(depth, T, K)
    found = triangulate(flow, T, K)
    assert found.valid.mean() > 0.3
    usable = found.valid > 0
    torch.testing.assert_close(found.depth[usable], depth[usable], atol=1e-9, rtol=0)
    assert (found.depth[~usable] == 0).all()
    # Parallax by hand: the angle at a point 4 ahead between cameras 1 apart is atan(1 / 4).
    aside = pose_from_vector(torch.tensor([[-1.0, 0.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64))
    K_one = torch.eye(3, dtype=torch.float64)[None]
    flow = torch.tensor([-0.25, 0.0], dtype=torch.float64).view(1, 2, 1, 1)
    one = triangulate(flow, aside, K_one)
    assert one.parallax.item() == pytest.approx(1 / 17**0.5)


def test_no_motion_and_flow_backwards_give_no_depth():
    _, _, K = pairs()
    still = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    flow = torch.zeros(3, 2, *SIZE, dtype=torch.float64)
    found = triangulate(flow, still, K)
    assert (found.valid == 0).all()
    assert found.depth.isfinite().all()
    aside = pose_from_vector(torch.tensor([[0.1, 0.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64))
    away = torch.tensor([-2.0, 0.0], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, *SIZE)
    assert (triangulate(away, aside, K[:1]).valid == 0).all(), "points behind both cameras"
    assert (triangulate(-away, aside, K[:1]).valid[..., :-2] == 1).all()


def test_gradients():
    depth, T, K = pairs(2)
    depth, T = depth[..., :3, :4].requires_grad_(), T.requires_grad_()
    assert gradcheck(
        lambda d, M: sampson_error(rigid_flow(d, M, K) + 1, fundamental_matrix(M, K, K)), (depth, T)
    )
    flow = rigid_flow(depth, 0.1 * T + 0.9 * torch.eye(4, dtype=torch.float64), K).detach().requires_grad_()
    assert gradcheck(lambda f, M: triangulate(f, M, K).depth, (flow, T))
