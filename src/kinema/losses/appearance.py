"""Do a frame and the other frame, warped onto it, look alike? Means over visible pixels.

Every function divides by the number of visible pixels. Where a batch holds several passes, such as both
directions of flow one after the other, ``passes`` says how many: each is divided by its own number, and the
result is the mean over them.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kinema.ops.census import census_distance
from kinema.ops.robust import RobustNorm, robust_norm, robust_power
from kinema.ops.ssim import weighted_ssim

_COUNT_EPSILON = 1e-6  # per pixel of the census loss: a frame without a visible pixel costs nothing
_SUM_EPSILON = 1e-16  # the same, for the others


def census_loss(
    first: Float[Tensor, "b 1 h w"],
    second: Float[Tensor, "b 1 h w"],
    visible: Float[Tensor, "b 1 h w"],
    *,
    radius: int = 3,
    passes: int = 1,
) -> Float[Tensor, ""]:
    """Mean ``(census distance + 0.01)^0.4`` (UFlow, section 3.1); blind to changes of brightness.

    Args:
        first: (B, 1, H, W) grey levels, 0..255.
        second: (B, 1, H, W) grey levels of the warped frame.
        visible: (B, 1, H, W), 0 to 1; the border of ``radius`` pixels does not count. Its own gradient
            reaches it through the sum, not through the number of visible pixels.
        radius: of the census window, pixels.
        passes: see the module.

    Returns:
        A scalar; 0 where nothing is visible.

    Raises:
        UsageError: as `kinema.ops.census.census_distance`.
    """
    error = robust_power(census_distance(first, second, radius=radius))
    inner = (..., slice(radius, error.shape[-2] - radius), slice(radius, error.shape[-1] - radius))
    total = _sums(visible[inner] * error[inner], passes)
    count = _sums(visible[inner].detach(), passes) + _COUNT_EPSILON * (visible.numel() // passes)
    return (total / count).mean()


def photometric_loss(
    first: Float[Tensor, "b c h w"],
    second: Float[Tensor, "b c h w"],
    visible: Float[Tensor, "b 1 h w"],
    *,
    norm: RobustNorm = "robust_l1",
    passes: int = 1,
) -> Float[Tensor, ""]:
    """Mean penalty of the difference, summed over channels.

    Args:
        first: (B, C, H, W) in [0, 1].
        second: (B, C, H, W) in [0, 1], the warped frame.
        visible: (B, 1, H, W), 0 to 1.
        norm: see `kinema.ops.robust.robust_norm`.
        passes: see the module.

    Returns:
        A scalar; 0 where nothing is visible.

    Raises:
        UsageError: for an unknown norm.
    """
    total = _sums(visible * robust_norm(first - second, norm=norm), passes)
    return (total / (_sums(visible, passes) + _SUM_EPSILON)).mean()


def ssim_loss(
    first: Float[Tensor, "b c h w"],
    second: Float[Tensor, "b c h w"],
    visible: Float[Tensor, "b 1 h w"],
    *,
    passes: int = 1,
) -> Float[Tensor, ""]:
    """Mean structural dissimilarity of 3x3 windows, summed over channels, weighted by what they see.

    Args:
        first: (B, C, H, W) in [0, 1]; at least 3x3.
        second: (B, C, H, W) in [0, 1], the warped frame.
        visible: (B, 1, H, W), 0 to 1.
        passes: see the module.

    Returns:
        A scalar; 0 where nothing is visible.
    """
    error, weight = weighted_ssim(first, second, weight=visible)
    return (_sums(error * weight, passes) / (_sums(weight, passes) + _SUM_EPSILON)).mean()


def _sums(values: Tensor, passes: int) -> Tensor:
    """(passes,) sums over everything else."""
    return values.reshape(passes, -1).sum(1)
