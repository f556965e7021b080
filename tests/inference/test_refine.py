"""Polishing a network's flow: it finds the rest, in one piece and in tiles, and says that it was there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.command import Command
from helpers.textures import moving_frames
from kinema.errors import UsageError
from kinema.inference.flow import FlowPredictor
from kinema.inference.loading import load
from kinema.inference.refine import build_refinement
from kinema.io.images import write_image
from kinema.models import PWCNET_CARD
from kinema.models.pwcnet import PWCNet
from kinema.outputs import FlowOutput

STEP = (17.0, -6.0)
INSIDE = (slice(24, -24), slice(24, -24))


class Coarse(nn.Module):
    """A network that knows where things go, to a pixel or two."""

    def forward(self, image1: Tensor, image2: Tensor) -> FlowOutput:
        flow = image1.new_zeros((image1.shape[0], 2, *image1.shape[-2:]))
        flow[:, 0], flow[:, 1] = STEP[0] + 1.6, STEP[1] - 1.2
        return FlowOutput(flow=flow)


def frames() -> list[np.ndarray]:
    return moving_frames(2, (128, 160), step_xy=(int(STEP[0]), int(STEP[1])))


def error(flow: np.ndarray) -> float:
    return float(np.linalg.norm(flow[INSIDE] - STEP, axis=-1).mean())


def coarse(**options: object) -> FlowPredictor:
    return FlowPredictor(Coarse(), PWCNET_CARD, device="cpu", precision="fp32", **options)  # type: ignore[arg-type]


def test_it_finds_the_rest_and_alone_it_does_not_find_the_motion() -> None:
    pair = frames()
    assert error(coarse().flow(*pair)) == pytest.approx(2.0, abs=1e-5)
    assert error(coarse(refinement=build_refinement("tvl1")).flow(*pair)) < 0.1
    assert (
        error(load("tvnet", device="cpu", options={"scales": 1}).flow(*pair)) > 5
    )  # the same without a start


def test_tiles_and_both_directions() -> None:
    pair = frames()
    whole = coarse(refinement=build_refinement("tvl1"))
    tiled = coarse(refinement=build_refinement("tvl1"), tile=96)
    np.testing.assert_allclose(tiled.flow(*pair)[INSIDE], whole.flow(*pair)[INSIDE], atol=0.05)
    prediction = whole.predict(*pair, backward=True)
    assert prediction.backward is not None
    assert prediction.flow.shape == prediction.backward.shape


def test_where_there_is_no_contrast_the_flow_stays() -> None:
    """Noise of a grey level or two is no texture: a solver that stretches it would follow it."""
    noise = np.random.default_rng(0).integers(100, 103, (2, 96, 128, 3), np.uint8)
    flow = coarse(refinement=build_refinement("tvl1")).flow(*noise)
    assert np.abs(flow - (STEP[0] + 1.6, STEP[1] - 1.2)).mean() < 0.2
    stretched = load("tvnet", device="cpu").flow(*noise)
    assert np.abs(stretched).mean() > 0.3


def test_a_network_in_bfloat16_is_polished_in_float32(tmp_path) -> None:
    predictor = load("pwcnet", weights="random", device="cpu", precision="bf16", refine="tvl1")
    flow = predictor.flow(*frames())
    assert flow.dtype == np.float32
    assert predictor.origin.refine == "tvl1"
    assert next(iter(predictor.refinement.buffers())).dtype == torch.float32  # type: ignore[union-attr]
    assert isinstance(predictor.model, PWCNet)


@pytest.mark.parametrize(
    ("name", "refine", "says"),
    [("pwcnet", "tvl2", "there is no refinement 'tvl2'"), ("tvnet", "tvl1", "tvnet is such a method itself")],
)
def test_what_cannot_be_refined(name: str, refine: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load(name, weights="random" if name == "pwcnet" else None, refine=refine)


def test_the_commands_take_it_and_write_it_down(tmp_path, capsys) -> None:
    kinema = Command(capsys)
    for number, frame in enumerate(frames()):
        write_image(tmp_path / f"{number}.png", frame)
    names = [tmp_path / f"{number}.png" for number in range(2)]
    log = tmp_path / "log.json"
    options = ["--model", "pwcnet", "--weights", "random", "--refine", "tvl1", "--device", "cpu"]
    kinema.done("flow", *names, "-o", tmp_path / "flow.flo", *options, "--json", log, "-q")
    assert json.loads(log.read_text())["refine"] == "tvl1"
    kinema.done(
        "flow", *names, "-o", tmp_path / "own.flo", *options[:4], "--json", tmp_path / "own.json", "-q"
    )
    own = json.loads((tmp_path / "own.json").read_text())
    assert (own["settings"]["refine"], own["refine"]) == ("auto", "none")  # not of kinema: left alone
    refused = kinema("flow", *names, "-o", tmp_path / "other.flo", "--model", "tvnet", "--refine", "tvl1")
    assert refused.status == 2
    assert "--refine tvl1: tvnet is such a method itself; leave it out" in refused.err
