"""`import kinema`: light, complete, and helpful about names."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

import kinema
from helpers.textures import moving_frames
from kinema.errors import UsageError
from kinema.inference.flow import FlowPredictor
from kinema.models import MODELS
from kinema.models.card import Precision, Task


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_importing_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'cv2', 'av', 'numba', 'pydantic', 'tyro', 'rich'}"
    assert python(f"import sys, kinema; print(sorted({heavy} & set(sys.modules)))") == "[]"
    code = "import sys, kinema; kinema.list_models(); print('torch' in sys.modules)"
    assert python(code) == "False"


def test_every_public_name_can_be_had() -> None:
    for name in kinema.__all__:
        assert getattr(kinema, name) is not None
    assert set(kinema.__all__) == set(dir(kinema))
    assert kinema.__version__.count(".") >= 2
    with pytest.raises(AttributeError, match="no attribute 'optical_flow'"):
        _ = kinema.optical_flow  # type: ignore[attr-defined]


def test_submodules_can_be_reached_by_attribute() -> None:
    code = "import kinema; print(kinema.io.video.Reader.__name__, kinema.models.MODELS['tvnet'].card.name)"
    assert python(code) == "Reader tvnet"


def test_flow_in_one_call() -> None:
    image1, image2 = moving_frames(2, (96, 128), step_xy=(1, 2))
    for flow in (kinema.flow(image1, image2), kinema.flow(image1, image2, model="tvnet")):
        assert np.abs(flow[16:-16, 16:-16] - (1, 2)).max() < 0.1


def test_load_gives_a_predictor() -> None:
    model = kinema.load("tvnet", device="cpu", precision="fp32", preset="reference", options={"scales": 2})
    assert isinstance(model, FlowPredictor)
    assert model.card.name == "tvnet"
    assert model.model.scales == 2
    assert not model.model.training


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("tvnett", {}, "did you mean tvnet"),
        ("raft", {}, "known: tvnet"),
        ("tvnet", {"preset": "corected"}, "did you mean corrected"),
        ("tvnet", {"options": {"iteration": 3}}, "did you mean iterations"),
        ("tvnet", {"options": {"iterations": "3"}}, "takes int"),
        ("tvnet", {"options": {"iterations": True}}, "takes int"),
        ("tvnet", {"options": {"iterations": 0}}, "at least 1"),
        ("tvnet", {"weights": "tvnet.ckpt", "refine": "tvl1"}, "such a method itself"),
        ("tvnet", {"options": {"start": "map"}}, "map_height"),
        ("tvnet", {"device": "gpu"}, "cpu"),
        ("tvnet", {"precision": "fp16"}, "fp32 only"),
        ("tvnet", {"tile": 8}, "64"),
    ],
)
def test_wrong_settings_are_explained(name: str, settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        kinema.load(name, **settings)  # type: ignore[arg-type]
    assert words in str(caught.value)


@pytest.mark.parametrize("name", list(MODELS))
def test_cards_are_complete(name: str) -> None:
    card = MODELS[name].card
    assert card.name == name
    assert set(card.tasks) <= set(get_args(Task))
    assert set(card.precisions) <= set(get_args(Precision))
    assert card.default_preset in card.presets
    assert min(card.min_size_hw) >= 1
    assert card.stride >= 1
    assert card.title
    assert card.paper
    assert card.licence


@pytest.mark.parametrize("name", list(MODELS))
def test_cards_tell_the_truth_about_the_model(name: str) -> None:
    """Every preset and option of the card is accepted, and the smallest size works."""
    entry = MODELS[name]
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (*entry.card.min_size_hw, 3)).astype(np.uint8)
    for preset in entry.card.presets:
        predictor = kinema.load(name, preset=preset, weights="random" if entry.card.has_weights else None)
        if "flow" in entry.card.tasks:
            flow = predictor.flow(small, small[::-1].copy())
            assert flow.shape == (*entry.card.min_size_hw, 2)
            assert np.isfinite(flow).all()
    import inspect

    accepted = inspect.signature(type(entry.builder(None, {})).__init__).parameters
    assert set(entry.card.options) == set(accepted) - {"self", "preset"}
