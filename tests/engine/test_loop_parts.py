"""Averages, batches ahead, stopping, tracking: the parts of the loop, one by one."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from helpers.runs import TESTS
from helpers.tiny_flow import MovingTextures
from kinema.engine.contracts import Term
from kinema.engine.distributed import Devices
from kinema.engine.ema import MovingAverage
from kinema.engine.loading import batches
from kinema.engine.meter import StepMeter
from kinema.engine.stopping import stop_wish
from kinema.engine.tracking import JsonLines, term_means
from kinema.errors import InputError, UsageError


def test_average_by_hand():
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    average = MovingAverage(network, decay=0.5)
    network.weight.data.fill_(3.0)
    average.update(network, step=10**6)
    assert average.network.weight.item() == 2.0
    average.update(network, step=0)  # early: (1 + 0) / (10 + 0) of the old stays
    assert average.network.weight.item() == pytest.approx(0.1 * 2 + 0.9 * 3)
    assert not average.network.weight.requires_grad


def test_average_of_nothing_is_a_copy_and_buffers_follow():
    network = nn.BatchNorm1d(2)
    average = MovingAverage(network, decay=0.0)
    network(torch.randn(8, 2))
    network.weight.data.fill_(9.0)
    average.update(network, step=5)
    assert torch.equal(average.network.weight, network.weight)
    assert torch.equal(average.network.running_mean, network.running_mean)
    assert average.network.num_batches_tracked == 1
    assert not average.network.training


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_a_function_of_the_step(workers):
    source = MovingTextures(5)
    before = torch.get_rng_state()
    got = list(batches(source, slots=range(1, 3), start=3, stop=7, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)
    assert len(got) == 4
    for step, batch in zip(range(3, 7), got, strict=True):
        for name, tensor in source.batch(step, range(1, 3)).items():
            assert torch.equal(batch[name], tensor)
    assert not torch.equal(got[0]["image1"], got[1]["image1"])
    assert not torch.equal(got[0]["image1"][0], got[0]["image1"][1])


class DiesOnce:
    """Its worker is killed at one step, the first time; after that it goes well. One pair is unreadable."""

    def __init__(self, mark, *, unreadable=-1):
        self.mark, self.unreadable = mark, unreadable

    def batch(self, step, slots):
        if step == 2 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.unreadable:
            raise InputError("pair_3.png cannot be read")
        return {"step": torch.tensor([step])}


def test_a_killed_worker_is_replaced_and_nothing_is_lost(tmp_path):
    got = batches(DiesOnce(tmp_path / "mark"), slots=range(1), start=0, stop=6, workers=2)
    assert [int(batch["step"]) for batch in got] == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "mark").exists()


LOADING = """
import os, sys, time, torch
from helpers.tiny_flow import MovingTextures
from kinema.engine.loading import batches
from kinema.engine.meter import StepMeter
if __name__ == "__main__":
    got = batches(MovingTextures(0), slots=range(2), start=0, stop=99, workers=2)
    next(got)
    import multiprocessing
    print(*[child.pid for child in multiprocessing.active_children()], flush=True)
    time.sleep(60)
"""


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_do_not_outlive_a_killed_run(tmp_path):
    script = tmp_path / "loading.py"
    script.write_text(LOADING)
    env = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, script], env=env, stdout=subprocess.PIPE, text=True)
    workers = [int(word) for word in process.stdout.readline().split()]
    assert len(workers) == 2
    process.kill()
    process.communicate(timeout=20)  # ends when nobody holds the pipe any more: workers and their server
    end = time.monotonic() + 20
    while any(is_alive(pid) for pid in workers):
        assert time.monotonic() < end, "workers are left over"
        time.sleep(0.05)


def test_an_error_of_the_data_keeps_its_one_line(tmp_path):
    (tmp_path / "mark").touch()
    got = batches(DiesOnce(tmp_path / "mark", unreadable=1), slots=range(1), start=0, stop=3, workers=1)
    next(got)
    with pytest.raises(InputError, match=r"^pair_3.png cannot be read$"):
        next(got)


def test_slots_share_out_every_sample():
    devices = Devices(device="cpu", precision="fp32")
    for world in (1, 2, 3, 5):
        parts = []
        for rank in range(world):
            devices.world, devices.rank = world, rank
            parts.append(devices.slots(5))
        assert [slot for part in parts for slot in part] == list(range(5))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    devices.world = 6
    with pytest.raises(UsageError, match="6 processes"):
        devices.slots(5)


def test_two_precisions_in_one_process():
    for precision, kind in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with Devices(device="cpu", precision=precision).autocast():
            assert nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2)).dtype == kind


def test_a_device_that_is_not_there():
    with pytest.raises(UsageError, match="--device nonsense"):
        Devices(device="nonsense", precision="fp32")


def test_a_signal_is_a_wish_and_the_second_one_an_order():
    before = signal.getsignal(signal.SIGINT)
    with stop_wish() as wish:
        assert not wish
        os.kill(os.getpid(), signal.SIGINT)
        assert wish
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_leaving_goes_on_with_the_signal():
    class OwnError(KeyboardInterrupt):
        pass

    def handler(*_):
        raise OwnError

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with stop_wish() as wish:
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(OwnError) as caught:
                wish.leave("saved step 3")
        assert caught.value.__notes__ == ["saved step 3"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_json_lines_forget_what_is_done_again(tmp_path):
    path = tmp_path / "log.jsonl"
    first = JsonLines(path, after=0)
    for step in (1, 2, 3):
        first.log("train", step, {"loss": 1.0 / step})
    with path.open("a") as file:
        file.write('{"kind": "train", "step": 4, "lo')  # cut by a kill
    second = JsonLines(path, after=2)
    second.log("train", 3, {"loss": float("nan")})
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 3]
    assert records[2]["loss"] is None


def test_means_are_divided_once():
    terms = {
        "epe": Term(torch.tensor(6.0), torch.tensor(4)),
        "none": Term(torch.tensor(0.0), torch.tensor(0)),
    }
    means = term_means(terms)
    assert means["epe"] == 1.5
    assert means["none"] != means["none"]


def test_meter_means_and_times(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("kinema.engine.meter.time.perf_counter", lambda: clock[0])
    meter = StepMeter(batch_size=4, device=torch.device("cpu"))
    for loss in (1.0, 3.0):
        clock[0] += 0.25
        meter.data_arrived()
        clock[0] += 0.75
        meter.step_done({"loss": torch.tensor(loss)})
        clock[0] += 10.0
        meter.pause()
    numbers = meter.numbers(learning_rate=0.5)
    assert numbers["loss"] == 2.0
    assert (numbers["ms"], numbers["data_ms"], numbers["compute_ms"]) == (1000.0, 250.0, 750.0)
    assert numbers["samples_per_s"] == 4.0
    assert numbers["memory_mib"] > 10
    assert logging.getLogger("kinema.engine").level == 0
