"""`kinema adapt`: footage in, weights out that are never worse than the start."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from helpers.clips import make_clip
from kinema.cli.main import main
from kinema.engine.state import save_weights
from kinema.io.checkpoints import load_tensors, tensor_facts
from kinema.models.uflow import UFlow


def drifting(index, size_hw):
    """A texture of many waves that moves by (1.5, 0.5) pixels a frame."""
    y, x = np.mgrid[0 : size_hw[0], 0 : size_hw[1]].astype(np.float64)
    x, y = x - 1.5 * index, y - 0.5 * index
    waves = [np.sin(x / 3 + y / 7), np.sin(y / 4 - x / 9), np.cos(x / 5) * np.sin(y / 6)]
    return (np.stack(waves, -1) * 90 + 128).round().astype(np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("footage") / "drift.mp4"
    return make_clip(path, frames=120, size_hw=(64, 96), picture=drifting)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "start.safetensors"
    save_weights(path, UFlow(levels=4), facts={"model": "uflow", "options": {"levels": 4}})
    return path


def adapt(*words):
    model = ["--model", "uflow"] if "--weights" in words else []
    return main(["adapt", *map(str, words), *model])


SHORT = ["--validate-every", 2, "--batch-size", 1, "-q", "--device", "cpu"]


def test_footage_becomes_weights_and_a_report(clip, start, tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    status = adapt(
        clip,
        "-o",
        out,
        "--weights",
        start,
        "--steps",
        4,
        *SHORT[:-3],
        "--device",
        "cpu",
        "--json",
        tmp_path / "r.json",
    )
    assert status == 0
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["step"] == 4
    assert told["improved"] == (told["kept_step"] > 0)
    for name in ("photometric", "rewarped_epe"):
        assert told["end"][name] <= told["start"][name] + 1e-9  # never worse than the start
    assert told == json.loads((tmp_path / "mine.adapt/report.json").read_text())
    page = (tmp_path / "mine.adapt/report.html").read_text()
    assert "Held-out footage" in page
    assert f"{told['start']['rewarped_epe']:.2f} px" in page
    facts = tensor_facts(out)[1]
    assert facts["model"] == "uflow"
    assert json.loads(facts["options"])["levels"] == 4
    assert "error where flow is known" in capsys.readouterr().out


@pytest.mark.slow
def test_adapted_weights_give_flow(clip, start, tmp_path):
    out = tmp_path / "mine.safetensors"
    assert adapt(clip, "-o", out, "--weights", start, "--steps", 2, *SHORT) == 0
    words = ["flow", clip, "-o", tmp_path / "flow", "--format", "flo", "--model", "uflow", "--weights", out]
    assert main([*map(str, words), "--end", "0.2", "-q"]) == 0
    assert list((tmp_path / "flow").glob("*.flo"))


@pytest.mark.slow
def test_a_start_that_nothing_beats_is_kept_and_told(clip, start, tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    words = ["-o", out, "--weights", start, "--steps", 2, "--learning-rate", 50]
    assert adapt(clip, *words, "--validate-every", 2, "--batch-size", 1, "--device", "cpu") == 0
    assert "the start: nothing was better" in capsys.readouterr().out
    kept, first = load_tensors(out)[0], load_tensors(start)[0]
    assert all(torch.equal(kept[name], first[name]) for name in first)


def test_going_on_from_anywhere_gives_the_bits_of_a_run_that_never_stopped(
    clip, start, tmp_path, monkeypatch
):
    monkeypatch.chdir(start.parent)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    assert adapt(clip, "-o", whole, "--weights", start, "--steps", 4, *SHORT) == 0
    near = os.path.relpath(parts, start.parent)
    assert adapt(clip, "-o", near, "--weights", start.name, "--steps", 2, *SHORT) == 0
    monkeypatch.chdir(tmp_path)
    assert adapt("-o", "parts.safetensors", "--resume", "--steps", 4, "-q") == 0
    last = [load_tensors(path.with_suffix(".adapt") / "last.safetensors")[0] for path in (whole, parts)]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])
    assert whole.read_bytes() == parts.read_bytes()


@pytest.mark.slow
def test_killed_and_resumed_is_bit_equal_and_keeps_its_time(clip, start, tmp_path):
    whole, killed = tmp_path / "whole.safetensors", tmp_path / "killed.safetensors"
    words = [clip, "--model", "uflow", "--weights", start, "--steps", 12, *SHORT]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kinema", "adapt"]
    subprocess.run([*command, *map(str, words), "-o", str(whole)], env=env, check=True)
    process = subprocess.Popen([*command, *map(str, words), "-o", str(killed)], env=env)
    states = killed.with_suffix(".adapt") / "states"
    deadline = time.monotonic() + 120
    while not list(states.glob("[0-9]*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.exists()
    subprocess.run([*command, "-o", str(killed), "--resume", "-q"], env=env, check=True)
    assert whole.read_bytes() == killed.read_bytes()
    report = json.loads((killed.with_suffix(".adapt") / "report.json").read_text())
    assert report["seconds"] > 0


@pytest.mark.slow
def test_minutes_end_a_run_and_time_is_kept(clip, start, tmp_path):
    out = tmp_path / "mine.safetensors"
    words = ["--weights", start, "--minutes", 0.1, "--patience", 0, *SHORT]
    assert adapt(clip, "-o", out, *words) == 0
    first = json.loads((tmp_path / "mine.adapt/report.json").read_text())
    assert 2 < first["seconds"] < 60
    assert adapt("-o", out, "--resume", "--minutes", 0.1, "-q") == 0
    second = json.loads((tmp_path / "mine.adapt/report.json").read_text())
    assert second["seconds"] >= first["seconds"] - 1  # the time of the first part counts
    assert second["step"] - first["step"] <= 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "x.safetensors"], "INPUT is missing"),
        (["clip.mp4", "-o", "x.pt"], "must end in .safetensors"),
        (["clip.mp4", "-o", "x.safetensors", "--minutes", "1", "--steps", "2"], "exclude each other"),
        (["nowhere.mp4", "-o", "x.safetensors"], "nowhere.mp4: no such file"),
        (["-o", "x.safetensors", "--resume"], "holds no run to go on with"),
        (["clip.mp4", "-o", "x.safetensors", "--start", "3", "--end", "2"], "is not after --start"),
    ],
)
def test_mistakes_are_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert adapt(*words) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.slow
def test_an_existing_result_is_not_replaced(clip, start, tmp_path, capsys):
    out = tmp_path / "mine.safetensors"
    out.write_bytes(b"mine")
    assert adapt(clip, "-o", out, "--weights", start, "--steps", 1, *SHORT) == 2
    assert out.read_bytes() == b"mine"
    assert "--overwrite" in capsys.readouterr().err
