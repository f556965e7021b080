"""The trainings of EDVR: what their sources say, and that each builds something that can be trained."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from helpers.command import Command
from helpers.edvr_weights import edvr_weights
from kinema.apps.train_config import command_type, split
from kinema.cli.parsing import parse
from kinema.data.spec import parse_spec
from kinema.engine.optimizers import build_optimizer, rest
from kinema.engine.schedule import rate_at
from kinema.engine.state import load_weights
from kinema.errors import InputError, UsageError
from kinema.io.checkpoints import load_tensors, save_tensors
from kinema.models.edvr import EDVR
from kinema.ops.resize import matlab_bicubic
from kinema.recipes import RECIPES, find_recipe
from kinema.recipes.edvr import EdvrRenderedConfig
from kinema.recipes.edvr_base import EdvrConfig
from kinema.recipes.edvr_task import EdvrTask
from kinema.recipes.edvr_validation import open_restored

PUBLISHED = sorted(name for name in RECIPES if name.startswith("edvr-") and name != "edvr-rendered")
RATES = {"edvr-m-wotsa": "M_woTSA", "edvr-m": "M", "edvr-l-wotsa": "L_woTSA", "edvr-l": "L"}
TINY = {
    "features": 8,
    "offset_groups": 2,
    "reconstruction_blocks": 1,
    "crop": 16,
    "batch_size": 2,
    "workers": 0,
}


@pytest.fixture
def kinema(capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of seven moving frames with their bicubic quarters."""
    root, rng = tmp_path_factory.mktemp("paired"), np.random.default_rng(0)
    for clip in range(2):
        canvas = cv2.GaussianBlur(rng.uniform(0, 255, (120, 140, 3)), (0, 0), 2)
        canvas = np.clip((canvas - 127) * 3 + 127, 0, 255).astype(np.uint8)
        for frame in range(7):
            sharp = canvas[frame : frame + 96, 2 * frame : 2 * frame + 112]
            for name, picture in (("sharp", sharp), ("low", matlab_bicubic(sharp, scale=0.25))):
                path = root / name / f"c{clip}" / f"{frame:08d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), picture)
    return root


def tiny(tree: Path, **settings: object) -> EdvrConfig:
    words = {"data": f"paired:{tree}", "validation": f"paired:{tree}", "validation_pairs": 2}
    return EdvrConfig(**{**TINY, **words, **settings})


# --- as published ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "theirs"), RATES.items())
def test_rates_are_basicsr_s(name: str, theirs: str, shared: Path) -> None:
    expected = json.loads((shared / "fixtures" / "edvr" / "golden_lr.json").read_text())[theirs]
    config = find_recipe(name)
    for step, rate in expected.items():
        assert rate_at(config, int(step)) == pytest.approx(rate, rel=1e-9, abs=1e-15), step


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_says_how_it_is_run_and_what_to_expect(name: str) -> None:
    words = " ".join((RECIPES[name].__doc__ or "").split())
    for needed in ("Hardware: ", "Expected", "Protocol: ", f"``kinema train {name} --data "):
        assert needed in words, needed
    command = re.search(r"``kinema train ([^`]+)``", words)
    assert command is not None
    kind = type(find_recipe(name))
    _, config = split(
        parse(command_type(find_recipe(name)), command[1].split(), prog="", description=""), kind
    )
    assert str(parse_spec(config.data)[0]) == str(parse_spec(find_recipe(name).data)[0])
    assert (config.init is None) == (find_recipe(name).init is None)
    assert config.needs()


def test_what_the_published_runs_share_and_where_they_differ() -> None:
    for name in PUBLISHED:
        config = find_recipe(name)
        assert (config.steps, config.optimizer, config.weight_decay, config.clip_norm) == (
            600_000,
            "adam",
            0,
            0,
        )
        assert (config.learning_rate, config.lowest_rate, config.best_is) == (4e-4, 1e-7, "highest")
        assert config.crop == (256 if "deblur" in name else 64)
        assert bool(config.first_only) == (name in ("edvr-m", "edvr-l"))
        if name != "edvr-ascend":
            assert (config.batch_size, config.beta2, config.ema_decay) == (32, 0.99, 0.999)
            assert (config.loss, config.loss_epsilon, config.loss_mean, config.loss_weight) == (
                "charbonnier", 1e-12, "samples", 4
            )  # fmt: skip
    seed = find_recipe("edvr-ascend")
    assert (seed.offset_groups, seed.batch_size, seed.beta2, seed.loss) == (1, 4, 0.999, "l1")
    assert (seed.seed, seed.checkpoint_every, seed.log_every) == (20210126, 500, 20)
    # A restart belongs to the next period, and the floor has its height.
    assert rate_at(seed, 149_999) < 2e-7
    assert rate_at(seed, 150_000) == pytest.approx(2e-4)


