"""Teacher and student: crops and shifts that line up, masks, gradients, the schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.wavy_frames import coarse_flows, enlarged
from kinema.errors import UsageError
from kinema.losses.self_supervision import (
    random_shift,
    self_supervision_loss,
    self_supervision_weight,
    student_images,
)
from kinema.ops.resize import resize_flow
from kinema.outputs import TwoWayFlow

SIZE = (64, 96)


def linear_flow(points: Tensor) -> Tensor:
    """A motion that is linear in the picture's own coordinates, and so exact under bilinear resizing."""
    x, y = points.unbind(1)
    return torch.stack((0.02 * x - 0.01 * y + 1, 0.015 * y + 0.01 * x - 0.5), 1)


def centres(size_hw: tuple[int, int]) -> Tensor:
    """(1, 2, H, W): pixel coordinates."""
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in size_hw), indexing="ij")
    return torch.stack((x, y))[None]


def seen_by_student(crop: int, shift: tuple[int, int], size_hw: tuple[int, int], scale: float) -> Tensor:
    """What a perfect student says of `linear_flow` at the coarse or full level."""
    zoom = torch.tensor([(size - 2 * crop) / size for size in SIZE[::-1]]).view(1, 2, 1, 1)
    first = torch.tensor([crop + shift[1], crop + shift[0]]).view(1, 2, 1, 1)
    places = (centres(size_hw) + 0.5) * scale  # from the upper left corner of the full grid
    return linear_flow(places * zoom + first - 0.5) / zoom / scale


def test_the_student_sees_the_middle_enlarged() -> None:
    image = torch.arange(64.0).view(1, 1, 8, 8) / 64
    first, second = student_images(image, 1 - image, crop=2)
    assert first.shape == image.shape
    expected = torch.nn.functional.interpolate(image[..., 2:6, 2:6], (8, 8), mode="bilinear")
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(second, 1 - expected)
    moved, _ = student_images(image, image, crop=2, shift=(1, -2))
    torch.testing.assert_close(
        moved, torch.nn.functional.interpolate(image[..., 3:7, 0:4], (8, 8), mode="bilinear")
    )


@pytest.mark.parametrize("level", ["coarse", "full"])
@pytest.mark.parametrize("shift", [(0, 0), (8, -12), (-4, 16)])
def test_a_perfect_student_has_nothing_to_learn(level: str, shift: tuple[int, int]) -> None:
    """The teacher's flow, cut, moved and enlarged, is the flow of the student's part."""
    teacher_flow = linear_flow(centres(SIZE))
    small = linear_flow((centres((16, 24)) + 0.5) * 4 - 0.5) / 4
    teacher = TwoWayFlow(teacher_flow, teacher_flow, small, small)
    full, coarse = seen_by_student(16, shift, SIZE, 1.0), seen_by_student(16, shift, (16, 24), 4.0)
    student = TwoWayFlow(full, full, coarse, coarse)
    # The mean of sqrt(x^2 + 0.001^2) of both components; borders repeat pixels, which is no linear motion.
    loss = self_supervision_loss(teacher, student, crop=16, shift=shift, mask="none", level=level)
    assert loss.item() < 0.01
    wrong = self_supervision_loss(
        teacher,
        student,
        crop=16,
        shift=(shift[0], shift[1] + 4 if shift[1] < 16 else 0),
        mask="none",
        level=level,
    )
    assert wrong.item() > 2 * loss.item()


def test_only_the_student_learns() -> None:
    teacher = [flow.requires_grad_() for flow in coarse_flows()]
    student = [(flow.detach() / 2).requires_grad_() for flow in teacher]
    self_supervision_loss(enlarged(*teacher), enlarged(*student), crop=16).backward()
    assert all(flow.grad is None for flow in teacher)
    assert all(flow.grad.abs().sum() > 0 for flow in student)


def test_a_sure_student_and_an_unsure_teacher_teach_nothing() -> None:
    still, there = torch.zeros(1, 2, 16, 24), torch.zeros(1, 2, 16, 24)
    there[:, 0] = 3.0
    sure, other = enlarged(still, still), enlarged(there, -there)
    unsure = enlarged(there, there)  # both directions agree on nothing
    for mask in ("gaussian", "ddflow"):
        assert self_supervision_loss(sure, sure, crop=16, mask=mask).item() == 0
        assert self_supervision_loss(unsure, sure, crop=16, mask=mask).item() < 1e-6
        assert self_supervision_loss(sure, unsure, crop=16, mask=mask).item() > 1
    # A consistent student can still learn near its border, where its flow leaves the picture.
    assert self_supervision_loss(sure, other, crop=16, mask="ddflow").item() == pytest.approx(
        3.001 * 3 / 24, rel=1e-4
    )


def test_random_shifts_are_whole_and_within_reach() -> None:
    shifts = [random_shift(18, np.random.default_rng(n)) for n in range(300)]
    assert {y for y, _ in shifts} == {x for _, x in shifts} == {-16, -12, -8, -4, 0, 4, 8, 12, 16}
    assert random_shift(3, np.random.default_rng(0)) == (0, 0)


def test_the_schedule() -> None:
    def weight(step: int, **options: float) -> float:
        return self_supervision_weight(step, **options)

    assert weight(0) == weight(499_999) == 0
    assert weight(500_000) == pytest.approx(0.6e-5)
    assert weight(549_999) == pytest.approx(0.3)
    assert weight(600_000) == weight(10**9) == 0.6
    assert [weight(s, weight=1.0, after=2, ramp=0) for s in range(4)] == [0, 0, 1, 1]
    assert [weight(s, weight=1.0, after=2, ramp=2, cycle=4.0) for s in range(6)] == [0, 0, 0.5, 1, 0, 0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"crop": 30}, "multiple of 4"),
        ({"crop": 32}, "leave the 16 pixels"),
        ({"crop": -4}, "a crop of -1"),
        ({"shift": (20, 0)}, "a shift of 5"),
        ({"shift": (2, 0)}, "multiple of 4"),
    ],
)
def test_crops_that_cannot_be_are_refused(options: dict[str, object], words: str) -> None:
    flows = enlarged(*coarse_flows())
    with pytest.raises(UsageError, match=words):
        self_supervision_loss(flows, flows, **{"crop": 16, **options})


def test_two_sizes_are_refused() -> None:
    teacher, student = enlarged(*coarse_flows()), enlarged(*coarse_flows((32, 48)))
    with pytest.raises(UsageError, match="differ in size"):
        self_supervision_loss(teacher, student, crop=16)


def test_resized_student_keeps_its_own_pixels() -> None:
    """The student's flow is in pixels of the enlarged part: a steady motion looks larger to it."""
    steady = torch.ones(1, 2, 16, 24)
    zoom = resize_flow(steady[..., 4:-4, 4:-4], (16, 24))
    loss = self_supervision_loss(enlarged(steady, steady), enlarged(zoom, zoom), crop=16, mask="none")
    assert loss.item() == pytest.approx(0.002, rel=1e-3)
    assert zoom[0, :, 0, 0].tolist() == pytest.approx([1.5, 2.0])
