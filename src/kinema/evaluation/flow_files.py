"""Anyone's flow files against truth: matched by name, with the masks that lie beside official truth."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.data.sample import FlowFiles
from kinema.errors import InputError
from kinema.io.flow import read_flow

SUFFIXES = (".flo", ".pfm", ".npz", ".mat", ".png")
"""Flow formats; where one name has several files the first of these is taken: a ``.png`` may be a picture."""


@dataclass(frozen=True)
class FlowFilePair:
    """A predicted flow and its truth.

    Attributes:
        predicted: file of the prediction.
        truth: file of the true flow and, in official layouts, its masks.
    """

    predicted: Path
    truth: FlowFiles


@dataclass(frozen=True)
class FlowFileMatch:
    """What two folders have in common.

    Attributes:
        pairs: matched files, sorted by name; at least one.
        without_prediction: names of true flows that nobody predicted.
        without_truth: names of predictions that have no truth.
    """

    pairs: tuple[FlowFilePair, ...]
    without_prediction: tuple[str, ...] = ()
    without_truth: tuple[str, ...] = ()


def match_flow_files(predictions: Path, truth: Path) -> FlowFileMatch:
    """Match predicted and true flow files.

    Files match when their paths below the two folders are the same, apart from the suffix and a trailing
    ``_flow``. Two single files match whatever their names.

    Args:
        predictions: a flow file or a folder, searched with its subfolders.
        truth: the same kind.

    Returns:
        The matched files and what is left over.

    Raises:
        InputError: when one is missing, one is a file and the other a folder, or nothing matches.
    """
    for option, path in (("--predictions", predictions), ("--truth", truth)):
        if not path.exists():
            raise InputError(f"{option}: no such file or folder: {path}")
    if predictions.is_dir() != truth.is_dir():
        kinds = ["a folder" if path.is_dir() else "a file" for path in (predictions, truth)]
        raise InputError(
            f"--predictions {predictions} is {kinds[0]} but --truth {truth} is {kinds[1]}; give two of a kind"
        )
    if not truth.is_dir():
        return FlowFileMatch((FlowFilePair(predictions, _with_masks(_name(Path(truth.name)), truth)),))
    predicted, true = _by_name(predictions), _by_name(truth)
    common = sorted(predicted.keys() & true.keys())
    if not common:
        raise InputError(
            f"no prediction in {predictions} has the name of a true flow in {truth}: {_examples(predicted)} "
            f"against {_examples(true)}; paths below the two folders must agree, apart from the suffix"
        )
    return FlowFileMatch(
        pairs=tuple(FlowFilePair(predicted[name], _with_masks(name, true[name])) for name in common),
        without_prediction=tuple(sorted(true.keys() - predicted.keys())),
        without_truth=tuple(sorted(predicted.keys() - true.keys())),
    )


def read_prediction(path: Path) -> np.ndarray:
    """Read a predicted flow.

    Args:
        path: a flow file.

    Returns:
        (H, W, 2) float32 pixels; NaN where the file marks the flow as unknown, so that it cannot pass for
        zero motion.

    Raises:
        InputError: when it cannot be read.
    """
    field = read_flow(path)
    flow: np.ndarray = np.where(field.valid[..., None], field.flow, np.float32(np.nan))
    return flow


def _by_name(folder: Path) -> dict[str, Path]:
    best: dict[str, Path] = {}
    for path in _files(folder):
        name = _name(path.relative_to(folder))
        known = best.get(name)
        if known is None or SUFFIXES.index(path.suffix.lower()) < SUFFIXES.index(known.suffix.lower()):
            best[name] = path
    return best


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith("."):
                yield path


def _name(relative: Path) -> str:
    return relative.with_suffix("").as_posix().removesuffix("_flow")


def _examples(names: dict[str, Path]) -> str:
    if not names:
        return f"no flow file ({', '.join(SUFFIXES)})"
    shown = sorted(names)[:2]
    return ", ".join(shown) + (f", ... ({len(names)} files)" if len(names) > len(shown) else "")


def _with_masks(name: str, flow: Path) -> FlowFiles:
    return FlowFiles(
        name=name,
        flow=flow,
        noc=_beside(flow, "flow_occ", "flow_noc", flow.suffix),
        occlusions=_beside(flow, "flow", "occlusions", ".png"),
        invalid=_beside(flow, "flow", "invalid", ".png"),
    )


def _beside(flow: Path, folder: str, sibling: str, suffix: str) -> Path | None:
    """The same file below another folder of the official tree: ``flow/x/y.flo`` to ``invalid/x/y.png``."""
    path = flow.absolute()
    for parent in path.parents:
        if parent.name == folder:
            other = (parent.parent / sibling / path.relative_to(parent)).with_suffix(suffix)
            return other if other.is_file() else None
    return None
