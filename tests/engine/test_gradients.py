"""Parts of a batch together have the gradient of the whole, whatever is counted in each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kinema.engine.contracts import Term
from kinema.engine.distributed import Devices
from kinema.engine.gradients import add_up, compute_gradient, split


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(2.0))
        self.shift = nn.Parameter(torch.tensor(1.0))
        self.norm = nn.BatchNorm1d(1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.slope * x + self.shift


class Masked:
    """Two terms with counts of their own, very different from sample to sample."""

    source, metric = None, "none"

    def __init__(self):
        self.network, self.calls = Line(), 0

    def losses(self, network, batch, *, step):
        self.calls += 1
        y = network(batch["x"])
        return {
            "near": Term((y * batch["near"]).sum(), batch["near"].sum()),
            "far": Term(3 * (y.square() * batch["far"]).sum(), batch["far"].sum()),
        }


class Foreseeing(Masked):
    def counts(self, batch, *, step):
        return {name: batch[name].sum() for name in ("near", "far")}


BATCH = {
    "x": torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]),
    "near": torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]),
    "far": torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0]),
}


@pytest.mark.parametrize("kind", [Masked, Foreseeing])
@pytest.mark.parametrize("parts", [1, 2, 3, 5, 9])
def test_by_hand(kind, parts):
    """The mean of y over four samples, and three times y² of the fifth: no mean of means gives that."""
    task = kind()
    got = compute_gradient(
        task, task.network, BATCH, parts=parts, step=0, devices=Devices(device="cpu", precision="fp32")
    )
    y = 2.0 * 5 + 1
    assert float(got["near"]) == pytest.approx(2.0 * 2.5 + 1)
    assert float(got["far"]) == pytest.approx(3 * y**2)
    assert float(got["loss"]) == pytest.approx(float(got["near"] + got["far"]))
    assert float(task.network.slope.grad) == pytest.approx(2.5 + 6 * y * 5)
    assert float(task.network.shift.grad) == pytest.approx(1 + 6 * y)
    looked = parts > 1 and kind is Masked
    assert task.calls == min(parts, 5) * (1 + looked)


def test_looking_ahead_leaves_no_trace():
    class Noisy(Masked):
        def losses(self, network, batch, *, step):
            x = network.drop(network.norm(batch["x"][:, None]))
            return {"x": Term(network(x).sum(), torch.tensor(x.numel()))}

    task = Noisy()
    devices = Devices(device="cpu", precision="fp32")
    torch.manual_seed(3)
    compute_gradient(task, task.network, BATCH, parts=2, step=0, devices=devices)
    assert int(task.network.norm.num_batches_tracked) == 2  # once for each part
    after = torch.get_rng_state()
    other = Noisy()
    torch.manual_seed(3)
    for part in split(BATCH, 2):
        other.losses(other.network, part, step=0)
    assert torch.equal(after, torch.get_rng_state())
    assert torch.equal(task.network.norm.running_mean, other.network.norm.running_mean)


def test_nothing_counted_is_no_gradient():
    task = Masked()
    batch = {**BATCH, "far": torch.zeros(5)}
    got = compute_gradient(
        task, task.network, batch, parts=2, step=0, devices=Devices(device="cpu", precision="fp32")
    )
    assert float(got["far"]) == 0
    assert float(task.network.slope.grad) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("parts", "sizes"), [(1, [5]), (2, [2, 3]), (3, [1, 2, 2]), (5, [1] * 5), (8, [1] * 5)]
)
def test_split(parts, sizes):
    pieces = split(BATCH, parts)
    assert [len(piece["x"]) for piece in pieces] == sizes
    assert torch.equal(torch.cat([piece["x"] for piece in pieces]), BATCH["x"])


def test_split_of_nothing():
    assert len(split({"x": torch.zeros(0, 3)}, 2)) == 1


class Telling:
    """The second of two processes: it tells what it would send."""

    world, device = 2, torch.device("cpu")

    def __init__(self):
        self.sent = []

    def sum(self, values):
        self.sent.append(values.clone())
        return values


class Adding:
    """The first one, with what the second has sent."""

    world, device = 2, torch.device("cpu")

    def __init__(self, sent):
        self.sent = list(sent)

    def sum(self, values):
        return values + self.sent.pop(0)


def test_gradients_of_two_processes(monkeypatch):
    """Also where one of them has none; what neither has stays None, so that nothing decays it."""
    monkeypatch.setattr("kinema.engine.gradients._BUCKET", 6)  # several messages

    def weights(*gradients):
        made = []
        for gradient in gradients:
            weight = nn.Parameter(torch.zeros(2, 3, 1, 1).contiguous(memory_format=torch.channels_last))
            weight.grad = None if gradient is None else torch.full_like(weight, gradient)
            made.append(weight)
        made.append(nn.Parameter(torch.zeros(2), requires_grad=False))
        return made

    second, first = weights(1.0, None, 4.0, None), weights(2.0, None, None, 8.0)
    told = Telling()
    add_up(second, told)
    assert len(told.sent) == 4
    add_up(first, Adding(told.sent))
    got = [None if weight.grad is None else float(weight.grad.flatten()[0]) for weight in first]
    assert got == [3.0, None, 4.0, 8.0, None]
    assert first[2].grad.stride() == first[2].stride()
