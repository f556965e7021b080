"""The cost volume: its definition by hand, fast paths against the reference, gradients, layouts, types."""

from __future__ import annotations

import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.compiled import run_compiled
from kinema.errors import UsageError
from kinema.ops import _correlation_cpu
from kinema.ops.correlation import correlation, correlation_reference

LAYOUTS = (torch.contiguous_format, torch.channels_last)


def maps(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for _ in range(2))
    return first, second


def by_hand(first: torch.Tensor, second: torch.Tensor, radius: int) -> torch.Tensor:
    """Pixel by pixel, from the formula of the specification."""
    b, c, h, w = first.shape
    side = 2 * radius + 1
    costs = torch.zeros(b, side * side, h, w, dtype=first.dtype)
    for d in range(side * side):
        dy, dx = d // side - radius, d % side - radius
        for y in range(h):
            for x in range(w):
                if 0 <= y + dy < h and 0 <= x + dx < w:
                    costs[:, d, y, x] = (first[:, :, y, x] * second[:, :, y + dy, x + dx]).sum(1) / c
    return costs


@pytest.mark.parametrize("path", [correlation, correlation_reference])
def test_the_formula(path) -> None:
    first, second = maps(2, 3, 5, 6)
    torch.testing.assert_close(path(first, second, radius=2), by_hand(first, second, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_channel_of_a_shift_is_where_it_matches(dtype: torch.dtype) -> None:
    """Content that moves by (+3, -2) gives its highest cost in channel (-2 + 4) * 9 + (3 + 4)."""
    first, _ = maps(1, 32, 20, 24, dtype=dtype)
    second = first.roll((-2, 3), dims=(2, 3))
    best = correlation(first, second)[0, :, 6:-6, 6:-6].argmax(0)
    assert best.unique().tolist() == [(-2 + 4) * 9 + (3 + 4)]
    assert correlation(first, first)[0, :, 6:-6, 6:-6].argmax(0).unique().tolist() == [40]


@given(
    b=st.integers(1, 3),
    c=st.integers(1, 40),
    h=st.integers(1, 21),
    w=st.integers(1, 40),
    radius=st.integers(0, 6),
    layout=st.sampled_from(LAYOUTS),
)
def test_the_fast_path_equals_the_reference(b, c, h, w, radius, layout) -> None:
    first, second = (t.contiguous(memory_format=layout) for t in maps(b, c, h, w))
    before = first.clone(), second.clone()
    fast = correlation(first, second, radius=radius)
    reference = correlation_reference(first, second, radius=radius)
    torch.testing.assert_close(fast, reference, atol=1e-5, rtol=1e-5)
    assert fast.stride() == reference.stride()
    assert torch.equal(first, before[0])
    assert torch.equal(second, before[1])


@given(
    b=st.integers(1, 2),
    c=st.integers(1, 20),
    h=st.integers(1, 15),
    w=st.integers(1, 40),
    radius=st.integers(0, 5),
    layout=st.sampled_from(LAYOUTS),
)
def test_fast_gradients_equal_those_of_autograd(b, c, h, w, radius, layout) -> None:
    first, second = (t.contiguous(memory_format=layout) for t in maps(b, c, h, w))
    grads = []
    for path in (correlation, correlation_reference):
        inputs = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in (first, second)]
        path(*inputs, radius=radius).square().sum().backward()
        grads.append([t.grad for t in inputs])
    for ours, expected, like in zip(*grads, (first, second), strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-4)
        assert ours.stride() == like.stride()


def test_bfloat16_is_rounded_once() -> None:
    first, second = maps(2, 37, 9, 18, dtype=torch.bfloat16)
    exact = correlation(first.double(), second.double())
    costs = correlation(first, second)
    assert costs.dtype == torch.bfloat16
    torch.testing.assert_close(costs.double(), exact, atol=1e-3, rtol=2**-8)
    inputs = [t.clone().requires_grad_() for t in (first, second)]
    wide = [t.double().requires_grad_() for t in (first, second)]
    for pair in (inputs, wide):
        (correlation(*pair) ** 2).sum().backward()
    for ours, expected in zip(inputs, wide, strict=True):
        assert ours.grad.dtype == torch.bfloat16
        torch.testing.assert_close(ours.grad.double(), expected.grad, atol=1e-2, rtol=2e-2)


def test_gradients_in_float64() -> None:
    first, second = (t.requires_grad_() for t in maps(2, 3, 4, 5, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda a, b: correlation(a, b, radius=2), (first, second))


def test_gradient_of_one_map_only() -> None:
    first, second = maps(1, 4, 6, 7)
    second.requires_grad_()
    correlation(first, second).sum().backward()
    assert second.grad is not None
    assert second.grad.abs().sum() > 0


def test_views_and_strided_gradients() -> None:
    first, second = maps(2, 6, 11, 13)
    one, two = first[:, ::2, 1:, :-2], second.transpose(2, 3).transpose(2, 3)[:, ::2, 1:, :-2]
    expected = correlation_reference(one.contiguous(), two.contiguous())
    torch.testing.assert_close(correlation(one, two), expected, atol=1e-5, rtol=1e-5)
    leaf = first.clone().requires_grad_()
    correlation(leaf, second).sum().backward()  # the gradient of a sum is an expanded scalar
    other = first.clone().requires_grad_()
    correlation_reference(other, second).sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad, atol=1e-5, rtol=1e-4)


def test_not_a_number_stays_within_reach() -> None:
    first, second = maps(1, 4, 15, 40)
    second[0, 1, 7, 20] = float("nan")
    bad = correlation(first, second).isnan().any(1)[0]
    assert bad.nonzero().min(0).values.tolist() == [3, 16]
    assert bad.nonzero().max(0).values.tolist() == [11, 24]


def test_result_does_not_depend_on_threads_or_batch() -> None:
    first, second = maps(3, 32, 60, 70)
    grad = torch.randn(3, 81, 60, 70, generator=torch.Generator().manual_seed(1))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            gradients = _correlation_cpu.backward(grad, first, second, 4)
            results.append((correlation(first, second), *gradients))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
    assert torch.equal(correlation(first[1:2], second[1:2]), results[0][0][1:2])


def test_callers_from_several_threads_do_not_meet() -> None:
    first, second = maps(2, 16, 50, 64)
    expected = correlation(first, second)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: correlation(first, second), range(8)):
            assert torch.equal(result, expected)


