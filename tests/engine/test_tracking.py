"""What is told: lines, JSON, pictures, TensorBoard, a service that fails; and which weights are best."""

from __future__ import annotations

import logging
import math
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers import runs
from helpers.tiny_flow import build_task, tiny_flow
from kinema.engine.ranking import Ranking
from kinema.engine.state import RunFolder
from kinema.engine.tracking import Console, External, Tracker
from kinema.engine.trainer import train
from kinema.errors import KinemaError, UsageError
from kinema.io.checkpoints import load_tensors
from kinema.io.images import read_image


def trained(folder, *, watch=(), change_task=lambda task: task, **changes):
    settings = tiny_flow().model_copy(update=changes)
    torch.manual_seed(settings.seed)
    task = change_task(build_task(settings))
    return train(settings, task, RunFolder(folder), recipe="tiny-flow", trackers=watch)


def test_a_line_of_the_console(caplog):
    numbers = {
        "loss": 1.5,
        "level2": 1.0,
        "level3": 0.5,
        "grad_norm": 0.25,
        "lr": 4e-4,
        "ms": 120.0,
        "data_ms": 20.0,
        "compute_ms": 100.0,
        "samples_per_s": 66.7,
        "memory_mib": 900.0,
        "skipped": 0.0,
        "replaced": 0.0,
    }
    line = (
        "step 7/9  loss 1.5 (level2 1, level3 0.5)  grad 0.25  lr 0.0004  "
        "120 ms (data 20, compute 100)  66.7 samples/s  900 MiB"
    )
    with caplog.at_level(logging.INFO, "kinema"):
        console = Console(total=9)
        console.log("train", 7, numbers)
        console.log("train", 8, {**numbers, "skipped": 2.0, "replaced": 1.0, "loss_scale": 1024.0})
        console.log("validation", 8, {"epe": 3.25})
        nothing = {name: numbers[name] for name in numbers if name not in ("loss", "level2", "level3")}
        console.log("train", 9, nothing)  # every step since the last line was skipped
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == line
    assert told[1] == f"{line.replace('7/9', '8/9')}  scale 1024  skipped 2  replaced 1"
    assert told[2] == "step 8/9  validation  epe 3.25"
    assert "loss nan ()" in told[3]


class Witness(Tracker):
    def __init__(self):
        self.told, self.shown, self.closed = [], [], 0

    def log(self, kind, step, numbers):
        self.told.append((kind, step))

    def picture(self, name, step, image):
        self.shown.append((name, step, image.shape))

    def close(self):
        self.closed += 1


def test_pictures_are_files_and_go_to_trackers(tmp_path):
    witness = Witness()
    trained(tmp_path / "run", watch=[witness], steps=6, picture_every=4)
    assert sorted(path.name for path in (tmp_path / "run" / "pictures").iterdir()) == [
        "000000004-flow.png", "000000006-flow.png",
    ]  # fmt: skip
    image = read_image(tmp_path / "run" / "pictures" / "000000006-flow.png")
    assert image.dtype == np.uint8
    assert witness.shown == [("flow", 4, image.shape), ("flow", 6, image.shape)]
    assert ("validation", 4) in witness.told
    assert witness.closed == 1
    trained(tmp_path / "none", steps=6, picture_every=0)
    assert not (tmp_path / "none" / "pictures").exists()
    a, b = runs.final(tmp_path / "run"), runs.final(tmp_path / "none")
    assert [n for n in runs.differing(a, b) if n != "settings"] == []  # drawing takes no random number


def test_trackers_are_closed_when_the_run_fails(tmp_path):
    witness = Witness()
    with pytest.raises(KinemaError):
        trained(tmp_path, watch=[witness], steps=6, poison=2)
    assert witness.closed == 1


def test_the_command_tells_every_step_once(tmp_path):
    told = []
    settings = tiny_flow().model_copy(update={"steps": 3})
    task = build_task(settings)
    train(settings, task, RunFolder(tmp_path), recipe="tiny-flow", on_step=told.append)
    settings = tiny_flow().model_copy(update={"steps": 5})
    state = runs.final(tmp_path)
    train(
        settings,
        build_task(settings),
        RunFolder(tmp_path),
        recipe="tiny-flow",
        state=state,
        on_step=told.append,
    )
    assert told == [0, 1, 1, 1, 3, 1, 1]


def test_ranking_by_hand():
    lowest, highest = Ranking(keep=2), Ranking(keep=2, highest=True)
    for step, value in ((1, 5.0), (2, 3.0), (3, math.nan), (4, 4.0), (5, 3.0), (6, 9.0)):
        lowest.offer(step, value)
        highest.offer(step, value)
    assert lowest.entries == [{"step": 2, "value": 3.0}, {"step": 5, "value": 3.0}]
    assert highest.steps == [6, 1]
    assert lowest.best == {"step": 2, "value": 3.0}
    assert not lowest.offer(7, 3.5)
    assert lowest.offer(2, 4.5)  # measured again: the new value counts
    assert lowest.steps == [5, 2]
    assert Ranking().best == {}


@pytest.mark.parametrize(
    ("saved", "steps"),
    [
        ([], []),
        ({}, []),
        ({"step": 3, "value": 1.0}, [3]),
        ([{"step": 3, "value": 1.0}, {"step": 2, "value": 2.0}], [3]),
    ],
)
def test_ranking_takes_over_old_and_new_tables(saved, steps):
    ranking = Ranking(keep=1)
    ranking.restore(saved)
    assert ranking.steps == steps


