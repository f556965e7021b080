"""UFlow as a model: options, sizes, precision, level dropout, training, files of weights, the predictor."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import kinema
from helpers.uflow_weights import reference_frames, set_reference_weights
from kinema.errors import InputError, UsageError
from kinema.io.checkpoints import save_tensors
from kinema.models import MODELS
from kinema.models.uflow import UFlow
from kinema.models.uflow_settings import PRESETS, Settings

CARD = MODELS["uflow"].card
SWITCHED: list[Mapping[str, object]] = [
    {},
    {"levels": 2},
    {"levels": 6, "original_layer_sizes": True},
    {"level1_layers": 4, "level1_filters": 24, "level1_num_1x1": 2},
    {"shared_flow_decoder": True},
    {"shared_flow_decoder": True, "original_layer_sizes": True, "use_cost_volume": False},
    {"use_cost_volume": False},
    {"use_feature_warp": False, "accumulate_flow": False},
    {"normalize_before_cost_volume": "sample", "rectify_costs": False, "upsampling": "tf1"},
    {"normalize_before_cost_volume": "none"},
    {"channel_multiplier": 0.3},
]


def pair(h: int, w: int, *, batch: int = 1) -> tuple[Tensor, Tensor]:
    noise = torch.rand((batch, 3, h + 8, w + 8), generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
    return soft[..., 4:-4, 4:-4].contiguous(), soft[..., 6:-2, 1:-7].contiguous()


@pytest.fixture(scope="module")
def model() -> UFlow:
    network = UFlow().eval()
    set_reference_weights(network)
    return network


@pytest.fixture(scope="module")
def weights_file(model: UFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "uflow.safetensors"
    save_tensors(path, model.state_dict(), metadata={"model": "uflow", "preset": "uflow"})
    return path


# --- switches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", SWITCHED, ids=lambda o: "-".join(o) or "default")
def test_every_switch_works_and_every_parameter_learns(options: Mapping[str, object]) -> None:
    torch.manual_seed(0)
    network = UFlow(**{"channel_multiplier": 0.5, "dropout_rate": 0.0, **options})  # type: ignore[arg-type]
    output = network(*pair(70, 130))
    output.flow.square().mean().backward()
    stride, levels = 2**network.settings.levels, network.settings.levels
    h, w = (-(-side // stride) * stride for side in (70, 130))
    sizes = [tuple(flow.shape[-2:]) for flow in output.pyramid]
    assert sizes == [(h >> level, w >> level) for level in range(levels, 1, -1)]
    assert output.flow.shape == (1, 2, 70, 130)
    for name, parameter in network.named_parameters():
        if name.startswith("upsample_context.2."):
            assert not parameter.requires_grad  # it has no effect
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"level1_num_1x1": 2}, 5_718_218 - 2 * 8 * 32 * 32),
        ({"level1_layers": 1}, 5_718_218 - 2 * (9 * 32 + 1) * 32),
        ({"level1_filters": 16}, 5_718_218 - (27 + 1) * 16 - 2 * (9 * (32**2 - 16**2) + 16) - 9 * 16 * 32),
        ({"levels": 6}, 5_718_218 + 3 * (9 * 32 + 1) * 32 + 1_284_930 + (16 * 32 + 1 * 1) * 32),
        ({"use_cost_volume": False}, 5_718_218 - 17 * 9 * 448 * 4 + 4 * (64 * 16 + 1) * 64),
    ],
)
def test_parameter_counts(options: Mapping[str, int], count: int) -> None:
    with torch.device("meta"):
        network = UFlow(**options)  # type: ignore[arg-type]
    assert sum(p.numel() for p in network.parameters()) == count


def test_without_the_warp_the_coarsest_flow_is_the_same(model: UFlow) -> None:
    other = UFlow(use_feature_warp=False).eval()
    other.load_state_dict(model.state_dict())
    frames = reference_frames(64, 96)
    with torch.inference_mode():
        warped, plain = model(*frames).pyramid, other(*frames).pyramid
    assert torch.equal(warped[0], plain[0])
    assert not torch.allclose(warped[1], plain[1], atol=1e-3)


def test_without_accumulation_a_level_replaces_the_flow(model: UFlow) -> None:
    """The same network without feature warp: what differs at the second level is the flow from above."""
    frames, flows = reference_frames(64, 96), []
    for accumulate in (True, False):
        other = UFlow(use_feature_warp=False, accumulate_flow=accumulate).eval()
        other.load_state_dict(model.state_dict())
        with torch.inference_mode():
            flows.append(other(*frames).pyramid)
    above = torch.nn.functional.interpolate(flows[0][0], scale_factor=2, mode="bilinear") * 2
    torch.testing.assert_close(flows[0][1], flows[1][1] + above, atol=1e-5, rtol=1e-5)


def test_the_port_has_no_rectifier_and_its_own_resize(model: UFlow) -> None:
    assert PRESETS["port"] == Settings(rectify_costs=False, upsampling="tf1")
    frames, flows = reference_frames(64, 96), {}
    for key, options in {
        "port": {"preset": "port"},
        "both": {"rectify_costs": False, "upsampling": "tf1"},
        "costs": {"rectify_costs": False},
    }.items():
        other = UFlow(**options).eval()  # type: ignore[arg-type]
        other.load_state_dict(model.state_dict())
        with torch.inference_mode():
            flows[key] = other(*frames).flow
    with torch.inference_mode():
        published = model(*frames).flow
    assert torch.equal(flows["port"], flows["both"])
    assert (flows["costs"] - published).abs().mean() > 0.01
    assert (flows["port"] - flows["costs"]).abs().mean() > 0.01


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": 7}, "levels of uflow is 7: use between 2 and 6"),
        ({"levels": 1}, "use between 2 and 6"),
        ({"level1_layers": 0}, "use 1 or more"),
        ({"level1_num_1x1": 4}, "use between 0 and 3"),
        ({"dropout_rate": 1.5}, "use between 0 and 1"),
        ({"dropout_rate": float("nan")}, "use between 0 and 1"),
        ({"channel_multiplier": 0.01}, "channel_multiplier"),
        (
            {"channel_multiplier": 0.1, "level1_filters": 5},
            "level1_filters of uflow is 5: .* channel_multiplier 0.1",
        ),
        ({"normalize_before_cost_volume": "layer"}, "batch or sample or none"),
        ({"upsampling": "cubic"}, "half_pixel or tf1"),
    ],
)
def test_values_that_make_no_network_are_refused(options: Mapping[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        inspect.unwrap(Settings)(**options)  # type: ignore[arg-type]


def test_unknown_presets_are_refused() -> None:
    with pytest.raises(UsageError, match="uflow or port"):
        inspect.unwrap(UFlow.__init__)(UFlow.__new__(UFlow), "old")  # type: ignore[arg-type]


def test_each_setting_is_an_argument_and_an_option() -> None:
    fields = [field.name for field in dataclasses.fields(Settings)]
    assert list(inspect.signature(UFlow.__init__).parameters)[2:] == fields
    assert list(CARD.options) == fields
    assert tuple(PRESETS) == CARD.presets
    for name, kind in CARD.options.items():
        assert type(getattr(Settings(), name)) is kind


def test_initialisation() -> None:
    torch.manual_seed(0)
    network = UFlow()
    weight = network.get_parameter("estimators.2.layers.1.0.weight")
    bound = (6 / (9 * (weight.shape[0] + weight.shape[1]))) ** 0.5
    assert 0.99 * bound < weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)
    assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))


# --- sizes, batches, precision ------------------------------------------------------------------------


@pytest.mark.parametrize(("h", "w"), [(32, 32), (33, 100), (16, 16), (1, 1), (7, 130)])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_any_size(preset: str, h: int, w: int) -> None:
    torch.manual_seed(0)
    with torch.inference_mode():
        output = UFlow(preset, channel_multiplier=0.5).eval()(*pair(h, w, batch=2))  # type: ignore[arg-type]
    assert output.flow.shape == (2, 2, h, w)
    assert output.flow.isfinite().all()


def test_flow_follows_the_scale_of_a_resized_frame(model: UFlow) -> None:
    """Frames of 80x120 are computed at 96x128: u and v come back in pixels of 80x120, in one step."""
    frames = pair(80, 120)
    large = [torch.nn.functional.interpolate(t, (96, 128), mode="bilinear") for t in frames]
    with torch.inference_mode():
        small_flow, quarter = model(*frames).flow, model(*large).pyramid[-1]
    enlarged = torch.nn.functional.interpolate(quarter, (80, 120), mode="bilinear")
    scale = torch.tensor([120 / 32, 80 / 24]).view(1, 2, 1, 1)
    torch.testing.assert_close(small_flow, enlarged * scale, atol=1e-4, rtol=1e-4)


def test_a_batch_is_its_samples_and_runs_repeat(model: UFlow) -> None:
    first, second = pair(64, 128, batch=2)
    first[1] *= 0.3
    with torch.inference_mode():
        together, again = model(first, second).flow, model(first, second).flow
        alone = model(first[1:], second[1:]).flow
    assert torch.equal(together, again)
    torch.testing.assert_close(together[1:], alone, atol=1e-3, rtol=1e-4)


def test_in_training_the_samples_of_a_batch_are_scaled_by_the_same_numbers() -> None:
    first, second = pair(64, 64, batch=2)
    first[1] *= 0.3
    with torch.no_grad():
        for rule, coupled in (("batch", True), ("sample", False), ("none", False)):
            network = UFlow(normalize_before_cost_volume=rule, dropout_rate=0.0).train()  # type: ignore[arg-type]
            set_reference_weights(network)
            together = network(first, second).pyramid[0][1:]
            alone = network(first[1:], second[1:]).pyramid[0]
            assert torch.allclose(together, alone, atol=1e-4) is not coupled


def test_bfloat16_keeps_flow_in_float32_and_stays_close(model: UFlow) -> None:
    frames = pair(128, 192)
    with torch.inference_mode():
        exact = model(*frames)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(*frames)
    assert rough.flow.dtype == torch.float32
    assert {flow.dtype for flow in rough.pyramid} == {torch.float32}
    error = (rough.flow - exact.flow).square().sum(1).sqrt().mean()
    assert error < 0.02 * exact.flow.square().sum(1).sqrt().mean()
    # Values between those of bfloat16: the last layers were not rounded.
    assert not torch.equal(rough.pyramid[0], rough.pyramid[0].bfloat16().float())


@pytest.mark.parametrize("options", [{}, {"shared_flow_decoder": True, "use_cost_volume": False}])
def test_weights_in_bfloat16_give_what_autocast_gives(options: Mapping[str, bool]) -> None:
    torch.manual_seed(0)
    frames, network = pair(64, 128), UFlow(**options).eval()
    other = UFlow(**options).eval()
    other.load_state_dict(network.state_dict())
    other.reduce_precision(torch.bfloat16)
    kept = {name.split(".")[-2] for name, p in other.named_parameters() if p.dtype == torch.float32}
    assert kept == {"flow"}
    with torch.inference_mode():
        stored = other(*frames)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast, both = network(*frames), other(*frames)
    assert torch.equal(stored.flow, cast.flow)
    assert torch.equal(both.flow, cast.flow)


def test_channels_last_weights_give_the_same(model: UFlow) -> None:
    other = UFlow().eval()
    other.load_state_dict(model.state_dict())
    other = other.to(memory_format=torch.channels_last)
    frames = pair(64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(other(*frames).flow, model(*frames).flow, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(("h1", "h2"), [(32, 48), (0, 0)])
def test_frames_that_do_not_fit_are_refused(model: UFlow, h1: int, h2: int) -> None:
    with pytest.raises(InputError, match="two of a size"):
        model(torch.rand(1, 3, h1, 32), torch.rand(1, 3, h2, 32))


# --- training -----------------------------------------------------------------------------------------


def test_frames_without_contrast_have_finite_gradients() -> None:
    torch.manual_seed(0)
    network = UFlow(channel_multiplier=0.5)
    for value in (0.0, 0.5, 1.0):
        frame = torch.full((1, 3, 64, 64), value)
        both = network.forward_two_way(frame, frame)
        both.flow.square().mean().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is None or parameter.grad.isfinite().all(), (value, name)


def test_levels_are_left_out_at_the_rate_asked_for_by_direction() -> None:
    """Without accumulation, a level that is left out has zero flow."""
    network = UFlow(levels=3, dropout_rate=0.5, channel_multiplier=0.25, accumulate_flow=False).train()
    torch.nn.init.ones_(network.refinement.flow.bias)
    frames = pair(8, 8, batch=3)
    torch.manual_seed(0)
    with torch.no_grad():
        runs = [network(*frames).pyramid[0].abs().amax((1, 2, 3)) > 0 for _ in range(100)]
        both = [network.forward_two_way(*frames) for _ in range(100)]
    for kept in runs:
        assert kept.all() or not kept.any()  # one draw for all samples of a call
    assert 35 <= sum(bool(kept[0]) for kept in runs) <= 65
    # Zero only when the finest level and the refinement are left out: a quarter of the time.
    gone = [(not output.coarse.any(), not output.coarse_backward.any()) for output in both]
    for direction in range(2):
        assert 12 <= sum(found[direction] for found in gone) <= 40
    assert any(forward != backward for forward, backward in gone)


def test_the_draws_follow_the_generator_and_evaluation_draws_nothing() -> None:
    network = UFlow(dropout_rate=0.5, channel_multiplier=0.25)
    frames = pair(32, 32)
    state = torch.get_rng_state()
    with torch.no_grad():
        first = [network.forward_two_way(*frames).flow for _ in range(5)]
        torch.set_rng_state(state)
        again = [network.forward_two_way(*frames).flow for _ in range(5)]
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert any(not torch.equal(first[0], flow) for flow in first[1:])
        state = torch.get_rng_state()
        network.eval()(*frames)
        network.train()
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_a_small_network_learns_one_shift() -> None:
    """A hundred steps on one pair in bfloat16: the true error falls to a fraction."""
    torch.manual_seed(0)
    network = UFlow(channel_multiplier=0.5, dropout_rate=0.0).to(memory_format=torch.channels_last)
    frames = pair(64, 128)
    truth = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(1, 2, 64, 128)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    errors = []
    for _ in range(100):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            both = network.forward_two_way(*frames)
        loss = (both.flow - truth).abs().mean() + (both.backward + truth).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float((both.flow.detach() - truth).square().sum(1).sqrt().mean()))
    assert min(errors[-10:]) < 0.25 * errors[0]


# --- files of weights, the predictor --------------------------------------------------------------------


def test_without_weights_it_says_what_to_type() -> None:
    for preset in CARD.presets:
        with pytest.raises(UsageError, match=f"preset {preset} in this version: name a file, --weights FILE"):
            kinema.load("uflow", preset=preset)


def test_the_predictor_gives_the_networks_flow(model: UFlow, weights_file: Path) -> None:
    predictor = kinema.load("uflow", weights=weights_file, precision="fp32")
    first, second = pair(60, 90)
    with torch.inference_mode():
        forward, backward = model(first, second).flow, model(second, first).flow
    torch.testing.assert_close(predictor.flow(first, second), forward, atol=1e-4, rtol=1e-4)
    arrays = [np.moveaxis(t[0].numpy(), 0, 2) for t in (first, second)]
    predicted = predictor.predict(*arrays, backward=True)
    assert predicted.backward is not None
    ours = torch.from_numpy(predicted.backward).movedim(2, 0)[None]
    torch.testing.assert_close(ours, backward, atol=1e-3, rtol=1e-3)
    rough = kinema.load("uflow", weights=weights_file, precision="bf16").flow(first, second)
    assert (rough - forward).abs().mean() < 0.05 * forward.abs().mean()
    tiled = kinema.load("uflow", weights=weights_file, precision="fp32", tile=128).flow(*pair(150, 200))
    assert tiled.isfinite().all()


def test_the_file_says_how_to_build_its_model(tmp_path: Path) -> None:
    options = {"shared_flow_decoder": True, "levels": 4, "channel_multiplier": 0.5, "upsampling": "tf1"}
    torch.manual_seed(0)
    network = UFlow("port", **options).eval()  # type: ignore[arg-type]
    path = tmp_path / "small.safetensors"
    metadata = {"model": "uflow", "preset": "port", "options": json.dumps(options)}
    save_tensors(path, network.state_dict(), metadata=metadata)
    predictor = kinema.load("uflow", weights=path, precision="fp32")
    frames = pair(64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(predictor.flow(*frames), network(*frames).flow, atol=1e-4, rtol=1e-4)
    with pytest.raises(UsageError, match="--preset"):
        kinema.load("uflow", weights=path, preset="uflow")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"use_cost_volume": "no"}, "takes bool"),
        ({"use_cost_volume": 0}, "takes bool"),
        ({"levels": True}, "takes int"),
        ({"level": 5}, "did you mean levels"),
    ],
)
def test_options_of_a_wrong_kind_are_explained(options: Mapping[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        kinema.load("uflow", weights="random", options=options)


def test_weights_of_another_network_are_explained(tmp_path: Path, model: UFlow) -> None:
    path = tmp_path / "other.safetensors"
    save_tensors(path, UFlow(levels=4).state_dict(), metadata={})
    with pytest.raises(InputError, match=r"other\.safetensors does not fit uflow"):
        kinema.load("uflow", weights=path)
    save_tensors(tmp_path / "pwc.safetensors", model.state_dict(), metadata={"model": "pwcnet"})
    with pytest.raises(InputError, match="weights of pwcnet, not of uflow"):
        kinema.load("uflow", weights=tmp_path / "pwc.safetensors")
