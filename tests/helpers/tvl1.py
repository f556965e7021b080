"""Problems of TV-L1 iterations with a gradient for everything, and how to ask for all gradients at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from kinema.ops.variational import DataTerm, Unrolling

Leaves = dict[str, torch.Tensor]

FULL, KEPT = Unrolling(), Unrolling(keep="iterations")
CONSTANTS = {"tau": 0.25, "lbda": 0.15, "theta": 0.3}


def problem(
    h: int,
    w: int,
    *,
    iterations: int,
    batch: int = 1,
    seed: int = 0,
    kernels: bool = True,
    biases: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Leaves:
    """Leaves of every kind: the same numbers, rounded, in each type."""
    g = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    dual = 0.3 * noise(batch, 4, h, w).clamp(-1, 1)
    dual[:, 0::2, :, -1] = 0
    dual[:, 1::2, -1] = 0
    leaves = {
        "flow": noise(batch, 2, h, w),
        "dual": dual,
        "gradient": 5 * noise(batch, 2, h, w),
        "constant": 10 * noise(batch, 1, h, w),
        "tau": torch.tensor(CONSTANTS["tau"]),
        "lbda": torch.tensor(CONSTANTS["lbda"]),
        "theta": torch.tensor(CONSTANTS["theta"]),
    }
    if kernels:
        leaves["kernels"] = torch.tensor([-1.0, 1.0]) + 0.05 * noise(iterations, 8, 2)
    if biases:
        leaves["biases"] = 0.02 * noise(iterations, 8)
    return {name: value.to(dtype).requires_grad_() for name, value in leaves.items()}


def run(
    solve: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    leaves: Leaves,
    *,
    iterations: int,
    epsilon: float = 1e-12,
    **more: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flow and dual after the iterations, by one of the two functions."""
    others = {name: value for name, value in leaves.items() if name not in ("gradient", "constant")}
    data = DataTerm(leaves["gradient"], leaves["constant"])
    return solve(data=data, iterations=iterations, epsilon=epsilon, **others, **more)


def gradients(solve: Callable[..., tuple[torch.Tensor, torch.Tensor]], leaves: Leaves, **more: Any) -> Leaves:
    """Of a weighted sum of flow and dual, the weights at random."""
    flow, dual = run(solve, leaves, **more)
    g = torch.Generator().manual_seed(7)
    weights = [torch.randn(t.shape, generator=g, dtype=torch.float64).to(t) for t in (flow, dual)]
    loss = (flow * weights[0]).sum() + (dual * weights[1]).sum()
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(leaves.items(), found, strict=True)
    }


def assert_close(actual: Leaves, expected: Leaves, tolerance: float) -> None:
    """Each gradient within a share of its own length, or of a share of one."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        wide = value.double()
        error = float((actual[name].double() - wide).norm() / wide.norm().clamp(min=1e-2))
        assert error < tolerance, f"{name}: {error:.1e}"
