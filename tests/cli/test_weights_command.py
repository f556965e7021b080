"""`kinema weights`: what there is, what a file is, converting, packing; and clear refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.command import Command, tree
from helpers.foreign_weights import as_sniklaus
from helpers.pseudo_weights import nvlabs_weights
from kinema.engine.state import TrainState, save_state
from kinema.io.checkpoints import load_tensors, save_tensors
from kinema.io.flow import read_flow, write_flow
from kinema.io.images import write_image
from kinema.models import MODELS
from kinema.models.pwcnet import PWCNet
from kinema.weights import bundled

FACTS = {"model": "pwcnet", "preset": "dc", "recipe": "pwcnet-rendered", "step": "1200", "kinema": "0.1.0"}
SAID = ("--data", "rendered scenes", "--licence", "Apache-2.0")


@pytest.fixture
def kinema(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """In a version that ships what the folder `shipped` holds, in an empty folder."""
    (tmp_path / "shipped").mkdir()
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "shipped")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Command(capfd)


@pytest.fixture(scope="module")
def own() -> dict[str, Tensor]:
    with torch.device("meta"):
        network = PWCNet()
    return nvlabs_weights(network)


@pytest.fixture
def run(kinema: Command, own: dict[str, Tensor]) -> Path:
    save_tensors(Path("run/last.safetensors"), own, metadata=FACTS)
    Path("run/config.json").write_text(json.dumps({"recipe": "pwcnet-rendered", "config": {"seed": 0}}))
    return Path("run/last.safetensors")


def test_the_help_names_every_action(kinema: Command) -> None:
    ended = kinema.done("weights", "--help")
    for action in ("list", "info", "convert", "pack"):
        assert f"  {action} " in ended.out
        told = kinema.done("weights", action, "--help")
        assert told.out.startswith(f"usage: kinema weights {action}")
        assert "None" not in told.out


def test_nothing_is_shipped(kinema: Command) -> None:
    ended = kinema.done("weights", "list")
    told = ended.out.splitlines()
    assert told[:2] == [
        "pwcnet dc: not included, use --weights FILE",
        "pwcnet tfoptflow: not included, use --weights FILE",
    ]
    need = [(name, entry.card) for name, entry in MODELS.items() if entry.card.has_weights]
    assert told == [
        f"{name} {preset}: not included, use --weights FILE"
        for name, card in need
        if not card.works_untrained
        for preset in card.presets
    ]
    for name in ("1.png", "2.png"):
        write_image(name, np.zeros((64, 64, 3), np.uint8))
    flow = kinema("flow", "1.png", "2.png", "-o", "a.flo", "--model", "pwcnet")
    assert flow.status == 2
    assert "--weights FILE" in flow.err


def test_from_a_run_to_what_is_shipped(kinema: Command, run: Path, tmp_path: Path) -> None:
    """Pack into the folder of the package; then the list shows it, and flow needs no --weights."""
    write_flow("truth.flo", np.full((4, 4, 2), (3.0, 4.0), np.float32))
    write_flow("mine.flo", np.full((4, 4, 2), (3.0, 2.5), np.float32))
    names = ("--predictions", "mine.flo", "--truth", Path("truth.flo").absolute(), "--protocol", "middlebury")
    kinema.done("evaluate", *names, "--json", "numbers.json")
    out = tmp_path / "shipped" / "pwcnet-dc.safetensors"
    packed = kinema.done(
        "weights", "pack", run, "-o", out, *SAID, "--numbers", "numbers.json", "--failure", "thin wires"
    )
    assert "run -> pwcnet (preset dc), 126 tensors, 17.9 MiB" in packed.out
    assert "rounding: 0.000" in packed.out
    assert tree(out.parent) == ["pwcnet-dc.json", "pwcnet-dc.safetensors"]
    listed = kinema.done("weights", "list", "--json", "list.json").out
    assert "pwcnet dc: 17.9 MiB, pwcnet-rendered, 1200 steps, kinema 0.1.0, Apache-2.0" in listed
    assert "epe 1.500 (zero flow 5.000) on truth.flo, protocol middlebury, 1 pair\n" in listed
    assert "pwcnet tfoptflow: not included" in listed
    record = json.loads(Path("list.json").read_text())
    assert record["weights"][0]["card"]["known_failures"] == ["thin wires"]
    assert record["weights"][0]["intact"] is True
    told = kinema.done("weights", "info", out).out
    assert "known failure: thin wires" in told
    for name in ("1.png", "2.png"):
        write_image(name, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    words = ("flow", "1.png", "2.png", "--model", "pwcnet", "--precision", "fp32", "--refine", "none")
    kinema.done(*words, "-o", "shipped.flo")
    kinema.done(*words, "-o", "named.flo", "--weights", out)
    np.testing.assert_array_equal(read_flow("shipped.flo").flow, read_flow("named.flo").flow)
    out.write_bytes(out.read_bytes()[:-1] + b"\x01")
    assert "damaged" in kinema.done("weights", "list").out
    assert "its sha256 is not this one's" in kinema.done("weights", "info", out).out


def test_convert_then_use(kinema: Command, own: dict[str, Tensor]) -> None:
    torch.save(as_sniklaus(own), "network-default.pytorch")
    told = kinema.done("weights", "info", "network-default.pytorch").out
    assert "pwcnet, preset dc" in told
    assert "126 (126 float32), 9,374,274 numbers" in told
    command = told.splitlines()[-1].removeprefix("next").split()
    assert command[:3] == ["kinema", "weights", "convert"]
    ended = kinema.done(*command[1:])
    assert (
        "sniklaus -> pwcnet (preset dc), 126 tensors, 35.8 MiB -> network-default-dc.safetensors" in ended.out
    )
    assert "keep the licence" in ended.out
    tensors, _ = load_tensors("network-default-dc.safetensors")
    assert all(torch.equal(tensors[name], own[name]) for name in own)
    told = kinema.done("weights", "info", "network-default-dc.safetensors", "--json", "info.json").out
    assert "converted from sniklaus (network-default.pytorch)" in told
    assert "--model pwcnet --weights network-default-dc.safetensors" in told.splitlines()[-1]
    record = json.loads(Path("info.json").read_text())
    assert (record["description"]["model"], record["tensors"]) == ("pwcnet", 126)
    again = kinema(*command[1:])
    assert again.status == 2
    assert "--overwrite" in again.err
    assert kinema.done(*command[1:], "--overwrite", "--from", "sniklaus", "-q").out == ""


def test_info_about_files_of_every_kind(kinema: Command, own: dict[str, Tensor]) -> None:
    save_tensors("plain.safetensors", own, metadata={})
    save_tensors("part.safetensors", {"conv1a.0.bias": own["conv1a.0.bias"]}, metadata={"model": "pwcnet"})
    save_tensors("theirs.safetensors", {"a": torch.ones(2)}, metadata={"model": "llama"})
    torch.save({"conv1a.0.bias": own["conv1a.0.bias"]}, "part.pth")
    state = TrainState(step=40, tensors={"model.a": torch.ones(1)}, recipe="pwcnet-rendered")
    save_state(Path("my run/states/000000040.safetensors"), state)
    expected = {
        "plain.safetensors": ("the authors' PyTorch checkpoints", "--weights plain.safetensors"),
        "part.safetensors": ("weights of pwcnet", "it does not fit: 125 of 126 tensors are missing"),
        "theirs.safetensors": ("no weights of a model of kinema", "no format that is known"),
        "part.pth": ("like the authors'", "125 of 126 tensors are missing"),
        "my run/states/000000040.safetensors": ("a saved state of pwcnet-rendered after 40", "--resume '"),
    }
    for name, parts in expected.items():
        out = kinema.done("weights", "info", name).out
        assert all(part in out for part in parts), out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ((), ("say what to do", "list, info, convert, pack")),
        (("lits",), ("unknown action lits: did you mean list?",)),
        (("xyz",), ("unknown action xyz: list, info",)),
        (("info",), ("FILE is missing", "kinema weights info --help")),
        (("info", "none.pth"), ("none.pth: no such file",)),
        (("info", "."), ("is a folder",)),
        (("convert", "none.pth"), ("--out is missing",)),
        (("convert", "none.pth", "-o", "a.safetensors"), ("none.pth: no such file",)),
        (("convert", "none.pth", "-o", "a.pth"), ("-o a.pth: name a .safetensors file",)),
        (
            ("convert", "none.pth", "-o", "a.safetensors", "--from", "caffe"),
            ("--from cannot be caffe", "sniklaus"),
        ),
        (("pack", "none", "-o", "a.safetensors"), ("--data and --licence are missing",)),
        (("pack", "none", "-o", "a.safetensors", *SAID), ("none: no such file",)),
        (("pack", "none", "-o", "a.safetensors", *SAID, "--data", ""), ("--data",)),
        (("list", "--json", "."), ("is a folder",)),
    ],
)
def test_refusals(kinema: Command, words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    ended = kinema("weights", *words)
    assert ended.status == 2
    assert len(ended.err.strip().splitlines()) == 1
    for part in parts:
        assert part in ended.err
    assert tree(Path()) == []
