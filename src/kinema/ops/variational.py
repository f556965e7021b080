"""Building blocks of TV-L1 optical flow (Zach, Pock, Bischof 2007; Sánchez et al., IPOL 2013).

Around a flow ``u0`` the residual is linear, ``rho(u) = I1(x + u0) + <grad I1(x + u0), u - u0> - I0``, and

    E(u) = sum |grad u1| + |grad u2| + lambda |rho(u)|

is minimised by alternating a pointwise shrinkage of the data term with one dual ascent step of the total
variation. `tvl1_iterations` runs those alternations: `tvl1_iterations_reference` is the readable,
differentiable definition, and the operator ``kinema::tvl1_iterations`` dispatches to a fused loop on the CPU
(`kinema.ops._tvl1_cpu`, numba: no compiler needed) and to a Triton kernel on a GPU
(`kinema.ops._tvl1_triton`), with the reference as fallback and in the backward pass.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.ops._triton import has_triton
from kinema.ops.warp import backward_warp, in_frame

Stencil = Literal["central", "five_point"]

# Positions of the eight 2-tap kernels that the reference network makes trainable, in one iteration.
KERNEL_NAMES = ("div_p1_x", "div_p1_y", "div_p2_x", "div_p2_y", "u1_x", "u1_y", "u2_x", "u2_y")


class DataTerm(NamedTuple):
    """The brightness residual linearised in the flow: ``rho(u) = constant + <gradient, u>``.

    Attributes:
        gradient: (B, 2, H, W) image gradient of frame 2 at the warped position, grey levels per pixel; zero
            switches the data term off at a pixel.
        constant: (B, 1, H, W) grey levels.
    """

    gradient: Float[Tensor, "b 2 h w"]
    constant: Float[Tensor, "b 1 h w"]


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


def forward_gradient(
    u: Float[Tensor, "b 1 h w"],
    kernel_x: Float[Tensor, "2"] | None = None,
    kernel_y: Float[Tensor, "2"] | None = None,
) -> Float[Tensor, "b 2 h w"]:
    """Forward differences; the last column of d/dx and the last row of d/dy are 0.

    Args:
        u: (B, 1, H, W) one flow component in pixels.
        kernel_x: two taps in place of (-1, 1).
        kernel_y: two taps in place of (-1, 1).

    Returns:
        (B, 2, H, W): d/dx, d/dy.
    """
    left, right = u[..., :-1], u[..., 1:]
    top, bottom = u[..., :-1, :], u[..., 1:, :]
    dx = right - left if kernel_x is None else kernel_x[0] * left + kernel_x[1] * right
    dy = bottom - top if kernel_y is None else kernel_y[0] * top + kernel_y[1] * bottom
    return torch.cat([F.pad(dx, (0, 1, 0, 0)), F.pad(dy, (0, 0, 0, 1))], dim=1)


def divergence(
    p: Float[Tensor, "b 2 h w"],
    kernel_x: Float[Tensor, "2"] | None = None,
    kernel_y: Float[Tensor, "2"] | None = None,
) -> Float[Tensor, "b 1 h w"]:
    """Backward differences with zero in front: the negative adjoint of `forward_gradient`.

    Args:
        p: (B, 2, H, W) dual variable of one flow component; zero in its last column (x) and last row (y).
        kernel_x: two taps in place of (-1, 1).
        kernel_y: two taps in place of (-1, 1).

    Returns:
        (B, 1, H, W).
    """
    px, py = p[:, :1], p[:, 1:]
    px_before = F.pad(px[..., :-1], (1, 0, 0, 0))
    py_before = F.pad(py[..., :-1, :], (0, 0, 1, 0))
    dx = px - px_before if kernel_x is None else kernel_x[0] * px_before + kernel_x[1] * px
    dy = py - py_before if kernel_y is None else kernel_y[0] * py_before + kernel_y[1] * py
    return dx + dy


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


def data_residual(
    data: DataTerm, flow: Float[Tensor, "b 2 h w"], *, epsilon: float
) -> Float[Tensor, "b 1 h w"]:
    """``rho(u)`` in grey levels, (B, 1, H, W); ``epsilon`` is added as the reference network does."""
    return data.constant + (data.gradient * flow).sum(1, keepdim=True) + epsilon


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


def tvl1_iterations_reference(
    flow: Float[Tensor, "b 2 h w"],
    dual: Float[Tensor, "b 4 h w"],
    data: DataTerm,
    *,
    iterations: int,
    tau: float,
    lbda: float,
    theta: float,
    epsilon: float,
    kernels: Float[Tensor, "n 8 2"] | None = None,
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

    Returns:
        The flow and dual after the last iteration.
    """
    magnitude = (data.gradient**2).sum(1, keepdim=True) + epsilon
    limit, step = lbda * theta, tau / theta
    for n in range(iterations):
        k = (None,) * 8 if kernels is None else tuple(kernels[n])
        rho = data_residual(data, flow, epsilon=epsilon)
        shrunk = flow + (-rho / magnitude).clamp(-limit, limit) * data.gradient
        spread = torch.cat([divergence(dual[:, :2], k[0], k[1]), divergence(dual[:, 2:], k[2], k[3])], 1)
        flow = shrunk + theta * spread
        slopes = (forward_gradient(flow[:, :1], k[4], k[5]), forward_gradient(flow[:, 1:], k[6], k[7]))
        dual = torch.cat(
            [
                _dual_step(p, slope, step, epsilon)
                for p, slope in zip((dual[:, :2], dual[:, 2:]), slopes, strict=True)
            ],
            1,
        )
    return flow, dual


