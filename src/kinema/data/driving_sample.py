"""What driving data sets are made of: frames of one calibrated camera in time order, with pose and depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, overload

import numpy as np

from kinema.data.frame_list import FrameList
from kinema.data.lidar import DepthValue
from kinema.data.spec import DataSpec
from kinema.errors import InputError, UsageError
from kinema.io.poses import invert_poses

if TYPE_CHECKING:
    from kinema.ops.resize import IntrinsicsConvention

Gaps = Literal["refuse", "bridge"]
"""Whether the frames of a snippet must follow each other, or may be neighbours in a list with gaps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DrivingSample:
    """A snippet of one camera's frames, the target in the middle.

    Attributes:
        name: unique within its data set, such as ``2011_09_26_drive_0001_02/0000000007``: the target's.
        frames: (N, H, W, 3) RGB in time order, N odd; uint8 (uint16 where the files have 16 bits).
        numbers: N frame numbers.
        K: (3, 3) float64, pixels of `frames`; None where the data set tells none.
        times: (N,) float64 seconds; None where unknown.
        T_world_from_camera: (N, 4, 4) float64, true poses of this very camera; None where unknown.
        depth: (H0, W0) float32 metres at the target, in the size of the file even when `frames` were resized;
            0 is unknown. None where there is none or it was not asked for.
        depth_value: what `depth` measures; None without depth.
    """

    name: str
    frames: np.ndarray
    numbers: tuple[int, ...]
    K: np.ndarray | None
    times: np.ndarray | None = None
    T_world_from_camera: np.ndarray | None = None
    depth: np.ndarray | None = None
    depth_value: DepthValue | None = None

    @property
    def target(self) -> int:
        """Position of the target in `frames`."""
        return len(self.frames) // 2

    @property
    def T_target_from_camera(self) -> np.ndarray | None:  # noqa: N802  as all poses are named
        """(N, 4, 4) poses in the target's camera; the identity at the target; None where unknown."""
        T = self.T_world_from_camera
        if T is None:
            return None
        relative: np.ndarray = invert_poses(T[[self.target]]) @ T
        return relative


class DepthTruth(Protocol):
    """Where the true depth of a sequence's frames lies."""

    def has(self, name: str) -> bool:
        """Tell whether a frame has a true depth.

        Args:
            name: of the frame, without suffix.

        Returns:
            True when there is a file.
        """
        ...

    def path(self, name: str) -> Path:
        """The file with the depth of a frame.

        Args:
            name: of the frame, without suffix.

        Returns:
            Where it is or would be.
        """
        ...

    def read(self, name: str, size_hw: tuple[int, int], *, value: DepthValue) -> np.ndarray:
        """Read the depth of a frame.

        Args:
            name: of the frame, without suffix.
            size_hw: height and width of the picture, as in its file.
            value: what to measure.

        Returns:
            (H, W) float32 metres, 0 is unknown.

        Raises:
            InputError: when it cannot be read.
            UsageError: when this source cannot measure that.
        """
        ...


@dataclass(frozen=True, eq=False)
class CameraSequence:
    """The frames of one camera on one drive; no picture has been read.

    Attributes:
        name: unique within its data set.
        frames: the pictures in time order.
        numbers: (n,) int64, their frame numbers, rising.
        K: (3, 3) float64 pixels of the files; None where unknown.
        times: (n,) seconds; None where unknown.
        T_world_from_camera: (n, 4, 4), NaN where a frame's pose is unknown; None where all are.
        truth: of the depth; None where there is none.
    """

    name: str
    frames: FrameList
    numbers: np.ndarray
    K: np.ndarray | None
    times: np.ndarray | None = None
    T_world_from_camera: np.ndarray | None = None
    truth: DepthTruth | None = None


@dataclass(frozen=True, eq=False)
class DrivingDataset(Sequence[DrivingSample]):
    """Frames with camera: opening lists folders, an index reads one snippet, nothing is kept.

    Attributes:
        spec: what was asked for.
        sequences: where the frames come from.
        targets: (M, 2) int: of each sample the sequence and the position of the target in it.
        official_count: how many target frames the official set or split has; None where nobody says.
        notes: sentences about the copy found.
        frames: N, how many frames a sample has.
        gaps: ``"refuse"`` keeps snippets whose frame numbers follow each other; ``"bridge"`` also those that
            jump over frames that are missing or were left out, as the first preparation scripts did.
        size_hw: to which height and width frames are resized; None keeps them.
        intrinsics: how K follows: see `kinema.ops.resize.resize_intrinsics`.
        depth: what depth to read with the target; None reads none.
    """

    spec: DataSpec
    sequences: tuple[CameraSequence, ...]
    targets: np.ndarray
    official_count: int | None
    notes: tuple[str, ...] = ()
    frames: int = 1
    gaps: Gaps = "refuse"
    size_hw: tuple[int, int] | None = None
    intrinsics: IntrinsicsConvention = "half_pixel"
    depth: DepthValue | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @overload
    def __getitem__(self, index: int) -> DrivingSample: ...
    @overload
    def __getitem__(self, index: slice) -> DrivingDataset: ...
    def __getitem__(self, index: int | slice) -> DrivingSample | DrivingDataset:
        if isinstance(index, slice):
            return replace(self, targets=self.targets[index])
        sequence, position = self.place_of(index)
        sample = read_snippet(sequence, position, frames=self.frames, depth=self.depth)
        if self.size_hw is None:
            return sample
        return resize_sample(sample, self.size_hw, intrinsics=self.intrinsics)

    def snippets(self, frames: int, *, gaps: Gaps = "refuse") -> DrivingDataset:
        """Ask for snippets of several frames.

        Args:
            frames: in a snippet, odd: 3 or 5 in the literature.
            gaps: whether a snippet may jump over missing frames.

        Returns:
            The same data set, without the targets that have too few neighbours.

        Raises:
            UsageError: for an even number.
            InputError: when no target has enough neighbours.
        """
        if frames < 1 or frames % 2 == 0:
            raise UsageError(f"a snippet of {frames} frames has no middle; use 1, 3, 5 ...")
        half = frames // 2
        kept = np.zeros(len(self.targets), dtype=bool)
        for number, sequence in enumerate(self.sequences):
            mine = self.targets[:, 0] == number
            kept[mine] = _has_neighbours(sequence.numbers, half, gaps=gaps)[self.targets[mine, 1]]
        if not kept.any():
            raise InputError(f"{self.spec.label}: no frame has {half} frames before and behind it")
        official = self.official_count if frames == 1 else None
        return replace(self, targets=self.targets[kept], official_count=official, frames=frames, gaps=gaps)

    def resized(
        self, size_hw: tuple[int, int], *, intrinsics: IntrinsicsConvention = "half_pixel"
    ) -> DrivingDataset:
        """Ask for frames of one size, with intrinsics that follow; depth stays as it is.

        Args:
            size_hw: height and width in pixels.
            intrinsics: ``"half_pixel"``, or ``"plain"`` as SfMLearner and GeoNet prepare their data.

        Returns:
            The same data set.
        """
        return replace(self, size_hw=size_hw, intrinsics=intrinsics)

    def with_depth(self, value: DepthValue | None) -> DrivingDataset:
        """Ask for the true depth of the target.

        Args:
            value: ``"camera_z"``; ``"velodyne_x"``, which the published Eigen protocol measures; None for
                none.

        Returns:
            The same data set, without the targets that have no depth.

        Raises:
            InputError: when none has.
        """
        if value is None:
            return replace(self, depth=None)
        kept = np.array([_has_depth(*self.place_of(index)) for index in range(len(self))], dtype=bool)
        if not kept.any():
            raise InputError(f"{self.spec.label}: this copy has no true depth")
        return replace(self, targets=self.targets[kept], depth=value)

    def place_of(self, index: int) -> tuple[CameraSequence, int]:
        """Tell where a sample's target lies, without reading it.

        Args:
            index: of the sample.

        Returns:
            Its sequence, and the position in it.
        """
        number, position = (int(value) for value in self.targets[range(len(self))[index]])
        return self.sequences[number], position

    def name_of(self, index: int) -> str:
        """Tell a sample's name without reading it.

        Args:
            index: of the sample.

        Returns:
            Sequence and target frame.
        """
        sequence, position = self.place_of(index)
        return f"{sequence.name}/{sequence.frames.stem(position)}"

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell which files make up a sample, without looking at them.

        Args:
            index: of the sample.

        Returns:
            ``frame-1``, ``frame+0``, ``frame+1`` ... by distance from the target, and ``depth`` where it is
            read.
        """
        sequence, position = self.place_of(index)
        if sequence.frames.held is not None:
            return {}  # in shards no frame is a file of its own
        half = self.frames // 2
        found = {f"frame{step:+d}": sequence.frames.path(position + step) for step in range(-half, half + 1)}
        if self.depth is not None and sequence.truth is not None:
            found["depth"] = sequence.truth.path(sequence.frames.stem(position))
        return found


def all_targets(sequences: Sequence[CameraSequence]) -> np.ndarray:
    """Make every frame a target.

    Args:
        sequences: in order.

    Returns:
        (M, 2) int: sequence and position.
    """
    rows = [(number, place) for number, one in enumerate(sequences) for place in range(len(one.frames))]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def read_snippet(
    sequence: CameraSequence, position: int, *, frames: int, depth: DepthValue | None = None
) -> DrivingSample:
    """Read the frames around one frame of a sequence, and nothing else.

    Args:
        sequence: where from.
        position: of the target in it.
        frames: how many, odd; there must be enough neighbours.
        depth: what depth to read with the target; None for none.

    Returns:
        The snippet.

    Raises:
        InputError: when a file cannot be read, or sizes differ.
    """
    part = slice(position - frames // 2, position + frames // 2 + 1)
    pictures = [sequence.frames.read(index) for index in range(part.start, part.stop)]
    stem = sequence.frames.stem(position)
    first = pictures[0]
    if any(picture.shape != first.shape or picture.dtype != first.dtype for picture in pictures):
        raise InputError(f"{sequence.name}/{stem}: the frames around it have different sizes or bit depths")
    poses = None if sequence.T_world_from_camera is None else sequence.T_world_from_camera[part]
    truth = sequence.truth if depth is not None else None
    return DrivingSample(
        name=f"{sequence.name}/{stem}",
        frames=np.stack(pictures),
        numbers=tuple(sequence.numbers[part].tolist()),
        K=sequence.K,
        times=None if sequence.times is None else sequence.times[part],
        T_world_from_camera=None if poses is None or np.isnan(poses).any() else poses,
        depth=None if truth is None else _read_depth(truth, stem, first, depth),
        depth_value=None if truth is None else depth,
    )


def resize_sample(
    sample: DrivingSample, size_hw: tuple[int, int], *, intrinsics: IntrinsicsConvention = "half_pixel"
) -> DrivingSample:
    """Resize the frames of a snippet, bilinear with antialiasing, and its intrinsics; depth stays as it is.

    Args:
        sample: with frames of any size.
        size_hw: height and width in pixels.
        intrinsics: ``"half_pixel"``: c' = (c + 0.5) s - 0.5; ``"plain"``: c' = c s.

    Returns:
        The resized snippet; values are rounded to the type that they had.
    """
    import torch  # here: files are listed and scored without it

    from kinema.ops.resize import resize_image, resize_intrinsics

    largest = np.iinfo(sample.frames.dtype).max
    planes = torch.from_numpy(np.moveaxis(sample.frames, -1, 1).astype(np.float32))
    resized = resize_image(planes, size_hw, mode="bilinear", antialias=True)
    frames = resized.round().clamp(0, largest).numpy().astype(sample.frames.dtype)
    K = sample.K
    if K is not None:
        from_hw = (sample.frames.shape[1], sample.frames.shape[2])
        K = resize_intrinsics(torch.from_numpy(K)[None], from_hw, size_hw, convention=intrinsics)[0].numpy()
    return replace(sample, frames=np.ascontiguousarray(np.moveaxis(frames, 1, -1)), K=K)


def _has_depth(sequence: CameraSequence, position: int) -> bool:
    return sequence.truth is not None and sequence.truth.has(sequence.frames.stem(position))


def _read_depth(
    truth: DepthTruth, stem: str, picture: np.ndarray, value: DepthValue | None
) -> np.ndarray | None:
    return None if value is None else truth.read(stem, (picture.shape[0], picture.shape[1]), value=value)


def _has_neighbours(numbers: np.ndarray, half: int, *, gaps: Gaps) -> np.ndarray:
    """For each frame of a sequence: are there as many before and behind it?"""
    places = np.arange(len(numbers))
    enough: np.ndarray = (places >= half) & (places < len(numbers) - half)
    if gaps == "refuse" and half:
        jumps = np.concatenate([[0], np.cumsum(np.diff(numbers) != 1)])
        first = jumps[np.maximum(places - half, 0)]
        enough &= first == jumps[np.minimum(places + half, len(numbers) - 1)]
    return enough
