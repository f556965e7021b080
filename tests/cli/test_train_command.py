"""`kinema train`: options, refusals, stopping and going on."""

from __future__ import annotations

import json
import re
import signal

import pytest
import torch

from helpers import runs, tiny_flow  # noqa: F401  it makes its recipe known
from helpers.command import Command
from kinema.engine import state as state_module
from kinema.engine.config import GROUPS, LoopConfig
from kinema.engine.state import load_state
from kinema.io.checkpoints import load_tensors, save_tensors
from kinema.recipes import RECIPES


@pytest.fixture
def kinema(capsys):
    return Command(capsys)


@pytest.fixture
def finished(tmp_path, kinema):
    kinema.done("train", "tiny-flow", "--steps", 4, "--out", tmp_path / "run", "-q")
    return tmp_path / "run"


def test_list_names_every_recipe(kinema):
    out = kinema.done("train", "--list").out
    for name, make in RECIPES.items():
        assert f"{name} " in out
        assert make.__doc__.splitlines()[0] in out


def test_a_run_leaves_what_it_says(tmp_path, kinema):
    ended = kinema.done("train", "tiny-flow", "--out", tmp_path / "run", "--json", tmp_path / "r.json")
    assert ended.out.startswith("tiny-flow: 12 steps, epe ")
    assert ended.out.strip().endswith(str(tmp_path / "run" / "last.safetensors"))
    assert "step 12/12  loss " in ended.err
    assert "1 process on cpu" in ended.err.splitlines()[0]
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["step"] == 12
    assert result["metrics"]["epe"] > 0
    assert result["settings"]["batch_size"] == 4
    states = sorted(path.name for path in (tmp_path / "run" / "states").iterdir())
    assert states == ["000000009.safetensors", "000000012.safetensors"]
    weights, facts = load_tensors(tmp_path / "run" / "last.safetensors")
    assert facts["model"] == "tiny"
    assert facts["step"] == "12"
    state = load_state(tmp_path / "run" / "states" / states[-1])
    assert all(torch.equal(tensor, state.tensors[f"ema.{name}"]) for name, tensor in weights.items())
    _, facts = load_tensors(tmp_path / "run" / "best.safetensors")
    assert json.loads(facts["metrics"])["epe"] == result["best"]["value"]


def test_every_field_can_be_set(finished):
    config = json.loads((finished / "config.json").read_text())
    assert config["recipe"] == "tiny-flow"
    assert config["config"]["steps"] == 4
    assert config["config"]["learning_rate"] == 2e-3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], ["RECIPE", "pwcnet-rendered"]),
        (["pwcnet-renderd"], ["did you mean pwcnet-rendered"]),
        (["tiny-flow", "--steps", "-3"], ["--steps", "at least 1"]),
        (["tiny-flow", "--lr", "1"], ["unknown option --lr"]),
        (["--steps", "3", "tiny-flow"], ["write the recipe first"]),
        (["tiny-flow", "--release"], ["--release needs --resume"]),
        (["--resume", "nowhere"], ["nowhere holds no run"]),
        (["tiny-flow", "--precision", "fp8"], ["--precision"]),
        (
            ["tiny-flow", "--init", "nothing.safetensors", "--out", "{tmp}/x"],
            ["nothing.safetensors", "no such file"],
        ),
        (["tiny-flow", "--out", "/proc/x"], ["/proc/x"]),
        (["pwcnet-rendered", "--crops", "abc"], ["--crops: 'abc' is no HEIGHTxWIDTH:SHARE"]),
        (["tiny-flow", "--schedule", "cosine"], ["--schedule cosine needs --periods"]),
        (["tiny-flow", "--rate-factors", "x"], ["--rate-factors: 'x' is no NAME:FACTOR"]),
        (
            ["tiny-flow", "--rate-factors", "dcn*:0.1", "--out", "{tmp}/x"],
            ["--rate-factors: no parameter is named dcn*"],
        ),
        (["tiny-flow", "--recompute", "dcn*", "--out", "{tmp}/x"], ["--recompute: no part", "features"]),
        (["tiny-flow", "--trackers", "paper", "--out", "{tmp}/x"], ["--trackers paper", "tensorboard"]),
    ],
)
def test_mistakes_are_one_line(words, says, kinema, tmp_path):
    ended = kinema("train", *[word.format(tmp=tmp_path) for word in words])
    assert ended.status == 2
    error = ended.err.splitlines()[-1]
    assert error.startswith("kinema: error: ")
    for text in says:
        assert text in error


def test_a_folder_that_is_taken(finished, kinema):
    ended = kinema("train", "tiny-flow", "--steps", 4, "--out", finished)
    assert ended.status == 2
    assert f"--resume {finished}" in ended.err
    before = runs.final(finished)
    kinema.done("train", "tiny-flow", "--steps", 4, "--out", finished, "--overwrite")
    assert runs.differing(before, runs.final(finished)) == []
    assert [line["step"] for line in runs.lines(finished)] == [1, 2, 3, 4]


