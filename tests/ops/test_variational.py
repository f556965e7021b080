"""TV-L1 building blocks: adjoints, fused loops against the reference, gradients, what iterations preserve."""

from __future__ import annotations

import importlib.util
import math
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.ops import _tvl1_cpu
from kinema.ops.variational import (
    DataTerm,
    central_gradient,
    data_residual,
    divergence,
    forward_gradient,
    linearise,
    linearise_at,
    median_filter,
    tvl1_iterations,
    tvl1_iterations_reference,
)

SETTINGS = {"tau": 0.25, "lbda": 0.15, "theta": 0.3, "epsilon": 1e-12}


def problem(
    h: int, w: int, *, batch: int = 1, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor, DataTerm]:
    g = torch.Generator().manual_seed(seed)

    def noise(channels: int) -> torch.Tensor:
        return torch.randn((batch, channels, h, w), generator=g, dtype=dtype)

    flow, data = noise(2), DataTerm(5 * noise(2), 10 * noise(1))
    dual = 0.3 * noise(4).clamp(-1, 1)
    dual[:, 0::2, :, -1] = 0
    dual[:, 1::2, -1] = 0
    return flow, dual, data


def test_central_gradient_of_a_ramp_is_its_slope() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    ramp = (2 * x - 3 * y)[None, None]
    for stencil in ("central", "five_point"):
        inner = central_gradient(ramp, stencil=stencil)[..., 2:-2, 2:-2]
        torch.testing.assert_close(inner[:, 0], torch.full_like(inner[:, 0], 2.0))
        torch.testing.assert_close(inner[:, 1], torch.full_like(inner[:, 1], -3.0))


def test_central_gradient_at_the_border_is_half_the_one_sided_difference() -> None:
    row = torch.tensor([[1.0, 4.0, 9.0]])[None, None]
    assert central_gradient(row)[0, 0, 0].tolist() == [1.5, 4.0, 2.5]


def test_forward_gradient_is_zero_in_the_last_column_and_row() -> None:
    u = torch.tensor([[1.0, 3.0], [7.0, 2.0]])[None, None]
    dx, dy = forward_gradient(u)[0]
    assert dx.tolist() == [[2.0, 0.0], [-5.0, 0.0]]
    assert dy.tolist() == [[6.0, -1.0], [0.0, 0.0]]


