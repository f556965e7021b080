"""EDVR's checkpoints of others: recognised, converted whole, and the same frame as before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import kinema
from helpers.command import Command
from helpers.edvr_weights import Options, edvr_weights
from helpers.foreign_edvr import as_mmagic, as_original
from kinema.errors import InputError, UsageError
from kinema.io.checkpoints import TensorFact, load_tensors, save_tensors
from kinema.models.edvr import EDVR
from kinema.models.edvr_settings import PRESETS
from kinema.weights.checkpoint import open_checkpoint
from kinema.weights.convert import FORMATS, convert, expected_shapes, recognise
from kinema.weights.describe import describe
from kinema.weights.edvr_names import basicsr_network, original_name, original_network

TINY: Options = {"features": 8, "offset_groups": 2, "extraction_blocks": 1, "reconstruction_blocks": 2}
BLURRED: Options = {**TINY, "predeblur": "pyramid"}
VARIANTS: dict[str, Options] = {
    "attention": TINY,
    "plain": {**TINY, "fusion": "plain", "frames": 3},
    "blurred": BLURRED,
    "whole": {**BLURRED, "scale": 1, "frames": 7},
    "whole-sharp": {**TINY, "scale": 1},
}
BY_MMAGIC = ("attention", "plain")


@pytest.fixture
def kinema_command(capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


def weights(variant: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        network = EDVR(**VARIANTS[variant])  # type: ignore[arg-type]
    return edvr_weights(network, dtype=torch.float32)


def saved(own: dict[str, Tensor], form: str) -> object:
    """What the project's program gives to ``torch.save``."""
    return {
        "basicsr": lambda: {"params": own},
        "edvr": lambda: as_original(own),
        "mmagic": lambda: {"meta": {"iter": 7}, "state_dict": as_mmagic(own)},
    }[form]()


CASES = [
    (form, v)
    for v in VARIANTS
    for form in ("basicsr", "edvr", "mmagic")
    if form != "mmagic" or v in BY_MMAGIC
]


@pytest.mark.parametrize(("form", "variant"), CASES)
def test_every_tensor_arrives_and_the_network_is_known(form: str, variant: str, tmp_path: Path) -> None:
    own, path = weights(variant), tmp_path / "theirs.pth"
    torch.save(saved(own, form), path)
    result = convert(open_checkpoint(path))
    assert (result.format, result.model, result.preset, result.options) == (
        form,
        "edvr",
        "m",
        VARIANTS[variant],
    )
    assert set(result.tensors) == set(own)
    assert all(torch.equal(result.tensors[name], tensor) for name, tensor in own.items())
    assert result.left_out == (("step_counter",) if form == "mmagic" else ())


def test_the_frame_is_that_of_the_own_format(tmp_path: Path) -> None:
    own = weights("whole")
    torch.save(saved(own, "edvr"), tmp_path / "theirs.pth")
    result = convert(open_checkpoint(tmp_path / "theirs.pth"))
    save_tensors(tmp_path / "ours.safetensors", result.tensors, metadata=result.metadata)
    network = EDVR(**VARIANTS["whole"]).eval()  # type: ignore[arg-type]
    network.load_state_dict(own)
    frames = torch.rand(1, 7, 3, 16, 32)
    loaded = kinema.load("edvr", weights=tmp_path / "ours.safetensors", device="cpu", precision="fp32").model
    with torch.inference_mode():
        assert torch.equal(loaded(frames).frame, network(frames).frame)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_published_networks_are_known_by_their_presets(preset: str) -> None:
    """From shapes alone; the large ones need no memory here."""
    shapes = expected_shapes("edvr", preset, {})
    ours = {name: TensorFact("float32", shape) for name, shape in shapes.items()}
    assert basicsr_network(ours) == (preset, {})
    theirs = {original_name(name): fact for name, fact in ours.items()}
    assert len(theirs) == len(ours)
    assert original_network(theirs) == (preset, {})


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        ("fusion.temporal_attn1.weight", "tsa_fusion.tAtt_2.weight"),
        ("fusion.temporal_attn2.bias", "tsa_fusion.tAtt_1.bias"),
        ("fusion.spatial_attn_l2.weight", "tsa_fusion.sAtt_L2.weight"),
        ("fusion.spatial_attn_add1.bias", "tsa_fusion.sAtt_add_1.bias"),
        ("fusion.weight", "tsa_fusion.weight"),
        ("pcd_align.dcn_pack.l3.conv_offset.weight", "pcd_align.L3_dcnpack.conv_offset_mask.weight"),
        ("pcd_align.cas_dcnpack.conv_offset.bias", "pcd_align.cas_dcnpack.conv_offset_mask.bias"),
        ("pcd_align.cas_offset_conv2.weight", "pcd_align.cas_offset_conv2.weight"),
        ("conv_l3_2.weight", "fea_L3_conv2.weight"),
        ("predeblur.resblock_l1.4.conv2.bias", "pre_deblur.RB_L1_5.conv2.bias"),
        ("reconstruction.39.conv1.weight", "recon_trunk.39.conv1.weight"),
        ("conv_hr.weight", "HRconv.weight"),
        ("conv_first_3.weight", "conv_first_3.weight"),
    ],
)
def test_names_of_the_first_code(own: str, theirs: str) -> None:
    assert original_name(own) == theirs


