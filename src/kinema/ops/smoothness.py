"""How rough a map is, with leave to be rough where a picture has edges."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops.robust import robust_l1

EdgeWeighting = Literal["exponential", "gaussian"]


def edge_weights(
    image: Float[Tensor, "b c h w"],
    *,
    constant: float = 150.0,
    weighting: EdgeWeighting = "exponential",
    stride: int = 1,
) -> tuple[Float[Tensor, "b 1 h w2"], Float[Tensor, "b 1 h2 w"]]:
    """``exp(-mean over channels of g(constant dI))``: 1 where a picture is even, near 0 across its edges.

    Args:
        image: (B, C, H, W) in [0, 1].
        constant: how quickly the weight falls.
        weighting: ``exponential``: g is the absolute value; ``gaussian``: the square.
        stride: distance of the pixels that are compared.

    Returns:
        Weights of the steps along x, (B, 1, H, W - stride), and along y, (B, 1, H - stride, W).

    Raises:
        UsageError: for an unknown weighting.
    """
    if weighting not in get_args(EdgeWeighting):
        known = ", ".join(get_args(EdgeWeighting))
        raise UsageError(f"unknown edge weighting {weighting!r}: use one of {known}")
    steps = [constant * step for step in _differences(image, stride)]
    rises = [step.abs() if weighting == "exponential" else step.square() for step in steps]
    along_x, along_y = (torch.exp(-rise.mean(1, keepdim=True)) for rise in rises)
    return along_x, along_y


def smoothness(
    values: Float[Tensor, "b d h w"],
    image: Float[Tensor, "b c h w"],
    *,
    order: Literal[1, 2] = 1,
    edge_constant: float = 150.0,
    weighting: EdgeWeighting = "exponential",
) -> Float[Tensor, ""]:
    """Mean edge-weighted roughness of a map (Jonschkowski et al. 2020, section 3.3).

    ``order`` 1 penalises slopes, 2 the change of slopes, by `kinema.ops.robust.robust_l1`; each times the
    edge weight of the picture over the pixels that it spans. Means over all values, along x and along y, are
    averaged.

    Args:
        values: (B, D, H, W), such as a flow in pixels.
        image: (B, C, H, W) in [0, 1], of the same size.
        order: see above.
        edge_constant: of `edge_weights`.
        weighting: of `edge_weights`.

    Returns:
        A scalar; 0 for a map that has no two (three) pixels in a row. Differentiable in both.

    Raises:
        UsageError: for another order, an unknown weighting, or two sizes.
    """
    if order not in (1, 2):
        raise UsageError(f"order is {order}: smoothness is of order 1 or 2")
    if values.shape[-2:] != image.shape[-2:]:
        raise UsageError(f"a map of {tuple(values.shape[-2:])} and a picture of {tuple(image.shape[-2:])}")
    along_x, along_y = _differences(values, 1)
    if order == 2:
        along_x, along_y = along_x[..., 1:] - along_x[..., :-1], along_y[..., 1:, :] - along_y[..., :-1, :]
    weights = edge_weights(image, constant=edge_constant, weighting=weighting, stride=order)
    parts = [
        (weight * robust_l1(step)).sum() / max(step.numel(), 1)
        for weight, step in zip(weights, (along_x, along_y), strict=True)
    ]
    return (parts[0] + parts[1]) / 2


def _differences(values: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Along x and along y."""
    return (
        values[..., stride:] - values[..., :-stride],
        values[..., stride:, :] - values[..., :-stride, :],
    )
