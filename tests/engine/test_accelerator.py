"""The same on an accelerator: exact resume in every precision, scaling, memory."""

from __future__ import annotations

import pytest
import torch

from helpers import runs
from helpers.tiny_flow import build_task, tiny_flow
from kinema.engine.state import RunFolder
from kinema.engine.trainer import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator on this machine"),
]


def trained(folder, *, state=None, **changes):
    settings = tiny_flow().model_copy(update={"device": "auto", **changes})
    torch.manual_seed(settings.seed)
    return train(settings, build_task(settings), RunFolder(folder), recipe="tiny-flow", state=state)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_that_goes_on_ends_in_the_same_bits(tmp_path, precision, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    trained(tmp_path / "whole", precision=precision)
    trained(tmp_path / "cut", precision=precision, steps=6)
    trained(tmp_path / "cut", precision=precision, state=runs.final(tmp_path / "cut"))
    whole, cut = runs.final(tmp_path / "whole"), runs.final(tmp_path / "cut")
    assert [n for n in runs.differing(whole, cut) if n != "settings"] == []
    line = runs.lines(tmp_path / "whole")[-1]
    assert line["memory_mib"] > 0
    assert ("loss_scale" in line) == (precision == "fp16")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_learns_in_half_the_bits(tmp_path, precision):
    outcome = trained(
        tmp_path,
        precision=precision,
        steps=700,
        batch_size=8,
        decay_steps=150,
        ema_decay=0.98,
        log_every=100,
        checkpoint_every=700,
        validate_every=350,
        validation_pairs=16,
    )
    assert outcome.metrics["epe"] < 0.35 * outcome.metrics["zero_epe"]


def test_computing_again_needs_less_memory(tmp_path):
    peaks = {}
    for names in ("", "features,estimate"):
        torch.accelerator.reset_peak_memory_stats()
        trained(tmp_path / f"run{len(peaks)}", precision="fp32", batch_size=64, steps=2, recompute=names)
        peaks[names] = runs.lines(tmp_path / f"run{len(peaks)}")[-1]["memory_mib"]
    assert peaks["features,estimate"] < peaks[""]
