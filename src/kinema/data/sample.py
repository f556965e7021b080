"""What flow data sets are made of: one labelled pair, and a folder of them opened without reading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np

from kinema.data.spec import DataSpec
from kinema.errors import InputError
from kinema.io.flow import read_flow
from kinema.io.images import read_image


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowTruth:
    """The true flow of one pair and what the data set says about its pixels.

    Attributes:
        name: unique within its data set, such as ``alley_1/frame_0002``.
        flow: (H, W, 2) float32, pixels, x right and y down; meaningful where `valid`.
        valid: (H, W) bool, True where a true value exists. This is what protocols score.
        occluded: (H, W) bool, True where the data set's mask says that the point is hidden in frame 2; None
            without mask.
        valid_noc: (H, W) bool, True where a true value exists and the point is visible in frame 2 (KITTI
            ``flow_noc``: neither hidden nor out of the frame); None where the data set has no such truth.
        flagged: (H, W) bool, True where a value exists but the data set warns that it cannot be relied on
            (Sintel ``invalid``); None without mask. Training leaves these out; published Sintel numbers
            count them.
    """

    name: str
    flow: np.ndarray
    valid: np.ndarray
    occluded: np.ndarray | None = None
    valid_noc: np.ndarray | None = None
    flagged: np.ndarray | None = None

    def __post_init__(self) -> None:
        size_hw = self.flow.shape[:2]
        for field in ("valid", "occluded", "valid_noc", "flagged"):
            mask: np.ndarray | None = getattr(self, field)
            if mask is not None and mask.shape != size_hw:
                raise InputError(
                    f"{self.name}: {field} is {_size(mask)} but the true flow is {_size(self.flow)}"
                )
        if not np.isfinite(self.flow[self.valid]).all():
            raise InputError(f"{self.name}: the true flow holds NaN or infinity at pixels marked valid")


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowSample(FlowTruth):
    """A pair of frames with its true flow.

    Attributes:
        image1: (H, W, 3) RGB, uint8 (uint16 where the file has 16 bits); grey is replicated.
        image2: the next frame, as `image1`.
    """

    image1: np.ndarray
    image2: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, image in (("image1", self.image1), ("image2", self.image2)):
            if image.shape[:2] != self.flow.shape[:2]:
                raise InputError(
                    f"{self.name}: {field} is {_size(image)} but the true flow is {_size(self.flow)}"
                )


@dataclass(frozen=True, kw_only=True)
class FlowFiles:
    """Where the parts of one labelled pair lie.

    Attributes:
        name: the sample's name.
        flow: the true flow, in any format of `kinema.io.flow`.
        image1: first frame; None where only the truth is at hand.
        image2: second frame.
        noc: the true flow of visible pixels only (KITTI).
        occlusions: mask picture, bright = hidden in frame 2.
        invalid: mask picture, bright = not to be relied on.
    """

    name: str
    flow: Path
    image1: Path | None = None
    image2: Path | None = None
    noc: Path | None = None
    occlusions: Path | None = None
    invalid: Path | None = None


@dataclass(frozen=True)
class FlowDataset(Sequence[FlowSample]):
    """Labelled pairs on disk: opening lists folders, an index reads one pair, nothing is kept.

    Attributes:
        spec: what was asked for.
        files: one record per usable pair, sorted by name.
        official_count: how many pairs the official set or split has.
        notes: sentences about the copy found: what is missing, which pictures stand in for which.
    """

    spec: DataSpec
    files: tuple[FlowFiles, ...]
    official_count: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> FlowSample: ...
    @overload
    def __getitem__(self, index: slice) -> FlowDataset: ...
    def __getitem__(self, index: int | slice) -> FlowSample | FlowDataset:
        if isinstance(index, slice):
            return replace(self, files=self.files[index])
        return load_sample(self.files[index])


def load_sample(files: FlowFiles) -> FlowSample:
    """Read one pair with its truth.

    Args:
        files: where its parts lie; both images must be given.

    Returns:
        The pair; sizes of all parts agree.

    Raises:
        InputError: when a file cannot be read, or sizes differ.
    """
    if files.image1 is None or files.image2 is None:
        raise InputError(f"{files.name}: has a true flow but no images")
    truth = load_truth(files)
    return FlowSample(image1=read_image(files.image1), image2=read_image(files.image2), **vars(truth))


def load_truth(files: FlowFiles) -> FlowTruth:
    """Read the true flow and the masks of one pair, without its images.

    Args:
        files: where its parts lie.

    Returns:
        The truth; sizes of all parts agree.

    Raises:
        InputError: when a file cannot be read, or sizes differ.
    """
    field = read_flow(files.flow)
    return FlowTruth(
        name=files.name,
        flow=field.flow,
        valid=field.valid,
        valid_noc=read_flow(files.noc).valid if files.noc else None,
        occluded=_read_mask(files.occlusions) if files.occlusions else None,
        flagged=_read_mask(files.invalid) if files.invalid else None,
    )


def _read_mask(path: Path) -> np.ndarray:
    picture = read_image(path)[..., 0]
    mask: np.ndarray = picture > np.iinfo(picture.dtype).max // 2
    return mask


def _size(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
