"""``kinema evaluate``: a model on labelled data, or anyone's flow files, scored by a named protocol."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

import numpy as np

from kinema._version import __version__
from kinema.apps.evaluate_config import EvaluateConfig
from kinema.apps.progress import Progress, Silent
from kinema.data import FlowDataset, open_dataset, parse_spec
from kinema.data.sample import load_truth
from kinema.errors import InputError, UsageError
from kinema.evaluation.flow_files import FlowFileMatch, match_flow_files, read_prediction
from kinema.evaluation.protocols import DEFAULT_PROTOCOLS, Protocol, get_protocol
from kinema.evaluation.scoring import EvaluationResult, FlowScorer
from kinema.io.files import check_output, write_json

ZERO = "zero"
"""Name of the flow that is zero everywhere, for use in place of a model's."""

FlowFunction: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two (H, W, 3) uint8 frames to (H, W, 2) float32 pixels."""


@dataclass(frozen=True)
class _Model:
    name: str
    flow: FlowFunction
    settings: dict[str, object] = field(default_factory=dict)


def run(config: EvaluateConfig, *, progress: Progress | None = None) -> list[EvaluationResult]:
    """Evaluate what the config says, and write the JSON file if one is asked for.

    Args:
        config: the command's arguments.
        progress: told about every pair.

    Returns:
        One result per data spec, in the order given; one for files.

    Raises:
        UsageError: when a name is unknown or options contradict each other.
        InputError: when data cannot be used, sizes differ, or a prediction is not a number.
        OutputError: when the JSON file cannot be written; most reasons are noticed before the work.
    """
    if config.json_file is not None:  # a place that cannot be written to must not cost an hour of computing
        check_output(config.json_file, overwrite=config.overwrite)
    results = _evaluate(config, progress or Silent())
    if config.json_file is not None:
        records = [result.to_json() for result in results]
        content = records[0] if len(records) == 1 else {"results": records}
        write_json(config.json_file, content, overwrite=config.overwrite)
    return results


def _evaluate(config: EvaluateConfig, progress: Progress) -> list[EvaluationResult]:
    if config.predictions is not None:
        return [_evaluate_files(config, progress)]
    return _evaluate_model(config, progress)


def _evaluate_model(config: EvaluateConfig, progress: Progress) -> list[EvaluationResult]:
    # Everything that can be refused is looked at before the first flow is computed.
    tasks = _open_all(config)
    model = _load_model(config)
    return [_evaluate_dataset(model, dataset, protocol, progress) for dataset, protocol in tasks]


def _open_all(config: EvaluateConfig) -> list[tuple[FlowDataset, Protocol]]:
    if config.data is None:
        raise UsageError("--data SPEC is missing")
    tasks = []
    for spec in parse_spec(config.data):
        if spec.weight != 1.0:
            raise UsageError(
                f"--data {spec}: weights are for training mixes; an evaluation counts every pair once"
            )
        dataset = open_dataset(spec)
        tasks.append((dataset, get_protocol(config.protocol or DEFAULT_PROTOCOLS[spec.name])))
    return tasks


def _load_model(config: EvaluateConfig) -> _Model:
    if config.model is None:
        raise UsageError("MODEL is missing")
    if config.model == ZERO:
        if config.model_options() or config.preset or config.weights:
            raise UsageError(
                "zero has no settings: leave out --preset, --weights, --scales, --warps, --iterations"
            )
        return _Model(ZERO, lambda image1, _: np.zeros((*image1.shape[:2], 2), np.float32))
    from kinema.inference.loading import load  # here: scoring files needs no torch

    options = config.model_options()
    predictor = load(
        config.model,
        weights=config.weights,
        device=config.device,
        precision=config.precision,
        preset=config.preset,
        options=options,
    )
    settings = {
        "preset": config.preset or predictor.card.default_preset,
        "weights": config.weights,
        "device": str(predictor.device),
        "precision": config.precision,
        **options,
    }
    return _Model(config.model, predictor.flow, settings)


def _evaluate_dataset(
    model: _Model, dataset: FlowDataset, protocol: Protocol, progress: Progress
) -> EvaluationResult:
    scorer = FlowScorer(protocol)
    seconds: list[float] = []
    progress.begin(f"{model.name} on {dataset.spec.label}", len(dataset))
    for sample in dataset:
        start = time.perf_counter()
        flow = model.flow(sample.image1, sample.image2)
        seconds.append(time.perf_counter() - start)
        scorer.add(flow, sample)
        progress.advance()
    progress.end()
    scorer.check(source=f"{model.name} on {dataset.spec.label}")
    timed = seconds[1:] or seconds  # the first pair also pays for compiling and warming up
    return EvaluationResult(
        protocol=protocol,
        model=model.name,
        data=str(dataset.spec),
        metrics=scorer.metrics(),
        zero_flow=scorer.zero_flow(),
        counts={**scorer.counts(), "official_pairs": dataset.official_count},
        seconds_per_pair=sum(timed) / len(timed),
        settings=model.settings,
        versions=_versions(),
        notes=(*_coverage_notes(dataset, protocol), *dataset.notes),
        pairs=scorer.pairs(seconds=seconds),
    )


def _evaluate_files(config: EvaluateConfig, progress: Progress) -> EvaluationResult:
    if config.predictions is None or config.truth is None or config.protocol is None:
        raise UsageError("--predictions, --truth and --protocol go together")
    protocol = get_protocol(config.protocol)
    match = match_flow_files(config.predictions, config.truth)
    scorer = FlowScorer(protocol)
    progress.begin(str(config.predictions), len(match.pairs))
    for pair in match.pairs:
        try:
            scorer.add(read_prediction(pair.predicted), load_truth(pair.truth))
        except InputError as error:
            # A size mismatch names the pair; with two folders at hand both files are wanted.
            raise InputError(f"{error} [{pair.predicted} against {pair.truth.flow}]") from None
        progress.advance()
    progress.end()
    scorer.check(source=str(config.predictions))
    return EvaluationResult(
        protocol=protocol,
        model=str(config.predictions),
        data=str(config.truth),
        metrics=scorer.metrics(),
        zero_flow=scorer.zero_flow(),
        counts={
            **scorer.counts(),
            "without_prediction": len(match.without_prediction),
            "without_truth": len(match.without_truth),
        },
        versions=_versions(),
        notes=_leftover_notes(match),
        pairs=scorer.pairs(),
    )


def _coverage_notes(dataset: FlowDataset, protocol: Protocol) -> list[str]:
    notes = []
    family, _, split = protocol.data.partition("@")
    if family != dataset.spec.name or (split and split != dataset.spec.split):
        notes.append(
            f"the protocol {protocol.name} is defined on {protocol.data}; these are {dataset.spec.label}"
        )
    if len(dataset) < dataset.official_count:
        notes.append(f"{len(dataset)} of {dataset.official_count} official pairs are present")
    return notes


def _leftover_notes(match: FlowFileMatch) -> tuple[str, ...]:
    notes = []
    for names, one, many in (
        (
            match.without_prediction,
            "true flow has no prediction and is not scored",
            "true flows have no prediction and are not scored",
        ),
        (
            match.without_truth,
            "prediction has no truth and is left out",
            "predictions have no truth and are left out",
        ),
    ):
        if len(names) == 1:
            notes.append(f"1 {one} ({names[0]})")
        elif names:
            notes.append(f"{len(names)} {many} (first: {names[0]})")
    return tuple(notes)


def _versions() -> dict[str, str]:
    versions = {"kinema": __version__, "python": platform.python_version()}
    for package in ("numpy", "torch"):
        try:
            versions[package] = version(package)  # read from the installation: no import of torch
        except PackageNotFoundError:
            continue
    return versions