def test_operator_is_well_formed() -> None:
    first, second = (t.requires_grad_() for t in maps(2, 3, 6, 7))
    torch.library.opcheck(torch.ops.kinema.correlation.default, (first, second, 2))
    for layout in LAYOUTS:
        pair = [t.detach().contiguous(memory_format=layout) for t in (first, second)]
        grad = torch.randn(2, 25, 6, 7).contiguous(memory_format=layout)
        torch.library.opcheck(torch.ops.kinema.correlation.default, (*pair, 2))
        torch.library.opcheck(torch.ops.kinema.correlation_backward.default, (grad, *pair, 2))


@pytest.mark.slow
def test_operator_compiles_into_a_graph_forward_and_backward() -> None:
    run_compiled("""
        from kinema.ops.correlation import correlation
        a, b = torch.randn(1, 5, 9, 11), torch.randn(1, 5, 9, 11)
        check(lambda a, b: 2 * correlation(a, b, radius=3), a, b)
        results = []
        for run in (correlation, torch.compile(correlation, backend="aot_eager", fullgraph=True)):
            one, two = a.clone().requires_grad_(), b.clone().requires_grad_()
            run(one, two).square().sum().backward()
            results.append((one.grad, two.grad))
        torch.testing.assert_close(results[1], results[0])
    """)


@pytest.mark.parametrize(
    ("second", "radius", "words"),
    [
        (torch.zeros(1, 2, 4, 4), -1, "radius"),
        (torch.zeros(1, 2, 4, 5), 4, "one size"),
        (torch.zeros(1, 2, 4, 4, dtype=torch.float64), 4, "one size and type"),
    ],
)
def test_wrong_arguments_are_explained(second: torch.Tensor, radius: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        correlation(torch.zeros(1, 2, 4, 4), second, radius=radius)


needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None
    or not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"),
    reason="needs Triton with a GPU, or TRITON_INTERPRET=1",
)


@needs_triton
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("shape", "radius"), [((1, 1, 1, 1), 4), ((2, 3, 5, 7), 2), ((1, 37, 4, 70), 1)])
def test_triton_kernels_equal_the_reference(shape: tuple[int, ...], radius: int, layout) -> None:
    from kinema.ops import _correlation_triton

    device = "cuda" if torch.cuda.is_available() else "cpu"
    first, second = (t.contiguous(memory_format=layout).to(device) for t in maps(*shape))
    expected = correlation_reference(first, second, radius=radius)
    costs = _correlation_triton.forward(first, second, radius)
    torch.testing.assert_close(costs, expected, atol=1e-5, rtol=1e-4)
    assert costs.stride() == expected.stride()
    inputs = [t.clone().requires_grad_() for t in (first, second)]
    grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(device)
    slopes = torch.autograd.grad(correlation_reference(*inputs, radius=radius), inputs, grad)
    for ours, theirs in zip(_correlation_triton.backward(grad, first, second, radius), slopes, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
