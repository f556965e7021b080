"""Weights to be given away: half the size, the card that goes with them, how they are found and loaded."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import kinema
from helpers.pseudo_weights import nvlabs_weights
from kinema.errors import InputError, OutputError, UsageError
from kinema.io.checkpoints import load_tensors, save_tensors
from kinema.models.pwcnet import PWCNet
from kinema.weights import bundled
from kinema.weights.bundled import bundled_weights, find_bundled
from kinema.weights.card import card_path, read_card
from kinema.weights.pack import halve, pack_weights, read_scores

FACTS = {"model": "pwcnet", "preset": "dc", "recipe": "pwcnet-rendered", "step": "1200", "kinema": "0.1.0"}
SAID = {"data": "rendered scenes", "licence": "Apache-2.0"}
SCORE = {
    "protocol": "rendered",
    "model": "pwcnet",
    "data": "sintel-clean:/data/sintel",
    "metrics": {"epe": 1.25, "epe_hidden": None},
    "zero_flow": {"epe": 12.5},
    "counts": {"pairs": 3, "pixels": 4000, "official_pairs": None, "by_metric": {"epe": 4000}},
    "settings": {
        "preset": "dc",
        "weights": "/home/somebody/w.safetensors",
        "precision": "fp32",
        "device": "cpu",
    },
    "versions": {"torch": "2.13.0"},
    "pairs": [],
}


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    """A network without its finest level: the smallest whose weights a run may have."""
    with torch.device("meta"):
        network = PWCNet(connections="plain", finest_level=3)
    return nvlabs_weights(network)


@pytest.fixture
def run(tmp_path: Path, small: dict[str, Tensor]) -> Path:
    """The weights of a training run, in its folder."""
    folder = tmp_path / "run"
    options = json.dumps({"connections": "plain", "finest_level": 3})
    save_tensors(folder / "last.safetensors", small, metadata={**FACTS, "options": options})
    config = {"steps": 1200, "seed": 0, "out": "/home/somebody/run", "init": None, "crops": "192x256:1"}
    (folder / "config.json").write_text(json.dumps({"recipe": "pwcnet-rendered", "config": config}))
    return folder / "last.safetensors"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of that in which the weights lie that come with kinema."""
    folder = tmp_path / "shipped"
    folder.mkdir()
    monkeypatch.setattr(bundled, "FOLDER", folder)
    return folder


def test_rounding_is_what_half_precision_does() -> None:
    """1 + 2^-12 lies between 1 and 1 + 2^-10, nearer to 1; 3e-9 is below the smallest number."""
    tensors = {"a": torch.tensor([1 + 2**-12, 2.0]), "b": torch.tensor([3e-9]), "n": torch.tensor([7])}
    halved, rounding = halve(tensors, path=Path("w"))
    assert halved["a"].tolist() == [1, 2]
    assert halved["b"].tolist() == [0]
    assert {name: tensor.dtype for name, tensor in halved.items()} == {
        "a": torch.float16,
        "b": torch.float16,
        "n": torch.int64,
    }
    assert (rounding.largest, rounding.tensor) == (2**-12, "a")
    assert rounding.relative == pytest.approx(2**-12 / math.sqrt(1 + 4 + 49), rel=1e-3)
    for value in (70000.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="w: a holds numbers"):
            halve({"a": torch.tensor([value])}, path=Path("w"))


def test_the_file_and_its_card(run: Path, small: dict[str, Tensor], tmp_path: Path) -> None:
    (tmp_path / "rendered.json").write_text(json.dumps(SCORE))
    (tmp_path / "two.json").write_text(json.dumps({"results": [SCORE, {**SCORE, "protocol": "sintel"}]}))
    numbers = read_scores([tmp_path / "rendered.json", tmp_path / "two.json"])
    out = tmp_path / "out" / "small.safetensors"
    card = pack_weights(run, out, known_failures=["glass"], numbers=numbers, **SAID)
    assert read_card(out) == card
    tensors, metadata = load_tensors(out)
    assert metadata["recipe"] == "pwcnet-rendered"
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    largest = max((small[name] - tensor.float()).abs().max().item() for name, tensor in tensors.items())
    assert card.rounding is not None
    assert card.rounding.largest == pytest.approx(largest, rel=1e-6)
    assert 1e-5 < card.rounding.relative < 2**-11
    assert out.stat().st_size < 0.51 * run.stat().st_size
    assert card.sha256 == hashlib.sha256(out.read_bytes()).hexdigest()
    assert card.parameters == sum(tensor.numel() for tensor in small.values())
    assert (card.steps, card.recipe, card.kinema, card.licence) == (
        1200,
        "pwcnet-rendered",
        "0.1.0",
        "Apache-2.0",
    )
    assert card.options == {"connections": "plain", "finest_level": 3}
    assert card.settings["out"] == "run"
    assert card.settings["crops"] == "192x256:1"
    assert [score.protocol for score in card.numbers] == ["rendered", "rendered", "sintel"]
    assert card.numbers[0].data == "sintel-clean"
    assert card.numbers[0].counts == {"pairs": 3, "pixels": 4000, "official_pairs": None}
    assert card.numbers[0].settings == {"preset": "dc", "precision": "fp32"}
    assert "/home" not in card_path(out).read_text()


