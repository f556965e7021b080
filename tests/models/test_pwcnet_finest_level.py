"""PWC-Net that ends at level 3: what it computes, and how a whole network begins from its weights."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

import kinema
from helpers.command import Command
from kinema.engine.state import CompletesState, load_weights, save_weights
from kinema.errors import InputError, UsageError
from kinema.io.checkpoints import load_tensors, save_tensors
from kinema.models.pwcnet import COSTS, PWCNet

BEFORE = (0, 128, 256, 352, 416)  # how many channels of earlier layers a dense estimator's layers see
NETWORKS = [
    ("dc", {}),
    ("dc", {"connections": "plain"}),
    ("tfoptflow", {}),
    ("tfoptflow", {"connections": "plain"}),
    ("tfoptflow", {"context": "finest"}),
]


def pair(h: int, w: int) -> tuple[Tensor, Tensor]:
    frames = torch.rand((2, 1, 3, h + 8, w + 8), generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(frames[0], 5, stride=1, padding=2)
    return soft[..., 4:-4, 4:-4].contiguous(), soft[..., 6:-2, 1:-7].contiguous()


def both(preset: str, options: Mapping[str, str]) -> tuple[PWCNet, PWCNet]:
    """A network that ends at level 3 and one that ends at level 2, with different weights everywhere."""
    torch.manual_seed(1)
    small, whole = PWCNet(preset, finest_level=3, **options), PWCNet(preset, **options)
    with torch.no_grad():
        for parameter in (*small.parameters(), *whole.parameters()):
            parameter.normal_(std=0.1)  # biases too: those drawn for training are all 0
    return small, whole


# --- what it computes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "options", "count"),
    [
        # 9,374,274 less level 2 (1,163,392 of its estimator, 1,131,266 of the context network) and what leads
        # there from level 3 (66 of deconv3, 19,106 of upfeat3).
        ("dc", {}, 9_374_274 - 1_163_392 - 10_172 - 1_131_266 - 66 - 19_106),
        # The same, but the context networks of levels 3 to 6 stay.
        ("tfoptflow", {}, 14_079_050 - 1_163_392 - 10_172 - 1_131_266 - 66 - 19_106),
    ],
)
def test_parameter_counts(preset: str, options: Mapping[str, str], count: int) -> None:
    inputs = [117 + before for before in BEFORE]
    estimator = sum(9 * a * b + b for a, b in zip(inputs, (128, 128, 96, 64, 32), strict=True))
    widths = (565, 128, 128, 128, 96, 64, 32, 2)
    context = sum(9 * a * b + b for a, b in itertools.pairwise(widths))
    head, upward = 9 * 565 * 2 + 2, (16 * 2 * 2 + 2, 16 * 597 * 2 + 2)
    assert (estimator, head, context, *upward) == (1_163_392, 10_172, 1_131_266, 66, 19_106)
    with torch.device("meta"):
        network = PWCNet(preset, finest_level=3, **options)
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize(("h", "w"), [(64, 64), (65, 100), (16, 16), (1, 1), (7, 130)])
@pytest.mark.parametrize("preset", ["dc", "tfoptflow"])
def test_any_size(preset: str, h: int, w: int) -> None:
    network = PWCNet(preset, finest_level=3, connections="plain").eval()
    with torch.inference_mode():
        output = network(*pair(h, w))
    assert output.flow.shape == (1, 2, h, w)
    assert output.flow.isfinite().all()
    padded = (-(-h // 64) * 64, -(-w // 64) * 64)
    sizes = [tuple(flow.shape[-2:]) for flow in output.pyramid]
    assert sizes == [(padded[0] >> level, padded[1] >> level) for level in (6, 5, 4, 3)]


@pytest.mark.parametrize(("preset", "pixels"), [("dc", 20.0), ("tfoptflow", 8.0)])
def test_full_size_flow_is_level_3_in_pixels(preset: str, pixels: float) -> None:
    """A head that always says (0.5, -0.25): 20 times that or, in pixels of level 3, 8 times."""
    network = PWCNet(preset, finest_level=3, connections="plain").eval()
    with torch.no_grad():
        head = [network.get_submodule("predict_flow3")]
        if preset == "tfoptflow":
            head.append(network.get_submodule("dc_conv37"))
        for layer in head:
            layer.weight.zero_()
            layer.bias.zero_()
        head[0].bias.copy_(torch.tensor([0.5, -0.25]))
        flow = network(*pair(128, 192)).flow
        odd = network(*pair(96, 144)).flow  # `dc` computes at 128x192 and scales u and v back
    assert flow[0, :, 5, 7].tolist() == pytest.approx([0.5 * pixels, -0.25 * pixels])
    assert flow.amax((0, 2, 3)).tolist() == pytest.approx(flow.amin((0, 2, 3)).tolist())
    scale = 0.75 if preset == "dc" else 1.0
    assert odd[0, :, 50, 80].tolist() == pytest.approx([0.5 * pixels * scale, -0.25 * pixels * scale])


def test_coarse_levels_are_those_of_the_whole_network() -> None:
    small, whole = both("dc", {})
    whole.load_state_dict(whole.complete_state(small.state_dict()))
    with torch.inference_mode():
        coarse, fine = small.eval()(*pair(64, 128)), whole.eval()(*pair(64, 128))
    assert len(fine.pyramid) == 5
    for one, other in zip(coarse.pyramid, fine.pyramid, strict=False):
        assert torch.equal(one, other)


@pytest.mark.parametrize("value", [0, 1, 4, 7, "3"])
def test_other_levels_are_refused(value: object) -> None:
    with pytest.raises(UsageError, match="finest_level of pwcnet"):
        PWCNet(finest_level=value)


def test_its_file_says_how_to_build_it(tmp_path: Path) -> None:
    small, _ = both("dc", {"connections": "plain"})
    facts = {"model": "pwcnet", "preset": "dc", "options": {"finest_level": 3, "connections": "plain"}}
    save_weights(tmp_path / "small.safetensors", small, facts=facts)
    predictor = kinema.load("pwcnet", weights=tmp_path / "small.safetensors", precision="fp32")
    first, second = pair(50, 70)
    with torch.inference_mode():
        torch.testing.assert_close(predictor.flow(first, second), small.eval()(first, second).flow)
    with pytest.raises(InputError, match="does not fit"):
        kinema.load("pwcnet", weights=tmp_path / "small.safetensors", options={"finest_level": 2})


# --- a whole network from its weights ---------------------------------------------------------------


@pytest.mark.parametrize(("preset", "options"), NETWORKS)
def test_every_layer_that_level_3_has_is_kept(preset: str, options: Mapping[str, str]) -> None:
    small, whole = both(preset, options)
    completed = whole.complete_state(small.state_dict())
    assert completed.keys() == whole.state_dict().keys()
    for name, tensor in small.state_dict().items():
        assert torch.equal(completed[name], tensor), name


@pytest.mark.parametrize(("preset", "options"), NETWORKS)
def test_which_inputs_of_each_new_layer_are_copied(preset: str, options: Mapping[str, str]) -> None:
    """Layer by layer: costs, earlier layers, flow and features from above are level 3's, the rest is new."""
    small, whole = both(preset, options)
    source, own = small.state_dict(), whole.state_dict()
    completed = whole.complete_state(source)
    new = completed.keys() - source.keys()
    checked = set()

    def check(fine: str, coarse: str, *, before: int | None, features: int, axis: int = 1) -> None:
        """``before`` inputs, then ``features`` of frame 1, which are new, then four; None: all are copied."""
        got, old, given = (s[f"{name}.weight"].movedim(axis, 0)
                           for s, name in ((completed, fine), (own, fine), (source, coarse)))  # fmt: skip
        if before is None:
            assert torch.equal(got, given), fine
        else:
            assert len(got) == before + features + 4, fine
            assert torch.equal(got[:before], given[:before]), fine
            assert torch.equal(got[before:-4], old[before:-4]), fine
            assert torch.equal(got[-4:], given[-4:]), fine
        assert torch.equal(completed[f"{fine}.bias"], source[f"{coarse}.bias"]), fine
        checked.update({f"{fine}.weight", f"{fine}.bias"})

    dense = options.get("connections") != "plain"
    for i, before in enumerate(BEFORE):
        sees_inputs = dense or i == 0
        check(f"conv2_{i}.0", f"conv3_{i}.0", before=before + COSTS if sees_inputs else None, features=32)
    check("predict_flow2", "predict_flow3", before=448 + COSTS if dense else None, features=32)
    check("deconv3", "deconv4", before=None, features=0)
    check("upfeat3", "upfeat4", before=448 + COSTS if dense else None, features=64, axis=0)
    if preset == "tfoptflow" and "context" not in options:
        check("dc_conv1.0", "dc_conv31.0", before=448 + COSTS if dense else None, features=32)
        for i in range(2, 7):
            check(f"dc_conv{i}.0", f"dc_conv3{i}.0", before=None, features=0)
        check("dc_conv7", "dc_conv37", before=None, features=0)
    else:
        context = {name for name in new if name.startswith("dc_conv")}
        assert len(context) == 14
        assert all(torch.equal(completed[name], own[name]) for name in context)
        checked |= context
    assert checked == new


