"""States on disk: exact round trips, damage is noticed, the newest is the newest by number."""

from __future__ import annotations

import errno
import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from kinema.engine.randomness import capture_random, restore_random, seed_all
from kinema.engine.state import (
    RunFolder,
    TrainState,
    load_optimizer,
    load_state,
    load_weights,
    optimizer_tensors,
    prefixed,
    save_state,
    save_weights,
    without_prefix,
)
from kinema.errors import InputError, OutputError


def state(step=7):
    tensors = {
        "model.w": torch.randn(3, 4),
        "model.half": torch.randn(5).bfloat16(),
        "optimizer.0.step": torch.tensor(7.0),
        "random.torch": torch.arange(6, dtype=torch.uint8)[None],
        "empty": torch.zeros(0, 3),
    }
    return TrainState(
        step=step,
        tensors=tensors,
        settings={"groups": [{"lr": 0.1 + 0.2}], "best": {}},
        recipe="tiny",
        config={"steps": 9, "learning_rate": 4e-4},
        version="1",
    )


def test_round_trip_is_exact(tmp_path):
    saved = state()
    save_state(tmp_path / "s.safetensors", saved)
    loaded = load_state(tmp_path / "s.safetensors")
    assert (loaded.step, loaded.recipe, loaded.version) == (7, "tiny", "1")
    assert loaded.settings == saved.settings
    assert loaded.config == saved.config
    for name, tensor in saved.tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert torch.equal(loaded.tensors[name], tensor)


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "s.safetensors"
    save_state(path, state())
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        changed = bytearray(data)
        changed[position] ^= 0x10
        path.write_bytes(changed)
        try:
            loaded = load_state(path)
        except InputError:
            continue
        # Only the padding of the header, spaces that mean nothing, may change unnoticed.
        assert data[position : position + 1] == b" ", position
        assert loaded.step == 7


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_truncation_is_noticed(tmp_path, part):
    path = tmp_path / "s.safetensors"
    save_state(path, state())
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(InputError):
        load_state(path)


def test_a_file_of_weights_is_no_state(tmp_path):
    save_weights(tmp_path / "w.safetensors", nn.Linear(2, 2), facts={"model": "x"})
    with pytest.raises(InputError, match="no saved state"):
        load_state(tmp_path / "w.safetensors")


def test_newest_is_by_number_and_whole(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (2, 10, 900, 1_000_000_000, 99_999_999):
        save_state(folder.state(step), state(step))
    assert [int(path.stem) for path in folder.states()] == [1_000_000_000, 99_999_999, 900, 10, 2]
    folder.state(1_000_000_000).write_bytes(b"cut")
    assert folder.newest().step == 99_999_999
    folder.prune(keep=3)
    assert [int(path.stem) for path in folder.states()] == [1_000_000_000, 99_999_999, 900]


def test_no_state_or_none_whole(tmp_path):
    folder = RunFolder(tmp_path)
    with pytest.raises(InputError, match="none was found"):
        folder.newest()
    save_state(folder.state(1), state(1))
    folder.state(1).write_bytes(b"cut")
    with pytest.raises(InputError, match=r"damaged.*000000001"):
        folder.newest()


def test_a_failed_save_is_an_error_and_keeps_the_old_state(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    save_state(folder.state(1), state(1))
    real = os.fsync

    def full(descriptor):
        real(descriptor)
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)  # where some file systems report a full disk
    with pytest.raises(OutputError, match="no space left"):
        save_state(folder.state(2), state(2))
    monkeypatch.undo()
    assert folder.newest().step == 1
    assert len(list((tmp_path / "states").iterdir())) == 1


def trained(kind, steps, network, optimizer=None):
    optimizer = optimizer or kind(network.parameters(), lr=1e-2)
    for step in range(steps):
        network.zero_grad()
        generator = torch.Generator().manual_seed(step)
        network(torch.randn(2, 3, 8, 8, generator=generator)).square().sum().backward()
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD])
def test_an_optimiser_is_put_together_again(kind, tmp_path):
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = trained(kind, 5, first)
    tensors, groups = optimizer_tensors(optimizer)
    saved = TrainState(
        step=5,
        tensors={**prefixed(tensors, "optimizer"), **prefixed(first.state_dict(), "model")},
        settings={"groups": groups},
    )
    save_state(tmp_path / "s.safetensors", saved)
    loaded = load_state(tmp_path / "s.safetensors")
    second = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    second.load_state_dict(without_prefix(loaded.tensors, "model"))
    again = kind(second.parameters(), lr=5.0)
    load_optimizer(again, without_prefix(loaded.tensors, "optimizer"), loaded.settings["groups"])
    for weight, values in again.state.items():
        for value in values.values():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                assert value.stride() == weight.stride()
    trained(kind, 3, first, optimizer)
    trained(kind, 3, second, again)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


def test_every_generator_goes_on():
    def draw():
        return (
            random.random(),
            random.gauss(0, 1),
            np.random.rand(),
            np.random.randn(),
            torch.rand(3).tolist(),
        )

    seed_all(3)
    draw()
    saved = {name: tensor.clone() for name, tensor in capture_random(torch.device("cpu")).items()}
    expected = [draw() for _ in range(3)]
    seed_all(4)
    draw()
    restore_random(saved, torch.device("cpu"))
    assert [draw() for _ in range(3)] == expected


def test_generators_of_several_processes_are_rows():
    """Row 1 of three is read as row 1: torch alone reads another place."""
    saved, drawn = [], []
    for seed in (1, 2, 3):
        seed_all(seed)
        saved.append({name: tensor.clone() for name, tensor in capture_random(torch.device("cpu")).items()})
        drawn.append(torch.rand(3).tolist())
    rows = {name: torch.stack([one[name] for one in saved]) for name in saved[0]}
    for rank in (0, 1, 2):
        restore_random({name: values[rank] for name, values in rows.items()}, torch.device("cpu"))
        assert torch.rand(3).tolist() == drawn[rank]


def test_weights_alone(tmp_path):
    torch.manual_seed(0)
    first, second, other = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(4, 2)
    save_weights(tmp_path / "w.safetensors", first, facts={"model": "line", "step": 3})
    load_weights(tmp_path / "w.safetensors", second)
    assert torch.equal(first.weight, second.weight)
    with pytest.raises(InputError, match=r"another network: 1 of 2 tensors do not fit \(first: weight\)"):
        load_weights(tmp_path / "w.safetensors", other)
    with pytest.raises(InputError, match="another network"):
        load_weights(tmp_path / "w.safetensors", nn.Conv2d(1, 1, 1, bias=False))


def test_the_averaged_weights_of_a_state(tmp_path):
    network = nn.Linear(3, 2)
    tensors = {
        "ema.weight": torch.full((2, 3), 5.0),
        "ema.bias": torch.zeros(2),
        "model.weight": torch.zeros(2, 3),
    }
    save_state(tmp_path / "s.safetensors", TrainState(step=1, tensors=tensors))
    load_weights(tmp_path / "s.safetensors", network)
    assert torch.equal(network.weight, torch.full((2, 3), 5.0))