@given(h=st.integers(1, 9), w=st.integers(1, 9), seed=st.integers(0, 99))
def test_divergence_is_the_negative_adjoint(h: int, w: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    u = torch.randn((1, 1, h, w), generator=g, dtype=torch.float64)
    p = torch.randn((1, 2, h, w), generator=g, dtype=torch.float64)
    p[:, 0, :, -1] = 0
    p[:, 1, -1] = 0
    torch.testing.assert_close((forward_gradient(u) * p).sum(), -(u * divergence(p)).sum())


def test_linearise_agrees_with_the_image_at_the_point_of_linearisation() -> None:
    flow, _, data = problem(5, 6)
    warped, image1 = data.constant, torch.ones_like(data.constant)
    linear = linearise(warped, data.gradient, flow, image1)
    torch.testing.assert_close(data_residual(linear, flow, epsilon=0.0), warped - image1)


@given(h=st.integers(1, 40), w=st.integers(1, 40), batch=st.integers(1, 2), scale=st.floats(0.1, 30))
def test_fused_linearisation_equals_the_plain_one(h: int, w: int, batch: int, scale: float) -> None:
    flow, _, data = problem(h, w, batch=batch)
    flow = scale * flow
    image1, image2 = data.constant, data.gradient[:, :1]
    fused = linearise_at(image1, image2, flow)
    plain = linearise_at(image1, image2, flow.clone().requires_grad_())
    assert plain.constant.requires_grad
    # At a position within rounding of the frame's edge either side may call it outside.
    torch.testing.assert_close(fused.gradient, plain.gradient.detach(), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(fused.constant, plain.constant.detach(), atol=2e-3, rtol=1e-4)


def test_linearisation_is_off_outside_and_where_the_flow_is_not_finite() -> None:
    image = torch.rand(1, 1, 4, 5)
    flow = torch.zeros(1, 2, 4, 5)
    flow[0, 0, 1, 2], flow[0, 1, 2, 2], flow[0, 0, 3, 3] = -2.5, 7.0, float("nan")
    data = linearise_at(image, image + 1, flow)
    off = (data.constant == 0)[0, 0]
    assert off.nonzero().tolist() == [[1, 2], [2, 2], [3, 3]]


def test_invalid_pixels_have_no_data_term() -> None:
    flow, _, data = problem(5, 6)
    off = linearise(data.constant, data.gradient, flow, data.constant, valid=torch.zeros(1, 1, 5, 6))
    assert not data_residual(off, flow, epsilon=0.0).any()


@given(
    h=st.integers(1, 70),
    w=st.integers(1, 40),
    batch=st.integers(1, 2),
    iterations=st.integers(0, 23),
    seed=st.integers(0, 99),
)
def test_fused_cpu_loop_equals_the_reference(h: int, w: int, batch: int, iterations: int, seed: int) -> None:
    flow, dual, data = problem(h, w, batch=batch, seed=seed)
    before = (flow.clone(), dual.clone())
    expected = tvl1_iterations_reference(flow, dual, data, iterations=iterations, **SETTINGS)
    actual = tvl1_iterations(flow, dual, data, iterations=iterations, **SETTINGS)
    torch.testing.assert_close(actual[0], expected[0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(actual[1], expected[1], atol=2e-5, rtol=1e-5)
    assert torch.equal(flow, before[0])
    assert torch.equal(dual, before[1])


@pytest.mark.parametrize(("h", "w"), [(201, 333), (97, 1021)])
def test_result_does_not_depend_on_the_number_of_threads(h: int, w: int) -> None:
    flow, dual, data = problem(h, w)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            results.append(tvl1_iterations(flow, dual, data, iterations=27, **SETTINGS))
    finally:
        torch.set_num_threads(before)
    expected = tvl1_iterations_reference(flow, dual, data, iterations=27, **SETTINGS)
    for result in results:
        assert torch.equal(result[0], results[0][0])
        assert torch.equal(result[1], results[0][1])
    torch.testing.assert_close(results[0][0], expected[0], atol=5e-5, rtol=1e-4)


def test_bands_are_cut_at_all_only_where_it_pays() -> None:
    assert _tvl1_cpu.row_bands(10, 10, 10) == [(0, 10)]


def test_result_does_not_depend_on_addresses() -> None:
    flow, dual, data = problem(96, 128)
    expected = tvl1_iterations(flow, dual, data, iterations=11, **SETTINGS)[0]
    kept = []
    for i in range(150):  # memory taken in between moves the next call's arrays
        kept.append(torch.empty(1000 + 37 * i))
        again = DataTerm(data.gradient.clone(), data.constant.clone())
        assert torch.equal(tvl1_iterations(flow.clone(), dual, again, iterations=11, **SETTINGS)[0], expected)


def test_strided_inputs_give_the_same_result() -> None:
    flow, dual, data = problem(30, 20)
    turned = [t.transpose(2, 3).contiguous().transpose(2, 3) for t in (flow, dual, *data)]
    expected = tvl1_iterations(flow, dual, data, iterations=5, **SETTINGS)
    actual = tvl1_iterations(turned[0], turned[1], DataTerm(turned[2], turned[3]), iterations=5, **SETTINGS)
    assert torch.equal(actual[0], expected[0])


def test_several_threads_may_call_at_once() -> None:
    flow, dual, data = problem(150, 250)
    expected = tvl1_iterations(flow, dual, data, iterations=20, **SETTINGS)[0]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(tvl1_iterations, flow, dual, data, iterations=20, **SETTINGS) for _ in range(12)]
        assert all(torch.equal(job.result()[0], expected) for job in jobs)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_works_in_a_forked_child() -> None:
    flow, dual, data = problem(150, 250)
    tvl1_iterations(flow, dual, data, iterations=20, **SETTINGS)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        tvl1_iterations(flow, dual, data, iterations=20, **SETTINGS)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_energy_falls() -> None:
    h, w = 24, 32
    flow, _, data = problem(h, w)
    smooth = DataTerm(data.gradient, data.constant)
    dual = torch.zeros(1, 4, h, w)

    def energy(u: torch.Tensor) -> float:
        total = sum(forward_gradient(u[:, i : i + 1]).square().sum(1).sqrt().sum() for i in (0, 1))
        return float(total + 0.15 * data_residual(smooth, u, epsilon=0.0).abs().sum())

    energies = [energy(flow)]
    for _ in range(4):
        flow, dual = tvl1_iterations(flow, dual, smooth, iterations=60, **SETTINGS)
        energies.append(energy(flow))
    assert energies[1] < 0.5 * energies[0]
    assert energies[-1] <= min(energies[:-1]) * 1.001


def test_dual_stays_in_the_unit_ball() -> None:
    flow, dual, data = problem(40, 40)
    _, dual = tvl1_iterations(100 * flow, torch.zeros_like(dual), data, iterations=30, **SETTINGS)
    assert dual[:, :2].square().sum(1).max() <= 1 + 1e-5
    assert dual[:, 2:].square().sum(1).max() <= 1 + 1e-5


@pytest.mark.parametrize("size", [3, 5])
def test_fast_median_equals_the_plain_one(size: int) -> None:
    image = torch.randn(2, 2, 13, 17, generator=torch.Generator().manual_seed(3))
    fast = median_filter(image, size)
    plain = median_filter(image.clone().requires_grad_(), size)
    assert plain.requires_grad
    assert torch.equal(fast, plain.detach())


def test_median_removes_a_single_outlier_and_keeps_an_edge() -> None:
    image = torch.zeros(1, 1, 9, 9)
    image[..., 5:] = 1
    spoilt = image.clone()
    spoilt[0, 0, 4, 2] = 100
    assert torch.equal(median_filter(spoilt, 3), image)
    assert median_filter(spoilt, 1) is spoilt


needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None
    or not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"),
    reason="needs Triton with a GPU, or TRITON_INTERPRET=1",
)


@needs_triton
@pytest.mark.parametrize(("h", "w", "batch"), [(1, 1, 1), (1, 7, 1), (9, 1, 2), (13, 37, 2), (40, 51, 1)])
def test_triton_kernel_equals_the_reference(h: int, w: int, batch: int) -> None:
    from kinema.ops import _tvl1_triton

    device = "cuda" if torch.cuda.is_available() else "cpu"
    flow, dual, data = problem(h, w, batch=batch)
    expected = tvl1_iterations_reference(flow, dual, data, iterations=7, **SETTINGS)
    tensors = [t.to(device) for t in (flow, dual, *data)]
    actual = _tvl1_triton.iterate(*tensors, 7, *(SETTINGS[k] for k in ("tau", "lbda", "theta", "epsilon")))
    torch.testing.assert_close(actual[0].cpu(), expected[0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(actual[1].cpu(), expected[1], atol=2e-5, rtol=1e-5)


def test_epsilon_only_matters_at_the_scale_it_names() -> None:
    flow, dual, data = problem(8, 8)
    a = tvl1_iterations(flow, dual, data, iterations=10, **SETTINGS)[0]
    b = tvl1_iterations(flow, dual, data, iterations=10, **(SETTINGS | {"epsilon": 1e-10}))[0]
    assert math.isclose(float((a - b).abs().max()), 0.0, abs_tol=1e-4)
