"""Runs on labelled data: what is read, validated, begun from; and that one learns, in one process and two."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from helpers import runs
from helpers.command import Command
from helpers.moving_sintel import moving_sintel
from kinema.engine.contracts import CountsAhead, Draws
from kinema.engine.state import save_weights
from kinema.errors import InputError, UsageError
from kinema.evaluation.flow_scoring import FlowScorer
from kinema.evaluation.protocols import get_flow_protocol
from kinema.io.checkpoints import load_tensors
from kinema.models.pwcnet import PWCNet
from kinema.recipes import find_recipe
from kinema.recipes.flow_validation import open_validation, predict
from kinema.recipes.labelled import settled_validation
from kinema.recipes.pwcnet_base import PwcnetNetworkConfig
from kinema.recipes.pwcnet_labelled import PwcnetLabelledConfig

HELD_OUT = dict.fromkeys(("ambush_2", "ambush_6", "bamboo_2", "cave_4", "market_6", "temple_2"), 1)
SMALL = {"crop": "64x128", "batch_size": 4, "workers": 0, "device": "cpu", "connections": "plain"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return moving_sintel(tmp_path_factory.mktemp("sintel"), {"alley_1": 60, **HELD_OUT})


@pytest.fixture
def kinema(capsys):
    return Command(capsys)


def config(tree, **changes):
    values = {
        "data": f"sintel-clean@train:{tree}",
        "validation": f"sintel-clean@val:{tree}",
        **SMALL,
        **changes,
    }
    return PwcnetLabelledConfig(**values)


# --- what a run is made of -----------------------------------------------------------------------------


def test_a_task_reads_augments_and_learns_from_the_data(tree):
    task = config(tree, augmentation="raft-sintel").build()
    batch = task.source.batch(0, range(4))
    assert batch["image1"].shape == (4, 3, 64, 128)
    assert isinstance(task, CountsAhead)
    assert isinstance(task, Draws)
    terms = task.losses(task.network, batch, step=0)
    assert list(terms) == ["level6", "level5", "level4", "level3", "level2"]
    sum(term.total / term.count for term in terms.values()).backward()
    for name, weight in task.network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name


def test_every_spec_may_have_an_augmentation_of_its_own(tree):
    both = f"2*sintel-clean@train:{tree},sintel-clean@val:{tree}"
    one = config(tree, data=both, augmentation="crop").build().source.parts
    two = config(tree, data=both, augmentation="crop,raft-kitti").build().source.parts
    assert [type(part.augmentation).__name__ for part in one] == ["CropOnly", "CropOnly"]
    assert [type(part.augmentation).__name__ for part in two] == ["CropOnly", "RaftStyle"]
    assert [part.weight for part in two] == [2, 1]
    assert [len(part.dataset) for part in two] == [60, 6]
    with pytest.raises(UsageError, match="--augmentation crop,crop,crop: give one name, or one per SPEC"):
        config(tree, data=both, augmentation="crop,crop,crop").build()
    with pytest.raises(UsageError, match="unknown augmentation 'paint'"):
        config(tree, augmentation="paint").build()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"crop": "384"}, "is no HEIGHTxWIDTH"),
        ({"crop": "380x448"}, "multiples of 64"),
        ({"crop": "0x64"}, "multiples of 64"),
        ({"data": "Sintel"}, "is not a data spec"),
        ({"augmentation": "crop,"}, "names no augmentation"),
        ({"loss": "best"}, "loss"),
        ({"nonsense": 1}, "extra"),
    ],
)
def test_settings_that_cannot_be(changes, says):
    with pytest.raises(ValidationError, match=says):
        PwcnetLabelledConfig(**changes)


@pytest.mark.parametrize("preset", ["dc", "tfoptflow"])
def test_both_networks_and_their_options(tree, preset):
    made = config(tree, preset=preset, matching="cosine", finest_level=3)
    settings = made.build().network.settings
    assert (settings.matching, settings.connections, settings.finest_level) == ("cosine", "plain", 3)
    assert settings.context == ("every_level" if preset == "tfoptflow" else "finest")
    options = {"connections": "plain", "finest_level": 3, "matching": "cosine"}
    assert made.facts() == {"model": "pwcnet", "preset": preset, "options": options}


# --- validation ------------------------------------------------------------------------------------------


class Still(torch.nn.Module):
    """Says (1, 0) everywhere."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, image1, image2):
        from kinema.outputs import FlowOutput

        assert image1.dtype == torch.float32
        assert image1.max() <= 1
        flow = torch.zeros(len(image1), 2, *image1.shape[-2:])
        flow[:, 0] = self.weight
        return FlowOutput(flow=flow)


