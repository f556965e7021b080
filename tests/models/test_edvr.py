"""EDVR as a model: names and counts, its four steps, sizes, precision, training, files of weights."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import kinema
from helpers.edvr_weights import edvr_weights, golden_network
from kinema.errors import InputError, UsageError
from kinema.io.checkpoints import save_tensors
from kinema.models import MODELS
from kinema.models.edvr import EDVR
from kinema.models.edvr_parts import OFFSET_LEVELS, FeaturePyramid
from kinema.models.edvr_settings import PRESETS, Settings

CARD = MODELS["edvr"].card
TINY = {"features": 8, "offset_groups": 2, "extraction_blocks": 1, "reconstruction_blocks": 1}

PUBLISHED = {  # tensors and parameters
    "m": (144, 3_300_131),
    "m-wotsa": (120, 2_996_259),
    "l": (264, 20_633_827),
    "l-wotsa": (240, 19_419_875),
    "l-vimeo90k": (264, 20_699_363),
    "l-srblur": (302, 23_306_851),
    "l-deblur": (306, 23_602_019),
    "l-deblur-stage2": (226, 17_698_659),
    "l-sr-stage2": (188, 15_025_635),
}

SHAPES = {  # of BasicSR's state dict, by layer, F = 64 and T = 5
    "conv_first": (64, 3, 3, 3),
    "feature_extraction.4.conv2": (64, 64, 3, 3),
    "conv_l2_1": (64, 64, 3, 3),
    "conv_l3_2": (64, 64, 3, 3),
    "pcd_align.offset_conv1.l3": (64, 128, 3, 3),
    "pcd_align.offset_conv2.l3": (64, 64, 3, 3),
    "pcd_align.offset_conv2.l1": (64, 128, 3, 3),
    "pcd_align.offset_conv3.l2": (64, 64, 3, 3),
    "pcd_align.dcn_pack.l1": (64, 64, 3, 3),
    "pcd_align.dcn_pack.l1.conv_offset": (216, 64, 3, 3),
    "pcd_align.cas_dcnpack.conv_offset": (216, 64, 3, 3),
    "pcd_align.feat_conv.l2": (64, 128, 3, 3),
    "pcd_align.cas_offset_conv1": (64, 128, 3, 3),
    "pcd_align.cas_offset_conv2": (64, 64, 3, 3),
    "fusion.temporal_attn1": (64, 64, 3, 3),
    "fusion.feat_fusion": (64, 320, 1, 1),
    "fusion.spatial_attn1": (64, 320, 1, 1),
    "fusion.spatial_attn2": (64, 128, 1, 1),
    "fusion.spatial_attn3": (64, 64, 3, 3),
    "fusion.spatial_attn4": (64, 64, 1, 1),
    "fusion.spatial_attn_l1": (64, 64, 1, 1),
    "fusion.spatial_attn_l2": (64, 128, 3, 3),
    "fusion.spatial_attn_l3": (64, 64, 3, 3),
    "fusion.spatial_attn_add2": (64, 64, 1, 1),
    "reconstruction.9.conv1": (64, 64, 3, 3),
    "upconv1": (256, 64, 3, 3),
    "upconv2": (256, 64, 3, 3),
    "conv_hr": (64, 64, 3, 3),
    "conv_last": (3, 64, 3, 3),
}


def tiny(**options: int | str) -> EDVR:
    """A small network with pseudo-weights: offsets of some pixels, nothing that is zero."""
    network = EDVR(**{**TINY, **options})  # type: ignore[arg-type]
    network.load_state_dict(edvr_weights(network, dtype=torch.float32))
    return network.eval()


def clip(frames: int, h: int, w: int, *, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.rand((batch, frames, 3, h, w), generator=torch.Generator().manual_seed(seed))


def on_meta(preset: str, **options: int | str) -> EDVR:
    with torch.device("meta"):
        return EDVR(preset, **options)  # type: ignore[arg-type]


# --- names and counts -----------------------------------------------------------------------------


@pytest.mark.parametrize("preset", list(PRESETS))
def test_tensors_and_parameters_of_the_published_networks(preset: str) -> None:
    network = on_meta(preset)
    assert (len(network.state_dict()), sum(p.numel() for p in network.parameters())) == PUBLISHED[preset]


def test_names_and_shapes_are_those_of_basicsr() -> None:
    state = {name: tuple(tensor.shape) for name, tensor in on_meta("m").state_dict().items()}
    for layer, shape in SHAPES.items():
        assert state[f"{layer}.weight"] == shape
        assert state[f"{layer}.bias"] == shape[:1]
    parts = Counter()
    for name, tensor in on_meta("m").state_dict().items():
        parts[name.split(".")[0]] += tensor.numel()
    assert parts["feature_extraction"] == 369_280
    assert parts["pcd_align"] == 1_384_288
    assert parts["fusion"] == 324_416
    assert parts["reconstruction"] == 738_560
    assert parts["upconv1"] == parts["upconv2"] == 147_712
    assert parts["conv_hr"] == 36_928
    assert parts["conv_last"] == 1_731


def test_names_of_the_parts_for_blurred_and_for_whole_frames() -> None:
    deblur, blurred, whole = (
        set(on_meta(name).state_dict()) for name in ("l-deblur", "l-srblur", "l-sr-stage2")
    )
    new = {
        name.removesuffix(".weight") for name in deblur - set(on_meta("l").state_dict()) if "bias" not in name
    }
    blocks = ["resblock_l3", "resblock_l2_1", "resblock_l2_2", *(f"resblock_l1.{i}" for i in range(5))]
    layers = ["conv_first", "stride_conv_hr1", "stride_conv_hr2", "stride_conv_l2", "stride_conv_l3"]
    layers += [f"{block}.{layer}" for block in blocks for layer in ("conv1", "conv2")]
    assert new == {"conv_1x1", *(f"predeblur.{layer}" for layer in layers)}
    assert {name for name in deblur - blurred if "bias" not in name} == {
        "predeblur.stride_conv_hr1.weight",
        "predeblur.stride_conv_hr2.weight",
    }
    assert {"conv_first_1.weight", "conv_first_2.bias", "conv_first_3.weight"} <= whole
    assert "conv_first.weight" not in whole | deblur


def test_presets_options_and_card_agree() -> None:
    assert CARD.presets == tuple(PRESETS)
    assert {f.name for f in inspect.signature(EDVR).parameters.values()} - {"preset"} == set(CARD.options)
    assert set(Settings.__dataclass_fields__) == set(CARD.options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": 4}, "frames of edvr is 4.*odd"),
        ({"offset_groups": 7}, "offset_groups of edvr is 7.*divisor of features, 64"),
        ({"scale": 2}, "scale of edvr is 2: use 1 or 4"),
        ({"fusion": "sum"}, "fusion of edvr is 'sum': use tsa or plain"),
        ({"features": 0}, "features of edvr is 0: use 1 or more"),
        ({"reconstruction_blocks": -1}, "reconstruction_blocks of edvr is -1"),
    ],
)
def test_wrong_settings_are_explained(options: dict[str, int | str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        on_meta("m", **options)
    with pytest.raises(UsageError, match="preset 'xl' of edvr is unknown: use m or m-wotsa"):
        on_meta("xl")


# --- at the start of training ---------------------------------------------------------------------


def test_at_first_alignment_is_a_plain_convolution_at_half_strength() -> None:
    network = EDVR(**TINY)
    layer = network.pcd_align.cas_dcnpack
    x, guide = torch.rand(2, 8, 6, 7), torch.rand(2, 8, 6, 7)
    result, offsets = layer(x, guide)
    assert not offsets.any()
    assert offsets.shape == (2, 2 * 2 * 9, 6, 7)
    torch.testing.assert_close(result, 0.5 * F.conv2d(x, layer.weight, padding=1))
    assert layer.weight.abs().max() <= 1 / (9 * 8) ** 0.5
    blocks = [*network.feature_extraction, *network.reconstruction]
    assert all(not block.conv1.bias.any() and not block.conv2.bias.any() for block in blocks)
    deviation = EDVR(extraction_blocks=1, reconstruction_blocks=0).feature_extraction[0].conv1.weight.std()
    assert deviation.item() == pytest.approx(0.1 * (2 / (9 * 64)) ** 0.5, rel=0.02)


def test_without_a_last_layer_a_frame_is_only_enlarged() -> None:
    network = tiny()
    torch.nn.init.zeros_(network.conv_last.weight)
    torch.nn.init.zeros_(network.conv_last.bias)
    frames = clip(5, 8, 12)
    enlarged = F.interpolate(frames[:, 2], scale_factor=4, mode="bilinear", align_corners=False)
    with torch.inference_mode():
        assert torch.equal(network(frames).frame, enlarged)
        assert not network(torch.zeros(1, 5, 3, 8, 8)).frame.any()


# --- the four steps -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"fusion": "plain"}, {"scale": 1, "predeblur": "pyramid"}, {"scale": 1}]
)
def test_windows_can_share_what_belongs_to_one_frame(options: dict[str, int | str]) -> None:
    """Each frame of a clip of 7 is looked at once, and each of 3 windows of 5 gets what `forward` gives."""
    network, frames = tiny(**options), clip(7, 32, 16)
    with torch.inference_mode():
        pyramids = [network.features(frames[:, t]) for t in range(7)]
        for middle in (2, 3, 4):
            window = range(middle - 2, middle + 3)
            aligned = [network.align(pyramids[t], pyramids[middle]).features for t in window]
            fused = network.fuse(torch.stack(aligned, 1))
            frame = network.reconstruct(fused, frames[:, middle])
            expected = network(frames[:, list(window)]).frame
            torch.testing.assert_close(frame, expected, atol=1e-5, rtol=0)


def test_a_reference_is_shared_by_the_neighbours_beside_each_other() -> None:
    network = tiny()
    neighbours, references = network.features(clip(6, 8, 8)[0]), network.features(clip(2, 8, 8, seed=1)[0])
    together = network.align(neighbours, references, keep_offsets=True)
    assert [tuple(o.shape) for o in together.offsets] == [
        (6, 36, 2, 2), (6, 36, 4, 4), (6, 36, 8, 8), (6, 36, 8, 8)
    ]  # fmt: skip
    assert len(together.offsets) == len(OFFSET_LEVELS)
    for number in range(6):
        one = FeaturePyramid(*(level[number : number + 1] for level in neighbours))
        its = FeaturePyramid(*(level[number // 3 : number // 3 + 1] for level in references))
        torch.testing.assert_close(network.align(one, its).features, together.features[number : number + 1])
    assert network.align(neighbours, references).offsets == ()


def test_a_batch_is_its_samples_and_runs_repeat() -> None:
    network, frames = tiny(), clip(5, 12, 16, batch=3)
    with torch.inference_mode():
        together = network(frames).frame
        assert torch.equal(together, network(frames).frame)
        for number in range(3):
            alone = network(frames[number : number + 1]).frame
            torch.testing.assert_close(together[number : number + 1], alone, atol=1e-5, rtol=0)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "w"), [(4, 4), (5, 7), (13, 8), (31, 18)])
@pytest.mark.parametrize("frames", [1, 3, 5])
def test_any_size(h: int, w: int, frames: int) -> None:
    network = tiny(frames=frames)
    with torch.inference_mode():
        output = network(clip(frames, h, w))
    assert output.frame.shape == (1, 3, 4 * h, 4 * w)
    assert output.frame.isfinite().all()
    assert output.offsets == ()


@pytest.mark.parametrize(("h", "w"), [(16, 16), (17, 31), (33, 50)])
def test_any_size_at_the_same_size(h: int, w: int) -> None:
    with torch.inference_mode():
        assert tiny(scale=1)(clip(5, h, w)).frame.shape == (1, 3, h, w)


def test_odd_sizes_are_continued_by_reflection() -> None:
    network, frames = tiny(), clip(5, 10, 13)
    padded = F.pad(frames[0], (0, 3, 0, 2), mode="reflect")[None]
    with torch.inference_mode():
        assert torch.equal(network(frames).frame, network(padded).frame[..., :40, :52])
    assert network.pad(frames[0, :, :, :8, :8]).shape == (5, 3, 8, 8)


def test_what_cannot_be_used_is_refused_in_one_line() -> None:
    network = tiny()
    with pytest.raises(InputError, match=r"frames of 8x3 are too small for edvr: 4 pixels a side at least"):
        network(clip(5, 3, 8))
    with pytest.raises(InputError, match=r"frames of 12x10: both sides must be multiples of 4; pad them"):
        network.features(clip(1, 10, 12)[0])
    with pytest.raises(InputError, match=r"a window of 3 frames: this edvr takes 5"):
        network(clip(3, 8, 8))
    with pytest.raises(InputError, match=r"multiples of 16"):
        tiny(scale=1).features(clip(1, 24, 32)[0])


# --- precision and training -----------------------------------------------------------------------


def test_bfloat16_stays_close_and_keeps_positions_in_float32() -> None:
    network, frames = golden_network("tiny", dtype=torch.float32), clip(5, 32, 48)
    with torch.inference_mode():
        exact = network(frames, keep_offsets=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(frames, keep_offsets=True)
    assert rough.frame.dtype == torch.float32
    assert {offset.dtype for offset in rough.offsets} == {torch.float32}
    assert 0 < (rough.frame - exact.frame).square().mean().sqrt() < 0.005 * exact.frame.std()


def test_weights_in_bfloat16_give_what_autocast_gives() -> None:
    network, other, frames = tiny(), tiny(), clip(5, 16, 20)
    other.reduce_precision(torch.bfloat16)
    with torch.inference_mode():
        stored = other(frames)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast, both = network(frames), other(frames)
    assert torch.equal(stored.frame, cast.frame)
    assert torch.equal(stored.frame, both.frame)


@pytest.mark.parametrize(
    "options",
    [{}, {"fusion": "plain"}, {"predeblur": "pyramid"}, {"predeblur": "pyramid", "scale": 1}, {"scale": 1}],
)
def test_every_parameter_learns(options: dict[str, int | str]) -> None:
    network = tiny(**options).train()
    output = network(clip(5, 16, 16, batch=2))
    output.frame.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_the_first_steps_lower_the_error_and_move_the_taps() -> None:
    """From untrained weights, where all offsets are exactly 0, towards brighter frames."""
    torch.manual_seed(0)
    network, frames = EDVR(**TINY), clip(5, 16, 16)
    target = 0.2 + F.interpolate(frames[:, 2], scale_factor=4, mode="bilinear", align_corners=False)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    errors = []
    for _ in range(10):
        error = (network(frames).frame - target).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]
    assert all(offset.any() for offset in network(frames, keep_offsets=True).offsets)


# --- files of weights -----------------------------------------------------------------------------


def test_a_file_of_weights_says_how_the_network_is_built(tmp_path: Path) -> None:
    network, path = tiny(frames=3), tmp_path / "tiny.safetensors"
    options = json.dumps({**TINY, "frames": 3})
    save_tensors(path, network.state_dict(), metadata={"model": "edvr", "preset": "m", "options": options})
    loaded = kinema.load("edvr", weights=path, device="cpu", precision="fp32")
    assert loaded.origin.options == {**TINY, "frames": 3}
    with torch.inference_mode():
        assert torch.equal(loaded.model(clip(3, 8, 8)).frame, network(clip(3, 8, 8)).frame)
    with pytest.raises(UsageError, match=r"edvr computes no flow: its task is restore"):
        loaded.flow(clip(1, 16, 16)[0], clip(1, 16, 16)[0])


def test_without_weights_the_option_is_named() -> None:
    with pytest.raises(UsageError, match=r"edvr comes without weights for preset m .*--weights FILE"):
        kinema.load("edvr")
