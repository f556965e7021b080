"""Recipes: what the command may rely on, and that each builds something that can be trained."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from kinema.engine.contracts import CountsAhead
from kinema.errors import KinemaError
from kinema.losses.supervised_flow import REFERENCE_PIXELS, multiscale_errors
from kinema.models.pwcnet import LEVELS
from kinema.recipes import RECIPES, find_recipe
from kinema.recipes.pwcnet import PwcnetConfig


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_settings_come_back_from_json(name):
    config = find_recipe(name)
    assert type(config).model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.steps = 3
    with pytest.raises(ValidationError, match="extra"):
        type(config)(nonsense=1)
    assert RECIPES[name].__doc__


def test_recipes_need_no_torch():
    code = "import sys, kinema.recipes, kinema.apps.train_config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("text", ["", "384", "384x448", "384x450:1", "0x64:1", "384x448:0", "a"])
def test_crops_that_cannot_be(text):
    with pytest.raises(ValidationError, match="crops"):
        PwcnetConfig(crops=text)


def test_what_the_issue_asks_for():
    config = find_recipe("pwcnet-rendered")
    assert (config.learning_rate, config.weight_decay, config.ema_decay) == (4e-4, 1e-4, 0.999)
    assert (config.optimizer, config.precision, config.channels_last) == ("adamw", "bf16", True)
    assert config.occluded_from == config.steps // 5
    assert config.validation_pairs == 200
    assert (config.matching, config.shifts_until) == ("cosine", 1000)
    sizes = [(crop.height, crop.width) for crop in config.crop_shares()]
    assert (sizes[0], sizes[-1]) == ((256, 320), (448, 768))


def levels(size_hw, value=0.0):
    return [torch.full((2, 2, size_hw[0] >> n, size_hw[1] >> n), value) for n in LEVELS]


@pytest.mark.parametrize("downsampling", ["area", "triangle"])
def test_multiscale_by_hand(downsampling):
    truth = torch.zeros(2, 2, 128, 64)
    truth[:, 0] = 60.0
    weight = torch.ones(2, 1, 128, 64)
    got = multiscale_errors(levels((128, 64)), truth, weight=weight, downsampling=downsampling)
    each = np.sqrt(3.0**2 + 0.01)
    cells = [2 * (128 >> n) * (64 >> n) for n in LEVELS]
    expected = [a * n * each for a, n in zip((0.32, 0.08, 0.02, 0.01, 0.005), cells, strict=True)]
    assert [float(one) for one in got] == pytest.approx(expected)
    robust = multiscale_errors(levels((128, 64)), truth, weight=weight, penalty="robust")
    assert float(robust[0]) == pytest.approx(0.32 * cells[0] * 3.01**0.4)


def test_what_weighs_nothing_teaches_nothing():
    torch.manual_seed(0)
    truth, weight = torch.randn(2, 2, 64, 64), torch.ones(2, 1, 64, 64)
    weight[:, :, :, 32:] = 0
    changed = truth.clone()
    changed[:, :, :, 32:] = 1e6
    pyramid = [level.requires_grad_() for level in levels((64, 64))]
    one, other = (
        torch.stack(multiscale_errors(pyramid, given, weight=weight, downsampling="area"))
        for given in (truth, changed)
    )
    assert torch.equal(one, other)
    one.sum().backward()
    assert (pyramid[-1].grad[..., 8:] == 0).all()
    assert (pyramid[-1].grad[..., :8] != 0).all()
    assert one[0] == 0  # half of the only cell of level 6 is unknown: more than a third


@pytest.mark.parametrize("downsampling", ["area", "triangle", "subsample"])
@pytest.mark.parametrize("epsilon", [0.01, 0.0])
def test_nothing_known_is_no_error_and_finite(downsampling, epsilon):
    pyramid = [level.requires_grad_() for level in levels((64, 64))]
    truth, weight = torch.zeros(2, 2, 64, 64), torch.zeros(2, 1, 64, 64)
    for penalty in ("l2", "robust"):
        loss = sum(
            multiscale_errors(
                pyramid, truth, weight=weight, downsampling=downsampling, penalty=penalty, epsilon=epsilon
            )
        )
        loss.backward()
        assert loss == 0
        assert all(torch.isfinite(level.grad).all() for level in pyramid)


@pytest.mark.parametrize("downsampling", ["area", "triangle"])
def test_the_average_of_a_batch_does_not_depend_on_its_crops(downsampling):
    """Per counted pixel a large and a small crop weigh the same."""
    means = []
    for size in ((64, 64), (128, 192)):
        truth, weight = torch.full((2, 2, *size), 4.0), torch.ones(2, 1, *size)
        sums = multiscale_errors(levels(size), truth, weight=weight, downsampling=downsampling)
        means.append(float(sum(sums)) / (float(weight.sum()) / REFERENCE_PIXELS))
    assert means[0] == pytest.approx(means[1])


@pytest.fixture(scope="module")
def tiny_pwcnet():
    """PWC-Net's own task on the smallest scenes."""
    torch.manual_seed(0)
    config = PwcnetConfig(
        crops="64x64:1,64x128:1", batch_size=2, workers=0, device="cpu", validation_pairs=1, occluded_from=5
    )
    return config.build()