@pytest.mark.parametrize("protocol", ["sintel", "sintel-per-image", "kitti15"])
@pytest.mark.parametrize("world", [1, 2, 4, 9])
def test_validation_is_the_protocol_s_own_number(tree, protocol, world):
    validation = open_validation(f"sintel-clean@val:{tree}", protocol=protocol, pairs=200)
    network = Still()
    with torch.no_grad():
        parts = [validation.measure(network, rank=rank, world=world) for rank in range(world)]
    scorer = FlowScorer(get_flow_protocol(protocol))
    for sample in validation.sets[0].dataset:
        with torch.no_grad():
            scorer.add(predict(network, sample, torch.device("cpu")), sample)
    assert validation.metric == "epe"
    for name, value in scorer.metrics().items():
        if name in parts[0]:
            count = sum(float(part[name].count) for part in parts)
            total = sum(float(part[name].total) for part in parts)
            assert bool(count) == (value is not None), name
            assert value is None or total / count == pytest.approx(value, rel=1e-5), name
    assert {"zero_epe", "fl_all"} <= parts[0].keys()


def test_several_sets_and_fewer_pairs(tree):
    text = f"sintel-clean@val:{tree},sintel-clean@train:{tree}"
    validation = open_validation(text, pairs=5)
    assert [one.places for one in validation.sets] == [(0, 1, 2, 3, 4), (0, 12, 24, 36, 48)]
    assert [one.prefix for one in validation.sets] == ["", "sintel-clean@train_"]
    terms = validation.measure(Still(), rank=0, world=1)
    assert float(terms["sintel-clean@train_epe"].count) == 5 * 80 * 144
    picture = validation.pictures(Still())["flow"]
    assert picture.dtype == np.uint8
    assert picture.shape[1] > 4 * 144
    with pytest.raises(UsageError, match="comes twice"):
        open_validation(f"{text},sintel-clean@val:{tree}", pairs=5)
    with pytest.raises(UsageError, match="weights are for training"):
        open_validation(f"2*sintel-clean@val:{tree}", pairs=5)
    with pytest.raises(InputError, match=r"^--validation sintel-clean:/nowhere"):
        open_validation("sintel-clean:/nowhere", pairs=5)
    with pytest.raises(UsageError, match="scores depth, not flow"):
        open_validation(f"sintel-clean@val:{tree}", protocol="depth", pairs=5)


def test_rendered_pairs_are_rendered_once(monkeypatch):
    validation = open_validation("procedural@reserved", pairs=2)
    first = validation.measure(Still(), rank=0, world=1)
    monkeypatch.setattr("kinema.data.procedural.rendered_set.rendered_sample", None)
    second = validation.measure(Still(), rank=0, world=1)
    assert float(first["epe"].total) == float(second["epe"].total)


def test_a_recipe_s_own_validation_lies_where_the_data_lie(tree, tmp_path, caplog):
    data = f"sintel-clean@train:{tree}"
    assert settled_validation("sintel-clean@val:DIR", data) == f"sintel-clean@val:{tree}"
    assert settled_validation("sintel-clean@val:/x", data) == "sintel-clean@val:/x"
    other = moving_sintel(tmp_path, {"forest_1": 2}, (16, 16))
    logging.getLogger("kinema").propagate = True
    with caplog.at_level(logging.WARNING):
        assert settled_validation("sintel-clean@val:DIR", f"sintel-clean:{other}") == "procedural@reserved"
    assert "--data holds no sintel-clean@val: validating on procedural@reserved" in caplog.text


def test_pairs_that_are_both_learned_and_validated_are_told(tree, caplog):
    logging.getLogger("kinema").propagate = True
    with caplog.at_level(logging.WARNING):
        config(tree, data=f"sintel-clean:{tree}").build()
    assert "6 of 6 validation pairs are learned from too" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        config(tree).build()
    assert "learned from" not in caplog.text


# --- where the weights begin -----------------------------------------------------------------------------


