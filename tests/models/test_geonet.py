"""GeoNet as a model: counts, sizes, precision, gradients, poses, files of weights, settings."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import kinema
from kinema.errors import InputError, KinemaError, UsageError
from kinema.io.checkpoints import save_tensors
from kinema.models import MODELS
from kinema.models.geonet import GeoNet
from kinema.models.geonet_blocks import ShiftNorm, match_size, same_padding
from kinema.models.geonet_modern import inverse_depth
from kinema.models.geonet_settings import PRESETS, Settings
from kinema.ops.pose import invert_pose
from kinema.weights import bundled

CARD = MODELS["geonet"].card
VGG = {"networks": "rigid", "encoder": "vgg"}  # the quickest of the published


def snippet(h: int, w: int, *, count: int = 3, batch: int = 1) -> Tensor:
    """Soft noise that moves by (1, -2) pixels from frame to frame."""
    g = torch.Generator().manual_seed(0)
    noise = torch.rand((batch, 3, h + 24, w + 24), generator=g)
    soft = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
    return torch.stack([soft[..., 8 + 2 * n : 8 + 2 * n + h, 8 - n : 8 - n + w] for n in range(count)], 1)


@pytest.fixture(scope="module")
def modern() -> GeoNet:
    torch.manual_seed(0)
    return GeoNet().eval()


@pytest.fixture(scope="module")
def published() -> GeoNet:
    torch.manual_seed(0)
    return GeoNet("faithful", **VGG).eval()


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({}, {"depth_net": 58_448_836, "pose_net": 1_590_668, "flow_net": 58_480_232}),
        ({"networks": "rigid", "encoder": "vgg"}, {"depth_net": 31_596_900, "pose_net": 1_590_668}),
        ({"networks": "rigid", "frames": 5}, {"depth_net": 58_448_836, "pose_net": 1_598_456}),
        ({"networks": "direct"}, {"flow_net": 58_461_416}),
    ],
)
def test_parameter_counts_of_the_published_networks(options, counts) -> None:
    with torch.device("meta"):
        network = GeoNet("faithful", **options)
    assert {name: count(part) for name, part in network.named_children()} == counts


def test_the_modern_networks_are_small() -> None:
    with torch.device("meta"):
        counts = {name: count(part) for name, part in GeoNet().named_children()}
    assert counts == {"depth_net": 9_771_408, "pose_net": 3_030_118, "flow_net": 1_899_898}
    assert sum(counts.values()) <= 19_000_000


# --- parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_hw", "kernel", "stride", "sides"),
    [
        ((128, 416), 7, 2, (2, 3, 2, 3)),
        ((128, 416), 3, 2, (0, 1, 0, 1)),
        ((13, 7), 3, 2, (1, 1, 1, 1)),
        ((4, 5), 5, 2, (2, 2, 1, 2)),
        ((1, 1), 3, 2, (1, 1, 1, 1)),
        ((4, 4), 1, 2, (0, 0, 0, 0)),
        ((6, 9), 7, 1, (3, 3, 3, 3)),
    ],
)
def test_same_padding_by_hand(size_hw, kernel, stride, sides) -> None:
    assert same_padding(size_hw, kernel, stride) == sides


def test_a_map_is_brought_to_the_size_of_another_by_leaving_out_the_last() -> None:
    row = torch.arange(14.0).view(1, 1, 1, 14)
    assert match_size(row, (1, 13)).flatten().tolist() == list(range(13))
    assert match_size(row, (1, 14)) is row


def test_batch_normalisation_shifts_and_does_not_scale() -> None:
    norm = ShiftNorm(1)
    torch.nn.init.constant_(norm.bias, 5.0)
    x = torch.tensor([[[[0.0, 4.0]]]])  # mean 2, variance 4
    spread = 2 / (4 + 1e-3) ** 0.5
    assert norm(x).flatten().tolist() == pytest.approx([5 - spread, 5 + spread])
    assert norm.running_mean.item() == pytest.approx(0.001 * 2)
    norm.eval()
    expected = 5 + (4 - 0.002) / (norm.running_var.item() + 1e-3) ** 0.5
    assert norm(x)[..., 1].item() == pytest.approx(expected)
    assert sorted(norm.state_dict()) == ["bias", "running_mean", "running_var"]
    with pytest.raises(InputError, match="no statistics"):
        ShiftNorm(2)(torch.zeros(1, 2, 1, 1))


def test_inverse_depth_is_even_in_the_logarithm() -> None:
    raw = torch.tensor([-100.0, 0.0, 100.0])
    assert inverse_depth(raw).tolist() == pytest.approx([0.01, (0.01 * 10) ** 0.5, 10.0])


# --- sizes, batches, precision ---------------------------------------------------------------------


@pytest.mark.parametrize(("h", "w"), [(65, 100), (16, 16), (3, 2)])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_any_size(request: pytest.FixtureRequest, preset: str, h: int, w: int) -> None:
    network = request.getfixturevalue("modern" if preset == "modern" else "published")
    frames = snippet(h, w, batch=2)
    with torch.inference_mode():
        output = network(frames)
        single = network.depth(frames[:, 0])
    sizes = [(-(-h // s), -(-w // s)) for s in (1, 2, 4, 8)]
    assert [tuple(one.shape) for one in output.inverse_depth] == [(2, 3, 1, *size) for size in sizes]
    assert all((one > 0).all() and one.isfinite().all() for one in output.inverse_depth)
    assert output.pose.T_source_from_target.shape == (2, 2, 4, 4)
    assert output.pose.T_source_from_target.isfinite().all()
    torch.testing.assert_close(single.depth, 1 / output.inverse_depth[0][:, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("h", "w"), [(64, 96), (65, 100), (16, 16), (7, 130)])
def test_flow_of_any_size(modern: GeoNet, h: int, w: int) -> None:
    frames, rigid = snippet(h, w, batch=2), torch.randn(2, 2, h, w)
    with torch.inference_mode():
        output = modern.residual_flow(frames[:, 0], frames[:, 1], rigid)
    assert [tuple(one.shape) for one in output.scales] == [
        (2, 2, -(-h // s), -(-w // s)) for s in (1, 8, 16, 32)
    ]
    assert output.flow is output.scales[0]
    assert output.flow.dtype == torch.float32
    assert output.flow.isfinite().all()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_batch_is_its_samples_and_runs_repeat(request: pytest.FixtureRequest, preset: str) -> None:
    network = request.getfixturevalue("modern" if preset == "modern" else "published")
    frames = snippet(64, 96, batch=2)
    frames[0] = frames[0].flip(-1)
    with torch.inference_mode():
        together, again, alone = network(frames), network(frames), network(frames[1:])
    for one, two, three in zip(together.inverse_depth, again.inverse_depth, alone.inverse_depth, strict=True):
        assert torch.equal(one, two)
        torch.testing.assert_close(one[1:], three, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        together.pose.T_source_from_target[1:], alone.pose.T_source_from_target, rtol=1e-4, atol=1e-6
    )


def test_the_modern_networks_compute_in_training_what_they_compute_afterwards(modern: GeoNet) -> None:
    frames = snippet(64, 96)
    with torch.inference_mode():
        after = modern(frames).inverse_depth[0]
        modern.train()
        before = modern(frames).inverse_depth[0]
        modern.eval()
    assert torch.equal(before, after)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_bfloat16_stays_close_and_predictions_are_float32(
    request: pytest.FixtureRequest, preset: str
) -> None:
    network = request.getfixturevalue("modern" if preset == "modern" else "published")
    frames = snippet(96, 128)
    with torch.inference_mode():
        exact = network(frames)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(frames)
    for one, two in zip(exact.inverse_depth, rough.inverse_depth, strict=True):
        assert two.dtype == torch.float32
        assert not torch.equal(two, two.bfloat16().float())  # not rounded at the end
        assert (one.log() - two.log()).abs().mean() < 0.02
    assert rough.pose.T_source_from_target.dtype == torch.float32
    moved = exact.pose.T_source_from_target - torch.eye(4)
    off = rough.pose.T_source_from_target - exact.pose.T_source_from_target
    assert off.norm() < 0.1 * moved.norm()


def test_flow_in_bfloat16_stays_close(modern: GeoNet) -> None:
    frames, rigid = snippet(96, 128), 3 * torch.randn(1, 2, 96, 128)
    with torch.inference_mode():
        exact = modern.residual_flow(frames[:, 0], frames[:, 1], rigid).flow
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = modern.residual_flow(frames[:, 0], frames[:, 1], rigid).flow
    assert rough.dtype == torch.float32
    assert (rough - exact).norm() < 0.05 * (exact - rigid).norm()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_weights_in_bfloat16_give_what_autocast_gives(preset: str) -> None:
    torch.manual_seed(0)
    network = GeoNet(preset, **(VGG if preset == "faithful" else {})).eval()
    frames = snippet(64, 96)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        cast = network(frames)
        network.reduce_precision(torch.bfloat16)
        stored = network(frames)
    with torch.inference_mode():
        alone = network(frames)
    for output in (stored, alone):
        assert torch.equal(output.inverse_depth[0], cast.inverse_depth[0])
        assert torch.equal(output.pose.T_source_from_target, cast.pose.T_source_from_target)
    heads = ("heads.", ".head", "disp", "norm", "before", "between", "context_head")
    wide = [name for name, p in network.named_parameters() if p.dtype == torch.float32]
    assert all(any(word in name for word in heads) or p.dim() == 1 for name, p in network.named_parameters()
               if name in wide)  # fmt: skip


@pytest.mark.parametrize("preset", list(PRESETS))
def test_channels_last_weights_give_the_same(preset: str) -> None:
    torch.manual_seed(0)
    network = GeoNet(preset, **(VGG if preset == "faithful" else {})).eval()
    frames = snippet(64, 96)
    with torch.inference_mode():
        before = network(frames).inverse_depth[0]
        after = network.to(memory_format=torch.channels_last)(frames).inverse_depth[0]
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


# --- gradients -------------------------------------------------------------------------------------


def check_gradients(network: torch.nn.Module) -> None:
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def rigid_loss(network: GeoNet, frames: Tensor) -> Tensor:
    output = network(frames)
    weight = torch.linspace(0, 1, 16, device=frames.device).view(4, 4)
    depths = torch.stack([(one * torch.rand_like(one)).mean() for one in output.inverse_depth]).sum()
    return depths + (output.pose.T_source_from_target * weight).sum()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_parameter_of_the_first_stage_has_a_finite_gradient(preset: str) -> None:
    network = GeoNet(preset, **(VGG if preset == "faithful" else {"networks": "rigid"})).train()
    rigid_loss(network, snippet(65, 90, batch=2)).backward()
    check_gradients(network)


@pytest.mark.parametrize("networks", ["residual", "direct"])
def test_every_parameter_of_the_modern_flow_network_has_a_finite_gradient(networks: str) -> None:
    network = GeoNet(networks=networks).train()
    frames, rigid = snippet(65, 90, batch=2), torch.randn(2, 2, 65, 90).requires_grad_()
    first, second = frames[:, 0], frames[:, 1]
    if networks == "direct":
        output = network.direct_flow(first, second)
    else:
        output = network.residual_flow(first, second, rigid)
    torch.stack([one.square().mean() for one in output.scales]).sum().backward()
    check_gradients(network.flow_net)
    assert networks == "direct" or rigid.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"networks": "rigid"}, {"networks": "direct"}, {"networks": "residual"}])
def test_every_parameter_of_the_published_networks_has_a_finite_gradient(options) -> None:
    network = GeoNet("faithful", **options).train()
    frames = snippet(64, 90, batch=2)
    if options["networks"] == "rigid":
        rigid_loss(network, frames).backward()
        return check_gradients(network)
    first, second = frames[:, 0], frames[:, 1]
    if options["networks"] == "direct":
        output = network.direct_flow(first, second)
    else:
        output = network.residual_flow(first, second, torch.randn(2, 2, 64, 90))
    torch.stack([one.square().mean() for one in output.scales]).sum().backward()
    return check_gradients(network.flow_net)


# --- poses -----------------------------------------------------------------------------------------


def test_poses_lead_from_the_frame_in_the_middle(modern: GeoNet) -> None:
    """Pairs are looked at in order of time; the way to an earlier frame is the way back."""
    frames = snippet(64, 96, count=5)
    with torch.inference_mode():
        T = modern.pose(frames).T_source_from_target[0]
        pairs = {(a, b): modern.pose(frames[:, [a, b]]).T_source_from_target[0, 0] for a in range(5)
                 for b in range(a + 1, 5)}  # fmt: skip
    for place, source in enumerate((0, 1)):
        torch.testing.assert_close(T[place], invert_pose(pairs[source, 2]), atol=1e-6, rtol=0)
    for place, source in enumerate((3, 4), start=2):
        torch.testing.assert_close(T[place], pairs[2, source], atol=1e-6, rtol=0)


def test_motion_follows_the_focal_length(modern: GeoNet) -> None:
    """Twice as long a lens: the same shift of the picture is half the turn and half the sideways motion."""
    first, second = (2 * frame - 1 for frame in snippet(64, 96, count=2).unbind(1))
    K = torch.tensor([[[80.0, 0, 47.5], [0, 90.0, 31.5], [0, 0, 1]]])
    longer = K * torch.tensor([[2.0, 1, 1], [1, 2.0, 1], [1, 1, 1]])
    with torch.inference_mode():
        short, long = modern.pose_net(first, second, K), modern.pose_net(first, second, longer)
    torch.testing.assert_close(long / short, torch.tensor([[0.5, 0.5, 1, 0.5, 0.5, 1]]))


def test_the_principal_point_is_seen(modern: GeoNet) -> None:
    frames = snippet(64, 96, count=2)
    K = torch.tensor([[[96.0, 0, 47.5], [0, 96.0, 31.5], [0, 0, 1]]])
    moved = K + torch.tensor([[[0.0, 0, 12], [0, 0, 0], [0, 0, 0]]])
    with torch.inference_mode():
        nominal, given, other = (modern.pose(frames, k).T_source_from_target for k in (None, K, moved))
    assert torch.equal(nominal, given)
    assert not torch.allclose(other, given, atol=1e-6, rtol=0)


# --- flow ------------------------------------------------------------------------------------------


def without_heads(network: GeoNet) -> GeoNet:
    for name, parameter in network.named_parameters():
        if "head" in name:
            torch.nn.init.zeros_(parameter)
    return network.eval()


def test_without_a_correction_rigid_flow_remains(modern: GeoNet) -> None:
    network = without_heads(GeoNet())
    frames, rigid = snippet(40, 60), 3 * torch.randn(1, 2, 40, 60)
    with torch.inference_mode():
        output = network.residual_flow(frames[:, 0], frames[:, 1], rigid)
    assert torch.equal(output.flow, rigid)
    inner = torch.nn.functional.avg_pool2d(rigid[..., :40, :56], 8) / 8  # pixels of the small grid
    torch.testing.assert_close(output.scales[1][..., :5, :7], inner, atol=1e-5, rtol=0)


def test_rigid_flow_that_cannot_be_used_is_bounded(modern: GeoNet) -> None:
    frames, rigid = snippet(64, 96), torch.zeros(1, 2, 64, 96)
    rigid[..., 0, 0], rigid[..., 5, 5], rigid[..., 9, 9] = torch.nan, 1e9, -torch.inf
    with torch.inference_mode():
        assert modern.residual_flow(frames[:, 0], frames[:, 1], rigid).flow.isfinite().all()
        flow = without_heads(GeoNet()).residual_flow(frames[:, 0], frames[:, 1], rigid).flow
    assert flow[0, :, 5, 5].tolist() == [2 * 96, 2 * 64]
    assert flow[0, :, 0, 0].tolist() == flow[0, :, 9, 9].tolist() == [0, 0]


@pytest.mark.slow
def test_published_flow_adds_to_the_rigid_flow_of_each_scale() -> None:
    network = without_heads(GeoNet("faithful"))
    frames = snippet(64, 96)
    rigid = [torch.randn(1, 2, 64 // s, 96 // s) for s in (1, 2, 4, 8)]
    with torch.inference_mode():
        output = network.residual_flow(frames[:, 0], frames[:, 1], rigid)
        one = network.residual_flow(frames[:, 0], frames[:, 1], torch.full((1, 2, 64, 96), 8.0))
    assert all(torch.equal(ours, given) for ours, given in zip(output.scales, rigid, strict=True))
    assert [flow.unique().tolist() for flow in one.scales] == [[8.0], [4.0], [2.0], [1.0]]


@pytest.mark.slow
def test_the_modern_flow_network_learns_one_shift() -> None:
    torch.manual_seed(0)
    network = GeoNet(networks="direct").to(memory_format=torch.channels_last)
    frames = snippet(64, 128)
    truth = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 64, 128)
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-4)
    errors = []
    for _ in range(60):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = network.direct_flow(frames[:, 0], frames[:, 1])
        error = (output.flow - truth).square().sum(1).sqrt().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert min(errors[-10:]) < 0.25 * errors[0]


@pytest.mark.slow
def test_the_modern_depth_network_learns_one_picture() -> None:
    torch.manual_seed(0)
    network = GeoNet(networks="rigid").to(memory_format=torch.channels_last)
    image = snippet(64, 128)[:, 0]
    truth = torch.linspace(0, 2, 64).view(1, 1, 64, 1).expand(1, 1, 64, 128).exp() / 10
    optimiser = torch.optim.AdamW(network.depth_net.parameters(), lr=4e-4)
    errors = []
    for _ in range(60):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = network.depth(image).inverse_depth
        error = (output[0].log() - truth.log()).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert min(errors[-10:]) < 0.25 * errors[0]


# --- settings and files of weights -----------------------------------------------------------------


def test_the_card_lists_every_setting() -> None:
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert set(CARD.options) == fields - {"preset"}
    assert tuple(PRESETS) == CARD.presets


def test_scale_normalised_inverse_depth_has_mean_one(published: GeoNet) -> None:
    network = GeoNet("faithful", **VGG, scale_normalize=True).eval()
    network.load_state_dict(published.state_dict())
    image = snippet(50, 70)[:, 0]
    with torch.inference_mode():
        raw, normal = published.depth(image).inverse_depth, network.depth(image).inverse_depth
    for one, two in zip(raw, normal, strict=True):
        torch.testing.assert_close(two, one / one.mean())


@pytest.mark.parametrize(
    ("preset", "options", "words"),
    [
        ("old", {}, "modern or faithful"),
        ("modern", {"networks": "all"}, "networks of geonet"),
        ("modern", {"encoder": "resnet18"}, "encoder of geonet"),
        ("modern", {"encoder": "vgg"}, "none of preset modern"),
        ("faithful", {"encoder": "compact"}, "none of preset faithful"),
        ("faithful", {"frames": 4}, "3 or 5"),
        ("modern", {"frames": 5}, "leave it out"),
    ],
)
def test_unknown_values_are_refused(preset: str, options, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        GeoNet(preset, **options)


def test_what_cannot_be_computed_is_refused(modern: GeoNet, published: GeoNet) -> None:
    frames, rigid = snippet(16, 24), torch.zeros(1, 2, 16, 24)
    first, second = frames[:, 0], frames[:, 1]
    with pytest.raises(UsageError, match="networks=residual: direct needs direct"):
        modern.direct_flow(first, second)
    with pytest.raises(UsageError, match="networks=rigid: residual needs residual"):
        published.residual_flow(first, second, rigid)
    with torch.device("meta"):
        direct = GeoNet(networks="direct")
    for call in (lambda: direct.depth(first), lambda: direct.pose(frames)):
        with pytest.raises(UsageError, match="networks=direct"):
            call()
    with pytest.raises(InputError, match="this pose network takes 3"):
        published.pose(snippet(16, 24, count=5))
    with pytest.raises(InputError, match="two are needed"):
        modern.pose(frames[:, :1])
    with pytest.raises(InputError, match="one per snippet"):
        modern.pose(frames, torch.eye(3).expand(2, 3, 3))
    with pytest.raises(InputError, match="all of a size"):
        modern.residual_flow(first, second[..., :-1], rigid)
    with pytest.raises(InputError, match="rigid flow"):
        modern.residual_flow(first, second, rigid[..., :-1])


def test_without_weights_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)  # as in a version that ships none
    for preset in (None, "faithful"):
        with pytest.raises(UsageError, match=r"geonet comes without weights.*--weights FILE"):
            kinema.load("geonet", preset=preset)


@pytest.mark.parametrize(("preset", "options"), [("modern", {"networks": "rigid"}), ("faithful", VGG)])
def test_weights_make_the_round_trip_through_a_file(tmp_path: Path, preset: str, options) -> None:
    torch.manual_seed(1)
    network = GeoNet(preset, **options).train()
    with torch.no_grad():
        network(snippet(64, 96, batch=2))  # moves the averages of the published one
    path = tmp_path / "own.safetensors"
    metadata = {"model": "geonet", "preset": preset, "options": json.dumps(options)}
    save_tensors(path, network.state_dict(), metadata=metadata)
    loaded = kinema.load("geonet", weights=path, precision="fp32").model
    frames = snippet(33, 65)
    with torch.inference_mode():
        one, two = network.eval()(frames), loaded(frames)
    assert torch.equal(one.inverse_depth[0], two.inverse_depth[0])
    assert torch.equal(one.pose.T_source_from_target, two.pose.T_source_from_target)
    with pytest.raises(KinemaError, match="--preset"):
        kinema.load("geonet", weights=path, preset="faithful" if preset == "modern" else "modern")


def test_the_second_stage_begins_from_weights_of_the_first(modern: GeoNet) -> None:
    first_stage = GeoNet(networks="rigid").state_dict()
    completed = modern.complete_state(first_stage)
    assert completed.keys() == modern.state_dict().keys()
    own = modern.state_dict()
    for name, tensor in completed.items():
        assert torch.equal(tensor, own[name] if name.startswith("flow_net") else first_stage[name])
    partial = dict(list(first_stage.items())[:-1])
    assert modern.complete_state(partial).keys() == partial.keys()


def test_it_is_no_flow_model_for_the_predictor() -> None:
    predictor = kinema.load("geonet", weights="random")
    image = snippet(64, 96)[:, 0]
    with pytest.raises(KinemaError, match="flow"):
        predictor.flow(image, image)