def test_sizes_come_by_share_of_time(tiny_pwcnet):
    sizes = [tiny_pwcnet.source.size_hw(step) for step in range(600)]
    pixels = {size: size[0] * size[1] * sizes.count(size) for size in set(sizes)}
    assert pixels.keys() == {(64, 64), (64, 128)}
    assert 0.8 < pixels[64, 64] / pixels[64, 128] < 1.25
    assert sizes == [tiny_pwcnet.source.size_hw(step) for step in range(600)]


def test_rendered_batches_are_functions_of_step_and_slot(tiny_pwcnet):
    source = tiny_pwcnet.source
    whole, second = source.batch(3, range(2)), source.batch(3, range(1, 2))
    for name, tensor in whole.items():
        assert torch.equal(tensor[1:], second[name]), name
    assert not torch.equal(whole["flow"][0], whole["flow"][1])


def test_at_first_frame_2_is_another_window_of_frame_1():
    words = {
        "crops": "64x64:1,64x128:1",
        "batch_size": 2,
        "workers": 0,
        "device": "cpu",
        "validation_pairs": 1,
    }
    source = PwcnetConfig(**words, shifts_until=3).build().source
    plain = PwcnetConfig(**words).build().source
    for step in range(3):
        batch, second = source.batch(step, range(2)), source.batch(step, range(1, 2))
        assert batch["image1"].shape[-2:] == source.size_hw(step)
        assert batch["valid"].all()
        flow = batch["flow"]
        assert torch.equal(flow, flow[..., :1, :1].round().expand_as(flow))
        for name, tensor in batch.items():
            assert torch.equal(tensor[1:], second[name]), name
    assert torch.equal(source.batch(3, range(2))["image2"], plain.batch(3, range(2))["image2"])


def test_settings_of_runs_before_there_was_a_beginning_mean_what_they_meant():
    """A saved run without the newer settings goes on as it was."""
    config = PwcnetConfig()
    assert (config.shifts_until, config.matching, config.loss_mean, config.downsampling) == (
        0, "product", "pixels", "area"
    )  # fmt: skip


def test_hidden_points_weigh_nothing_at_first(tiny_pwcnet):
    batch = source_batch = dict(tiny_pwcnet.source.batch(0, range(2)))
    batch["hidden"] = torch.zeros_like(batch["hidden"])
    batch["hidden"][..., :32] = True
    network = tiny_pwcnet.network
    wrong = {**source_batch, "flow": batch["flow"].clone()}
    wrong["flow"][..., :32] = 500.0
    with torch.no_grad():
        early = [float(tiny_pwcnet.losses(network, b, step=0)["level2"].total) for b in (batch, wrong)]
        late = [float(tiny_pwcnet.losses(network, b, step=5)["level2"].total) for b in (batch, wrong)]
    assert early[0] == early[1]
    assert late[1] > 2 * late[0]


def test_counts_are_known_before_the_network_has_run(tiny_pwcnet):
    batch = dict(tiny_pwcnet.source.batch(0, range(2)))
    batch["hidden"][..., :20, :] = True
    assert isinstance(tiny_pwcnet, CountsAhead)
    for step in (0, 5):
        with torch.no_grad():
            terms = tiny_pwcnet.losses(tiny_pwcnet.network, batch, step=step)
        ahead = tiny_pwcnet.counts(batch, step=step)
        assert list(ahead) == list(terms)
        assert all(torch.equal(ahead[name], term.count) for name, term in terms.items())
    visible = batch["valid"] & ~batch["hidden"]
    assert float(tiny_pwcnet.counts(batch, step=0)["level3"]) == pytest.approx(
        int(visible.sum()) / REFERENCE_PIXELS
    )


def test_every_weight_of_pwcnet_is_trained(tiny_pwcnet):
    batch = tiny_pwcnet.source.batch(0, range(2))
    terms = tiny_pwcnet.losses(tiny_pwcnet.network, batch, step=0)
    assert list(terms) == ["level6", "level5", "level4", "level3", "level2"]
    sum(term.total / term.count for term in terms.values()).backward()
    for name, weight in tiny_pwcnet.network.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0, name


@pytest.mark.slow
def test_a_pool_on_disk_is_gone_through_in_another_order_each_time(tmp_path):
    config = PwcnetConfig(
        crops="64x64:1,64x128:1", batch_size=4, device="cpu", cache=tmp_path, pool=32, validation_pairs=1
    )
    task = config.build()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["pairs-000000.safetensors"]
    source = task.source
    turns = [[source._pooled(turn * 32 + place) for place in range(32)] for turn in (0, 1)]
    assert sorted(turns[0]) == sorted(turns[1]) == list(range(32))
    assert turns[0] != turns[1]
    for step in range(4):
        batch, again = source.batch(step, range(1, 3)), source.batch(step, range(4))
        assert batch["image1"].shape[-2:] == source.size_hw(step)
        for name, tensor in again.items():
            assert torch.equal(tensor[1:3], batch[name])
    with torch.no_grad():
        metrics = task.validate(task.network.eval(), rank=0, world=1)
    assert metrics["epe"].count == 384 * 448
    assert (tmp_path / "reserved-fog").is_dir()
    assert float(metrics["epe"].total) == pytest.approx(float(metrics["epe_fog"].total))
    with pytest.raises(KinemaError, match="--pool 4000"):
        PwcnetConfig(cache=tmp_path / "small", cache_gib=0.2).build()


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("tvnet")])
def test_what_a_network_settles_is_not_undone_by_its_data(name):
    assert find_recipe(name).precision == "fp32"