def test_no_data_named_says_what_to_type():
    with pytest.raises(
        UsageError, match=r"--data SPEC is missing: this recipe learns from flyingchairs@train; "
    ):
        find_recipe("pwcnet-chairs-long").resolved()


def test_fine_tuning_begins_from_bundled_weights(tree, tmp_path, monkeypatch):
    made = config(tree, init="bundled", matching="auto")
    monkeypatch.setattr("kinema.weights.bundled.FOLDER", tmp_path)
    with pytest.raises(UsageError, match=r"--init FILE is missing: .* \(preset dc\)"):
        made.resolved()
    assert made.model_copy(update={"init": type(tmp_path)("random")}).resolved().init is None
    path = tmp_path / "pwcnet-dc.safetensors"
    facts = {"model": "pwcnet", "preset": "dc", "options": {"connections": "plain", "matching": "cosine"}}
    save_weights(path, PWCNet(connections="plain", matching="cosine"), facts=facts)
    resolved = made.resolved()
    assert (resolved.init, resolved.matching) == (path, "cosine")
    assert resolved.resolved() == resolved


def test_matching_follows_the_weights_and_a_difference_is_told(tmp_path, caplog):
    path = tmp_path / "old.safetensors"
    save_weights(path, PWCNet(connections="plain"), facts={"model": "pwcnet", "preset": "dc"})
    logging.getLogger("kinema").propagate = True
    with caplog.at_level(logging.WARNING):
        made = PwcnetNetworkConfig(init=path, matching="auto").resolved()
        assert made.matching == "product"
        assert not caplog.text
        assert PwcnetNetworkConfig(init=path, matching="cosine").resolved().matching == "cosine"
    assert "was trained with --matching product, and goes on with cosine" in caplog.text
    assert PwcnetNetworkConfig(matching="auto").resolved().matching == "product"


# --- the command -----------------------------------------------------------------------------------------

