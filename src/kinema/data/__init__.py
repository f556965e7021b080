"""Datasets in their official layouts, and rendered scenes with exact truth."""

from __future__ import annotations

from kinema.data import flyingchairs, kitti, middlebury, sintel
from kinema.data.layout import Family, checked_path
from kinema.data.procedural import rendered_set
from kinema.data.sample import FlowDataset, FlowFiles, FlowSample, FlowTruth
from kinema.data.spec import DataSpec, parse_spec
from kinema.errors import UsageError

FAMILIES: dict[str, Family] = {
    "middlebury": middlebury.FAMILY,
    "sintel": sintel.FAMILY,
    "kitti2012": kitti.FAMILY_2012,
    "flyingchairs": flyingchairs.FAMILY,
    "procedural": rendered_set.FAMILY,
}

__all__ = [
    "FAMILIES",
    "DataSpec",
    "Family",
    "FlowDataset",
    "FlowFiles",
    "FlowSample",
    "FlowTruth",
    "open_dataset",
    "parse_spec",
]


def open_dataset(spec: DataSpec) -> FlowDataset:
    """Open a labelled data set where it lies; only folders are listed, and nothing is rendered yet.

    Args:
        spec: which one, which part of it, and where.

    Returns:
        A sequence that reads one pair per index.

    Raises:
        UsageError: when the family, variant or split is unknown.
        InputError: when nothing usable lies at the path; the message shows the expected tree beside the
            found one.
    """
    family = FAMILIES.get(spec.name)
    if family is None:
        raise UsageError(f"--data {spec}: unknown data set {spec.name!r}; choose from {', '.join(FAMILIES)}")
    return family.open(spec, checked_path(spec, family))