@pytest.mark.parametrize("form", ["basicsr", "edvr", "mmagic"])
def test_no_two_parameters_get_one_name(form: str) -> None:
    for preset in ("m", "m-wotsa") if form == "mmagic" else PRESETS:
        names = list(expected_shapes("edvr", preset, {}))
        assert len({FORMATS[form].foreign_name(name) for name in names}) == len(names)


def test_averaged_weights_come_first_and_wrapped_names_are_known(tmp_path: Path) -> None:
    own = weights("attention")
    averaged = {f"module.{name}": tensor + 1 for name, tensor in own.items()}
    torch.save({"params": own, "params_ema": averaged}, tmp_path / "net_g_5000.pth")
    result = convert(open_checkpoint(tmp_path / "net_g_5000.pth"), source="basicsr")
    assert torch.equal(result.tensors["conv_hr.bias"], own["conv_hr.bias"] + 1)
    torch.save(as_mmagic(own, prefix=""), tmp_path / "generator.pth")
    assert recognise(open_checkpoint(tmp_path / "generator.pth")) == "mmagic"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tsa_fusion.sAtt_5.bias": None}, r"no whole checkpoint of edvr: 1 of 96 tensors .*sAtt_5\.bias"),
        ({"recon_trunk.7.conv1.weight": torch.ones(1)}, r"1 tensor is too many .*recon_trunk\.7"),
        ({"HRconv.weight": torch.ones(64, 64, 1, 1)}, r"HRconv\.weight is 64x64x1x1.*64x64x3x3"),
        ({"HRconv.bias": torch.full((64,), float("inf"))}, r"HRconv\.bias holds values.*finite"),
    ],
)
def test_what_does_not_fit_is_named_as_it_is_there(
    changes: dict[str, Tensor | None], words: str, tmp_path: Path
) -> None:
    state = {**as_original(weights("attention")), **changes}
    torch.save({name: t for name, t in state.items() if t is not None}, tmp_path / "theirs.pth")
    with pytest.raises(InputError, match=words):
        convert(open_checkpoint(tmp_path / "theirs.pth"))


def test_shapes_that_no_network_has_are_refused_in_words(tmp_path: Path) -> None:
    """The settings that follow from them cannot be built: the medium network is compared with."""
    own = {**weights("attention"), "conv_l2_1.weight": torch.ones(0, 8, 3, 3)}
    torch.save({"params": own}, tmp_path / "theirs.pth")
    with pytest.raises(InputError, match=r"theirs\.pth"):
        convert(open_checkpoint(tmp_path / "theirs.pth"))


def test_the_command_converts_and_says_what_a_file_is(kinema_command: Command, tmp_path: Path) -> None:
    torch.save(saved(weights("plain"), "mmagic"), tmp_path / "theirs.pth")
    info = kinema_command.done("weights", "info", tmp_path / "theirs.pth")
    assert "MMagic" in info.out
    out = tmp_path / "ours.safetensors"
    kinema_command.done("weights", "convert", tmp_path / "theirs.pth", "-o", out, "--from", "mmagic")
    metadata = load_tensors(out)[1]
    assert (metadata["model"], metadata["preset"], metadata["converted_from"]) == ("edvr", "m", "mmagic")
    assert json.loads(metadata["options"]) == VARIANTS["plain"]
    assert describe(open_checkpoint(out)).next_step == f"kinema restore INPUT... -o OUT --weights {out}"
    with pytest.raises(UsageError, match=r"--from basicsr: .* has the names of mmagic"):
        convert(open_checkpoint(tmp_path / "theirs.pth"), source="basicsr")
