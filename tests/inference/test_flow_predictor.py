"""FlowPredictor: any frames in, flow of their size out; sizes, tiles, directions, streams and errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.textures import moving_frames, texture
from kinema.errors import InputError, KinemaError, UsageError
from kinema.inference.flow import FlowPredictor
from kinema.inference.frames import limited_size, pad_to_stride
from kinema.inference.loading import load
from kinema.io.clips import ClipFrame
from kinema.models.card import ModelCard
from kinema.outputs import FlowOutput

QUICK = {"warps": 3, "iterations": 15}
INSIDE = (slice(8, -8), slice(8, -8))


class DownTheGradient(nn.Module):
    """A flow that depends on both frames pixel by pixel, and only takes sizes that are multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(4.0))
        self.seen: list[tuple[int, ...]] = []
        self.starts: list[Tensor | None] = []

    def forward(self, image1: Tensor, image2: Tensor, *, initial_flow: Tensor | None = None) -> FlowOutput:
        assert image1.shape[-2] % 8 == 0
        assert image1.shape[-1] % 8 == 0
        self.seen.append(tuple(image1.shape))
        self.starts.append(None if initial_flow is None else initial_flow.clone())
        return FlowOutput(flow=self.gain * (image1 - image2)[:, :2])


CARD = ModelCard(
    name="downhill",
    title="for tests",
    tasks=("flow",),
    presets=("only",),
    default_preset="only",
    min_size_hw=(5, 7),
    stride=8,
    precisions=("fp32", "bf16"),
    has_weights=False,
    warm_start=True,
    licence="Apache-2.0",
    paper="none",
)


@pytest.fixture
def pair() -> list[np.ndarray]:
    return moving_frames(2, (72, 96), step_xy=(2, -1))


def test_arrays_give_the_motion_of_the_scene(pair: list[np.ndarray]) -> None:
    flow = load("tvnet", options=QUICK).flow(pair[0], pair[1])
    assert flow.shape == (72, 96, 2)
    assert flow.dtype == np.float32
    assert flow.flags["C_CONTIGUOUS"]
    assert np.abs(flow[INSIDE] - (2, -1)).max() < 0.1


def test_all_kinds_of_numbers_give_the_same_flow(pair: list[np.ndarray]) -> None:
    predictor = load("tvnet", options=QUICK)
    expected = predictor.flow(pair[0], pair[1])
    deep = [image.astype(np.uint16) * 257 for image in pair]  # 255 * 257 = 65535: the same grey levels
    unit = [image.astype(np.float64) / 255 for image in pair]
    tensors = [torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255 for image in pair]
    np.testing.assert_allclose(predictor.flow(deep[0], deep[1]), expected, atol=1e-3)
    np.testing.assert_allclose(predictor.flow(unit[0], unit[1]), expected, atol=1e-3)
    batch = predictor.flow(torch.cat([tensors[0]] * 2), torch.cat([tensors[1]] * 2))
    assert batch.shape == (2, 2, 72, 96)
    assert batch.dtype == torch.float32
    np.testing.assert_allclose(batch[1].permute(1, 2, 0).numpy(), expected, atol=1e-3)


def test_the_tensor_that_comes_back_can_be_used_in_a_graph(pair: list[np.ndarray]) -> None:
    image1, image2 = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in pair)
    flow = FlowPredictor(DownTheGradient(), CARD).flow(image1, image2)
    assert not flow.requires_grad
    assert not flow.is_inference()
    scale = torch.ones(1, requires_grad=True)
    (flow * scale).sum().backward()
    assert scale.grad is not None


def test_frames_are_padded_to_the_stride_and_cropped_back() -> None:
    model = DownTheGradient()
    image1, image2 = texture((13, 21), seed=1), texture((13, 21), seed=2)
    flow = FlowPredictor(model, CARD).flow(image1, image2)
    assert model.seen == [(1, 3, 16, 24)]
    expected = 4 * (image1.astype(np.float32) - image2.astype(np.float32))[..., :2] / 255
    np.testing.assert_allclose(flow, expected, atol=1e-6)


def test_padding_repeats_the_border() -> None:
    image = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_to_stride(image, 4)
    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert pad_to_stride(padded, 4) is padded


