"""UFlow's network against numbers computed by the original graph with closed-form weights and pictures."""

from __future__ import annotations

import pytest
import torch

from helpers.compiled import run_compiled
from helpers.uflow_weights import reference_frames, set_reference_weights
from kinema.models.uflow import UFlow
from kinema.outputs import PyramidFlowOutput, TwoWayFlow

TOLERANCE = 1e-4

# mean of y, mean of x, standard deviation over both, coarsest first
LEVELS = [
    (0.055508, -0.025427, 0.147039),
    (-0.144768, 0.113870, 0.364626),
    (-0.607128, 0.396745, 0.870256),
    (-1.43372, 0.786844, 1.90810),
]
# row, column: y, x
PLACES = {
    (0, 0): (1.33194, 2.12814),
    (10, 20): (-0.69216, 2.16157),
    (24, 32): (-2.03654, 3.36769),
    (47, 63): (0.18125, 1.04152),
}
SIZES = [(6, 8), (12, 16), (24, 32), (48, 64)]


@pytest.fixture(scope="module")
def network() -> UFlow:
    model = UFlow().eval()
    set_reference_weights(model)
    return model


@pytest.fixture(scope="module")
def output(network: UFlow) -> PyramidFlowOutput:
    with torch.inference_mode():
        return network(*reference_frames(192, 256))


@pytest.fixture(scope="module")
def two_way(network: UFlow) -> TwoWayFlow:
    with torch.inference_mode():
        return network.forward_two_way(*reference_frames(192, 256))


def mean_yx(flow: torch.Tensor) -> tuple[float, float]:
    return flow[:, 1].mean().item(), flow[:, 0].mean().item()


def test_parameters() -> None:
    with torch.device("meta"):
        network, original = UFlow(), UFlow(original_layer_sizes=True)
        shared = UFlow(shared_flow_decoder=True)
    counts = [
        (sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.pyramid.parameters()))
        for model in (network, original, shared)
    ]
    assert counts[0] == (5_718_218, 130_368)
    assert counts[1] == (747_936 + 6_361_994, 747_936)
    assert counts[2] == (1_874_372 + 130_368, 130_368)


def test_sizes_of_the_levels(output: PyramidFlowOutput) -> None:
    assert [tuple(flow.shape) for flow in output.pyramid] == [(1, 2, h, w) for h, w in SIZES]


@pytest.mark.parametrize("level", range(4))
def test_every_level(output: PyramidFlowOutput, level: int) -> None:
    flow = output.pyramid[level]
    numbers = (*mean_yx(flow), flow.std(correction=0).item())
    assert numbers == pytest.approx(LEVELS[level], abs=TOLERANCE)


@pytest.mark.parametrize("place", list(PLACES))
def test_the_refined_flow_at_single_places(output: PyramidFlowOutput, place: tuple[int, int]) -> None:
    x, y = output.pyramid[-1][0, :, place[0], place[1]].tolist()
    assert (y, x) == pytest.approx(PLACES[place], abs=TOLERANCE)


def test_the_flow_at_full_size(output: PyramidFlowOutput, two_way: TwoWayFlow) -> None:
    for flow in (output.flow, two_way.flow):
        assert mean_yx(flow) == pytest.approx((-5.73488, 3.14738), abs=TOLERANCE)
        x, y = flow[0, :, 100, 100].tolist()
        assert (y, x) == pytest.approx((-6.11986, 9.54874), abs=TOLERANCE)


def test_exchanged_frames(network: UFlow, two_way: TwoWayFlow) -> None:
    first, second = reference_frames(192, 256)
    with torch.inference_mode():
        exchanged = network(second, first).pyramid[-1]
    for flow in (exchanged, two_way.coarse_backward):
        assert mean_yx(flow) == pytest.approx((-1.36577, 0.87686), abs=TOLERANCE)


def test_all_levels_left_out_give_no_flow() -> None:
    network = UFlow(dropout_rate=1.0)
    set_reference_weights(network)
    output = network.train()(*reference_frames(64, 96))
    assert not output.flow.any()
    assert not any(flow.any() for flow in output.pyramid)
    assert network.eval()(*reference_frames(64, 96)).flow.abs().mean() > 0.1


@pytest.mark.slow
def test_an_exported_program_gives_what_the_network_gives() -> None:
    run_compiled(
        """
        from kinema.models.uflow import UFlow

        class Both(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.network = UFlow().eval()

            def forward(self, first, second):
                both = self.network.forward_two_way(first, second)
                return self.network(first, second).flow, both.flow, both.backward

        model = Both()
        frames = torch.rand(2, 1, 3, 70, 100)
        with torch.no_grad():
            program = torch.export.export(model, tuple(frames)).module()
            for exported, eager in zip(program(*frames), model(*frames)):
                assert eager.abs().mean() > 0.01
                torch.testing.assert_close(exported, eager, atol=1e-5, rtol=1e-5)
            check(model, *frames)
        """
    )
