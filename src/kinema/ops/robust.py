"""Penalties that outliers cannot dominate, per value."""

from __future__ import annotations

from typing import Literal, get_args

from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError

RobustNorm = Literal["robust_l1", "l1", "ddflow"]


def robust_l1(error: Float[Tensor, "..."], *, epsilon: float = 0.001) -> Float[Tensor, "..."]:
    """``sqrt(x^2 + epsilon^2)``: the absolute value with a rounded tip (Charbonnier; UFlow's ``robust_l1``).

    Args:
        error: any shape.
        epsilon: where the tip begins, in the unit of ``error``; the value at 0.

    Returns:
        The same shape; ``epsilon`` and above. Differentiable everywhere.
    """
    return (error.square() + epsilon**2).sqrt()


def robust_power(
    error: Float[Tensor, "..."], *, epsilon: float = 0.01, q: float = 0.4
) -> Float[Tensor, "..."]:
    """``(|x| + epsilon)^q``: grows ever more slowly (DDFlow, section 3; UFlow's census loss).

    Args:
        error: any shape.
        epsilon: keeps the slope at 0 finite, in the unit of ``error``.
        q: the power, between 0 and 1.

    Returns:
        The same shape; ``epsilon^q`` and above. Differentiable; the slope at 0 is taken as 0.
    """
    return (error.abs() + epsilon).pow(q)


def robust_norm(error: Float[Tensor, "..."], *, norm: RobustNorm) -> Float[Tensor, "..."]:
    """UFlow's photometric penalties by name.

    Args:
        error: any shape.
        norm: ``robust_l1``, ``l1`` (``|x + 1e-6|``), or ``ddflow`` (`robust_power`).

    Returns:
        The same shape, 0 and above.

    Raises:
        UsageError: for another name.
    """
    if norm == "robust_l1":
        return robust_l1(error)
    if norm == "l1":
        return (error + 1e-6).abs()
    if norm == "ddflow":
        return robust_power(error)
    raise UsageError(f"unknown norm {norm!r}: use one of {', '.join(get_args(RobustNorm))}")
