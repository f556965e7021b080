"""The training loop: linear, counted in steps, and small enough to hold in mind."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from kinema.engine.config import LoopConfig
from kinema.engine.contracts import Task
from kinema.engine.loading import batches
from kinema.engine.meter import StepMeter
from kinema.engine.session import DivergedError, Session
from kinema.engine.state import RunFolder, TrainState
from kinema.engine.stopping import stop_wish
from kinema.engine.tracking import Tracker, closing, open_trackers
from kinema.errors import KinemaError, OutputError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        step: how many steps are done.
        metrics: of the last validation.
        best: the step and the metric of the best validation; empty before the first one.
    """

    step: int
    metrics: Mapping[str, float]
    best: Mapping[str, float] = field(default_factory=dict)


def train(
    config: LoopConfig,
    task: Task,
    folder: RunFolder,
    *,
    recipe: str,
    state: TrainState | None = None,
    facts: Mapping[str, object] | None = None,
    trackers: Sequence[Tracker] = (),
    on_step: Callable[[int], None] = lambda _steps: None,
) -> Outcome:
    """Train until the last step, or until Ctrl-C or SIGTERM, after which the step is finished and saved.

    Args:
        config: the run's resolved settings.
        task: what is trained, on what.
        folder: where states, weights and the log go.
        recipe: the recipe's name, kept in the states.
        state: where to go on from; None to begin.
        facts: kept in the files of weights, so that they say what they are.
        trackers: told beside the console, the JSON lines and those of the settings.
        on_step: told how many steps have been done since it was told last; first those of the state.

    Returns:
        How it ended.

    Raises:
        UsageError: when a setting does not fit the machine, the network or the task.
        DivergedError: when the loss or the gradient is not finite; the state before that step is saved, as
            it is when the data cannot be had.
        OutputError: when a state cannot be saved; those before it are kept.
        KeyboardInterrupt: when it was stopped; its note says how to go on.
    """
    run = Session(config, task, folder, recipe=recipe, facts=facts or {})
    step = run.restore(state) if state else 0
    told: list[Tracker] = []
    if run.devices.is_first:
        _log.info("training on %s, from step %d to %d", run.devices.describe(), step, config.steps)
        told = open_trackers(config, folder, recipe=recipe, after=step, more=trackers)
    saved, metrics = step if state else -1, dict[str, float]()
    data = batches(
        task.source,
        slots=run.devices.slots(config.batch_size),
        start=step,
        stop=config.steps,
        workers=config.workers,
        pinned=run.devices.device.type == "cuda",
        spare=config.batch_size if config.unreadable == "skip" else 0,
        on_replaced=run.replaced,
    )
    meter = StepMeter(batch_size=config.batch_size, device=run.devices.device)
    on_step(step)
    with closing(told), stop_wish() as wish:
        finished = False
        while step < config.steps and not finished:
            try:
                batch = run.fetch(data)
                meter.data_arrived()
                values = run.step(batch, step=step)
            except KinemaError as error:  # of the data, or of the numbers: nothing of this step has been done
                if saved != step:
                    run.save(step)
                error.args = (f"{error}; {_how_on(folder, step, error)}",)
                raise
            meter.step_done(values)
            step += 1
            on_step(1)
            stopping = run.devices.any(bool(wish))
            early = run.ending(step, metrics)
            if early:
                _log.info("step %d: %s", step, early)
            finished = step == config.steps or bool(early)
            if step % config.log_every == 0 or finished:
                numbers = {**meter.numbers(learning_rate=run.rate), **run.counters(), **run.epoch(step)}
                for tracker in told:
                    tracker.log("train", step, numbers)
            if (step % config.validate_every == 0 and not stopping) or finished:
                metrics = run.validate(step)
                for tracker in told:
                    tracker.log("validation", step, metrics)
            if config.picture_every and (step % config.picture_every == 0 or finished) and not stopping:
                for name, image in run.pictures().items():
                    for tracker in told:
                        tracker.picture(name, step, image)
            if step % config.checkpoint_every == 0 or finished or stopping:
                try:
                    run.save(step)
                except OutputError as error:
                    error.args = (f"{error}; {_how_on(folder, saved, error)}",)
                    raise
                saved = step
            meter.pause()
            if stopping and not finished:
                wish.leave(f"saved step {step}; go on with: kinema train --resume {folder.path}")
    run.devices.close()
    return Outcome(step, metrics, run.ranking.best)


def _how_on(folder: RunFolder, step: int, error: KinemaError) -> str:
    if step < 0:
        return "no state has been saved yet"
    again = f"step {step} is saved: once the cause is gone, kinema train --resume {folder.path}"
    if not isinstance(error, DivergedError):
        return again
    other = f"another run from its weights, such as with a lower --learning-rate: --init {folder.last}"
    return f"{again}, or {other}"
