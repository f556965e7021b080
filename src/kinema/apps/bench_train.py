"""`kinema bench --train`: how long a training step takes, how much memory, and where the time goes."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from kinema.apps.bench_config import TrainBenchOptions
from kinema.apps.progress import Progress, Silent
from kinema.apps.versions import versions
from kinema.engine.contracts import Batch
from kinema.engine.loading import batches
from kinema.engine.meter import memory_bytes
from kinema.engine.randomness import seed_all
from kinema.engine.session import Session
from kinema.engine.state import RunFolder
from kinema.io.files import check_output, write_json
from kinema.recipes.base import RecipeConfig

REST = "rest"
"""What no group of operators names."""

_MOST_OPERATORS = 10

_GROUPS = (  # of operators' names; the first match counts
    ("cost volume", r"kinema(::|_)correlation"),
    ("flow head", r"kinema(::|_)flow_head"),
    ("convolution, backward", r"(?i)conv.*backward"),
    ("convolution, forward", r"(?i)conv(olution|_|\d|$)"),
    ("warp", r"(?i)grid_?sampler"),
    ("activation", r"(?i)relu|sigmoid|tanh"),
    ("copy, cast, join", r"aten::(copy_|_to_copy|cat|fill_|zero_|clone|contiguous)$"),
)


@dataclass(frozen=True)
class StepTimes:
    """How long one step took.

    Attributes:
        data_ms: waiting for its samples and bringing them to the device.
        compute_ms: forward, backward, optimiser and moving average.
        size_hw: of the samples, in pixels; None when they are no images.
    """

    data_ms: float
    compute_ms: float
    size_hw: tuple[int, int] | None

    @property
    def total_ms(self) -> float:
        """Both."""
        return self.data_ms + self.compute_ms


@dataclass(frozen=True)
class TimeShare:
    """A part of the computing of one step.

    Attributes:
        part: a kind of operator; `REST` is what no other part names, Python itself included.
        ms: its time: on a CPU of the main thread, on an accelerator of its kernels.
        percent: of the step.
    """

    part: str
    ms: float
    percent: float


@dataclass(frozen=True)
class TrainBenchResult:
    """The measurements, and the conditions they hold for.

    Attributes:
        recipe: its name.
        ms: per step, the median.
        fastest_ms: of the steps.
        slowest_ms: of the steps.
        data_ms: of `ms`, waiting for samples; median.
        compute_ms: of `ms`, computing; median.
        samples_per_s: samples of all steps over their time.
        peak_mib: peak memory: allocated on an accelerator, resident in the whole process on the CPU, where
            worker processes are not counted; 0 where the system does not say.
        shares: where the computing of one further step went, largest first, `REST` last.
        operators: the ten that took longest in that step, with their milliseconds.
        steps: how many were measured.
        warm_up: how many were done before.
        sizes_hw: of the samples that were measured, (height, width) in pixels; empty where the recipe's
            samples are no images.
        batch_size: samples per step.
        device: in words, with the number of processes and the number format.
        threads: of the CPU that torch may use.
    """

    recipe: str
    ms: float
    fastest_ms: float
    slowest_ms: float
    data_ms: float
    compute_ms: float
    samples_per_s: float
    peak_mib: float
    shares: tuple[TimeShare, ...]
    operators: Mapping[str, float]
    steps: int
    warm_up: int
    sizes_hw: tuple[tuple[int, int], ...]
    batch_size: int
    device: str
    threads: int


def run(
    options: TrainBenchOptions, config: RecipeConfig, *, progress: Progress | None = None
) -> TrainBenchResult:
    """Do some training steps, and measure them. Nothing is validated, and no state is kept.

    Args:
        options: what to measure.
        config: the recipe's settings.
        progress: told about every step; None for nobody.

    Returns:
        The measurements.

    Raises:
        KinemaError: as in training.
        OutputError: when the JSON file exists or cannot be written.
    """
    if options.json_file is not None:
        check_output(options.json_file, overwrite=options.overwrite)
    watcher = progress or Silent()
    seed_all(config.seed)
    task = config.build()
    session = Session(config, task, RunFolder(Path()), recipe=options.train, facts={})
    count = options.warm_up + options.steps
    data = batches(
        task.source,
        slots=session.devices.slots(config.batch_size),
        start=0,
        stop=count + 1,
        workers=config.workers,
        pinned=session.devices.device.type == "cuda",
    )
    watcher.begin(f"{options.train}, batch of {config.batch_size}", count + 1)
    times = []
    for step in range(count):
        times.append(_timed(session, data, step))
        watcher.advance()
    peak = memory_bytes(session.devices.device)
    shares, operators = _where_time_goes(session, session.fetch(data), count)
    watcher.advance()
    watcher.end()
    result = _result(options, config, session, times[options.warm_up :], peak, shares, operators)
    if options.json_file is not None and session.devices.is_first:
        write_json(options.json_file, report(result, config), overwrite=options.overwrite)
    return result


def report(result: TrainBenchResult, config: RecipeConfig) -> dict[str, object]:
    """The content of the JSON file.

    Args:
        result: the measurements.
        config: the recipe's settings.

    Returns:
        Plain data: the measurements with their conditions, versions, settings.
    """
    return {**asdict(result), "versions": versions(), "settings": config.model_dump(mode="json")}


def _timed(session: Session, data: Iterator[Batch], step: int) -> StepTimes:
    started = time.perf_counter()
    batch = session.fetch(data)
    _wait(session.devices.device)
    arrived = time.perf_counter()
    session.step(batch, step=step)
    _wait(session.devices.device)
    size_hw = next(((t.shape[-2], t.shape[-1]) for t in batch.values() if t.ndim >= 4), None)
    return StepTimes(1000 * (arrived - started), 1000 * (time.perf_counter() - arrived), size_hw)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _result(
    options: TrainBenchOptions,
    config: RecipeConfig,
    session: Session,
    times: Sequence[StepTimes],
    peak: int,
    shares: tuple[TimeShare, ...],
    operators: Mapping[str, float],
) -> TrainBenchResult:
    totals = [one.total_ms for one in times]
    return TrainBenchResult(
        recipe=options.train,
        ms=statistics.median(totals),
        fastest_ms=min(totals),
        slowest_ms=max(totals),
        data_ms=statistics.median(one.data_ms for one in times),
        compute_ms=statistics.median(one.compute_ms for one in times),
        samples_per_s=1000 * config.batch_size * len(times) / sum(totals),
        peak_mib=peak / 2**20,
        shares=shares,
        operators=operators,
        steps=options.steps,
        warm_up=options.warm_up,
        sizes_hw=tuple(sorted({one.size_hw for one in times if one.size_hw is not None})),
        batch_size=config.batch_size,
        device=session.devices.describe(),
        threads=torch.get_num_threads(),
    )


def _where_time_goes(
    session: Session, batch: Batch, step: int
) -> tuple[tuple[TimeShare, ...], dict[str, float]]:
    """Do one step under torch's profiler, and add up the time of its operators by what they do."""
    device = session.devices.device
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=kinds, acc_events=True) as watched:
        started = time.perf_counter()
        session.step(batch, step=step)
        _wait(device)
        whole = 1000 * (time.perf_counter() - started)
    groups: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    for event in watched.events() or ():
        ms = (event.self_cpu_time_total if device.type == "cpu" else event.self_device_time_total) / 1000
        groups[_group(event)] += ms
        operators[event.name] += ms
    groups.pop(REST, None)
    parts = [*groups.most_common(), (REST, max(0.0, whole - groups.total()))]
    shares = tuple(TimeShare(part, ms, 100 * ms / whole) for part, ms in parts if ms > 0)
    return shares, dict(operators.most_common(_MOST_OPERATORS))


def _group(event: FunctionEvent) -> str:
    above: FunctionEvent | None = event
    while above is not None:
        if above.name.startswith("Optimizer.step"):
            return "optimiser"
        above = above.cpu_parent
    return next((name for name, pattern in _GROUPS if re.search(pattern, event.name)), REST)
