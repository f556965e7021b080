"""Start, kill and compare training runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from kinema.engine.state import RunFolder, TrainState, load_state

TESTS = Path(__file__).resolve().parents[1]


def start(*words: object) -> subprocess.Popen[str]:
    """`kinema train WORDS` with the tiny recipe known, in a process of its own, on one thread."""
    env = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "helpers.tiny_flow", "train", *map(str, words)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines(folder: Path, kind: str = "train") -> list[dict[str, float]]:
    """The run's JSON lines of one kind; a line that is being written is left out."""
    log = folder / "log.jsonl"
    text = log.read_text() if log.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in found if line["kind"] == kind]


def wait_for_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Wait until a step is logged, or the process has ended."""
    end = time.monotonic() + 60
    while process.poll() is None and not any(line["step"] >= step for line in lines(folder)):
        assert time.monotonic() < end, "the run does not get on"
        time.sleep(0.002)


def kill_at_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """kill -9 once a step is logged."""
    wait_for_step(process, folder, step)
    process.kill()
    process.communicate(timeout=20)


def final(folder: Path) -> TrainState:
    """The newest state."""
    return load_state(RunFolder(folder).states()[0])


def differing(one: TrainState, other: TrainState) -> list[str]:
    """Names of tensors that are not equal bit by bit."""
    assert one.step == other.step
    assert set(one.tensors) == set(other.tensors)
    names = [name for name, tensor in one.tensors.items() if not torch.equal(tensor, other.tensors[name])]
    return names if one.settings == other.settings else [*names, "settings"]
