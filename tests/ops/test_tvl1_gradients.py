"""Gradients through the TV-L1 iterations: every path against autograd of the reference."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.tvl1 import CONSTANTS, FULL, KEPT, assert_close, gradients, problem, run
from kinema.ops import _tvl1_adjoint_cpu, _tvl1_eager
from kinema.ops.variational import Unrolling, linearise_at, tvl1_iterations, tvl1_iterations_reference


@pytest.mark.parametrize("unrolling", [FULL, KEPT])
def test_eager_path_against_finite_differences(unrolling: Unrolling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tvl1_eager, "SEGMENT", 2)
    leaves = problem(2, 3, iterations=3)

    def solve(*values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        given = dict(zip(leaves, values, strict=True))
        return run(tvl1_iterations, given, iterations=3, epsilon=1e-3, unrolling=unrolling)

    assert torch.autograd.gradcheck(solve, tuple(leaves.values()), atol=1e-5)


@pytest.mark.parametrize("unrolling", [FULL, KEPT])
@pytest.mark.parametrize("parameters", [False, True])
@pytest.mark.parametrize(("h", "w", "batch"), [(1, 1, 1), (7, 1, 1), (1, 6, 2), (11, 14, 2)])
def test_eager_path_equals_autograd(
    h: int, w: int, batch: int, parameters: bool, unrolling: Unrolling
) -> None:
    leaves = problem(h, w, batch=batch, iterations=23, kernels=parameters, biases=parameters)
    expected = gradients(tvl1_iterations_reference, leaves, iterations=23)
    assert_close(gradients(tvl1_iterations, leaves, iterations=23, unrolling=unrolling), expected, 1e-9)


@given(
    h=st.integers(1, 40),
    w=st.integers(1, 40),
    batch=st.integers(1, 2),
    iterations=st.integers(1, 23),
    kernels=st.booleans(),
    biases=st.booleans(),
    keep=st.booleans(),
    seed=st.integers(0, 99),
)
def test_fused_path_equals_autograd(
    h: int, w: int, batch: int, iterations: int, kernels: bool, biases: bool, keep: bool, seed: int
) -> None:
    options = {"batch": batch, "iterations": iterations, "kernels": kernels, "biases": biases, "seed": seed}
    exact, rounded = problem(h, w, **options), problem(h, w, dtype=torch.float32, **options)
    before = {name: leaf.detach().clone() for name, leaf in rounded.items()}
    unrolling = KEPT if keep else FULL
    outputs = [
        run(tvl1_iterations_reference, exact, iterations=iterations),
        run(tvl1_iterations, rounded, iterations=iterations, unrolling=unrolling),
    ]
    for slow, fast in zip(*outputs, strict=True):
        torch.testing.assert_close(fast.double(), slow, atol=5e-5, rtol=1e-5)
    expected = gradients(tvl1_iterations_reference, exact, iterations=iterations)
    actual = gradients(tvl1_iterations, rounded, iterations=iterations, unrolling=unrolling)
    assert_close(actual, expected, 2e-3)  # a pixel whose data term is about to saturate may round either way
    assert all(torch.equal(leaf, before[name]) for name, leaf in rounded.items())


@pytest.mark.parametrize(("h", "w"), [(201, 333), (97, 1021)])
def test_gradients_do_not_depend_on_the_number_of_threads(h: int, w: int) -> None:
    leaves = problem(h, w, iterations=13, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(gradients(tvl1_iterations, leaves, iterations=13))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        for name in ("flow", "dual", "gradient", "constant"):
            assert torch.equal(result[name], results[0][name])
        assert_close(result, results[0], 1e-5)
    exact = problem(h, w, iterations=13)
    assert_close(results[0], gradients(tvl1_iterations_reference, exact, iterations=13), 1e-4)


def test_gradient_of_tau_keeps_its_digits_where_the_flow_is_large() -> None:
    grads = []
    for dtype, solve in ((torch.float64, tvl1_iterations_reference), (torch.float32, tvl1_iterations)):
        leaves = problem(30, 40, iterations=5, kernels=False, biases=False, dtype=dtype)
        large = {**leaves, "flow": (leaves["flow"].detach() * 0.01 + 64).requires_grad_()}
        grads.append(gradients(solve, large, iterations=5))
    assert_close({"tau": grads[1]["tau"]}, {"tau": grads[0]["tau"]}, 1e-3)


def test_shared_kernels_get_the_sum_of_the_iterations() -> None:
    each = problem(6, 7, iterations=4)
    shared = {**each, "kernels": each["kernels"][0].detach().requires_grad_()}
    shared["biases"] = each["biases"][0].detach().requires_grad_()
    spread = {**each, "kernels": shared["kernels"].detach().repeat(4, 1, 1).requires_grad_()}
    spread["biases"] = shared["biases"].detach().repeat(4, 1).requires_grad_()
    expected, actual = (gradients(tvl1_iterations, leaves, iterations=4) for leaves in (spread, shared))
    torch.testing.assert_close(actual["kernels"], expected["kernels"].sum(0))
    torch.testing.assert_close(actual["biases"], expected["biases"].sum(0))
    pair = {**each, "kernels": torch.tensor([-0.9, 1.0], dtype=torch.float64, requires_grad=True)}
    assert gradients(tvl1_iterations, pair, iterations=4)["kernels"].shape == (2,)


def test_numbers_and_tensors_may_be_mixed_and_have_any_float_type() -> None:
    leaves = problem(6, 7, iterations=4, kernels=False, biases=False, dtype=torch.float32)
    expected = gradients(tvl1_iterations, leaves, iterations=4)
    wide = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    mixed = {name: leaf for name, leaf in leaves.items() if name not in CONSTANTS}
    more = {"tau": 0.25, "lbda": 0.15}
    actual = gradients(tvl1_iterations, {**mixed, "theta": wide}, iterations=4, **more)
    assert actual["theta"].dtype == torch.float64
    assert float(actual["theta"]) == pytest.approx(float(expected["theta"]), rel=1e-5)


def test_strided_inputs_and_output_gradients() -> None:
    leaves = problem(30, 20, iterations=5, dtype=torch.float32)
    turned = {
        name: leaf.detach().transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_()
        if leaf.dim() == 4
        else leaf
        for name, leaf in leaves.items()
    }
    expected, actual = (gradients(tvl1_iterations, given, iterations=5) for given in (leaves, turned))
    assert_close(actual, expected, 1e-7)
    flow, _ = run(tvl1_iterations, leaves, iterations=5)
    flow.sum().backward()  # the gradient of a sum is one number, expanded
    again, _ = run(tvl1_iterations, turned, iterations=5)
    (again * torch.ones_like(again)).sum().backward()
    torch.testing.assert_close(leaves["flow"].grad, turned["flow"].grad)


def test_gradient_to_the_sampling_positions() -> None:
    """The flow moves the data term through the warp, too: against finite differences of the whole warp."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (7, 8)), indexing="ij")
    frames = [100 + 60 * torch.sin(0.7 * (x - dx) + 0.3 * y) + 40 * torch.cos(0.5 * y) for dx in (0, 0.6)]
    image1, image2 = (frame[None, None] for frame in frames)
    start = torch.tensor([0.37, -0.23], dtype=torch.float64).view(1, 2, 1, 1).expand(1, 2, 7, 8)

    def warp(flow: torch.Tensor) -> torch.Tensor:
        data = linearise_at(image1, image2, flow)
        dual = torch.zeros(1, 4, 7, 8, dtype=torch.float64)
        return tvl1_iterations(flow, dual, data, iterations=4, epsilon=1e-6, **CONSTANTS)[0]

    leaf = start.clone().requires_grad_()
    assert torch.autograd.gradcheck(warp, (leaf,), atol=1e-5, eps=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_iterations_hand_the_gradient_through(dtype: torch.dtype) -> None:
    leaves = problem(5, 6, iterations=0, dtype=dtype)
    flow, dual = run(tvl1_iterations, leaves, iterations=0)
    assert torch.equal(flow, leaves["flow"])
    (2 * flow.sum() + 3 * dual.sum()).backward()
    assert leaves["flow"].grad.eq(2).all()
    assert leaves["dual"].grad.eq(3).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("parameters", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_operators_are_well_formed(dtype: torch.dtype, parameters: bool, keep: bool) -> None:
    leaves = problem(6, 7, iterations=4, kernels=parameters, biases=parameters, dtype=dtype)
    weights = torch.stack([leaves[name] for name in CONSTANTS]).detach().requires_grad_()
    inputs = (*(leaves[name] for name in ("flow", "dual", "gradient", "constant")), weights)
    inputs += (leaves.get("kernels"), leaves.get("biases"))
    operators = torch.ops.kinema
    torch.library.opcheck(operators.tvl1_iterations.default, (*inputs, 4, 1e-12, 4, keep))
    turned = inputs[0].detach().to(memory_format=torch.channels_last)
    torch.library.opcheck(operators.tvl1_iterations.default, (turned, *inputs[1:], 4, 1e-12, 4, keep))
    plain = [None if t is None else t.detach() for t in inputs]
    kept = operators.tvl1_iterations(*plain, 4, 1e-12, 4, keep)[2]
    grads = (torch.ones_like(plain[0]), torch.ones_like(plain[1]))
    arguments = (*grads, *plain, kept, 4, 1e-12, 4)
    torch.library.opcheck(operators.tvl1_iterations_backward.default, arguments)


@pytest.mark.slow
def test_training_compiles_into_a_graph() -> None:
    leaves = problem(12, 13, iterations=4, dtype=torch.float32)

    def loss(flow: torch.Tensor, kernels: torch.Tensor, tau: torch.Tensor) -> torch.Tensor:
        # The operator itself: torch cannot trace the checks of shapes that tests put around the function.
        weights = torch.stack([tau, leaves["lbda"], leaves["theta"]])
        maps = flow, leaves["dual"], leaves["gradient"], leaves["constant"]
        operator = torch.ops.kinema.tvl1_iterations
        return operator(*maps, weights, kernels, leaves["biases"], 4, 1e-12, 4, False)[0].square().sum()

    wanted = [leaves[name] for name in ("flow", "kernels", "tau")]
    expected = torch.autograd.grad(loss(*wanted), wanted)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for actual, value in zip(torch.autograd.grad(compiled(*wanted), wanted), expected, strict=True):
        torch.testing.assert_close(actual, value)


def test_bands_and_blocks_of_a_wide_image() -> None:
    """A width at which a block holds fewer iterations than asked for, and bands margins on both sides."""
    assert _tvl1_adjoint_cpu.CACHE_BYTES // (4 * _tvl1_adjoint_cpu.MAPS_PER_PIXEL * 4000) < 5
    before = torch.get_num_threads()
    options = {"iterations": 9, "seed": 3}
    try:
        torch.set_num_threads(3)
        actual = gradients(tvl1_iterations, problem(61, 4000, dtype=torch.float32, **options), iterations=9)
    finally:
        torch.set_num_threads(before)
    expected = gradients(tvl1_iterations_reference, problem(61, 4000, **options), iterations=9)
    assert_close(actual, expected, 1e-3)
    assert math.isfinite(float(actual["tau"]))
