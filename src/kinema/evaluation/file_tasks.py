"""Anyone's files as something to score: what belongs together, and how one of them is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from kinema.data.sample import FlowTruth
from kinema.data.spec import DataSpec
from kinema.errors import InputError
from kinema.evaluation import truths as known
from kinema.evaluation.accumulators import Tally
from kinema.evaluation.depth_metrics import score_depth
from kinema.evaluation.file_match import (
    Matched,
    check_exists,
    check_same_kind,
    files_by_name,
    match_names,
    natural_key,
)
from kinema.evaluation.flow_files import FLOW_ENDING, FLOW_SUFFIXES, read_prediction
from kinema.evaluation.flow_scoring import score_flow
from kinema.evaluation.image_metrics import frame_tallies
from kinema.evaluation.pose_scoring import score_path
from kinema.evaluation.records import DepthProtocol, FlowProtocol, Protocol, RestorationProtocol
from kinema.evaluation.scoring import ItemScore, Scorer
from kinema.evaluation.truths import DEPTH_ENDING, FRAME_SUFFIXES, POSE_SUFFIXES, Truths
from kinema.io.depth import DEPTH_SUFFIXES, KITTI_STEPS, read_depth, read_depth_stack
from kinema.io.images import read_image
from kinema.io.poses import Trajectory, read_poses

TruthT = TypeVar("TruthT")


@dataclass(frozen=True)
class FileTask:
    """Files that were matched, not yet read.

    Attributes:
        source: what the truth is from.
        names: of the items, in order.
        score: reads the item of a position and adds it to a scorer.
        matched: what has its twin, and what has not.
        official_count: how many an official set has; None where there is none.
        notes: sentences about the truth found.
    """

    source: str
    names: tuple[str, ...]
    score: Callable[[Scorer, int], None]
    matched: Matched
    official_count: int | None = None
    notes: tuple[str, ...] = ()


def open_files(
    predictions: Path, truth: Path | DataSpec, protocol: Protocol, *, steps: float = KITTI_STEPS
) -> FileTask:
    """Match predictions with truth, by the kind of thing that a protocol scores.

    Args:
        predictions: a file or a folder.
        truth: the same, or a data set.
        protocol: how to score.
        steps: of 16-bit depth pictures, per metre.

    Returns:
        What is to be scored; files have been listed, not read.

    Raises:
        UsageError: when the data set has no such truth.
        InputError: when something is missing or nothing matches.
    """
    check_exists("--predictions", predictions)
    is_data = isinstance(truth, DataSpec)
    if isinstance(protocol, FlowProtocol):
        flows = known.flow_data(truth) if isinstance(truth, DataSpec) else known.flow_truths(truth)
        return _flow(predictions, flows, protocol, is_data=is_data)
    if isinstance(protocol, DepthProtocol):
        if isinstance(truth, DataSpec):
            depths = known.depth_data(truth, protocol)
        else:
            depths = known.depth_truths(truth, steps=steps)
        return _depth(predictions, depths, protocol, steps=steps, is_data=is_data)
    if isinstance(protocol, RestorationProtocol):
        frames = known.frame_data(truth) if isinstance(truth, DataSpec) else known.frame_truths(truth)
        return _frames(predictions, frames, protocol, is_data=is_data)
    paths = known.pose_data(truth) if isinstance(truth, DataSpec) else known.pose_truths(truth)
    return _poses(predictions, paths, protocol, is_data=is_data)


def _flow(predictions: Path, truths: Truths[FlowTruth], protocol: FlowProtocol, *, is_data: bool) -> FileTask:
    files = _predicted(predictions, truths, FLOW_SUFFIXES, FLOW_ENDING, is_data=is_data)
    found = _match(predictions, files, truths, FLOW_SUFFIXES, what="flow")

    def score(scorer: Scorer, index: int) -> None:
        name = found.names[index]
        try:
            true = truths.by_name[name].read()
            scorer.add_score(name, score_flow(read_prediction(files[name]), true, protocol))
        except InputError as error:
            # A size mismatch names the pair; with two folders at hand both files are wanted.
            raise InputError(f"{error} [{files[name]} against {truths.by_name[name].place}]") from None

    return _task(truths, found, score)


def _depth(
    predictions: Path,
    truths: Truths[np.ndarray],
    protocol: DepthProtocol,
    *,
    steps: float,
    is_data: bool,
) -> FileTask:
    many = len(truths.by_name) > 1 or is_data
    if predictions.suffix.lower() == ".npy" and predictions.is_file() and many:
        found, predicted = _stacked(predictions, truths)
    else:
        files = _predicted(predictions, truths, DEPTH_SUFFIXES, DEPTH_ENDING, is_data=is_data)
        found = _match(predictions, files, truths, DEPTH_SUFFIXES, what="depth")
        predicted = {name: partial(read_depth, file, steps=steps) for name, file in files.items()}

    def score(scorer: Scorer, index: int) -> None:
        name = found.names[index]
        true = truths.by_name[name].read()
        scorer.add_score(name, score_depth(predicted[name](), true, protocol, name=name))

    return _task(truths, found, score)


def _stacked(
    predictions: Path, truths: Truths[np.ndarray]
) -> tuple[Matched, Mapping[str, Callable[[], np.ndarray]]]:
    """All predictions in one file, in the order of the truth."""
    stack, names = read_depth_stack(predictions), tuple(truths.by_name)
    if len(stack) != len(names):
        raise InputError(
            f"--predictions {predictions}: holds {len(stack)} depth maps for {len(names)} true ones; a stack "
            "holds one for each, in order"
        )
    return Matched(names), {name: partial(np.array, stack[index]) for index, name in enumerate(names)}


def _poses(predictions: Path, truths: Truths[Trajectory], protocol: Protocol, *, is_data: bool) -> FileTask:
    files = _predicted(predictions, truths, POSE_SUFFIXES, "", is_data=is_data)
    found = _match(predictions, files, truths, POSE_SUFFIXES, what="path")

    def score(scorer: Scorer, index: int) -> None:
        name = found.names[index]
        true = truths.by_name[name].read()
        for label, value in score_path(name, read_poses(files[name]), true, protocol):
            scorer.add_score(label, value)

    return _task(truths, found, score)


def _frames(
    predictions: Path, truths: Truths[np.ndarray], protocol: RestorationProtocol, *, is_data: bool
) -> FileTask:
    files = _predicted(predictions, truths, FRAME_SUFFIXES, "", is_data=is_data)
    clips = _clips(tuple(truths.by_name))
    if is_data and len(clips) == 1 and all("/" not in name for name in files):
        (clip,) = clips  # the frames of the only clip need no folder of their own
        files = {f"{clip}/{name}": file for name, file in files.items()}
    wanted = {clip: _chosen(names, protocol) for clip, names in clips.items()}
    chosen = {name for names in wanted.values() for name in names}
    scored = {name: file for name, file in files.items() if name in chosen or name not in truths.by_name}
    found = match_names(
        scored, chosen, what="frame", suffixes=FRAME_SUFFIXES, places=(predictions, truths.source)
    )
    present = set(found.names)
    names = tuple(clip for clip, frames in wanted.items() if not present.isdisjoint(frames))

    def score(scorer: Scorer, index: int) -> None:
        tallies = [
            frame_tallies(read_image(files[name]), truths.by_name[name].read(), protocol, name=name)
            for name in wanted[names[index]]
            if name in present
        ]
        scorer.add_score(names[index], ItemScore(_added(tallies)))

    return FileTask(truths.source, names, score, found, truths.official_count, truths.notes)


def _clips(names: Sequence[str]) -> dict[str, list[str]]:
    """Frames by clip, the part of the name before the last ``/``; in natural order."""
    clips: dict[str, list[str]] = {}
    for name in sorted(names, key=natural_key):
        clips.setdefault(name.rpartition("/")[0] or "frames", []).append(name)
    return clips


def _chosen(names: list[str], protocol: RestorationProtocol) -> list[str]:
    middle = len(names) // 2
    return names if protocol.frames == "all" else names[middle : middle + 1]


def _added(tallies: Sequence[Mapping[str, Tally]]) -> dict[str, Tally]:
    return {
        metric: Tally(sum(one[metric].total for one in tallies), sum(one[metric].count for one in tallies))
        for metric in tallies[0]
    }


def _predicted(
    predictions: Path,
    truths: Truths[TruthT],
    suffixes: tuple[str, ...],
    ending: str,
    *,
    is_data: bool,
) -> dict[str, Path]:
    """Predicted files by name; a single file belongs to a single truth whatever they are called."""
    if predictions.is_dir():
        if not is_data:
            check_same_kind(predictions, Path(truths.source))
        return files_by_name(predictions, suffixes, ending=ending)
    if len(truths.by_name) != 1:
        check_same_kind(predictions, Path(truths.source) if not is_data else predictions)
        raise InputError(
            f"--predictions {predictions}: is one file for {len(truths.by_name)} true ones; give a folder"
        )
    return {next(iter(truths.by_name)): predictions}


def _match(
    predictions: Path,
    files: Mapping[str, Path],
    truths: Truths[TruthT],
    suffixes: tuple[str, ...],
    *,
    what: str,
) -> Matched:
    return match_names(
        files, truths.by_name, what=what, suffixes=suffixes, places=(predictions, truths.source)
    )


def _task(truths: Truths[TruthT], found: Matched, score: Callable[[Scorer, int], None]) -> FileTask:
    return FileTask(truths.source, found.names, score, found, truths.official_count, truths.notes)
