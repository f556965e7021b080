"""``kinema evaluate``: a model on labelled data, or anyone's files, scored by a named protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from kinema.apps.evaluate_config import EvaluateConfig
from kinema.apps.evaluate_model import FlowModel, checkpoints_in, load_model, score_pair
from kinema.apps.evaluate_submit import SubmissionResult, check_submission, submit
from kinema.apps.progress import Progress, Silent
from kinema.apps.versions import versions
from kinema.data import FlowDataset, family_of, open_flow, parse_spec
from kinema.data.spec import DataSpec
from kinema.errors import UsageError
from kinema.evaluation.file_match import Matched
from kinema.evaluation.file_tasks import FileTask, open_files
from kinema.evaluation.processes import Processes, open_processes, score_together
from kinema.evaluation.protocols import DEFAULT_PROTOCOLS, get_flow_protocol, get_protocol
from kinema.evaluation.records import FlowProtocol, Protocol
from kinema.evaluation.results import EvaluationResult
from kinema.evaluation.scoring import Scorer
from kinema.evaluation.submission import PARTS, SubmissionPart, is_test_part, plan_submission
from kinema.io.files import check_output, user_path, write_json

__all__ = ["Result", "evaluate_weights", "run"]

Result: TypeAlias = EvaluationResult | SubmissionResult
_FlowTask: TypeAlias = tuple[FlowDataset, FlowProtocol]


def run(config: EvaluateConfig, *, progress: Progress | None = None) -> list[Result]:
    """Evaluate what the config says, and write the files that are asked for.

    Started several times by torchrun, each process does a part of the pairs; all return the whole result, and
    the first writes the JSON file.

    Args:
        config: the command's arguments.
        progress: told about every pair of this process.

    Returns:
        One result per data spec, in the order given, for each checkpoint; one for files.

    Raises:
        UsageError: when a name is unknown or options contradict each other.
        InputError: when data cannot be used, sizes differ, or a prediction is not a number.
        OutputError: when a file cannot be written; most reasons are noticed before the work.
    """
    if config.json_file is not None:  # a place that cannot be written to must not cost an hour of computing
        check_output(config.json_file, overwrite=config.overwrite)
    with open_processes() as processes:
        results = _evaluate(config, processes, progress or Silent())
    if config.json_file is not None and processes.is_first:
        records = [result.to_json() for result in results]
        content = records[0] if len(records) == 1 and not of_folder(config) else {"results": records}
        write_json(config.json_file, content, overwrite=config.overwrite)
    return results


def evaluate_weights(
    model: str,
    weights: Path | str | None,
    data: str,
    *,
    protocol: str | None = None,
    preset: str | None = None,
    device: str = "auto",
    precision: str = "fp32",
    json_file: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[EvaluationResult]:
    """Evaluate a file of weights, as ``kinema evaluate MODEL --data SPEC --weights FILE`` does.

    For use after training, also inside a run of several processes: every one calls it, each does a part.

    Args:
        model: its name.
        weights: a file, a folder of checkpoints, a hosted file, or None for those that come with kinema.
        data: one spec, or several joined by commas.
        protocol: how to score; None for each data set's own.
        preset: of the model; None for what the weights say.
        device: where to compute.
        precision: the number format to compute in.
        json_file: where to write the results; None for nowhere.
        overwrite: whether that file may be replaced.
        progress: told about every pair.

    Returns:
        One result per spec, for each checkpoint.

    Raises:
        UsageError: when a name is unknown.
        InputError: when data or weights cannot be used.
        OutputError: when the JSON file cannot be written.
    """
    values: dict[str, object] = {
        "model": model,
        "data": data,
        "protocol": protocol,
        "preset": preset,
        "weights": None if weights is None else str(weights),
        "device": device,
        "precision": precision,
        "json_file": json_file,
        "overwrite": overwrite,
    }
    config = EvaluateConfig.model_validate(values)
    results = run(config, progress=progress)
    return [result for result in results if isinstance(result, EvaluationResult)]


def of_folder(config: EvaluateConfig) -> bool:
    """Ask whether a folder of checkpoints is evaluated.

    Args:
        config: the command's arguments.

    Returns:
        True when ``--weights`` names a folder.
    """
    return config.weights is not None and user_path(config.weights).is_dir()


def _evaluate(config: EvaluateConfig, processes: Processes, progress: Progress) -> list[Result]:
    if config.predictions is not None:
        return [_evaluate_files(config, processes, progress)]
    # Everything that can be refused is looked at before the first flow is computed.
    scored, submitted = _open_all(config)
    processes.agree(lambda: _check_places(config, submitted, processes))
    if not of_folder(config):
        model = load_model(config, weights=config.weights, processes=processes)
        return _evaluate_model(config, model, scored, submitted, processes, progress)
    if config.submission is not None:
        raise UsageError("--submission is made with one file of weights: --weights names a folder")
    folder = user_path(str(config.weights))
    files, notes = checkpoints_in(folder)
    results: list[Result] = []
    for file in files:
        model = load_model(config, weights=str(file), processes=processes)
        model = replace(model, name=f"{model.name} {file.relative_to(folder).with_suffix('')}")
        results += _evaluate_model(config, model, scored, submitted, processes, progress, notes)
    return results


def _evaluate_model(
    config: EvaluateConfig,
    model: FlowModel,
    scored: Sequence[_FlowTask],
    submitted: Sequence[SubmissionPart],
    processes: Processes,
    progress: Progress,
    notes: tuple[str, ...] = (),
) -> list[Result]:
    results: list[Result] = [
        _evaluate_dataset(model, dataset, protocol, processes, progress, notes)
        for dataset, protocol in scored
    ]
    if config.submission is not None:
        for part in submitted:
            results.append(submit(model, part, config.submission, processes=processes, progress=progress))
    return results


def _open_all(config: EvaluateConfig) -> tuple[list[_FlowTask], list[SubmissionPart]]:
    if config.data is None:
        raise UsageError("--data SPEC is missing")
    scored: list[_FlowTask] = []
    tests: list[DataSpec] = []
    for spec in parse_spec(config.data):
        _check_weight(spec)
        if is_test_part(spec):
            tests.append(spec)
            continue
        dataset = open_flow(spec)
        name = config.protocol or DEFAULT_PROTOCOLS[dataset.spec.name]
        scored.append((dataset, get_flow_protocol(name)))
    if config.submission is None:
        if tests:
            raise UsageError(
                f"--data {tests[0]}: the truth of this part is kept by its server; --submission DIR writes "
                "the files that it wants"
            )
        return scored, []
    if not tests:
        raise UsageError(f"--submission: --data names no test part that a server scores; choose from {PARTS}")
    return scored, plan_submission(tests, config.submission)


def _check_places(config: EvaluateConfig, submitted: Sequence[SubmissionPart], processes: Processes) -> None:
    """Looked at once, before any process has written: a file of one would stop another."""
    if config.submission is not None and processes.is_first:
        check_submission(submitted, config.submission, overwrite=config.overwrite)


def _check_weight(spec: DataSpec) -> None:
    if spec.weight != 1.0:
        raise UsageError(
            f"--data {spec}: weights are for training mixes; an evaluation counts every pair once"
        )


def _evaluate_dataset(
    model: FlowModel,
    dataset: FlowDataset,
    protocol: FlowProtocol,
    processes: Processes,
    progress: Progress,
    notes: tuple[str, ...],
) -> EvaluationResult:
    names = tuple(dataset.name_of(index) for index in range(len(dataset)))
    pair = score_pair(model, dataset, protocol)
    scorer = _scored(
        names, pair, protocol, processes, progress, label=f"{model.name} on {dataset.spec.label}"
    )
    return EvaluationResult(
        protocol=protocol,
        model=model.name,
        data=str(dataset.spec),
        metrics=scorer.metrics(),
        yardstick=scorer.yardstick(),
        counts={**scorer.counts(), **_official(protocol, dataset.official_count)},
        seconds=_mean_seconds(scorer, processes),
        settings=model.settings,
        versions=versions(),
        notes=(
            *_coverage_notes(dataset.spec, protocol, found=len(dataset), official=dataset.official_count),
            *dataset.notes,
            *notes,
        ),
        items=scorer.items(),
    )


def _evaluate_files(config: EvaluateConfig, processes: Processes, progress: Progress) -> EvaluationResult:
    if config.predictions is None:
        raise UsageError("--predictions is missing")
    spec = _only_spec(config)
    protocol = get_protocol(config.protocol or _default_protocol(spec))
    truth = spec if spec is not None else config.truth
    if truth is None:
        raise UsageError("--predictions, --truth and --protocol go together")
    task = open_files(config.predictions, truth, protocol, steps=config.depth_steps)
    source = str(config.predictions)
    scorer = _scored(task.names, task.score, protocol, processes, progress, label=source)
    leftover = {
        "without_prediction": len(task.matched.without_prediction),
        "without_truth": len(task.matched.without_truth),
    }
    return EvaluationResult(
        protocol=protocol,
        model=source,
        data=task.source,
        metrics=scorer.metrics(),
        yardstick=scorer.yardstick(),
        counts={**scorer.counts(), **_official(protocol, task.official_count), **leftover},
        settings={"depth_steps": config.depth_steps} if protocol.task == "depth" else {},
        versions=versions(),
        notes=(*_file_notes(task, spec, protocol), *_infinite(scorer), *task.notes),
        items=scorer.items(),
    )


def _scored(
    names: Sequence[str],
    score: Callable[[Scorer, int], None],
    protocol: Protocol,
    processes: Processes,
    progress: Progress,
    *,
    label: str,
) -> Scorer:
    """Score all items together with the other processes, and refuse what has no average."""
    progress.begin(label, len(processes.share(len(names))))

    def told(scorer: Scorer, index: int) -> None:
        score(scorer, index)
        progress.advance()

    scorer = score_together(processes, protocol, names, told)
    progress.end()
    scorer.check(source=label)
    return scorer


def _only_spec(config: EvaluateConfig) -> DataSpec | None:
    if config.data is None:
        return None
    spec, *others = parse_spec(config.data)
    if others:
        raise UsageError("--data: name one data set with --predictions")
    _check_weight(spec)
    return spec


def _default_protocol(spec: DataSpec | None) -> str:
    if spec is None:
        raise UsageError("--predictions, --truth and --protocol go together")
    name = family_of(spec).name
    if name not in DEFAULT_PROTOCOLS:
        raise UsageError(f"--data {spec}: {name} has no protocol of its own; name one: --protocol NAME")
    return DEFAULT_PROTOCOLS[name]


def _official(protocol: Protocol, count: int | None) -> dict[str, int]:
    return {} if count is None else {f"official_{protocol.item}": count}


def _mean_seconds(scorer: Scorer, processes: Processes) -> float:
    times = [item.seconds for item in scorer.items() if item.seconds is not None]
    counted = times[processes.count :] or times  # the first pair also pays for compiling and warming up
    return math.fsum(counted) / len(counted)


def _coverage_notes(spec: DataSpec, protocol: Protocol, *, found: int, official: int | None) -> list[str]:
    notes = []
    family, _, split = protocol.data.partition("@")
    if family and (family != spec.name or (split and split != spec.split)):
        notes.append(f"the protocol {protocol.name} is defined on {protocol.data}; these are {spec.label}")
    if official is not None and found < official:
        notes.append(f"{found} of {official} official {protocol.item} are present")
    return notes


def _file_notes(task: FileTask, spec: DataSpec | None, protocol: Protocol) -> list[str]:
    leftover = _leftover_notes(task.matched, protocol)
    if spec is None:
        return leftover
    whole = len(task.matched.names) + len(task.matched.without_prediction)
    found = len(task.names) if protocol.task == "restoration" else whole
    return [*_coverage_notes(spec, protocol, found=found, official=task.official_count), *leftover]


def _leftover_notes(match: Matched, protocol: Protocol) -> list[str]:
    noun = {"flow": "flow", "depth": "depth map", "pose": "path", "restoration": "frame"}[protocol.task]
    notes = []
    for names, one, many in (
        (
            match.without_prediction,
            f"true {noun} has no prediction and is not scored",
            f"true {noun}s have no prediction and are not scored",
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
    return notes


def _infinite(scorer: Scorer) -> list[str]:
    """JSON has no word for infinity, so that a PSNR of equal frames is null there: say why."""
    equal = [item.name for item in scorer.items() if item.metrics.get("psnr") == math.inf]
    if not equal:
        return []
    return [f"{len(equal)} clips hold frames equal to the truth, whose PSNR is infinite (first: {equal[0]})"]