@pytest.mark.parametrize(("preset", "options"), NETWORKS)
def test_what_does_not_look_at_features_computes_as_level_3_does(
    preset: str, options: Mapping[str, str]
) -> None:
    """The order of inputs is the networks' own: with features of 0, level 2 says what level 3 would say."""
    small, whole = both(preset, options)
    whole.load_state_dict(whole.complete_state(small.state_dict()))
    costs, above = torch.randn(1, COSTS, 6, 7), torch.randn(1, 4, 6, 7)

    def estimate(network: PWCNet, level: int, features: int) -> Tensor:
        x = torch.cat([costs, torch.zeros(1, features, 6, 7), above], 1)
        for i in range(5):
            new = network.get_submodule(f"conv{level}_{i}")(x)
            x = new if options.get("connections") == "plain" else torch.cat([new, x], 1)
        return x

    with torch.no_grad():
        fine, coarse, coarser = estimate(whole, 2, 32), estimate(small, 3, 64), estimate(small, 4, 96)
        heads = [
            whole.get_submodule("predict_flow2")(fine),
            small.get_submodule("predict_flow3")(coarse),
            whole.get_submodule("upfeat3")(estimate_as(coarse, coarser)),
            small.get_submodule("upfeat4")(coarser),
        ]
    for one, other in (heads[:2], heads[2:]):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        assert one.std() > 0.01


