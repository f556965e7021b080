"""Groups of parameters: their rates, their decay, and those that rest at first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kinema.engine.config import LoopConfig
from kinema.engine.optimizers import build_optimizer, rest, set_rates
from kinema.errors import UsageError


class Aligning(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.offset = nn.Conv2d(4, 18, 3)
        self.fusion = nn.Conv2d(18, 2, 1)


def built(**settings):
    torch.manual_seed(0)
    network = Aligning()
    config = LoopConfig(**{"schedule": "constant", "learning_rate": 0.5, **settings})
    return network, config, build_optimizer(config, network)


def rates_by_name(network, optimizer):
    names = {weight: name for name, weight in network.named_parameters()}
    return {names[weight]: group["lr"] for group in optimizer.param_groups for weight in group["params"]}


def test_one_group_in_the_order_of_the_network_unless_something_else_is_said():
    network, _, optimizer = built()
    (group,) = optimizer.param_groups
    assert all(a is b for a, b in zip(group["params"], network.parameters(), strict=True))
    assert group["weight_decay"] == 1e-4


def test_offsets_learn_slower():
    network, config, optimizer = built(rate_factors="offset.bias:0.5,*offset*:0.1")
    assert set_rates(optimizer, config, step=3) == 0.5
    rates = rates_by_name(network, optimizer)
    assert len(rates) == len(list(network.parameters()))
    assert rates["offset.weight"] == pytest.approx(0.05)
    assert rates["offset.bias"] == pytest.approx(0.25)  # the first match counts
    assert rates["first.weight"] == rates["fusion.bias"] == 0.5


def test_biases_and_norms_without_decay():
    network, _, optimizer = built(decay_biases=False, weight_decay=0.25)
    names = {weight: name for name, weight in network.named_parameters()}
    decay = {names[w]: group["weight_decay"] for group in optimizer.param_groups for w in group["params"]}
    assert {name for name, value in decay.items() if value} == {
        "first.weight", "offset.weight", "fusion.weight",
    }  # fmt: skip
    assert set(decay.values()) == {0.0, 0.25}


def test_what_does_not_learn_is_in_no_group():
    network = Aligning()
    network.first.requires_grad_(requires_grad=False)
    optimizer = build_optimizer(LoopConfig(), network)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_only_the_fusion_learns_at_first(kind):
    network, config, optimizer = built(
        optimizer=kind, first_only="*fusion*", first_only_steps=3, weight_decay=0.1, momentum=0.9
    )
    start = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for step in range(4):
        set_rates(optimizer, config, step=step)
        for weight in network.parameters():
            weight.grad = torch.ones_like(weight)
        rest(optimizer, step=step)
        optimizer.step()
        for name, weight in network.named_parameters():
            rests = "fusion" not in name and step < 3
            assert torch.equal(weight, start[name]) == rests, (step, name)
            assert bool(optimizer.state.get(weight)) != rests  # nor has it remembered anything


def test_adams_numbers_are_passed_on():
    for kind in ("adam", "adamw"):
        _, _, optimizer = built(optimizer=kind, beta1=0.8, beta2=0.99, epsilon=1e-4)
        assert type(optimizer).__name__.lower() == kind
        assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == ((0.8, 0.99), 1e-4)
    _, _, optimizer = built(optimizer="sgd", momentum=0.7)
    assert optimizer.defaults["momentum"] == 0.7


@pytest.mark.parametrize(
    "settings", [{"rate_factors": "*dcn*:0.1"}, {"first_only": "tsa", "first_only_steps": 1}]
)
def test_a_pattern_that_names_nothing(settings):
    with pytest.raises(UsageError, match=r"no parameter is named (\*dcn\*|tsa); there are first.weight"):
        built(**settings)
