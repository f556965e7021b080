"""What TVNet learns towards, as sums and counts: the endpoint error, or the energy of the flow without truth.

The energy is that of the method itself (Zach, Pock and Bischof 2007), ``lambda |I2(x + u) - I1| + |grad u1| +
|grad u2|``, on frames that nothing has changed. Its differences are fixed: where they can be learned too, as
in the published code, shrinking them is an easier way to a small energy than a better flow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.losses.unsupervised_flow import tvnet_unsupervised_loss
from kinema.ops.census import census_distance, grey_levels
from kinema.ops.robust import robust_l1, robust_power
from kinema.ops.variational import forward_gradient
from kinema.ops.warp import backward_warp, in_frame

Energy = Literal["legacy", "brightness", "census"]

BRIGHTNESS_TIP = 1.0  # grey levels: below it a difference may be noise
VARIATION_TIP = 0.01  # pixels per pixel: below it a slope costs by its square


@dataclass(frozen=True)
class Sum:
    """A part of an objective before its division.

    Attributes:
        total: scalar, differentiable.
        count: scalar: what it is divided by, once those of all parts of a batch have been added.
    """

    total: Float[Tensor, ""]
    count: Float[Tensor, ""]


def endpoint_error_sum(
    flow: Float[Tensor, "b 2 h w"],
    truth: Float[Tensor, "b 2 h w"],
    *,
    weight: Float[Tensor, "b 1 h w"],
    epsilon: float = 1e-8,
    q: float = 1.0,
) -> Sum:
    """The endpoint errors of a batch, or powers of them, added up.

    Args:
        flow: (B, 2, H, W) pixels.
        truth: (B, 2, H, W) pixels; finite, also where it weighs nothing.
        weight: (B, 1, H, W) of each pixel, 0 and above.
        epsilon: added to the squared error under the root, in squared pixels. With 0, as published, the
            gradient where the flow is exactly right is not a number.
        q: exponent of each error: below 1, what can still be mended counts more than what is far off.

    Returns:
        The weighted sum in pixels to the power of q, and the sum of the weights.
    """
    error = ((flow - truth).square().sum(1, keepdim=True) + epsilon).pow(q / 2)
    return Sum((error * weight).sum(), weight.sum())


def energy_sums(
    image1: Float[Tensor, "b 3 h w"],
    image2: Float[Tensor, "b 3 h w"],
    flow: Float[Tensor, "b 2 h w"],
    *,
    energy: Energy = "brightness",
    lbda: float = 0.15,
) -> dict[str, Sum]:
    """The energy of a batch's flow, added up.

    Args:
        image1: (B, 3, H, W) RGB in [0, 1].
        image2: (B, 3, H, W) RGB in [0, 1].
        flow: (B, 2, H, W) pixels.
        energy: ``legacy`` is the published loss (`tvnet_unsupervised_loss`), its sampler included.
            ``brightness`` takes differences of grey levels, ``census`` the census distance to the power of
            0.4, both only where the flow stays in the frame; their variation has a rounded tip.
        lbda: weight of the first term.

    Returns:
        ``energy`` alone for ``legacy``; otherwise ``data``, per pixel that stays in the frame, and
        ``variation``, per pixel. The objective is the sum of their means.
    """
    if energy == "legacy":
        samples = torch.tensor(float(len(flow)), device=flow.device)
        return {"energy": Sum(samples * tvnet_unsupervised_loss(image1, image2, flow, lbda=lbda), samples)}
    first, second = grey_levels(image1), grey_levels(image2)
    warped, inside = backward_warp(second, flow, border="replicate"), in_frame(flow)
    if energy == "census":
        error = robust_power(census_distance(first, warped))
    else:
        error = robust_l1(warped - first, epsilon=BRIGHTNESS_TIP)
    variation = sum_of_slopes(flow, tip=VARIATION_TIP)
    pixels = torch.tensor(float(variation.numel()), device=flow.device)
    return {
        "data": Sum(lbda * (error * inside).sum(), inside.sum()),
        "variation": Sum(variation.sum(), pixels),
    }


def sum_of_slopes(flow: Float[Tensor, "b 2 h w"], *, tip: float) -> Float[Tensor, "b 1 h w"]:
    """The total variation of a flow at each pixel: how steep both components are.

    Args:
        flow: (B, 2, H, W) pixels.
        tip: slopes below it cost by their square, in pixels per pixel.

    Returns:
        (B, 1, H, W): ``|grad u1| + |grad u2|``, 2 ``tip`` where the flow is constant.
    """
    slopes = [forward_gradient(flow[:, c : c + 1]).square().sum(1, keepdim=True) for c in range(2)]
    return (slopes[0] + tip**2).sqrt() + (slopes[1] + tip**2).sqrt()
