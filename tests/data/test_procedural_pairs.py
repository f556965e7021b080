"""Rendered pairs: pure functions of (config, seed, index), and every knob does what it says."""

import cv2
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kinema.data import open_dataset, parse_spec
from kinema.data.procedural.bank import Bank
from kinema.data.procedural.effects import develop
from kinema.data.procedural.file_effects import through_jpeg, through_video
from kinema.data.procedural.outlines import REACH, TILE, draw_outline
from kinema.data.procedural.pairs import render_pair
from kinema.data.procedural.patterns import KINDS, STRANGE_KINDS, draw_texture, spectrum
from kinema.data.procedural.raster import draw_exposed
from kinema.data.procedural.render_config import RESERVED_FAMILIES, RenderConfig
from kinema.data.procedural.rendered_set import VALIDATION_SEED
from kinema.data.procedural.scene_batch import SceneBatch
from kinema.data.procedural.scene_plan import plan_scene
from kinema.data.procedural.scene_truth import scene_truth
from kinema.errors import InputError, UsageError

SMALL = RenderConfig(size_hw=(64, 96), bank_textures=6, bank_shapes=8)
CPU = torch.device("cpu")
PARTS = ("image1", "image2", "flow", "valid", "occluded", "in_frame")


def with_(config=SMALL, **changes):
    return config.model_copy(update=changes)


def test_a_pair_does_not_depend_on_its_company():
    together = render_pair(SMALL, 7, [0, 5, 2, 11])
    for row, index in enumerate([0, 5, 2, 11]):
        alone = render_pair(SMALL, 7, [index])
        for part in PARTS:
            assert torch.equal(getattr(alone, part)[0], getattr(together, part)[row]), part


def test_nor_on_the_number_of_threads():
    before = torch.get_num_threads()
    config = with_(size_hw=(200, 240))
    try:
        torch.set_num_threads(1)
        one = render_pair(config, 7, [3])
        torch.set_num_threads(3)
        three = render_pair(config, 7, [3])
    finally:
        torch.set_num_threads(before)
    for part in PARTS:
        assert torch.equal(getattr(one, part), getattr(three, part)), part


def test_seeds_families_and_indices_differ():
    pairs = [render_pair(SMALL, 7, [0]), render_pair(SMALL, 8, [0]), render_pair(SMALL, 7, [1])]
    pairs += [render_pair(with_(family=family), 7, [0]) for family in RESERVED_FAMILIES]
    for a in range(len(pairs)):
        for b in range(a):
            assert (pairs[a].image1 - pairs[b].image1).abs().mean() > 0.01


def test_scenes_drawn_together_are_the_scenes_drawn_one_by_one():
    """What a GPU does with many scenes at once, done here."""
    config = with_(blur_share=0.5, shadow_share=0.5, forward_share=0.5, parallax_share=0.25)
    plans, bank = [plan_scene(config, 2, index) for index in range(6)], Bank(config, 2, CPU)
    many = SceneBatch(plans, bank, config.size_hw, CPU)
    frames, truth = develop(many, draw_exposed(many, 1.0), second=True), scene_truth(many)
    for row, plan in enumerate(plans):
        one = SceneBatch([plan], bank, config.size_hw, CPU)
        alone, expected = develop(one, draw_exposed(one, 1.0), second=True), scene_truth(one)
        assert ((frames[row] - alone[0]).abs() > 1.5 / 255).float().mean() < 1e-3
        assert (truth.flow[row] - expected.flow[0]).abs().max() < 1e-3
        assert (truth.occluded[row] != expected.occluded[0]).float().mean() < 1e-3
        assert torch.equal(truth.valid[row], expected.valid[0])


def test_what_comes_back_is_what_is_promised():
    batch = render_pair(SMALL, 1, range(3))
    assert batch.image1.shape == (3, 3, 64, 96)
    assert batch.flow.shape == (3, 2, 64, 96)
    assert batch.image1.dtype == batch.flow.dtype == torch.float32
    assert batch.valid.dtype == batch.occluded.dtype == torch.bool
    assert torch.equal(batch.image2, (batch.image2 * 255).round() / 255)
    assert 0 <= batch.image1.min() <= batch.image1.max() <= 1
    assert batch.flow.isfinite().all()
    grid_x = torch.arange(96) + batch.flow[:, :1]
    assert not (batch.in_frame & ((grid_x < -1e-3) | (grid_x > 95 + 1e-3))).any()


def test_what_goes_too_far_is_not_valid():
    config = with_(forward_share=1.0, parallax_share=0.0, valid_displacement=0.1)
    batch = render_pair(config, 0, range(12))
    assert 0.3 < batch.valid.float().mean() < 1.0
    assert batch.flow.norm(dim=1).max() <= 9.6 + 1e-4
    assert not (~batch.valid & (batch.in_frame | batch.occluded)).any()


@pytest.mark.parametrize("size_hw", [(64, 64), (97, 131), (70, 300)])
def test_any_size(size_hw):
    assert render_pair(with_(size_hw=size_hw), 0, [0, 1]).image1.shape[-2:] == size_hw


def test_grey_pictures_are_grey():
    batch = render_pair(with_(grey_share=1.0, jpeg_share=0.0, video_share=0.0), 1, range(2))
    assert torch.equal(batch.image1[:, 0], batch.image1[:, 2])


def test_the_light_changes_between_the_frames():
    still = {"displacement_shares": (1.0, 0.0, 0.0, 0.0), "static_share": 1.0, "shake_share": 0.0}
    quiet = {"noise_share": 0.0, "jpeg_share": 0.0, "video_share": 0.0}
    for share, changes in ((1.0, True), (0.0, False)):
        batch = render_pair(with_(**still, **quiet, light_share=share), 1, range(4))
        assert ((batch.image1 - batch.image2).abs().mean() > 0.003) == changes


def test_low_light_is_dark_and_fog_is_flat():
    plain, dark, fog = (
        render_pair(with_(family=f), 1, range(6)).image1 for f in ("train", "low_light", "fog")
    )
    assert dark.mean() < 0.6 * plain.mean()
    assert fog.std(dim=(2, 3)).mean() < 0.7 * plain.std(dim=(2, 3)).mean()


def test_files_leave_their_errors():
    y, x = np.mgrid[:64, :98]
    frame = np.stack([x * 2, y * 3, (x * y) % 255], axis=-1).astype(np.uint8)
    fine, coarse = (np.abs(through_jpeg(frame, q).astype(int) - frame).mean() for q in (95, 20))
    assert 0 < fine < coarse < 40
    first, second = through_video([frame[:63, :97], frame[:63, :97]], quantiser=8)
    assert first.shape == second.shape == (63, 97, 3)
    assert 0 < np.abs(first.astype(int) - frame[:63, :97]).mean() < 40


def test_reserved_textures_are_never_trained_on():
    assert not set(KINDS) & set(STRANGE_KINDS)
    assert not {painter for painter, _ in KINDS.values()} & {painter for painter, _ in STRANGE_KINDS.values()}
    assert RenderConfig().family == "train"
    assert "train" not in RESERVED_FAMILIES


@pytest.mark.parametrize("alpha", [0.5, 2.0, 3.5])
def test_spectra_fall_as_they_should(alpha):
    power = np.mean(
        [np.abs(np.fft.rfft2(spectrum(np.random.default_rng(s), alpha))) ** 2 for s in range(4)], axis=0
    )
    frequency = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.rfftfreq(512)[None])
    band = (frequency > 0.01) & (frequency < 0.12)
    slope = np.polyfit(np.log(frequency[band]), np.log(power[band]), 1)[0]
    assert slope == pytest.approx(-alpha, abs=0.1)


def test_a_third_of_the_textures_is_weak():
    bank = Bank(RenderConfig(), 4, CPU)
    contrast = [float(bank.texture(0, number).std(dim=(1, 2)).mean()) for number in range(24)]
    assert 0.12 < np.mean(np.array(contrast) < 0.03) < 0.6
    texture = draw_texture(np.random.default_rng(1), alphas=(0.5, 3.5), weak=False, strange=True)
    assert texture.shape == (3, 512, 512)
    assert 0 <= texture.min() <= texture.max() <= 1


def test_outlines_stay_within_reach_and_thin_ones_are_thin():
    middle = (TILE - 1) / 2
    radius = np.hypot(*(np.mgrid[:TILE, :TILE] - middle))
    deepest = {}
    for thin in (False, True):
        tiles = [draw_outline(np.random.default_rng(s), thin=thin, holes=s % 2 == 0) for s in range(30)]
        assert all((tile > 1).sum() > 0 and tile[radius > REACH].min() > 1.0 for tile in tiles)
        deepest[thin] = np.median([-tile.min() for tile in tiles])
    assert deepest[True] < 12 < 25 < deepest[False]


def test_textures_from_a_folder(tmp_path):
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "red.png"), red)
    bank = Bank(with_(textures=tmp_path, textures_share=1.0, weak_share=0.0), 0, CPU)
    np.testing.assert_allclose(bank.texture(0, 0).mean(dim=(1, 2)).numpy(), [1, 0, 0], atol=1e-3)
    with pytest.raises(InputError, match="no such folder"):
        render_pair(with_(textures=tmp_path / "absent"), 0, [0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no picture"):
        render_pair(with_(textures=tmp_path / "empty"), 0, [0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_hw": (32, 200)},
        {"displacement_shares": (0.5, 0.5, 0.5, 0.0)},
        {"displacement_edges": (20.0, 3.0, 80.0)},
        {"forward_share": 0.8, "parallax_share": 0.4},
        {"jpeg_quality": (0, 50)},
        {"softness": (0.0, 1.0)},
        {"things": (5, 2)},
        {"colour": 1},
    ],
)
def test_configs_are_checked(wrong):
    with pytest.raises(ValidationError):
        RenderConfig(**wrong)


def test_bad_seeds_and_indices():
    for seed, indices in ((-1, [0]), (0, [-1]), (0, [])):
        with pytest.raises(UsageError):
            render_pair(SMALL, seed, indices)


def opened(text):
    return open_dataset(parse_spec(text)[0])


def test_procedural_is_a_data_set():
    reserved = opened("procedural@reserved")
    assert len(reserved) == reserved.official_count == 200
    names = [reserved[index].name for index in range(5)]
    assert [name.partition("/")[0] for name in names] == list(RESERVED_FAMILIES)
    sample, again = reserved[1], reserved[-199]
    assert sample.image1.dtype == np.uint8
    assert sample.name == again.name
    np.testing.assert_array_equal(sample.image1, again.image1)
    np.testing.assert_array_equal(sample.flow, again.flow)
    assert len(reserved[:7]) == 7
    assert reserved[5:7][1].name == reserved[6].name
    with pytest.raises(IndexError):
        reserved[200]
    expected = render_pair(RenderConfig(bank_textures=24, bank_shapes=48), VALIDATION_SEED, [0])
    np.testing.assert_array_equal(opened("procedural")[0].flow, expected.flow[0].permute(1, 2, 0).numpy())
    assert opened("procedural@fog")[3].name == "fog/000003"


def test_procedural_takes_no_folder_and_knows_its_splits():
    with pytest.raises(UsageError, match="takes no folder"):
        opened("procedural:/data")
    with pytest.raises(UsageError, match="procedural@reserved"):
        opened("procedural@val")
