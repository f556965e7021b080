"""What TVNet can learn: it begins as the classic solver, stays within bounds, and fits frames of any size."""

from __future__ import annotations

import pytest
import torch

from kinema.errors import UsageError
from kinema.models.tvnet import TVNet
from kinema.models.tvnet_parameters import LearnedConstants, bounded, within_norm
from kinema.models.tvnet_settings import LEARNED_LEVELS, Learned
from kinema.ops.variational import Unrolling

SMALL = {"warps": 2, "iterations": 6}
PARTS = [
    {"constants": "shared"},
    {"constants": "per_warp"},
    {"kernels": "shared"},
    {"kernels": "per_iteration", "scales": 2},
    {"kernels": "shared", "biases": "learned"},
    {"kernels": "per_iteration", "scales": 2, "biases": "learned"},
    {"start": "constant"},
    {"start": "map", "map_height": 5, "map_width": 7},
]


def pair(h: int = 40, w: int = 52, *, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth waves that move by about a pixel."""
    y, x = torch.meshgrid(torch.arange(float(h)), torch.arange(float(w)), indexing="ij")
    waves = [
        0.5 + 0.2 * torch.sin(0.5 * (x - t) + 0.1 * y) + 0.2 * torch.cos(0.4 * (y + 0.5 * t) - 0.13 * x)
        for t in (0.0, 1.0)
    ]
    first, second = (wave.expand(batch, 3, h, w).contiguous() for wave in waves)
    return first, second


def moved(model: TVNet, *, by: float = 0.02) -> TVNet:
    """The same network with all that it can learn changed a little."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * torch.randn(weight.shape, generator=generator))
    return model


# --- bounds ------------------------------------------------------------------------------------------------


def test_at_the_bound_only_gradients_that_lead_away_from_it_pass() -> None:
    for value, upwards, expected in (
        (0.5, 1, -1.0),
        (1.0, 1, 0.0),
        (1.0, -1, 1.0),
        (1.5, 1, 0.0),
        (1.5, -1, 1.0),
    ):
        x = torch.tensor(value, requires_grad=True)
        (-upwards * bounded(x, 1.0)).backward()  # descent moves x upwards, or downwards
        assert float(x.grad) == expected
        assert float(bounded(x, 1.0).detach()) == min(value, 1.0)


def test_kernels_are_as_long_as_their_norm_allows() -> None:
    taps = torch.tensor([[-1.0, 1.0], [-2.0, 2.0], [3.0, 1.0], [0.2, -0.5], [0.0, 0.0]])
    expected = torch.tensor([[-1.0, 1.0], [-1.0, 1.0], [1.5, 0.5], [0.2, -0.5], [0.0, 0.0]])
    torch.testing.assert_close(within_norm(taps), expected)
    angles = torch.exp(1j * torch.linspace(0, 2 * torch.pi, 720))
    response = (within_norm(taps)[:, :1] + within_norm(taps)[:, 1:] * angles).abs().amax(1)
    assert (response <= 2 + 1e-6).all()


def test_a_kernel_at_its_bound_can_become_shorter_and_turn() -> None:
    taps = torch.nn.Parameter(torch.tensor([[-1.0, 1.0]]))
    optimizer = torch.optim.SGD([taps], lr=0.1)
    for target in (torch.tensor([[-0.4, 0.4]]), torch.tensor([[-1.2, 0.6]])):
        for _ in range(200):
            optimizer.zero_grad()
            (within_norm(taps) - target).square().sum().backward()
            optimizer.step()
        torch.testing.assert_close(within_norm(taps), target, atol=1e-3, rtol=0)


def test_constants_begin_as_given_and_never_leave_their_range() -> None:
    constants = LearnedConstants((0.25, 0.15, 0.3))
    torch.testing.assert_close(constants(), torch.tensor([[0.25, 0.15, 0.3]]))
    for change in (-50.0, 50.0):
        with torch.no_grad():
            constants.raw.fill_(change)
        tau, lbda, theta = constants()[0].tolist()
        assert 0 < tau <= 0.25
        assert lbda > 0
        assert theta > 0


def test_levels_beyond_the_last_learned_one_share_it() -> None:
    constants = LearnedConstants((0.2, 0.1, 0.3), levels=LEARNED_LEVELS, warps=3)
    assert constants().shape == (LEARNED_LEVELS * 3, 3)
    assert [constants.row(level, 2) for level in (0, 1, LEARNED_LEVELS - 1, LEARNED_LEVELS + 3)] == [
        2, 5, 3 * LEARNED_LEVELS - 1, 3 * LEARNED_LEVELS - 1
    ]  # fmt: skip


# --- what training begins with -----------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["corrected", "reference"])
@pytest.mark.parametrize("learned", PARTS, ids=str)
def test_before_training_it_is_the_classic_solver(preset: str, learned: dict[str, object]) -> None:
    first, second = pair()
    fixed = TVNet(preset, **SMALL, scales=learned.get("scales"))
    network = TVNet(preset, **SMALL, **learned)
    assert list(network.parameters())
    assert not list(fixed.parameters())
    with torch.no_grad():
        difference = (network(first, second).flow - fixed(first, second).flow).abs()
    assert difference.mean() < 2e-5
    assert difference.max() < 5e-3  # rounding, where the reference extrapolates beyond the frame


@pytest.mark.parametrize("learned", PARTS, ids=str)
def test_everything_that_can_be_learned_gets_a_gradient(learned: dict[str, object]) -> None:
    network = moved(TVNet(**SMALL, **learned), by=0.01)
    network(*pair()).flow.square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("learned", PARTS, ids=str)
def test_gradients_are_those_of_finite_differences(learned: dict[str, object]) -> None:
    """Float64, along a random direction; away from bounds, whose gradient is one-sided."""
    network = TVNet(**SMALL, tau=0.2, median=1, **learned).double()
    with torch.no_grad():
        if network.kernels is not None:
            network.kernels.taps.mul_(0.9)
    moved(network, by=0.01)
    first, second = (image.double() for image in pair(24, 30))
    weights = list(network.parameters())

    def objective() -> torch.Tensor:
        flow = network(first, second).flow
        return (flow * torch.linspace(-1, 1, flow.numel(), dtype=flow.dtype).view_as(flow)).sum()

    generator = torch.Generator().manual_seed(5)
    directions = [torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in weights]
    slope = sum((g * d).sum() for g, d in zip(
        torch.autograd.grad(objective(), weights), directions, strict=True))  # fmt: skip
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for weight, direction in zip(weights, directions, strict=True):
                weight.add_(sign * 1e-6 * direction)
            ends.append(objective())
            for weight, direction in zip(weights, directions, strict=True):
                weight.sub_(sign * 1e-6 * direction)
    assert float(slope) == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("learned", PARTS, ids=str)
def test_the_flow_is_the_same_with_and_without_gradients(learned: dict[str, object]) -> None:
    network, frames = moved(TVNet(**SMALL, **learned)), pair(batch=2)
    recorded = network(*frames).flow
    with torch.inference_mode():
        torch.testing.assert_close(network(*frames).flow, recorded.detach(), atol=2e-4, rtol=1e-4)
        network.differentiates_positions = False
        torch.testing.assert_close(network(*frames).flow, recorded.detach(), atol=2e-4, rtol=1e-4)


def test_constant_positions_drop_a_part_of_the_gradient_and_no_more() -> None:
    network, frames = TVNet(**SMALL, scales=1, constants="shared", lbda=0.05), pair()
    one_warp = TVNet(warps=1, iterations=6, scales=1, constants="shared", lbda=0.05)
    gradients = {}
    for name, model in (("two", network), ("one", one_warp)):
        for through in (True, False):
            model.differentiates_positions = through
            (gradients[name, through],) = torch.autograd.grad(
                model(*frames).flow.square().sum(), list(model.parameters())
            )
    assert torch.equal(gradients["one", True], gradients["one", False])  # it starts from no flow at all
    assert not torch.equal(gradients["two", True], gradients["two", False])


@pytest.mark.parametrize("steps", [3, None])
@pytest.mark.parametrize("mode", ["truncated", "implicit"])
def test_shorter_gradients_change_no_flow(mode: str, steps: int | None) -> None:
    network, frames = TVNet(**SMALL, constants="shared"), pair()
    whole = network(*frames).flow
    network.unrolling = Unrolling(mode=mode, steps=steps)
    flow = network(*frames).flow
    torch.testing.assert_close(flow, whole, atol=1e-5, rtol=1e-5)
    flow.square().sum().backward()
    assert network.constants.raw.grad.isfinite().all()
    assert network.constants.raw.grad.abs().sum() > 0


def test_an_implicit_gradient_takes_as_many_steps_as_a_warp_has() -> None:
    network, frames = TVNet(scales=1, warps=1, iterations=6, constants="shared"), pair()
    gradients = {}
    for steps in (None, 6, 1):
        network.unrolling = Unrolling(mode="implicit", steps=steps)
        objective = network(*frames).flow.square().sum()
        (gradients[steps],) = torch.autograd.grad(objective, [network.constants.raw])
    assert torch.equal(gradients[None], gradients[6])
    assert not torch.equal(gradients[None], gradients[1])


def test_a_truncated_gradient_is_that_of_the_last_iterations() -> None:
    """One warp: the last three of six iterations, the last of which is run apart for the residual."""
    network, frames = TVNet(scales=1, warps=1, iterations=6, kernels="per_iteration"), pair()
    moved(network, by=0.01)
    network.unrolling = Unrolling(mode="truncated", steps=3)
    network(*frames).flow.square().sum().backward()
    touched = network.kernels.taps.grad.flatten(1).abs().sum(1) > 0
    assert touched.tolist() == [False, False, False, True, True, True]


# --- files and sizes ---------------------------------------------------------------------------------------


def test_a_map_is_in_pixels_of_its_own_and_fits_any_frame() -> None:
    network = TVNet(scales=1, warps=1, iterations=1, lbda=1e-9, start="map", map_height=20, map_width=26)
    with torch.no_grad():
        network.start.flow[:, 0], network.start.flow[:, 1] = 1.0, -0.5
        for size_hw, expected in (
            ((20, 26), (1.0, -0.5)),
            ((40, 52), (2.0, -1.0)),
            ((41, 60), (60 / 26, -41 / 40)),
        ):
            flow = network(*pair(*size_hw)).flow
            assert flow.mean((0, 2, 3)).tolist() == pytest.approx(expected, abs=1e-3)
        given = torch.zeros(1, 2, 40, 52)
        assert network(*pair(), initial_flow=given).flow.abs().max() < 1e-3  # what is given counts


def test_weights_fit_frames_of_other_sizes() -> None:
    small = moved(TVNet(**SMALL, constants="per_warp", start="map", map_height=4, map_width=6))
    large = TVNet(**SMALL, constants="per_warp", start="map", map_height=4, map_width=6)
    large.load_state_dict(small.state_dict())
    with torch.no_grad():
        for size_hw in ((33, 47), (100, 90)):
            assert torch.equal(large(*pair(*size_hw)).flow, small(*pair(*size_hw)).flow)


def test_a_network_can_begin_from_one_that_learned_less() -> None:
    less = moved(TVNet(**SMALL, constants="shared", kernels="shared", start="constant"))
    more = TVNet(
        **SMALL, scales=2, constants="per_warp", kernels="per_iteration", biases="learned", start="map",
        map_height=20, map_width=26,
    )  # fmt: skip
    more.load_state_dict(more.complete_state(less.state_dict()))
    less = TVNet(**SMALL, scales=2, constants="shared", kernels="shared", start="constant").eval()
    less.load_state_dict(
        moved(TVNet(**SMALL, constants="shared", kernels="shared", start="constant")).state_dict()
    )
    with torch.no_grad():
        torch.testing.assert_close(more(*pair()).flow, less(*pair()).flow, atol=1e-4, rtol=1e-4)
    resized = TVNet(start="map", map_height=40, map_width=52).complete_state(more.state_dict())
    torch.testing.assert_close(resized["start.flow"], 2 * more.start.flow[..., :1, :1].expand(-1, -1, 40, 52))


def test_the_published_trainables_and_those_of_the_port() -> None:
    settings = {"scales": 1, "warps": 1, "iterations": 50, "kernels": "per_iteration", "start": "map"}
    published = TVNet("reference", **settings, map_height=436, map_width=1024)
    sizes = {name: weight.numel() for name, weight in published.named_parameters()}
    assert sizes == {"kernels.taps": 800, "start.flow": 892_928}
    port = TVNet("reference", **settings, map_height=436, map_width=1024, biases="learned")
    assert port.kernels.taps.numel() + port.kernels.biases.numel() == 1200
    assert not port.kernels.limited
    assert TVNet(kernels="shared").kernels.limited


def test_early_stopping_takes_the_kernels_of_each_iteration() -> None:
    network = moved(TVNet(scales=2, warps=2, iterations=25, kernels="per_iteration", biases="learned"))
    eager = TVNet(
        scales=2, warps=2, iterations=25, kernels="per_iteration", biases="learned", stop_below=1e-9
    )
    eager.load_state_dict(network.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(eager(*pair()).flow, network(*pair()).flow, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"biases": "learned"}, "needs learned kernels"),
        ({"start": "map"}, "pass map_height=H and map_width=W"),
        ({"start": "map", "map_height": 0, "map_width": 4}, "pass map_height=H"),
        ({"kernels": "per_iteration"}, "pass scales=N"),
    ],
)
def test_what_cannot_be_learned_so(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        TVNet(**settings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"constants": "all"}, "constants 'all' of tvnet is unknown: use fixed or shared or per_warp"),
        ({"kernels": "many"}, "use fixed or shared or per_iteration"),
        ({"kernel_norm": "tight", "kernels": "shared"}, "use bounded or free"),
        ({"start": "middle"}, "use none or constant or map"),
    ],
)
def test_words_that_mean_nothing(settings: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Learned(**settings)  # type: ignore[arg-type]