@pytest.mark.parametrize(
    ("size_hw", "max_side", "expected"),
    [
        ((480, 640), None, (480, 640)),
        ((480, 640), 640, (480, 640)),
        ((480, 640), 320, (240, 320)),
        ((640, 480), 100, (100, 75)),
        ((3, 1000), 100, (1, 100)),
    ],
)
def test_limited_size(size_hw: tuple[int, int], max_side: int | None, expected: tuple[int, int]) -> None:
    assert limited_size(size_hw, max_side) == expected


def test_max_side_gives_flow_of_the_full_size_in_full_size_pixels() -> None:
    image1, image2 = moving_frames(2, (97, 130), step_xy=(4, -2))
    predictor = load("tvnet", options=QUICK, max_side=65)
    result = predictor.predict(image1, image2, backward=True, occlusion=True, confidence=True)
    assert result.flow.shape == (97, 130, 2)
    assert np.abs(np.median(result.flow[INSIDE], axis=(0, 1)) - (4, -2)).max() < 0.1
    assert result.backward is not None
    assert np.abs(np.median(result.backward[INSIDE], axis=(0, 1)) - (-4, 2)).max() < 0.1
    assert result.occluded is not None
    assert result.occluded.shape == (97, 130)
    assert result.confidence is not None
    assert result.confidence.shape == (97, 130)


def test_nothing_is_computed_that_was_not_asked_for(pair: list[np.ndarray]) -> None:
    model = DownTheGradient()
    result = FlowPredictor(model, CARD).predict(pair[0], pair[1])
    assert (result.backward, result.occluded, result.confidence) == (None, None, None)
    assert model.seen == [(1, 3, 72, 96)]


@pytest.mark.parametrize("batched", [True, False])
def test_backward_is_the_flow_of_the_swapped_pair(pair: list[np.ndarray], batched: bool) -> None:
    model = DownTheGradient()
    predictor = FlowPredictor(model, dataclasses.replace(CARD, batched=batched))
    result = predictor.predict(pair[0], pair[1], backward=True)
    np.testing.assert_array_equal(result.backward, predictor.flow(pair[1], pair[0]))
    np.testing.assert_array_equal(result.flow, predictor.flow(pair[0], pair[1]))
    assert model.seen[0][0] == (2 if batched else 1)


def test_occluded_pixels_are_those_that_the_square_covers() -> None:
    background = texture((96, 128), seed=3)
    square = texture((40, 40), seed=4)
    image1, image2 = background.copy(), background.copy()
    image1[28:68, 40:80] = square
    image2[28:68, 48:88] = square  # moves 8 pixels to the right and covers columns 80..87
    result = load("tvnet").predict(image1, image2, backward=True, occlusion=True, confidence=True)
    assert result.occluded is not None
    assert result.confidence is not None
    assert result.occluded.dtype == np.bool_
    hidden = np.zeros((96, 128), bool)
    hidden[28:68, 80:88] = True
    assert result.occluded[hidden].mean() > 0.7
    far = np.ones((96, 128), bool)
    far[16:80, 24:104] = False
    assert result.occluded[far].mean() < 0.1
    assert result.confidence[far].mean() > 0.9
    assert result.confidence[hidden].mean() < 0.4
    assert result.confidence.min() >= 0
    assert result.confidence.max() <= 1


def test_tiles_give_the_flow_of_the_whole_frame_without_seams() -> None:
    image1, image2 = moving_frames(2, (150, 210), step_xy=(3, 2), seed=5)
    whole = load("tvnet", options=QUICK).flow(image1, image2)
    tiled = load("tvnet", options=QUICK, tile=64).flow(image1, image2)
    difference = np.linalg.norm(tiled - whole, axis=-1)
    assert difference.mean() < 0.01
    # A seam would be a step between neighbours; the scene has none.
    steps = max(np.abs(np.diff(tiled[INSIDE], axis=axis)).max() for axis in (0, 1))
    assert steps < 0.1


