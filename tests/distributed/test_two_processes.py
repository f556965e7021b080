"""Several processes, started by torchrun on CPUs: together they are one, and they end together."""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers import runs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

PLAIN = ["--plain", "--optimizer", "sgd", "--schedule", "constant", "--learning-rate", 0.01]
PLAIN += ["--weight-decay", 0, "--clip-norm", 0, "--precision", "fp32", "--picture-every", 0]
UNEVEN = ["--pool", 13, "--batch-size", 5]  # shares of 2 and 3; every third batch has 3 samples: 2 and 1


def test_two_processes_equal_one(tmp_path):
    """20 steps of plain SGD in float32, uneven shares, an uneven last batch; also in parts."""
    words = ["tiny-flow", "--steps", 20, *PLAIN, *UNEVEN]
    runs.done(*words, "--out", tmp_path / "one")
    err = runs.done(*words, "--out", tmp_path / "two", processes=2)
    runs.done(*words, "--out", tmp_path / "parts", "--accumulate", 2, processes=2)
    first = next(line for line in err.splitlines() if line.startswith("kinema: "))
    assert first.startswith("kinema: training on 2 processes on cpu")
    one, two, parts = (runs.final(tmp_path / name) for name in ("one", "two", "parts"))
    begun = runs.begin_of(tmp_path / "one")
    moved = runs.distance(one, begun)
    assert moved > 1e-3  # else anything would be equal
    assert runs.distance(one, two) < 1e-5
    assert runs.distance(one, parts) < 1e-5
    for a, b in zip(runs.lines(tmp_path / "one"), runs.lines(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-4)
    metrics = [runs.lines(tmp_path / name, "validation")[-1]["epe"] for name in ("one", "two")]
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-5)
    print(f"moved {moved:.3g}, two {runs.distance(one, two):.3g}, parts {runs.distance(one, parts):.3g}")


@pytest.mark.parametrize(
    ("processes", "precision", "workers", "kills"),
    [(2, "fp32", 0, 3), (2, "bf16", 1, runs.KILLS), (3, "fp32", 1, 3)],
)
def test_killed_and_resumed_it_ends_in_the_same_bits(tmp_path, processes, precision, workers, kills):
    """Mid-epoch, with batch statistics and dropout, at any moment: of one process, or of all at once."""
    words = [
        "--steps",
        15 * kills + 5,
        "--checkpoint-every",
        2,
        "--precision",
        precision,
        "--workers",
        workers,
    ]
    uneven = UNEVEN if processes == 2 else ["--pool", 17, "--batch-size", 6]  # each has one sample at least
    words += [*uneven, "--validate-every", 7, "--picture-every", 0]
    runs.done("tiny-flow", *words, "--out", tmp_path / "whole", processes=processes)
    killed = tmp_path / "killed"
    process = runs.start("tiny-flow", *words, "--out", killed, processes=processes)
    count = 0
    for _ in range(kills):
        runs.wait_for_state(process, killed, runs.saved_step(killed) + random.randint(1, 12))
        time.sleep(random.uniform(0, 0.1))
        count += process.poll() is None
        if random.random() < 0.3 and process.poll() is None:  # one of them; the launcher ends the others
            os.kill(random.choice(trainers(process)), signal.SIGKILL)
            process.communicate(timeout=120)
        else:
            runs.kill_all(process)
        process = runs.start("--resume", killed, processes=processes)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert count == kills
    whole, ended = runs.final(tmp_path / "whole"), runs.final(killed)
    assert runs.differing(whole, ended) == []
    assert len(whole.tensors["random.torch"]) == processes
    assert (tmp_path / "whole" / "last.safetensors").read_bytes() == (
        killed / "last.safetensors"
    ).read_bytes()
    losses = [
        [(line["step"], line["loss"]) for line in runs.lines(run)] for run in (tmp_path / "whole", killed)
    ]
    assert losses[0] == losses[1]


def trainers(process):
    """The processes that train: children of the launcher that run this helper."""
    found = []
    for pid in runs.family(process)[1:]:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "helpers.tiny_flow" in words and "torch.distributed.run" not in words:
            found.append(pid)
    return found


def test_a_number_that_is_none_in_one_process_is_skipped_by_both(tmp_path):
    words = ["--steps", 6, "--poison", 3, "--non-finite", "skip", "--picture-every", 0]
    runs.done("tiny-flow", *words, "--out", tmp_path, processes=2)
    assert runs.lines(tmp_path)[-1]["skipped"] == 1
    state = runs.final(tmp_path)
    assert all(torch.isfinite(tensor.float()).all() for tensor in state.tensors.values())


@pytest.mark.parametrize(
    ("words", "says"),
    [(["--poison", 3], "step 3: loss nan"), (["--pool", 13, "--broken", 4], "pair_4.png cannot be read")],
)
def test_trouble_in_one_process_ends_both_with_the_state_saved(tmp_path, words, says):
    process = runs.start(
        "tiny-flow", "--steps", 30, "--checkpoint-every", 30, *words, "--out", tmp_path, processes=2
    )
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    (line,) = [line for line in err.splitlines() if says in line and "kinema: error" in line][:1]
    step = int(re.search(r"step (\d+) is saved", line)[1])
    assert f"kinema train --resume {tmp_path}" in line
    assert runs.final(tmp_path).step == step
    assert "Traceback" not in err.split("torch/distributed")[0]


def test_samples_are_replaced_and_counted_over_all_processes(tmp_path):
    words = ["--steps", 12, *PLAIN, *UNEVEN, "--broken", 4, "--unreadable", "skip"]
    runs.done("tiny-flow", *words, "--out", tmp_path / "two", processes=2)
    runs.done("tiny-flow", *words, "--out", tmp_path / "one")
    one, two = (runs.final(tmp_path / name) for name in ("one", "two"))
    assert one.settings["replaced"] == two.settings["replaced"] == 4
    assert runs.distance(one, two) < 1e-5


def test_the_launcher_starts_a_killed_run_again_and_it_goes_on(tmp_path):
    words = ["tiny-flow", "--steps", 60, "--checkpoint-every", 2, "--picture-every", 0]
    runs.done(*words, "--out", tmp_path / "whole", processes=2)
    process = runs.start(*words, "--out", tmp_path / "killed", processes=2, restarts=1)
    runs.wait_for_step(process, tmp_path / "killed", 5)
    os.kill(trainers(process)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "another process of this run has ended" in err
    assert re.search(r"training on 2 processes on cpu, 1 thread, fp32, from step [1-9]\d* to 60", err)
    assert runs.differing(runs.final(tmp_path / "whole"), runs.final(tmp_path / "killed")) == []


def test_ctrl_c_saves_one_state_for_all(tmp_path):
    words = ["--steps", 100_000, "--checkpoint-every", 100_000, "--validate-every", 100_000]
    process = runs.start("tiny-flow", *words, "--out", tmp_path, processes=2)
    runs.wait_for_step(process, tmp_path, 3)
    os.kill(trainers(process)[1], signal.SIGINT)  # to one of them: they agree
    _, err = process.communicate(timeout=120)
    step = runs.final(tmp_path).step
    assert step >= 3
    assert f"saved step {step}; go on with: kinema train --resume {tmp_path}" in err
    err = runs.done("--resume", tmp_path, "--steps", step + 1)  # with one process
    assert "saved by 2 processes, going on with 1" in err
    assert runs.final(tmp_path).step == step + 1
