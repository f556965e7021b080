"""Pinhole geometry: published and hand-computed values, rendered worlds, points behind cameras, gradients."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from helpers.compiled import run_compiled
from kinema.data.procedural.world.clip import render_clip
from kinema.data.procedural.world.config import WorldConfig
from kinema.errors import UsageError
from kinema.ops.camera import (
    backproject,
    intrinsics_from_field_of_view,
    intrinsics_pyramid,
    inverse_warp,
    project,
    rays,
    rays_through,
    rigid_flow,
    rigid_motion,
    transform,
)
from kinema.ops.grid import pixel_grid
from kinema.ops.pose import compose, invert_pose, pose_from_vector
from kinema.ops.warp import backward_warp, in_frame

DOUBLE = torch.float64


def camera(fx=100.0, fy=100.0, cx=2.5, cy=1.5, skew=0.0, dtype=torch.float32):
    return torch.tensor([[[fx, skew, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]], dtype=dtype)


def pose(*six, dtype=torch.float32):
    return pose_from_vector(torch.tensor([six], dtype=dtype))


def plane(depth=10.0, size_hw=(4, 6), dtype=torch.float32):
    return torch.full((1, 1, *size_hw), depth, dtype=dtype)


def random_pairs(count, size_hw, seed=0, dtype=torch.float64):
    """Depths, motions and intrinsics of a batch, all in front of both cameras."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    depth = 3 + 2 * draw(count, 1, *size_hw)
    T = pose_from_vector(0.2 * draw(count, 6) - 0.1)
    K = camera(cx=(size_hw[1] - 1) / 2, cy=(size_hw[0] - 1) / 2, dtype=dtype).repeat(count, 1, 1)
    K[:, 0, 0], K[:, 1, 1] = 8 + draw(count), 9 + draw(count)
    K[:, 0, 1] = draw(count)
    return depth, T, K


# --- published values -----------------------------------------------------------------------------


