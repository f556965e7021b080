"""PWC-Net's losses as sums and counts: the published numbers, and PWC-Net+'s by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from kinema.losses.supervised_flow import LEVEL_WEIGHTS, REFERENCE_PIXELS, multiscale_loss
from kinema.models.pwcnet import PRESETS
from kinema.outputs import PyramidFlowOutput
from kinema.recipes.pwcnet_objective import Objective

SIZE = (64, 128)
LEVELS = (6, 5, 4, 3, 2)


def output(preset: str = "dc", value: float | None = None, count: int = 2) -> PyramidFlowOutput:
    """Estimates of noise, or of one value in the network's unit; the whole size is that in pixels."""
    sizes = [(SIZE[0] >> level, SIZE[1] >> level) for level in LEVELS]
    if value is None:
        pyramid = [torch.randn(count, 2, *size) for size in sizes]
    else:
        pyramid = [torch.full((count, 2, *size), value) for size in sizes]
    pixels = 20.0 if preset == "dc" else 4.0
    full = torch.nn.functional.interpolate(pyramid[-1], SIZE, mode="bilinear") * pixels
    return PyramidFlowOutput(flow=full, pyramid=tuple(pyramid))


def batch(flow: Sequence[float] = (), count: int = 2) -> dict[str, Tensor]:
    truth = 5 * torch.randn(count, 2, *SIZE)
    if flow:
        truth = torch.tensor(flow)[None, :, None, None].expand(count, 2, *SIZE).contiguous()
    nothing = torch.zeros(count, 1, *SIZE, dtype=torch.bool)
    return {"flow": truth, "valid": ~nothing, "hidden": nothing}


def loss(objective: Objective, preset: str, given: PyramidFlowOutput, seen: dict[str, Tensor]) -> float:
    terms = objective.losses(given, seen, settings=PRESETS[preset], step=0)
    return float(sum(term.total / term.count for term in terms.values()))


@pytest.mark.parametrize("preset", ["dc", "tfoptflow"])
@pytest.mark.parametrize("downsampling", ["triangle", "subsample", "area"])
@pytest.mark.parametrize(
    ("name", "penalty"), [("multiscale", "l2"), ("robust", "robust"), ("legacy-robust", "legacy_robust")]
)
def test_per_sample_it_is_the_published_loss(preset, downsampling, name, penalty) -> None:
    seen, given = batch(), output(preset)
    seen["valid"][0, :, :20] = False
    objective = Objective(loss=name, downsampling=downsampling, mean="samples", epsilon=0.02, q=0.3)
    expected = multiscale_loss(
        given.pyramid, seen["flow"], valid=seen["valid"].float(), unit=PRESETS[preset].flow_unit,
        downsampling=downsampling, penalty=penalty, epsilon=0.02, q=0.3,
    )  # fmt: skip
    assert loss(objective, preset, given, seen) == pytest.approx(float(expected), rel=1e-5)


def test_per_pixel_masks_do_not_change_the_scale() -> None:
    seen, given = batch((20.0, 0.0)), output(value=0.0)
    whole = loss(Objective(), "dc", given, seen)
    cells = [LEVEL_WEIGHTS[n] * (SIZE[0] >> level) * (SIZE[1] >> level) for n, level in enumerate(LEVELS)]
    expected = sum(cells) * 1.01**0.5 * REFERENCE_PIXELS / (SIZE[0] * SIZE[1])
    assert whole == pytest.approx(expected, rel=1e-5)
    seen["valid"][:, :, :, 64:] = False
    assert loss(Objective(), "dc", given, seen) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(("preset", "unit"), [("dc", 1 / 20), ("tfoptflow", None)])
def test_plus_sintel_by_hand(preset: str, unit: float | None) -> None:
    """Truth (20, -10) px against zero: L2 at levels 6 to 3, (|u| + |v| + .01)^.4 at full size."""
    seen, given = batch((20.0, -10.0)), output(preset, 0.0)
    objective = Objective(loss="plus-sintel", mean="samples", downsampling="triangle")
    terms = objective.losses(given, seen, settings=PRESETS[preset], step=0)
    assert list(terms) == ["level6", "level5", "level4", "level3", "full"]
    for level, weight in zip((6, 5, 4, 3), (0.32, 0.08, 0.02, 0.01), strict=True):
        scale = unit or 1 / 2**level
        each = ((20 * scale) ** 2 + (10 * scale) ** 2 + 0.01) ** 0.5
        cells = (SIZE[0] >> level) * (SIZE[1] >> level)
        term = terms[f"level{level}"]
        assert float(term.total / term.count) == pytest.approx(weight * cells * each, rel=1e-4)
    full = 0.0005 * SIZE[0] * SIZE[1] * (30 * (unit or 1) + 0.01) ** 0.4
    assert float(terms["full"].total / terms["full"].count) == pytest.approx(full, rel=1e-4)