def estimate_as(shape: Tensor, features: Tensor) -> Tensor:
    """The features of level 4 in the width of level 3: 32 fewer zeros of frame 1 before the last four."""
    dropped = features.shape[1] - shape.shape[1]
    return features if not dropped else torch.cat([features[:, : -4 - dropped], features[:, -4:]], 1)


@pytest.mark.parametrize(("preset", "options"), NETWORKS[:1])
def test_half_precision_weights_are_completed(
    preset: str, options: Mapping[str, str], tmp_path: Path
) -> None:
    small, whole = both(preset, options)
    path = tmp_path / "half.safetensors"
    save_tensors(path, {name: t.half() for name, t in small.state_dict().items()}, metadata={})
    load_weights(path, whole)
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}
    given = small.get_parameter("conv3_0.0.weight").half().float()
    assert torch.equal(whole.get_parameter("conv2_0.0.weight")[:, :COSTS], given[:, :COSTS])


def changed(name: str, tensor: Tensor | None) -> object:
    def change(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rest = {key: value for key, value in weights.items() if key != name}
        return rest if tensor is None else {**rest, name: tensor}

    return change


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (lambda weights: {"more": torch.zeros(1)}, "conv1a.0.bias"),
        (changed("conv4_2.0.bias", None), "conv"),
        (changed("predict_flow3.weight", None), "conv2_0.0.bias"),
        (changed("more", torch.zeros(1)), "conv2_0.0.bias"),
        (changed("conv3_1.0.weight", torch.zeros(128, 128, 3, 3)), "conv2_0.0.bias"),
        (changed("conv3_0.0.weight", torch.zeros(128, 149, 5, 5)), "conv2_0.0.bias"),
        (changed("upfeat4.weight", torch.zeros(5)), "conv2_0.0.bias"),
    ],
)
def test_wrong_weights_are_still_refused(change, first: str, tmp_path: Path) -> None:
    small, whole = both("dc", {})
    before = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    save_tensors(tmp_path / "wrong.safetensors", change(small.state_dict()), metadata={})
    with pytest.raises(InputError, match=rf"another network: .*first: {first}"):
        load_weights(tmp_path / "wrong.safetensors", whole)
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole.state_dict().items())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (("dc", {"finest_level": 3, "connections": "plain"}), ("dc", {})),
        (("dc", {"finest_level": 3}), ("dc", {"connections": "plain"})),
        (("tfoptflow", {"finest_level": 3}), ("dc", {})),
        (("dc", {"finest_level": 3}), ("tfoptflow", {})),
        (("dc", {}), ("dc", {"finest_level": 3})),
        (("tfoptflow", {}), ("dc", {})),
    ],
)
def test_other_networks_are_still_refused(theirs, ours, tmp_path: Path) -> None:
    save_weights(tmp_path / "other.safetensors", PWCNet(theirs[0], **theirs[1]), facts={})
    with pytest.raises(InputError, match="another network"):
        load_weights(tmp_path / "other.safetensors", PWCNet(ours[0], **ours[1]))