@pytest.mark.parametrize("near", [None, 1e-3])
def test_rigid_flow_of_single_motions(near):
    def flow(*six):
        return rigid_flow(plane(), pose(*six), camera(), near=near)[0]

    aside = flow(0.5, 0, 0, 0, 0, 0)
    torch.testing.assert_close(
        aside, torch.tensor([5.0, 0.0]).view(2, 1, 1).expand(2, 4, 6), atol=2e-5, rtol=0
    )
    back = flow(0, 0, -2, 0, 0, 0)
    assert back[0, 2].tolist() == pytest.approx([-0.625, -0.375, -0.125, 0.125, 0.375, 0.625], abs=1e-5)
    assert back[1, :, 3].tolist() == pytest.approx([-0.375, -0.125, 0.125, 0.375], abs=1e-5)
    turned = flow(0, 0, 0, 0, 0.1, 0)
    expected = [10.014618, 10.020645, 10.028687, 10.038754, 10.050852, 10.064986]
    assert turned[0, 0].tolist() == pytest.approx(expected, abs=1e-5)
    expected = [-0.003759, -0.005266, -0.006775, -0.008288, -0.009804, -0.011322]
    assert turned[1, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_rigid_flow_of_an_inverted_pose():
    flow = rigid_flow(plane(), invert_pose(pose(0.5, 0, -2, 0, 0.1, 0)), camera(), near=None)[0]
    expected = [-13.886223, -14.034561, -14.18433, -14.335524, -14.488143, -14.642181]
    assert flow[0, 0].tolist() == pytest.approx(expected, abs=2e-5)
    expected = [0.235796, 0.236859, 0.23792, 0.238979, 0.240037, 0.241092]
    assert flow[1, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_metric_depth_cannot_be_seen():
    depth, T, K = random_pairs(2, (5, 7))
    longer = T.clone()
    longer[:, :3, 3] *= 7
    torch.testing.assert_close(rigid_flow(7 * depth, longer, K), rigid_flow(depth, T, K), atol=1e-12, rtol=0)


# --- analytic -------------------------------------------------------------------------------------


def test_intrinsics_of_every_scale_by_both_conventions():
    K = camera(240.0, 250.0, 208.0, 64.0)
    sizes = [(128, 416), (64, 208), (32, 104), (16, 52)]
    plain = intrinsics_pyramid(K, sizes, convention="plain")
    assert [one[0, :2, 2].tolist() for one in plain] == [[208 / 2**s, 64 / 2**s] for s in range(4)]
    half = intrinsics_pyramid(K, sizes)
    assert half[1][0, :2, 2].tolist() == [208.5 / 2 - 0.5, 64.5 / 2 - 0.5]
    assert [one[0, 0, 0].item() for one in half] == [240 / 2**s for s in range(4)]


def test_a_field_of_view_is_that_between_the_outer_edges():
    K = intrinsics_from_field_of_view((3, 5), 90.0)
    torch.testing.assert_close(K, camera(2.5, 2.5, 2.0, 1.0))
    edge = rays_through(torch.tensor([4.5, 1.0]).view(1, 2, 1, 1), K)
    assert edge.flatten().tolist() == pytest.approx([1, 0, 1])  # 45 degrees
    for angle in (0.0, 180.0, -10.0, math.nan):
        with pytest.raises(UsageError, match="between 0 and 180"):
            intrinsics_from_field_of_view((3, 5), angle)


def test_the_principal_ray_looks_ahead_and_points_come_back():
    K = camera(cx=2.0, cy=1.0, skew=3.0)
    assert rays(K, (4, 6))[0, :, 1, 2].tolist() == [0, 0, 1]
    points = backproject(plane(4.0), K)
    assert points[0, :, 1, 2].tolist() == [0, 0, 4]
    seen = project(points, K)
    torch.testing.assert_close(seen.points_xy[0], pixel_grid((4, 6)), atol=1e-5, rtol=0)
    assert (seen.depth == 4).all()
    assert (seen.valid == 1).all()


@pytest.mark.parametrize("size_hw", [(1, 1), (5, 7), (37, 101)])
def test_there_and_back_is_nothing(size_hw):
    """A plane seen from both ends: the flow there, and the flow back fetched along it, cancel."""
    depth, T, K = random_pairs(3, size_hw)
    points = backproject(depth, K)
    moved = transform(points, T)
    torch.testing.assert_close(transform(moved, invert_pose(T)), points, atol=1e-12, rtol=0)
    seen = project(moved, K)
    again = seen.depth * rays_through(seen.points_xy, K)
    torch.testing.assert_close(again, moved, atol=1e-10, rtol=0)


def test_matrix_algebra_gives_the_same():
    depth, T, K = random_pairs(3, (5, 7))
    ones = torch.ones(3, 1, 35, dtype=DOUBLE)
    pixels = torch.cat((pixel_grid((5, 7), dtype=DOUBLE).flatten(1).expand(3, 2, 35), ones), dim=1)
    points = depth.flatten(2) * (K.inverse() @ pixels)
    moved = (T @ torch.cat((points, ones), dim=1))[:, :3]
    seen = K @ moved
    expected = (seen[:, :2] / seen[:, 2:] - pixels[:, :2]).view(3, 2, 5, 7)
    motion = rigid_motion(depth, T, K)
    torch.testing.assert_close(motion.flow, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(motion.depth, moved[:, 2:].view(3, 1, 5, 7), atol=1e-12, rtol=0)


def test_each_pair_of_a_batch_has_its_own_camera_and_motion():
    depth, T, K = random_pairs(3, (5, 7))
    other = K.flip(0)
    together = rigid_motion(depth, T, K, K_source=other)
    for index in range(3):
        one = slice(index, index + 1)
        alone = rigid_motion(depth[one], T[one], K[one], K_source=other[one])
        assert torch.equal(together.flow[one], alone.flow)
    assert not torch.equal(together.flow, rigid_motion(depth, T, K).flow)


def test_motions_chain():
    depth, T, K = random_pairs(2, (6, 5))
    further = pose_from_vector(torch.full((2, 6), 0.05, dtype=DOUBLE))
    whole = project(transform(backproject(depth, K), compose(further, T)), K)
    stepwise = project(transform(transform(backproject(depth, K), T), further), K)
    torch.testing.assert_close(whole.points_xy, stepwise.points_xy, atol=1e-11, rtol=0)


def test_inverse_warp_fetches_what_the_target_sees():
    """The camera moves one pixel's worth to the right: the source shows everything one pixel further left."""
    source = torch.arange(24.0).view(1, 1, 4, 6)
    seen = inverse_warp(source, plane(), pose(-0.1, 0, 0, 0, 0, 0), camera())
    assert seen.image[0, 0, :, 1:].tolist() == [
        pytest.approx([6.0 * row + column for column in range(5)], abs=1e-4) for row in range(4)
    ]
    assert seen.valid[0, 0, 0].tolist() == [0, 1, 1, 1, 1, 1]
    assert seen.motion.valid.all(), "in front of the camera, though outside its image"
    assert torch.equal(seen.image, backward_warp(source, seen.motion.flow, border="replicate"))


# --- rendered worlds ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["street", pytest.param("room", marks=pytest.mark.slow)])
def test_depth_and_path_of_a_rendered_world_give_its_rigid_flow(place):
    shares = tuple(float(place == name) for name in ("street", "walk", "room", "yard"))
    config = WorldConfig(size_hw=(72, 160), photometric=False, bank_textures=1, place_shares=shares)
    clip = render_clip(config, 0, [0], frames=2)
    T = (clip.T_camera_from_world[:, 1] @ clip.T_world_from_camera[:, 0]).float()
    motion = rigid_motion(clip.depth[:, 0], T, clip.K.float())
    known = clip.rigid_valid_forward[:, 0] & ~clip.sky[:, 0]
    assert known.float().mean() > 0.5
    assert (motion.valid > 0)[known].all()
    error = (motion.flow - clip.rigid_forward[:, 0]).abs()[known.expand(-1, 2, -1, -1)]
    assert error.max() < 0.02
    assert (motion.valid[clip.sky[:, 0]] == 0).all(), "the sky's depth is not known"
    still = ~clip.moving[:, 0] & clip.visible_forward[:, 0] & known & (in_frame(motion.flow) > 0)
    seen = inverse_warp(clip.images[:, 1], clip.depth[:, 0], T, clip.K.float())
    assert (seen.valid > 0)[still].all()
    difference = (seen.image - clip.images[:, 0]).abs().mean(1, keepdim=True)
    unmoved = (clip.images[:, 1] - clip.images[:, 0]).abs().mean(1, keepdim=True)
    assert difference[still].mean() < 0.5 * unmoved[still].mean()


# --- behind the camera, unknown depth -------------------------------------------------------------


def test_points_behind_the_camera_are_not_valid_and_do_no_harm():
    depth = torch.tensor([10.0, 2.0, 1.0, 0.0, -1.0, math.nan, math.inf]).view(1, 1, 1, 7).requires_grad_()
    T = pose(0, 0, -2, 0, 0, 0).requires_grad_()
    motion = rigid_motion(depth, T, camera(cx=0.0, cy=-1.0))
    assert motion.valid.flatten().tolist() == [1, 0, 0, 0, 0, 0, 0]
    assert motion.depth.flatten()[:3].tolist() == pytest.approx([8, 0, -1])
    assert motion.flow[0, :, 0, 0].tolist() == pytest.approx([0, 0.25], abs=1e-6)  # y = 1: 10/8 - 1
    assert (motion.flow[..., 1:] == 0).all()
    motion.flow.sum().backward()
    assert depth.grad.isfinite().all()
    assert (depth.grad.flatten()[1:] == 0).all()
    assert T.grad.isfinite().all()


def test_gradients_stay_finite_however_wild_depth_and_pose_are():
    generator = torch.Generator().manual_seed(0)
    for size in (1e-30, 1e-3, 1.0, 1e4, 1e30):
        depth = (size * torch.randn(4, 1, 9, 11, generator=generator)).requires_grad_()
        six = (3 * torch.randn(4, 6, generator=generator)).requires_grad_()
        seen = inverse_warp(torch.rand(4, 3, 9, 11), depth, pose_from_vector(six), camera().repeat(4, 1, 1))
        assert seen.image.isfinite().all()
        (seen.image * seen.valid).sum().backward()
        assert depth.grad.isfinite().all()
        assert six.grad.isfinite().all()


def test_the_published_rule_divides_by_whatever_z_is():
    """One metre behind the camera GeoNet sees a point mirrored at the principal point."""
    K = camera(cx=0.0, cy=0.0)
    flow = rigid_flow(plane(1.0, (1, 3)), pose(0, 0, -2, 0, 0, 0), K, near=None)
    assert flow[0, 0, 0].tolist() == pytest.approx([0, -2, -4])
    assert rigid_motion(plane(1.0, (1, 3)), pose(0, 0, -2, 0, 0, 0), K, near=None).valid.all()


def test_near_is_a_limit_that_can_be_set():
    points = torch.tensor([0.0, 0.0, 0.5]).view(1, 3, 1, 1)
    assert project(points, camera()).valid.item() == 1
    assert project(points, camera(), near=0.5).valid.item() == 1
    assert project(points, camera(), near=0.6).valid.item() == 0


# --- precision, gradients, compile ----------------------------------------------------------------


def test_autocast_and_half_precision_depth_keep_coordinates():
    depth, T, K = random_pairs(2, (37, 101), dtype=torch.float32)
    K[:, :2, :2] *= 20
    exact = rigid_flow(depth, T, K)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(rigid_flow(depth, T, K), exact)
        assert rigid_flow(depth.bfloat16(), T, K).dtype == torch.float32


def test_gradients():
    depth, T, K = random_pairs(2, (3, 4))
    source = torch.rand(2, 2, 3, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(3))
    for tensor in (depth, T, K, source):
        tensor.requires_grad_()
    assert gradcheck(lambda *inputs: rigid_motion(*inputs)[:2], (depth, T, K))
    assert gradcheck(lambda *inputs: rigid_flow(*inputs, near=None), (depth, T, K))
    assert gradcheck(
        lambda *inputs: project(*inputs)[:2], (backproject(depth, K).detach().requires_grad_(), K)
    )
    assert gradcheck(lambda *inputs: inverse_warp(*inputs).image, (source, depth, T, K))
    six = torch.full((2, 6), 0.05, dtype=DOUBLE, requires_grad=True)
    assert gradcheck(lambda d, v: rigid_flow(d, invert_pose(pose_from_vector(v)), K.detach()), (depth, six))


@pytest.mark.slow
def test_compiles():
    run_compiled(
        """
        from kinema.ops.camera import inverse_warp
        from kinema.ops.pose import pose_from_vector

        def warped(image, depth, six, K):
            seen = inverse_warp(image, depth, pose_from_vector(six), K)
            return seen.image, seen.valid, seen.motion.flow

        K = torch.tensor([[[50.0, 0, 15], [0, 50, 10], [0, 0, 1]]]).repeat(2, 1, 1)
        check(warped, torch.rand(2, 3, 21, 31), 1 + torch.rand(2, 1, 21, 31), 0.05 * torch.randn(2, 6), K)
        """
    )