def test_protocols_of_the_validations() -> None:
    assert find_recipe("edvr-m").validated_by() == "reds4"
    assert find_recipe("edvr-l-vimeo90k").validated_by() == "vimeo90k-y"
    assert EdvrConfig().validated_by() == "frames-rgb"
    with pytest.raises(
        UsageError, match="--protocol sintel: no protocol of restored frames; use one of reds4"
    ):
        EdvrConfig(protocol="sintel").validated_by()


def test_attention_alone_learns_at_first_also_after_a_resume() -> None:
    config = find_recipe("edvr-m").model_copy(update=TINY)
    network = config.network()
    optimizer = build_optimizer(config, network)
    for step, expected in ((0, True), (49_999, True), (50_000, False)):
        for parameter in network.parameters():
            parameter.grad = torch.ones_like(parameter)
        rest(optimizer, step=step)
        still = {name for name, p in network.named_parameters() if p.grad is None}
        assert bool(still) == expected
        assert all(not name.startswith("fusion.") for name in still)
        assert not expected or len(still) == sum(
            not n.startswith("fusion.") for n, _ in network.named_parameters()
        )


def test_stage_2_takes_the_weights_of_stage_1(tmp_path: Path) -> None:
    small = {"features": 8, "offset_groups": 2, "reconstruction_blocks": 1}
    first, second = EDVR("m-wotsa", **small), EDVR(**small)
    first.load_state_dict(edvr_weights(first, dtype=torch.float32))
    save_tensors(tmp_path / "stage1.safetensors", first.state_dict(), metadata={})
    before = {name: tensor.clone() for name, tensor in second.state_dict().items()}
    load_weights(tmp_path / "stage1.safetensors", second)
    for name, tensor in second.state_dict().items():
        source = before[name] if name.startswith("fusion.") else first.state_dict()[name]
        assert torch.equal(tensor, source), name
    with pytest.raises(InputError, match="holds another network"):
        load_weights(
            tmp_path / "stage1.safetensors", EDVR(features=8, offset_groups=2, reconstruction_blocks=2)
        )
    save_tensors(tmp_path / "stage2.safetensors", second.state_dict(), metadata={})
    with pytest.raises(InputError, match="holds another network"):  # attention is not left out the other way
        load_weights(tmp_path / "stage2.safetensors", first)


@pytest.mark.parametrize("text", ["0", "1,,2", "a", "1.5"])
def test_intervals_that_cannot_be(text: str) -> None:
    with pytest.raises(ValidationError, match="intervals"):
        EdvrConfig(intervals=text)
    assert EdvrConfig(intervals="1, 2,3").intervals == "1, 2,3"


def test_folders_have_to_be_named() -> None:
    with pytest.raises(UsageError, match="--data SPEC is missing: this recipe learns from reds@train"):
        find_recipe("edvr-m-wotsa").resolved()


