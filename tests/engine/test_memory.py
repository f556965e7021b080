"""Computing again instead of keeping changes no bit; compiling works, or is left out."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from helpers import runs
from helpers.tiny_flow import build_task, tiny_flow
from kinema.engine.memory import compile_network, recompute
from kinema.engine.state import RunFolder
from kinema.engine.trainer import train
from kinema.errors import UsageError


def network():
    torch.manual_seed(0)
    block = nn.Sequential(
        nn.Conv2d(4, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.Dropout(0.3), nn.Conv2d(8, 4, 3, 1, 1)
    )
    return nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), block, nn.Conv2d(4, 1, 3, 1, 1))


def kept_numbers(model, image):
    """How many numbers the forward pass keeps for the backward pass."""
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(image).square().sum()
    loss.backward()
    return sum(kept)


@pytest.mark.parametrize("patterns", ["1", "1.*", "0,1", "*"])
def test_the_same_bits_with_less_kept(patterns):
    image = torch.randn(2, 3, 16, 16)
    plain, again = network(), network()
    names = list(again.state_dict())
    assert recompute(again, patterns) >= 1
    assert list(again.state_dict()) == names
    kept = []
    for model in (plain, again):
        torch.manual_seed(1)
        kept.append([kept_numbers(model, image) for _ in range(2)])
    assert kept[1][0] < kept[0][0]
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name
    for (name, one), other in zip(plain.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other), name  # running statistics have seen every batch once
    assert int(again[1][1].num_batches_tracked) == 2
    assert again[1][1].momentum == 0.1


def test_without_gradients_nothing_is_wrapped():
    again = network().eval()
    recompute(again, "1")
    with torch.no_grad():
        assert torch.equal(again(torch.ones(1, 3, 8, 8)), network().eval()(torch.ones(1, 3, 8, 8)))


def test_a_part_inside_another_is_left_to_it():
    assert recompute(network(), "1,1.0,1.1") == 1
    assert recompute(network(), "") == 0


def test_a_part_that_is_not_there():
    with pytest.raises(UsageError, match=r"no part of the network is named decoder\.\*; there are 0, 1, 2"):
        recompute(network(), "decoder.*")


def trained(folder, **changes):
    settings = tiny_flow().model_copy(update={"steps": 4, **changes})
    torch.manual_seed(settings.seed)
    return train(settings, build_task(settings), RunFolder(folder), recipe="tiny-flow")


def test_a_whole_run_is_the_same(tmp_path):
    trained(tmp_path / "plain")
    trained(tmp_path / "again", recompute="features,estimate")
    plain, again = runs.final(tmp_path / "plain"), runs.final(tmp_path / "again")
    assert runs.differing(plain, again) == []


COMPILE = """
import logging, sys, torch
from torch import nn
from kinema.engine.memory import compile_network
logging.basicConfig(level=logging.WARNING, stream=sys.stdout)
torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3))
image = torch.randn(1, 3, 16, 16)
expected = net(image)
names = list(net.state_dict())
print("compiled", compile_network(net, torch.device("cpu")))
got = net(image)
got.sum().backward()
print("close", torch.allclose(got, expected, atol=1e-5), names == list(net.state_dict()))
"""


def compile_with(tmp_path, **environment):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), **environment}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.slow
def test_without_a_compiler_the_network_runs_as_it_is(tmp_path):
    out = compile_with(tmp_path, CXX="/nowhere/no-compiler")
    assert "--compile: no working compiler here" in out
    assert "compiled False\nclose True True" in out


@pytest.mark.slow
def test_with_a_compiler_the_network_is_compiled(tmp_path):
    out = compile_with(tmp_path)
    if "no working compiler here" in out:
        pytest.skip("no compiler on this machine")
    assert "compiled True\nclose True True" in out


@pytest.mark.slow
def test_a_compiled_run_is_close_to_a_plain_one(tmp_path):
    if not compile_network(nn.Linear(1, 1), torch.device("cpu")):
        pytest.skip("no compiler on this machine")
    words = {"optimizer": "sgd", "plain": True, "learning_rate": 1e-3, "weight_decay": 0.0}
    trained(tmp_path / "plain", **words)
    trained(tmp_path / "compiled", compile=True, **words)
    plain, compiled = runs.final(tmp_path / "plain"), runs.final(tmp_path / "compiled")
    assert set(plain.tensors) == set(compiled.tensors)
    assert runs.distance(plain, compiled) < 1e-5
