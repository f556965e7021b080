"""``kinema train --then-evaluate``: score a run's weights once its last step is done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kinema.apps.progress import Progress
from kinema.data import open_flow, parse_spec
from kinema.errors import KinemaError, UsageError
from kinema.evaluation.results import EvaluationResult
from kinema.models import MODELS
from kinema.recipes.base import RecipeConfig


def check_evaluation(specs: Sequence[str], config: RecipeConfig) -> None:
    """Refuse what could not be evaluated before the first step is done, and not after the last.

    Args:
        specs: data sets.
        config: of the run.

    Raises:
        UsageError: when a spec is wrong, or the recipe trains none of kinema's models.
        InputError: when nothing usable lies at a path.
    """
    if not specs:
        return
    model = config.facts().get("model")
    if model not in MODELS:
        raise UsageError(f"--then-evaluate: this recipe trains {model}, which kinema evaluate does not know")
    try:
        for spec in parse_spec(",".join(specs)):
            if spec.weight != 1.0:
                raise UsageError(
                    f"--data {spec}: weights are for training mixes; here every pair counts once"
                )
            open_flow(spec)
    except KinemaError as error:  # the same words for all commands: here the option has another name
        error.args = (str(error).replace("--data ", "--then-evaluate ", 1),)
        raise


def evaluate_run(
    specs: Sequence[str], config: RecipeConfig, weights: Path, *, progress: Progress
) -> tuple[EvaluationResult, ...]:
    """Score the averaged weights.

    Args:
        specs: data sets; each is scored by its family's own protocol.
        config: of the run.
        weights: the file.
        progress: told about every pair.

    Returns:
        One result per data set, in their order; none without specs.

    Raises:
        KinemaError: see `kinema.apps.evaluate.run`.
    """
    if not specs:
        return ()
    from kinema.apps import evaluate  # here: a run that is not evaluated needs none of it

    found = evaluate.evaluate_weights(
        str(config.facts()["model"]), weights, ",".join(specs), device=config.device, progress=progress
    )
    return tuple(found)
