"""Flow objectives on snippets: what masks are for, sums over devices, gradients, learning."""

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from helpers.rendered_snippets import rendered_snippet
from kinema.losses.snippet import total_loss
from kinema.losses.snippet_flow import modern_flow_loss, published_flow_loss

LOSSES = [published_flow_loss, modern_flow_loss]
SIZE = (16, 24)


def mean_of(part):
    return (part.total / part.count).item()


def random_case(count=3, batch=2, dtype=torch.float32, size_hw=SIZE, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=dtype)

    sizes = (size_hw, (size_hw[0] // 2, size_hw[1] // 2))
    frames = draw(batch, count, 3, *size_hw)
    flows = [[0.4 * draw(batch, count - 1, 2, *size) for size in sizes] for _ in range(2)]
    return frames, flows[0], [-flow for flow in flows[1]]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_batch_is_the_sum_of_its_samples(loss, count):
    frames, forward, backward = random_case(count)
    whole = loss(frames, forward, backward)
    halves = []
    for one in (slice(0, 1), slice(1, 2)):
        halves.append(loss(frames[one], [f[one] for f in forward], [b[one] for b in backward]))
    for name, part in whole.items():
        torch.testing.assert_close(part.total, sum(half[name].total for half in halves), rtol=1e-5, atol=1e-5)
        assert part.count == sum(half[name].count for half in halves)


@pytest.mark.parametrize("loss", LOSSES)
def test_flows_that_disagree_everywhere_give_no_nan(loss):
    frames, forward, backward = random_case()
    wild = [flow + 1000 for flow in forward]
    for flows in ((wild, backward), (wild, wild)):
        given = [[flow.clone().requires_grad_() for flow in way] for way in flows]
        total = total_loss(loss(frames, *given))
        total.backward()
        assert total.isfinite()
        assert all(flow.grad.isfinite().all() for way in given for flow in way)


def test_the_true_shift_costs_nothing_in_the_modern_one_and_borders_in_the_published_one():
    base = torch.rand(3, 12, 30)
    frames = torch.stack([base[..., 2 * n : 2 * n + 24] for n in range(3)])[None]
    forward = torch.zeros(1, 2, 2, 12, 24)
    forward[:, 0, 0], forward[:, 1, 0] = 2.0, -2.0  # the window moves right: the picture to the left
    modern = modern_flow_loss(frames, [forward], [-forward])
    assert sum(mean_of(part) for part in modern.values()) < 0.02, "windows reach over the edge"
    assert modern["photometric_forward_0"].count.item() == 2 * 12 * 22
    published = published_flow_loss(frames, [forward], [-forward], smooth_weight=0.0)
    assert mean_of(published["warp_forward_0"]) > 0.04, "what leaves the image is grey there"


def test_consistency_terms_can_be_left_out():
    frames, forward, backward = random_case()
    for loss in LOSSES:
        parts = loss(frames, forward, backward, consistency_weight=0.0)
        assert not [name for name in parts if name.startswith("consistency")]


def test_gradients():
    frames, forward, backward = random_case(2, batch=1, dtype=torch.float64, size_hw=(4, 5))
    given = [flow.requires_grad_() for flow in (forward[0], backward[0])]
    for loss in LOSSES:
        function = lambda one, two, loss=loss: total_loss(loss(frames, [one], [two]))  # noqa: E731
        assert gradcheck(function, given, eps=1e-7, atol=1e-4, fast_mode=True)


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "share"), [(published_flow_loss, 0.4), (modern_flow_loss, 0.25)])
def test_minimising_it_finds_the_flow_also_of_moving_things(loss, share):
    """Flow as a free grid, from zero, where a fifth of the picture moves by itself."""
    scene = rendered_snippet("room")
    assert scene.clip.moving.float().mean() > 0.1
    grids = [torch.zeros(2, 2, 18, 40, requires_grad=True) for _ in range(2)]
    optimiser = torch.optim.Adam(grids, lr=0.1)

    def levels(grid):
        return [F.interpolate(grid, (72 // s, 160 // s), mode="bilinear")[None] / s for s in (1, 2)]

    def error():
        wrong = (levels(grids[0])[0].detach() - scene.forward).norm(dim=2, keepdim=True)
        return wrong[scene.forward_known].mean().item()

    before = error()
    for _ in range(80):
        optimiser.zero_grad()
        total_loss(loss(scene.frames, levels(grids[0]), levels(grids[1]))).backward()
        optimiser.step()
    assert error() < share * before
