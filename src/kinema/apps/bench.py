"""`kinema bench`: how long a pair takes, and how much memory, with everything that the number depends on."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.apps.bench_config import BenchConfig
from kinema.apps.progress import Progress, Silent
from kinema.apps.versions import versions
from kinema.inference.device import describe_device
from kinema.inference.flow import FlowPredictor
from kinema.inference.loading import RANDOM, load
from kinema.io.files import check_output, write_json
from kinema.models import find_model, list_models

_DTYPE_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass(frozen=True)
class BenchRow:
    """The measurement of one model.

    Attributes:
        model: its name.
        preset: the preset in use.
        precision: the number format that it computed in.
        median_ms: time of a pair, the median of the runs.
        fastest_ms: of the runs.
        slowest_ms: of the runs.
        first_ms: of the very first pair, compilation included; None without a warm-up.
        peak_mib: peak memory: allocated on an accelerator, resident in the whole process on the CPU, where
            it is that of the largest model so far; None where the system does not say.
    """

    model: str
    preset: str
    precision: str
    median_ms: float
    fastest_ms: float
    slowest_ms: float
    first_ms: float | None
    peak_mib: float | None


@dataclass(frozen=True)
class BenchResult:
    """The measurements, and the conditions they hold for.

    Attributes:
        rows: one per model.
        size_hw: of the frames, in pixels.
        device: in words.
        threads: of the CPU that torch may use.
        warm_up: pairs computed first and not counted.
        runs: pairs measured.
    """

    rows: tuple[BenchRow, ...]
    size_hw: tuple[int, int]
    device: str
    threads: int
    warm_up: int
    runs: int


def run(config: BenchConfig, *, progress: Progress | None = None) -> BenchResult:
    """Measure models one after the other.

    Args:
        config: which models, on what.
        progress: told about every pair; None for nobody.

    Returns:
        The measurements.

    Raises:
        UsageError: when a model or device is unknown.
        InputError: when the frames are too small for a model.
        OutputError: when the JSON file exists or cannot be written.
    """
    if config.json_file is not None:
        check_output(config.json_file, overwrite=config.overwrite)
    names = config.models or tuple(list_models("flow"))
    for name in names:
        find_model(name)  # all names before any work
    watcher = progress or Silent()
    rows = []
    for name in names:
        # How long a model takes does not depend on its weights.
        untrained = RANDOM if find_model(name).card.has_weights else None
        predictor = load(
            name,
            weights=config.weights or untrained,
            device=config.device,
            precision=config.precision,
            preset=config.preset,
            refine="none",
        )
        rows.append(_measure(predictor, config, watcher))
    result = BenchResult(
        rows=tuple(rows),
        size_hw=config.size_hw,
        device=describe_device(predictor.device),
        threads=torch.get_num_threads(),
        warm_up=config.warm_up,
        runs=config.runs,
    )
    if config.json_file is not None:
        write_json(config.json_file, report(result, config), overwrite=config.overwrite)
    return result


def report(result: BenchResult, config: BenchConfig) -> dict[str, object]:
    """The content of the JSON file.

    Args:
        result: the measurements.
        config: what was asked for.

    Returns:
        Plain data: the measurements with their conditions, versions, settings.
    """
    return {**asdict(result), "versions": versions(), "settings": config.model_dump(mode="json")}


def moving_texture(size_hw: tuple[int, int]) -> tuple[Float[Tensor, "1 3 h w"], Float[Tensor, "1 3 h w"]]:
    """Two frames of a soft random texture that moves by (3, -2) pixels; the same ones every time.

    Args:
        size_hw: of the frames, in pixels.

    Returns:
        float32 RGB in [0, 1], twice.
    """
    noise = torch.rand(1, 3, *size_hw, generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2, count_include_pad=False)
    return soft, soft.roll((-2, 3), dims=(2, 3))


def _measure(predictor: FlowPredictor, config: BenchConfig, progress: Progress) -> BenchRow:
    image1, image2 = (image.to(predictor.device) for image in moving_texture(config.size_hw))
    _reset_peak(predictor.device)
    card = predictor.card
    progress.begin(f"{card.name} at {config.size}", config.warm_up + config.runs)
    times = []
    for _ in range(config.warm_up + config.runs):
        started = time.perf_counter()
        predictor.flow(image1, image2)
        if predictor.device.type != "cpu":
            torch.accelerator.synchronize(predictor.device)
        times.append(1000 * (time.perf_counter() - started))
        progress.advance()
    progress.end()
    counted = times[config.warm_up :]
    return BenchRow(
        model=card.name,
        preset=predictor.origin.preset,
        precision=_DTYPE_NAMES[predictor.dtype],
        median_ms=statistics.median(counted),
        fastest_ms=min(counted),
        slowest_ms=max(counted),
        first_ms=times[0] if config.warm_up else None,
        peak_mib=_peak_mib(predictor.device),
    )


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_mib(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device.type != "cpu" or sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere
