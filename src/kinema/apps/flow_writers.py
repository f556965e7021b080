"""The files of `kinema flow`: numbers, pictures, 8-bit bounded pictures and videos, pair by pair."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import Self

import numpy as np

from kinema import viz
from kinema.apps.flow_config import FlowConfig, FlowFormat
from kinema.apps.flow_plan import BUNDLES, ClipPlan
from kinema.inference.flow import FlowPrediction
from kinema.io.clips import ClipFrame
from kinema.io.flow import write_flow, write_mat, write_npz
from kinema.io.images import write_image
from kinema.io.video import Writer

logger = logging.getLogger(__name__)

DEFAULT_RATE = Fraction(25)
"""Frames per second of a video made from images, which have no rate of their own."""


@dataclass(frozen=True)
class Pair:
    """Two neighbours of a clip and what was computed for them.

    Attributes:
        index: of the pair, from 0.
        first: the frame that the flow starts from.
        second: the frame that the flow leads to.
        prediction: flow and what was asked for beside it.
    """

    index: int
    first: ClipFrame
    second: ClipFrame
    prediction: FlowPrediction


class ClipOutput:
    """All files of one clip. Use as a context: videos appear when it ends well, and not at all otherwise.

    Args:
        plan: where the files go.
        config: what is wanted.
    """

    def __init__(self, plan: ClipPlan, config: FlowConfig) -> None:
        self._plan = plan
        self._config = config
        self._videos = ClipVideos(plan, config) if "video" in plan.formats else None
        self._last: Pair | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._videos is not None:
            self._videos.close(kind, error, trace)

    def write(self, pair: Pair) -> None:
        """Write the files of one pair.

        Args:
            pair: the next one.

        Raises:
            OutputError: when a file cannot be written.
        """
        for fmt in self._plan.formats:
            _WRITERS[fmt](self._plan, fmt, pair, self._config)
        if any(fmt not in BUNDLES and fmt != "video" for fmt in self._plan.formats):
            _write_masks(self._plan, pair, self._config)
        if self._videos is not None:
            self._videos.write(pair, pair.first)
        self._last = pair

    def finish(self) -> None:
        """All pairs are written: a video gets its last frame, with the last flow again."""
        if self._videos is not None and self._last is not None:
            self._videos.write(self._last, self._last.second)


class ClipVideos:
    """The videos of one clip: flow, and beside it what else is wanted; opened with the first frame.

    Args:
        plan: where the files go.
        config: what is wanted.
    """

    def __init__(self, plan: ClipPlan, config: FlowConfig) -> None:
        self._plan = plan
        self._config = config
        self._stack = ExitStack()
        self._writers: dict[str, Writer] = {}
        self._scales = {kind: viz.FlowScale(config.max_flow) for kind in ("flow", "backward")}
        self._coloured: tuple[int, dict[str, np.ndarray]] = (-1, {})

    def write(self, pair: Pair, frame: ClipFrame) -> None:
        """Write one frame of each video.

        Args:
            pair: what to show.
            frame: whose moment it is.

        Raises:
            OutputError: when a file cannot be written.
        """
        # Times of a video are kept, regular or not; images have numbers instead and get a constant rate.
        time = None if self._plan.clip.rate is None else frame.time
        for kind, picture in self._pictures(pair, frame):
            if kind not in self._writers:
                self._writers[kind] = self._stack.enter_context(self._open(kind, picture))
                if note := self._writers[kind].note:
                    logger.info("%s", note)
            self._writers[kind].write(picture, time=time, duration=frame.duration)

    def close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the videos their names, or remove them when there was an error.

        Args:
            kind: of the error, or None.
            error: the error, or None.
            trace: of the error, or None.
        """
        self._stack.__exit__(kind, error, trace)

    def _pictures(self, pair: Pair, frame: ClipFrame) -> list[tuple[str, np.ndarray]]:
        if self._coloured[0] != pair.index:  # the last pair is shown twice, in the same colours
            self._coloured = (pair.index, self._colours(pair.prediction))
        beside = self._config.side_by_side
        flows = [(kind, _beside(frame, c) if beside else c) for kind, c in self._coloured[1].items()]
        return flows + _masks(pair.prediction, np.uint8)

    def _colours(self, prediction: FlowPrediction) -> dict[str, np.ndarray]:
        scaled = [(kind, flow, self._scales[kind].update(flow)) for kind, flow in _flows(prediction)]
        return {kind: viz.flow_to_rgb(flow, max_flow=scale) for kind, flow, scale in scaled}

    def _open(self, kind: str, picture: np.ndarray) -> Writer:
        clip, config = self._plan.clip, self._config
        return Writer(
            self._plan.path("video", kind, 0),
            size_hw=(picture.shape[0], picture.shape[1]),
            rate=clip.rate or DEFAULT_RATE,
            audio_from=clip.source if kind == "flow" else None,
            audio_end=config.end,
            codec=config.codec,
            overwrite=config.overwrite,
            time_base=clip.time_base,
            pixel_aspect=clip.pixel_aspect,
        )


def bounded_8bit(component: np.ndarray, bound: float) -> np.ndarray:
    """Quantise one component of flow as two-stream networks read it.

    Args:
        component: (H, W), in pixels.
        bound: the largest displacement kept, in pixels.

    Returns:
        (H, W) uint8: -bound is 0, +bound is 255, no motion is 128; in between linear, outside clipped.
    """
    unit = (np.clip(component, -bound, bound) + bound) / (2 * bound)
    levels: np.ndarray = np.rint(unit * 255).astype(np.uint8)
    return levels


def _write_numbers(plan: ClipPlan, fmt: FlowFormat, pair: Pair, config: FlowConfig) -> None:
    for kind, flow in _flows(pair.prediction):
        write_flow(plan.path(fmt, kind, pair.index), flow, overwrite=config.overwrite)


def _write_bundle(plan: ClipPlan, fmt: FlowFormat, pair: Pair, config: FlowConfig) -> None:
    prediction = pair.prediction
    named = {
        "flow": prediction.flow,
        "backward": prediction.backward,
        "occluded": prediction.occluded,
        "confidence": prediction.confidence,
    }
    arrays = {name: array for name, array in named.items() if array is not None}
    write = write_npz if fmt == "npz" else write_mat
    write(plan.path(fmt, "flow", pair.index), arrays, overwrite=config.overwrite)


def _write_colours(plan: ClipPlan, fmt: FlowFormat, pair: Pair, config: FlowConfig) -> None:
    for kind, flow in _flows(pair.prediction):
        colours = viz.flow_to_rgb(flow, max_flow=config.max_flow)
        picture = _beside(pair.first, colours) if config.side_by_side else colours
        write_image(plan.path(fmt, kind, pair.index), picture, overwrite=config.overwrite)


def _write_bounded(plan: ClipPlan, fmt: FlowFormat, pair: Pair, config: FlowConfig) -> None:
    for kind, flow in _flows(pair.prediction):
        for channel, axis in enumerate("xy"):
            picture = bounded_8bit(flow[..., channel], config.bound)
            write_image(plan.path(fmt, f"{kind}_{axis}", pair.index), picture, overwrite=config.overwrite)


def _write_nothing(plan: ClipPlan, fmt: FlowFormat, pair: Pair, config: FlowConfig) -> None:
    """Videos are written by `ClipVideos`, which lives as long as the clip."""


_WRITERS: dict[FlowFormat, Callable[[ClipPlan, FlowFormat, Pair, FlowConfig], None]] = {
    "flo": _write_numbers,
    "png16": _write_numbers,
    "pfm": _write_numbers,
    "npz": _write_bundle,
    "mat": _write_bundle,
    "viz": _write_colours,
    "bounded8": _write_bounded,
    "video": _write_nothing,
}


def _write_masks(plan: ClipPlan, pair: Pair, config: FlowConfig) -> None:
    for kind, grey in _masks(pair.prediction, np.uint16):
        write_image(plan.path("flo", kind, pair.index), grey, overwrite=config.overwrite)


def _flows(prediction: FlowPrediction) -> list[tuple[str, np.ndarray]]:
    both = (("flow", prediction.flow), ("backward", prediction.backward))
    return [(kind, flow) for kind, flow in both if flow is not None]


def _masks(
    prediction: FlowPrediction, depth: type[np.uint8] | type[np.uint16]
) -> list[tuple[str, np.ndarray]]:
    """Grey pictures: occluded as 0 or 255, confidence over the whole range of `depth`."""
    masks = []
    if prediction.occluded is not None:
        masks.append(("occluded", prediction.occluded.astype(np.uint8) * np.uint8(255)))
    if prediction.confidence is not None:
        masks.append(("confidence", np.rint(prediction.confidence * np.iinfo(depth).max).astype(depth)))
    return masks


def _beside(frame: ClipFrame, colours: np.ndarray) -> np.ndarray:
    image = frame.image
    eight_bit = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    return viz.side_by_side([eight_bit, colours], ["frame", "flow"])
