"""The published runs of PWC-Net: what their sources say of data, crops, batches and rates."""

from __future__ import annotations

import re

import pytest

from kinema.apps.train_config import command_type, split
from kinema.cli.parsing import parse
from kinema.data.sampler import composition
from kinema.data.spec import parse_spec
from kinema.engine.schedule import rate_at
from kinema.recipes import RECIPES, find_recipe

PUBLISHED = sorted(name for name in RECIPES if name.startswith("pwcnet-") and name != "pwcnet-rendered")

# name -> crop, batch, steps, {step: rate}
TABLE: dict[str, tuple[str, int, int, dict[int, float]]] = {
    "pwcnet-chairs-long": (
        "384x448", 8, 1_200_000,
        {0: 1e-4, 399_999: 1e-4, 400_000: 5e-5, 600_000: 2.5e-5, 800_000: 1.25e-5, 1_000_000: 6.25e-6},
    ),
    "pwcnet-things-fine": (
        "384x768", 4, 500_000, {0: 1e-5, 199_999: 1e-5, 200_000: 5e-6, 300_000: 2.5e-6, 400_000: 1.25e-6},
    ),
    "pwcnet-sintel-finetune": (
        "384x768", 4, 200_000, {0: 1e-4, 80_000: 1e-4, 80_001: 5e-5, 120_001: 2.5e-5, 199_999: 1.25e-5},
    ),
    "pwcnet-sintel-finetune-legacy": (
        "384x768", 4, 200_000, {0: 1e-4, 80_000: 1e-4, 80_001: 5e-5, 120_001: 2.5e-5, 199_999: 1.25e-5},
    ),
    "pwcnet-sintel-finetune-second": ("384x768", 4, 60_000, {0: 1e-5, 20_001: 5e-6, 59_999: 2.5e-6}),
    "pwcnet-multisteps": (
        "256x448", 32, 600_000,
        {0: 1e-4, 200_000: 1e-4, 200_001: 5e-5, 300_001: 2.5e-5, 400_001: 1.25e-5, 599_999: 6.25e-6},
    ),
    "pwcnet-cyclic": (
        "256x448", 8, 200_000,
        {0: 1e-5, 10_000: 2.55e-4, 20_000: 5e-4, 40_000: 1e-5, 60_000: 2.55e-4, 100_000: 1.325e-4},
    ),
    "pwcnet-onecycle-chairs": (
        "384x448", 8, 1_200_000, {0: 1.6e-5, 59_999: 4e-4, 1_199_999: 1.6e-9},
    ),
    "pwcnet-onecycle-things": ("384x768", 4, 1_200_000, {59_999: 1.25e-4}),
    "pwcnet-mmflow-sintel": (
        "384x768", 4, 300_000,
        {0: 3e-5, 44_999: 3e-5, 45_000: 1.5e-5, 97_500: 3e-5 / 32, 149_999: 3e-5 / 1024,
         150_000: 2e-5, 195_000: 1e-5, 299_999: 2e-5 / 1024},
    ),
    "pwcnet-mmflow-kitti": ("320x896", 4, 300_000, {0: 3e-5, 150_000: 2e-5}),
    "pwcnet-plus-sintel": (
        "320x768", 4, 750_000,
        {0: 5e-5, 149_999: 5e-5 / 1024, 150_000: 3e-5, 300_000: 2e-5, 450_000: 1e-5, 600_000: 5e-6},
    ),
    "pwcnet-plus-kitti": (
        "320x896", 4, 600_000, {0: 4e-5, 150_000: 4e-5, 300_000: 2e-5, 450_000: 1e-5, 599_999: 1e-5 / 1024},
    ),
}  # fmt: skip


def test_the_table_is_whole() -> None:
    assert sorted(TABLE) == PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_crop_batch_steps_and_rates(name: str) -> None:
    config, (crop, batch, steps, rates) = find_recipe(name), TABLE[name]
    assert (config.crop, config.batch_size, config.steps) == (crop, batch, steps)
    for step, rate in rates.items():
        assert rate_at(config, step) == pytest.approx(rate, rel=1e-6), step


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_says_how_it_is_run_and_what_to_expect(name: str) -> None:
    text = RECIPES[name].__doc__ or ""
    words = " ".join(text.split())
    for needed in ("Hardware: ", "Expected", f"``kinema train {name} --data "):
        assert needed in words, needed
    assert "rotocol" in words or "test server" in words
    assert re.search(r"\(dc\)|\(tfoptflow\)", text.splitlines()[0])
    command = re.search(r"``kinema train ([^`]+)``", words)
    assert command is not None
    kind = type(find_recipe(name))
    parsed = parse(command_type(find_recipe(name)), command[1].split(), prog="", description="")
    _, config = split(parsed, kind)
    assert [one.name for one in parse_spec(config.data)] == [
        one.name for one in parse_spec(find_recipe(name).data)
    ]
    assert (config.init is None) == (find_recipe(name).init is None)


@pytest.mark.parametrize("name", PUBLISHED)
def test_batches_are_whole_blocks_of_the_mix_or_long_ones(name: str) -> None:
    config = find_recipe(name)
    shares = composition(tuple(spec.weight for spec in parse_spec(config.data)))
    if len(shares) > 1 and max(shares) < 3:
        assert config.batch_size % sum(shares) == 0
    assert len(config.augmentation.split(",")) in (1, len(shares))
    assert config.needs()


def test_plus_sintel_sees_two_of_sintel_and_one_each_of_the_others() -> None:
    specs = parse_spec(find_recipe("pwcnet-plus-sintel").data)
    assert [spec.name for spec in specs] == ["sintel", "sintel", "kitti2015", "custom"]
    assert {spec.weight for spec in specs} == {1.0}


def test_tfoptflow_s_own_settings() -> None:
    legacy, mixed = find_recipe("pwcnet-sintel-finetune-legacy"), find_recipe("pwcnet-multisteps")
    assert (legacy.preset, legacy.loss, legacy.optimizer, legacy.loss_q) == (
        "tfoptflow", "legacy-robust", "sgd", 0.4
    )  # fmt: skip
    assert (legacy.loss_epsilon, mixed.loss_epsilon) == (0.01, 0.0)
    assert (legacy.weight_decay, legacy.decay_biases, legacy.clip_norm) == (4e-4, True, 0)
    assert (mixed.loss, mixed.downsampling, mixed.optimizer) == ("multiscale", "subsample", "adam")
    weights = [spec.weight for spec in parse_spec(mixed.data)]
    assert weights[0] / weights[1] == pytest.approx(22_232 / (41_282 - 22_232), rel=1e-3)


def test_the_corrected_fine_tuning_differs_in_the_loss() -> None:
    ours, legacy = find_recipe("pwcnet-sintel-finetune"), find_recipe("pwcnet-sintel-finetune-legacy")
    assert (ours.loss, ours.optimizer, ours.preset) == ("robust", "adam", "dc")
    for name in ("steps", "milestones", "learning_rate", "crop", "batch_size", "augmentation"):
        assert getattr(ours, name) == getattr(legacy, name), name