WORDS = ("--crop", "64x128", "--batch-size", 2, "--workers", 0, "--device", "cpu", "--connections", "plain",
         "--finest-level", 3, "--log-every", 1, "--precision", "fp32")  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pwcnet-sintel-finetune"], "--data SPEC is missing: this recipe learns from sintel-clean@train"),
        (["pwcnet-chairs-long", "--data", "flyingchairs:/nowhere"], "no such folder: /nowhere"),
        (["pwcnet-chairs-long", "--data", "reds:."], "reds has no true flow"),
        (["pwcnet-chairs-long", "--data", "sintel-clean@val"], "needs a folder"),
        (["pwcnet-chairs-long", "--data", "{tree}", "--augmentation", "none"], "unknown augmentation 'none'"),
        (["pwcnet-chairs-long", "--data", "{tree}", "--protocol", "best"], "--protocol best: unknown"),
        (["pwcnet-chairs-long", "--data", "{tree}", "--crop", "100x100"], "--crop: '100x100'"),
        (
            ["pwcnet-chairs-long", "--data", "{tree}", "--then-evaluate", "kitti2015:/no"],
            "--then-evaluate kitti2015:/no: no such folder",
        ),
        (
            ["pwcnet-chairs-long", "--data", "{tree}", "--then-evaluate", "2*{tree}"],
            "weights are for training mixes",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(words, says, tree, tmp_path, kinema):
    words = [word.format(tree=f"sintel-clean:{tree}") for word in words]
    ended = kinema("train", *words, "--out", tmp_path / "run")
    assert ended.status == 2, ended.err
    assert says in ended.err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_mistake_does_not_cost_the_run_that_is_overwritten(tmp_path, kinema, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    words = ("--data", "sintel-clean:/nowhere", "--out", tmp_path / "run", "--overwrite")
    assert kinema("train", "pwcnet-chairs-long", *words).status == 2
    assert (tmp_path / "run" / "config.json").read_text() == "{}"


@pytest.mark.slow
def test_a_run_keeps_what_it_settled_and_goes_on(tree, tmp_path, kinema):
    run = tmp_path / "run"
    words = ("--data", f"sintel-clean@train:{tree}", "--init", "random", *WORDS)
    kinema.done("train", "pwcnet-sintel-finetune", *words, "--steps", 2, "--out", run)
    kept = json.loads((run / "config.json").read_text())["config"]
    assert (kept["validation"], kept["init"], kept["matching"]) == (
        f"sintel-clean@val:{tree}",
        None,
        "product",
    )
    kinema.done("train", "--resume", run, "--steps", 3)
    kinema.done("train", "pwcnet-sintel-finetune", *words, "--steps", 3, "--out", tmp_path / "whole")
    assert runs.differing(runs.final(run), runs.final(tmp_path / "whole")) == []
    assert (run / "pictures" / "000000002-flow.png").is_file()
    validated = runs.lines(run, "validation")[-1]
    assert None not in validated.values()  # what no pair has, such as an occlusion mask, is left out
    assert "epe_occluded" not in validated


@pytest.mark.slow
def test_training_and_scoring_in_one_command(tree, tmp_path, kinema):
    run, report = tmp_path / "run", tmp_path / "r.json"
    words = ("--data", f"sintel-clean@train:{tree}", "--init", "random", *WORDS, "--matching", "cosine")
    scored = f"sintel-clean@val:{tree}", f"sintel-clean@train:{tree}"
    ended = kinema.done("train", "pwcnet-sintel-finetune", *words, "--steps", 2, "--out", run,
                        "--json", report, "--then-evaluate", *scored)  # fmt: skip
    table = ended.out.splitlines()
    for spec in scored:
        assert sum(line.lstrip().startswith(spec) for line in table) == 1
    assert "epe of zero flow" in ended.out
    result = json.loads(report.read_text())
    assert result["protocol"] == "sintel"
    both = result["evaluations"]
    assert [one["data"] for one in both] == list(scored)
    assert both[0]["metrics"]["epe"] == pytest.approx(result["metrics"]["epe"], rel=1e-3)
    again = kinema.done("evaluate", "pwcnet", "--weights", run / "last.safetensors", "--data", scored[0],
                        "--device", "cpu", "--json", tmp_path / "e.json")  # fmt: skip
    assert again.status == 0
    assert json.loads((tmp_path / "e.json").read_text())["metrics"] == both[0]["metrics"]


@pytest.mark.slow
def test_fine_tuning_lowers_the_held_out_error_in_one_process_and_in_two(tree, tmp_path, kinema):
    """From weights that know a little; held out are scenes of which nothing is trained on."""
    begun, data = tmp_path / "begun", ("--data", f"sintel-clean@train:{tree}")
    words = (*WORDS, "--batch-size", 8, "--picture-every", 0, "--weight-decay", 0)
    kinema.done("train", "pwcnet-sintel-finetune", *data, *words, "--init", "random", "--matching", "cosine",
                "--loss", "multiscale", "--augmentation", "crop", "--learning-rate", 1e-3, "--steps", 40,
                "--ema-decay", 0.9, "--out", begun)  # fmt: skip
    before = runs.lines(begun, "validation")[-1]["epe"]
    tuned = (*data, *words, "--init", begun / "last.safetensors", "--learning-rate", 1e-3, "--steps", 60,
             "--augmentation", "crop", "--ema-decay", 0.9)  # fmt: skip
    errors = {}
    for processes in (1, 2):
        out = tmp_path / f"tuned-{processes}"
        scored, report = f"sintel-clean@val:{tree}", tmp_path / f"{processes}.json"
        told = runs.done("pwcnet-sintel-finetune", *tuned, "--out", out, "--then-evaluate", scored,
                         "--json", report, processes=processes)  # fmt: skip
        errors[processes] = runs.lines(out, "validation")[-1]["epe"]
        evaluated = json.loads(report.read_text())["evaluations"]
        assert [one["data"] for one in evaluated] == [scored]
        assert evaluated[0]["metrics"]["epe"] == pytest.approx(errors[processes], rel=1e-3)
        assert f"training on {processes} process" in told
        _, facts = load_tensors(out / "last.safetensors")
        assert json.loads(facts["options"])["matching"] == "cosine"  # as in the weights it began from
    print(f"held-out endpoint error {before:.3f} px before, {errors} after")
    assert errors[1] < 0.85 * before
    assert errors[2] < 0.85 * before
    one, two = ([line["loss"] for line in runs.lines(tmp_path / f"tuned-{n}")[:3]] for n in (1, 2))
    assert one == pytest.approx(two, rel=1e-3)  # later rounding sends Adam other ways
