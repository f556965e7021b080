"""``kinema train``: begin a run, go on with one, or make a release of one."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kinema._version import __version__
from kinema.apps.progress import Progress, Silent
from kinema.apps.train_config import TrainOptions
from kinema.apps.train_evaluation import check_evaluation, evaluate_run
from kinema.apps.train_plan import check_same_run, check_schedule
from kinema.apps.versions import versions
from kinema.engine.randomness import seed_all
from kinema.engine.state import RunFolder, TrainState, load_weights, save_state
from kinema.engine.trainer import Outcome, train
from kinema.errors import OutputError, UsageError
from kinema.evaluation.results import EvaluationResult
from kinema.io.files import replacing, write_json
from kinema.recipes.base import RecipeConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        recipe: its name.
        folder: where it lies.
        step: how many steps are done.
        metrics: of the last validation.
        best: step and metric of the best validation; empty when there was none.
        weights: the averaged weights of the last step.
        settings: all of them.
        protocol: how the validations were scored.
        evaluations: of the averaged weights after the last step, where they were asked for.
    """

    recipe: str
    folder: Path
    step: int
    metrics: Mapping[str, float]
    best: Mapping[str, float]
    weights: Path
    settings: Mapping[str, object]
    protocol: str = ""
    evaluations: tuple[EvaluationResult, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The result for a file.

        Returns:
            What JSON can hold, with the versions of the software.
        """
        evaluations = [evaluation.to_json() for evaluation in self.evaluations]
        return {**vars(self), "evaluations": evaluations, "versions": versions()}


def run(
    options: TrainOptions, config: RecipeConfig, *, recipe: str, progress: Progress | None = None
) -> TrainResult:
    """Train as told.

    Args:
        options: what to do with the run.
        config: its settings; with ``resume``, the saved ones with those changes that were asked for.
        recipe: the recipe's name.
        progress: told about every step, in the first process.

    Returns:
        How it ended.

    Raises:
        UsageError: when options contradict each other or the run.
        InputError: when a saved state or weights cannot be used.
        OutputError: when the run's folder is taken or cannot be written.
        DivergedError: when the loss or its gradient is not finite.
        KeyboardInterrupt: when stopped; the state is saved, the note says how to go on.
    """
    if not is_first():
        logging.getLogger("kinema").setLevel(logging.WARNING)
    progress = progress if progress is not None and is_first() else Silent()
    if options.json_file is None or not is_first():
        return _run(options, config, recipe=recipe, progress=progress)
    with replacing(options.json_file, overwrite=options.overwrite) as unfinished:
        result = _run(options, config, recipe=recipe, progress=progress)
        write_json(unfinished, result.to_json())
    return result


def _run(options: TrainOptions, config: RecipeConfig, *, recipe: str, progress: Progress) -> TrainResult:
    if options.release and options.resume is None:
        raise UsageError("--release needs --resume DIR: it is made of a run")
    check_evaluation(options.then_evaluate, config)
    place = options.resume or _restarted(config.out or Path("runs") / recipe)
    if place is None:
        folder, state, config = _begin(options, config, recipe=recipe)
    else:
        folder, state, config = _go_on(options, place, config, recipe=recipe)
    seed_all(config.seed)  # the task draws the network's first weights
    task = config.build()
    if config.init is not None and state is None:
        load_weights(config.init, task.network)
    if is_first():
        if place is None and folder.config.exists():  # only now: nothing can be refused any more
            folder.clear()
        record = {"recipe": recipe, "version": __version__, "config": config.model_dump(mode="json")}
        write_json(folder.config, record)
    if state is not None and state.step >= config.steps:
        _log.info("%s has done all its %d steps; --steps for more, or --release", folder.path, config.steps)
        outcome = Outcome(state.step, {})
    else:
        progress.begin("training", config.steps)
        outcome = train(
            config,
            task,
            folder,
            recipe=recipe,
            state=state,
            facts=config.facts(),
            on_step=progress.advance,
        )
        progress.end()
    evaluations = evaluate_run(options.then_evaluate, config, folder.last, progress=progress)
    return TrainResult(
        recipe=recipe,
        folder=folder.path,
        step=outcome.step,
        metrics=outcome.metrics,
        best=outcome.best,
        weights=folder.last,
        settings=config.model_dump(mode="json"),
        protocol=config.validated_by(),
        evaluations=evaluations,
    )


def _restarted(folder: Path) -> Path | None:
    """The run to go on with, when torchrun --max-restarts has started the same command again."""
    count = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return folder if count not in ("", "0") and RunFolder(folder).config.exists() else None


def _begin(
    options: TrainOptions, config: RecipeConfig, *, recipe: str
) -> tuple[RunFolder, TrainState | None, RecipeConfig]:
    folder = RunFolder(config.out or Path("runs") / recipe)
    if folder.config.exists() and is_first() and not options.overwrite:
        raise OutputError(
            f"{folder.path} holds a run already: go on with it by --resume {folder.path}, begin anew "
            "with --overwrite, or choose another --out"
        )
    return folder, None, config.resolved().model_copy(update={"out": folder.path})


def _go_on(
    options: TrainOptions, path: Path, config: RecipeConfig, *, recipe: str
) -> tuple[RunFolder, TrainState | None, RecipeConfig]:
    folder = RunFolder(path)
    if not folder.states():  # stopped before the first state: its beginning is the place to go on from
        if options.release:
            raise UsageError(f"--release: {path} has saved no state yet")
        return folder, None, config.model_copy(update={"out": path})
    state = folder.newest()
    # Settings that did not exist when the state was saved were as their defaults are.
    saved = {**type(config)().model_dump(mode="json"), **state.config}
    if state.recipe != recipe:
        raise UsageError(f"--resume {path}: that run follows {state.recipe}, not {recipe}")
    check_same_run(saved, config.model_dump(mode="json"), folder=path)
    if options.release:
        return _release(path, state, config)
    if config.out not in (None, path):
        raise UsageError("--out cannot be used with --resume: a run stays where it is")
    config = config.model_copy(update={"out": path})
    check_schedule(state.config, config, step=state.step, folder=path)
    return folder, state, config


def _release(
    path: Path, state: TrainState, config: RecipeConfig
) -> tuple[RunFolder, TrainState, RecipeConfig]:
    """A run of its own that begins in this state, so that the constant part can go on later."""
    if config.schedule != "wsd":
        raise UsageError(
            f"--release: the rate of {path} has an end of its own (--schedule {config.schedule})"
        )
    given = config.decay_steps != state.config["decay_steps"]
    decay = config.decay_steps if given and config.decay_steps else max(1, state.step // 10)
    out = path / f"release-{state.step:09d}" if config.out in (None, path) else config.out
    folder = RunFolder(Path(str(out)))
    if folder.config.exists():
        raise OutputError(f"{folder.path} holds a run already: --resume {folder.path}, or another --out")
    config = config.model_copy(update={"out": folder.path, "steps": state.step + decay, "decay_steps": decay})
    check_schedule(state.config, config, step=state.step, folder=path)
    branch = replace(state, config=config.model_dump(mode="json"), settings={**state.settings, "best": {}})
    if is_first():
        save_state(folder.state(state.step), branch)
    return folder, branch, config


def is_first() -> bool:
    """Ask whether this process writes and speaks; also before the devices are set up.

    Returns:
        True in one process of a run.
    """
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank() == 0
    return os.environ.get("RANK", "0") == "0"  # the launcher sets it
