"""Objectives for optical flow with truth."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def endpoint_error_loss(
    flow: Float[Tensor, "b 2 h w"],
    truth: Float[Tensor, "b 2 h w"],
    *,
    valid: Float[Tensor, "b 1 h w"] | None = None,
    epsilon: float = 0.0,
) -> Float[Tensor, ""]:
    """Mean endpoint error over valid pixels.

    Args:
        flow: (B, 2, H, W) pixels.
        truth: (B, 2, H, W) pixels; finite, also where it is not valid.
        valid: 1 where the truth counts; None for everywhere.
        epsilon: added to the squared error under the root. With 0, the published TVNet's loss, the gradient
            at exact equality is undefined.

    Returns:
        A scalar in pixels; 0 when no pixel is valid.
    """
    error = ((flow - truth).square().sum(1, keepdim=True) + epsilon).sqrt()
    if valid is None:
        return error.mean()
    return (error * valid).sum() / valid.sum().clamp(min=1)
