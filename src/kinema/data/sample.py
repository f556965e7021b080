"""What labelled flow sets are made of: one pair with its truth, and a folder of them opened unread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

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
        # Looking at all of it first is ten times as fast as picking the valid pixels out.
        if not np.isfinite(self.flow).all() and not np.isfinite(self.flow[self.valid]).all():
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
        before: the frame before the first (KITTI's frame 09; see `load_before`).
        disparity: true disparity of the first frame, all pixels (see `load_disparity`).
        disparity_noc: the same of the pixels that both cameras see.
        disparity2: true disparity of the second frame, at the pixels of the first (KITTI 2015).
        calibration: the text file of the cameras' matrices.
        half: whether frames and flow are given at half their size (FlyingThings3D in tfoptflow).
    """

    name: str
    flow: Path
    image1: Path | None = None
    image2: Path | None = None
    noc: Path | None = None
    occlusions: Path | None = None
    invalid: Path | None = None
    before: Path | None = None
    disparity: Path | None = None
    disparity_noc: Path | None = None
    disparity2: Path | None = None
    calibration: Path | None = None
    half: bool = False


@dataclass(frozen=True, eq=False)
class Disparity:
    """True disparity of a stereo pair's left frame.

    Attributes:
        values: (H, W) float32, pixels: a point at column x of the left frame is at x - value in the right
            one; meaningful where `valid`.
        valid: (H, W) bool, True where a true value exists.
    """

    values: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class FlowDataset(Sequence[FlowSample]):
    """Labelled pairs on disk: opening lists folders, an index reads one pair, nothing is kept.

    Attributes:
        spec: what was asked for.
        files: one record per usable pair, sorted by name.
        official_count: how many pairs the official set or split has; None where there is no official set.
        notes: sentences about the copy found: what is missing, which pictures stand in for which.
    """

    spec: DataSpec
    files: tuple[FlowFiles, ...]
    official_count: int | None
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

    def name_of(self, index: int) -> str:
        """Tell a pair's name without reading it.

        Args:
            index: of the pair.

        Returns:
            Its name.
        """
        return self.files[index].name

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell which files make up a pair, without looking at them.

        Args:
            index: of the pair.

        Returns:
            The files by part, such as ``image1`` and ``flow``.
        """
        files = self.files[index]
        parts = {field.name: getattr(files, field.name) for field in fields(files)}
        return {part: path for part, path in parts.items() if isinstance(path, Path)}


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
    sample = FlowSample(
        image1=read_image(files.image1),
        image2=read_image(files.image2),
        **vars(_stored_truth(files)),
    )
    return halved(sample) if files.half else sample


def load_truth(files: FlowFiles) -> FlowTruth:
    """Read the true flow and the masks of one pair, without its images.

    Args:
        files: where its parts lie.

    Returns:
        The truth; sizes of all parts agree.

    Raises:
        InputError: when a file cannot be read, or sizes differ.
    """
    truth = _stored_truth(files)
    return halved(truth) if files.half else truth


TruthT = TypeVar("TruthT", bound=FlowTruth)


def halved(truth: TruthT) -> TruthT:
    """Shrink a pair to half its size: means of 2x2 pixels, and half the motion.

    Args:
        truth: a pair or its truth, (H, W).

    Returns:
        The same of (H // 2, W // 2); a pixel is valid or visible where all its four are, and hidden or
        flagged where one of them is.
    """
    changed: dict[str, Any] = {"flow": _means(truth.flow) / 2}
    for field in fields(truth):
        value = getattr(truth, field.name)
        if not isinstance(value, np.ndarray) or field.name == "flow":
            continue
        blocks = _blocks(value)
        if field.name in {"valid", "valid_noc"}:
            changed[field.name] = blocks.all((1, 3))
        elif value.dtype == np.bool_:
            changed[field.name] = blocks.any((1, 3))
        else:
            changed[field.name] = halved_picture(value)
    return replace(truth, **changed)


def halved_picture(image: np.ndarray) -> np.ndarray:
    """Shrink a picture to half its size by means of 2x2 pixels.

    Args:
        image: (H, W, C), integers.

    Returns:
        (H // 2, W // 2, C) of the same type, rounded.
    """
    rounded: np.ndarray = np.rint(_means(image)).astype(image.dtype)
    return rounded


def load_disparity(files: FlowFiles, *, part: Literal["all", "noc", "second"] = "all") -> Disparity:
    """Read the true disparity that lies beside a pair: a KITTI PNG, 1/256 pixel a step, 0 for unknown.

    Args:
        files: where the parts of the pair lie.
        part: all pixels of the first frame, those that both cameras see, or the second frame's.

    Returns:
        The disparity.

    Raises:
        InputError: when there is none, or it is no 16-bit picture of one channel.
    """
    path = {"all": files.disparity, "noc": files.disparity_noc, "second": files.disparity2}[part]
    if path is None:
        raise InputError(f"{files.name}: has no true disparity ({part})")
    stored = read_image(path)
    if stored.dtype != np.uint16:
        raise InputError(f"{path}: expected a disparity map of 16 bits, this picture has 8; copy it again")
    return Disparity(stored[..., 0].astype(np.float32) / 256, stored[..., 0] > 0)


def load_before(files: FlowFiles) -> np.ndarray:
    """Read the frame before a pair.

    Args:
        files: where the parts of the pair lie.

    Returns:
        (H, W, 3) RGB, uint8 or uint16.

    Raises:
        InputError: when there is none, or it cannot be read.
    """
    if files.before is None:
        raise InputError(f"{files.name}: the frame before it is not there")
    image = read_image(files.before)
    return halved_picture(image) if files.half else image


def _blocks(array: np.ndarray) -> np.ndarray:
    height, width = array.shape[0] // 2, array.shape[1] // 2
    return array[: 2 * height, : 2 * width].reshape(height, 2, width, 2, *array.shape[2:])


def _means(array: np.ndarray) -> np.ndarray:
    means: np.ndarray = _blocks(array).mean((1, 3), dtype=np.float32)
    return means


def _stored_truth(files: FlowFiles) -> FlowTruth:
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