@pytest.mark.parametrize("preset", ["dc", "tfoptflow"])
def test_plus_kitti_by_hand(preset: str) -> None:
    """Levels enlarged to the next: four times the cells, (|u| + |v| + .01)^.2."""
    seen, given = batch((20.0, -10.0)), output(preset, 0.0)
    objective = Objective(loss="plus-kitti", mean="samples")
    terms = objective.losses(given, seen, settings=PRESETS[preset], step=0)
    weights = (0.08, 0.02, 0.005, 0.0025)
    for level, weight in zip((6, 5, 4, 3), weights, strict=True):
        scale = 1 / 20 if preset == "dc" else 1 / 2 ** (level - 1)
        cells = (SIZE[0] >> level - 1) * (SIZE[1] >> level - 1)
        term = terms[f"level{level}_enlarged"]
        expected = weight * cells * (30 * scale + 0.01) ** 0.2
        assert float(term.total / term.count) == pytest.approx(expected, rel=1e-4)
    assert "full" in terms


@pytest.mark.parametrize("name", ["plus-sintel", "plus-kitti", "multiscale"])
@pytest.mark.parametrize("preset", ["dc", "tfoptflow"])
def test_a_perfect_estimate_is_the_least(name: str, preset: str) -> None:
    """Each level says the truth in its own unit: nothing remains but the epsilons."""
    seen = batch((8.0, -4.0))
    exact = output(preset, 0.0)
    pyramid = []
    for level, flow in zip(LEVELS, exact.pyramid, strict=True):
        scale = 1 / 20 if preset == "dc" else 1 / 2**level
        true = torch.tensor([8.0, -4.0]).view(1, 2, 1, 1) * scale
        pyramid.append(true.expand_as(flow))
    perfect = PyramidFlowOutput(flow=seen["flow"].clone(), pyramid=tuple(pyramid))
    objective = Objective(loss=name, mean="samples")
    zero = dict(seen, flow=torch.zeros_like(seen["flow"]))
    least = loss(objective, preset, output(preset, 0.0), zero)
    assert loss(objective, preset, perfect, seen) == pytest.approx(least, rel=1e-3)


@pytest.mark.parametrize("mean", ["pixels", "samples"])
@pytest.mark.parametrize("name", ["multiscale", "plus-sintel", "plus-kitti"])
@pytest.mark.parametrize("step", [0, 10])
def test_counts_are_told_ahead(mean: str, name: str, step: int) -> None:
    seen = batch()
    seen["hidden"][:, :, :9] = True
    objective = Objective(loss=name, mean=mean, occluded_from=5, hidden_weight=0.5)
    terms = objective.losses(output(), seen, settings=PRESETS["dc"], step=step)
    ahead = objective.counts(seen, settings=PRESETS["dc"], step=step)
    assert list(terms) == list(ahead)
    assert all(torch.equal(terms[n].count, ahead[n]) for n in terms)


def test_parts_of_a_batch_add_up() -> None:
    seen, given = batch(count=4), output(count=4)
    seen["valid"][0, :, :30] = False
    for objective in (Objective(), Objective(loss="plus-kitti", mean="samples")):
        whole = objective.losses(given, seen, settings=PRESETS["dc"], step=0)
        halves = [
            objective.losses(
                PyramidFlowOutput(flow=given.flow[part], pyramid=tuple(flow[part] for flow in given.pyramid)),
                {n: t[part] for n, t in seen.items()}, settings=PRESETS["dc"], step=0,
            )
            for part in (slice(0, 1), slice(1, 4))
        ]  # fmt: skip
        for n, term in whole.items():
            total, count = sum(h[n].total for h in halves), sum(h[n].count for h in halves)
            assert float(total / count) == pytest.approx(float(term.total / term.count), rel=1e-5)
