"""What a run says while it goes: lines for people, the same numbers as JSON, pictures, other trackers."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kinema.engine.config import LoopConfig
from kinema.engine.contracts import Term
from kinema.engine.patterns import names
from kinema.engine.state import RunFolder
from kinema.errors import MissingExtraError, OutputError, UsageError
from kinema.io.files import write_bytes
from kinema.io.images import write_image

_log = logging.getLogger(__name__)


class Tracker:
    """Is told the numbers of a step, and shown pictures; does nothing with either."""

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Take some numbers.

        Args:
            kind: ``train`` or ``validation``.
            step: how many steps are done.
            numbers: by name.
        """

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        """Take a picture.

        Args:
            name: what it shows.
            step: how many steps are done.
            image: (H, W, 3) uint8.
        """

    def close(self) -> None:
        """The run has ended, or has been stopped."""


class JsonLines(Tracker):
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


class PictureFiles(Tracker):
    """Every picture as a file in the run's folder.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        """See `Tracker.picture`."""
        write_image(self._folder.picture(step, name), image)


class Console(Tracker):
    """One line per entry through the package's logger.

    Args:
        total: how many steps the run has.
    """

    _KNOWN = frozenset(
        {"loss", "lr", "ms", "data_ms", "compute_ms", "samples_per_s", "memory_mib", "grad_norm"}
        | {"skipped", "replaced", "loss_average", "loss_scale", "epoch"}
    )

    def __init__(self, *, total: int) -> None:
        self._total = total

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """See `Tracker.log`."""
        where = f"step {step}/{self._total}"
        where = f"epoch {numbers['epoch']:g}, {where}" if "epoch" in numbers else where
        if kind != "train":
            values = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
            _log.info("%s  %s  %s", where, kind, values)
            return
        terms = ", ".join(f"{name} {value:.4g}" for name, value in numbers.items() if name not in self._KNOWN)
        # What is seldom is told when there is something to tell.
        rare = "".join(
            f"  {name} {numbers[name]:.6g}" for name in ("skipped", "replaced") if numbers.get(name)
        )
        scale = f"  scale {numbers['loss_scale']:g}" if "loss_scale" in numbers else ""
        _log.info(
            "%s  loss %.4g%s (%s)  grad %.3g  lr %.3g  "
            "%.0f ms (data %.0f, compute %.0f)  %.3g samples/s  %.0f MiB%s%s",
            where,
            numbers.get("loss", math.nan),
            f", {numbers['loss_average']:.4g} on average" if "loss_average" in numbers else "",
            terms,
            numbers.get("grad_norm", math.nan),
            numbers["lr"],
            numbers["ms"],
            numbers["data_ms"],
            numbers["compute_ms"],
            numbers["samples_per_s"],
            numbers["memory_mib"],
            scale,
            rare,
        )


class External(Tracker):
    """One of Accelerate's trackers: TensorBoard, Weights & Biases, MLflow and others.

    When it fails, it is told in the log and left out from then on: a run does not end for its curves.

    Args:
        name: as Accelerate has it.
        folder: of the run; TensorBoard's files go into ``tensorboard`` in it.
        recipe: name of the project for services that have projects.
        settings: of the run, told to the tracker at the run's beginning.
        after: the step that the run goes on from.

    Raises:
        UsageError: when there is no such tracker.
        MissingExtraError: when its package is not installed.
    """

    def __init__(
        self, name: str, folder: RunFolder, *, recipe: str, settings: Mapping[str, object], after: int
    ) -> None:
        from accelerate import tracking

        kinds = tracking.LOGGER_TYPE_TO_CLASS
        if name not in kinds:
            raise UsageError(f"--trackers {name}: no such tracker; there are {', '.join(map(str, kinds))}")
        if name not in map(str, tracking.get_available_trackers()):
            if name == "tensorboard":
                raise MissingExtraError(name, name, "--trackers tensorboard")
            raise UsageError(f"--trackers {name}: its package is not installed: pip install {name}")
        self._name, self._board = name, name == "tensorboard"
        kind: Any = kinds[name]
        if self._board:  # what a resumed run does again would be shown twice
            self._tracker = kind(name, str(folder.path), purge_step=after + 1)
        elif kind.requires_logging_directory:
            self._tracker = kind(recipe, str(folder.path))
        else:
            self._tracker = kind(recipe)
        self._works = True
        self._try(self._tracker.start)
        if after == 0 and not self._board:  # TensorBoard would open a second run for them
            plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in settings.items()}
            self._try(self._tracker.store_init_configuration, plain)

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """See `Tracker.log`."""
        values = {f"{kind}/{name}": float(value) for name, value in numbers.items() if math.isfinite(value)}
        self._try(self._tracker.log, values, step=step)

    def picture(self, name: str, step: int, image: np.ndarray) -> None:
        """See `Tracker.picture`."""
        if not hasattr(self._tracker, "log_images"):
            return
        if self._board:
            self._try(self._tracker.log_images, {name: image[None]}, step=step, dataformats="NHWC")
        else:
            self._try(self._tracker.log_images, {name: [image]}, step=step)

    def close(self) -> None:
        """See `Tracker.close`."""
        self._try(self._tracker.finish)

    def _try(self, call: Any, *values: object, **options: object) -> None:
        if not self._works:
            return
        try:
            call(*values, **options)
        except Exception as error:  # noqa: BLE001  anything may come out of a service's client
            self._works = False
            _log.warning("%s failed (%s); going on without it", self._name, error)


def open_trackers(
    config: LoopConfig, folder: RunFolder, *, recipe: str, after: int, more: Sequence[Tracker] = ()
) -> list[Tracker]:
    """Open what a run's first process tells everything.

    Args:
        config: of the run.
        folder: of the run.
        recipe: its name.
        after: the step that the run goes on from.
        more: told last.

    Returns:
        The trackers.

    Raises:
        UsageError: when one of the settings is unknown or not installed.
        OutputError: when the log cannot be written.
    """
    settings = config.model_dump(mode="json")
    others = [
        External(name, folder, recipe=recipe, settings=settings, after=after)
        for name in names(config.trackers)
    ]
    own = [Console(total=config.steps), JsonLines(folder.log, after=after), PictureFiles(folder)]
    return [*own, *others, *more]


@contextmanager
def closing(trackers: Sequence[Tracker]) -> Iterator[None]:
    """Close trackers however the run ends.

    Args:
        trackers: to be closed.
    """
    try:
        yield
    finally:
        for tracker in trackers:
            tracker.close()


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


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _step(line: str) -> int:
    """The step of a line; a line cut by a kill counts as later than everything."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize
