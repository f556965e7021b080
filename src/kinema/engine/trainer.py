"""The training loop: linear, counted in steps, and small enough to hold in mind."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kinema.engine.config import LoopConfig
from kinema.engine.contracts import Task
from kinema.engine.loading import batches
from kinema.engine.session import Session
from kinema.engine.state import RunFolder, TrainState
from kinema.engine.stopping import stop_wish
from kinema.engine.tracking import Console, JsonLines, StepMeter, Tracker
from kinema.errors import KinemaError

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
) -> Outcome:
    """Train until the last step, or until Ctrl-C or SIGTERM, after which the step is finished and saved.

    Args:
        config: the run's resolved settings.
        task: what is trained, on what.
        folder: where states, weights and the log go.
        recipe: the recipe's name, kept in the states.
        state: where to go on from; None to begin.
        facts: kept in the files of weights, so that they say what they are.
        trackers: told beside the console and the JSON lines.

    Returns:
        How it ended.

    Raises:
        DivergedError: when the loss or the gradient is not finite; the state before that step is saved, as
            it is when the data cannot be had.
        OutputError: when a state cannot be saved.
        KeyboardInterrupt: when it was stopped; its note says how to go on.
    """
    run = Session(config, task, folder, recipe=recipe, facts=facts or {})
    step = run.restore(state) if state else 0
    if run.devices.is_first:
        trackers = (Console(total=config.steps), JsonLines(folder.log, after=step), *trackers)
        _log.info("training on %s, from step %d to %d", run.devices.describe(), step, config.steps)
    saved, metrics = step if state else -1, dict[str, float]()
    data = batches(
        task.source,
        slots=run.devices.slots(config.batch_size),
        start=step,
        stop=config.steps,
        workers=config.workers,
        pinned=run.devices.device.type == "cuda",
    )
    meter = StepMeter(batch_size=config.batch_size, device=run.devices.device)
    with stop_wish() as wish:
        while step < config.steps:
            try:
                batch = run.devices.to_device(next(data), channels_last=config.channels_last)
                meter.data_arrived()
                values = run.step(batch, step=step)
            except KinemaError as error:  # of the data, or of the numbers: nothing of this step has been done
                if saved != step:
                    run.save(step)
                raise type(error)(f"{error}; {_how_on(folder, step)}") from None
            meter.step_done(values)
            step += 1
            stopping = run.devices.any(bool(wish))
            finished = step == config.steps
            if step % config.log_every == 0 or finished:
                numbers = meter.numbers(learning_rate=run.rate)
                for tracker in trackers:
                    tracker.log("train", step, numbers)
            if (step % config.validate_every == 0 and not stopping) or finished:
                metrics = run.validate(step)
                for tracker in trackers:
                    tracker.log("validation", step, metrics)
            if step % config.checkpoint_every == 0 or finished or stopping:
                run.save(step)
                saved = step
            meter.pause()
            if stopping and not finished:
                wish.leave(f"saved step {step}; go on with: kinema train --resume {folder.path}")
    return Outcome(step, metrics, run.best)


def _how_on(folder: RunFolder, step: int) -> str:
    return (
        f"step {step} is saved: once the cause is gone, kinema train --resume {folder.path}, or another run "
        f"from its weights, such as with a lower --learning-rate: --init {folder.last}"
    )
