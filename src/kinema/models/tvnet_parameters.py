"""What TVNet can learn: the solver's constants, its difference kernels, and the flow that it starts from.

Each part begins as the classic solver has it, so that a network before its first step of training is that
solver, and each keeps within what the solver is stable for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.tvnet_settings import LARGEST_TAPS, LARGEST_TAU, LEARNED_LEVELS, Biases
from kinema.ops.resize import resize_flow

_LEAST = 1e-3  # of a constant: a step of tau / theta must stay finite


class Place(NamedTuple):
    """Some iterations of one warp.

    Attributes:
        level: of the pyramid, 0 the finest.
        warp: of the level, from 0.
        begin: the first iteration, from 0.
        length: how many.
    """

    level: int
    warp: int
    begin: int
    length: int


class _Bounded(torch.autograd.Function):
    """The smaller of a value and its bound, with the projected gradient.

    At the bound and beyond, a gradient that leads on outwards is dropped, one that leads back passes. So a
    value may begin exactly at its bound, which a sigmoid never reaches, and can still leave it again, which a
    clamp beyond its end cannot.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(values)
        ctx.bound = bound
        return values.clamp(max=bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (values,) = ctx.saved_tensors
        outwards = (values >= ctx.bound) & (gradients[0] < 0)  # descent goes against the gradient
        return gradients[0].masked_fill(outwards, 0.0), None


def bounded(values: Float[Tensor, "*s"], bound: float) -> Float[Tensor, "*s"]:
    """Limit values from above; where the limit is reached only gradients that lead away from it pass.

    Args:
        values: any.
        bound: the largest value.

    Returns:
        ``min(values, bound)``.
    """
    if not torch.is_grad_enabled():
        return values.clamp(max=bound)
    limited: Tensor = _Bounded.apply(values, bound)  # type: ignore[no-untyped-call]
    return limited


def within_norm(taps: Float[Tensor, "*s 2"]) -> Float[Tensor, "*s 2"]:
    """Shrink 2-tap difference kernels whose operator norm is larger than that of (-1, 1).

    The norm of the kernel (a, b) is |a| + |b|, the largest value of |a + b e^iw|.

    Args:
        taps: kernels along the last dimension.

    Returns:
        The same kernels, each as long as its norm allows.
    """
    norm = taps.abs().sum(-1, keepdim=True).clamp(min=1e-12)
    return taps * (bounded(norm, LARGEST_TAPS) / norm)


class LearnedConstants(nn.Module):
    """tau, lambda and theta as parameters: softplus of ``raw``, above 0, and tau at most 0.25.

    Args:
        first: (tau, lambda, theta) before training.
        levels: with values of their own; coarser levels share the last one's. 0 for values shared by all.
        warps: of each level.
    """

    def __init__(self, first: tuple[float, float, float], *, levels: int = 0, warps: int = 1) -> None:
        super().__init__()
        self.levels, self.warps = levels, warps
        raw = torch.tensor([math.log(math.expm1(max(value - _LEAST, _LEAST))) for value in first])
        self.raw = nn.Parameter(raw.repeat(max(1, levels * warps), 1))

    def forward(self) -> Float[Tensor, "rows 3"]:
        """Compute all of them.

        Returns:
            (rows, 3): tau, lambda, theta; one row for all, or one for each warp of each level.
        """
        values = F.softplus(self.raw) + _LEAST
        return torch.cat([bounded(values[:, :1], LARGEST_TAU), values[:, 1:]], 1)

    def row(self, level: int, warp: int) -> int:
        """Find the row of a warp.

        Args:
            level: 0 the finest.
            warp: from 0.

        Returns:
            Its place in what `forward` gives.
        """
        return min(level, self.levels - 1) * self.warps + warp if self.levels else 0


class LearnedKernels(nn.Module):
    """The eight 2-tap difference kernels of an iteration as parameters, from (-1, 1).

    Args:
        shape: (levels, warps, iterations) with kernels of their own; None for one set for all.
        limited: whether each is kept at the operator norm of (-1, 1).
        biases: whether each has a bias, from 0.
    """

    biases: nn.Parameter | None

    def __init__(self, shape: tuple[int, int, int] | None, *, limited: bool, biases: Biases) -> None:
        super().__init__()
        self.shape, self.limited = shape, limited
        rows = math.prod(shape) if shape else 1
        self.taps = nn.Parameter(torch.tensor([-1.0, 1.0]).repeat(rows, 8, 1))
        if biases == "learned":
            self.biases = nn.Parameter(torch.zeros(rows, 8))
        else:
            self.register_parameter("biases", None)

    def forward(self) -> tuple[Float[Tensor, "rows 8 2"], Float[Tensor, "rows 8"] | None]:
        """Compute all of them.

        Returns:
            (rows, 8, 2) kernels and (rows, 8) biases in the order of `kinema.ops.variational.KERNEL_NAMES`;
            one row for all, or one for each iteration.
        """
        return within_norm(self.taps) if self.limited else self.taps, self.biases

    def rows(self, place: Place) -> slice:
        """Find the rows of some iterations.

        Args:
            place: which.

        Returns:
            Their places in what `forward` gives.
        """
        if self.shape is None:
            return slice(0, 1)
        _, warps, iterations = self.shape
        begin = (place.level * warps + place.warp) * iterations + place.begin
        return slice(begin, begin + place.length)


class LearnedStart(nn.Module):
    """The flow that the coarsest level starts from, as parameters, from 0.

    Args:
        size_hw: of the field, in pixels of its own; 1x1 is one vector in pixels of the coarsest level.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.flow = nn.Parameter(torch.zeros(1, 2, *size_hw))

    def forward(self, size_hw: tuple[int, int]) -> Float[Tensor, "1 2 h w"]:
        """Bring it to a size.

        Args:
            size_hw: of the level.

        Returns:
            (1, 2, h, w) in pixels of that size.
        """
        if self.flow.shape[-2:] == (1, 1):
            return self.flow.expand(-1, -1, *size_hw)
        return resize_flow(self.flow, size_hw)


def learned_levels(scales: int | None) -> int:
    """How many levels have constants of their own.

    Args:
        scales: levels of the pyramid at most; None for as many as fit.

    Returns:
        The number.
    """
    return LEARNED_LEVELS if scales is None else scales


def completed(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fit weights of a sibling that has learned less, or in another size, to a network.

    Args:
        own: the network's state.
        tensors: of the sibling.

    Returns:
        Its tensors; what it shares between warps or iterations is repeated, a field of starting flow is
        resized, and what it does not have is the network's own.
    """
    found = {**own, **tensors}
    for name, tensor in own.items():
        given = found[name]
        if given.shape == tensor.shape:
            continue
        if name.endswith("start.flow"):
            vector = given.shape[-2:] == (1, 1)
            size_hw = (tensor.shape[-2], tensor.shape[-1])
            found[name] = given.expand_as(tensor).clone() if vector else resize_flow(given, size_hw)
        elif given.ndim == tensor.ndim and given.shape[1:] == tensor.shape[1:] and len(given) == 1:
            found[name] = given.expand_as(tensor).clone()
    return found
