"""The rigid objectives: facts by hand, what each repair is for, sums over devices, gradients, learning."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from helpers.rendered_snippets import rendered_snippet
from kinema.errors import UsageError
from kinema.losses.rigid_motion import modern_rigid_loss, published_rigid_loss
from kinema.losses.snippet import (
    Part,
    as_pairs,
    masked_part,
    photometric_difference,
    published_difference,
    smoothness_part,
    split_snippet,
    total_loss,
)
from kinema.ops.camera import rigid_flow
from kinema.ops.pose import invert_pose, pose_from_vector, rotation_angle, vector_from_pose

SIZE = (24, 40)
LOSSES = [published_rigid_loss, modern_rigid_loss]


def mean_of(part):
    return (part.total / part.count).item()


def camera(size_hw=SIZE, count=1):
    K = torch.tensor([[[30.0, 0, size_hw[1] / 2], [0, 30.0, size_hw[0] / 2], [0, 0, 1]]])
    return K.repeat(count, 1, 1)


def waves(size_hw=SIZE, shift=0.0):
    """A smooth picture (3, H, W), moved to the right by so many pixels."""
    y, x = torch.meshgrid(torch.arange(float(size_hw[0])), torch.arange(float(size_hw[1])), indexing="ij")
    x = x - shift
    parts = [torch.sin(0.5 * x + 0.3 * y + c) + torch.cos(0.4 * y - 0.23 * x + 2 * c) for c in range(3)]
    return 0.5 + 0.2 * torch.stack(parts)


def sideways(step=1.0, depth=10.0):
    """A camera before a wall, moving `step` pixels to the right a frame: frames, inverse depth, poses."""
    frames = torch.stack([waves(shift=step), waves(), waves(shift=-step)])[None]
    length = step * depth / 30.0
    six = torch.zeros(1, 2, 6)
    six[0, :, 0] = torch.tensor([length, -length])
    return frames, [torch.full((1, 3, 1, *SIZE), 1 / depth)], pose_from_vector(six)


# --- parts ----------------------------------------------------------------------------------------


def test_the_target_is_in_the_middle():
    five = torch.arange(5.0).view(1, 5)
    target, sources = split_snippet(five)
    assert (target.tolist(), sources.tolist()) == ([2], [[0, 1, 3, 4]])
    pair = split_snippet(torch.arange(2.0).view(1, 2))
    assert (pair[0].tolist(), pair[1].tolist()) == ([0], [[1]])
    with pytest.raises(UsageError, match="2 frames or more, not 1"):
        split_snippet(five[:, :1])
    targets, paired = as_pairs(*split_snippet(torch.arange(6.0).view(2, 3)))
    assert (targets.tolist(), paired.tolist()) == ([1, 1, 4, 4], [0, 2, 3, 5])


def test_masked_means_divide_by_what_counts_but_not_by_a_handful():
    values, valid = torch.full((1, 1, 10, 20), 3.0), torch.zeros(1, 1, 10, 20)
    assert mean_of(masked_part(values, valid, 1.0)) == 0
    valid[..., :10] = 1
    assert mean_of(masked_part(values, valid, 2.0)) == 6
    valid[:] = 0
    valid[..., 0, 0] = 1  # one of 200 pixels, and 1 % is two
    assert mean_of(masked_part(values, valid, 1.0)) == 1.5
    assert mean_of(masked_part(values, valid, 1.0, fewest=0.0)) == 3


def test_smoothness_of_a_ramp_is_one_and_edges_forgive():
    ramp = torch.arange(6.0).expand(1, 1, 4, 6)
    even = torch.full((1, 3, 4, 6), 0.3)
    assert mean_of(smoothness_part(ramp, even, 1.0, edges=2.0)) == pytest.approx(1)
    assert mean_of(
        smoothness_part(ramp + ramp.new_tensor([0, 1, 2, 3.0])[:, None], even, 1.0, edges=2.0)
    ) == (pytest.approx(2))
    steps = torch.arange(6.0).expand(1, 3, 4, 6) / 2
    assert mean_of(smoothness_part(ramp, steps, 1.0, edges=2.0)) == pytest.approx(math.exp(-1))


def test_differences_of_equal_and_of_constant_images():
    first, second = waves()[None], torch.zeros(1, 3, *SIZE)
    for difference in (published_difference, photometric_difference):
        assert difference(first, first).abs().max() < 1e-5
    light = torch.full_like(second, 0.4)
    luminance = (1 - 1e-4 / (0.16 + 1e-4)) / 2
    expected = 0.85 * luminance + 0.15 * 0.4
    assert photometric_difference(light, second).mean().item() == pytest.approx(expected, rel=1e-5)


# --- both objectives ------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_the_true_motion_costs_least(loss):
    frames, inverse, T = sideways()
    truth = total_loss(loss(frames, inverse, T, camera()))
    for wrong in (-0.3, 0.5, 2.0):
        other = T.clone()
        other[..., :3, 3] *= wrong
        assert total_loss(loss(frames, inverse, other, camera())) > 1.3 * truth, wrong


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_any_number_of_sources_and_scales_and_a_batch_is_the_sum_of_its_samples(loss, count):
    generator = torch.Generator().manual_seed(0)
    frames = torch.rand(2, count, 3, *SIZE, generator=generator)
    inverse = [
        0.1 + 0.1 * torch.rand(2, count, 1, h, w, generator=generator) for h, w in (SIZE, (12, 20), (6, 10))
    ]
    T = pose_from_vector(0.2 * torch.rand(2, count - 1, 6, generator=generator))
    K = camera(count=2)
    K[1] *= 1.1
    K[1, 2, 2] = 1
    whole = loss(frames, inverse, T, K)
    halves = [
        loss(frames[one], [level[one] for level in inverse], T[one], K[one])
        for one in (slice(0, 1), slice(1, 2))
    ]
    for name, part in whole.items():
        total = sum(half[name].total for half in halves)
        torch.testing.assert_close(part.total, total, rtol=1e-5, atol=1e-5)
        assert part.count == sum(half[name].count for half in halves)
        assert not part.count.requires_grad
    assert total_loss(whole).item() == pytest.approx(sum(mean_of(part) for part in whole.values()), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_stay_finite_far_away_and_behind_the_camera(loss):
    frames, inverse, _ = sideways()
    for six in ((0, 0, -50, 0, 0, 0), (0, 0, 0, 0, 3, 0), (1e6, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0)):
        vector = torch.tensor(six, dtype=torch.float32).expand(1, 2, 6).clone().requires_grad_()
        near = inverse[0].clone().requires_grad_()
        total = total_loss(loss(frames, [near], pose_from_vector(vector), camera()))
        total.backward()
        assert total.isfinite(), six
        assert vector.grad.isfinite().all(), six
        assert near.grad.isfinite().all(), six


def test_gradients():
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(1, 2, 3, 4, 5, dtype=torch.float64, generator=generator)
    inverse = (
        0.2 + 0.05 * torch.rand(1, 2, 1, 4, 5, dtype=torch.float64, generator=generator)
    ).requires_grad_()
    six = (0.1 * torch.rand(1, 1, 6, dtype=torch.float64, generator=generator)).requires_grad_()
    K = camera((4, 5)).double()

    def published(level, vector):
        return total_loss(published_rigid_loss(frames, [level], pose_from_vector(vector), K))

    def modern(level, vector):
        T = pose_from_vector(vector)
        return total_loss(modern_rigid_loss(frames, [level], T, K, geometry_weight=0.0, auto_mask=False))

    def geometry(level, vector):
        parts = modern_rigid_loss(frames, [level], pose_from_vector(vector), K)
        return total_loss({"geometry_0": parts["geometry_0"]})

    for function in (published, modern, geometry):
        assert gradcheck(function, (inverse, six), eps=1e-7, atol=1e-4, fast_mode=True)


# --- the published objective ----------------------------------------------------------------------


def test_scale_normalisation_forgets_the_scale():
    frames, _, T = sideways()
    level = 0.1 + torch.rand(1, 3, 1, *SIZE)
    parts, doubled = (
        published_rigid_loss(frames, [factor * level], T, camera(), scale_normalize=True) for factor in (1, 2)
    )
    assert total_loss(parts).item() == pytest.approx(total_loss(doubled).item(), rel=1e-5)
    plain = published_rigid_loss(frames, [2 * level], T, camera())
    assert mean_of(plain["smoothness_0"]) != pytest.approx(mean_of(parts["smoothness_0"]), rel=0.1)


# --- what each repair is for ----------------------------------------------------------------------


def test_pixels_out_of_view_cost_nothing():
    frames, inverse, T = sideways(step=3.0)
    modern = modern_rigid_loss(frames, inverse, T, camera(), auto_mask=False, reprojection="mean")
    assert mean_of(modern["photometric_0"]) < 0.01
    assert modern["photometric_0"].count.item() < 4 * SIZE[0] * (SIZE[1] - 2)
    published = published_rigid_loss(frames, inverse, T, camera())
    assert mean_of(published["warp_forward_0"]) > 0.05, "there they are grey"


def test_minimum_reprojection_takes_the_source_that_sees_the_pixel():
    frames, inverse, T = sideways()
    hidden = frames.clone()
    hidden[0, 0, :, 8:16, 10:30] = torch.rand(3, 8, 20)  # something passed before the earlier frame
    options = {"geometry_weight": 0.0, "auto_mask": False}

    def of_target(reprojection):
        return modern_rigid_loss(hidden, inverse, T, camera(), reprojection=reprojection, **options)

    least, mean = (mean_of(of_target(name)["photometric_0"]) for name in ("minimum", "mean"))
    clean = mean_of(modern_rigid_loss(frames, inverse, T, camera(), **options)["photometric_0"])
    # The earlier frame still looks for itself in the target: one view of three instead of two of four.
    assert clean < 0.02
    assert least < 0.75 * mean


def test_still_pixels_are_left_out():
    frames, inverse, T = sideways()
    still = frames[:, 1:2].expand_as(frames)
    T.requires_grad_()
    masked = modern_rigid_loss(still, inverse, T, camera())["photometric_0"].total
    assert masked.item() == pytest.approx(0, abs=0.1)  # a sum over 2880 pixels
    assert modern_rigid_loss(still, inverse, T, camera(), auto_mask=False)["photometric_0"].total.item() > 10
    (slope,) = torch.autograd.grad(masked, T)
    moving = modern_rigid_loss(frames, inverse, 0.5 * T, camera())["photometric_0"].total
    (free,) = torch.autograd.grad(moving, T)
    assert slope.abs().max() < 0.05 * free.abs().max()


def test_to_explain_nothing_is_not_cheap():
    """A camera turned away sees nothing of the scene; that costs as much as to leave the frames unmoved."""
    frames, inverse, T = sideways()
    away = pose_from_vector(torch.tensor([0, 0, 0, 0, 3.0, 0]).expand(1, 2, 6))
    still = torch.eye(4).expand(1, 2, 4, 4)
    lost, unmoved, found = (
        mean_of(modern_rigid_loss(frames, inverse, pose, camera())["photometric_0"])
        for pose in (away, still, T)
    )
    assert lost == pytest.approx(unmoved, rel=1e-2)
    assert found < 0.2 * unmoved


def test_a_camera_that_does_not_move_yet_can_learn_to():
    frames, inverse, T = sideways()
    six = torch.zeros(1, 2, 6, requires_grad=True)
    modern_rigid_loss(frames, inverse, pose_from_vector(six), camera())["photometric_0"].total.backward()
    assert (six.grad[..., 0].sign() == -T[..., 0, 3].sign()).all(), "downhill is the way that it moved"


def test_geometry_wants_one_scale():
    frames, inverse, _ = sideways()
    level = inverse[0].clone()
    level[:, 0] /= 2  # one source twice as deep as the others
    still = torch.eye(4).expand(1, 2, 4, 4)
    parts = modern_rigid_loss(frames, [level], still, camera(), auto_mask=False)
    # Two of four views disagree by |2 - 1| / (2 + 1).
    assert mean_of(parts["geometry_0"]) == pytest.approx(0.5 * (1 / 3) / 2, rel=1e-5)
    same = modern_rigid_loss(frames, inverse, still, camera(), auto_mask=False)
    assert same["geometry_0"].total.item() == 0
    without = modern_rigid_loss(frames, [level], still, camera(), auto_mask=False, geometry_weight=0.0)
    assert "geometry_0" not in without
    assert mean_of(parts["photometric_0"]) < mean_of(without["photometric_0"]), "what disagrees weighs less"


def test_smoothness_does_not_reward_a_small_scene():
    frames, _, T = sideways()
    level = 0.1 + torch.rand(1, 3, 1, *SIZE)
    terms = []
    for factor in (1.0, 0.1):
        terms.append(modern_rigid_loss(frames, [factor * level], T, camera())["smoothness_0"])
    assert mean_of(terms[0]) == pytest.approx(mean_of(terms[1]), rel=1e-5)


def test_coarse_scales_are_compared_at_full_size():
    frames, inverse, T = sideways()
    coarse = [F.interpolate(inverse[0][0], size, mode="area")[None] for size in ((12, 20), (6, 10))]
    parts = modern_rigid_loss(frames, [*inverse, *coarse], T, camera())
    for scale in (1, 2):
        found = mean_of(parts[f"photometric_{scale}"])
        assert found == pytest.approx(mean_of(parts["photometric_0"]), rel=1e-4)


# --- rendered worlds ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_truth_costs_less_than_what_is_near_it(loss):
    scene = rendered_snippet("street")
    inverse = scene.inverse_depth

    def cost(levels, T):
        return total_loss(loss(scene.frames, [levels], T, scene.K)).item()

    truth = cost(inverse, scene.T_source_from_target)
    half = scene.T_source_from_target.clone()
    half[..., :3, 3] /= 2
    assert cost(inverse, half) > 1.1 * truth
    assert cost(inverse.mean((-2, -1), keepdim=True).expand_as(inverse), scene.T_source_from_target) > truth


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_minimising_it_finds_flow_and_rotation(loss):
    """Depth as a free grid and pose as free numbers, from a flat world and half of the motion."""
    scene = rendered_snippet("street")
    true, known = scene.clip.depth, scene.clip.depth > 0
    six = vector_from_pose(scene.T_source_from_target, rotation="axis_angle")
    motion = (0.5 * six).requires_grad_()
    depth = torch.full((3, 1, 18, 40), -float(true[known].median().log())).requires_grad_()
    optimiser = torch.optim.Adam([{"params": [depth], "lr": 0.03}, {"params": [motion], "lr": 0.004}])

    def levels():
        return [F.interpolate(depth, size, mode="bilinear").exp()[None] for size in ((72, 160), (36, 80))]

    def errors():
        T = pose_from_vector(motion.detach(), rotation="axis_angle")
        flow = rigid_flow(1 / levels()[0].detach()[:, 1], T[:, 1], scene.K)
        wrong = (flow - scene.clip.rigid_forward[:, 1]).norm(dim=1)
        seen = (scene.clip.rigid_valid_forward[:, 1] & ~scene.clip.sky[:, 1])[:, 0]
        turned = invert_pose(scene.T_source_from_target)[..., :3, :3] @ T[..., :3, :3]
        return wrong[seen].mean().item(), rotation_angle(turned).mean().item()

    before = errors()
    for _ in range(80):
        T = pose_from_vector(motion, rotation="axis_angle")
        optimiser.zero_grad()
        total_loss(loss(scene.frames, levels(), T, scene.K)).backward()
        optimiser.step()
    after = errors()
    assert after[0] < 0.5 * before[0]
    assert after[1] < 0.5 * before[1]


def test_parts_are_plain_sums():
    assert (
        total_loss(
            {"a": Part(torch.tensor(6.0), torch.tensor(3.0)), "b": Part(torch.ones(()), torch.ones(()))}
        )
        == 3
    )
