"""The TV-L1 iterations as operators of torch: forward, backward, and what compilers need to know of them.

``kinema::tvl1_iterations`` runs the iterations of one warp; ``kinema::tvl1_iterations_backward`` is its
gradient. On the CPU, in float32, both are fused loops (`kinema.ops._tvl1_cpu` where the difference kernels
are (-1, 1) and no state is kept, else `kinema.ops._tvl1_adjoint_cpu`). On a GPU a Triton kernel runs forward
where they are (-1, 1). Everything else, the backward pass on a GPU included, is `kinema.ops._tvl1_eager`,
with the same memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from kinema.ops import _tvl1_eager
from kinema.ops._triton import has_triton
from kinema.ops._tvl1_eager import Inputs

_INPUTS = (
    "Tensor flow, Tensor dual, Tensor gradient, Tensor constant, Tensor weights, Tensor? kernels, "
    "Tensor? biases"
)


@torch.library.custom_op(
    "kinema::tvl1_iterations",
    mutates_args=(),
    schema=f"({_INPUTS}, int iterations, float epsilon, int adjoint_steps, bool keep) "
    "-> (Tensor, Tensor, Tensor)",
)
def tvl1_operator(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Flow and dual after the iterations; with ``keep`` all states, (B, iterations + 1, H, 6, W).

    ``weights`` holds tau, lambda and theta. ``adjoint_steps`` only concerns the gradient: how many iterations
    to go back, the number run or, for one iteration that stands for a fixed point, more.
    """
    return _eagerly(*arguments)


def _eagerly(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    inputs, (iterations, epsilon, _, keep) = Inputs(*arguments[:7]), arguments[7:]
    states: list[Tensor] | None = [] if keep else None
    flow, dual = (t.contiguous() for t in _tvl1_eager.run(inputs, iterations, epsilon, states=states))
    if iterations == 0:  # an operator may not return its own input
        flow, dual = (t.clone(memory_format=torch.contiguous_format) for t in (flow, dual))
    if states is None:
        return flow, dual, _no_states(flow)
    states.append(torch.cat([flow, dual], 1))
    return flow, dual, torch.stack(states, 1).transpose(2, 3).contiguous()


def _no_states(flow: Tensor) -> Tensor:
    b, _, h, w = flow.shape
    return flow.new_empty((b, 0, h, 6, w))


@tvl1_operator.register_fake
def _fake(flow: Tensor, dual: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    iterations, _, _, keep = others[5:]
    b, _, h, w = flow.shape
    kept = flow.new_empty((b, iterations + 1 if keep else 0, h, 6, w))
    return _like(flow), _like(dual), kept


def _like(given: Tensor) -> Tensor:
    """Room for a result, which is laid out plainly, however what came in was."""
    return torch.empty_like(given, memory_format=torch.contiguous_format)


@torch.library.custom_op(
    "kinema::tvl1_iterations_backward",
    mutates_args=(),
    schema=f"(Tensor grad_flow, Tensor grad_dual, {_INPUTS}, Tensor kept, int iterations, float epsilon, "
    "int adjoint_steps) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _backward_operator(grad_flow: Tensor, grad_dual: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return _gradients(_tvl1_eager.reverse, grad_flow, grad_dual, *arguments)


def _gradients(
    reverse: Callable[..., list[Tensor | None]], grad_flow: Tensor, grad_dual: Tensor, *arguments: Any
) -> tuple[Tensor, ...]:
    """All gradients, by one of the two ways; an empty tensor for what is not there."""
    inputs, (kept, iterations, epsilon, adjoint_steps) = Inputs(*arguments[:7]), arguments[7:]
    states = kept if kept.shape[1] else None
    found = reverse((grad_flow, grad_dual), inputs, states, iterations, adjoint_steps, epsilon)
    if iterations == 0:
        found[:2] = [t.clone(memory_format=torch.contiguous_format) for t in (grad_flow, grad_dual)]
    return tuple(grad_flow.new_empty(0) if t is None else t.contiguous() for t in found)


@_backward_operator.register_kernel("cpu")
def _backward_on_cpu(grad_flow: Tensor, grad_dual: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    iterations = arguments[8]
    if grad_flow.dtype != torch.float32 or iterations == 0:
        return _gradients(_tvl1_eager.reverse, grad_flow, grad_dual, *arguments)
    from kinema.ops import _tvl1_adjoint_cpu

    return _gradients(_tvl1_adjoint_cpu.backward, grad_flow, grad_dual, *arguments)


@_backward_operator.register_fake
def _fake_backward(grad_flow: Tensor, grad_dual: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    inputs = arguments[:7]
    return tuple(grad_flow.new_empty(0) if t is None else _like(t) for t in inputs)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:7], output[2])
    ctx.iterations, ctx.epsilon, ctx.adjoint_steps, _ = inputs[7:]
    ctx.mark_non_differentiable(output[2])
    ctx.set_materialize_grads(False)  # zeros for the states would take as much memory as they do


def _backward(
    ctx: Any, grad_flow: Tensor | None, grad_dual: Tensor | None, _: Tensor | None
) -> tuple[Tensor | None, ...]:
    *inputs, kept = ctx.saved_tensors
    flow_grad = torch.zeros_like(inputs[0]) if grad_flow is None else grad_flow
    dual_grad = torch.zeros_like(inputs[1]) if grad_dual is None else grad_dual
    grads = _backward_operator(
        flow_grad, dual_grad, *inputs, kept, ctx.iterations, ctx.epsilon, ctx.adjoint_steps
    )
    given = [None if t is None else grad for t, grad in zip(inputs, grads, strict=True)]
    return (*given, None, None, None, None)


tvl1_operator.register_autograd(_backward, setup_context=_save_inputs)


@tvl1_operator.register_kernel("cpu")
def _on_cpu(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    inputs, (iterations, epsilon, _, keep) = Inputs(*arguments[:7]), arguments[7:]
    if inputs.flow.dtype != torch.float32 or iterations == 0:
        return _eagerly(*arguments)
    if keep or not _plain(inputs):
        from kinema.ops import _tvl1_adjoint_cpu

        return _tvl1_adjoint_cpu.forward(inputs, iterations, epsilon, keep=keep)
    from kinema.ops import _tvl1_cpu

    tau, lbda, theta = inputs.weights.tolist()
    flow, dual = _tvl1_cpu.iterate(*inputs[:4], iterations, tau, lbda, theta, epsilon)
    return flow, dual, _no_states(flow)


@tvl1_operator.register_kernel("cuda")
def _on_cuda(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    inputs, (iterations, epsilon, _, keep) = Inputs(*arguments[:7]), arguments[7:]
    if inputs.flow.dtype != torch.float32 or keep or not _plain(inputs) or not has_triton():
        return _eagerly(*arguments)
    from kinema.ops import _tvl1_triton

    tau, lbda, theta = inputs.weights.tolist()
    flow, dual = _tvl1_triton.iterate(*inputs[:4], iterations, tau, lbda, theta, epsilon)
    return flow, dual, _no_states(flow)


def _plain(inputs: Inputs) -> bool:
    """Whether the difference kernels are (-1, 1), without biases."""
    return inputs.kernels is None and inputs.biases is None
