"""The true motion of rendered scenes against warping, against itself backwards, and against float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kinema.data.procedural.bank import Bank
from kinema.data.procedural.pairs import render_pair
from kinema.data.procedural.raster import draw
from kinema.data.procedural.render_config import RenderConfig
from kinema.data.procedural.scene_batch import SceneBatch
from kinema.data.procedural.scene_plan import plan_scene
from kinema.data.procedural.scene_truth import scene_truth
from kinema.ops.grid import pixel_grid
from kinema.ops.warp import backward_warp, sample

SIZE = (112, 176)
CPU = torch.device("cpu")
CONFIG = RenderConfig(size_hw=SIZE, photometric=False, bank_textures=8, bank_shapes=16)


def scene(index, config=CONFIG, seed=3):
    return SceneBatch([plan_scene(config, seed, index)], Bank(config, seed, CPU), config.size_hw, CPU)


def calm(seen):
    """Pixels three away from any outline, where no soft edge reaches."""
    wide = F.pad(seen.float(), (3, 3, 3, 3), mode="replicate")
    return F.max_pool2d(wide, 7, 1) == -F.max_pool2d(-wide, 7, 1)


def at_ends(values, flow, mode="nearest"):
    return sample(values.float(), pixel_grid(flow.shape[-2:])[None] + flow, border="replicate", mode=mode)


@pytest.fixture(scope="module", params=["train", "lens"])
def measured(request):
    config = CONFIG.model_copy(update={"family": request.param})
    rows = []
    for index in range(7):
        s = scene(index, config)
        first, second = (draw(s, np.full(1, t)) for t in (0.0, 1.0))
        rows.append((first, second, scene_truth(s), scene_truth(s, 1.0, 0.0)))
    return rows


def test_frame_2_fetched_along_the_flow_is_frame_1(measured):
    floor, shifted, still = [], [], []
    for first, second, there, back in measured:
        visible = there.valid & there.in_frame & ~there.occluded & calm(there.seen)
        visible &= at_ends(calm(back.seen), there.flow) > 0.5
        for errors, flow in ((floor, there.flow), (shifted, there.flow + 0.25), (still, 0 * there.flow)):
            warped = backward_warp(second, flow, border="replicate", mode="bicubic")
            errors.append((warped - first).abs().mean(1, keepdim=True)[visible])
    floor, shifted, still = (torch.cat(errors) for errors in (floor, shifted, still))
    assert floor.numel() > 60_000
    assert floor.median() < 0.002
    assert floor.mean() < 0.003
    assert floor.mean() < 0.45 * shifted.mean()  # a quarter of a pixel aside is clearly worse
    assert floor.mean() < 0.1 * still.mean()


def test_there_and_back_again(measured):
    residuals = []
    for _, _, there, back in measured:
        same = there.valid & there.in_frame & ~there.occluded & calm(there.seen)
        same &= (at_ends(calm(back.seen), there.flow) > 0.5) & (at_ends(back.seen, there.flow) == there.seen)
        around = there.flow + at_ends(back.flow, there.flow, mode="bilinear")
        residuals.append(around.norm(dim=1, keepdim=True)[same])
        # What is left is the reading of a curved field between its pixels; where things bend there is most.
        assert same.sum() < 100 or residuals[-1].median() < 0.05
    residual = torch.cat(residuals)
    assert residual.median() < 2e-3
    assert residual.quantile(0.9) < 0.05


def test_maps_are_undone_in_closed_form():
    for index in range(6):
        s, middle = scene(index), np.full(1, 0.4)
        for slot in range(len(s.slots)):
            moved, before = s.from_frame1(slot, middle, s.pixels())
            (x, y), again = s.to_frame1(slot, middle, moved)
            good = torch.ones(SIZE, dtype=torch.bool) if before is None else before[0] & again[0]
            error = torch.stack(
                [(a - b).abs().expand(1, *SIZE) for a, b in zip((x, y), s.pixels(), strict=True)]
            )
            assert error[:, 0, good].max() < 2e-3


def test_occluded_means_that_something_nearer_is_seen_there(measured):
    right = wrong = missed = 0
    for _, _, there, back in measured:
        sure = there.in_frame & (at_ends(calm(back.seen), there.flow) > 0.5)
        nearer = at_ends(back.seen, there.flow) > there.seen
        right += int((there.occluded & nearer & sure).sum())
        wrong += int((there.occluded & ~nearer & sure).sum())
        missed += int((~there.occluded & nearer & sure).sum())
        assert not (there.occluded & ~there.in_frame).any()
    assert right > 1000
    assert wrong + missed <= 0.001 * right


def test_flow_is_exact_at_float_precision():
    for index in range(6):
        s, plan = scene(index), plan_scene(CONFIG, 3, index)
        truth = scene_truth(s)
        ground = plan.layers[0].motion
        y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
        points = np.stack([x - (SIZE[1] - 1) / 2, y - (SIZE[0] - 1) / 2]).reshape(2, -1)
        expected = ground.displacement(points).reshape(2, *SIZE)
        here = (truth.seen == 0)[0, 0] & truth.valid[0, 0]
        error = np.abs(truth.flow[0].numpy() - expected)[:, here.numpy()]
        assert error.size > 0
        assert error.max() < 2e-4


def test_what_stands_still_has_no_flow_at_all():
    config = CONFIG.model_copy(
        update={"displacement_shares": (1.0, 0.0, 0.0, 0.0), "static_share": 1.0, "shake_share": 0.0}
    )
    batch = render_pair(config, 0, range(3))
    assert torch.equal(batch.flow, torch.zeros_like(batch.flow))
    assert torch.equal(batch.image1, batch.image2)
    assert batch.visible.all()


def test_effects_change_pictures_and_never_the_truth():
    plain = render_pair(CONFIG, 1, range(3))
    loud = CONFIG.model_copy(
        update={
            "photometric": True,
            "blur_share": 1.0,
            "light_share": 1.0,
            "noise_share": 1.0,
            "jpeg_share": 1.0,
        }
    )
    noisy = render_pair(loud, 1, range(3))
    for name in ("flow", "valid", "occluded", "in_frame"):
        assert torch.equal(getattr(plain, name), getattr(noisy, name)), name
    assert (plain.image1 - noisy.image1).abs().mean() > 0.005


def test_the_mix_of_displacements_is_the_one_asked_for():
    config = RenderConfig(size_hw=(64, 448), bank_shapes=16)
    bank, counts = Bank(config, 0, CPU), np.zeros(5)
    for index in range(120):
        truth = scene_truth(SceneBatch([plan_scene(config, 0, index)], bank, config.size_hw, CPU))
        length = truth.flow[truth.valid.expand_as(truth.flow)].view(2, -1).norm(dim=0)
        counts += np.histogram(length.numpy(), [0, 3, 20, 80, 140, np.inf])[0] / length.numel()
    shares = counts / counts.sum()
    np.testing.assert_allclose(shares[:4], (0.35, 0.40, 0.20, 0.05), atol=0.07)
    assert shares[4] < 0.01


def test_kinds_of_scenes_come_in_their_shares():
    plans = [plan_scene(RenderConfig(), 5, index) for index in range(160)]
    kinds = [plan.kind for plan in plans]
    assert kinds.count("forward") / 160 == pytest.approx(0.20, abs=0.09)
    assert kinds.count("parallax") / 160 == pytest.approx(0.25, abs=0.09)
    for plan in plans:
        planes = [layer for layer in plan.layers[1:] if layer.outline is None]
        assert bool(planes) == (plan.kind == "forward")
        assert 3 <= len(plan.layers) - 1 - len(planes) <= 9
    bends = np.mean([len(layer.motion.waves) > 0 for plan in plans for layer in plan.layers])
    assert 0.15 < bends < 0.35


def test_forward_motion_expands():
    config = CONFIG.model_copy(
        update={
            "forward_share": 1.0,
            "parallax_share": 0.0,
            "shake_share": 0.0,
            "things": (0, 0),
            "size_hw": (128, 192),
        }
    )
    outward = 0
    for index in range(12):
        truth = scene_truth(scene(index, config))
        growth = truth.flow[0, 0, :, 1:] - truth.flow[0, 0, :, :-1]
        outward += int(growth[truth.valid[0, 0, :, 1:]].mean() > 0)
    assert outward >= 8  # one in seven drives backwards
