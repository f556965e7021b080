"""Learning flow without labels: what a step looks at, and what its task remembers."""

import logging
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from kinema.engine.state import save_weights
from kinema.losses.unsupervised_flow import UnsupervisedFlowSettings
from kinema.models.pwcnet import PWCNet
from kinema.models.uflow import UFlow
from kinema.recipes import RECIPES, find_recipe
from kinema.recipes.unlabelled_task import SelfSupervision, UnlabelledFlowTask


def frames(shift, size_hw=(96, 128), seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size_hw[0], 0 : size_hw[1]].astype(np.float32)
    waves = rng.uniform(0.05, 0.5, (3, 3))
    return torch.from_numpy(
        np.stack([np.sin((x + shift) * a + y * b + c) for a, b, c in waves]).astype(np.float32) * 0.4 + 0.5
    )[None]


def batch(*, size_hw=(96, 128), shift=2.0):
    first, second = frames(0.0, size_hw), frames(shift, size_hw)
    return {"image1": first, "image2": second, "clean1": first, "clean2": second}


@dataclass(frozen=True)
class NoValidation:
    metric: str = "epe"

    def measure(self, *_args, **_kwargs):
        return {}

    def pictures(self, *_args):
        return {}


@dataclass(frozen=True)
class OneBatch:
    def batch(self, _step, _slots):
        return batch()


def task(network=None, **changes):
    torch.manual_seed(0)
    network = network or UFlow(levels=4, dropout_rate=0.0)
    made = UnlabelledFlowTask(network, OneBatch(), UnsupervisedFlowSettings(), NoValidation())
    return replace(made, **changes)


def test_terms_are_weighted_and_counted_by_sample():
    one = task(settings=UnsupervisedFlowSettings(census=2.0, smooth1=3.0, photometric=1.0))
    terms = one.losses(one.network, batch(), step=0)
    assert set(terms) == {"census", "smooth1", "photometric"}
    assert all(float(term.count) == 1.0 for term in terms.values())
    plain = task(settings=UnsupervisedFlowSettings(census=1.0, smooth1=3.0, photometric=1.0))
    again = plain.losses(one.network, batch(), step=0)
    assert float(terms["census"].total) == pytest.approx(2 * float(again["census"].total))


@pytest.mark.parametrize("network", ["uflow", "pwcnet"])
def test_any_two_way_network_gets_gradients_everywhere(network):
    torch.manual_seed(0)
    made = UFlow(levels=4, dropout_rate=0.0) if network == "uflow" else PWCNet()
    one = task(made)
    terms = one.losses(made, batch(size_hw=(128, 128)), step=0)
    sum(term.total for term in terms.values()).backward()
    for name, parameter in made.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_nothing_is_hidden_before_its_step():
    settings = UnsupervisedFlowSettings(smooth1=0.0, occlusion="wang")
    one = task(settings=settings, occluded_from=10)
    early, late = (float(one.losses(one.network, batch(), step=n)["census"].total) for n in (9, 10))
    without = task(one.network, settings=replace(settings, occlusion="none"))
    plain = float(without.losses(one.network, batch(), step=10)["census"].total)
    assert early == pytest.approx(plain, rel=1e-6)
    assert late != pytest.approx(plain, rel=1e-4)


def test_the_network_sees_the_middle_of_a_larger_picture():
    seen = []

    class Looks(UFlow):
        def forward_two_way(self, image1, image2):
            seen.append(image1)
            return super().forward_two_way(image1, image2)

    wide = batch(size_hw=(128, 192))
    one = task(Looks(levels=4, dropout_rate=0.0), margin_hw=(16, 32))
    terms = one.losses(one.network, wide, step=0)
    assert torch.equal(seen[0], wide["image1"][..., 16:112, 32:160])
    assert torch.isfinite(terms["census"].total)


def test_teaching_begins_at_its_step_and_leaves_the_mode_as_it_was():
    teaching = SelfSupervision(weight=0.5, after=5, ramp=2, crop=16)
    one = task(teaching=teaching)
    one.network.train()
    assert "selfsup" not in one.losses(one.network, batch(), step=3)
    first, whole = (one.losses(one.network, batch(), step=n)["selfsup"] for n in (5, 50))
    assert one.network.training
    assert float(first.total) == pytest.approx(0.5 * float(whole.total), rel=1e-4)
    assert teaching.weight_at(50) == 0.5


