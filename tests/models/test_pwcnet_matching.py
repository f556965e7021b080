"""PWC-Net whose cost volume compares features of equal length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import kinema
from kinema.engine.state import save_weights
from kinema.errors import UsageError
from kinema.models.pwcnet import PRESETS, PWCNet


def pair(h: int, w: int, *, batch: int = 1) -> tuple[Tensor, Tensor]:
    noise = torch.rand((batch, 3, h + 8, w + 8), generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2)
    return soft[..., 4:-4, 4:-4].contiguous(), soft[..., 6:-2, 1:-7].contiguous()


def network(preset: str = "dc", **options: object) -> PWCNet:
    torch.manual_seed(0)
    return PWCNet(preset, matching="cosine", **options).eval()


def test_it_has_the_weights_of_the_published_network() -> None:
    ours, published = network().state_dict(), PWCNet().state_dict()
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in published.items()}


def test_it_computes_something_else() -> None:
    cosine, product = network(), PWCNet()
    product.load_state_dict(cosine.state_dict())
    with torch.inference_mode():
        one, other = (net.eval()(*pair(64, 128)).flow for net in (cosine, product))
    assert (one - other).abs().mean() > 1e-3


@pytest.mark.parametrize(("h", "w"), [(64, 64), (65, 100), (16, 16), (1, 1), (7, 130)])
@pytest.mark.parametrize("preset", list(PRESETS))
def test_any_size(preset: str, h: int, w: int) -> None:
    with torch.inference_mode():
        flow = network(preset, connections="plain", context="finest")(*pair(h, w, batch=2)).flow
    assert flow.shape == (2, 2, h, w)
    assert flow.isfinite().all()


def test_frames_of_one_colour_are_finite() -> None:
    with torch.inference_mode():
        flow = network(connections="plain")(torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)).flow
    assert flow.isfinite().all()


@pytest.mark.parametrize("preset", list(PRESETS))
def test_bfloat16_keeps_flow_in_float32_and_stays_close(preset: str) -> None:
    model, (first, second) = network(preset), pair(128, 192)
    with torch.inference_mode():
        exact = model(first, second)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = model(first, second)
    assert rough.flow.dtype == torch.float32
    error = (rough.flow - exact.flow).norm(dim=1).mean()
    # Drawn weights give tens of pixels, which the warps of the next level turn into other pictures.
    assert error < 0.05 * exact.flow.norm(dim=1).mean()


def test_a_batch_is_its_samples() -> None:
    model, (first, second) = network(connections="plain"), pair(64, 128, batch=2)
    with torch.inference_mode():
        together, alone = model(first, second).flow, model(first[1:], second[1:]).flow
    torch.testing.assert_close(together[1:], alone, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_weight_has_a_finite_gradient(preset: str) -> None:
    model = network(preset, connections="plain").train()
    output = model(*pair(64, 128))
    sum(level.square().sum() for level in output.pyramid).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


def test_its_file_says_so(tmp_path: Path) -> None:
    model, path = network(connections="plain"), tmp_path / "cosine.safetensors"
    options = {"connections": "plain", "matching": "cosine"}
    save_weights(path, model, facts={"model": "pwcnet", "preset": "dc", "options": options})
    predictor = kinema.load("pwcnet", weights=path, precision="fp32")
    first, second = pair(64, 128)
    with torch.inference_mode():
        torch.testing.assert_close(predictor.flow(first, second), model(first, second).flow)


def test_other_words_are_refused() -> None:
    with pytest.raises(UsageError, match="matching of pwcnet is 'dot': use product or cosine"):
        PWCNet(matching="dot")