def scores(*values):
    """A task whose validations give these values."""

    def change(task):
        left = list(values)

        class Scored(type(task)):
            def validate(self, network, *, rank, world):
                from kinema.engine.contracts import Term

                one = torch.tensor(1.0)
                return {"epe": Term(torch.tensor(left.pop(0)), one), "psnr": Term(one * 30, one)}

        return Scored(task.network, task.source, task.pairs)

    return change


def test_the_best_few_are_kept_by_their_metric(tmp_path):
    words = {"steps": 5, "validate_every": 1, "keep_best": 2, "picture_every": 0}
    outcome = trained(tmp_path, change_task=scores(5.0, 2.0, 4.0, 3.0, 9.0), **words)
    assert outcome.best == {"step": 2, "value": 2.0}
    kept = sorted(path.name for path in (tmp_path / "best").iterdir())
    assert kept == ["000000002.safetensors", "000000004.safetensors"]
    best, facts = load_tensors(tmp_path / "best.safetensors")
    ranked, _ = load_tensors(tmp_path / "best" / kept[0])
    assert facts["step"] == "2"
    assert all(torch.equal(tensor, ranked[name]) for name, tensor in best.items())
    assert runs.final(tmp_path).settings["best"] == [{"step": 2, "value": 2.0}, {"step": 4, "value": 3.0}]
    highest = trained(
        tmp_path / "high", change_task=scores(5.0, 2.0, 9.0, 3.0, 8.0), best_is="highest", **words
    )
    assert highest.best == {"step": 3, "value": 9.0}
    with pytest.raises(UsageError, match="--best-metric ssim: a validation measures epe, psnr"):
        trained(tmp_path / "none", change_task=scores(1.0), best_metric="ssim", **words)


def test_trackers_that_are_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"--trackers nonsense: no such tracker; there are .*tensorboard"):
        trained(tmp_path, steps=1, trackers="nonsense")


def test_a_tracker_that_fails_is_left_out(tmp_path, monkeypatch, caplog):
    from accelerate import tracking

    calls = []

    class Weak(tracking.GeneralTracker):
        name, requires_logging_directory = "weak", False

        def __init__(self, run_name):
            super().__init__()
            calls.append(run_name)

        def start(self):
            calls.append("start")

        def store_init_configuration(self, values):
            calls.append(values["learning_rate"])

        def log(self, values, step=None):
            calls.append(sorted(values)[0])
            raise ConnectionError("the service is away")

        @property
        def tracker(self):
            return None

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "weak", Weak)
    monkeypatch.setattr(tracking, "get_available_trackers", lambda: ["weak"])
    weak = External("weak", RunFolder(tmp_path), recipe="tiny", settings={"learning_rate": 0.5}, after=0)
    for step in (1, 2):
        weak.log("train", step, {"loss": 1.0, "nothing": math.nan})
        weak.picture("flow", step, np.zeros((2, 2, 3), np.uint8))
    weak.close()
    assert calls == ["tiny", "start", 0.5, "train/loss"]
    assert "weak failed (the service is away); going on without it" in caplog.text


def test_tensorboard_reads_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = {"trackers": "tensorboard", "picture_every": 3}
    settings = tiny_flow().model_copy(update={"steps": 6, **words})
    trained(tmp_path, steps=6, **words)
    state = RunFolder(tmp_path).state(3)
    from kinema.engine.state import load_state

    again = tiny_flow().model_copy(update={"steps": 6, **words})
    train(again, build_task(settings), RunFolder(tmp_path), recipe="tiny-flow", state=load_state(state))
    events = EventAccumulator(
        str(tmp_path / "tensorboard"), size_guidance={"images": 0, "scalars": 0}
    ).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5, 6]  # none of them twice
    lines = runs.lines(tmp_path)
    shown = [event.value for event in events.Scalars("train/loss")]
    assert shown == pytest.approx([line["loss"] for line in lines])
    assert [event.step for event in events.Images("flow")] == [3, 6]


def test_tensorboard_that_is_not_installed(tmp_path, monkeypatch):
    from accelerate import tracking

    monkeypatch.setattr(tracking, "get_available_trackers", list)
    with pytest.raises(KinemaError, match=r"pip install 'kinema\[tensorboard\]'"):
        trained(tmp_path, steps=1, trackers="tensorboard")


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of its own needs POSIX")
def test_a_bar_on_a_terminal_and_lines_above_it(tmp_path):
    master, slave = pty.openpty()
    env = os.environ | {
        "PYTHONPATH": str(runs.TESTS),
        "OMP_NUM_THREADS": "1",
        "TERM": "xterm",
        "COLUMNS": "250",
    }
    words = ["train", "tiny-flow", "--steps", "12", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "helpers.tiny_flow", *words], env=env, stdout=subprocess.PIPE, stderr=slave
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        shown += piece
    assert process.wait(timeout=60) == 0
    text = shown.decode()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert re.search(r"\d+/12 steps", plain)  # the last of them may be gone before it is drawn
    assert "training: 12 done" in plain
    for step in range(1, 13):
        pattern = rf"(?:^|\r)kinema: step {step}/12  loss [^\r\n]* samples/s  \d+ MiB$"
        assert len(re.findall(pattern, plain.replace("\r\n", "\n"), re.MULTILINE)) == 1, plain
