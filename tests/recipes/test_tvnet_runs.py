"""TVNet's runs: what is published of them, what they draw, and that one learns, stops and goes on."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import kinema as package
from helpers import runs
from helpers.command import Command
from helpers.moving_sintel import moving_sintel
from kinema.engine.contracts import Draws
from kinema.errors import UsageError
from kinema.io.images import read_image
from kinema.losses.unsupervised_flow import tvnet_unsupervised_loss
from kinema.models.tvnet import TVNet
from kinema.recipes import find_recipe
from kinema.recipes.flow_validation import open_validation
from kinema.recipes.tvnet import TvnetDataConfig, TvnetRenderedConfig
from kinema.recipes.tvnet_source import DrawnOrder, DrawnSource

SCENES = {"alley_1": 1, "market_2": 4}
HELD_OUT = dict.fromkeys(("ambush_2", "cave_4"), 1)
SMALL = {"crop": "32x48", "batch_size": 2, "workers": 0, "device": "cpu", "warps": 1, "iterations": 4}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return moving_sintel(tmp_path_factory.mktemp("sintel"), {**SCENES, **HELD_OUT}, (48, 64))


@pytest.fixture(scope="module")
def flat(tree, tmp_path_factory):
    """The same pairs with frames and flow together."""
    root = tmp_path_factory.mktemp("flat")
    for scene in (tree / "training" / "flow").iterdir():
        folder = root / "MPISintel_train" / scene.name
        shutil.copytree(tree / "training" / "clean" / scene.name, folder)
        shutil.copy(scene / "frame_0001.flo", folder)
    return root


@pytest.fixture
def kinema(capsys):
    return Command(capsys)


def config(tree: Path, **changes: object) -> TvnetDataConfig:
    values = {"data": f"sintel-clean@train:{tree}", "validation": f"sintel-clean@val:{tree}", **SMALL}
    return TvnetDataConfig(**{**values, **changes})


# --- what is published -----------------------------------------------------------------------------------


def test_the_run_of_the_ascend_port() -> None:
    run = find_recipe("tvnet-sintel")
    assert (run.crop, run.batch_size, run.steps, run.learning_rate) == ("436x1024", 1, 10_000, 1e-4)
    assert (run.optimizer, run.schedule, run.weight_decay, run.clip_norm) == ("adam", "constant", 0, 0)
    assert (run.preset, run.scales, run.warps, run.iterations) == ("reference", 1, 1, 50)
    assert (run.kernels, run.start, run.constants, run.loss) == ("per_iteration", "map", "fixed", "epe")
    assert (run.sampling, run.augmentation, run.log_every) == ("scenes", "crop", 1)
    network = run.network()
    assert network.start.flow.shape == (1, 2, 436, 1024)
    assert run.facts()["options"] == {
        "scales": 1, "warps": 1, "iterations": 50, "kernels": "per_iteration", "start": "map",
        "map_height": 436, "map_width": 1024,
    }  # fmt: skip


def test_the_run_of_the_authors() -> None:
    run = find_recipe("tvnet-middlebury")
    assert (run.crop, run.batch_size, run.steps, run.learning_rate) == ("240x240", 32, 2000, 5e-3)
    assert (run.fit, run.sampling, run.validation) == ("resize", "pairs", "procedural@reserved")


def test_weights_of_a_run_say_how_the_network_is_built() -> None:
    for name in ("tvnet-sintel", "tvnet-middlebury", "tvnet-rendered"):
        run = find_recipe(name)
        facts = run.facts()
        assert facts["model"] == "tvnet"
        rebuilt = TVNet(facts["preset"], **facts["options"]).state_dict()
        assert {n: t.shape for n, t in run.network().state_dict().items()} == {
            n: t.shape for n, t in rebuilt.items()
        }
        assert rebuilt


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"constants": "fixed"}, "nothing is learned"),
        ({"kernels": "per_iteration"}, "needs --scales N"),
        ({"biases": "learned"}, "needs learned kernels"),
        ({"kernels": "per_iteration", "scales": 1, "unrolling": "implicit"}, "--kernels shared"),
        ({"crop": "2x8"}, "3x3 is the smallest"),
        ({"crop": "8"}, "is no HEIGHTxWIDTH"),
        ({"data": "Sintel"}, "is not a data spec"),
        ({"precision": "bf16"}, "fp32"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TvnetDataConfig(**changes)


# --- where samples come from -----------------------------------------------------------------------------


def test_scenes_come_equally_often_however_long_they_are() -> None:
    order = DrawnOrder((5,), None, 3, (((0,), (1, 2, 3, 4)),))
    drawn = [order.draw(number).index for number in range(2000)]
    assert drawn == [order.draw(number).index for number in range(2000)]
    counts = np.bincount(drawn, minlength=5)
    assert abs(counts[0] - 1000) < 110
    assert (abs(counts[1:] - 250) < 70).all()
    assert order.generator(order.draw(0)).random() != order.generator(order.draw(1)).random()


def test_a_source_draws_as_it_is_told(tree: Path) -> None:
    turns, pairs, scenes = (config(tree, sampling=s).build().source for s in ("turns", "pairs", "scenes"))
    assert not isinstance(turns, DrawnSource)
    assert pairs.order.scenes == ((tuple(range(5)),),)
    assert sorted(len(scene) for scene in scenes.order.scenes[0]) == [1] * 5  # one pair in each folder
    first, second = scenes.batch(3, range(2)), scenes.batch(3, range(1, 2))
    for name, tensor in first.items():
        assert torch.equal(tensor[1:], second[name]), name


def test_a_whole_frame_is_resized_with_its_flow(tree: Path) -> None:
    task = config(tree, fit="resize", crop="24x32", sampling="pairs").build()
    batch = task.source.batch(0, range(2))
    full = task.source.parts[0].dataset
    mean = np.mean([full[i].flow.mean((0, 1)) for i in range(len(full))], 0)
    drawn = [task.source.order.draw(slot).index for slot in range(2)]
    for slot, index in enumerate(drawn):
        half = full[index].flow.mean((0, 1)) / 2
        assert batch["flow"][slot].mean((1, 2)).tolist() == pytest.approx(half.tolist(), abs=0.2)
    assert np.isfinite(mean).all()
    assert batch["image1"].shape == (2, 3, 24, 32)


def test_rendered_pairs_are_functions_of_step_and_slot_and_keep_their_colours() -> None:
    small = {**SMALL, "crop": "64x64", "validation_pairs": 1}
    source = TvnetRenderedConfig(**small).build().source
    whole, second = source.batch(3, range(2)), source.batch(3, range(1, 2))
    for name, tensor in whole.items():
        assert torch.equal(tensor[1:], second[name]), name
    assert torch.equal(whole["image1"], source.rendered.pairs(3, range(2)).image1)


# --- what is learned from --------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["epe", "legacy", "brightness", "census"])
def test_every_loss_reaches_everything_that_is_learned(tree: Path, loss: str) -> None:
    torch.manual_seed(0)
    task = config(tree, loss=loss, constants="per_warp", kernels="shared", biases="learned", scales=1,
                  start="map").build()  # fmt: skip
    assert isinstance(task, Draws)
    batch = task.source.batch(0, range(2))
    terms = task.losses(task.network, batch, step=0)
    sum(term.total / term.count for term in terms.values()).backward()
    for name, weight in task.network.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0, name
    if loss == "legacy":
        flow = task.network(batch["image1"], batch["image2"]).flow
        published = tvnet_unsupervised_loss(batch["image1"], batch["image2"], flow)
        assert (terms["energy"].total / terms["energy"].count).item() == pytest.approx(published.item())


def test_points_that_are_hidden_or_unknown_weigh_what_is_asked(tree: Path) -> None:
    task = config(tree, hidden_weight=0.0).build()
    batch = dict(task.source.batch(0, range(2)))
    batch["hidden"] = torch.zeros_like(batch["hidden"])
    batch["hidden"][..., :8] = True
    batch["valid"] = batch["valid"].clone()
    batch["valid"][..., -8:] = False
    wrong = {**batch, "flow": batch["flow"].clone()}
    wrong["flow"][..., :8] = wrong["flow"][..., -8:] = 900.0
    with torch.no_grad():
        one, other = (task.losses(task.network, b, step=0)["epe"] for b in (batch, wrong))
    assert float(one.total) == float(other.total)
    assert float(one.count) == 2 * 32 * (48 - 16)


def test_an_energy_learns_from_frames_alone(tree: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    shutil.copytree(tree / "training" / "clean" / "market_2_000", frames)
    task = config(tree, data=f"footage:{frames}", loss="census").build()
    assert not task.source.batch(0, range(2))["valid"].any()
    with pytest.raises(UsageError, match="footage has no true flow"):
        config(tree, data=f"footage:{frames}").build()


# --- the command -----------------------------------------------------------------------------------------

WORDS = ("--crop", "48x64", "--workers", 0, "--device", "cpu", "--iterations", 8, "--validation-pairs", 2)


@pytest.mark.parametrize("layout", ["clean", "flat"])
def test_a_run_logs_validates_scores_and_goes_on_to_the_last_bit(layout, tree, flat, tmp_path, kinema):
    root = flat if layout == "flat" else tree
    data = ("--data", f"sintel-{layout}@train:{root}", "--validate-every", 2)
    run, whole = tmp_path / "run", tmp_path / "whole"
    kinema.done("train", "tvnet-sintel", *data, *WORDS, "--steps", 2, "--out", run)
    scored = ("--then-evaluate", f"sintel-{layout}@val:{root}")
    ended = kinema.done("train", "--resume", run, "--steps", 4, *scored)
    kinema.done("train", "tvnet-sintel", *data, *WORDS, "--steps", 4, "--out", whole)
    assert runs.differing(runs.final(run), runs.final(whole)) == []
    assert f"sintel-{layout}@val:{root}" in ended.out
    kept = json.loads((run / "config.json").read_text())["config"]
    assert kept["validation"] == f"sintel-{layout}@val:{root}"
    told, again = runs.lines(run), runs.lines(whole)
    assert [line["step"] for line in told] == [1, 2, 3, 4]
    assert [line["loss"] for line in told] == [line["loss"] for line in again]
    for count, line in enumerate(told, 1):
        assert line["loss"] == line["epe"]
        assert line["loss_average"] == pytest.approx(np.mean([one["loss"] for one in told[:count]]))
        assert line["ms"] > 0
    assert {"epe", "zero_epe"} <= runs.lines(run, "validation")[-1].keys()


def test_learned_weights_are_used_where_they_are_named(tree, tmp_path, kinema):
    run = tmp_path / "run"
    words = ("--data", f"sintel-clean@train:{tree}", "--learning-rate", 0.05, *WORDS, "--steps", 3)
    kinema.done("train", "tvnet-sintel", *words, "--out", run)
    weights = run / "last.safetensors"
    assert "weights of tvnet, trained by tvnet-sintel" in kinema.done("weights", "info", weights).out
    frames = [tree / "training" / "clean" / "ambush_2" / f"frame_000{n}.png" for n in (1, 2)]
    kinema.done("flow", *frames, "--model", "tvnet", "--weights", weights, "-o", tmp_path / "a.flo")
    model = package.load("tvnet", weights=weights, device="cpu")
    assert model.origin.preset == "reference"
    images = [read_image(frame) for frame in frames]
    flow = model.flow(*images)
    assert np.array_equal(package.io.flow.read_flow(tmp_path / "a.flo").flow, flow)
    classic = package.load("tvnet", preset="reference", device="cpu",
                           options={"scales": 1, "warps": 1, "iterations": 8})  # fmt: skip
    assert np.abs(classic.flow(*images) - flow).mean() > 1e-3
    larger = [np.kron(image, np.ones((2, 2, 1), np.uint8)) for image in images]
    assert np.isfinite(model.flow(*larger)).all()


def test_a_run_begins_from_weights_that_learned_less(tree, tmp_path, kinema):
    data = ("--data", f"sintel-clean@train:{tree}", "--validation", f"sintel-clean@val:{tree}")
    words = (*data, *WORDS, "--kernels", "shared", "--learning-rate", 0.05, "--steps", 2)
    less, more = tmp_path / "less", tmp_path / "more"
    kinema.done("train", "tvnet-sintel", *words, "--out", less)
    words = (*data, *WORDS, "--crop", "24x32", "--learning-rate", 1e-12, "--steps", 1)
    kinema.done("train", "tvnet-sintel", *words, "--init", less / "last.safetensors", "--out", more)
    shared, each = (runs.final(folder).tensors for folder in (less, more))
    assert each["model.kernels.taps"].shape == (8, 8, 2)
    torch.testing.assert_close(
        each["model.kernels.taps"], shared["model.kernels.taps"].expand(8, -1, -1), atol=1e-6, rtol=0
    )
    assert each["model.start.flow"].shape == (1, 2, 24, 32)


def test_no_held_out_scenes_is_told(tree, tmp_path, caplog):
    other = moving_sintel(tmp_path, {"forest_1": 2}, (24, 32))
    logging.getLogger("kinema").propagate = True
    with caplog.at_level(logging.WARNING):
        found = config(tree, data=f"sintel-clean:{other}", validation="sintel-flat@val:DIR").resolved()
    assert found.validation == "procedural@reserved"
    assert "--data holds no sintel-clean@val" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["epe", "census"])
def test_learning_lowers_the_held_out_error_below_that_of_the_solver(loss, tmp_path, kinema):
    """Motion of up to a dozen pixels, three levels; held out are scenes of which nothing is trained on."""
    scenes = {"alley_1": 24, **dict.fromkeys(("ambush_2", "ambush_6", "bamboo_2", "cave_4", "market_6"), 1)}
    tree, run = moving_sintel(tmp_path / "data", scenes, (64, 96)), tmp_path / "run"
    words = ("--data", f"sintel-clean@train:{tree}", "--validation", f"sintel-clean@val:{tree}",
             "--preset", "corrected", "--scales", 3, "--warps", 2, "--iterations", 10, "--crop", "64x96",
             "--constants", "per_warp", "--kernels", "fixed", "--start", "none", "--positions", "constant",
             "--batch-size", 4, "--learning-rate", 0.05, "--steps", 40, "--clip-norm", 1, "--workers", 0,
             "--device", "cpu", "--loss", loss)  # fmt: skip
    kinema.done("train", "tvnet-sintel", *words, "--out", run)
    solver = TVNet(scales=3, warps=2, iterations=10)
    solver.register_parameter("device", torch.nn.Parameter(torch.zeros(0)))
    with torch.no_grad():
        before = open_validation(f"sintel-clean@val:{tree}", pairs=9).measure(solver, rank=0, world=1)["epe"]
    untrained = float(before.total) / float(before.count)
    learned = runs.lines(run, "validation")[-1]["epe"]
    assert learned < 0.95 * untrained, (learned, untrained)
