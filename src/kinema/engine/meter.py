"""What the steps between two lines of the log took: time, of it waiting for data, memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import torch
from torch import Tensor

_PER_MIB = 2**20


class StepMeter:
    """Collects what happens between two lines of the log, without making the device wait.

    Args:
        batch_size: samples per step over all processes.
        device: whose memory is told.
    """

    def __init__(self, *, batch_size: int, device: torch.device) -> None:
        self._batch_size, self._device = batch_size, device
        self._clear()

    def _clear(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._learnt = self._steps = 0
        self._data = 0.0
        self._mark = self._begin = time.perf_counter()

    def data_arrived(self) -> None:
        """The batch of the step is there; what comes now is computing."""
        now = time.perf_counter()
        self._data += now - self._mark

    def step_done(self, values: Mapping[str, Tensor]) -> None:
        """The step is done.

        Args:
            values: scalars on any device; none when the step was skipped.
        """
        for name, value in values.items():
            self._totals[name] = self._totals[name] + value if name in self._totals else value.clone()
        self._learnt += bool(values)
        self._steps += 1
        self._mark = time.perf_counter()

    def pause(self) -> None:
        """Leave out what happened since the last step: saving and validation are no part of a step."""
        away = time.perf_counter() - self._mark
        self._begin += away
        self._mark += away

    def numbers(self, *, learning_rate: float) -> dict[str, float]:
        """Means since the last call; the collection starts again.

        Args:
            learning_rate: of the last step.

        Returns:
            Every value's mean over the steps that were not skipped, ``lr``, ``ms`` per step, of them
            ``data_ms`` waiting for data and ``compute_ms``, ``samples_per_s``, ``memory_mib``.
        """
        steps = max(1, self._steps)
        means = {name: float(total) / max(1, self._learnt) for name, total in self._totals.items()}
        seconds = (self._mark - self._begin) / steps
        data = self._data / steps
        numbers = {
            **means,
            "lr": learning_rate,
            "ms": 1000 * seconds,
            "data_ms": 1000 * data,
            "compute_ms": 1000 * (seconds - data),
            "samples_per_s": self._batch_size / max(seconds, 1e-9),
            "memory_mib": memory_bytes(self._device) / _PER_MIB,
        }
        self._clear()
        return numbers


def memory_bytes(device: torch.device) -> int:
    """The most memory used so far.

    Args:
        device: an accelerator: what tensors took there; the CPU: what this process took.

    Returns:
        Bytes; 0 where the system does not tell.
    """
    if device.type != "cpu":
        module = torch.get_device_module(device)
        if hasattr(module, "max_memory_allocated"):
            return int(module.max_memory_allocated(device))
        return int(module.current_allocated_memory()) if hasattr(module, "current_allocated_memory") else 0
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
