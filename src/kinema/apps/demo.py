"""`kinema demo`: a scene whose motion is known, its flow as computed, and a page that compares the two."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinema import viz
from kinema.apps.demo_config import DemoConfig
from kinema.apps.demo_report import demo_report
from kinema.apps.progress import Progress, Silent
from kinema.data.procedural.demo_scene import RenderedClip, render_clip
from kinema.data.sample import FlowTruth
from kinema.errors import OutputError
from kinema.evaluation.accumulators import Accumulator
from kinema.evaluation.flow_metrics import flow_tallies
from kinema.evaluation.protocols import get_protocol
from kinema.inference.device import describe_device
from kinema.inference.flow import FlowPrediction, FlowPredictor
from kinema.inference.loading import load
from kinema.io.flow import write_flow
from kinema.io.images import write_image
from kinema.io.video import Writer
from kinema.models import DEFAULT_FLOW_MODEL

MODEL = DEFAULT_FLOW_MODEL
RATE = Fraction(12)
"""Frames per second of the videos."""
PROTOCOL = "sintel"
"""All pixels of all pairs pooled; `kinema evaluate` gives the same numbers for the files written here."""
METRICS = ("epe", "epe_nonoccluded", "epe_occluded", "out_1px", "out_3px")

_WRITTEN = ("report.html", "clip.mp4", "flow.mp4", "flow", "truth")
_NUMBERED = re.compile(r"(\d{6})(_flow)?\.(flo|png)")


@dataclass(frozen=True)
class DemoScore:
    """How wrong one method is on the scene.

    Attributes:
        method: its name.
        metrics: numbers by the names of `METRICS`, errors in pixels, rates in percent; None where there is no
            pixel of that kind.
    """

    method: str
    metrics: dict[str, float | None]


@dataclass(frozen=True)
class DemoResult:
    """What `run` did.

    Attributes:
        report: the page to look at.
        clip: the rendered video.
        flow_video: its flow in colours.
        scores: the model's, then that of zero flow as a yardstick.
        size_hw: of the frames, in pixels.
        pairs: how many were computed.
        seconds_per_pair: the median, for the flow in both directions and occlusion.
        seconds: wall time of everything.
    """

    report: Path
    clip: Path
    flow_video: Path
    scores: tuple[DemoScore, ...]
    size_hw: tuple[int, int]
    pairs: int
    seconds_per_pair: float
    seconds: float


def run(config: DemoConfig, *, progress: Progress | None = None) -> DemoResult:
    """Render the scene, compute its flow, compare, and write all of it into a folder.

    Args:
        config: which scene, and where to write.
        progress: told about every frame and pair; None for nobody.

    Returns:
        What was written, and how good the flow is. Pictures and errors depend on the config alone.

    Raises:
        OutputError: when results are there already, or cannot be written.
    """
    started = time.monotonic()
    watcher = progress or Silent()
    _check_folder(config)
    scene = _rendered(config, watcher)
    predictor = load(MODEL)
    predictions, seconds_per_pair = _computed(predictor, scene.frames, watcher)
    scores = (
        _score(MODEL, [prediction.flow for prediction in predictions], scene),
        _score("zero flow", np.zeros_like(scene.flow), scene),
    )
    _write_flows(config.out, predictions, scene)
    _write_videos(config.out, predictions, scene)
    report = config.out / "report.html"
    with tempfile.TemporaryDirectory(prefix="kinema-demo-") as folder:
        page = demo_report(
            scene,
            predictions,
            scale=_largest(scene),
            scores={score.method: score.metrics for score in scores},
            protocol=PROTOCOL,
            seconds_per_pair=seconds_per_pair,
            device=describe_device(predictor.device),
            video=_write_comparison(Path(folder) / "comparison.webm", predictions, scene),
            out=config.out,
        )
    page.save(report)
    return DemoResult(
        report=report,
        clip=config.out / "clip.mp4",
        flow_video=config.out / "flow.mp4",
        scores=scores,
        size_hw=config.size_hw,
        pairs=len(predictions),
        seconds_per_pair=seconds_per_pair,
        seconds=time.monotonic() - started,
    )


def _check_folder(config: DemoConfig) -> None:
    """Refuse before the work what would fail after it; leave nothing of a longer, earlier clip."""
    out = config.out
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; name a folder with -o")
    found = [name for name in _WRITTEN if (out / name).exists()]
    if found and not config.overwrite:
        raise OutputError(f"{out / found[0]} exists; add --overwrite to replace it, or name another folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made: {error.strerror}; choose another place with -o") from error
    for folder in (out / "flow", out / "truth" / "flow", out / "truth" / "occlusions"):
        for file in folder.glob("*"):
            match = _NUMBERED.fullmatch(file.name)
            if match and int(match[1]) >= config.frames - 1:
                _remove(file)


def _remove(file: Path) -> None:
    try:
        file.unlink()
    except OSError as error:
        raise OutputError(f"{file} of an earlier demo cannot be removed: {error.strerror}") from error


def _rendered(config: DemoConfig, progress: Progress) -> RenderedClip:
    progress.begin("rendering the scene", config.frames)
    clip = render_clip(config.seed, frames=config.frames, size_hw=config.size_hw, progress=progress.advance)
    progress.end()
    return clip


def _computed(
    predictor: FlowPredictor, frames: NDArray[np.uint8], progress: Progress
) -> tuple[list[FlowPrediction], float]:
    """All predictions, and the median seconds of a pair; the first one, which compiles, is not counted."""
    progress.begin(f"computing its flow with {MODEL}", len(frames) - 1)
    predictions, seconds = [], []
    before = time.perf_counter()
    for prediction in predictor.stream(frames, backward=True, occlusion=True):
        now = time.perf_counter()
        seconds.append(now - before)
        before = now
        predictions.append(prediction)
        progress.advance()
    progress.end()
    return predictions, statistics.median(seconds[1:] or seconds)


def _score(method: str, flows: Sequence[np.ndarray] | np.ndarray, scene: RenderedClip) -> DemoScore:
    accumulator = Accumulator()
    for index, flow in enumerate(flows):
        truth = FlowTruth(
            name=f"{index:06d}",
            flow=scene.flow[index],
            valid=np.ones(scene.flow.shape[1:3], np.bool_),
            occluded=~scene.visible[index],
        )
        accumulator.update(truth.name, flow_tallies(flow, truth, metrics=METRICS))
    averaging = get_protocol(PROTOCOL).averaging
    return DemoScore(method, {name: accumulator.result(name, averaging=averaging) for name in METRICS})


def _write_flows(out: Path, predictions: Sequence[FlowPrediction], scene: RenderedClip) -> None:
    """The numbers, in the layout that `kinema evaluate --predictions --truth` reads."""
    for index, prediction in enumerate(predictions):
        write_flow(out / "flow" / f"{index:06d}_flow.flo", prediction.flow)
        write_flow(out / "truth" / "flow" / f"{index:06d}.flo", scene.flow[index])
        hidden = np.where(scene.visible[index], np.uint8(0), np.uint8(255))
        write_image(out / "truth" / "occlusions" / f"{index:06d}.png", hidden)


def _write_videos(out: Path, predictions: Sequence[FlowPrediction], scene: RenderedClip) -> None:
    _write_video(out / "clip.mp4", scene.frames)
    most = _largest(scene)
    colours = [viz.flow_to_rgb(prediction.flow, max_flow=most) for prediction in predictions]
    _write_video(out / "flow.mp4", [*colours, colours[-1]])


def _largest(scene: RenderedClip) -> float:
    """The greatest true speed in the whole clip: one scale for all pictures."""
    return float(np.hypot(scene.flow[..., 0], scene.flow[..., 1]).max())


def _write_comparison(path: Path, predictions: Sequence[FlowPrediction], scene: RenderedClip) -> Path:
    """Frame, computed and true flow beside one another, on one scale: for the page."""
    most = _largest(scene)
    frames = []
    for index, prediction in enumerate(predictions):
        flows = [viz.flow_to_rgb(flow, max_flow=most) for flow in (prediction.flow, scene.flow[index])]
        frames.append(viz.side_by_side([scene.frames[index], *flows], ["frame", MODEL, "truth"]))
    _write_video(path, frames)
    return path


def _write_video(path: Path, frames: Iterable[np.ndarray]) -> None:
    pictures = list(frames)
    height, width = pictures[0].shape[:2]
    with Writer(path, size_hw=(height, width), rate=RATE) as writer:
        for picture in pictures:
            writer.write(picture)