def test_same_weights_same_file(run: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pack_weights(run, tmp_path / f"{name}.safetensors", **SAID)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_what_exists_stays(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    out.with_suffix(".json").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.json exists; add --overwrite"):
        pack_weights(run, out, **SAID)
    assert not out.exists()
    assert pack_weights(run, out, overwrite=True, **SAID).file == "a.safetensors"


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({}, "no weights of a training run"),
        ({"model": "pwcnet", "converted_from": "nvlabs"}, "no weights of a training run"),
        ({**FACTS, "model": "raft"}, "no weights of a training run"),
        ({**FACTS, "preset": "old"}, "preset 'old'"),
        ({**FACTS, "options": "[]"}, "settings"),
        (FACTS, "does not fit pwcnet .preset dc.: .* tensors are missing"),
    ],
)
def test_what_is_not_of_a_run(
    metadata: dict[str, str], words: str, small: dict[str, Tensor], tmp_path: Path
) -> None:
    save_tensors(tmp_path / "w.safetensors", small, metadata=metadata)
    with pytest.raises(InputError, match=words):
        pack_weights(tmp_path / "w.safetensors", tmp_path / "out.safetensors", **SAID)
    assert not (tmp_path / "out.safetensors").exists()


def test_other_names_and_broken_files_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"name a \.safetensors"):
        pack_weights(run, tmp_path / "out.pth", **SAID)
    run.with_name("config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        pack_weights(run, tmp_path / "out.safetensors", **SAID)
    for content in (
        "{",
        "[1]",
        '{"metrics": {}}',
        '{"results": [{"protocol": "p", "data": "d", "metrics": 3}]}',
    ):
        (tmp_path / "n.json").write_text(content)
        with pytest.raises(InputError, match="no result of kinema evaluate"):
            read_scores([tmp_path / "n.json"])


@pytest.mark.parametrize("content", ["{", "[]", '{"file": "a"}', '{"sha256": 3}'])
def test_a_broken_card_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=r"a\.json is no card"):
        read_card(tmp_path / "a.safetensors")
    assert read_card(tmp_path / "b.safetensors") is None


# --- weights that come with kinema ----------------------------------------------------------------


def test_without_a_file_the_way_out_is_named(shipped: Path) -> None:
    assert bundled_weights() == []
    with pytest.raises(UsageError, match=r"without weights for preset dc in this version: .*--weights FILE"):
        kinema.load("pwcnet")


def test_the_file_of_the_preset_is_taken(run: Path, small: dict[str, Tensor], shipped: Path) -> None:
    pack_weights(run, shipped / "pwcnet-dc.safetensors", **SAID)
    assert [(w.model, w.preset) for w in bundled_weights()] == [("pwcnet", "dc")]
    assert find_bundled("pwcnet", "dc") == shipped / "pwcnet-dc.safetensors"
    predictor = kinema.load("pwcnet", precision="fp32", refine="none")
    assert {weight.dtype for weight in predictor.model.parameters()} == {torch.float32}
    for name, weight in predictor.model.named_parameters():
        assert torch.equal(weight, small[name].half().float())
    frames = torch.rand(2, 1, 3, 64, 64)
    named = kinema.load("pwcnet", precision="fp32", weights=shipped / "pwcnet-dc.safetensors")
    assert torch.equal(predictor.flow(*frames), named.flow(*frames))
    assert torch.equal(
        kinema.load("pwcnet", precision="fp32", preset="dc", refine="none").flow(*frames), named.flow(*frames)
    )
    refined = kinema.load("pwcnet", precision="fp32")
    assert refined.origin.refine == "tvl1"  # by default those that come with kinema, and no others
    assert named.origin.refine == "none"
    with pytest.raises(UsageError, match=r"preset tfoptflow.*some for --preset dc.*--weights"):
        kinema.load("pwcnet", preset="tfoptflow")


def test_what_really_comes_with_kinema_is_what_its_card_says() -> None:
    """Nothing is asserted about which there are: each that is there is whole, described, small and loads."""
    for weights in bundled_weights():
        card = weights.card()
        assert card is not None, weights.path.name
        assert card.sha256 == hashlib.sha256(weights.path.read_bytes()).hexdigest()
        assert (card.model, card.preset, card.file) == (weights.model, weights.preset, weights.path.name)
        assert card.numbers, "numbers, with their protocol, belong on the card"
        assert card.known_failures
        assert weights.path.stat().st_size < 40_000_000
        kinema.load(weights.model, preset=weights.preset)
    named = {weights.path.name for weights in bundled_weights()}
    assert {path.name for path in bundled.FOLDER.glob("*.safetensors")} == named
    assert {path.stem for path in bundled.FOLDER.glob("*.json")} == {
        name.rpartition(".")[0] for name in named
    }
