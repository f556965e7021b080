"""Validation without labels in training: errors, hidden points, and words when learning collapses."""

import logging

import pytest
import torch
from torch import nn

from kinema.data.procedural.render_config import RenderConfig
from kinema.outputs import FlowOutput
from kinema.recipes.hidden_validation import HiddenValidation
from kinema.recipes.pwcnet_task import ReservedPairs

SCENES = RenderConfig(size_hw=(96, 128), bank_textures=4, bank_shapes=4)


def pairs(count=2, **changes):
    return ReservedPairs(SCENES, count, families=("train",), size_hw=(96, 128), **changes)


class Constant(nn.Module):
    """Gives the same flow for every pair."""

    def __init__(self, x):
        super().__init__()
        self.x = nn.Parameter(torch.tensor(float(x)))

    def forward(self, image1, _image2):
        flow = torch.zeros(len(image1), 2, *image1.shape[-2:])
        return FlowOutput(flow=flow + self.x)


class Knows(nn.Module):
    """Gives the true flow forward, and backward something that agrees where points are visible."""

    def __init__(self, validation):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))
        self.known = [validation.pairs.pair(number) for number in range(validation.pairs.pairs)]

    def forward(self, image1, _image2):
        for pair in self.known:
            if torch.equal(pair.image1, image1):
                return FlowOutput(flow=pair.flow)
        return FlowOutput(flow=torch.zeros(len(image1), 2, *image1.shape[-2:]))


def means(terms):
    return {name: float(term.total / term.count) for name, term in terms.items() if float(term.count)}


def test_zero_flow_has_the_error_of_zero_flow_and_hides_nothing(caplog):
    validation = HiddenValidation(pairs())
    with caplog.at_level(logging.WARNING, logger="kinema"):
        found = means(validation.measure(Constant(0), rank=0, world=1))
    assert found["epe"] == pytest.approx(found["zero_epe"])
    assert found["hidden_share"] == 0
    assert found["occlusion_f"] == 0
    assert "collapsed to zero flow" in caplog.text


def test_flow_that_misses_hides_everything_and_is_told(caplog):
    validation = HiddenValidation(pairs())
    with caplog.at_level(logging.WARNING, logger="kinema"):
        found = means(validation.measure(Constant(9), rank=0, world=1))
    assert found["hidden_share"] == 1
    share = found["true_hidden_share"]
    assert found["occlusion_f"] == pytest.approx(2 * share / (1 + share), rel=1e-3)
    assert "nothing is left to learn from" in caplog.text


def test_true_flow_has_no_error():
    validation = HiddenValidation(pairs())
    found = means(validation.measure(Knows(validation), rank=0, world=1))
    assert found["epe"] == pytest.approx(0, abs=1e-6)
    assert found["flow_length"] > 0


def test_shares_add_up_to_the_whole():
    validation = HiddenValidation(pairs(3))
    whole = validation.measure(Constant(2), rank=0, world=1)
    parts = [validation.measure(Constant(2), rank=rank, world=2) for rank in (0, 1)]
    for name in ("epe", "occlusion_f", "hidden_share"):
        total = sum(float(part[name].total) for part in parts)
        assert total == pytest.approx(float(whole[name].total), rel=1e-6)


def test_pairs_are_seen_smaller_with_their_truth():
    small = pairs(1, seen_hw=(48, 64)).pair(0)
    large = pairs(1).pair(0)
    assert small.image1.shape == (1, 3, 48, 64)
    ratio = float(small.flow.norm(dim=1).mean() / large.flow.norm(dim=1).mean())
    assert ratio == pytest.approx(0.5, abs=0.05)
