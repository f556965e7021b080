"""Checkpoints of others: recognised, converted whole, and the same flow as before."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import kinema
from helpers.foreign_weights import SniklausTwin, as_sniklaus, as_tensorflow
from helpers.pseudo_weights import nvlabs_weights, tfoptflow_name, tfoptflow_weights
from helpers.tf_bundle import need_tensorflow, save_by_tensorflow, write_bundle
from kinema.errors import InputError, KinemaError, UsageError
from kinema.io.checkpoints import TensorFact, save_tensors
from kinema.models.pwcnet import PWCNet
from kinema.weights.checkpoint import open_checkpoint
from kinema.weights.convert import FORMATS, convert, expected_shapes, recognise
from kinema.weights.pwcnet_names import sniklaus_name, tfoptflow_network

H, W = 128, 192
LEGACY = {"_use_new_zipfile_serialization": False}


@pytest.fixture(scope="module")
def own() -> dict[str, Tensor]:
    with torch.device("meta"):
        network = PWCNet()
    return nvlabs_weights(network)


def flags(dense: int, residual: int) -> dict[str, str]:
    options = {} if dense else {"connections": "plain"}
    return options if residual else {**options, "context": "finest"}


def tensorflow_weights(dense: int, residual: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        network = PWCNet("tfoptflow", **flags(dense, residual))
    return tfoptflow_weights(network)


def frames() -> tuple[Tensor, Tensor]:
    """The closed form of the reference numbers' frames."""
    pair = []
    for dx, dy in ((0, 0), (3, -2)):
        y, x, c = np.meshgrid(np.arange(H) + dy, np.arange(W) + dx, np.arange(3), indexing="ij")
        waves = 0.25 * np.sin(0.11 * x + 0.07 * y + c) + 0.25 * np.cos(0.05 * x - 0.13 * y + 2 * c)
        pair.append(torch.from_numpy(np.moveaxis(0.5 + waves, -1, 0)[None]).float())
    return pair[0], pair[1]


def converted(path: Path, out: Path, *, source: str | None = None) -> Path:
    result = convert(open_checkpoint(path), source=source)
    save_tensors(out, result.tensors, metadata=result.metadata)
    return out


def flow_of(path: Path) -> Tensor:
    return kinema.load("pwcnet", weights=path, precision="fp32").flow(*frames())


