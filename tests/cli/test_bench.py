"""`kinema bench`: a table, a JSON file, and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.command import Command
from kinema.apps.bench import moving_texture
from kinema.models import MODELS

SMALL = ("--size", "40x56", "--runs", 3)


@pytest.fixture
def kinema(capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


def test_the_table_says_what_the_number_depends_on(kinema: Command) -> None:
    ended = kinema.done("bench", *SMALL)
    for word in (*MODELS, "corrected", "fp32", "40x56", " thread", "median of 3 after 1", torch.__version__):
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
        (("tvnet", "--weights", "w.safetensors"), ("--weights w.safetensors",)),
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
