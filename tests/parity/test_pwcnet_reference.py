"""PWC-Net against numbers computed by the original graphs with pseudo-weights (see the fixtures' README)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.pseudo_weights import nvlabs_weights, tfoptflow_name, tfoptflow_weights
from kinema.losses.supervised_flow import endpoint_error_loss, l2_regularisation, multiscale_loss
from kinema.models.pwcnet import LEVELS, PWCNet
from kinema.outputs import PyramidFlowOutput

H, W = 128, 192
FLAGS = [(dense, residual) for dense in (0, 1) for residual in (0, 1)]


@pytest.fixture
def fixtures(shared: Path) -> Path:
    return shared / "fixtures" / "pwcnet"


@pytest.fixture(scope="module")
def networks() -> dict[object, PWCNet]:
    """Networks with pseudo-weights, made once: "dc", and tfoptflow's by (dense, residual)."""
    made: dict[object, PWCNet] = {}
    with torch.device("meta"):  # nothing is drawn that would be overwritten
        made["dc"] = PWCNet()
        for dense, residual in FLAGS:
            made[dense, residual] = PWCNet(
                "tfoptflow",
                connections="dense" if dense else "plain",
                context="every_level" if residual else "finest",
            )
    for key, model in made.items():
        weights = nvlabs_weights(model) if key == "dc" else tfoptflow_weights(model)
        model.load_state_dict(weights, assign=True)
    return made


def picture(dx: float = 0, dy: float = 0) -> torch.Tensor:
    """(1, 3, H, W): the closed form of the fixtures' frames."""
    y, x, c = np.meshgrid(np.arange(H) + dy, np.arange(W) + dx, np.arange(3), indexing="ij")
    waves = 0.25 * np.sin(0.11 * x + 0.07 * y + c) + 0.25 * np.cos(0.05 * x - 0.13 * y + 2 * c)
    return to_tensor((0.5 + waves)[None])


def truth() -> torch.Tensor:
    y, x = np.meshgrid(np.arange(H), np.arange(W), indexing="ij")
    return to_tensor(np.stack([6 * np.sin(0.05 * x + 0.02 * y), 4 * np.cos(0.04 * y - 0.03 * x)], -1)[None])


def to_tensor(nhwc: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(nhwc, -1, 1))).float()


def run(model: PWCNet, first: torch.Tensor, second: torch.Tensor) -> PyramidFlowOutput:
    with torch.inference_mode():
        return model(first, second)


def largest_difference(ours: torch.Tensor, expected: np.ndarray) -> float:
    assert ours.shape == expected.shape
    return float(np.abs(ours.numpy() - expected).max())


def test_dc_on_the_synthetic_pair(fixtures: Path, networks: dict[object, PWCNet]) -> None:
    expected = np.load(fixtures / "synthetic" / "dc.npz", allow_pickle=False)
    output = run(networks["dc"], picture(), picture(3, -2))
    for level, flow in zip(LEVELS, output.pyramid, strict=True):
        assert largest_difference(flow, expected[f"flow{level}"]) < 1e-4


def test_dc_on_frames(fixtures: Path, networks: dict[object, PWCNet]) -> None:
    expected = np.load(fixtures / "frames" / "official_dc_pseudoweights.npz", allow_pickle=False)
    first, second = (torch.from_numpy(expected[key]).flip(1) for key in ("im1", "im2"))
    output = run(networks["dc"], first, second)
    for level, flow in zip(LEVELS, output.pyramid, strict=True):
        assert largest_difference(flow, expected[f"flow{level}"]) < 1e-4
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(expected["flow2"]), scale_factor=4, mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(output.flow, 20 * enlarged, atol=2e-3, rtol=0)


def test_dc_has_the_official_names_and_shapes(fixtures: Path, networks: dict[object, PWCNet]) -> None:
    official = (fixtures / "frames" / "official_dc_state_dict.txt").read_text().splitlines()
    ours = {name: tuple(p.shape) for name, p in networks["dc"].named_parameters()}
    listed = {}
    for line in official:
        name, shape = line.split(maxsplit=1)
        listed[name] = tuple(int(n) for n in shape.strip("()[] ").replace(",", " ").split())
    unused = {name for name in listed if name.startswith("deconv2.")}
    assert len(unused) == 2
    assert ours == {name: shape for name, shape in listed.items() if name not in unused}


