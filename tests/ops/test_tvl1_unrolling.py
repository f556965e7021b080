"""Ways back through the TV-L1 iterations: truncated, implicit, and what each keeps in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers.tvl1 import CONSTANTS, FULL, KEPT, Leaves, assert_close, gradients, problem, run
from kinema.errors import UsageError
from kinema.ops.variational import Unrolling, linearise_at, tvl1_iterations, tvl1_iterations_reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_truncation_at_all_iterations_is_the_full_gradient(dtype: torch.dtype) -> None:
    leaves = problem(9, 11, batch=2, iterations=12, dtype=dtype)
    expected = gradients(tvl1_iterations, leaves, iterations=12)
    for steps in (12, 50, None):
        cut = gradients(tvl1_iterations, leaves, iterations=12, unrolling=Unrolling("truncated", steps=steps))
        assert all(torch.equal(cut[name], expected[name]) for name in leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_truncation_takes_what_came_before_for_a_constant(dtype: torch.dtype) -> None:
    leaves = problem(9, 11, batch=2, iterations=12, dtype=dtype)
    with torch.no_grad():
        head = {**leaves, "kernels": leaves["kernels"][:9], "biases": leaves["biases"][:9]}
        flow, dual = run(tvl1_iterations, head, iterations=9)
    tail = {**leaves, "flow": flow.requires_grad_(), "dual": dual.requires_grad_()}
    tail |= {name: leaves[name][9:].detach().requires_grad_() for name in ("kernels", "biases")}
    expected = gradients(tvl1_iterations, tail, iterations=3)
    actual = gradients(tvl1_iterations, leaves, iterations=12, unrolling=Unrolling("truncated", steps=3))
    for name in ("gradient", "constant", *CONSTANTS):
        torch.testing.assert_close(actual[name], expected[name])
    for name in ("kernels", "biases"):
        torch.testing.assert_close(actual[name][9:], expected[name])
        assert not actual[name][:9].any()
    assert not actual["flow"].any()
    assert not actual["dual"].any()


def test_truncation_at_none_lets_nothing_through() -> None:
    leaves = problem(5, 6, iterations=4)
    found = gradients(tvl1_iterations, leaves, iterations=4, unrolling=Unrolling("truncated", steps=0))
    assert not any(grad.any() for grad in found.values())


def settling(dtype: torch.dtype) -> Leaves:
    """A smooth pair of frames, on which the iterations come to rest."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (10, 12)), indexing="ij")
    frames = [60 * torch.sin(0.7 * (x - d) + 0.3 * y) + 50 * torch.cos(0.5 * y + 0.2 * d) for d in (0, 0.6)]
    data = linearise_at(*(frame[None, None] for frame in frames), torch.zeros(1, 2, 10, 12).double())
    leaves = {
        "flow": torch.zeros(1, 2, 10, 12),
        "dual": torch.zeros(1, 4, 10, 12),
        "gradient": data.gradient,
        "constant": data.constant,
        "lbda": torch.tensor(0.15),
        "theta": torch.tensor(0.3),
        "kernels": torch.tensor([-1.0, 1.0]).repeat(8, 1),
    }
    return {name: value.to(dtype).requires_grad_() for name, value in leaves.items()}


@pytest.mark.parametrize(
    ("dtype", "counts", "within"),
    [
        (torch.float32, (100, 400, 1600), 1e-2),
        pytest.param(torch.float64, (100, 400, 1600), 1e-2, marks=pytest.mark.slow),
    ],
)
def test_implicit_gradient_approaches_the_full_one(
    dtype: torch.dtype, counts: tuple[int, ...], within: float
) -> None:
    leaves = settling(dtype)
    errors = []
    for iterations in counts:
        settings = {"iterations": iterations, "epsilon": 1e-6, "tau": 0.25}
        full = gradients_of_flow(leaves, unrolling=FULL, **settings)
        implicit = gradients_of_flow(leaves, unrolling=Unrolling("implicit"), **settings)
        assert not implicit["flow"].any()
        names = ("gradient", "constant", "lbda", "theta", "kernels")
        errors.append(max(float((implicit[n] - full[n]).norm() / full[n].norm()) for n in names))
    assert sorted(errors, reverse=True) == errors
    assert errors[-1] < within


