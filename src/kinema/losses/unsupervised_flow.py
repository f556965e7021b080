"""Objectives for optical flow without truth."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from kinema.ops.variational import forward_gradient
from kinema.ops.warp import backward_warp


def tvnet_unsupervised_loss(
    image1: Float[Tensor, "b c h w"],
    image2: Float[Tensor, "b c h w"],
    flow: Float[Tensor, "b 2 h w"],
    *,
    lbda: float = 0.15,
) -> Float[Tensor, ""]:
    """The published TVNet's label-free loss: the TV-L1 energy of the flow on the raw colour frames.

    ``lbda * mean|I2(x + u) - I1| + mean(|u1x| + |u1y| + |u2x| + |u2y|)`` with forward differences, frames in
    0..255 and the published sampler's border rule. The published code lets the optimiser train the difference
    kernels inside this loss; here they are fixed.

    Args:
        image1: (B, C, H, W) in [0, 1].
        image2: (B, C, H, W) in [0, 1].
        flow: (B, 2, H, W) pixels.
        lbda: weight of the photometric term.

    Returns:
        A scalar.
    """
    warped = backward_warp(255 * image2, flow, border="tvnet")
    photometric = (warped - 255 * image1).abs().mean()
    slopes = forward_gradient(flow[:, :1]).abs() + forward_gradient(flow[:, 1:]).abs()
    return lbda * photometric + slopes.sum(1).mean()
