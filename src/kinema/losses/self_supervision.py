"""A flow network as its own teacher: what it sees in a whole frame, it should also see in a cropped one.

Near the border of a crop, matches lie outside the picture; the teacher, who sees more, knows the flow there
(Liu et al. 2019, DDFlow; Jonschkowski et al. 2020, section 3.4).
"""

from __future__ import annotations

from types import EllipsisType
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops.occlusion import forward_backward_occlusion, gaussian_consistency
from kinema.ops.resize import resize_flow, resize_image
from kinema.ops.robust import robust_l1
from kinema.ops.warp import in_frame
from kinema.outputs import TwoWayFlow

TeacherMask = Literal["gaussian", "ddflow", "none"]
TeacherLevel = Literal["coarse", "full"]


def self_supervision_loss(
    teacher: TwoWayFlow,
    student: TwoWayFlow,
    *,
    crop: int = 64,
    shift: tuple[int, int] = (0, 0),
    mask: TeacherMask = "gaussian",
    sigma_teacher: float = 0.003,
    sigma_student: float = 0.03,
    level: TeacherLevel = "coarse",
) -> Float[Tensor, ""]:
    """How far the student is from the teacher, where the teacher is sure of itself and the student is not.

    Each one's consistency is ``exp(-d / (sigma^2 (h^2 + w^2)))``, d the squared miss after going along the
    flow and back, and 0 where the flow leaves the picture. The error, summed over both components, is
    weighted by the teacher's consistency times one minus the student's, and divided by all pixels.

    Args:
        teacher: flows of the whole frames; no gradient goes into them.
        student: flows of what `student_images` made of the frames, of the same sizes.
        crop: pixels that the student missed on each side.
        shift: (y, x) by how many pixels its part lay below and right of the middle.
        mask: ``gaussian``, see above; ``ddflow``: the consistencies are 0 or 1, by Brox's threshold;
            ``none``: all pixels count.
        sigma_teacher: tolerated miss of the teacher, as a share of the diagonal.
        sigma_student: tolerated miss of the student, as a share of the diagonal.
        level: compare ``coarse`` flows, or ``full`` ones (SMURF).

    Returns:
        A scalar in pixels of the level, the mean of both directions.

    Raises:
        UsageError: for an unknown name, two sizes, or a crop or shift that is not whole at this level.
    """
    if mask not in get_args(TeacherMask) or level not in get_args(TeacherLevel):
        raise UsageError(f"unknown mask {mask!r} or level {level!r}")
    taught, learnt = _both_ways(teacher, level).detach(), _both_ways(student, level)
    if taught.shape != learnt.shape:
        raise UsageError(f"teacher {tuple(taught.shape)} and student {tuple(learnt.shape)} differ in size")
    window = _window(_at_level(teacher, taught, crop, shift), (taught.shape[-2], taught.shape[-1]))
    size_hw = (taught.shape[-2], taught.shape[-1])
    error = robust_l1(resize_flow(taught[window], size_hw) - learnt).sum(1, keepdim=True)
    if mask != "none":
        sure = _consistency(taught, mask, sigma_teacher)[window]
        unsure = 1 - _consistency(learnt.detach(), mask, sigma_student)
        error = error * resize_image(sure, size_hw, antialias=False) * unsure
    return error.mean()


def student_images(
    image1: Float[Tensor, "b c h w"],
    image2: Float[Tensor, "b c h w"],
    *,
    crop: int = 64,
    shift: tuple[int, int] = (0, 0),
) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"]]:
    """What the student sees: the middle of both frames, enlarged to their size.

    Args:
        image1: (B, C, H, W).
        image2: (B, C, H, W).
        crop: pixels left out on each side.
        shift: (y, x) moves the part that is kept; at most ``crop`` each way.

    Returns:
        Both, (B, C, H, W).

    Raises:
        UsageError: when the crop leaves nothing, or the shift leaves the frame.
    """
    size_hw = (image1.shape[-2], image1.shape[-1])
    window = _window((crop, crop, *shift), size_hw)
    first, second = (resize_image(image[window], size_hw, antialias=False) for image in (image1, image2))
    return first, second


def random_shift(limit: int, rng: np.random.Generator, *, multiple: int = 4) -> tuple[int, int]:
    """A random shift of the student's part that is whole at the coarse level.

    Args:
        limit: largest shift each way, pixels; at most the crop.
        rng: where chance comes from.
        multiple: pixels of the full grid per pixel of the coarse one.

    Returns:
        (y, x) pixels, each a multiple of ``multiple`` between -``limit`` and ``limit``.
    """
    steps = limit // multiple
    y, x = (multiple * int(n) for n in rng.integers(-steps, steps + 1, 2))
    return y, x


def self_supervision_weight(
    step: int,
    *,
    weight: float = 0.6,
    after: int = 500_000,
    ramp: int = 100_000,
    cycle: float = 1e10,
) -> float:
    """The weight of `self_supervision_loss` over training: 0, then a straight rise, then ``weight``.

    Args:
        step: from 0.
        weight: at the end of the rise.
        after: at step ``after - 1`` the rise begins.
        ramp: steps it takes.
        cycle: steps after which everything starts anew.

    Returns:
        ``weight * clip((step mod cycle - (after - 1)) / max(ramp, 1), 0, 1)``.
    """
    risen = (step % cycle - (after - 1)) / max(ramp, 1)
    return weight * min(max(risen, 0.0), 1.0)


def _both_ways(flows: TwoWayFlow, level: TeacherLevel) -> Tensor:
    if level == "full":
        return torch.cat((flows.flow, flows.backward))
    return torch.cat((flows.coarse, flows.coarse_backward))


def _consistency(both: Tensor, mask: TeacherMask, sigma: float) -> Tensor:
    """(2 B, 1, H, W), 0 to 1, of both directions one after the other."""
    opposite = both.roll(len(both) // 2, 0)
    if mask == "ddflow":
        return 1 - forward_backward_occlusion(both, opposite)
    return gaussian_consistency(both, opposite, sigma=sigma) * in_frame(both)


def _at_level(flows: TwoWayFlow, at: Tensor, crop: int, shift: tuple[int, int]) -> tuple[int, int, int, int]:
    """Crop along y and x and shift along y and x, in pixels of a level."""
    ratios = [(at.shape[dim], flows.flow.shape[dim]) for dim in (-2, -1)]
    found = []
    for pixels, (small, large) in zip((crop, crop, *shift), (*ratios, *ratios), strict=True):
        if pixels * small % large:
            raise UsageError(
                f"a crop or shift of {pixels} pixels is not whole where {large} pixels are {small}: give a "
                f"multiple of {large // np.gcd(small, large)}"
            )
        found.append(pixels * small // large)
    return found[0], found[1], found[2], found[3]


def _window(cut: tuple[int, int, int, int], size_hw: tuple[int, int]) -> tuple[EllipsisType | slice, ...]:
    """The index of what remains of a picture after a crop along y and x and a shift along y and x."""
    slices = []
    for crop, shift, size in zip(cut[:2], cut[2:], size_hw, strict=True):
        if crop < 0 or 2 * crop >= size or abs(shift) > crop:
            raise UsageError(
                f"a crop of {crop} on each side and a shift of {shift} leave the {size} pixels of a picture"
            )
        slices.append(slice(crop + shift, size - crop + shift))
    return (..., *slices)
