"""Building blocks of TV-L1 optical flow (Zach, Pock, Bischof 2007; Sánchez et al., IPOL 2013).

Around a flow ``u0`` the residual is linear, ``rho(u) = I1(x + u0) + <grad I1(x + u0), u - u0> - I0``, and

    E(u) = sum |grad u1| + |grad u2| + lambda |rho(u)|

is minimised by alternating a pointwise shrinkage of the data term with one dual ascent step of the total
variation. `tvl1_iterations` runs those alternations, also for training: `tvl1_iterations_reference` is their
readable, differentiable definition (`kinema.ops._tvl1_eager`), and operators of torch
(`kinema.ops._tvl1_operator`) compute the same by fused loops on the CPU, both ways, and forward by a Triton
kernel on a GPU. `Unrolling` says how gradients go back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops._tvl1_eager import (
    KERNEL_NAMES,
    DataTerm,
    data_residual,
    divergence,
    forward_gradient,
    tvl1_iterations_reference,
)
from kinema.ops._tvl1_operator import tvl1_operator
from kinema.ops.warp import backward_warp, in_frame

__all__ = [
    "KERNEL_NAMES",
    "DataTerm",
    "Unrolling",
    "central_gradient",
    "data_residual",
    "divergence",
    "forward_gradient",
    "linearise",
    "linearise_at",
    "median_filter",
    "tvl1_iterations",
    "tvl1_iterations_reference",
]

Stencil = Literal["central", "five_point"]
UnrollingMode = Literal["full", "truncated", "implicit"]
Keep = Literal["start", "iterations"]


def central_gradient(
    image: Float[Tensor, "b 1 h w"], *, stencil: Stencil = "central"
) -> Float[Tensor, "b 2 h w"]:
    """Spatial gradient by centred differences; the edge pixel is repeated outside.

    Args:
        image: (B, 1, H, W), any range.
        stencil: ``central`` is (-1, 0, 1) / 2; ``five_point`` is (1, -8, 0, 8, -1) / 12.

    Returns:
        (B, 2, H, W): d/dx, d/dy in image units per pixel.
    """
    taps = {"central": (0.5,), "five_point": (8 / 12, -1 / 12)}[stencil]
    reach = len(taps)
    h, w = image.shape[-2:]
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    rows, cols = padded[..., reach : reach + h, :], padded[..., reach : reach + w]
    dx = sum(
        tap * (rows[..., reach + k : reach + k + w] - rows[..., reach - k : reach - k + w])
        for k, tap in enumerate(taps, start=1)
    )
    dy = sum(
        tap * (cols[..., reach + k : reach + k + h, :] - cols[..., reach - k : reach - k + h, :])
        for k, tap in enumerate(taps, start=1)
    )
    return torch.cat([torch.as_tensor(dx), torch.as_tensor(dy)], dim=1)


def linearise(
    warped: Float[Tensor, "b 1 h w"],
    gradient: Float[Tensor, "b 2 h w"],
    flow: Float[Tensor, "b 2 h w"],
    image1: Float[Tensor, "b 1 h w"],
    *,
    valid: Float[Tensor, "b 1 h w"] | None = None,
) -> DataTerm:
    """The data term around ``flow``, from frame 2 and its gradient sampled there.

    Args:
        warped: (B, 1, H, W) frame 2 at ``x + flow``, grey levels.
        gradient: (B, 2, H, W) gradient of frame 2 at ``x + flow``.
        flow: (B, 2, H, W) the point of linearisation, pixels.
        image1: (B, 1, H, W) frame 1, grey levels.
        valid: 1 where ``x + flow`` lies inside frame 2; elsewhere the data term is switched off.

    Returns:
        The data term (IPOL 2013, equation 7).
    """
    constant = warped - (gradient * flow).sum(1, keepdim=True) - image1
    if valid is None:
        return DataTerm(gradient, constant)
    return DataTerm(gradient * valid, constant * valid)


def linearise_at(
    image1: Float[Tensor, "b 1 h w"],
    image2: Float[Tensor, "b 1 h w"],
    flow: Float[Tensor, "b 2 h w"],
    *,
    gradient2: Float[Tensor, "b 2 h w"] | None = None,
) -> DataTerm:
    """Warp frame 2 and its gradient by ``flow``, bilinearly, and linearise; off outside the frame.

    Args:
        image1: (B, 1, H, W) frame 1, grey levels.
        image2: (B, 1, H, W) frame 2, grey levels.
        flow: (B, 2, H, W) pixels.
        gradient2: `central_gradient` of frame 2, when it is at hand.

    Returns:
        The data term. On the CPU, where no gradient is asked for, one fused pass computes the same.
    """
    stack = torch.cat([image2, central_gradient(image2) if gradient2 is None else gradient2], 1)
    if _plain_cpu(image1, stack, flow):
        from kinema.ops import _tvl1_cpu

        return DataTerm(*_tvl1_cpu.linearise(image1, stack, flow))
    warped = backward_warp(stack, flow, border="replicate")
    return linearise(warped[:, :1], warped[:, 1:], flow, image1, valid=in_frame(flow))


def _plain_cpu(*tensors: Tensor) -> bool:
    """Whether a float32 loop outside autograd may stand in."""
    recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return not recorded and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)


def median_filter(image: Float[Tensor, "b c h w"], size: int) -> Float[Tensor, "b c h w"]:
    """Median over a square window, edges repeated, each channel on its own.

    Args:
        image: (B, C, H, W), finite.
        size: odd window side in pixels; 1 returns the input.

    Returns:
        (B, C, H, W). On the CPU, where no gradient is asked for, OpenCV computes sizes 3 and 5; the values
        are the same.
    """
    if size == 1:
        return image
    if size in (3, 5) and _plain_cpu(image):
        return _median_opencv(image, size)
    reach = size // 2
    padded = F.pad(image, (reach, reach, reach, reach), mode="replicate")
    windows = padded.unfold(2, size, 1).unfold(3, size, 1)
    return windows.flatten(-2).median(dim=-1).values


def _median_opencv(image: Tensor, size: int) -> Tensor:
    import cv2

    planes = image.detach().contiguous().flatten(0, 1).numpy()
    filtered = [torch.from_numpy(cv2.medianBlur(plane, size)) for plane in planes]
    return torch.stack(filtered).view_as(image)


@dataclass(frozen=True)
class Unrolling:
    """How gradients go back through the iterations of one call of `tvl1_iterations`, that is of one warp.

    Attributes:
        mode: ``full`` differentiates every iteration. ``truncated`` differentiates the last ``steps`` ones
            and takes the state before them for a constant. ``implicit`` takes the result for the fixed point
            of the last iteration, and sums ``steps`` terms of the Neumann series of its adjoint there: the
            memory of one iteration, whatever their number, and no gradient to where the iterations started.
        steps: see ``mode``; None is as many as are run, 0 lets no gradient through.
        keep: ``start`` keeps the nine maps that come in, and runs the iterations again in the backward pass;
            ``iterations`` keeps the six maps of the state before each iteration: less work, and on a CPU,
            where running again costs less than so much memory, more time.

    Raises:
        UsageError: for an unknown mode or keep, or steps below zero.
    """

    mode: UnrollingMode = "full"
    steps: int | None = None
    keep: Keep = "start"

    def __post_init__(self) -> None:
        for name, known in (("mode", get_args(UnrollingMode)), ("keep", get_args(Keep))):
            if getattr(self, name) not in known:
                value = getattr(self, name)
                raise UsageError(f"{name} {value!r} of unrolling is unknown: use {' or '.join(known)}")
        if self.steps is not None and self.steps < 0:
            raise UsageError(f"steps of unrolling must not be negative (got {self.steps})")


FULL = Unrolling()


def tvl1_iterations(
    flow: Float[Tensor, "b 2 h w"],
    dual: Float[Tensor, "b 4 h w"],
    data: DataTerm,
    *,
    iterations: int,
    tau: float | Float[Tensor, ""],
    lbda: float | Float[Tensor, ""],
    theta: float | Float[Tensor, ""],
    epsilon: float,
    kernels: Float[Tensor, "*k 2"] | None = None,
    biases: Float[Tensor, "*b"] | None = None,
    unrolling: Unrolling = FULL,
) -> tuple[Float[Tensor, "b 2 h w"], Float[Tensor, "b 4 h w"]]:
    """Primal-dual iterations by the fastest path: the same values as `tvl1_iterations_reference`.

    Differentiable once, in all tensors.

    Args:
        flow: (B, 2, H, W) start, pixels.
        dual: (B, 4, H, W) start: p11, p12, p21, p22 (component, direction), each of norm <= 1 per component,
            zero in the last column (p11, p21) or row (p12, p22).
        data: the linearised data term.
        iterations: how many, >= 0.
        tau: dual step, > 0 (stable up to 1/4 with (-1, 1) kernels).
        lbda: weight of the data term.
        theta: coupling between the data and smoothness variables, > 0.
        epsilon: squared gradients below it count as zero; it also keeps the norm differentiable.
        kernels: difference kernels in place of (-1, 1), in the order of `KERNEL_NAMES`: (2,) for all,
            (8, 2) shared by the iterations, or (iterations, 8, 2).
        biases: added to what the kernels give; (8,) shared by the iterations, or (iterations, 8).
        unrolling: how gradients go back.

    Returns:
        The flow and dual after the last iteration.

    Raises:
        UsageError: for kernels or biases of another shape, or implicit differentiation of kernels or biases
            that differ between the iterations.
    """
    weights = _stacked((tau, lbda, theta), flow.dtype)
    taps = _per_iteration("kernels", kernels, (iterations, 8, 2), flow)
    offsets = _per_iteration("biases", biases, (iterations, 8), flow)
    tensors = (flow, dual, *data, weights, taps, offsets)
    recorded = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    implicit = unrolling.mode == "implicit"
    steps = iterations if unrolling.steps is None else unrolling.steps
    keep = recorded and unrolling.keep == "iterations"
    if not recorded or unrolling.mode == "full" or (steps >= iterations and not implicit):
        return _iterate(tensors, 0, iterations, epsilon, adjoint_steps=iterations, keep=keep)
    if implicit:
        _check_shared(kernels=kernels, biases=biases)
    tail = min(steps, 1 if implicit else steps, iterations)
    head = iterations - tail
    with torch.no_grad():
        state = _iterate(tensors, 0, head, epsilon, adjoint_steps=head, keep=False)
    back = steps if implicit else tail
    return _iterate((*state, *tensors[2:]), head, tail, epsilon, adjoint_steps=back, keep=keep)


def _stacked(scalars: tuple[float | Tensor, ...], dtype: torch.dtype) -> Tensor:
    """Scalars as one tensor: plain numbers unrounded, on the CPU; tensors among them say where, rounded."""
    devices = [x.device for x in scalars if isinstance(x, Tensor)]
    if not devices:
        return torch.tensor(scalars, dtype=torch.float64)
    return torch.stack([torch.as_tensor(x, dtype=dtype, device=devices[0]) for x in scalars])


def _per_iteration(name: str, given: Tensor | None, shape: tuple[int, ...], like: Tensor) -> Tensor | None:
    """Kernels or biases with their leading dimensions filled up to ``shape``."""
    if given is None:
        return None
    try:
        return given.to(like).expand(shape)
    except RuntimeError:
        raise UsageError(f"{name} of shape {tuple(given.shape)} do not fit {shape}") from None


def _check_shared(**given: Tensor | None) -> None:
    for name, value in given.items():
        per_iteration = {"kernels": 3, "biases": 2}[name]
        if value is not None and value.dim() == per_iteration and value.shape[0] > 1:
            raise UsageError(f"implicit differentiation needs {name} that all iterations share")


def _iterate(
    tensors: tuple[Tensor | None, ...],
    first: int,
    count: int,
    epsilon: float,
    *,
    adjoint_steps: int,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """``count`` iterations from number ``first`` on, by the operator."""
    *maps, kernels, biases = tensors
    taps = None if kernels is None else kernels[first : first + count]
    offsets = None if biases is None else biases[first : first + count]
    flow, dual, _ = tvl1_operator(*maps, taps, offsets, count, epsilon, adjoint_steps, keep)
    return flow, dual