def test_what_the_data_lack_is_validated_on_rendered_clips(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = find_recipe("edvr-m-wotsa").model_copy(update={"data": f"paired:{tree}"})
    assert config.resolved().validation == "rendered"
    assert "--data holds no reds@reds4: validating on rendered clips" in caplog.text


# --- tasks ----------------------------------------------------------------------------------------


def test_counts_and_scale_of_the_terms(tree: Path) -> None:
    torch.manual_seed(0)
    sums, means = (
        tiny(tree, loss_weight=4.0).build(),
        tiny(tree, loss_mean="values", offset_limit=1e-9).build(),
    )
    assert isinstance(sums, EdvrTask)
    batch = sums.source.batch(0, range(2))
    means.network.load_state_dict(sums.network.state_dict())
    with torch.no_grad():
        one, other = (task.losses(task.network, batch, step=0) for task in (sums, means))
    assert list(one) == ["restoration"]
    assert list(other) == ["restoration", "offset_excess"]
    assert one["restoration"].count == 2
    values = 3 * 64 * 64
    mean = other["restoration"].total / other["restoration"].count
    assert (one["restoration"].total / 2 / 4 / values).item() == pytest.approx(mean.item(), rel=1e-5)
    for task, terms in ((sums, one), (means, other)):
        ahead = task.counts(batch, step=0)
        assert {name: float(term.count) for name, term in terms.items()} == {
            n: float(c) for n, c in ahead.items()
        }


def test_validation_scores_beside_plain_enlargement(tree: Path) -> None:
    validation = open_restored(f"paired:{tree}", windows=4, frames=3, scale=4)
    assert list(validation.sets[0].places) == [(0, 0), (0, 3), (1, 0), (1, 3)]

    class Repeats(torch.nn.Module):
        """Gives the truth's bicubic twin back: exactly what the yardstick is."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def forward(self, frames: torch.Tensor, *, keep_offsets: bool = False) -> object:
            from kinema.models.edvr import EdvrOutput

            middle = (frames[:, 1] * 255).round().byte()
            offsets = (
                tuple(torch.full((3, 4, 2, 2), float(level)) for level in range(4)) if keep_offsets else ()
            )
            return EdvrOutput(matlab_bicubic(middle, scale=4.0).float() / 255, offsets)

    terms = validation.measure(Repeats(), rank=0, world=1)
    parts = [validation.measure(Repeats(), rank=rank, world=2) for rank in range(2)]
    means = {name: float(term.total / term.count) for name, term in terms.items()}
    assert means["psnr"] == pytest.approx(means["plain_psnr"], abs=1e-4)
    assert 10 < means["psnr"] < 50
    assert [means[f"offset_{level}"] for level in ("l3", "l2", "l1", "cascade")] == [0, 1, 2, 3]
    assert float(parts[0]["psnr"].total + parts[1]["psnr"].total) == pytest.approx(float(terms["psnr"].total))
    assert validation.metric == "psnr"
    assert validation.pictures(Repeats())["restored"].shape == (96, 3 * 112 + 8, 3)
    with pytest.raises(UsageError, match="comes twice"):
        open_restored(f"paired:{tree},paired:{tree}", windows=1, frames=3, scale=4)


def test_a_run_trains_stops_and_goes_on(kinema: Command, tree: Path, tmp_path: Path) -> None:
    words = ["--data", f"paired:{tree}", "--validation", f"paired:{tree}", "--validation-pairs", "1"]
    for name, value in TINY.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    words += ["--precision", "fp32", "--device", "cpu", "--checkpoint-every", "2", "--picture-every", "0"]
    first, whole = tmp_path / "first", tmp_path / "whole"
    kinema.done("train", "edvr-m-wotsa", *words, "--steps", "2", "--out", first, "-q")
    kinema.done("train", "--resume", first, "--steps", "4", "-q")
    kinema.done("train", "edvr-m-wotsa", *words, "--steps", "4", "--out", whole, "-q")
    ours, metadata = load_tensors(first / "last.safetensors")
    theirs, _ = load_tensors(whole / "last.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert json.loads(metadata["options"]) == {"features": 8, "offset_groups": 2, "reconstruction_blocks": 1}
    assert (metadata["model"], metadata["preset"]) == ("edvr", "m-wotsa")


@pytest.mark.slow
def test_a_small_network_learns_more_than_enlargement(tree: Path) -> None:
    """Some steps on two clips: PSNR rises above bicubic enlargement from well below."""
    torch.manual_seed(0)
    config = tiny(tree, preset="m-wotsa", features=16, offset_groups=4, loss_mean="values", batch_size=4)
    task = config.build()
    optimizer = torch.optim.Adam(task.network.parameters(), lr=1e-3)
    for step in range(250):
        batch = task.source.batch(step, range(4))
        term = task.losses(task.network, batch, step=step)["restoration"]
        optimizer.zero_grad()
        (term.total / term.count).backward()
        optimizer.step()
    with torch.no_grad():
        terms = task.validate(task.network, rank=0, world=1)
    means = {name: float(term.total / term.count) for name, term in terms.items()}
    assert means["psnr"] > means["plain_psnr"] + 0.1


# --- rendered -------------------------------------------------------------------------------------


def test_rendered_clips_are_learned_from_and_sizes_checked(tmp_path: Path) -> None:
    words = {
        **TINY,
        "validation_pairs": 1,
        "cache": tmp_path,
        "pool": 1,
        "clip_frames": 5,
        "clip_size": "64x80",
    }
    task = EdvrRenderedConfig(**words).build()
    batch = task.source.batch(0, range(2))
    assert (batch["low"].shape, batch["sharp"].shape) == ((2, 5, 3, 16, 16), (2, 3, 64, 64))
    for changes, text in (
        ({"clip_frames": 4}, "do not fit into them"),
        ({"clip_size": "60x80"}, "do not fit into them"),
        ({"cache_gib": 1e-6}, "the clips take"),
        ({"preset": "l-deblur"}, "rendered clips are to be enlarged"),
    ):
        with pytest.raises(UsageError, match=text):
            EdvrRenderedConfig(**{**words, **changes}).build()