def gradients_of_flow(leaves: Leaves, **more: Any) -> Leaves:
    flow, _ = run(tvl1_iterations, leaves, **more)
    weights = torch.randn(flow.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = torch.autograd.grad((flow * weights.to(flow)).sum(), list(leaves.values()), allow_unused=True)
    return {
        n: torch.zeros_like(leaf) if g is None else g
        for (n, leaf), g in zip(leaves.items(), found, strict=True)
    }


def test_implicit_gradient_is_a_sum_of_adjoint_steps_at_the_last_state() -> None:
    leaves = problem(6, 7, iterations=1, dtype=torch.float64)
    with torch.no_grad():
        flow, dual = run(tvl1_iterations, leaves, iterations=7)
    rest = {**leaves, "flow": flow.requires_grad_(), "dual": dual.requires_grad_()}
    new_flow, new_dual = run(tvl1_iterations_reference, rest, iterations=1)
    adjoint = [torch.ones_like(new_flow), torch.zeros_like(new_dual)]
    expected = torch.zeros_like(leaves["constant"])
    for _ in range(5):
        *adjoint, term = torch.autograd.grad(
            (new_flow, new_dual),
            (rest["flow"], rest["dual"], leaves["constant"]),
            adjoint,
            retain_graph=True,
        )
        expected += term
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        given = {name: leaf.detach().to(dtype).requires_grad_() for name, leaf in leaves.items()}
        result, _ = run(tvl1_iterations, given, iterations=8, unrolling=Unrolling("implicit", steps=5))
        result.sum().backward()
        assert_close({"c": given["constant"].grad}, {"c": expected}, tolerance)


def kept_maps(unrolling: Unrolling, iterations: int) -> float:
    """Maps of the image's size that a forward pass keeps for the backward pass."""
    leaves = problem(20, 30, iterations=iterations, dtype=torch.float32)
    sizes: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes[tensor.data_ptr()] = max(sizes.get(tensor.data_ptr(), 0), tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run(tvl1_iterations, leaves, iterations=iterations, unrolling=unrolling)
    return sum(sizes.values()) / (20 * 30)


@pytest.mark.parametrize("iterations", [5, 40])
def test_what_is_kept_for_the_backward_pass(iterations: int) -> None:
    parameters = iterations * 24 / 600  # kernels and biases
    assert 9 <= kept_maps(FULL, iterations) < 9.1 + parameters
    assert kept_maps(KEPT, iterations) < 9.1 + 6 * (iterations + 1) + parameters
    assert kept_maps(Unrolling("truncated", steps=3), iterations) < 9.1 + parameters
    assert kept_maps(Unrolling("truncated", steps=3, keep="iterations"), iterations) < 9.1 + 24 + parameters


def test_nothing_is_kept_without_gradients() -> None:
    leaves = problem(5, 6, iterations=4, dtype=torch.float32)
    with torch.no_grad():
        flow, dual = run(tvl1_iterations, leaves, iterations=4, unrolling=KEPT)
    assert not flow.requires_grad
    expected = run(tvl1_iterations_reference, leaves, iterations=4)
    torch.testing.assert_close(flow, expected[0].detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dual, expected[1].detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"kernels": torch.ones(3, 8, 2)}, r"kernels of shape \(3, 8, 2\) do not fit \(4, 8, 2\)"),
        ({"biases": torch.ones(7)}, r"biases of shape \(7,\) do not fit \(4, 8\)"),
        ({"kernels": torch.ones(4, 8, 2), "unrolling": Unrolling("implicit")}, "needs kernels that all"),
        ({"biases": torch.ones(4, 8), "unrolling": Unrolling("implicit")}, "needs biases that all"),
    ],
)
def test_wrong_shapes_are_refused(more: dict[str, Any], message: str) -> None:
    leaves = problem(5, 6, iterations=4, kernels=False, biases=False)
    with pytest.raises(UsageError, match=message):
        run(tvl1_iterations, leaves, iterations=4, **more)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "forward"}, "mode 'forward' of unrolling is unknown: use full or truncated or implicit"),
        ({"keep": "all"}, "keep 'all' of unrolling is unknown: use start or iterations"),
        ({"steps": -1}, r"steps of unrolling must not be negative \(got -1\)"),
    ],
)
def test_wrong_unrolling_is_refused(settings: dict[str, Any], message: str) -> None:
    unrolling = object.__new__(Unrolling)  # around the checks of types that tests put on constructors
    for name, value in {"mode": "full", "steps": None, "keep": "start", **settings}.items():
        object.__setattr__(unrolling, name, value)
    with pytest.raises(UsageError, match=message):
        unrolling.__post_init__()