@pytest.mark.parametrize(("dense", "residual"), FLAGS)
def test_tfoptflow_has_the_original_variables(
    fixtures: Path, networks: dict[object, PWCNet], dense: int, residual: int
) -> None:
    listed = (fixtures / "frames" / f"tfoptflow_d{dense}r{residual}_vars.txt").read_text().splitlines()
    ours = {tfoptflow_name(name) for name, _ in networks[dense, residual].named_parameters()}
    assert ours == {line.split()[0].split(":")[0] for line in listed if line.strip()}


@pytest.mark.parametrize(("dense", "residual"), FLAGS)
def test_tfoptflow_on_the_synthetic_pair(
    fixtures: Path, networks: dict[object, PWCNet], dense: int, residual: int
) -> None:
    expected = np.load(fixtures / "synthetic" / f"tfoptflow_d{dense}r{residual}.npz", allow_pickle=False)
    model = networks[dense, residual]
    output = run(model, picture(), picture(3, -2))
    check_levels_and_losses(model, output, truth(), expected)
    quarter = np.moveaxis(expected["pred_stride4"], -1, 1)
    quarter = quarter if quarter.ndim == 4 else quarter[None]
    assert largest_difference(output.flow[..., ::4, ::4], quarter) < 5e-4


@pytest.mark.parametrize(("dense", "residual"), FLAGS)
def test_tfoptflow_on_frames(
    fixtures: Path, networks: dict[object, PWCNet], dense: int, residual: int
) -> None:
    expected = np.load(fixtures / "frames" / f"tfoptflow_d{dense}r{residual}.npz", allow_pickle=False)
    model = networks[dense, residual]
    images = torch.from_numpy(expected["images"]).movedim(-1, 2)
    output = run(model, images[:, 0], images[:, 1])
    check_levels_and_losses(model, output, to_tensor(expected["flow_gt"]), expected)
    assert largest_difference(output.flow, np.moveaxis(expected["pred"], -1, 1)) < 5e-4


def check_levels_and_losses(
    model: PWCNet, output: PyramidFlowOutput, target: torch.Tensor, expected: dict[str, np.ndarray]
) -> None:
    for level, flow in zip(LEVELS, output.pyramid, strict=True):
        assert largest_difference(flow, np.moveaxis(expected[f"flow{level}"], -1, 1)) < 1e-4
    settings = {"unit": "level_pixels", "downsampling": "subsample"}
    multiscale = multiscale_loss(output.pyramid, target, epsilon=0.0, **settings)
    robust = multiscale_loss(output.pyramid, target, penalty="legacy_robust", **settings)
    assert multiscale.item() == pytest.approx(float(expected["loss_multiscale"]), rel=1e-5)
    assert robust.item() == pytest.approx(float(expected["loss_robust"]), rel=1e-5)
    assert l2_regularisation(model.parameters()).item() == pytest.approx(float(expected["reg"]), rel=1e-5)
    assert endpoint_error_loss(output.flow, target).item() == pytest.approx(float(expected["epe"]), rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "numbers"),
    [((1, 1), (31.4215, 1.09531, 2.75827, 7.25908)), ((0, 0), (17.3305, 0.912608, 1.85580, 5.71329))],
)
def test_the_published_numbers_of_the_synthetic_pair(
    networks: dict[object, PWCNet], flags: tuple[int, int], numbers: tuple[float, ...]
) -> None:
    """From closed forms alone, without any file."""
    output = run(networks[flags], picture(), picture(3, -2))
    settings = {"unit": "level_pixels", "downsampling": "subsample"}
    ours = (
        multiscale_loss(output.pyramid, truth(), epsilon=0.0, **settings),
        multiscale_loss(output.pyramid, truth(), penalty="legacy_robust", **settings),
        l2_regularisation(networks[flags].parameters()),
        endpoint_error_loss(output.flow, truth()),
    )
    assert [value.item() for value in ours] == pytest.approx(numbers, rel=1e-5)
