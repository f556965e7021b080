"""The TV-L1 iterations in plain tensor operations: the readable definition, and its memory-saving reverse.

`tvl1_iterations_reference` is what every other path is tested against. Under autograd it keeps some twenty
maps per pixel and iteration; `reverse` keeps the six maps of the state (two of the flow, four of the dual)
and computes the rest of an iteration again when its turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Positions of the eight 2-tap kernels that the reference network makes trainable, in one iteration.
KERNEL_NAMES = ("div_p1_x", "div_p1_y", "div_p2_x", "div_p2_y", "u1_x", "u1_y", "u2_x", "u2_y")

SEGMENT = 10  # iterations whose states are held at a time when they are computed again for the backward pass


class DataTerm(NamedTuple):
    """The brightness residual linearised in the flow: ``rho(u) = constant + <gradient, u>``.

    Attributes:
        gradient: (B, 2, H, W) image gradient of frame 2 at the warped position, grey levels per pixel; zero
            switches the data term off at a pixel.
        constant: (B, 1, H, W) grey levels.
    """

    gradient: Float[Tensor, "b 2 h w"]
    constant: Float[Tensor, "b 1 h w"]


class Inputs(NamedTuple):
    """What the operators take as tensors.

    Attributes:
        flow: (B, 2, H, W) start.
        dual: (B, 4, H, W) start.
        gradient: (B, 2, H, W) of the data term.
        constant: (B, 1, H, W) of the data term.
        weights: (3,) tau, lambda, theta; of any type, on any device.
        kernels: (iterations, 8, 2), or None for (-1, 1).
        biases: (iterations, 8), or None for zero.
    """

    flow: Tensor
    dual: Tensor
    gradient: Tensor
    constant: Tensor
    weights: Tensor
    kernels: Tensor | None
    biases: Tensor | None


def forward_gradient(
    u: Float[Tensor, "b 1 h w"],
    kernel_x: Float[Tensor, "2"] | None = None,
    kernel_y: Float[Tensor, "2"] | None = None,
    *,
    biases: Float[Tensor, "2"] | None = None,
) -> Float[Tensor, "b 2 h w"]:
    """Forward differences; the last column of d/dx and the last row of d/dy are 0.

    Args:
        u: (B, 1, H, W) one flow component in pixels.
        kernel_x: two taps in place of (-1, 1).
        kernel_y: two taps in place of (-1, 1).
        biases: added to d/dx and to d/dy, before the last column and row are set to 0.

    Returns:
        (B, 2, H, W): d/dx, d/dy.
    """
    left, right = u[..., :-1], u[..., 1:]
    top, bottom = u[..., :-1, :], u[..., 1:, :]
    dx = right - left if kernel_x is None else kernel_x[0] * left + kernel_x[1] * right
    dy = bottom - top if kernel_y is None else kernel_y[0] * top + kernel_y[1] * bottom
    if biases is not None:
        dx, dy = dx + biases[0], dy + biases[1]
    return torch.cat([F.pad(dx, (0, 1, 0, 0)), F.pad(dy, (0, 0, 0, 1))], dim=1)


def divergence(
    p: Float[Tensor, "b 2 h w"],
    kernel_x: Float[Tensor, "2"] | None = None,
    kernel_y: Float[Tensor, "2"] | None = None,
    *,
    biases: Float[Tensor, "2"] | None = None,
) -> Float[Tensor, "b 1 h w"]:
    """Backward differences with zero in front: the negative adjoint of `forward_gradient`.

    Args:
        p: (B, 2, H, W) dual variable of one flow component; zero in its last column (x) and last row (y).
        kernel_x: two taps in place of (-1, 1).
        kernel_y: two taps in place of (-1, 1).
        biases: added to the x part and to the y part, everywhere.

    Returns:
        (B, 1, H, W).
    """
    px, py = p[:, :1], p[:, 1:]
    px_before = F.pad(px[..., :-1], (1, 0, 0, 0))
    py_before = F.pad(py[..., :-1, :], (0, 0, 1, 0))
    dx = px - px_before if kernel_x is None else kernel_x[0] * px_before + kernel_x[1] * px
    dy = py - py_before if kernel_y is None else kernel_y[0] * py_before + kernel_y[1] * py
    return dx + dy if biases is None else dx + dy + (biases[0] + biases[1])


def data_residual(
    data: DataTerm, flow: Float[Tensor, "b 2 h w"], *, epsilon: float
) -> Float[Tensor, "b 1 h w"]:
    """``rho(u)`` in grey levels, (B, 1, H, W); ``epsilon`` is added as the reference network does."""
    return data.constant + (data.gradient * flow).sum(1, keepdim=True) + epsilon


def tvl1_iterations_reference(
    flow: Float[Tensor, "b 2 h w"],
    dual: Float[Tensor, "b 4 h w"],
    data: DataTerm,
    *,
    iterations: int,
    tau: float | Float[Tensor, ""],
    lbda: float | Float[Tensor, ""],
    theta: float | Float[Tensor, ""],
    epsilon: float,
    kernels: Float[Tensor, "n 8 2"] | None = None,
    biases: Float[Tensor, "n 8"] | None = None,
) -> tuple[Float[Tensor, "b 2 h w"], Float[Tensor, "b 4 h w"]]:
    """Primal-dual iterations, written as in the paper; differentiable by autograd.

    Args:
        flow: (B, 2, H, W) start, pixels.
        dual: (B, 4, H, W) start: p11, p12, p21, p22 (component, direction), each of norm <= 1 per component.
        data: the linearised data term.
        iterations: how many, >= 0.
        tau: dual step (stable up to 1/4 with (-1, 1) kernels).
        lbda: weight of the data term.
        theta: coupling between the data and smoothness variables.
        epsilon: squared gradients below it count as zero; it also keeps the norm differentiable.
        kernels: (iterations, 8, 2) difference kernels in the order of `KERNEL_NAMES`, in place of (-1, 1).
        biases: (iterations, 8), added to what the kernels give, in the same order; None for none.

    Returns:
        The flow and dual after the last iteration.
    """
    magnitude = (data.gradient**2).sum(1, keepdim=True) + epsilon
    limit: Any = lbda * theta
    step = tau / theta
    for n in range(iterations):
        k = (None,) * 8 if kernels is None else tuple(kernels[n])
        b = (None,) * 4 if biases is None else tuple(biases[n].view(4, 2))
        rho = data_residual(data, flow, epsilon=epsilon)
        shrunk = flow + (-rho / magnitude).clamp(-limit, limit) * data.gradient
        spread = torch.cat(
            [
                divergence(dual[:, :2], k[0], k[1], biases=b[0]),
                divergence(dual[:, 2:], k[2], k[3], biases=b[1]),
            ],
            1,
        )
        flow = shrunk + theta * spread
        slope1 = forward_gradient(flow[:, :1], k[4], k[5], biases=b[2])
        slope2 = forward_gradient(flow[:, 1:], k[6], k[7], biases=b[3])
        dual = torch.cat(
            [_dual_step(dual[:, :2], slope1, step, epsilon), _dual_step(dual[:, 2:], slope2, step, epsilon)],
            1,
        )
    return flow, dual


def _dual_step(p: Tensor, slope: Tensor, step: float | Tensor, epsilon: float) -> Tensor:
    norm = ((slope**2).sum(1, keepdim=True) + epsilon).sqrt()
    return (p + step * slope) / (1 + step * norm)


def run(
    inputs: Inputs, iterations: int, epsilon: float, *, first: int = 0, states: list[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """`tvl1_iterations_reference` with an operator's arguments.

    Args:
        inputs: start, data term, weights, kernels.
        iterations: how many.
        epsilon: see `tvl1_iterations_reference`.
        first: number of the first iteration, for its kernels.
        states: takes the state before each iteration, (B, 6, H, W).

    Returns:
        The flow and dual after the last iteration.
    """
    flow, dual = inputs.flow, inputs.dual
    data, (tau, lbda, theta) = DataTerm(inputs.gradient, inputs.constant), inputs.weights.unbind()
    for n in range(first, first + iterations):
        if states is not None:
            states.append(torch.cat([flow, dual], 1))
        flow, dual = tvl1_iterations_reference(
            flow, dual, data, iterations=1, tau=tau, lbda=lbda, theta=theta, epsilon=epsilon,
            kernels=None if inputs.kernels is None else inputs.kernels[n : n + 1],
            biases=None if inputs.biases is None else inputs.biases[n : n + 1],
        )  # fmt: skip
    return flow, dual


def reverse(
    grads: tuple[Tensor, Tensor],
    inputs: Inputs,
    kept: Tensor | None,
    iterations: int,
    adjoint_steps: int,
    epsilon: float,
) -> list[Tensor | None]:
    """The backward pass: gradients of all inputs from those of the final flow and dual.

    Args:
        grads: of the flow and the dual.
        inputs: of the forward pass.
        kept: the states before, between and after the iterations, (B, iterations + 1, H, 6, W); or None: then
            they are computed again, `SEGMENT` iterations at a time.
        iterations: of the forward pass.
        adjoint_steps: how many iterations to go back; what exceeds ``iterations`` repeats the first one.
        epsilon: see `tvl1_iterations_reference`.

    Returns:
        One gradient for each of the `Inputs`, None where that is None.
    """
    totals = [None if t is None else inputs.flow.new_zeros(t.shape) for t in inputs]
    flow_grad, dual_grad = grads
    starts = _segment_starts(inputs, iterations, epsilon) if kept is None else []
    for first in reversed(range(0, iterations, SEGMENT)):
        count = min(SEGMENT, iterations - first)
        states: list[Tensor] = []
        if kept is not None:
            states.extend(kept[:, first : first + count].transpose(2, 3).unbind(1))
        else:
            run(_at(inputs, starts.pop()), count, epsilon, first=first, states=states)
        for n in reversed(range(first, first + count)):
            for _ in range(1 if n else 1 + adjoint_steps - iterations):
                here = _at(inputs, states[n - first])
                flow_grad, dual_grad = _reverse_one(flow_grad, dual_grad, here, n, epsilon, totals)
    others = [
        None if total is None or given is None else total.to(given)
        for total, given in zip(totals[2:], inputs[2:], strict=True)
    ]
    return [flow_grad, dual_grad, *others]


def _at(inputs: Inputs, state: Tensor) -> Inputs:
    return inputs._replace(flow=state[:, :2], dual=state[:, 2:])


def _segment_starts(inputs: Inputs, iterations: int, epsilon: float) -> list[Tensor]:
    """The states at the start of each segment of the iterations."""
    starts = [torch.cat(inputs[:2], 1)]
    for first in range(0, iterations - SEGMENT, SEGMENT):
        starts.append(torch.cat(run(_at(inputs, starts[-1]), SEGMENT, epsilon, first=first), 1))
    return starts


def _reverse_one(
    flow_grad: Tensor, dual_grad: Tensor, here: Inputs, n: int, epsilon: float, totals: list[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """Pull the gradients of the state back through iteration ``n`` from ``here``; add up the others."""
    tau, lbda, theta = here.weights.unbind()
    taps = here.flow.new_tensor([-1, 1]).expand(8, 2) if here.kernels is None else here.kernels[n]
    new_flow, new_dual = run(here, 1, epsilon, first=n)
    slopes = _both(forward_gradient, new_flow.chunk(2, 1), here, n, 4)
    slopes_grad, dual_grad, step_grad = _reverse_dual_step(dual_grad, slopes, new_dual, tau / theta, epsilon)
    flow_grad = flow_grad + _gradient_adjoint(slopes_grad, taps[4:])
    spread = _both(divergence, here.dual.chunk(2, 1), here, n, 0)
    scaled = theta * flow_grad
    dual_grad = dual_grad + _divergence_adjoint(scaled, taps[:4])
    _add_kernel_grads(totals, n, (scaled, slopes_grad), (here.dual, new_flow))
    theta_grad = (flow_grad * spread).sum()
    flow_grad, limit_grad = _reverse_shrinkage(flow_grad, here, lbda * theta, epsilon, totals)
    theta_grad += limit_grad * lbda - step_grad * tau / theta**2
    _add(totals, 4, torch.stack([step_grad / theta, limit_grad * theta, theta_grad]))
    return flow_grad, dual_grad


def _both(
    difference: Callable[..., Tensor], parts: Sequence[Tensor], here: Inputs, n: int, first: int
) -> Tensor:
    """A difference operator on both components, with kernels ``first`` to ``first + 3`` of iteration n."""
    results = []
    for part, at in zip(parts, (first, first + 2), strict=True):
        pair = (None, None) if here.kernels is None else here.kernels[n, at : at + 2].unbind()
        biases = None if here.biases is None else here.biases[n, at : at + 2]
        results.append(difference(part, *pair, biases=biases))
    return torch.cat(results, 1)


def _reverse_dual_step(
    grad: Tensor, slopes: Tensor, new_dual: Tensor, step: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """From the gradient of q = (p + step s) / (1 + step |s|): those of s, p and step."""
    pair = (slopes.shape[0], 2, 2, *slopes.shape[2:])  # component, direction
    norm = (slopes.view(pair).square().sum(2, keepdim=True) + epsilon).sqrt()
    shrink = 1 / (1 + step * norm)
    along = (grad * new_dual).view(pair).sum(2, keepdim=True)
    direct = grad.view(pair) * shrink
    slopes_grad = step * (direct - shrink * along * slopes.view(pair) / norm)
    step_grad = (direct * slopes.view(pair)).sum() - (shrink * along * norm).sum()
    slopes_grad = slopes_grad.view_as(slopes)
    slopes_grad[:, 0::2, :, -1] = 0  # there the slopes are 0 by definition
    slopes_grad[:, 1::2, -1] = 0
    return slopes_grad, direct.view_as(slopes), step_grad


def _reverse_shrinkage(
    grad: Tensor, here: Inputs, limit: Tensor, epsilon: float, totals: list[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """From the gradient of v = u + clamp(-rho / |g|^2, -limit, limit) g: those of u and of the limit."""
    gradient = here.gradient
    inverse = 1 / (gradient.square().sum(1, keepdim=True) + epsilon)
    wished = -inverse * data_residual(DataTerm(gradient, here.constant), here.flow, epsilon=epsilon)
    shift = wished.clamp(-limit, limit)
    shift_grad = (grad * gradient).sum(1, keepdim=True)
    rho_grad = torch.where(wished.abs() <= limit, -inverse * shift_grad, 0.0)
    limit_grad = torch.where(wished.abs() > limit, wished.sign() * shift_grad, 0.0).sum()
    # rho moves with the gradient, and so does |g|^2 in the denominator.
    _add(totals, 2, shift * grad + rho_grad * (here.flow + 2 * shift * gradient))
    _add(totals, 3, rho_grad)
    return grad + rho_grad * gradient, limit_grad


def _before(maps: Tensor, axis: int) -> Tensor:
    """Each pixel's left (axis 0) or upper (axis 1) neighbour; zero where there is none."""
    h, w = maps.shape[-2:]
    return F.pad(maps, ((1, 0, 0, 0), (0, 0, 1, 0))[axis])[..., :h, :w]