def test_resume_refuses_other_settings_and_shows_them(finished, kinema):
    ended = kinema("train", "--resume", finished, "--learning-rate", 1, "--batch-size", 2, "--steps", 9)
    assert ended.status == 2
    assert "batch_size is 4 there, not 2; learning_rate is 0.002 there, not 1.0" in ended.err
    assert "steps is" not in ended.err
    ended = kinema("train", "pwcnet-rendered", "--resume", finished)
    assert ended.status == 2
    assert "follows tiny-flow, not pwcnet-rendered" in ended.err
    assert kinema("train", "--resume", finished, "--out", finished.parent / "other", "--steps", 9).status == 2


def test_resume_refuses_an_edited_config(finished, kinema):
    path = finished / "config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 5'))
    ended = kinema("train", "--resume", finished, "--steps", 9)
    assert ended.status == 2
    assert "seed is 0 there, not 5" in ended.err
    path.write_text("{}")
    assert "damaged" in kinema("train", "--resume", finished).err


def test_resume_of_a_finished_run_does_nothing(finished, kinema):
    before = runs.final(finished)
    ended = kinema.done("train", "--resume", finished)
    assert "has done all its 4 steps" in ended.err
    assert runs.differing(before, runs.final(finished)) == []


def test_a_run_can_be_moved(finished, kinema):
    finished.rename(finished.parent / "moved")
    kinema.done("train", "--resume", finished.parent / "moved", "--steps", 6)
    assert runs.final(finished.parent / "moved").step == 6
    assert not finished.exists()


def test_release_is_a_branch(finished, kinema):
    before = runs.final(finished)
    ended = kinema.done("train", "--resume", finished, "--release", "--decay-steps", 3)
    branch = finished / "release-000000004"
    assert str(branch / "last.safetensors") in ended.out
    assert runs.differing(before, runs.final(finished)) == []
    lines = runs.lines(branch)
    assert [line["step"] for line in lines] == [5, 6, 7]
    assert [line["lr"] for line in lines] == pytest.approx([2e-3 * (1 - (k / 4) ** 0.5) for k in (1, 2, 3)])
    again = kinema("train", "--resume", finished, "--release", "--decay-steps", 3)
    assert again.status == 2
    assert f"--resume {branch}" in again.err
    kinema.done("train", "--resume", finished, "--steps", 6)  # the constant part goes on as if nothing were
    assert [line["lr"] for line in runs.lines(finished)][-1] == 2e-3


def test_a_killed_release_goes_on(finished, kinema):
    kinema.done(
        "train", "--resume", finished, "--release", "--decay-steps", 3, "--out", finished.parent / "whole"
    )
    branch = finished.parent / "cut"
    kinema.done("train", "--resume", finished, "--release", "--decay-steps", 3, "--out", branch)
    for path in sorted((branch / "states").iterdir())[1:]:
        path.unlink()
    kinema.done("train", "--resume", branch)
    assert runs.differing(runs.final(branch), runs.final(finished.parent / "whole")) == []


def test_a_fall_that_has_begun_cannot_be_moved(tmp_path, kinema):
    run = tmp_path / "run"
    kinema.done("train", "tiny-flow", "--steps", 4, "--decay-steps", 2, "--out", run)
    ended = kinema("train", "--resume", run, "--steps", 9)
    assert ended.status == 2
    assert "falling since step 2" in ended.err
    kinema.done("train", "tiny-flow", "--steps", 4, "--out", tmp_path / "flat")
    ended = kinema("train", "--resume", tmp_path / "flat", "--steps", 6, "--decay-steps", 5)
    assert ended.status == 2
    assert "would have begun at step 1" in ended.err
    ended = kinema("train", "--resume", tmp_path / "flat", "--steps", 3)
    assert "has done 4 steps already" in ended.err


def test_init_takes_weights_alone(finished, tmp_path, kinema):
    new = tmp_path / "new"
    kinema.done("train", "tiny-flow", "--init", finished / "last.safetensors", "--steps", 1, "--out", new)
    assert [line["step"] for line in runs.lines(new)] == [1]
    assert runs.lines(new)[0]["lr"] == pytest.approx(2e-3 / 3)  # the warm-up begins again
    config = json.loads((new / "config.json").read_text())["config"]
    assert config["init"] == str(finished / "last.safetensors")
    given, _ = load_tensors(finished / "last.safetensors")
    got = runs.final(new).tensors
    distance = (got["model.head.weight"] - given["head.weight"]).abs().max()
    assert 0 < distance < 2e-3
    ended = kinema("train", "tiny-flow", "--init", finished / "config.json", "--out", tmp_path / "bad")
    assert ended.status == 2
    assert not (tmp_path / "bad").exists()


