"""What a run says while it goes: a line for people, and the same numbers as JSON, always."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from kinema.engine.contracts import Term
from kinema.errors import OutputError
from kinema.io.files import write_bytes

_log = logging.getLogger(__name__)
_PER_MIB = 2**20


class Tracker(Protocol):
    """Takes the numbers of a step."""

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Take some numbers.

        Args:
            kind: ``train`` or ``validation``.
            step: how many steps are done.
            numbers: by name.
        """


class JsonLines:
    """One JSON object per line; lines after the step that a run goes on from are dropped first.

    Args:
        path: the file; made when absent.
        after: the step that the run goes on from.

    Raises:
        OutputError: when it cannot be written.
    """

    def __init__(self, path: Path, *, after: int) -> None:
        self._path = path
        kept = [line for line in _lines(path) if _step(line) <= after]
        write_bytes(path, "".join(f"{line}\n" for line in kept).encode())

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """See `Tracker.log`."""
        known = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        line = json.dumps({"kind": kind, "step": step, **known})
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror}; free some space") from None


class Console:
    """One line per entry through the package's logger.

    Args:
        total: how many steps the run has.
    """

    def __init__(self, *, total: int) -> None:
        self._total = total

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """See `Tracker.log`."""
        where = f"step {step}/{self._total}"
        if kind != "train":
            values = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
            _log.info("%s  %s  %s", where, kind, values)
            return
        known = {"loss", "lr", "ms", "data_ms", "compute_ms", "samples_per_s", "memory_mib", "grad_norm"}
        terms = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items() if name not in known)
        _log.info(
            "%s  loss %.4g (%s)  grad %.3g  lr %.3g  "
            "%.0f ms (data %.0f, compute %.0f)  %.3g samples/s  %.0f MiB",
            where,
            numbers["loss"],
            terms,
            numbers["grad_norm"],
            numbers["lr"],
            numbers["ms"],
            numbers["data_ms"],
            numbers["compute_ms"],
            numbers["samples_per_s"],
            numbers["memory_mib"],
        )


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
        self._steps = 0
        self._data = 0.0
        self._mark = self._begin = time.perf_counter()

    def data_arrived(self) -> None:
        """The batch of the step is there; what comes now is computing."""
        now = time.perf_counter()
        self._data += now - self._mark

    def step_done(self, values: Mapping[str, Tensor]) -> None:
        """The step is done.

        Args:
            values: scalars on any device.
        """
        for name, value in values.items():
            self._totals[name] = self._totals[name] + value if name in self._totals else value.clone()
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
            Every value's mean, ``lr``, ``ms`` per step, of them ``data_ms`` waiting for data and
            ``compute_ms``, ``samples_per_s``, ``memory_mib``.
        """
        steps = max(1, self._steps)
        means = {name: float(total) / steps for name, total in self._totals.items()}
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


def term_means(terms: Mapping[str, Term]) -> dict[str, float]:
    """Divide at last.

    Args:
        terms: sums and counts over all processes.

    Returns:
        Their quotients; not a number where nothing was counted.
    """
    return {
        name: float(term.total) / float(term.count) if float(term.count) else float("nan")
        for name, term in terms.items()
    }


def memory_bytes(device: torch.device) -> int:
    """The most memory used so far.

    Args:
        device: an accelerator: what tensors took there; the CPU: what this process took.

    Returns:
        Bytes; 0 where the system does not tell.
    """
    if device.type != "cpu":
        return int(torch.get_device_module(device).max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _step(line: str) -> int:
    """The step of a line; a line cut by a kill counts as later than everything."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize
