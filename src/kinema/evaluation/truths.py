"""Truth by name: from files of anyone, or from a data set; nothing is read before it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from kinema.data import open_driving, open_flow, open_restoration
from kinema.data.driving_sample import CameraSequence, DrivingDataset
from kinema.data.frame_list import FrameList
from kinema.data.sample import FlowTruth, load_truth
from kinema.data.spec import DataSpec
from kinema.errors import InputError, UsageError
from kinema.evaluation.file_match import check_exists, files_by_name, name_of
from kinema.evaluation.flow_files import FLOW_ENDING, FLOW_SUFFIXES, with_masks
from kinema.evaluation.records import DepthProtocol
from kinema.io.depth import DEPTH_SUFFIXES, read_depth
from kinema.io.images import IMAGE_SUFFIXES, read_image
from kinema.io.poses import Trajectory, read_poses

DEPTH_ENDING = "_depth"
POSE_SUFFIXES = (".txt", ".tum")
FRAME_SUFFIXES = tuple(sorted(IMAGE_SUFFIXES, key=lambda suffix: (suffix != ".png", suffix)))

TruthT = TypeVar("TruthT")


@dataclass(frozen=True)
class Truth(Generic[TruthT]):
    """One true thing, not yet read.

    Attributes:
        place: where it lies, for messages.
        read: reads it.
    """

    place: str
    read: Callable[[], TruthT]


@dataclass(frozen=True)
class Truths(Generic[TruthT]):
    """All true things of a file, a folder or a data set.

    Attributes:
        source: what they are from.
        by_name: in order.
        official_count: how many an official set has; None where there is none.
        notes: sentences about the copy found.
    """

    source: str
    by_name: Mapping[str, Truth[TruthT]]
    official_count: int | None = None
    notes: tuple[str, ...] = ()


def flow_truths(path: Path) -> Truths[FlowTruth]:
    """List true flows, with the masks that lie beside them in official trees.

    Args:
        path: a file or a folder.

    Returns:
        By path below the folder, without suffix and ``_flow``.

    Raises:
        InputError: when there is no such path.
    """
    return _listed(
        path, FLOW_SUFFIXES, FLOW_ENDING, lambda name, file: partial(load_truth, with_masks(name, file))
    )


def depth_truths(path: Path, *, steps: float) -> Truths[np.ndarray]:
    """List true depth maps.

    Args:
        path: a file or a folder.
        steps: of 16-bit pictures, per metre.

    Returns:
        By path below the folder, without suffix and ``_depth``.

    Raises:
        InputError: when there is no such path.
    """
    return _listed(path, DEPTH_SUFFIXES, DEPTH_ENDING, lambda _, file: partial(read_depth, file, steps=steps))


def pose_truths(path: Path) -> Truths[Trajectory]:
    """List true camera paths.

    Args:
        path: a file or a folder of TUM or KITTI files.

    Returns:
        By path below the folder, without suffix.

    Raises:
        InputError: when there is no such path.
    """
    return _listed(path, POSE_SUFFIXES, "", lambda _, file: partial(read_poses, file))


def frame_truths(path: Path) -> Truths[np.ndarray]:
    """List sharp frames.

    Args:
        path: a picture, or a folder of pictures with a folder for each clip.

    Returns:
        By path below the folder, without suffix: ``CLIP/FRAME``.

    Raises:
        InputError: when there is no such path.
    """
    return _listed(path, FRAME_SUFFIXES, "", lambda _, file: partial(read_image, file))


def flow_data(spec: DataSpec) -> Truths[FlowTruth]:
    """Take the true flows of a data set.

    Args:
        spec: which one.

    Returns:
        By the names of the pairs.

    Raises:
        UsageError: when the data set has no true flow.
        InputError: when nothing usable lies at the path.
    """
    dataset = open_flow(spec)
    found: dict[str, Truth[FlowTruth]] = {
        dataset.name_of(index): Truth(
            f"{spec.label} {dataset.name_of(index)}", partial(dataset.__getitem__, index)
        )
        for index in range(len(dataset))
    }
    return Truths(str(spec), found, dataset.official_count, dataset.notes)


def depth_data(spec: DataSpec, protocol: DepthProtocol) -> Truths[np.ndarray]:
    """Take the true depth of a data set.

    Args:
        spec: which one.
        protocol: says what depth a laser scanner's is.

    Returns:
        By the names of the frames.

    Raises:
        UsageError: when the data set has no depth of that kind.
        InputError: when nothing usable lies at the path.
    """
    dataset = _driving(spec).with_depth(protocol.value if spec.name == "kitti_raw" else "camera_z")

    def read(index: int) -> np.ndarray:
        depth = dataset[index].depth
        if depth is None:
            raise InputError(f"{dataset.name_of(index)}: its true depth cannot be read")
        return depth

    found = {
        dataset.name_of(index): Truth(f"{spec.label} {dataset.name_of(index)}", partial(read, index))
        for index in range(len(dataset))
    }
    return Truths(str(spec), found, dataset.official_count, dataset.notes)


def pose_data(spec: DataSpec) -> Truths[Trajectory]:
    """Take the true camera paths of a data set.

    Args:
        spec: which one.

    Returns:
        By the names of the sequences.

    Raises:
        UsageError: when the data set knows no poses.
        InputError: when nothing usable lies at the path.
    """
    dataset = _driving(spec)
    found = {
        sequence.name: Truth(f"{spec.label} {sequence.name}", partial(_trajectory, sequence))
        for sequence in dataset.sequences
        if sequence.T_world_from_camera is not None
    }
    if not found:
        raise InputError(f"--data {spec}: this copy has no true poses")
    return Truths(str(spec), found, None, dataset.notes)


def frame_data(spec: DataSpec) -> Truths[np.ndarray]:
    """Take the sharp frames of a data set.

    Args:
        spec: which one.

    Returns:
        By clip and frame: ``CLIP/FRAME``.

    Raises:
        UsageError: when the data set has no sharp frames.
        InputError: when nothing usable lies at the path.
    """
    dataset = open_restoration(spec)
    found = {
        f"{clip.name}/{clip.low.stem(target)}": Truth(
            str(clip.sharp.path(place)), partial(_frame, clip.sharp, place)
        )
        for clip in dataset.clips
        for place, target in enumerate(clip.targets)
    }
    return Truths(str(spec), found, dataset.official_count, dataset.notes)


def _listed(
    path: Path,
    suffixes: tuple[str, ...],
    ending: str,
    reader: Callable[[str, Path], Callable[[], TruthT]],
) -> Truths[TruthT]:
    check_exists("--truth", path)
    if path.is_dir():
        files = files_by_name(path, suffixes, ending=ending)
    else:
        files = {name_of(Path(path.name), ending=ending): path}
    return Truths(
        str(path), {name: Truth(str(file), reader(name, file)) for name, file in sorted(files.items())}
    )


def _driving(spec: DataSpec) -> DrivingDataset:
    dataset = open_driving(spec)
    if not isinstance(dataset, DrivingDataset):
        raise UsageError(f"--data {spec}: prepared snippets hold neither depth nor poses")
    return dataset


def _trajectory(sequence: CameraSequence) -> Trajectory:
    T = sequence.T_world_from_camera
    if T is None or np.isnan(T).any():
        raise InputError(f"{sequence.name}: the poses of some frames are unknown")
    return Trajectory(T, sequence.times)


def _frame(frames: FrameList, place: int) -> np.ndarray:
    return frames.read(place)