def test_a_loss_that_is_no_number(tmp_path, kinema):
    ended = kinema("train", "tiny-flow", "--poison", 3, "--out", tmp_path / "run")
    assert ended.status == 2
    assert "step 3: loss nan" in ended.err.splitlines()[-1]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_finishes_the_step_and_saves(number, status, tmp_path, kinema):
    run = tmp_path / "run"
    words = ("--steps", 100_000, "--checkpoint-every", 100_000, "--validate-every", 100_000)
    process = runs.start("tiny-flow", *words, "--out", run, "--workers", 1 if number == signal.SIGINT else 0)
    runs.wait_for_step(process, run, 3)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    last = err.splitlines()[-1]
    step = runs.final(run).step
    assert step >= 3
    assert f"saved step {step}; go on with: kinema train --resume {run}" in last
    assert "Traceback" not in err
    assert runs.lines(run)[-1]["step"] == step
    kinema.done("train", "--resume", run, "--steps", step + 1)
    assert runs.final(run).step == step + 1


def test_workers_that_die_again_and_again_end_the_run_cleanly(tmp_path):
    process = runs.start("tiny-flow", "--die", 7, "--workers", 1, "--out", tmp_path / "run")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    # The batch before it may be lost on its way: then the run ends one step earlier.
    assert re.search(r"the data from step [67] on was killed 3 times", err.splitlines()[-1])
    assert f"--resume {tmp_path / 'run'}" in err.splitlines()[-1]
    assert runs.final(tmp_path / "run").step in (6, 7)


def test_a_rate_that_depends_on_the_end_keeps_it(tmp_path, kinema):
    run = tmp_path / "run"
    kinema.done("train", "tiny-flow", "--steps", 4, "--schedule", "onecycle", "--out", run)
    ended = kinema("train", "--resume", run, "--steps", 9)
    assert ended.status == 2
    assert "would have had another rate than it had" in ended.err
    ended = kinema("train", "--resume", run, "--release")
    assert ended.status == 2
    assert "has an end of its own (--schedule onecycle)" in ended.err
    words = ("--schedule", "multistep", "--milestones", "3")
    kinema.done("train", "tiny-flow", "--steps", 4, *words, "--out", tmp_path / "steps")
    kinema.done("train", "--resume", tmp_path / "steps", "--steps", 6)  # nothing before has changed
    rates = [line["lr"] for line in runs.lines(tmp_path / "steps")]
    assert rates == pytest.approx([2e-3 / 3, 4e-3 / 3, 2e-3, 1e-3, 1e-3, 1e-3])


def test_a_state_of_the_version_before_goes_on(finished, kinema):
    """It had one best validation, counted nothing, and did not know the newer settings."""
    state = runs.final(finished)
    old = {"groups": state.settings["groups"], "best": state.settings["best"][0]}
    config = {n: v for n, v in state.config.items() if n not in ("schedule", "accumulate", "first_only")}
    text = json.dumps(
        {
            "format": "kinema-state-1",
            "step": state.step,
            "settings": old,
            "recipe": state.recipe,
            "config": config,
            "version": "0",
        },
        sort_keys=True,
    )
    digest = state_module._digest(state.tensors, text)
    save_tensors(
        finished / "states" / "000000004.safetensors",
        state.tensors,
        metadata={"state": text, "digest": digest},
    )
    kinema.done("train", "--resume", finished, "--steps", 6)
    after = runs.final(finished)
    assert after.step == 6
    assert after.settings["best"][0]["step"] in (4, 6)
    kinema.done("train", "tiny-flow", "--steps", 6, "--out", finished.parent / "whole")
    assert [n for n in runs.differing(after, runs.final(finished.parent / "whole")) if n != "settings"] == []


def test_a_state_of_a_version_to_come_is_refused(finished, kinema):
    path = finished / "states" / "000000004.safetensors"
    tensors, facts = load_tensors(path)
    text = facts["state"].replace("kinema-state-2", "kinema-state-9")
    save_tensors(path, tensors, metadata={"state": text, "digest": state_module._digest(tensors, text)})
    (finished / "states" / "000000003.safetensors").unlink()
    ended = kinema("train", "--resume", finished, "--steps", 6)
    assert ended.status == 2
    assert "was saved as kinema-state-9; this version reads kinema-state-2 and kinema-state-1" in ended.err


def test_a_run_begun_anew_leaves_nothing_of_the_old_one(tmp_path, kinema):
    run = tmp_path / "run"
    kinema.done("train", "tiny-flow", "--keep-best", 3, "--validate-every", 1, "--out", run)
    (run / "mine.txt").write_text("kept")
    assert len(list((run / "best").iterdir())) == 3
    kinema.done("train", "tiny-flow", "--steps", 2, "--picture-every", 0, "--out", run, "--overwrite")
    left = sorted(path.name for path in run.rglob("*") if path.is_file())
    assert left == [
        "000000002.safetensors",
        "best.safetensors",
        "config.json",
        "last.safetensors",
        "log.jsonl",
        "mine.txt",
    ]


def test_help_is_in_groups(kinema):
    out = kinema.done("train", "tiny-flow", "--help").out
    titles = ["the run:", "device and memory:", "optimiser:", "schedule of the learning rate:"]
    places = [out.index(title) for title in titles]
    assert places == sorted(places)
    for name in LoopConfig.model_fields:
        assert name.replace("_", "-") in out, name
    assert {name for names in GROUPS.values() for name in names} <= set(LoopConfig.model_fields)