def test_weights_of_the_same_network_are_taken_as_they_are() -> None:
    for preset, options in NETWORKS:
        with torch.device("meta"):
            whole = PWCNet(preset, **options)
            small = PWCNet(preset, finest_level=3, **options)
        assert isinstance(whole, CompletesState)
        for network in (whole, small):
            state = network.state_dict()
            assert network.complete_state(state) == state


# --- training ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_whole_run_begins_from_a_short_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinema = Command(capsys)
    words = ("pwcnet-rendered", "--crops", "64x128:1", "--batch-size", 2, "--steps", 2, "--workers", 0,
             "--device", "cpu", "--validation-pairs", 1, "--log-every", 1, "--warmup-steps", 0)  # fmt: skip
    short, whole = tmp_path / "short", tmp_path / "whole"
    kinema.done("train", *words, "--finest-level", 3, "--out", short)
    given, facts = load_tensors(short / "last.safetensors")
    assert facts["options"] == '{"finest_level": 3, "matching": "cosine"}'
    assert "predict_flow3.weight" in given
    assert "predict_flow2.weight" not in given
    ended = kinema.done("train", *words, "--init", short / "last.safetensors", "--out", whole)
    assert "level2" in ended.err
    weights, facts = load_tensors(whole / "last.safetensors")
    assert facts["options"] == '{"matching": "cosine"}'
    # Two steps of 4e-4 move no weight by more than 1e-3: it began where the other one ended.
    for fine, coarse in (("conv3_0.0.weight", "conv3_0.0.weight"), ("deconv3.weight", "deconv4.weight")):
        assert 0 < (weights[fine] - given[coarse]).abs().max() < 1e-3
    moved = weights["conv2_0.0.weight"][:, :COSTS] - given["conv3_0.0.weight"][:, :COSTS]
    assert 0 < moved.abs().max() < 1e-3
    kinema.done("train", "--resume", whole, "--steps", 3)
    ended = kinema(
        "train", *words, "--finest-level", 3, "--init", whole / "last.safetensors", "--out", tmp_path / "no"
    )
    assert ended.status == 2
    assert "another network" in ended.err.splitlines()[-1]
    assert not (tmp_path / "no").exists()
