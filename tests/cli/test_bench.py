"""`kinema bench`: a table, a JSON file, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers import tiny_flow  # noqa: F401  it makes its recipe known
from helpers.command import Command, tree
from kinema.apps.bench import moving_texture
from kinema.models import list_models

SMALL = ("--size", "40x56", "--runs", 3)


@pytest.fixture
def kinema(capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


def test_the_table_says_what_the_number_depends_on(kinema: Command) -> None:
    ended = kinema.done("bench", *SMALL)
    for word in (
        *list_models("flow"),
        "corrected",
        "fp32",
        "40x56",
        " thread",
        "median of 3 after 1",
        torch.__version__,
    ):
        assert word in ended.out


def test_the_json_file(kinema: Command, tmp_path: Path) -> None:
    said = tmp_path / "bench.json"
    ended = kinema.done("bench", "tvnet", "--preset", "reference", *SMALL, "--json", said, "-q")
    assert (ended.out, ended.err) == ("", "")
    content = json.loads(said.read_text())
    row = content["rows"][0]
    assert row["model"] == "tvnet"
    assert row["preset"] == "reference"
    assert 0 < row["fastest_ms"] <= row["median_ms"] <= row["slowest_ms"]
    assert row["peak_mib"] > 10
    assert content["size_hw"] == [40, 56]
    assert content["threads"] == torch.get_num_threads()
    assert content["versions"]["torch"]
    again = kinema("bench", *SMALL, "--json", said)
    assert again.status == 2
    assert "--overwrite" in again.err


def test_no_warm_up(kinema: Command, tmp_path: Path) -> None:
    said = tmp_path / "bench.json"
    kinema.done("bench", "--size", "16x16", "--runs", 1, "--warm-up", 0, "--json", said)
    row = json.loads(said.read_text())["rows"][0]
    assert row["first_ms"] is None
    assert row["fastest_ms"] == row["slowest_ms"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("raft",), ("unknown model 'raft'",)),
        (("--size", "40"), ("--size", "436x1024")),
        (("--size", "0x5"), ("--size",)),
        (("--size", "1x5"), ("too small",)),
        (("--json", ".", "--overwrite"), ("is a folder",)),
        (("tvnet", "--weights", "w.safetensors"), ("w.safetensors", "no such file")),
        (("--runs", "0"), ("--runs", "at least 1")),
        (("--device", "gpu"), ("--device",)),
        (("--precision", "fp16"), ("fp32 only",)),
    ],
)
def test_refusals(kinema: Command, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    ended = kinema("bench", *words)
    assert ended.status == 2
    assert len(ended.err.strip().splitlines()) == 1
    for part in parts:
        assert part in ended.err


def test_the_frames_are_the_same_every_time_and_move() -> None:
    first, second = moving_texture((20, 30))
    again, _ = moving_texture((20, 30))
    assert torch.equal(first, again)
    assert torch.equal(second[..., :-2, 3:], first[..., 2:, :-3])


# --- training ---------------------------------------------------------------------------------------

TRAIN = ("--train", "tiny-flow", "--steps", 3, "--warm-up", 1)


def test_training_says_where_the_time_goes(kinema: Command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = kinema.done("bench", *TRAIN, "--batch-size", 6, "--json", "out.json")
    for word in ("ms per step", "data ", "compute ", "samples/s", "MiB", "tiny-flow, batch of 6 at 48x48",
                 "1 process on cpu", "fp32", "median of 3 after 1", torch.__version__):  # fmt: skip
        assert word in ended.out
    assert tree(tmp_path) == ["out.json"]  # no run, no state
    found = json.loads((tmp_path / "out.json").read_text())
    assert 0 < found["fastest_ms"] <= found["ms"] <= found["slowest_ms"]
    assert found["data_ms"] > 0
    assert found["data_ms"] + found["compute_ms"] == pytest.approx(found["ms"], rel=0.5)
    mean_ms = 1000 * 6 / found["samples_per_s"]
    assert found["fastest_ms"] <= mean_ms <= found["slowest_ms"]
    shares = {share["part"]: share for share in found["shares"]}
    assert list(shares)[-1] == "rest"
    assert {"convolution, forward", "convolution, backward", "activation", "optimiser"} <= set(shares)
    assert sum(share["percent"] for share in shares.values()) == pytest.approx(100, abs=0.1)
    assert shares["convolution, backward"]["ms"] > 0
    assert len(found["operators"]) == 10
    assert found["sizes_hw"] == [[48, 48]]
    assert found["peak_mib"] > 50
    assert found["settings"]["batch_size"] == 6
    assert found["settings"]["steps"] == 12  # the recipe's own: they decide the rate


@pytest.mark.slow
def test_training_of_pwcnet_names_its_operators(kinema: Command, tmp_path: Path) -> None:
    said = tmp_path / "bench.json"
    words = (
        "--crops",
        "64x128:1",
        "--batch-size",
        2,
        "--workers",
        0,
        "--device",
        "cpu",
        "--precision",
        "bf16",
    )
    kinema.done("bench", "--train", "pwcnet-rendered", "--steps", 1, *words, "--json", said, "-q")
    found = json.loads(said.read_text())
    parts = {share["part"] for share in found["shares"]}
    assert parts >= {"cost volume", "flow head", "warp", "convolution, backward", "copy, cast, join", "rest"}
    assert found["sizes_hw"] == [[64, 128]]
    assert "bf16" in found["device"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--train",), ("--train needs a recipe", "pwcnet-rendered")),
        (("--train", "--steps", "3"), ("--train needs a recipe",)),
        (("--train=",), ("--train needs a recipe",)),
        (("--train", "tiny-flwo"), ("did you mean tiny-flow",)),
        ((*TRAIN, "--out", "here"), ("unknown option --out",)),
        (("--train", "tiny-flow", "--steps", 0), ("--steps must be at least 1",)),
        ((*TRAIN, "--poison", "2"), ("step 2: loss nan",)),
        (("--train", "pwcnet-rendered", "--crops", "5"), ("--crops", "384x448:2")),
        ((*TRAIN, "--json", "/"), ("is a folder",)),
        (("tvnet", *TRAIN), ("unexpected argument tvnet",)),
        (("--steps", 3), ("unknown option --steps",)),
    ],
)
def test_training_refusals(kinema: Command, words: tuple[object, ...], parts: tuple[str, ...]) -> None:
    ended = kinema("bench", *words)
    assert ended.status == 2
    assert ended.err.strip().splitlines()[-1].startswith("kinema: error: ")
    for part in parts:
        assert part in ended.err


def test_training_help_has_the_recipes_settings(kinema: Command) -> None:
    out = kinema("bench", "--train", "pwcnet-rendered", "--help").out
    assert "usage: kinema bench --train RECIPE [OPTIONS]" in out
    for option in ("--crops", "--batch-size", "--precision", "--warm-up"):
        assert option in out
    assert "--checkpoint-every" not in out
    assert "--train" in kinema("bench", "--help").out
