"""Small data sets to make shards of, and how to compare samples bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers import flow_trees
from kinema.data import open_dataset, parse_spec

SIZE = (6, 8)


def opened(text: str):
    return open_dataset(parse_spec(text)[0])


def chairs(root: Path, count: int) -> str:
    """A data set of pairs that all differ; returns its spec."""
    for number in range(1, count + 1):
        flow = flow_trees.constant(SIZE, number / 8, -number)
        flow_trees.flyingchairs(root, [number], flow, split=None)
    return f"flyingchairs:{root}"


def many_kinds(root: Path) -> list[str]:
    """One spec for each way in which truth, masks and frames are stored."""
    occ, noc = np.ones(SIZE, bool), np.ones(SIZE, bool)
    occ[0], noc[:, 0] = False, False
    flow = flow_trees.constant(SIZE, -20.25, 3.5)
    unknown = flow.copy()
    unknown[2, 3] = 1.6666668e9
    flow_trees.middlebury(root / "mb", {"Army": unknown, "Venus": flow})
    flow_trees.sintel(root / "si", {"alley": [9, 10, 11]}, flow)
    flow_trees.kitti2012(root / "ki", {"000007": (flow, occ, occ & noc)})
    return [f"middlebury:{root}/mb", f"sintel-clean:{root}/si", f"kitti2012:{root}/ki"]


def differences(found: object, expected: object) -> list[str]:
    """Names of the fields that are not equal in type, shape and every bit."""
    assert type(found) is type(expected)
    wrong = []
    for name, value in vars(expected).items():
        other = getattr(found, name)
        if isinstance(value, np.ndarray):
            same = isinstance(other, np.ndarray) and (other.dtype, other.shape) == (value.dtype, value.shape)
            same = same and other.tobytes() == value.tobytes()
        else:
            same = other == value
        if not same:
            wrong.append(name)
    return wrong


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