def test_tiles_of_a_pixelwise_model_change_nothing() -> None:
    cold = dataclasses.replace(CARD, warm_start=False)  # no run of the whole frames to guide the tiles
    image1, image2 = texture((100, 171), seed=6), texture((100, 171), seed=7)
    model = DownTheGradient()
    whole = FlowPredictor(model, CARD).flow(image1, image2)
    model.seen.clear()
    tiled = FlowPredictor(model, cold, tile=64).flow(image1, image2)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    assert len(model.seen) > 4
    assert set(model.seen) == {(1, 3, 64, 64)}


def test_a_stream_gives_each_pair_as_predict_does() -> None:
    frames = [texture((40, 56), seed=seed) for seed in range(4)]
    predictor = FlowPredictor(DownTheGradient(), CARD)
    wrapped = [ClipFrame(image=image, time=Fraction(0), name="") for image in frames]
    wanted = {"backward": True, "occlusion": True, "confidence": True}
    streamed = list(predictor.stream(wrapped, **wanted))
    assert len(streamed) == 3
    for index, result in enumerate(streamed):
        alone = predictor.predict(frames[index], frames[index + 1], **wanted)
        for name in ("flow", "backward", "occluded", "confidence"):
            np.testing.assert_array_equal(getattr(result, name), getattr(alone, name))


def test_a_stream_reads_one_frame_ahead_at_most_and_leaves_no_mode_behind() -> None:
    given = 0

    def frames() -> Iterator[np.ndarray]:
        nonlocal given
        for image in moving_frames(5, (16, 24)):
            given += 1
            assert not torch.is_inference_mode_enabled()
            yield image

    stream = FlowPredictor(DownTheGradient(), CARD).stream(frames())
    next(stream)
    assert given == 2
    assert not torch.is_inference_mode_enabled()
    next(stream)
    assert given == 3


def test_warm_start_hands_on_the_flow_of_each_direction() -> None:
    model = DownTheGradient()
    predictor = FlowPredictor(model, CARD)
    frames = [texture((16, 24), seed=seed) for seed in range(3)]
    results = list(predictor.stream(frames, backward=True, warm_start=True))
    assert model.starts[0] is None
    start = model.starts[1]
    assert start is not None
    np.testing.assert_array_equal(start[0].permute(1, 2, 0).numpy(), results[0].flow)
    np.testing.assert_array_equal(start[1].permute(1, 2, 0).numpy(), results[0].backward)
    cold = dataclasses.replace(CARD, warm_start=False)
    with pytest.raises(UsageError, match="cannot start"):
        next(FlowPredictor(model, cold).stream(frames, warm_start=True))


def test_warm_start_finds_motion_that_a_cold_start_cannot() -> None:
    """With one scale only small motion is found; a steady larger one is reached over the pairs of a clip."""
    frames = moving_frames(8, (48, 64), step_xy=(4, 0), seed=8)
    predictor = load("tvnet", options={"scales": 1, "warps": 4, "iterations": 30})

    def last_error(warm_start: bool) -> float:
        last = list(predictor.stream(frames, warm_start=warm_start))[-1]
        return float(np.linalg.norm(last.flow[INSIDE] - (4, 0), axis=-1).mean())

    assert last_error(True) < 0.5 * last_error(False)


def test_bf16_is_used_where_asked_for_and_the_flow_stays_float32(pair: list[np.ndarray]) -> None:
    class Convolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(6, 2, 3, padding=1)
            self.dtypes: list[torch.dtype] = []

        def forward(self, image1: Tensor, image2: Tensor) -> FlowOutput:
            flow = self.layer(torch.cat([image1, image2], 1))
            self.dtypes.append(flow.dtype)
            return FlowOutput(flow=flow.float())

    torch.manual_seed(0)
    model = Convolution()
    exact = FlowPredictor(model, CARD, precision="fp32").flow(pair[0], pair[1])
    rough = FlowPredictor(model, CARD, precision="bf16").flow(pair[0], pair[1])
    assert model.dtypes == [torch.float32, torch.bfloat16]
    assert rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.05


