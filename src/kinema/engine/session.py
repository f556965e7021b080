"""The parts of a run that change with every step: how they take one, are measured, saved and restored."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from kinema._version import __version__
from kinema.engine.config import LoopConfig
from kinema.engine.contracts import Batch, Task, Term
from kinema.engine.distributed import Devices
from kinema.engine.ema import MovingAverage
from kinema.engine.optimizers import build_optimizer
from kinema.engine.randomness import capture_random, restore_random, seed_all
from kinema.engine.schedule import warmup_stable_decay
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
from kinema.errors import InputError, KinemaError

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
    """

    def __init__(
        self, config: LoopConfig, task: Task, folder: RunFolder, *, recipe: str, facts: Mapping[str, object]
    ) -> None:
        self.config, self.task, self.folder, self.recipe, self.facts = config, task, folder, recipe, facts
        self.devices = Devices(device=config.device, precision=config.precision)
        seed_all(config.seed + self.devices.rank)
        self.network = task.network.to(self.devices.device).train()
        if config.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MovingAverage(self.network, decay=config.ema_decay)
        optimizer = build_optimizer(config, self.network)
        self.model, self.optimizer = self.devices.prepare(self.network, optimizer)
        self.best: dict[str, float] = {}
        self.rate = 0.0

    def step(self, batch: Batch, *, step: int) -> dict[str, Tensor]:
        """Do one optimiser step.

        Args:
            batch: on the device.
            step: its number, from 0.

        Returns:
            ``loss``, its terms and ``grad_norm`` before clipping, scalars on the device.

        Raises:
            DivergedError: when the loss or the gradient is not finite on any process; no weight has changed.
        """
        config, devices = self.config, self.devices
        self.rate = warmup_stable_decay(
            step,
            peak=config.learning_rate,
            warmup_steps=config.warmup_steps,
            total_steps=config.steps,
            decay_steps=config.decay_steps,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        buffers = [buffer.clone() for buffer in self.network.buffers()]
        randoms = capture_random(devices.device)
        with devices.autocast():
            terms = self.task.losses(self.model, batch, step=step)
        shares = self._shares(terms)
        loss = torch.stack(list(shares.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        devices.backward(loss)
        norm = devices.clip(self.model, norm=config.clip_norm)
        if devices.any(not bool(torch.isfinite(loss) & torch.isfinite(norm))):
            # Running statistics and random numbers have moved on already: back to the state before the step.
            for buffer, before in zip(self.network.buffers(), buffers, strict=True):
                buffer.copy_(before)
            restore_random(randoms, devices.device)
            named = ", ".join(f"{name} {share.item():.4g}" for name, share in shares.items())
            raise DivergedError(
                f"step {step}: loss {loss.item():.4g} ({named}), gradient {norm.item():.4g}: not finite"
            )
        self.optimizer.step()
        self.average.update(self.network, step=step)
        return {"loss": loss.detach(), **{k: v.detach() for k, v in shares.items()}, "grad_norm": norm}

    def _shares(self, terms: Mapping[str, Term]) -> dict[str, Tensor]:
        """Each term over the count of all processes; times their number, since gradients are averaged."""
        counts = self.devices.sum(torch.stack([term.count.detach().float() for term in terms.values()]))
        scale = self.devices.world / counts.where(counts > 0, 1)
        return {
            name: term.total * one for (name, term), one in zip(terms.items(), scale.unbind(), strict=True)
        }

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, float]:
        """Measure the averaged weights; keep them if they are the best so far.

        Args:
            step: how many steps are done.

        Returns:
            The metrics over all processes. Global random numbers are as before.
        """
        devices, device = self.devices, self.devices.device
        before = capture_random(device)
        network = _InPrecision(self.average.network, devices).eval()
        terms = self.task.validate(network, rank=devices.rank, world=devices.world)
        restore_random(before, device)
        sums = {name: Term(devices.sum(term.total), devices.sum(term.count)) for name, term in terms.items()}
        metrics = term_means(sums)
        metric = metrics.get(self.task.metric)
        if metric is not None and metric < self.best.get("value", float("inf")):
            self.best = {"step": step, "value": metric}
            if devices.is_first:
                save_weights(self.folder.best, self.average.network, facts=self._facts(step, metrics))
        return metrics

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
            OutputError: when it cannot be written or reads back differently.
        """
        own = capture_random(self.devices.device)
        randoms = {name: self.devices.gather(values) for name, values in own.items()}
        if not self.devices.is_first:
            return
        tensors, groups = optimizer_tensors(self.optimizer)
        state = TrainState(
            step=step,
            tensors={
                **prefixed(self.network.state_dict(), "model"),
                **prefixed(self.average.network.state_dict(), "ema"),
                **prefixed(tensors, "optimizer"),
                **prefixed(randoms, "random"),
            },
            settings={"groups": groups, "best": self.best},
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
            InputError: when its weights do not fit the network.
        """
        try:
            self.network.load_state_dict(without_prefix(state.tensors, "model"))
            self.average.network.load_state_dict(without_prefix(state.tensors, "ema"))
        except RuntimeError as error:
            raise InputError(
                f"{self.folder.path}: the saved weights belong to another network: {error}"
            ) from None
        tensors = without_prefix(state.tensors, "optimizer")
        load_optimizer(self.optimizer, tensors, cast("list[dict[str, object]]", state.settings["groups"]))
        self.best = dict(cast("Mapping[str, float]", state.settings["best"]))
        randoms = without_prefix(state.tensors, "random")
        if len(randoms["torch"]) == self.devices.world:
            mine = {name: values[self.devices.rank] for name, values in randoms.items()}
            restore_random(mine, self.devices.device)
        else:
            _log.warning("saved by %d processes, going on with %d", len(randoms["torch"]), self.devices.world)
            seed_all(self.config.seed + state.step + self.devices.rank)
        return state.step


class _InPrecision(nn.Module):
    """A network that computes in the run's precision; what is around it, such as rendering, does not."""

    def __init__(self, network: nn.Module, devices: Devices) -> None:
        super().__init__()
        self.network, self._devices = network, devices

    def forward(self, *inputs: Tensor) -> object:
        with self._devices.autocast():
            return self.network(*inputs)
