"""Devices and precisions by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kinema.engine.distributed import Devices
from kinema.errors import UsageError
from kinema.inference.device import (
    PRECISIONS,
    available_devices,
    describe_device,
    is_fast_in_bf16,
    resolve_device,
    resolve_precision,
)
from kinema.models import MODELS


def test_auto_is_the_first_accelerator_or_the_cpu() -> None:
    present = available_devices()
    assert present[0] == "cpu"
    assert str(resolve_device("auto")) == (present[1] if len(present) > 1 else "cpu")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "CPU", "", "meta", "cuda:97"])
def test_absent_or_unknown_devices_name_those_that_exist(name: str) -> None:
    with pytest.raises(UsageError, match="one of: cpu"):
        resolve_device(name)


def test_auto_precision_follows_the_device_and_the_card() -> None:
    tvnet = MODELS["tvnet"].card
    assert resolve_precision("auto", device=torch.device("cpu"), card=tvnet) == torch.float32
    assert resolve_precision("auto", device=torch.device("cuda", 0), card=tvnet) == torch.float32
    import dataclasses

    network = dataclasses.replace(tvnet, precisions=("fp32", "bf16"))
    assert resolve_precision("auto", device=torch.device("cuda", 0), card=network) == torch.bfloat16
    assert resolve_precision("bf16", device=torch.device("cpu"), card=network) == torch.bfloat16


def test_auto_is_bf16_where_the_processor_has_it() -> None:
    assert is_fast_in_bf16("cuda")
    assert is_fast_in_bf16("npu")
    known = Path("/proc/cpuinfo")
    if not known.exists():
        pytest.skip("this system does not list what the processor can do")
    flags = set(known.read_text().split())
    if "avx512_bf16" in flags:
        assert is_fast_in_bf16("cpu")
    elif not flags & {"amx_tile", "amx_bf16"}:
        assert not is_fast_in_bf16("cpu")


def test_training_and_inference_agree_on_auto() -> None:
    network = MODELS["pwcnet"].card
    inference = resolve_precision("auto", device=torch.device("cpu"), card=network)
    assert PRECISIONS[Devices(device="cpu", precision="auto").precision] == inference


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_precision_that_the_model_lacks_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="tvnet computes in fp32 only"):
        resolve_precision(name, device=torch.device("cpu"), card=MODELS["tvnet"].card)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(UsageError, match="fp32, bf16, fp16"):
        resolve_precision("fp8", device=torch.device("cpu"), card=MODELS["tvnet"].card)


def test_devices_are_described_with_what_speed_depends_on() -> None:
    assert describe_device(torch.device("cpu")) in (
        f"cpu, {torch.get_num_threads()} threads",
        "cpu, 1 thread",
    )
