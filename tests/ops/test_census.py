"""The census distance: definition by hand, the fast path against the reference, gradients, invariances."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.compiled import run_compiled
from kinema.errors import UsageError
from kinema.ops import _census_cpu
from kinema.ops.census import (
    _backward_reference,
    census_distance,
    census_distance_reference,
    grey_levels,
)


def pictures(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    first, second = (255 * torch.rand(shape, generator=g, dtype=torch.float64).to(dtype) for _ in range(2))
    return first, second


def by_hand(first: torch.Tensor, second: torch.Tensor, radius: int) -> torch.Tensor:
    """Pixel by pixel, from the formula."""
    b, _, h, w = first.shape
    total = torch.zeros_like(first)

    def sign(picture: torch.Tensor, n: int, y: int, x: int, dy: int, dx: int) -> torch.Tensor:
        inside = 0 <= y + dy < h and 0 <= x + dx < w
        difference = (picture[n, 0, y + dy, x + dx] if inside else 0.0) - picture[n, 0, y, x]
        return difference / (0.81 + difference**2) ** 0.5

    for n in range(b):
        for y in range(h):
            for x in range(w):
                for dy in range(-radius, radius + 1):
                    for dx in range(-radius, radius + 1):
                        s = (sign(first, n, y, x, dy, dx) - sign(second, n, y, x, dy, dx)) ** 2
                        total[n, 0, y, x] += s / (0.1 + s)
    return total


@pytest.mark.parametrize("path", [census_distance, census_distance_reference])
@pytest.mark.parametrize("radius", [1, 2])
def test_the_formula(path, radius: int) -> None:
    first, second = pictures(2, 1, 4, 6)
    torch.testing.assert_close(path(first, second, radius=radius), by_hand(first, second, radius))


@given(b=st.integers(1, 3), h=st.integers(1, 23), w=st.integers(1, 40), radius=st.integers(1, 4))
def test_the_fast_path_equals_the_reference(b: int, h: int, w: int, radius: int) -> None:
    first, second = pictures(b, 1, h, w)
    before = first.clone(), second.clone()
    fast = census_distance(first, second, radius=radius)
    exact = census_distance_reference(first.double(), second.double(), radius=radius)
    torch.testing.assert_close(fast.double(), exact, atol=1e-4, rtol=1e-5)
    assert torch.equal(first, before[0])
    assert torch.equal(second, before[1])


@given(b=st.integers(1, 2), h=st.integers(1, 15), w=st.integers(1, 40), radius=st.integers(1, 4))
def test_fast_gradients_equal_those_of_autograd(b: int, h: int, w: int, radius: int) -> None:
    first, second = pictures(b, 1, h, w)
    weights = torch.rand(b, 1, h, w, generator=torch.Generator().manual_seed(1))
    grads = []
    for path, dtype in ((census_distance, torch.float32), (census_distance_reference, torch.float64)):
        inputs = [t.detach().clone().to(dtype).requires_grad_() for t in (first, second)]
        (weights.to(dtype) * path(*inputs, radius=radius)).sum().backward()
        grads.append([t.grad for t in inputs])
    for ours, exact in zip(*grads, strict=True):
        torch.testing.assert_close(ours.double(), exact, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("radius", [1, 3])
def test_the_eager_gradients_equal_those_of_autograd(radius: int) -> None:
    inputs = [t.requires_grad_() for t in pictures(2, 1, 9, 6, dtype=torch.float64)]
    weights = torch.rand(2, 1, 9, 6, dtype=torch.float64)
    (weights * census_distance_reference(*inputs, radius=radius)).sum().backward()
    found = _backward_reference(weights, *(t.detach() for t in inputs), radius)
    for ours, leaf in zip(found, inputs, strict=True):
        torch.testing.assert_close(ours, leaf.grad, atol=1e-13, rtol=1e-11)


@pytest.mark.parametrize("path", [census_distance, census_distance_reference])
def test_gradients_in_float64(path) -> None:
    # Differences of a few grey levels: the sign is neither flat nor steep there.
    first, second = (t / 50 for t in pictures(1, 1, 5, 6, dtype=torch.float64))
    assert torch.autograd.gradcheck(
        lambda a, b: path(a, b, radius=2), (first.requires_grad_(), second.requires_grad_())
    )


def test_brightness_does_not_matter() -> None:
    first, _ = pictures(1, 1, 20, 24)
    inner = (..., slice(3, -3), slice(3, -3))
    assert census_distance(first, first + 40)[inner].max() < 1e-3
    assert census_distance(first, first)[inner].max() == 0
    assert census_distance(first, 255 - first)[inner].min() > 30  # every neighbour on the other side


def test_even_pictures_have_no_gradient_and_no_nan() -> None:
    first = torch.full((1, 1, 9, 9), 100.0)
    second = first.clone().requires_grad_()
    distance = census_distance(first, second)
    distance.sum().backward()
    assert not distance.any()
    assert not second.grad.any()


def test_the_result_is_the_same_from_both_sides() -> None:
    first, second = pictures(1, 1, 12, 13)
    assert torch.equal(census_distance(first, second), census_distance(second, first))


def test_half_precision_is_widened() -> None:
    first, second = (t.bfloat16() for t in pictures(1, 1, 8, 9))
    distance = census_distance(first, second)
    assert distance.dtype == torch.float32
    assert torch.equal(distance, census_distance(first.float(), second.float()))


def test_views_and_strided_gradients() -> None:
    first, second = pictures(2, 3, 12, 13)
    one, two = first[:, 1:2, 1:, :-2], second.transpose(2, 3)[:, :1, :-2, 1:].transpose(2, 3)[..., :11, :11]
    two = two[..., : one.shape[-2], : one.shape[-1]]
    one = one[..., : two.shape[-2], : two.shape[-1]]
    assert torch.equal(census_distance(one, two), census_distance(one.contiguous(), two.contiguous()))
    leaves = [two.detach().clone().requires_grad_() for _ in range(2)]
    census_distance(one, leaves[0]).sum().backward()  # the gradient of a sum is an expanded scalar
    census_distance_reference(one, leaves[1]).sum().backward()
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad, atol=1e-4, rtol=1e-4)


def test_not_a_number_stays_within_reach() -> None:
    first, second = pictures(1, 1, 15, 40)
    second[0, 0, 7, 20] = float("nan")
    bad = census_distance(first, second).isnan()[0, 0]
    assert bad.nonzero().min(0).values.tolist() == [4, 17]
    assert bad.nonzero().max(0).values.tolist() == [10, 23]


def test_result_does_not_depend_on_threads_or_batch() -> None:
    first, second = pictures(3, 1, 90, 120)
    grad = torch.rand(3, 1, 90, 120)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            gradients = _census_cpu.backward(grad, first, second, 3)
            results.append((census_distance(first, second), *gradients))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
    assert torch.equal(census_distance(first[1:2], second[1:2]), results[0][0][1:2])


def test_callers_from_several_threads_do_not_meet() -> None:
    first, second = pictures(2, 1, 50, 64)
    expected = census_distance(first, second)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: census_distance(first, second), range(8)):
            assert torch.equal(result, expected)


def test_operator_is_well_formed() -> None:
    first, second = (t.requires_grad_() for t in pictures(2, 1, 6, 7))
    torch.library.opcheck(torch.ops.kinema.census.default, (first, second, 2))
    grad = torch.randn(2, 1, 6, 7)
    pair = (first.detach(), second.detach())
    torch.library.opcheck(torch.ops.kinema.census_backward.default, (grad, *pair, 2))


def test_grey_levels() -> None:
    colours = torch.eye(3).view(1, 3, 1, 3)
    assert grey_levels(colours).flatten().tolist() == pytest.approx([76.2195, 149.685, 29.07], rel=1e-6)
    assert grey_levels(colours.half()).dtype == torch.float32


@pytest.mark.slow
def test_operator_compiles_into_a_graph_forward_and_backward() -> None:
    run_compiled("""
        from kinema.ops.census import census_distance
        a, b = 255 * torch.rand(1, 1, 9, 11), 255 * torch.rand(1, 1, 9, 11)
        check(lambda a, b: 2 * census_distance(a, b), a, b)
        results = []
        for run in (census_distance, torch.compile(census_distance, backend="aot_eager", fullgraph=True)):
            one, two = a.clone().requires_grad_(), b.clone().requires_grad_()
            run(one, two).square().sum().backward()
            results.append((one.grad, two.grad))
        torch.testing.assert_close(results[1], results[0])
    """)


@pytest.mark.parametrize(
    ("second", "radius", "words"),
    [
        (torch.zeros(1, 1, 4, 4), 0, "radius"),
        (torch.zeros(1, 1, 4, 4, dtype=torch.float64), 3, "one size and type"),
        (torch.zeros(2, 1, 4, 4), 3, "one size and type"),
    ],
)
def test_what_does_not_fit_is_refused(second: torch.Tensor, radius: int, words: str) -> None:
    plain = getattr(census_distance, "__wrapped__", census_distance)
    with pytest.raises(UsageError, match=words):
        plain(torch.zeros(1, 1, 4, 4), second, radius=radius)