def _dual_step(p: Tensor, slope: Tensor, step: float, epsilon: float) -> Tensor:
    norm = ((slope**2).sum(1, keepdim=True) + epsilon).sqrt()
    return (p + step * slope) / (1 + step * norm)


def tvl1_iterations(
    flow: Float[Tensor, "b 2 h w"],
    dual: Float[Tensor, "b 4 h w"],
    data: DataTerm,
    *,
    iterations: int,
    tau: float,
    lbda: float,
    theta: float,
    epsilon: float,
) -> tuple[Float[Tensor, "b 2 h w"], Float[Tensor, "b 4 h w"]]:
    """Primal-dual iterations by the fastest path; arguments and result as `tvl1_iterations_reference`.

    Differentiable: the backward pass runs the iterations again by the reference, so that the forward pass
    keeps nine maps per pixel whatever their number. Outside the operator's float32 the reference itself is
    used.
    """
    if flow.dtype != torch.float32:
        return tvl1_iterations_reference(
            flow, dual, data, iterations=iterations, tau=tau, lbda=lbda, theta=theta, epsilon=epsilon
        )
    new_flow, new_dual = _tvl1_operator(
        flow, dual, data.gradient, data.constant, iterations, tau, lbda, theta, epsilon
    )
    return new_flow, new_dual


def _by_reference(
    flow: Tensor,
    dual: Tensor,
    gradient: Tensor,
    constant: Tensor,
    iterations: int,
    tau: float,
    lbda: float,
    theta: float,
    epsilon: float,
) -> tuple[Tensor, Tensor]:
    """`tvl1_iterations_reference` with the operator's arguments."""
    data = DataTerm(gradient, constant)
    return tvl1_iterations_reference(
        flow, dual, data, iterations=iterations, tau=tau, lbda=lbda, theta=theta, epsilon=epsilon
    )


# The schema says what the operator takes; the paths below hand it on as it comes.
@torch.library.custom_op(
    "kinema::tvl1_iterations",
    mutates_args=(),
    schema="(Tensor flow, Tensor dual, Tensor gradient, Tensor constant, int iterations, float tau, "
    "float lbda, float theta, float epsilon) -> (Tensor, Tensor)",
)
def _tvl1_operator(*arguments: Any) -> tuple[Tensor, Tensor]:
    flow, dual = _by_reference(*arguments)
    # An operator may not return its own input, which is what zero iterations would do.
    return (flow.clone(), dual.clone()) if flow is arguments[0] else (flow, dual)


@_tvl1_operator.register_fake
def _tvl1_fake(flow: Tensor, dual: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(flow), torch.empty_like(dual)


@_tvl1_operator.register_kernel("cpu")
def _tvl1_cpu(*arguments: Any) -> tuple[Tensor, Tensor]:
    from kinema.ops import _tvl1_cpu

    return _tvl1_cpu.iterate(*arguments)


@_tvl1_operator.register_kernel("cuda")
def _tvl1_cuda(*arguments: Any) -> tuple[Tensor, Tensor]:
    if not has_triton():
        return _by_reference(*arguments)
    from kinema.ops import _tvl1_triton

    return _tvl1_triton.iterate(*arguments)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.settings = inputs[4:]


def _tvl1_backward(ctx: Any, grad_flow: Tensor, grad_dual: Tensor) -> tuple[Tensor | None, ...]:
    """Run the reference again under autograd and pull the gradients back through it."""
    with torch.enable_grad():
        leaves = tuple(t.detach().requires_grad_() for t in ctx.saved_tensors)
        outputs = _by_reference(*leaves, *ctx.settings)
        grads = torch.autograd.grad(outputs, leaves, (grad_flow, grad_dual), allow_unused=True)
    return (*grads, None, None, None, None, None)


_tvl1_operator.register_autograd(_tvl1_backward, setup_context=_save_inputs)
