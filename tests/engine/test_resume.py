"""A killed run that goes on ends in the very same bits as one that was never killed."""

from __future__ import annotations

import random
import time

import pytest
import torch

from helpers import runs, tiny_flow  # noqa: F401  it makes its recipe known
from kinema.cli.main import main

STEPS = 30


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes that are killed: sums depend on the number of threads
    yield
    torch.set_num_threads(before)


def train(*words):
    assert main(["train", *map(str, words)]) == 0


def settings(precision, workers):
    return ["--steps", STEPS, "--precision", precision, "--workers", workers, "--checkpoint-every", 4]


@pytest.mark.parametrize(
    ("precision", "workers"),
    [
        ("fp32", 0),
        pytest.param("fp32", 2, marks=pytest.mark.slow),
        pytest.param("bf16", 0, marks=pytest.mark.slow),
        pytest.param("bf16", 2, marks=pytest.mark.slow),
    ],
)
def test_kill_and_resume_is_bit_equal(tmp_path, precision, workers):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train("tiny-flow", *settings(precision, 0), "--out", whole)
    process = runs.start("tiny-flow", *settings(precision, workers), "--out", killed)
    runs.kill_at_step(process, killed, random.randint(5, STEPS - 2))
    assert 4 <= runs.final(killed).step < STEPS
    train("--resume", killed)
    assert runs.differing(runs.final(whole), runs.final(killed)) == []
    assert (whole / "last.safetensors").read_bytes() == (killed / "last.safetensors").read_bytes()
    losses = [[(line["step"], line["loss"]) for line in runs.lines(run)] for run in (whole, killed)]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[1]] == list(range(1, STEPS + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "workers", "times"), [("fp32", 2, runs.KILLS), ("bf16", 0, runs.KILLS)]
)
def test_many_kills_in_a_row(tmp_path, precision, workers, times):
    """At any moment, also while a state is being written; in the middle of epochs."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = ["--steps", 20 * times, "--checkpoint-every", 1, "--validate-every", 50, "--pool", 13]
    words += ["--precision", precision, "--workers", workers]
    train("tiny-flow", *words[:-1], 0, "--out", whole)
    process = runs.start("tiny-flow", *words, "--out", killed)
    kills = 0
    for _ in range(times):
        runs.wait_for_state(process, killed, runs.saved_step(killed) + random.randint(1, 16))
        time.sleep(random.uniform(0, 0.15))
        process.kill()
        process.communicate(timeout=20)
        kills += process.returncode < 0
        process = runs.start("--resume", killed)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert kills >= 0.75 * times
    assert runs.differing(runs.final(whole), runs.final(killed)) == []
    assert (whole / "last.safetensors").read_bytes() == (killed / "last.safetensors").read_bytes()
    assert [p.name for p in (killed / "states").iterdir() if p.name.startswith(".")] == []


def test_workers_change_nothing(tmp_path):
    train("tiny-flow", "--steps", 4, "--out", tmp_path / "none")
    process = runs.start("tiny-flow", "--steps", 4, "--workers", 2, "--out", tmp_path / "two")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    none, two = runs.final(tmp_path / "none"), runs.final(tmp_path / "two")
    assert runs.differing(none, two) == []


def test_a_longer_constant_part_is_the_same_run(tmp_path):
    train("tiny-flow", "--steps", 9, "--out", tmp_path / "long")
    train("tiny-flow", "--steps", 6, "--out", tmp_path / "short")
    train("--resume", tmp_path / "short", "--steps", 9)
    long, short = runs.final(tmp_path / "long"), runs.final(tmp_path / "short")
    assert [n for n in runs.differing(long, short) if not n.startswith("random")] == []


def test_the_newest_state_is_damaged(tmp_path, caplog):
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    train("tiny-flow", "--out", whole)
    train("tiny-flow", "--steps", 9, "--checkpoint-every", 3, "--out", damaged)
    newest = damaged / "states" / "000000009.safetensors"
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    train("--resume", damaged, "--steps", 12)
    assert runs.differing(runs.final(whole), runs.final(damaged)) == []


def test_stopped_before_the_first_state(tmp_path):
    train("tiny-flow", "--steps", 4, "--out", tmp_path / "run")
    for path in (tmp_path / "run" / "states").iterdir():
        path.unlink()
    train("--resume", tmp_path / "run")
    assert runs.final(tmp_path / "run").step == 4
