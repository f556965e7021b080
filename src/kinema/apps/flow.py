"""`kinema flow`: optical flow of pairs, sequences and videos, from files to files, with bounded memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kinema.apps.flow_checks import check_places
from kinema.apps.flow_config import FlowConfig
from kinema.apps.flow_plan import ClipPlan, plan_outputs
from kinema.apps.flow_writers import ClipOutput, Pair
from kinema.apps.progress import Progress, Silent
from kinema.apps.used_weights import used_weights
from kinema.apps.versions import versions
from kinema.errors import InputError, UsageError
from kinema.inference.device import describe_device
from kinema.inference.flow import FlowPredictor
from kinema.inference.loading import load
from kinema.io.clips import Clip, ClipFrame, open_clips
from kinema.io.files import write_json
from kinema.models import find_model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipResult:
    """What was done for one clip.

    Attributes:
        name: of the clip.
        kind: `pair`, `sequence` or `video`.
        size_hw: of its frames, in pixels.
        pairs: how many pairs were computed.
        formats: what was written.
        out: the file or the folder.
    """

    name: str
    kind: str
    size_hw: tuple[int, int]
    pairs: int
    formats: tuple[str, ...]
    out: Path


@dataclass(frozen=True)
class FlowResult:
    """What `run` did.

    Attributes:
        model: its name.
        preset: the preset in use.
        refine: what polished the model's flow; "none" for nothing.
        weights: name and fingerprint of the weights; see `kinema.apps.used_weights`.
        device: what it ran on, in words.
        clips: one entry per clip.
        seconds: wall time, reading and writing included.
    """

    model: str
    preset: str
    refine: str
    weights: Mapping[str, str | None]
    device: str
    clips: tuple[ClipResult, ...]
    seconds: float

    @property
    def pairs(self) -> int:
        """How many pairs were computed, over all clips."""
        return sum(clip.pairs for clip in self.clips)


def run(config: FlowConfig, *, progress: Progress | None = None) -> FlowResult:
    """Compute the flow of every clip and write it.

    Args:
        config: what to read, what to compute, where to write.
        progress: told about every pair; None for nobody.

    Returns:
        What was done.

    Raises:
        UsageError: when options are unknown or contradict each other.
        InputError: when a file cannot be read or is not what it should be.
        OutputError: when a file exists, cannot be written, or the disk is full.
    """
    started = time.monotonic()
    _check_model(config)
    clips = open_clips(config.inputs, start=config.start, end=config.end, stride=config.stride)
    plans = plan_outputs(clips, config)
    check_places(plans, config)
    predictor = _predictor(config)
    results = [_run_clip(plan, predictor, config, progress or Silent()) for plan in plans]
    result = FlowResult(
        model=config.model,
        preset=predictor.origin.preset,
        refine=predictor.origin.refine,
        weights=used_weights(config.weights, predictor.origin.weights),
        device=describe_device(predictor.device),
        clips=tuple(results),
        seconds=time.monotonic() - started,
    )
    if config.json_file is not None:
        write_json(config.json_file, report(result, config), overwrite=config.overwrite)
    return result


def report(result: FlowResult, config: FlowConfig) -> dict[str, object]:
    """The content of the JSON file.

    Args:
        result: what was done.
        config: what was asked for.

    Returns:
        Plain data: model, data, counts, versions, settings.
    """
    return {
        "model": result.model,
        "preset": result.preset,
        "refine": result.refine,
        **result.weights,
        "device": result.device,
        "data": [
            {
                "name": clip.name,
                "kind": clip.kind,
                "size_hw": list(clip.size_hw),
                "pairs": clip.pairs,
                "formats": list(clip.formats),
                "out": str(clip.out),
            }
            for clip in result.clips
        ],
        "counts": {"clips": len(result.clips), "pairs": result.pairs},
        "seconds": round(result.seconds, 3),
        "versions": versions(),
        "settings": config.model_dump(mode="json"),
    }


def _check_model(config: FlowConfig) -> None:
    card = find_model(config.model).card
    if "flow" not in card.tasks:
        raise UsageError(f"--model {config.model} computes {', '.join(card.tasks)}, not flow")
    if config.warm_start and not card.warm_start:
        raise UsageError(
            f"--warm-start: {config.model} cannot start from a given flow; add --model tvnet, or leave it out"
        )
    for name in _model_options(config):
        if name not in card.options:
            raise UsageError(f"--{name} is no setting of {config.model}: add --model tvnet, or leave it out")


def _model_options(config: FlowConfig) -> dict[str, object]:
    given = {"scales": config.scales, "warps": config.warps, "iterations": config.iterations}
    return {name: value for name, value in given.items() if value is not None}


def _predictor(config: FlowConfig) -> FlowPredictor:
    predictor = load(
        config.model,
        weights=config.weights,
        device=config.device,
        precision=config.precision,
        preset=config.preset,
        options=_model_options(config),
        tile=config.tile,
        max_side=config.max_side,
        refine=config.refine,
    )
    logger.debug("%s on %s, %s", config.model, describe_device(predictor.device), predictor.dtype)
    return predictor


def _run_clip(plan: ClipPlan, predictor: FlowPredictor, config: FlowConfig, progress: Progress) -> ClipResult:
    clip = plan.clip
    total = None if clip.length is None else clip.length - 1
    done = 0
    try:
        progress.begin(f"flow of {clip.name}", total)
        with ClipOutput(plan, config) as output:
            for pair in _pairs(clip, predictor, config):
                output.write(pair)
                done += 1
                progress.advance()
            output.finish()
        progress.end()
    except KeyboardInterrupt as stop:
        stop.add_note(_stopped(plan, done, total))
        raise
    out = plan.file or plan.folder
    return ClipResult(clip.name, clip.kind, clip.size_hw, done, plan.formats, out)


def _pairs(clip: Clip, predictor: FlowPredictor, config: FlowConfig) -> Iterator[Pair]:
    """Predictions with their frames: the predictor pulls frames one by one, the last two are kept here."""
    recent: list[ClipFrame] = []

    def watched() -> Iterator[ClipFrame]:
        for frame in clip.frames():
            recent[:] = [*recent[-1:], frame]
            yield frame
        if len(recent) < 2:
            raise InputError(f"{clip.name} has {len(recent)} frame(s): optical flow needs two or more")

    predictions = predictor.stream(
        watched(),
        backward=config.backward,
        occlusion=config.occlusion,
        confidence=config.confidence,
        warm_start=config.warm_start,
    )
    for index, prediction in enumerate(predictions):
        yield Pair(index, recent[0], recent[1], prediction)


def _stopped(plan: ClipPlan, done: int, total: int | None) -> str:
    """What an interrupt left of one clip; the clips before it are complete."""
    of = "" if total is None else f" of {total}"
    told = [f"{plan.clip.name}: {done}{of} pairs were done"]
    if "video" in plan.formats:
        told.append("the unfinished video was removed")
    if done and set(plan.formats) != {"video"}:
        told.append(f"their files in {plan.folder} are whole: repeat with --overwrite to compute all of them")
    return ", ".join(told)