@pytest.fixture(scope="module")
def own_flow(own: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """Of the pseudo-weights in kinema's own format."""
    path = tmp_path_factory.mktemp("own") / "own.safetensors"
    save_tensors(path, own, metadata={"model": "pwcnet", "preset": "dc"})
    return flow_of(path)


def save_nvlabs_nested(own: dict[str, Tensor], path: Path) -> None:
    """As the authors' training saves it: wrapped for several GPUs, with the layer that nothing uses."""
    unused = {"deconv2.weight": torch.ones(2, 2, 4, 4), "deconv2.bias": torch.ones(2)}
    state = OrderedDict((f"module.{name}", tensor) for name, tensor in {**own, **unused}.items())
    torch.save({"state_dict": state, "epoch": 7, "best_EPE": 1.5}, path, **LEGACY)


SAVED = {
    "nvlabs": lambda own, path: torch.save({**own, "deconv2.bias": torch.ones(2)}, path),
    "nvlabs-nested": save_nvlabs_nested,
    "nvlabs-half": lambda own, path: save_file({n: t.half() for n, t in own.items()}, path),
    "sniklaus": lambda own, path: torch.save(as_sniklaus(own), path),
    "sniklaus-old": lambda own, path: torch.save(as_sniklaus(own, prefix="module"), path, **LEGACY),
    "sniklaus-safetensors": lambda own, path: save_file(as_sniklaus(own), path, metadata={"format": "pt"}),
}


@pytest.mark.parametrize("saved", SAVED)
def test_the_flow_is_that_of_the_own_format(
    saved: str, own: dict[str, Tensor], own_flow: Tensor, tmp_path: Path
) -> None:
    SAVED[saved](own, tmp_path / "theirs.pth.tar")
    path = converted(tmp_path / "theirs.pth.tar", tmp_path / "ours.safetensors")
    flow = flow_of(path)
    if saved == "nvlabs-half":
        assert 0 < (flow - own_flow).abs().mean() < 0.02 * own_flow.abs().mean()
    else:
        assert torch.equal(flow, own_flow)


@pytest.mark.parametrize("saved", ["nvlabs-nested", "sniklaus"])
def test_the_flow_is_that_of_the_reference(
    saved: str, own: dict[str, Tensor], shared: Path, tmp_path: Path
) -> None:
    expected = np.load(shared / "fixtures" / "pwcnet" / "synthetic" / "dc.npz", allow_pickle=False)
    SAVED[saved](own, tmp_path / "theirs.pth")
    path = converted(tmp_path / "theirs.pth", tmp_path / "ours.safetensors")
    network = kinema.load("pwcnet", weights=path, precision="fp32").model
    with torch.inference_mode():
        output = network(*frames())
    for level, flow in zip((6, 5, 4, 3, 2), output.pyramid, strict=True):
        assert np.abs(flow.numpy() - expected[f"flow{level}"]).max() < 1e-4


def test_sniklaus_names_in_a_network_of_that_shape(own: dict[str, Tensor]) -> None:
    """A network built of that project's modules takes the names, and computes the same flow with them."""
    with torch.device("meta"):
        twin, network = SniklausTwin().eval(), PWCNet().eval()
    twin.load_state_dict(as_sniklaus(own), assign=True)
    network.load_state_dict(own, assign=True)
    assert {sniklaus_name(name) for name in own} == set(twin.state_dict())
    first, second = frames()
    with torch.inference_mode():
        ours = network(first, second).pyramid[-1]
        theirs = twin(first.flip(1), second.flip(1))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("own_name", "theirs"),
    [
        ("conv1a.0.weight", "netExtractor.netOne.0.weight"),
        ("conv1aa.0.bias", "netExtractor.netOne.2.bias"),
        ("conv6aa.0.weight", "netExtractor.netSix.0.weight"),  # it comes first at level 6 only
        ("conv6b.0.weight", "netExtractor.netSix.4.weight"),
        ("conv2_0.0.weight", "netTwo.netOne.0.weight"),
        ("conv6_4.0.bias", "netSix.netFiv.0.bias"),
        ("predict_flow3.weight", "netThr.netSix.0.weight"),
        ("deconv6.weight", "netFiv.netUpflow.weight"),
        ("upfeat3.bias", "netTwo.netUpfeat.bias"),
        ("dc_conv1.0.weight", "netRefiner.netMain.0.weight"),
        ("dc_conv7.bias", "netRefiner.netMain.12.bias"),
    ],
)
def test_sniklaus_names(own_name: str, theirs: str) -> None:
    assert sniklaus_name(own_name) == theirs


# --- TensorFlow -----------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [0, 1])
@pytest.mark.parametrize("dense", [0, 1])
def test_the_flags_of_tfoptflow_follow_from_its_variables(dense: int, residual: int, shared: Path) -> None:
    listed = shared / "fixtures" / "pwcnet" / "frames" / f"tfoptflow_d{dense}r{residual}_vars.txt"
    facts = {}
    for line in listed.read_text().splitlines():
        name, shape = line.split(":0 ")
        sizes = [int(size) for size in shape.strip("() ").split(",") if size.strip()]
        facts[name] = TensorFact("float32", tuple(sizes))
    preset, options = tfoptflow_network(facts)
    assert (preset, options) == ("tfoptflow", flags(dense, residual))
    shapes = expected_shapes("pwcnet", preset, options)
    theirs = {FORMATS["tfoptflow"].foreign_name(name): shape for name, shape in shapes.items()}
    assert theirs == {
        name: tuple(fact.shape[axis] for axis in (3, 2, 0, 1)) if len(fact.shape) == 4 else fact.shape
        for name, fact in facts.items()
    }


def check_tfoptflow(prefix: Path, dense: int, residual: int, shared: Path, tmp_path: Path) -> None:
    """Convert a bundle, and compare with the flow of the original graph."""
    result = convert(open_checkpoint(prefix))
    assert (result.format, result.preset, result.options) == (
        "tfoptflow",
        "tfoptflow",
        flags(dense, residual),
    )
    save_tensors(tmp_path / "ours.safetensors", result.tensors, metadata=result.metadata)
    file = f"tfoptflow_d{dense}r{residual}.npz"
    expected = np.load(shared / "fixtures" / "pwcnet" / "synthetic" / file, allow_pickle=False)
    predictor = kinema.load("pwcnet", weights=tmp_path / "ours.safetensors", precision="fp32")
    quarter = np.moveaxis(expected["pred_stride4"].reshape(1, H // 4, W // 4, 2), -1, 1)
    assert np.abs(predictor.flow(*frames()).numpy()[..., ::4, ::4] - quarter).max() < 5e-4
    with torch.inference_mode():
        output = predictor.model(*frames())
    for level, flow in zip((6, 5, 4, 3, 2), output.pyramid, strict=True):
        assert np.abs(flow.numpy() - np.moveaxis(expected[f"flow{level}"], -1, 1)).max() < 1e-4


def slots(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the training of such a network saves beside it, of a few layers."""
    few = list(arrays.items())[:4]
    moments = {f"{name}/{slot}": array for name, array in few for slot in ("Adam", "Adam_1")}
    return {
        **moments,
        "beta1_power": np.float32(0.9) * np.ones((), np.float32),
        "global_step": np.array(595000),
    }


@pytest.mark.parametrize(
    ("dense", "residual"),
    [(0, 0), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((0, 1), (1, 0), (1, 1)))],
)
def test_a_bundle_gives_the_flow_of_the_reference(
    dense: int, residual: int, shared: Path, tmp_path: Path
) -> None:
    arrays = as_tensorflow(tensorflow_weights(dense, residual))
    write_bundle(tmp_path / "pwcnet.ckpt-595000", {**arrays, **(slots(arrays) if not dense else {})})
    check_tfoptflow(tmp_path / "pwcnet.ckpt-595000", dense, residual, shared, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("residual", [0, 1])
@pytest.mark.parametrize("dense", [0, 1])
def test_a_bundle_of_tensorflow_gives_the_flow_of_the_reference(
    dense: int, residual: int, shared: Path, tmp_path: Path
) -> None:
    need_tensorflow()
    arrays = as_tensorflow(tensorflow_weights(dense, residual))
    save_by_tensorflow(tmp_path / "pwcnet.ckpt", arrays, slots=bool(dense and residual))
    check_tfoptflow(tmp_path / "pwcnet.ckpt.index", dense, residual, shared, tmp_path)


def test_what_only_training_needs_is_left_out(tmp_path: Path) -> None:
    arrays = as_tensorflow(tensorflow_weights(0, 0))
    write_bundle(tmp_path / "a.ckpt", {**arrays, **slots(arrays)})
    result = convert(open_checkpoint(tmp_path / "a.ckpt.data-00000-of-00001"), source="tfoptflow")
    assert set(result.left_out) == set(slots(arrays))
    assert len(result.tensors) == 126
    assert all(tensor.is_contiguous() for tensor in result.tensors.values())


# --- what is written, and what is refused ---------------------------------------------------------


def test_the_header_says_how_to_build_the_network_and_where_it_is_from(
    own: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save(own, tmp_path / "pwc_net.pth.tar")
    metadata = convert(open_checkpoint(tmp_path / "pwc_net.pth.tar")).metadata
    assert (metadata["model"], metadata["preset"]) == ("pwcnet", "dc")
    assert json.loads(metadata["options"]) == {}
    assert metadata["source"] == "pwc_net.pth.tar"
    assert len(metadata["source_sha256"]) == 64


def changed(own: dict[str, Tensor], **tensors: Tensor | None) -> dict[str, Tensor]:
    """With some replaced, added, or (None) removed; dots are written as ``__``."""
    state = {**own, **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dc_conv7__bias": None}, r"no whole checkpoint of nvlabs: 1 of 126 tensors .* dc_conv7\.bias"),
        ({"more": torch.ones(1)}, "1 tensor is too many.*more"),
        ({"more": torch.ones(1), "most": torch.ones(1)}, "2 tensors are too many"),
        ({"conv1a__0__weight": torch.ones(16, 3, 5, 5)}, "conv1a.0.weight is 16x3x5x5.*16x3x3x3"),
        ({"conv1a__0__bias": torch.full((16,), float("nan"))}, "conv1a.0.bias holds values.*finite"),
        ({"conv1a__0__bias": torch.ones(16, dtype=torch.int64)}, "conv1a.0.bias holds values"),
    ],
)
def test_tensors_that_do_not_fit(
    own: dict[str, Tensor], changes: dict[str, Tensor | None], words: str, tmp_path: Path
) -> None:
    torch.save(changed(own, **changes), tmp_path / "theirs.pth")
    with pytest.raises(InputError, match=words) as caught:
        convert(open_checkpoint(tmp_path / "theirs.pth"))
    assert "theirs.pth" in str(caught.value)


def test_a_wrong_kernel_of_tensorflow_is_named_as_it_is_there(tmp_path: Path) -> None:
    arrays = as_tensorflow(tensorflow_weights(0, 0))
    arrays["pwcnet/featpyr/conv1a/kernel"] = np.zeros((5, 5, 3, 16), np.float32)
    write_bundle(tmp_path / "a.ckpt", arrays)
    with pytest.raises(InputError, match=r"pwcnet/featpyr/conv1a/kernel is 5x5x3x16: 432 numbers.*16x3x3x3"):
        convert(open_checkpoint(tmp_path / "a.ckpt"))


def test_formats_that_are_not_those(own: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.ones(1)}, tmp_path / "other.pth")
    torch.save(as_sniklaus(own), tmp_path / "sniklaus.pth")
    save_tensors(tmp_path / "own.safetensors", own, metadata={"model": "pwcnet"})
    assert recognise(open_checkpoint(tmp_path / "other.pth")) is None
    assert recognise(open_checkpoint(tmp_path / "sniklaus.pth")) == "sniklaus"
    for name, source, kind, words in (
        (
            "other.pth",
            None,
            InputError,
            r"no format that is known \(nvlabs, sniklaus, tfoptflow, .*layer\.weight",
        ),
        ("other.pth", "nvlabs", InputError, "no format"),
        ("sniklaus.pth", "nvlabs", UsageError, "--from nvlabs: .* has the names of sniklaus"),
        ("own.safetensors", None, UsageError, "kinema weights info"),
    ):
        with pytest.raises(kind, match=words):
            convert(open_checkpoint(tmp_path / name), source=source)


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("none of the formats")
    (tmp_path / "old.ckpt").write_bytes(bytes(40) + bytes.fromhex("57fb808b247547db"))
    for name, words in (
        ("text.pth", "no file of weights that is known"),
        ("old.ckpt", "before 1.0"),
        ("missing.pth", "no such file"),
        (".", "is a folder"),
    ):
        with pytest.raises(KinemaError, match=words):
            open_checkpoint(tmp_path / name)


def test_every_name_of_every_network_has_its_counterpart() -> None:
    """No two parameters get one name, with all layers that any network has."""
    for name, form in FORMATS.items():
        if form.model != "pwcnet":
            continue
        preset = "tfoptflow" if name == "tfoptflow" else "dc"
        shapes = expected_shapes("pwcnet", preset, {})
        theirs = [form.foreign_name(own) for own in shapes]
        assert len(set(theirs)) == len(shapes)
        if name == "tfoptflow":
            assert theirs == [tfoptflow_name(own) for own in shapes]
