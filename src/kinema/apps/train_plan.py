"""Which run a command means, and whether it may go on with other settings. No torch is imported here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from kinema.engine.config import CONFIG_FILE, CONTINUABLE
from kinema.engine.schedule import rate_at
from kinema.errors import InputError, UsageError
from kinema.io.files import read_bytes
from kinema.recipes import find_recipe
from kinema.recipes.base import RecipeConfig


def read_run(folder: Path) -> tuple[str, RecipeConfig]:
    """Read what a run is.

    Args:
        folder: of the run.

    Returns:
        The recipe's name, and the run's resolved settings.

    Raises:
        InputError: when the folder holds no run, or one that this version cannot read.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no run: {path.name} is missing; name the folder given by --out")
    try:
        record = json.loads(read_bytes(path))
        name, values = record["recipe"], record["config"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged: it must be JSON with recipe and config") from None
    try:
        return name, type(find_recipe(name)).model_validate({**values, "out": folder})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{path}: {where}: {first['msg']}; was it written by another version?") from None


def check_same_run(saved: Mapping[str, object], given: Mapping[str, object], *, folder: Path) -> None:
    """Refuse to go on with settings under which the steps done so far would have been others.

    Args:
        saved: the run's settings, as JSON has them.
        given: those asked for, as JSON has them.
        folder: of the run, for the message.

    Raises:
        UsageError: when they differ in more than `CONTINUABLE`; it shows every difference.
    """
    differing = [
        f"{name} is {_shown(saved.get(name))} there, not {_shown(given.get(name))}"
        for name in sorted({*saved, *given} - CONTINUABLE)
        if saved.get(name) != given.get(name)
    ]
    if differing:
        raise UsageError(
            f"--resume {folder}: that run has other settings: {'; '.join(differing)}; leave them out to go "
            "on with it, or begin another run from its weights: --init"
        )


def check_schedule(saved: Mapping[str, object], given: RecipeConfig, *, step: int, folder: Path) -> None:
    """Refuse a schedule by which the steps done so far would have had other rates.

    Args:
        saved: the settings under which the state was made, as JSON has them.
        given: those asked for.
        step: how many steps are done.
        folder: of the run, for the message.

    Raises:
        UsageError: when a step that is done would have had another rate, such as when the fall of the rate
            had begun and is moved, or would have to begin in the past.
    """
    steps, decay = int(str(saved["steps"])), int(str(saved["decay_steps"]))
    if (steps, decay) == (given.steps, given.decay_steps):
        return
    if given.steps < step:
        raise UsageError(f"--steps {given.steps}: {folder} has done {step} steps already")
    if given.schedule != "wsd":
        before = given.model_copy(update={"steps": steps, "decay_steps": decay})
        first = next((n for n in range(step) if rate_at(before, n) != rate_at(given, n)), None)
        if first is not None:
            raise UsageError(
                f"--steps {given.steps}: step {first} would have had another rate than it had "
                f"(--schedule {given.schedule} depends on the number of steps); begin another run: --init"
            )
        return
    if decay and step > steps - decay:
        raise UsageError(
            f"--resume {folder}: its rate has been falling since step {steps - decay}, so --steps and "
            "--decay-steps cannot change any more; begin another run from its weights: --init"
        )
    if given.decay_steps and given.steps - given.decay_steps < step:
        raise UsageError(
            f"--decay-steps {given.decay_steps}: the fall would have begun at step "
            f"{given.steps - given.decay_steps}, and {step} are done; give more --steps, or --release"
        )


def _shown(value: object) -> str:
    return json.dumps(value, default=str)
