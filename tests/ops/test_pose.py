"""Rotations and rigid motions: published values, round trips, the edges of every chart, gradients."""

import inspect
import json
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from helpers.compiled import run_compiled
from kinema.errors import UsageError
from kinema.io.formats.quaternion import quaternions_from_rotations
from kinema.io.poses import invert_poses
from kinema.ops.pose import (
    axis_angle_from_rotation,
    compose,
    cross_matrix,
    euler_from_rotation,
    invert_pose,
    matmul,
    pose_from_vector,
    quaternion_from_rotation,
    rigid,
    rotation_angle,
    rotation_from_axis_angle,
    rotation_from_euler,
    rotation_from_quaternion,
    vector_from_pose,
)


def vectors(count, size=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(count, 3, generator=generator, dtype=torch.float64)


def close(found, expected, atol=1e-12):
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def test_poses_equal_the_published_ones(shared):
    path = shared / "fixtures" / "geonet" / "golden" / "primitives.json"
    known = json.loads(path.read_text())["pose_vec2mat"]
    T = pose_from_vector(torch.tensor(known["in"], dtype=torch.float64))
    close(T, torch.tensor(known["out"], dtype=torch.float64), atol=1e-6)
    close(
        invert_pose(T)[:, :3, 3], torch.tensor(known["inverse_translation"], dtype=torch.float64), atol=1e-6
    )


def test_euler_angles_turn_about_x_last():
    quarter = math.pi / 2
    x_axis = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    for angles, image in (
        ((0, 0, quarter), (0, 1, 0)),
        ((0, quarter, 0), (0, 0, -1)),
        ((quarter, 0, 0), (1, 0, 0)),
    ):
        R = rotation_from_euler(torch.tensor(angles, dtype=torch.float64))
        close(R @ x_axis, torch.tensor(image, dtype=torch.float64))
    both = rotation_from_euler(torch.tensor([quarter, 0, quarter], dtype=torch.float64))
    close(both @ x_axis, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))  # z turns x to y, then x y to z


@pytest.mark.parametrize("size", [1e-9, 1e-3, 0.3, 1.4])
def test_every_chart_comes_back(size):
    turns = vectors(50, size).clamp(-1.5, 1.5)
    close(euler_from_rotation(rotation_from_euler(turns)), turns)
    close(axis_angle_from_rotation(rotation_from_axis_angle(turns)), turns)
    R = rotation_from_axis_angle(turns)
    close(rotation_from_quaternion(quaternion_from_rotation(R)), R)
    close(rotation_angle(R), turns.norm(dim=-1))
    close(matmul(R, R.transpose(-1, -2)), torch.eye(3, dtype=torch.float64).expand_as(R))


def test_half_turns_have_an_axis_and_locked_angles_a_rotation():
    for axis in torch.eye(3, dtype=torch.float64):
        R = rotation_from_axis_angle(math.pi * axis[None])
        close(axis_angle_from_rotation(R).abs(), math.pi * axis[None])
        close(rotation_angle(R), torch.tensor([math.pi], dtype=torch.float64))
    for sign in (-1, 1):
        R = rotation_from_euler(torch.tensor([[0.4, sign * math.pi / 2, 0.9]], dtype=torch.float64))
        angles = euler_from_rotation(R)
        assert angles[0, 2] == 0
        close(rotation_from_euler(angles), R)


def test_the_matrix_of_an_axis_and_angle_is_the_exponential():
    turns = vectors(20, 1.5)
    close(rotation_from_axis_angle(turns), torch.linalg.matrix_exp(cross_matrix(turns)))
    tiny = 1e-3 * turns  # on the side of the series
    close(rotation_from_axis_angle(tiny), torch.linalg.matrix_exp(cross_matrix(tiny)), atol=1e-15)


def test_quaternions_are_those_of_the_files():
    R = rotation_from_axis_angle(vectors(200, 2.0))
    np.testing.assert_allclose(
        quaternion_from_rotation(R).numpy(), quaternions_from_rotations(R.numpy()), atol=1e-14
    )


@pytest.mark.parametrize("rotation", ["euler", "axis_angle"])
def test_six_numbers_come_back_and_poses_invert(rotation):
    six = torch.cat((vectors(10, 3.0, seed=1), vectors(10, 0.4, seed=2)), dim=-1).view(2, 5, 6)
    T = pose_from_vector(six, rotation=rotation)
    assert T.shape == (2, 5, 4, 4)
    close(vector_from_pose(T, rotation=rotation), six)
    close(compose(invert_pose(T), T), torch.eye(4, dtype=torch.float64).expand_as(T))
    np.testing.assert_allclose(invert_pose(T)[0].numpy(), invert_poses(T[0].numpy()), atol=1e-12)


def test_chains_read_like_their_names():
    T_b_from_a = pose_from_vector(torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    T_c_from_b = pose_from_vector(torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, math.pi / 2]))
    T_c_from_a = compose(T_c_from_b, T_b_from_a)
    origin = torch.tensor([0.0, 0.0, 0.0, 1.0])
    close(
        T_c_from_a @ origin, torch.tensor([0.0, 1.0, 0.0, 1.0]), atol=1e-6
    )  # moved along x, then turned to y


def test_published_angles_are_cut_off_at_half_a_turn():
    far = pose_from_vector(torch.tensor([0.0, 0.0, 0.0, 4.0, 0.0, 0.0], dtype=torch.float64))
    close(far[:3, :3], rotation_from_euler(torch.tensor([math.pi, 0.0, 0.0], dtype=torch.float64)))


@pytest.mark.parametrize("size", [0.0, 1e-4, 0.5])
def test_gradients(size):
    turns = vectors(3, size).requires_grad_()
    assert gradcheck(rotation_from_euler, turns)
    assert gradcheck(rotation_from_axis_angle, turns)
    assert gradcheck(lambda v: axis_angle_from_rotation(rotation_from_axis_angle(v)), turns)
    assert gradcheck(lambda v: euler_from_rotation(rotation_from_euler(v)), turns)
    assert gradcheck(lambda v: quaternion_from_rotation(rotation_from_axis_angle(v)), turns)
    assert gradcheck(lambda v: invert_pose(rigid(rotation_from_axis_angle(v), v)), turns)
    if size:
        assert gradcheck(lambda v: rotation_angle(rotation_from_axis_angle(v)), turns)


def test_the_angle_of_no_turn_has_a_gradient_of_zero():
    turn = torch.zeros(1, 3, requires_grad=True)
    rotation_angle(rotation_from_axis_angle(turn)).sum().backward()
    assert torch.equal(turn.grad, torch.zeros(1, 3))


def test_half_precision_numbers_become_whole_poses():
    six = torch.tensor([[0.1, 0.2, 0.3, 0.01, 0.02, 0.03]], dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        T = pose_from_vector(six)
        assert T.dtype == compose(T, T).dtype == torch.float32
        close(compose(T, invert_pose(T))[0], torch.eye(4), atol=1e-6)


def test_unknown_rotation_is_refused():
    unchecked = inspect.unwrap(pose_from_vector)  # the shape checks of the tests would refuse it first
    with pytest.raises(UsageError, match="'euler' or 'axis_angle'"):
        unchecked(torch.zeros(1, 6), rotation="quaternion")


@pytest.mark.slow
def test_compiles():
    run_compiled(
        """
        from kinema.ops.pose import compose, invert_pose, pose_from_vector, vector_from_pose

        def there_and_further(six):
            T = pose_from_vector(six)
            return vector_from_pose(compose(T, compose(T, invert_pose(T))), rotation="axis_angle")

        check(there_and_further, 0.3 * torch.randn(4, 6))
        """
    )
