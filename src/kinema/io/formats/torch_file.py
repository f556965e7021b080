"""Files of ``torch.save`` (.pth, .pt, .tar, .pkl), read for their tensors: no code in them is executed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from kinema.errors import InputError
from kinema.io.files import file_size, reading

__all__ = ["read_torch_file"]

_STATES = ("state_dict", "params_ema", "params")  # of BasicSR the averaged weights first, which it tests with


def read_torch_file(path: Path | str) -> dict[str, Tensor]:
    """Read a state dict.

    Args:
        path: a file that holds one, or a record with one as its ``state_dict``, ``params_ema`` or ``params``,
            as training scripts save it.

    Returns:
        The tensors by name, on the CPU, each with memory of its own.

    Raises:
        InputError: the file is missing, damaged, holds no tensors by name, or more than tensors and plain
            values.
    """
    file_size(path)
    with reading(path):
        content = _loaded(path)
    content = _state_in(content)
    tensors = content if isinstance(content, Mapping) else {}
    if not tensors or not all(_is_plain(name, value) for name, value in tensors.items()):
        raise InputError(
            f"{path} holds no tensors by name: save a state dict, torch.save(model.state_dict(), FILE)"
        )
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _loaded(path: Path | str) -> object:
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # about pickles of another make; they load or they do not
            return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  what damage does to a pickle has no end of kinds
        reason = f"{type(error).__name__}: {error}"
        if "weights_only" in reason or "Unsupported" in reason:
            raise InputError(
                f"{path} holds more than tensors and plain values{_named(str(error))}, and kinema runs no "
                "code from files: in its own program save the state dict alone, "
                "torch.save(model.state_dict(), FILE)"
            ) from None
        raise InputError(
            f"{path} is no whole file of torch.save: {reason.splitlines()[0][:120]}; copy it again"
        ) from None


def _state_in(content: object) -> object:
    """The state dict of a record that holds one; anything else as it is."""
    if isinstance(content, Mapping):
        for name in _STATES:
            if isinstance(content.get(name), Mapping):
                return content[name]
    return content


def _named(message: str) -> str:
    """The class that was refused, where torch's long message names one."""
    for mark in ("GLOBAL ", "Unsupported class "):
        if mark in message:
            return f" ({message.split(mark)[1].split()[0]})"
    return ""


def _is_plain(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )
