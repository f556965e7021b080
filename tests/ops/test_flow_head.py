"""The convolution that gives flow: not rounded to the features' type, the same on every path."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from kinema.ops.flow_head import flow_head


def problem(b: int, c: int, h: int, w: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(c)
    x = torch.randn((b, c, h, w), generator=g).bfloat16().to(memory_format=torch.channels_last)
    return x, torch.randn((2, c, 3, 3), generator=g), torch.randn(2, generator=g)


@given(b=st.integers(1, 3), c=st.integers(1, 70), h=st.integers(1, 9), w=st.integers(1, 9))
def test_the_result_is_not_rounded(b: int, c: int, h: int, w: int) -> None:
    x, weight, bias = problem(b, c, h, w)
    flow = flow_head(x, weight, bias)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    assert flow.dtype == torch.float32
    torch.testing.assert_close(flow.double(), exact, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(flow_head(x.contiguous(), weight, bias), flow)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_other_types(dtype: torch.dtype) -> None:
    x, weight, bias = problem(2, 20, 5, 6)
    expected = F.conv2d(x.float(), weight, bias, padding=1)
    torch.testing.assert_close(flow_head(x.to(dtype), weight, bias), expected, atol=1e-4, rtol=1e-5)


def test_gradients() -> None:
    x, weight, bias = problem(2, 40, 8, 9)
    grads = []
    for path in (flow_head, lambda x, w, b: F.conv2d(x.float(), w, b, padding=1)):
        inputs = [t.clone().requires_grad_() for t in (x, weight, bias)]
        path(*inputs).square().sum().backward()
        grads.append([t.grad for t in inputs])
    for ours, expected, like in zip(*grads, (x, weight, bias), strict=True):
        assert ours.dtype == like.dtype
        error = (ours.float() - expected.float()).norm() / expected.float().norm()
        assert error < 0.01  # gradients of bfloat16 features are bfloat16


def test_infinite_features_stay_within_reach() -> None:
    x, weight, bias = problem(1, 37, 7, 8)
    x[0, 5, 3, 3] = float("inf")
    bad = ~flow_head(x, weight, bias).isfinite().all(1)[0]
    assert bad.nonzero().min(0).values.tolist() == [2, 2]
    assert bad.nonzero().max(0).values.tolist() == [4, 4]


def test_threads_do_not_change_the_result() -> None:
    x, weight, bias = problem(2, 200, 40, 41)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(flow_head(x, weight, bias))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results[1:])


def test_operator_is_well_formed() -> None:
    x, weight, bias = (t.requires_grad_() for t in problem(1, 20, 5, 6))
    torch.library.opcheck(torch.ops.kinema.flow_head.default, (x, weight, bias), atol=0.05, rtol=0.05)