GOOD = np.zeros((16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((16, 16), np.uint8), "shape (16, 16)"),
        (np.zeros((16, 16, 4), np.uint8), "shape (16, 16, 4)"),
        (np.zeros((16, 16, 3), np.int64), "int64"),
        (np.zeros((16, 16, 3), np.bool_), "bool"),
        (np.full((16, 16, 3), np.nan, np.float32), "not finite"),
        (np.full((16, 16, 3), np.inf, np.float32), "not finite"),
        (np.full((16, 16, 3), 128.0, np.float32), "in [0, 1]"),
        (np.full((16, 16, 3), -0.1, np.float32), "in [0, 1]"),
        (np.zeros((16, 17, 3), np.uint8), "differ in size: 16x16 and 17x16"),
        (np.zeros((1, 5, 3), np.uint8), "5x1 pixels (width x height) is too small"),
        ("frame.png", "is a str"),
        (torch.zeros(1, 3, 16, 16), "one frame is a tensor"),
    ],
)
def test_bad_arrays_are_explained(bad: object, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load("tvnet").flow(GOOD, bad)  # type: ignore[call-overload]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (torch.zeros(3, 16, 16), "shape (3, 16, 16)"),
        (torch.zeros(1, 1, 16, 16), "shape (1, 1, 16, 16)"),
        (torch.zeros(1, 16, 16, 3), "shape (1, 16, 16, 3)"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 16, 16), torch.nan), "not finite"),
        (torch.full((1, 3, 16, 16), 255.0), "in [0, 1]"),
        (torch.zeros(2, 3, 16, 16), "batch"),
        (torch.zeros(1, 3, 17, 16), "differ in size"),
        (torch.zeros(0, 3, 16, 16), "empty"),
    ],
)
def test_bad_tensors_are_explained(bad: Tensor, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load("tvnet").flow(torch.zeros(1, 3, 16, 16), bad)
    assert words in str(caught.value)


def test_the_smallest_size_is_computed_and_named() -> None:
    small = texture((3, 3))
    assert load("tvnet").flow(small, small).shape == (3, 3, 2)
    with pytest.raises(InputError, match="smallest is 7x5"):
        FlowPredictor(DownTheGradient(), CARD).flow(texture((4, 9)), texture((4, 9)))
    with pytest.raises(InputError, match="too small"):
        load("tvnet", max_side=20).flow(texture((4, 90)), texture((4, 90)))


@pytest.mark.parametrize("frames", [[], [GOOD]])
def test_a_stream_needs_two_frames(frames: list[np.ndarray]) -> None:
    with pytest.raises(InputError, match="two are needed"):
        list(load("tvnet").stream(frames))


def test_a_stream_names_the_frame_that_is_wrong() -> None:
    frames = [GOOD, GOOD, np.zeros((16, 16), np.uint8)]
    with pytest.raises(InputError, match="frame 2"):
        list(FlowPredictor(DownTheGradient(), CARD).stream(frames))


@pytest.mark.parametrize("settings", [{"tile": -1}, {"tile": 0}, {"tile": 63}, {"max_side": 0}])
def test_settings_out_of_range(settings: dict[str, int]) -> None:
    with pytest.raises(KinemaError):
        FlowPredictor(DownTheGradient(), CARD, **settings)  # type: ignore[arg-type]


def test_a_flat_tile_is_not_stretched_until_its_noise_moves() -> None:
    """Half the frame is sky with one grey level of noise; its tiles see nothing else."""
    rng = np.random.default_rng(0)
    frames = [image.astype(np.float64) for image in moving_frames(2, (256, 256), step_xy=(2, 0), seed=9)]
    for image in frames:
        image[:128] = 200
        image += rng.normal(0, 1, image.shape)
    image1, image2 = (np.clip(image, 0, 255).round().astype(np.uint8) for image in frames)
    flow = load("tvnet", tile=64).flow(image1, image2)
    assert np.linalg.norm(flow[:100], axis=-1).max() < 4
    assert np.abs(np.median(flow[150:-8, 8:-8], axis=(0, 1)) - (2, 0)).max() < 0.1


def test_tiles_find_motion_as_large_as_half_a_tile() -> None:
    """The whole frames at the size of a tile give the tiles their start."""
    small = moving_frames(2, (96, 128), step_xy=(8, 0), seed=4)
    image1, image2 = (np.repeat(np.repeat(image, 4, axis=0), 4, axis=1) for image in small)  # now 32 px
    flow = load("tvnet", tile=64, options=QUICK).flow(image1, image2)
    assert np.median(np.abs(flow[40:-40, 60:-60] - (32, 0))) < 0.3
