"""Feature maps of one scale: UFlow's numbers, batches, constant maps, types, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops.correlation import correlation, joint_normalization


def maps(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    first = 3 * torch.randn(shape, generator=g, dtype=torch.float64) + 1
    return first.to(dtype), (0.5 * torch.randn(shape, generator=g, dtype=torch.float64) - 2).to(dtype)


def test_the_reference_numbers() -> None:
    y, x, k = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), torch.arange(4.0), indexing="ij")
    first = torch.sin(0.3 * y + 0.2 * x * (k + 1)).movedim(2, 0)[None]
    second = 1.5 * first.roll((1, 2), (2, 3)) + 0.2
    costs = correlation(*joint_normalization(first, second, parts=1))
    channels = costs.mean((0, 2, 3))
    assert channels.argmax() == 51  # one down, two to the right
    assert channels[40].item() == pytest.approx(0.1375, abs=1e-4)
    assert channels.mean().item() == pytest.approx(0.11198, abs=1e-5)
    assert channels.max().item() == pytest.approx(0.78235, abs=1e-5)


def test_by_hand() -> None:
    """Means 1 and 4 and variances 1 and 4: both maps less 2.5, over the root of 2.5."""
    first = torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)
    second = torch.tensor([2.0, 6.0]).view(1, 1, 1, 2)
    one, two = joint_normalization(first, second, parts=1)
    assert one.flatten().tolist() == pytest.approx([-2.5 / 2.5**0.5, -0.5 / 2.5**0.5])
    assert two.flatten().tolist() == pytest.approx([-0.5 / 2.5**0.5, 3.5 / 2.5**0.5])


def test_parts_of_a_batch_are_calls_of_their_own() -> None:
    first, second = maps(6, 5, 3, 7)
    first[3:] *= 4
    together = joint_normalization(first, second, parts=2)
    alone = [joint_normalization(first[i : i + 3], second[i : i + 3], parts=1) for i in (0, 3)]
    for k in range(2):
        torch.testing.assert_close(together[k], torch.cat([part[k] for part in alone]))
    assert not torch.allclose(together[0], joint_normalization(first, second, parts=6)[0])


def test_a_sample_alone_does_not_depend_on_the_others() -> None:
    first, second = maps(3, 4, 5, 6)
    one, _ = joint_normalization(first, second, parts=3)
    other, _ = joint_normalization(first[1:2], second[1:2], parts=1)
    torch.testing.assert_close(one[1:2], other)


def test_maps_without_contrast_give_nothing() -> None:
    for value in (0.0, 3.7):
        flat = torch.full((1, 4, 5, 6), value, requires_grad=True)
        one, two = joint_normalization(flat, flat, parts=1)
        assert not one.any()
        correlation(one, two).sum().backward()
        assert flat.grad is not None
        assert flat.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_rounds_the_result_only(dtype: torch.dtype) -> None:
    first, second = (t.to(memory_format=torch.channels_last) for t in maps(2, 32, 40, 50, dtype=dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = joint_normalization(first, second, parts=1)
    exact = joint_normalization(first.double(), second.double(), parts=1)
    for ours, truth in zip(rough, exact, strict=True):
        assert ours.dtype == dtype
        assert ours.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(ours.double(), truth, atol=1e-4, rtol=0.5 * 2**-7)


@pytest.mark.parametrize("parts", [1, 2])
def test_gradients(parts: int) -> None:
    first, second = (t.requires_grad_() for t in maps(2, 2, 3, 3, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda a, b: joint_normalization(a, b, parts=parts), (first, second))


@pytest.mark.parametrize("parts", [0, 2])
def test_parts_that_do_not_fit_are_refused(parts: int) -> None:
    first, second = maps(3, 2, 4, 4)
    with pytest.raises(UsageError, match="equal parts"):
        joint_normalization(first, second, parts=parts)
