"""PWC-Net as a model: counts, options, sizes, precision, training, files of weights, the predictor."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import kinema
from helpers.pseudo_weights import nvlabs_weights, tfoptflow_weights
from kinema.errors import InputError, KinemaError, UsageError
from kinema.inference.flow import FlowPredictor
from kinema.io.checkpoints import save_tensors
from kinema.losses.supervised_flow import REFERENCE_PIXELS, multiscale_errors, multiscale_loss, pyramid_truth
from kinema.models import MODELS
from kinema.models.pwcnet import LEVELS, PRESETS, PWCNet, Settings
from kinema.weights import bundled

CARD = MODELS["pwcnet"].card


def pair(h: int, w: int, *, batch: int = 1, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    noise = torch.rand((batch, 3, h + 8, w + 8), generator=g)
    soft = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
    return soft[..., 4:-4, 4:-4].contiguous(), soft[..., 6:-2, 1:-7].contiguous()


@pytest.fixture(scope="module")
def model() -> PWCNet:
    with torch.device("meta"):
        network = PWCNet()
    network.load_state_dict(nvlabs_weights(network), assign=True)
    return network.eval()


@pytest.fixture(scope="module")
def weights_file(model: PWCNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "dc.safetensors"
    unused = {"deconv2.weight": torch.zeros(2, 2, 4, 4), "deconv2.bias": torch.zeros(2)}
    save_tensors(path, {**model.state_dict(), **unused}, metadata={})
    return path


@pytest.mark.parametrize(
    ("preset", "options", "count"),
    [
        ("dc", {}, 9_374_274),
        ("dc", {"connections": "plain"}, 4_705_064),
        ("tfoptflow", {}, 14_079_050),
        ("tfoptflow", {"connections": "plain"}, 6_774_064),
        ("tfoptflow", {"context": "finest"}, 9_374_274),
        ("tfoptflow", {"connections": "plain", "context": "finest"}, 4_705_064),
    ],
)
def test_parameter_counts(preset: str, options: Mapping[str, str], count: int) -> None:
    with torch.device("meta"):
        network = PWCNet(preset, **options)
    assert sum(p.numel() for p in network.parameters()) == count


def test_the_context_network_has_the_papers_share() -> None:
    with torch.device("meta"):
        context = [p.numel() for name, p in PWCNet().named_parameters() if name.startswith("dc_conv")]
    assert 9_374_274 - sum(context) == 8_243_008


@pytest.mark.parametrize(("h", "w"), [(64, 64), (65, 100), (16, 16), (1, 1), (7, 130)])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_any_size(preset: str, h: int, w: int) -> None:
    torch.manual_seed(0)
    network = PWCNet(preset, connections="plain", context="finest").eval()
    first, second = pair(h, w, batch=2)
    with torch.inference_mode():
        output = network(first, second)
    assert output.flow.shape == (2, 2, h, w)
    assert output.flow.isfinite().all()
    padded = (-(-h // 64) * 64, -(-w // 64) * 64)
    sizes = [tuple(flow.shape[-2:]) for flow in output.pyramid]
    assert sizes == [(padded[0] >> level, padded[1] >> level) for level in LEVELS]


def test_flow_follows_the_scale_of_a_resized_frame(model: PWCNet) -> None:
    """Frames of 96x144 are computed at 128x192: u and v come back in pixels of 96x144."""
    first, second = pair(96, 144)
    large = [torch.nn.functional.interpolate(t, (128, 192), mode="bilinear") for t in (first, second)]
    with torch.inference_mode():
        small_flow, large_flow = model(first, second).flow, model(*large).flow
    quarter = torch.nn.functional.interpolate(20 * model(*large).pyramid[-1], (96, 144), mode="bilinear")
    scale = torch.tensor([144 / 192, 96 / 128]).view(1, 2, 1, 1)
    torch.testing.assert_close(small_flow, quarter * scale, atol=1e-4, rtol=1e-4)
    assert large_flow.abs().mean() > small_flow.abs().mean()


def test_a_batch_is_its_samples_and_runs_repeat(model: PWCNet) -> None:
    first, second = pair(64, 128, batch=2)
    with torch.inference_mode():
        together = model(first, second).flow
        again = model(first, second).flow
        alone = model(first[1:], second[1:]).flow
    assert torch.equal(together, again)
    torch.testing.assert_close(together[1:], alone, atol=1e-3, rtol=1e-4)


def test_bfloat16_keeps_flow_in_float32_and_stays_close(model: PWCNet) -> None:
    first, second = pair(128, 192)
    with torch.inference_mode():
        exact = model(first, second)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(first, second)
    assert rough.flow.dtype == torch.float32
    assert {flow.dtype for flow in rough.pyramid} == {torch.float32}
    error = (rough.flow - exact.flow).square().sum(1).sqrt().mean()
    assert error < 0.02 * exact.flow.square().sum(1).sqrt().mean()
    # Values between those of bfloat16: the last layers were not rounded.
    assert not torch.equal(rough.pyramid[0], rough.pyramid[0].bfloat16().float())


def test_weights_in_bfloat16_give_what_autocast_gives(model: PWCNet) -> None:
    first, second = pair(64, 128)
    other = PWCNet().eval()
    other.load_state_dict(model.state_dict())
    other.reduce_precision(torch.bfloat16)
    kept = {name for name, p in other.named_parameters() if p.dtype == torch.float32}
    assert {name.split(".")[0].rstrip("23456") for name in kept} == {"predict_flow", "deconv", "dc_conv7"}
    with torch.inference_mode():
        stored = other(first, second)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = model(first, second)
            both = other(first, second)
    assert torch.equal(stored.flow, cast.flow)
    assert torch.equal(both.flow, cast.flow)


def test_channels_last_weights_give_the_same(model: PWCNet) -> None:
    first, second = pair(64, 64)
    other = PWCNet().eval()
    other.load_state_dict(model.state_dict())
    other = other.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(other(first, second).flow, model(first, second).flow, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_parameter_has_a_finite_gradient(preset: str) -> None:
    torch.manual_seed(0)
    network = PWCNet(preset)
    first, second = pair(64, 128)
    pyramid = network(first, second).pyramid
    multiscale_loss(pyramid, torch.ones(1, 2, 64, 128)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.slow
def test_a_small_network_learns_one_shift() -> None:
    """A hundred steps on one pair in bfloat16: the true error falls to a fraction."""
    torch.manual_seed(0)
    network = PWCNet(connections="plain").to(memory_format=torch.channels_last)
    first, second = pair(64, 128)
    truth = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 64, 128)
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-4)
    errors = []
    for _ in range(100):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = network(first, second)
        loss = multiscale_loss(output.pyramid, truth)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        errors.append(float((output.flow.detach() - truth).square().sum(1).sqrt().mean()))
    assert min(errors[-10:]) < 0.25 * errors[0]


def test_initialisation() -> None:
    torch.manual_seed(0)
    kaiming, tensorflow = PWCNet(), PWCNet("tfoptflow")
    for network in (kaiming, tensorflow):
        weight = network.get_parameter("conv2_1.0.weight")
        fan_in = weight[0].numel()
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
        assert not network.get_parameter("conv2_1.0.bias").any()
    bound = 2 * (2 / 2205) ** 0.5 / 0.8796
    weight = tensorflow.get_parameter("conv2_1.0.weight")  # 245 x 9 inputs
    assert weight.abs().max() <= bound < kaiming.get_parameter("conv2_1.0.weight").abs().max()
    head = tensorflow.get_parameter("predict_flow2.weight")  # uniform after Glorot
    assert head.abs().max() <= (6 / (9 * (565 + 2))) ** 0.5
    assert head.std().item() == pytest.approx((2 / (9 * (565 + 2))) ** 0.5, rel=0.05)


def test_the_card_lists_every_setting() -> None:
    assert set(CARD.options) == {field.name for field in dataclasses.fields(Settings)}
    assert tuple(PRESETS) == CARD.presets


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Settings)])
def test_unknown_values_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} of pwcnet"):
        PWCNet(**{name: "neither"})


def test_frames_that_differ_are_refused(model: PWCNet) -> None:
    with pytest.raises(InputError, match="two of a size"):
        model(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 128))


# --- files of weights -----------------------------------------------------------------------------


def test_without_weights_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "FOLDER", tmp_path)  # as in a version that ships none
    with pytest.raises(UsageError, match="--weights"):
        kinema.load("pwcnet")


@pytest.mark.parametrize(("h", "w"), [(100, 150), (64, 128), (33, 65)])
def test_loaded_weights_run_on_arrays_of_any_size(weights_file: Path, model: PWCNet, h: int, w: int) -> None:
    predictor = kinema.load("pwcnet", weights=weights_file, precision="fp32")
    first, second = ((255 * t[0].permute(1, 2, 0)).round().to(torch.uint8).numpy() for t in pair(h, w))
    flow = predictor.flow(first, second)
    assert flow.shape == (h, w, 2)
    assert flow.dtype == np.float32
    tensors = [torch.from_numpy(a).permute(2, 0, 1)[None] / 255 for a in (first, second)]
    with torch.inference_mode():
        expected = model(*tensors).flow[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(flow, expected, atol=2e-3, rtol=1e-4)


def test_tiles_and_bfloat16_through_the_predictor(weights_file: Path) -> None:
    first, second = pair(150, 200)
    exact = kinema.load("pwcnet", weights=weights_file, precision="fp32").flow(first, second)
    rough = kinema.load("pwcnet", weights=weights_file, precision="bf16").flow(first, second)
    tiled = kinema.load("pwcnet", weights=weights_file, precision="fp32", tile=128).flow(first, second)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().mean() < 0.03 * exact.abs().mean()
    assert tiled.shape == exact.shape
    assert tiled.isfinite().all()


def test_the_file_says_how_to_build_its_model(tmp_path: Path) -> None:
    options = {"connections": "plain", "context": "finest"}
    with torch.device("meta"):
        network = PWCNet("tfoptflow", **options)
    network.load_state_dict(tfoptflow_weights(network), assign=True)
    path = tmp_path / "small.safetensors"
    metadata = {"model": "pwcnet", "preset": "tfoptflow", "options": json.dumps(options)}
    save_tensors(path, network.state_dict(), metadata=metadata)
    predictor = kinema.load("pwcnet", weights=path, precision="fp32")
    first, second = pair(64, 64)
    with torch.inference_mode():
        expected = network(first, second).flow
    torch.testing.assert_close(predictor.flow(first, second), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(UsageError, match="--preset"):
        kinema.load("pwcnet", weights=path, preset="dc")


def test_half_precision_weights_are_widened(model: PWCNet, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    save_tensors(path, {k: v.half() for k, v in model.state_dict().items()}, metadata={})
    predictor = kinema.load("pwcnet", weights=path, precision="fp32")
    assert {p.dtype for p in predictor.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: {**w, "conv1a.0.weight": torch.zeros(16, 3, 5, 5)}, "conv1a.0.weight"),
        (lambda w: {k: v for k, v in w.items() if k != "dc_conv7.bias"}, "dc_conv7.bias"),
        (lambda w: {**w, "more": torch.zeros(1)}, "more"),
    ],
)
def test_weights_that_do_not_fit_are_explained(model: PWCNet, tmp_path: Path, change, words: str) -> None:
    path = tmp_path / "other.safetensors"
    save_tensors(path, change(model.state_dict()), metadata={})
    with pytest.raises(InputError) as caught:
        kinema.load("pwcnet", weights=path)
    assert words in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"model": "uflow"}, "uflow"),
        ({"preset": "old"}, "old"),
        ({"options": "no JSON"}, "settings"),
        ({"options": '{"colour": "bgr"}'}, "colour"),
        ({"options": "[1]"}, "settings"),
    ],
)
def test_metadata_that_do_not_fit_are_explained(
    tmp_path: Path, metadata: Mapping[str, str], words: str
) -> None:
    path = tmp_path / "weights.safetensors"
    save_tensors(path, {"a": torch.zeros(1)}, metadata=metadata)
    with pytest.raises(InputError, match=words):
        kinema.load("pwcnet", weights=path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pwc_net.pth.tar"
    path.write_bytes(b"anything")
    with pytest.raises(UsageError, match=r"not a \.safetensors file; kinema weights convert .*pth\.tar"):
        kinema.load("pwcnet", weights=path)
    (tmp_path / "pwcnet.ckpt-595000.index").write_bytes(b"anything")
    with pytest.raises(UsageError, match=r"kinema weights convert .*pwcnet\.ckpt-595000 "):
        kinema.load("pwcnet", weights=tmp_path / "pwcnet.ckpt-595000")
    for missing in (tmp_path / "no.safetensors", tmp_path / "no.pth"):
        with pytest.raises(KinemaError, match="no"):
            kinema.load("pwcnet", weights=missing)


def test_an_untrained_model_for_timing() -> None:
    predictor = kinema.load("pwcnet", weights="random")
    assert isinstance(predictor, FlowPredictor)
    assert predictor.flow(*pair(64, 64)).isfinite().all()


# --- objective ------------------------------------------------------------------------------------


def test_the_objective_is_zero_at_the_truth_and_skips_what_is_unknown() -> None:
    truth = torch.tensor([2.0, -4.0]).view(1, 2, 1, 1).repeat(1, 1, 64, 64)
    pyramid = [torch.tensor([0.1, -0.2]).view(1, 2, 1, 1).expand(1, 2, 64 >> n, 64 >> n) for n in LEVELS]
    assert multiscale_loss(pyramid, truth, epsilon=0.0).item() == pytest.approx(0, abs=1e-5)
    cells = sum(w * (64 >> n) ** 2 for w, n in zip((0.32, 0.08, 0.02, 0.01, 0.005), LEVELS, strict=True))
    assert multiscale_loss(pyramid, truth).item() == pytest.approx(0.1 * cells, rel=1e-4)
    spoilt = truth.clone()
    spoilt[..., :32] = float("nan")
    valid = truth.isfinite()[:, :1].float()
    valid[..., :32] = 0
    known = multiscale_loss(pyramid, truth, valid=valid)
    torch.testing.assert_close(multiscale_loss(pyramid, spoilt), known)
    assert 0.4 * 0.1 * cells < known.item() < 0.7 * 0.1 * cells


def test_the_triangle_filter_keeps_ramps_and_drops_holes() -> None:
    y, x = torch.meshgrid(torch.arange(33.0), torch.arange(65.0), indexing="ij")
    truth = torch.stack([x, y])[None]
    small, counts = pyramid_truth(truth, (9, 17))
    assert counts.all()
    torch.testing.assert_close(small[0, 0, 1:-1, 1:-1], x[4:-4:4, 4:-4:4])  # corners lie on corners
    torch.testing.assert_close(small[0, 1, 1:-1, 1:-1], y[4:-4:4, 4:-4:4])
    holes = truth.clone()
    holes[:, :, 12:21, 28:37] = float("nan")
    small, counts = pyramid_truth(holes, (9, 17))
    assert counts[0, 0, 4, 8] == 0
    assert counts[0, 0, 4, 11] == 1
    assert small.isfinite().all()
    with pytest.raises(UsageError, match="subsampled"):
        pyramid_truth(truth, (9, 17), downsampling="subsample")


def test_a_cell_counts_what_its_pixels_weigh() -> None:
    """Four cells of 4x4 pixels, by hand: whole, half weights, a quarter unknown, half unknown."""
    truth = torch.zeros(1, 2, 8, 8)
    truth[:, 0, :4, :4], truth[:, 0, :4, 4:], truth[:, 0, 4:, :4], truth[:, 0, 4:, 4:] = 1.0, 2.0, 3.0, 4.0
    weight = torch.ones(1, 1, 8, 8)
    weight[..., :4, 4:] = 0.5
    weight[..., 4:6, :2] = 0.0
    weight[..., 4:, 4:6] = 0.0
    truth[..., 6, 0] = 7.0  # weighs as much as each other of the twelve known pixels of its cell
    small, counts = pyramid_truth(truth, (2, 2), weight=weight, downsampling="area")
    assert small[0, 0].flatten().tolist() == pytest.approx([1, 2, (11 * 3 + 7) / 12, 0])
    assert counts.flatten().tolist() == pytest.approx([1, 0.5, 0.75, 0])
    sums = {
        cells: multiscale_errors(
            [torch.zeros(1, 2, 2, 2)], truth, weight=weight, downsampling="area", weights=(2.0,),
            unit="level_pixels", cells=cells, epsilon=0.0,
        )[0].item()
        for cells in ("share", "whole")
    }  # fmt: skip
    mean, mean_y = (11 * 3 + 7) / 12, 7 / 12
    third = (mean**2 + mean_y**2) ** 0.5
    assert sums["share"] == pytest.approx(
        2 / 4 * (1 + 0.5 * 2 + 0.75 * third)
    )  # 4 pixels are one of the level
    assert sums["whole"] == pytest.approx(2 / 4 * (1 + 2 + third))


@pytest.mark.parametrize("downsampling", ["triangle", "area", "subsample"])
@pytest.mark.parametrize("penalty", ["l2", "robust", "legacy_robust"])
def test_the_published_rule_is_the_sum_over_the_batch(downsampling: str, penalty: str) -> None:
    """Without masks both forms are one; a crop of the reference size is counted as one."""
    torch.manual_seed(0)
    truth = torch.randn(3, 2, 64, 128)
    pyramid = [torch.randn(3, 2, 64 >> n, 128 >> n) for n in LEVELS]
    settings = {"downsampling": downsampling, "penalty": penalty}
    sums = torch.stack(multiscale_errors(pyramid, truth, **settings)).sum()
    torch.testing.assert_close(multiscale_loss(pyramid, truth, **settings), sums / 3)
    count = 3 * 64 * 128 / REFERENCE_PIXELS
    assert float(sums / count) == pytest.approx(float(sums / 3) * REFERENCE_PIXELS / (64 * 128))
    if penalty != "legacy_robust":  # sums of parts of a batch add up: one device or several
        parts = [
            torch.stack(multiscale_errors([level[i] for level in pyramid], truth[i], **settings)).sum()
            for i in (slice(0, 1), slice(1, 3))
        ]
        torch.testing.assert_close(sum(parts), sums)


@pytest.mark.parametrize("words", [{"penalty": "l1"}, {"unit": "metre"}, {"cells": "some"}])
def test_unknown_words_of_the_objective_are_refused(words: Mapping[str, str]) -> None:
    truth, pyramid = torch.zeros(1, 2, 4, 4), [torch.zeros(1, 2, 2, 2)]
    unchecked = inspect.unwrap(multiscale_errors)  # without the tests' own check of types
    with pytest.raises(UsageError, match=next(iter(words.values()))):
        unchecked(pyramid, truth, weights=(1.0,), **words)
    with pytest.raises(UsageError, match="5 weights for 1 levels"):
        unchecked(pyramid, truth)


def test_truth_is_not_rounded_in_reduced_precision() -> None:
    truth = 100 * torch.rand(1, 2, 64, 64)
    exact, _ = pyramid_truth(truth, (16, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(pyramid_truth(truth, (16, 16))[0], exact)


def test_the_robust_objective_dampens_outliers_and_its_legacy_form_does_not() -> None:
    flow = torch.zeros(1, 2, 4, 4, requires_grad=True)
    truth = torch.zeros(1, 2, 16, 16)
    truth[:, 0] = 1.0
    truth[:, 0, :4, :4] = 100.0
    slopes = {}
    for penalty in ("robust", "legacy_robust"):
        loss = multiscale_loss(
            [flow], truth, penalty=penalty, weights=(1.0,), unit="level_pixels", downsampling="subsample"
        )
        (grad,) = torch.autograd.grad(loss, flow)
        slopes[penalty] = float(grad[0, 0, 0, 0] / grad[0, 0, 3, 3])
    assert slopes["robust"] < 0.1
    assert slopes["legacy_robust"] == pytest.approx(1.0)
