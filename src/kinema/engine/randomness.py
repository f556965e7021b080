"""Every global random generator of a process, as tensors."""

from __future__ import annotations

import random
import struct

import numpy as np
import torch
from torch import Tensor


def seed_all(seed: int) -> None:
    """Set every global generator.

    Args:
        seed: 0 or more.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture_random(device: torch.device) -> dict[str, Tensor]:
    """Read every global generator.

    Args:
        device: whose generator is read beside the CPU's.

    Returns:
        By name: ``python``, ``numpy`` (int64), ``torch`` and, on an accelerator, ``device`` (uint8).
    """
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    states = {
        "python": torch.tensor([version, *words, gauss is not None, _bits(gauss or 0.0)], dtype=torch.int64),
        "numpy": torch.tensor([*map(int, keys), int(position), int(has_gauss), _bits(float(cached))]),
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        states["device"] = torch.get_device_module(device).get_rng_state(*_which(device)).cpu()
    return states


def restore_random(states: dict[str, Tensor], device: torch.device) -> None:
    """Set every global generator to what `capture_random` has read.

    Args:
        states: its result; ``device`` may be absent.
        device: whose generator is set beside the CPU's.
    """
    version, *words, has_gauss, gauss = (int(value) for value in states["python"])
    random.setstate((version, tuple(words), _number(gauss) if has_gauss else None))
    *keys, position, has_cached, cached = (int(value) for value in states["numpy"])
    state = ("MT19937", np.array(keys, np.uint32), position, has_cached, _number(cached))
    np.random.set_state(state)
    # Copies: torch 2.13 reads a row of a larger tensor from the wrong place, or crashes.
    torch.set_rng_state(states["torch"].clone())
    if device.type != "cpu" and "device" in states:
        torch.get_device_module(device).set_rng_state(states["device"].clone(), *_which(device))


def _which(device: torch.device) -> tuple[torch.device, ...]:
    """What a backend's functions are given to find the generator: Apple's has one device and takes none."""
    return () if device.type == "mps" else (device,)


def _bits(value: float) -> int:
    """A float's bits as a whole number: a float in a tensor of integers, without loss."""
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


def _number(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])
