"""Start, kill and compare training runs."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from kinema.engine.state import RunFolder, TrainState, load_state

TESTS = Path(__file__).resolve().parents[1]

KILLS = int(os.environ.get("KINEMA_KILLS", "5"))
"""How often a run is killed in a row; 20 takes many minutes."""


def start(*words: object, processes: int = 1, restarts: int = 0) -> subprocess.Popen[str]:
    """`kinema train WORDS` with the tiny recipe known, each process on one thread; several by torchrun."""
    launcher = ["-m", "helpers.tiny_flow"]
    if processes > 1:
        many = ["--nproc_per_node", str(processes), "--max_restarts", str(restarts)]
        meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
        launcher = ["-m", "torch.distributed.run", *many, *meeting, "-m", "helpers.tiny_flow"]
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    env["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # see docs/training.md, "Devices"
    return subprocess.Popen(
        [sys.executable, *launcher, "train", *map(str, words)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(*words: object, processes: int = 1, restarts: int = 0) -> str:
    """The same to its end, which must be a good one; what it said on stderr."""
    process = start(*words, processes=processes, restarts=restarts)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return err


def family(process: subprocess.Popen[str]) -> list[int]:
    """The process and all that descend from it, the eldest first (Linux)."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            pid, parent = int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(pid)
    found = [process.pid]
    for pid in found:
        found += children.get(pid, [])
    return found


def kill_all(process: subprocess.Popen[str]) -> None:
    """kill -9 for a process and all that descend from it, all at once."""
    for pid in family(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)


def lines(folder: Path, kind: str = "train") -> list[dict[str, float]]:
    """The run's JSON lines of one kind; a line that is being written is left out."""
    log = folder / "log.jsonl"
    text = log.read_text() if log.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in found if line["kind"] == kind]


def wait_for_step(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Wait until a step is logged, or the process has ended."""
    end = time.monotonic() + 240
    while process.poll() is None and not any(line["step"] >= step for line in lines(folder)):
        assert time.monotonic() < end, "the run does not get on"
        time.sleep(0.002)


def saved_step(folder: Path) -> int:
    """The step of the newest state, by its name; 0 when there is none."""
    states = RunFolder(folder).states()
    return int(states[0].stem) if states else 0


def wait_for_state(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Wait until a state is saved, or the process has ended.

    The log is no measure of a run that goes on: it still has the lines that are being done again.
    """
    end = time.monotonic() + 240
    while process.poll() is None and saved_step(folder) < step:
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


def distance(one: TrainState, other: TrainState) -> float:
    """Relative L2 distance of all weights together."""
    names = sorted(name for name in one.tensors if name.startswith("model."))
    a, b = (torch.cat([s.tensors[n].double().reshape(-1) for n in names]) for s in (one, other))
    return float((a - b).norm() / a.norm())


def begin_of(folder: Path) -> TrainState:
    """The weights that a run of the tiny recipe began with, as far as its seed is 0 and they are plain."""
    from helpers.tiny_flow import build_task, tiny_flow

    torch.manual_seed(0)
    weights = build_task(tiny_flow().model_copy(update={"plain": True})).network.state_dict()
    return TrainState(step=0, tensors={f"model.{name}": tensor for name, tensor in weights.items()})
