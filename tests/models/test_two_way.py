"""Flow in both directions at once, for every network that offers it: equal to two calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from kinema.errors import InputError
from kinema.models.pwcnet import PWCNet
from kinema.models.uflow import UFlow
from kinema.ops.resize import resize_flow
from kinema.outputs import TwoWayFlow

SMALL: dict[str, Any] = {"channel_multiplier": 0.5}
NETWORKS: dict[str, tuple[type[PWCNet] | type[UFlow], str, Mapping[str, Any]]] = {
    "uflow": (UFlow, "uflow", {}),
    "uflow port": (UFlow, "port", SMALL),
    "uflow sample": (UFlow, "uflow", {**SMALL, "normalize_before_cost_volume": "sample"}),
    "uflow none": (UFlow, "uflow", {**SMALL, "normalize_before_cost_volume": "none"}),
    "uflow shared": (UFlow, "uflow", {**SMALL, "shared_flow_decoder": True, "original_layer_sizes": True}),
    "uflow plain": (UFlow, "uflow", {**SMALL, "use_cost_volume": False, "use_feature_warp": False}),
    "pwcnet dc": (PWCNet, "dc", {"connections": "plain"}),
    "pwcnet cosine": (PWCNet, "dc", {"matching": "cosine", "finest_level": 3}),
    "pwcnet tfoptflow": (PWCNet, "tfoptflow", {"connections": "plain"}),
}


def build(name: str, **more: object) -> PWCNet | UFlow:
    torch.manual_seed(0)
    kind, preset, options = NETWORKS[name]
    network = kind(preset, **{**options, **more})
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.normal_(std=0.05)
    return network


def pair(h: int, w: int, *, batch: int = 1) -> tuple[Tensor, Tensor]:
    noise = torch.rand((batch, 3, h + 8, w + 8), generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
    return soft[..., 4:-4, 4:-4].contiguous(), soft[..., 6:-2, 1:-7].contiguous()


def own_grid(network: PWCNet | UFlow, finest: Tensor) -> Tensor:
    return (
        finest * network.level_pixels(network.settings.finest_level)
        if isinstance(network, PWCNet)
        else finest
    )


def check_equal(network: PWCNet | UFlow, both: TwoWayFlow, frames: tuple[Tensor, Tensor]) -> None:
    first, second = frames
    for coarse, full, output in (
        (both.coarse, both.flow, network(first, second)),
        (both.coarse_backward, both.backward, network(second, first)),
    ):
        scale = float(output.flow.abs().mean())
        assert scale > 0.01
        torch.testing.assert_close(
            coarse, own_grid(network, output.pyramid[-1]), atol=2e-4 * scale, rtol=1e-3
        )
        if isinstance(network, PWCNet):
            torch.testing.assert_close(full, output.flow, atol=2e-4 * scale, rtol=1e-3)


@pytest.mark.parametrize("size_hw", [(64, 128), (71, 90)])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_it_equals_two_calls(name: str, size_hw: tuple[int, int]) -> None:
    network, frames = build(name).eval(), pair(*size_hw, batch=2)
    with torch.inference_mode():
        both = network.forward_two_way(*frames)
        check_equal(network, both, frames)
    assert both.flow.shape == both.backward.shape == (2, 2, *size_hw)
    assert both.coarse.shape == both.coarse_backward.shape
    assert {t.dtype for t in vars(both).values()} == {torch.float32}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_in_training_the_directions_do_not_mix(name: str) -> None:
    """Statistics of a training batch are those of one direction, as in a call of its own."""
    more = {"dropout_rate": 0.0} if name.startswith("uflow") else {}
    network, frames = build(name, **more).train(), pair(64, 64, batch=2)
    with torch.no_grad():
        check_equal(network, network.forward_two_way(*frames), frames)


@pytest.mark.parametrize("name", ["uflow", "uflow shared", "pwcnet dc"])
def test_gradients_equal_those_of_two_calls(name: str) -> None:
    more = {"dropout_rate": 0.0} if name.startswith("uflow") else {}
    network, (first, second) = build(name, **more).double(), pair(64, 64)
    first, second = first.double(), second.double()

    def gradients(forward: Tensor, backward: Tensor) -> list[Tensor]:
        loss = forward.square().mean() + (backward - 1).square().mean()
        trained = [p for p in network.parameters() if p.requires_grad]
        return list(torch.autograd.grad(loss, trained))

    both = network.forward_two_way(first, second)
    ours = gradients(both.coarse, both.coarse_backward)
    finest = [own_grid(network, network(*order).pyramid[-1]) for order in ((first, second), (second, first))]
    for one, two in zip(ours, gradients(*finest), strict=True):
        torch.testing.assert_close(one, two, atol=1e-8 * float(two.abs().max()) + 1e-12, rtol=1e-6)


@pytest.mark.parametrize("name", ["uflow", "pwcnet dc"])
def test_bfloat16_stays_close(name: str) -> None:
    network, frames = build(name).eval(), pair(96, 128)
    with torch.inference_mode():
        exact = network.forward_two_way(*frames)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network.forward_two_way(*frames)
    for ours, truth in zip(vars(rough).values(), vars(exact).values(), strict=True):
        assert ours.dtype == torch.float32
        assert (ours - truth).abs().mean() < 0.05 * truth.abs().mean()


def test_uflow_doubles_the_refined_flow_twice() -> None:
    network, frames = build("uflow").eval(), pair(71, 90)
    with torch.inference_mode():
        both = network.forward_two_way(*frames)
    assert both.coarse.shape == (1, 2, 24, 24)  # of 96x96
    full = resize_flow(resize_flow(resize_flow(both.coarse, (48, 48)), (96, 96)), (71, 90))
    torch.testing.assert_close(both.flow, full)


def test_frames_of_two_sizes_are_refused() -> None:
    for name in ("uflow", "pwcnet dc"):
        network = build(name)
        with pytest.raises(InputError, match="two of a size"):
            network.forward_two_way(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 48))
