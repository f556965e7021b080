"""The parts of a run that change with every step: how they take one, are measured, saved and restored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from kinema._version import __version__
from kinema.engine.config import LoopConfig
from kinema.engine.contracts import Batch, Draws, EndsEarly, Keeps, Task, Term
from kinema.engine.distributed import Devices
from kinema.engine.ema import MovingAverage
from kinema.engine.gradients import compute_gradient, restore_buffers
from kinema.engine.memory import compile_network, recompute
from kinema.engine.optimizers import build_optimizer, rest, set_rates
from kinema.engine.randomness import capture_random, restore_random, seed_all
from kinema.engine.ranking import Ranking
from kinema.engine.state import (
    RunFolder,
    TrainState,
    load_optimizer,
    optimizer_tensors,
    prefixed,
    save_state,
    save_weights,
    without_prefix,
)
from kinema.engine.tracking import term_means
from kinema.errors import InputError, KinemaError, OutputError, UsageError

_log = logging.getLogger(__name__)


class DivergedError(KinemaError):
    """The loss or its gradient is no longer a finite number."""


class Session:
    """Network, average, optimiser and devices of one run.

    Args:
        config: the run's resolved settings.
        task: what is trained.
        folder: where states and weights go.
        recipe: the recipe's name, kept in the states.
        facts: kept in the files of weights.

    Raises:
        UsageError: when a setting does not fit the machine or the network.
    """

    def __init__(
        self, config: LoopConfig, task: Task, folder: RunFolder, *, recipe: str, facts: Mapping[str, object]
    ) -> None:
        self.config, self.task, self.folder, self.recipe, self.facts = config, task, folder, recipe, facts
        self.devices = Devices(device=config.device, precision=config.precision, loss_scale=config.loss_scale)
        seed_all(config.seed + self.devices.rank)
        self.network = task.network.to(self.devices.device).train()
        if config.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.devices.copy_first([*self.network.parameters(), *self.network.buffers()])
        self.average = MovingAverage(self.network, decay=config.ema_decay)
        self.optimizer = build_optimizer(config, self.network)
        recompute(self.network, config.recompute)
        if config.compile:
            compile_network(self.network, self.devices.device)
        self.ranking = Ranking(keep=config.keep_best, highest=config.best_is == "highest")
        self.rate = 0.0
        self._skipped = self._skipped_in_row = self._replaced = 0
        self._loss_sum, self._losses = 0.0, 0

    def fetch(self, data: Iterator[Batch]) -> Batch:
        """Take the next batch to the device.

        Args:
            data: this process's batches.

        Returns:
            The batch.

        Raises:
            KinemaError: when any process has none: on all of them, so that none waits for the others.
        """
        batch, failure = None, None
        try:
            batch = next(data)
        except KinemaError as error:
            failure = error
        if self.devices.any(failure is not None) or batch is None:
            raise failure or KinemaError("another process has no data: see what it says")
        return self.devices.to_device(batch, channels_last=self.config.channels_last)

    def replaced(self, message: str) -> None:
        """Count a sample that another one stands in for.

        Args:
            message: why.
        """
        self._replaced += 1
        _log.warning("%s; another sample stands in for it", message)

    def step(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Do one optimiser step, or skip it.

        Args:
            batch: on the device.
            step: its number, from 0.

        Returns:
            ``loss``, its terms and ``grad_norm`` before clipping, over all processes; scalars on the device.
            Nothing when the step was skipped: then no weight, average or running statistic has changed.

        Raises:
            DivergedError: when the loss or the gradient is not finite on any process, and the settings or
                too many skipped steps in a row forbid to go on; no weight has changed.
        """
        config, devices = self.config, self.devices
        self.rate = set_rates(self.optimizer, config, step=step)
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        randoms = capture_random(devices.device)
        self.optimizer.zero_grad(set_to_none=True)
        values = compute_gradient(
            self.task, self.network, batch, parts=config.accumulate, step=step, devices=devices
        )
        rest(self.optimizer, step=step)
        values["grad_norm"] = devices.clip(self.optimizer, norm=config.clip_norm)
        # The same sums on all processes: they agree without asking each other.
        finite = [bool(torch.isfinite(values[name])) for name in ("loss", "grad_norm")]
        if not all(finite):
            restore_buffers(self.network, buffers)
            try:
                self._skip(values, step=step, overflow=finite[0] and devices.loss_scale > 1)
            except DivergedError:
                restore_random(randoms, devices.device)
                raise
        devices.apply(self.optimizer)  # without gradients it does nothing, but fp16's scale follows
        if not all(finite):
            return {}
        self._skipped_in_row = 0
        self._loss_sum, self._losses = self._loss_sum + values["loss"].item(), self._losses + 1
        devices.copy_first(list(self.network.buffers()))  # running statistics: those of the first process
        self.average.update(self.network, step=step)
        return values

    def _skip(self, values: Mapping[str, Tensor], *, step: int, overflow: bool) -> None:
        """Drop the gradient, if that is allowed; an overflow of fp16 always is: the scale adapts."""
        shown = {name: f"{value.item():.4g}" for name, value in values.items()}
        terms = ", ".join(f"{n} {text}" for n, text in shown.items() if n not in ("loss", "grad_norm"))
        named = f"step {step}: loss {shown['loss']} ({terms}), gradient {shown['grad_norm']}: not finite"
        in_row = 0 if overflow else self._skipped_in_row + 1
        if not overflow and self.config.non_finite == "stop":
            raise DivergedError(named)
        if in_row >= self.config.most_skipped:
            raise DivergedError(f"{named}, as in the {in_row - 1} steps before it")
        self._skipped, self._skipped_in_row = self._skipped + 1, in_row
        if not overflow:
            _log.warning("%s; skipped", named)
        self.optimizer.zero_grad(set_to_none=True)

    def counters(self) -> dict[str, float]:
        """What went wrong so far, over all processes.

        Returns:
            ``skipped`` steps and ``replaced`` samples, and the mean of all losses so far (``loss_average``);
            in fp16 also the ``loss_scale``.
        """
        replaced = self.devices.sum(torch.tensor([float(self._replaced)], device=self.devices.device))
        scale = {"loss_scale": self.devices.loss_scale} if self.devices.scaler else {}
        numbers = {"skipped": self._skipped, "replaced": float(replaced.item())}
        return {**numbers, "loss_average": self._loss_sum / max(1, self._losses), **scale}

    def epoch(self, step: int) -> dict[str, float]:
        """Tell the epoch, where the settings say how long one is.

        Args:
            step: how many steps are done.

        Returns:
            ``epoch``, from 1; nothing without epochs.
        """
        length = self.config.epoch_steps
        return {"epoch": float((step - 1) // length + 1)} if length else {}

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """Measure the averaged weights; keep them if they are among the best so far.

        Args:
            step: how many steps are done.

        Returns:
            The metrics over all processes. Global random numbers are as before.

        Raises:
            UsageError: when the metric that chooses the best is not among them.
        """
        devices, device = self.devices, self.devices.device
        before = capture_random(device)
        network = _InPrecision(self.average.network, devices).eval()
        terms = self.task.validate(network, rank=devices.rank, world=devices.world)
        restore_random(before, device)
        sums = {name: Term(devices.sum(term.total), devices.sum(term.count)) for name, term in terms.items()}
        name = self.config.best_metric or self.task.metric
        # Such as points in a mask that no pair has: not a number says nothing.
        metrics = term_means({n: term for n, term in sums.items() if n == name or float(term.count)})
        if metrics and name not in metrics:
            raise UsageError(f"--best-metric {name}: a validation measures {', '.join(metrics)}")
        if metrics and self.ranking.offer(step, metrics[name]):
            self._first_does(lambda: self._keep_best(step, metrics))
        return metrics

    def ending(self, step: int, metrics: Mapping[str, float]) -> str:
        """Ask the task whether the run ends before its last step.

        Args:
            step: how many steps are done.
            metrics: of the last validation.

        Returns:
            Why it ends, on all processes; empty to go on.
        """
        reason = self.task.ending(step, metrics) if isinstance(self.task, EndsEarly) else ""
        return (reason or "another process ends") if self.devices.any(bool(reason)) else ""

    def _keep_best(self, step: int, metrics: Mapping[str, float]) -> None:
        facts = self._facts(step, metrics)
        if self.config.keep_best > 1:
            save_weights(self.folder.ranked(step), self.average.network, facts=facts)
            self.folder.prune_ranked(self.ranking.steps)
        if self.ranking.steps[0] == step:
            save_weights(self.folder.best, self.average.network, facts=facts)

    @torch.no_grad()
    def pictures(self) -> dict[str, np.ndarray]:
        """Draw what the averaged weights do, in the first process.

        Returns:
            (H, W, 3) uint8 by name; none elsewhere, and of a task that does not draw.
        """
        if not (isinstance(self.task, Draws) and self.devices.is_first):
            return {}
        before = capture_random(self.devices.device)
        drawn = dict(self.task.pictures(_InPrecision(self.average.network, self.devices).eval()))
        restore_random(before, self.devices.device)
        return drawn

    def _facts(self, step: int, metrics: Mapping[str, float]) -> dict[str, object]:
        return {
            **self.facts,
            "recipe": self.recipe,
            "step": step,
            "metrics": dict(metrics),
            "kinema": __version__,
        }

    def save(self, step: int) -> None:
        """Write the state, and when that is certain forget the oldest.

        Args:
            step: how many steps are done.

        Raises:
            OutputError: when it cannot be written or reads back differently: on all processes.
        """
        own = capture_random(self.devices.device)
        randoms = {name: self.devices.gather(values) for name, values in own.items()}
        counters = self.counters()
        self._first_does(lambda: self._write(step, randoms, counters))

    def _first_does(self, work: Callable[[], None]) -> None:
        failure = None
        if self.devices.is_first:
            try:
                work()
            except OutputError as error:
                failure = error
        if self.devices.any(failure is not None):
            raise failure or OutputError("the first process cannot write: see what it says")

    def _write(self, step: int, randoms: Mapping[str, Tensor], counters: Mapping[str, float]) -> None:
        tensors, groups = optimizer_tensors(self.optimizer)
        kept, values = self.task.kept() if isinstance(self.task, Keeps) else ({}, {})
        settings = {
            "groups": groups,
            "best": self.ranking.entries,
            "scaler": self.devices.scaler,
            "skipped": self._skipped,
            "skipped_in_row": self._skipped_in_row,
            "replaced": counters["replaced"],
            "loss_sum": self._loss_sum,
            "losses": self._losses,
            "task": dict(values),
        }
        state = TrainState(
            step=step,
            tensors={
                **prefixed(self.network.state_dict(), "model"),
                **prefixed(self.average.network.state_dict(), "ema"),
                **prefixed(tensors, "optimizer"),
                **prefixed(randoms, "random"),
                **prefixed(kept, "task"),
            },
            settings=settings,
            recipe=self.recipe,
            config=self.config.model_dump(mode="json"),
            version=__version__,
        )
        save_state(self.folder.state(step), state)
        save_weights(self.folder.last, self.average.network, facts=self._facts(step, {}))
        self.folder.prune(keep=self.config.keep_states)

    def restore(self, state: TrainState) -> int:
        """Take over a state.

        Args:
            state: of a run with the same settings.

        Returns:
            The step to go on with.

        Raises:
            InputError: when its weights do not fit the network, or the processes have different states.
        """
        devices, settings = self.devices, state.settings
        steps = devices.gather(torch.tensor([float(state.step)]))
        if not bool((steps == state.step).all()):
            raise InputError(f"{self.folder.path} is not the same folder for all processes: share it")
        try:
            self.network.load_state_dict(without_prefix(state.tensors, "model"))
            self.average.network.load_state_dict(without_prefix(state.tensors, "ema"))
        except RuntimeError as error:
            raise InputError(
                f"{self.folder.path}: the saved weights belong to another network: {error}"
            ) from None
        tensors = without_prefix(state.tensors, "optimizer")
        load_optimizer(self.optimizer, tensors, cast("list[dict[str, object]]", settings["groups"]))
        self.ranking.restore(settings["best"])
        devices.restore_scaler(cast("dict[str, float]", settings.get("scaler", {})))
        self._skipped = int(cast("int", settings.get("skipped", 0)))
        self._skipped_in_row = int(cast("int", settings.get("skipped_in_row", 0)))
        self._replaced = int(cast("float", settings.get("replaced", 0))) if devices.is_first else 0
        self._loss_sum = float(cast("float", settings.get("loss_sum", 0.0)))
        self._losses = int(cast("int", settings.get("losses", 0)))
        if isinstance(self.task, Keeps):
            values = cast("dict[str, object]", settings.get("task", {}))
            self.task.take_back(without_prefix(state.tensors, "task"), values)
        self._restore_random(without_prefix(state.tensors, "random"), step=state.step)
        return state.step

    def _restore_random(self, randoms: Mapping[str, Tensor], *, step: int) -> None:
        devices, saved_by = self.devices, len(randoms["torch"])
        if saved_by == devices.world:
            restore_random({n: values[devices.rank] for n, values in randoms.items()}, devices.device)
        else:
            _log.warning("saved by %d processes, going on with %d", saved_by, devices.world)
            seed_all(self.config.seed + step + devices.rank)


class _InPrecision(nn.Module):
    """A network that computes in the run's precision; what is around it, such as rendering, does not."""

    def __init__(self, network: nn.Module, devices: Devices) -> None:
        super().__init__()
        self.network, self._devices = network, devices

    def forward(self, *inputs: Tensor, **settings: object) -> object:  # whatever the network takes
        with self._devices.autocast():
            return self.network(*inputs, **settings)
