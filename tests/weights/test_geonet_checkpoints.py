"""Checkpoints of GeoNet's authors (TensorFlow 1): recognised, converted whole, the same depth as before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import kinema
from helpers.geonet_weights import reference_network
from helpers.tf_bundle import write_bundle
from kinema.errors import InputError
from kinema.io.checkpoints import TensorFact, save_tensors
from kinema.models.geonet import GeoNet
from kinema.weights.checkpoint import open_checkpoint
from kinema.weights.convert import convert, expected_shapes, recognise
from kinema.weights.geonet_names import clean_geonet, geonet_name, geonet_network

NETWORKS = [
    {"networks": "rigid"},
    {"networks": "rigid", "encoder": "vgg"},
    {"networks": "rigid", "encoder": "vgg", "frames": 5},
    {"networks": "residual"},
    {"networks": "residual", "encoder": "vgg", "frames": 5},
    {"networks": "direct"},
]


def as_tensorflow(network: GeoNet) -> dict[str, Tensor]:
    """Its weights under the authors' names and in their layout."""
    return {
        geonet_name(own): (tensor.permute(2, 3, 1, 0) if tensor.dim() == 4 else tensor).contiguous()
        for own, tensor in network.state_dict().items()
    }


@pytest.mark.parametrize("options", NETWORKS)
def test_names_tell_the_network(options: dict[str, object]) -> None:
    facts = {}
    for own, shape in expected_shapes("geonet", "faithful", options).items():
        native = (*shape[2:], shape[1], shape[0]) if len(shape) == 4 else shape
        facts[geonet_name(own)] = TensorFact("float32", native)
    assert len(facts) == len(expected_shapes("geonet", "faithful", options))  # no two of one name
    assert geonet_network(facts) == ("faithful", options)


@pytest.mark.parametrize(
    ("own", "theirs"),
    [
        ("depth_net.stem.conv.weight", "depth_net/Conv/weights"),
        ("depth_net.stage2.0.shortcut.norm.bias", "depth_net/Conv_4/BatchNorm/beta"),
        ("depth_net.stage5.2.shortcut.norm.running_var", "depth_net/Conv_64/BatchNorm/moving_variance"),
        ("flow_net.merge4.conv.weight", "flow_net/Conv_70/weights"),
        ("flow_net.head1.bias", "flow_net/Conv_80/biases"),
        ("depth_net.conv7b.conv.weight", "depth_net/Conv_13/weights"),
        ("depth_net.disp1.weight", "depth_net/Conv_31/weights"),
        ("pose_net.conv1.norm.running_mean", "pose_net/Conv/BatchNorm/moving_mean"),
        ("pose_net.head.bias", "pose_net/Conv_7/biases"),
    ],
)
def test_names_by_hand(own: str, theirs: str) -> None:
    assert geonet_name(own) == theirs


def test_what_only_training_needs_is_left_out() -> None:
    assert clean_geonet("pose_net/Conv/weights") == "pose_net/Conv/weights"
    for name in ("pose_net/Conv/weights/Adam", "pose_net/Conv/weights/Adam_1", "global_step", "beta1_power"):
        assert clean_geonet(name) is None


@pytest.mark.slow
def test_a_checkpoint_gives_the_depth_of_its_network(tmp_path: Path) -> None:
    """The content of a checkpoint in another container: quick to write."""
    network = reference_network(networks="rigid", encoder="vgg")
    path = tmp_path / "model-185000.safetensors"
    stored = {**as_tensorflow(network), "global_step": torch.tensor(185000)}
    save_tensors(path, stored, metadata={})
    checkpoint = open_checkpoint(path)
    assert recognise(checkpoint) == "geonet"
    result = convert(checkpoint)
    assert (result.preset, result.options) == ("faithful", {"networks": "rigid", "encoder": "vgg"})
    assert result.left_out == ("global_step",)
    save_tensors(tmp_path / "own.safetensors", result.tensors, metadata=result.metadata)
    loaded = kinema.load("geonet", weights=tmp_path / "own.safetensors", precision="fp32").model
    image = torch.rand(1, 3, 40, 64)
    with torch.inference_mode():
        assert torch.equal(loaded.depth(image).depth, network.depth(image).depth)
    del stored["depth_net/Conv_31/biases"]
    save_tensors(path, stored, metadata={}, overwrite=True)
    with pytest.raises(InputError, match=r"no whole checkpoint of geonet: 1 of .*depth_net/Conv_31/biases"):
        convert(open_checkpoint(path))


@pytest.mark.slow
def test_a_bundle_of_tensorflow_is_read(tmp_path: Path) -> None:
    network = reference_network(networks="rigid", encoder="vgg")
    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in as_tensorflow(network).items()}
    moments = {f"{name}/Adam": array for name, array in list(arrays.items())[:4]}
    write_bundle(tmp_path / "model-185000", {**arrays, **moments, "global_step": np.array(185000)})
    result = convert(open_checkpoint(tmp_path / "model-185000"))
    own = network.state_dict()
    assert result.tensors.keys() == own.keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in result.tensors.items())
