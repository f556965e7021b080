"""Which device and which number format a model computes on: names in, torch objects out."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

import torch

from kinema.errors import UsageError

if TYPE_CHECKING:
    from kinema.models.card import ModelCard

PRECISIONS: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def available_devices() -> list[str]:
    """Names of the devices that can be used here.

    Returns:
        `cpu` first, then each accelerator with its index: `["cpu", "cuda:0", "cuda:1"]`.
    """
    _import_plugins()
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        return ["cpu"]
    return ["cpu", *(f"{accelerator.type}:{i}" for i in range(torch.accelerator.device_count()))]


def resolve_device(name: str = "auto") -> torch.device:
    """Turn a device's name into the device.

    Args:
        name: `auto` (the first accelerator, else the CPU), `cpu`, or a kind with or without an index:
            `cuda`, `npu:1`.

    Returns:
        A device that exists on this machine.

    Raises:
        UsageError: when the name is not a device or the device is not present.
    """
    present = available_devices()
    if name == "auto":
        return torch.device(present[1] if len(present) > 1 else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(
            f"--device {name}: no such device; use auto or one of: {', '.join(present)}"
        ) from None
    wanted = device if device.type == "cpu" or device.index is not None else torch.device(device.type, 0)
    if wanted.type == "cpu" or str(wanted) in present:
        return wanted
    raise UsageError(
        f"--device {name}: not present on this machine; use auto or one of: {', '.join(present)}"
    )


def resolve_precision(name: str, *, device: torch.device, card: ModelCard) -> torch.dtype:
    """Turn a precision's name into the number format that the model computes in.

    Args:
        name: `auto`, `fp32`, `bf16` or `fp16`. `auto` is bf16 where the device is fast in it (see
            `is_fast_in_bf16`) and the model can compute in it, otherwise the first that the card lists.
        device: where the model runs.
        card: of the model.

    Returns:
        One of the formats that the card lists.

    Raises:
        UsageError: when the name is unknown or the model cannot compute in it.
    """
    if name == "auto":
        fast = is_fast_in_bf16(device.type) and "bf16" in card.precisions
        return PRECISIONS["bf16" if fast else card.precisions[0]]
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: unknown; choose auto, {', '.join(PRECISIONS)}")
    if name not in card.precisions:
        raise UsageError(
            f"--precision {name}: {card.name} computes in {' or '.join(card.precisions)} only; "
            "use --precision auto"
        )
    return PRECISIONS[name]


def is_fast_in_bf16(kind: str) -> bool:
    """Say whether ``--precision auto`` means bfloat16: the one place where that is decided.

    Args:
        kind: of the device: `cpu`, `cuda`, ...

    Returns:
        True for accelerators, and for CPUs that multiply bfloat16 numbers in hardware: with AMX, or with the
        BF16 instructions of AVX-512. Elsewhere torch may have to emulate it, which is slower than float32.
    """
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # private, and absent from some builds
    return kind != "cpu" or any(getattr(torch.cpu, probe, bool)() for probe in probes)


def describe_device(device: torch.device) -> str:
    """Name a device for people: the accelerator's product name, or the CPU with its thread count.

    Args:
        device: a device that exists.

    Returns:
        Such as `NVIDIA H200 (cuda:0)` or `cpu, 8 threads`.
    """
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'' if threads == 1 else 's'}"
    module = torch.get_device_module(device)
    product = module.get_device_name(device) if hasattr(module, "get_device_name") else device.type
    return f"{product} ({device})"


def _import_plugins() -> None:
    # Ascend's backend is a package that registers the device "npu" when it is imported.
    if importlib.util.find_spec("torch_npu") is not None:
        importlib.import_module("torch_npu")
