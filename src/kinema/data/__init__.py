"""Datasets in their official layouts, and rendered scenes with exact truth."""

from __future__ import annotations

from typing import Any

from kinema.data import (
    custom,
    flyingchairs,
    flyingthings,
    footage,
    kitti,
    kitti_odometry,
    kitti_raw,
    kitti_stereo,
    middlebury,
    paired,
    posed,
    reds,
    shards,
    sintel,
    snippets,
    vid4,
    vimeo90k,
)
from kinema.data.driving_sample import DrivingDataset, DrivingSample
from kinema.data.family import Facts, Family, Kind, OpenedSet
from kinema.data.footage import FootageConfig, FootageDataset
from kinema.data.frames import FrameDataset, FrameFiles, FrameWindow, UnlabelledPairs
from kinema.data.layout import checked_path
from kinema.data.procedural import rendered_set
from kinema.data.restoration_sample import RestorationDataset, RestorationSample, RestorationWindows
from kinema.data.sample import FlowDataset, FlowFiles, FlowSample, FlowTruth
from kinema.data.snippets import SnippetStrips
from kinema.data.spec import DataSpec, parse_spec
from kinema.errors import UsageError

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        middlebury.FAMILY,
        sintel.FAMILY,
        kitti.FAMILY_2012,
        kitti.FAMILY_2015,
        flyingchairs.FAMILY,
        flyingchairs.FAMILY_2,
        flyingthings.FAMILY,
        flyingthings.FAMILY_SUBSET,
        reds.FAMILY,
        vid4.FAMILY,
        vimeo90k.FAMILY,
        paired.FAMILY,
        kitti_raw.FAMILY,
        kitti_odometry.FAMILY,
        kitti_stereo.FAMILY,
        snippets.FAMILY,
        posed.FAMILY,
        custom.FAMILY,
        footage.FAMILY,
        rendered_set.FAMILY,
        shards.FAMILY,
    )
}
"""Every family by name, in the order in which `kinema data list` shows them."""

__all__ = [
    "FAMILIES",
    "DataSpec",
    "DrivingDataset",
    "DrivingSample",
    "Facts",
    "Family",
    "FlowDataset",
    "FlowFiles",
    "FlowSample",
    "FlowTruth",
    "FootageConfig",
    "FootageDataset",
    "FrameDataset",
    "FrameFiles",
    "FrameWindow",
    "Kind",
    "OpenedSet",
    "RestorationDataset",
    "RestorationSample",
    "RestorationWindows",
    "SnippetStrips",
    "UnlabelledPairs",
    "family_of",
    "open_dataset",
    "open_driving",
    "open_flow",
    "open_footage",
    "open_restoration",
    "parse_spec",
]


def family_of(spec: DataSpec) -> Family:
    """Look a spec's family up.

    Args:
        spec: what was asked for.

    Returns:
        The family of that name.

    Raises:
        UsageError: when there is none; the message lists them.
    """
    family = FAMILIES.get(spec.name)
    if family is None:
        raise UsageError(f"--data {spec}: unknown data set {spec.name!r}; choose from {', '.join(FAMILIES)}")
    return family


def open_dataset(spec: DataSpec) -> OpenedSet[Any]:
    """Open a data set of any kind where it lies; only folders are listed, and nothing is rendered yet.

    Args:
        spec: which one, which part of it, and where.

    Returns:
        A sequence that reads one sample per index.

    Raises:
        UsageError: when the family, variant or split is unknown.
        InputError: when nothing usable lies at the path; the message shows the expected tree beside the
            found one.
    """
    family = family_of(spec)
    return family.open(spec, checked_path(spec, family))


def open_flow(spec: DataSpec) -> FlowDataset:
    """Open pairs with true flow, as evaluation and supervised training need them.

    Args:
        spec: which data set, which part of it, and where.

    Returns:
        A sequence that reads one labelled pair per index.

    Raises:
        UsageError: when the family, variant or split is unknown, or what it names has no true flow.
        InputError: as `open_dataset`.
    """
    family = family_of(spec)
    if family.kind not in {"flow", "any"}:
        names = ", ".join(name for name, other in FAMILIES.items() if other.kind == "flow")
        raise UsageError(f"--data {spec}: {spec.name} has no true flow; choose from {names}")
    opened = open_dataset(spec)
    if not isinstance(opened, FlowDataset):
        raise UsageError(f"--data {spec}: this part of {spec.name} has no true flow; name another part")
    return opened


def open_footage(spec: DataSpec) -> OpenedSet[FrameWindow]:
    """Open frames without truth, as learning without labels needs them.

    Args:
        spec: footage, or any flow data set: the truth of labelled parts is left aside.

    Returns:
        A sequence that reads one window of frames per index.

    Raises:
        UsageError: when the family, variant or split is unknown, or its samples are no clips.
        InputError: as `open_dataset`.
    """
    family = family_of(spec)
    if family.kind not in {"flow", "footage", "any"}:
        names = ", ".join(name for name, other in FAMILIES.items() if other.kind in {"flow", "footage"})
        raise UsageError(f"--data {spec}: {spec.name} cannot be read as footage; choose from {names}")
    opened = open_dataset(spec)
    return UnlabelledPairs(opened) if isinstance(opened, FlowDataset) else opened


def open_restoration(spec: DataSpec) -> RestorationDataset:
    """Open clips of low frames with sharp twins, as upscaling and deblurring need them.

    Args:
        spec: which data set, which part of it, and where.

    Returns:
        The clips: `RestorationDataset.windows` cuts them into samples for training.

    Raises:
        UsageError: when the family, variant or split is unknown, or it has no sharp twins.
        InputError: as `open_dataset`.
    """
    opened = _open_kind(spec, "restoration", "sharp twins")
    if not isinstance(opened, RestorationDataset):
        raise UsageError(f"--data {spec}: this part of {spec.name} has no sharp twins; name another part")
    return opened


def open_driving(spec: DataSpec) -> DrivingDataset | SnippetStrips:
    """Open frames with intrinsics, as learning and testing depth and camera motion need them.

    Args:
        spec: which data set, which part of it, and where.

    Returns:
        The frames: ``snippets(3)`` gives them with their neighbours, ``resized(size_hw)`` in one size.

    Raises:
        UsageError: when the family, variant or split is unknown, or it knows nothing of cameras.
        InputError: as `open_dataset`.
    """
    opened = _open_kind(spec, "driving", "camera")
    if not isinstance(opened, DrivingDataset | SnippetStrips):
        raise UsageError(f"--data {spec}: this part of {spec.name} has no camera; name another part")
    return opened


def _open_kind(spec: DataSpec, kind: Kind, what: str) -> OpenedSet[Any]:
    family = family_of(spec)
    if family.kind not in {kind, "any"}:
        names = ", ".join(name for name, other in FAMILIES.items() if other.kind == kind)
        raise UsageError(f"--data {spec}: {spec.name} has no {what}; choose from {names}")
    return open_dataset(spec)