def _after(maps: Tensor, axis: int) -> Tensor:
    """Each pixel's right (axis 0) or lower (axis 1) neighbour; zero where there is none."""
    h, w = maps.shape[-2:]
    return F.pad(maps, ((0, 1, 0, 0), (0, 0, 0, 1))[axis])[..., -h:, -w:]


def _gradient_adjoint(slopes_grad: Tensor, taps: Tensor) -> Tensor:
    """What the gradients of the four slopes say about the flow."""
    parts = [
        taps[i, 0] * part + taps[i, 1] * _before(part, i % 2) for i, part in enumerate(slopes_grad.unbind(1))
    ]
    return torch.stack([parts[0] + parts[1], parts[2] + parts[3]], 1)


def _divergence_adjoint(spread_grad: Tensor, taps: Tensor) -> Tensor:
    """What the gradients of the two divergences say about the dual."""
    maps = [spread_grad[:, i // 2] for i in range(4)]
    parts = [taps[i, 0] * _after(part, i % 2) + taps[i, 1] * part for i, part in enumerate(maps)]
    return torch.stack(parts, 1)


def _add_kernel_grads(
    totals: list[Tensor | None], n: int, outputs: tuple[Tensor, Tensor], inputs: tuple[Tensor, Tensor]
) -> None:
    """Sums of products of what leaves a kernel (its gradient) and what enters it."""
    (spread_grad, slopes_grad), (dual, new_flow) = outputs, inputs
    for i in range(4):
        out, p = spread_grad[:, i // 2], dual[:, i]
        pairs = [(i, out, _before(p, i % 2), p)]
        out, u = slopes_grad[:, i], new_flow[:, i // 2]
        pairs.append((4 + i, out, u, _after(u, i % 2)))
        for kernel, grad, first, second in pairs:
            if totals[5] is not None:
                totals[5][n, kernel] += torch.stack([(grad * first).sum(), (grad * second).sum()])
            if totals[6] is not None:
                totals[6][n, kernel] += grad.sum()


def _add(totals: list[Tensor | None], i: int, grad: Tensor) -> None:
    total = totals[i]
    if total is not None:
        total += grad