def test_a_frozen_teacher_stays_and_belongs_to_the_state():
    one = task(teaching=SelfSupervision(weight=1.0, after=0, ramp=0, crop=16, frozen=True))
    assert one.kept() == ({}, {})
    one.losses(one.network, batch(), step=1)
    frozen = {name: tensor.clone() for name, tensor in one.kept()[0].items()}
    with torch.no_grad():
        for parameter in one.network.parameters():
            parameter.mul_(1.01)
    one.losses(one.network, batch(), step=2)
    assert all(torch.equal(frozen[name], tensor) for name, tensor in one.kept()[0].items())
    other = task(one.network, teaching=one.teaching)
    other.take_back(frozen, {})
    expected, found = (float(t.losses(one.network, batch(), step=3)["selfsup"].total) for t in (one, other))
    assert found == pytest.approx(expected)


def test_shifts_are_a_function_of_the_step_and_whole_at_a_quarter():
    teaching = SelfSupervision(crop=32, shift=32, seed=4)
    shifts = [teaching.shift_at(step) for step in range(50)]
    assert shifts == [teaching.shift_at(step) for step in range(50)]
    assert len(set(shifts)) > 20
    assert all(abs(n) <= 32 and n % 4 == 0 for shift in shifts for n in shift)
    assert SelfSupervision(crop=32).shift_at(7) == (0, 0)


def test_frames_that_do_not_differ_are_spoken_of(caplog):
    one = task()
    still = batch(shift=0.0)
    with caplog.at_level(logging.WARNING, logger="kinema"):
        one.losses(one.network, still, step=1)
        assert not caplog.records
        terms = one.losses(one.network, still, step=50)
    assert "both frames of the batch are the same" in caplog.text
    assert all(torch.isfinite(term.total) for term in terms.values())


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("uflow")])
def test_recipes_say_what_they_are(name):
    config = find_recipe(name)
    assert config.facts()["model"] == "uflow"
    assert config.selfsup > 0
    assert isinstance(config.network(), UFlow)


def test_published_values_are_those_of_the_paper_and_the_port():
    chairs, sintel, kitti = (find_recipe(f"uflow-{name}") for name in ("chairs", "sintel", "kitti"))
    assert (chairs.crop, chairs.learning_rate, chairs.batch_size) == ("384x512", 1e-4, 1)
    assert (chairs.census, chairs.smooth1, chairs.smooth2, chairs.occlusion) == (1.0, 4.0, 0.0, "wang")
    assert (chairs.selfsup, chairs.selfsup_after, chairs.selfsup_ramp) == (0.6, 500_000, 100_000)
    assert (sintel.crop, sintel.learning_rate) == ("448x1024", 5e-5)
    assert (kitti.crop, kitti.smooth1, kitti.smooth2, kitti.occlusion) == ("640x640", 0.0, 2.0, "brox")


@pytest.mark.slow
def test_a_run_on_rendered_frames_can_be_stopped_and_goes_on_bit_by_bit(tmp_path):
    from kinema.cli.main import main

    words = ["--batch-size", 1, "--validation-pairs", 1, "--workers", 0, "--device", "cpu", "--seed", 3]
    words += ["--occluded-from", 1, "--selfsup-after", 2, "--selfsup-ramp", 1, "--selfsup-teacher", "frozen"]
    words += ["--crop", "128x160", "--frames", "160x192", "--checkpoint-every", 2, "--log-every", 1]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    begin = ["train", "uflow-rendered", *map(str, words)]
    assert main([*begin, "--out", str(whole), "--steps", "4", "-q"]) == 0
    assert main([*begin, "--out", str(parts), "--steps", "2", "-q"]) == 0
    assert main(["train", "--resume", str(parts), "--steps", "4", "-q"]) == 0
    assert (whole / "last.safetensors").read_bytes() == (parts / "last.safetensors").read_bytes()


def test_footage_is_learned_from_by_the_recipe(tmp_path):
    from helpers.clips import make_clip
    from kinema.cli.main import main

    make_clip(tmp_path / "clip.mp4", frames=8, size_hw=(96, 128))
    start = tmp_path / "start.safetensors"
    save_weights(start, UFlow(), facts={"model": "uflow"})
    words = ["--data", f"footage:{tmp_path}/clip.mp4", "--crop", "96x128", "--init", start, "--steps", 2]
    words += [
        "--batch-size",
        1,
        "--workers",
        0,
        "--validation-pairs",
        1,
        "--device",
        "cpu",
        "--selfsup-crop",
        16,
    ]
    assert main(["train", "uflow-footage", *map(str, words), "--out", str(tmp_path / "run"), "-q"]) == 0
    assert (tmp_path / "run/last.safetensors").is_file()
