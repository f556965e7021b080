"""Labelled pairs: does the true flow fit its frames, its masks and its range?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from kinema.data.checks.finding import Finding, error, warning
from kinema.data.checks.motion import SHOWN_BY_NAME, Verdict, flow_verdict, hidden_fit
from kinema.data.checks.reading import is_same, tried
from kinema.data.frame_changes import SMALL_HW, dissimilarity
from kinema.data.sample import FlowDataset, FlowSample, load_disparity

_CLEAR = 0.6  # of the error as it is: a reading that is so much better needs no second pair
_OFTEN = 0.25  # of the pairs
_WORSE = 1.1  # of the error of no motion
_UNRELATED = 0.85
_CELLS_HW = (18, 32)
_REMEDIES = {
    "backward": "write the flow from the first frame to the second, or put the frames in order",
    "zero": "check that flow and frames belong together, and how the flow was converted",
}


def check_pairs(
    dataset: FlowDataset, indices: Sequence[int], *, root: Path, advance: Callable[[], None]
) -> list[Finding]:
    """Read pairs and look whether truth and frames fit.

    Args:
        dataset: the pairs.
        indices: which.
        root: the folder that is checked.
        advance: told after each pair.

    Returns:
        What was found.
    """
    findings: list[Finding] = []
    verdicts: dict[str, Verdict] = {}
    for index in indices:
        name, paths = dataset.name_of(index), dataset.paths_of(index)
        before = len(findings)
        sample = tried(
            lambda index=index: _load(dataset, index),  # type: ignore[misc]
            name=name,
            paths=paths,
            root=root,
            findings=findings,
        )
        if sample is not None:
            findings += _looked_at(sample)
            if len(findings) == before:
                verdicts[name] = _verdict(sample)
                findings += _masks(sample, verdicts[name])
        advance()
    return findings + list(_motion_findings(verdicts))


def _load(dataset: FlowDataset, index: int) -> FlowSample:
    if dataset.files:
        files = dataset.files[index]
        for part, path in (
            ("all", files.disparity),
            ("noc", files.disparity_noc),
            ("second", files.disparity2),
        ):
            if path is not None:
                load_disparity(files, part=part)  # type: ignore[arg-type]
    return dataset[index]


def _looked_at(sample: FlowSample) -> Iterator[Finding]:
    """What shows without warping."""
    height, width = sample.flow.shape[:2]
    known = sample.flow[sample.valid]
    longest = float(np.abs(known).max(initial=0))
    moves = longest > 0
    if is_same(sample.image1, sample.image2):
        if moves:
            yield error(
                "duplicate frames",
                sample.name,
                "both frames are the same picture, but the flow is not zero",
                "copy the frames of this pair again",
            )
        return
    if not len(known):
        yield error("no valid flow", sample.name, "no pixel has a known flow", "copy the flow again")
    elif not moves:
        yield error(
            "flow is zero",
            sample.name,
            "the flow is zero everywhere, but the frames differ",
            _REMEDIES["zero"],
        )
    elif _too_long(known, width, height):
        yield error(
            "flow range",
            sample.name,
            f"flow of {longest:.0f} pixels in frames of {width}x{height}",
            "unknown pixels must be marked as such (beyond 1e9 in .flo, 0 in KITTI's blue channel)",
        )


def _too_long(known: np.ndarray, width: int, height: int) -> bool:
    """A few fast pixels leave the frame; a hundredth that goes farther than it is wide is no motion."""
    length = np.hypot(known[:, 0], known[:, 1])
    reach = np.hypot(width, height)
    return bool((length > reach).mean() > 0.01 or length.max() > 20 * reach)


def _verdict(sample: FlowSample) -> Verdict:
    usable = sample.valid if sample.valid_noc is None else sample.valid & sample.valid_noc
    for mask in (sample.occluded, sample.flagged):
        if mask is not None and mask.mean() < 0.5:
            usable = usable & ~mask
    verdict = flow_verdict(sample.image1, sample.image2, sample.flow, usable)
    if verdict.reading == "zero" and _unrelated(sample):
        return Verdict("other scene", verdict.fits, verdict.still, verdict.best)
    return verdict


def _unrelated(sample: FlowSample) -> bool:
    return dissimilarity(_cells(sample.image1), _cells(sample.image2)) > _UNRELATED


def _cells(image: np.ndarray) -> np.ndarray:
    levels = image.astype(np.float32) * np.float32(255 / np.iinfo(image.dtype).max)
    small = cv2.resize(levels, SMALL_HW[::-1], interpolation=cv2.INTER_AREA)
    cells: np.ndarray = cv2.resize(small, _CELLS_HW[::-1], interpolation=cv2.INTER_AREA)
    return cells


def _masks(sample: FlowSample, verdict: Verdict) -> Iterator[Finding]:
    if verdict.reading not in ("as it is", ""):
        return
    for kind, mask in (("occlusion", sample.occluded), ("invalid", sample.flagged)):
        if mask is not None and mask.mean() > 0.5 and _fits_better_inside(sample, mask):
            yield error(
                "mask inverted",
                sample.name,
                f"the {kind} mask marks {100 * mask.mean():.0f} % of the frame, and the flow fits what it "
                "marks better than the rest",
                f"invert the mask: bright is {'hidden' if kind == 'occlusion' else 'not to be relied on'}",
            )
    noc = sample.valid_noc
    if noc is not None and (noc & ~sample.valid).sum() > 0.01 * max(int(noc.sum()), 1):
        yield error(
            "occ and noc exchanged",
            sample.name,
            "flow_noc has pixels that flow_occ lacks",
            "flow_occ holds all pixels, flow_noc only visible ones: exchange the folders",
        )


def _fits_better_inside(sample: FlowSample, mask: np.ndarray) -> bool:
    fits = hidden_fit(sample.image1, sample.image2, sample.flow, valid=sample.valid, marked=mask)
    return fits is None or fits[0] < fits[1]


def _motion_findings(verdicts: dict[str, Verdict]) -> Iterator[Finding]:
    decided = {name: verdict for name, verdict in verdicts.items() if verdict.reading}
    counts = Counter(verdict.reading for verdict in decided.values())
    for name, verdict in decided.items():
        if verdict.reading == "as it is":
            continue
        often = counts[verdict.reading] >= max(_OFTEN * len(decided), 1 if len(decided) < 4 else 2)
        yield _motion_finding(name, verdict, often=often)


def _motion_finding(name: str, verdict: Verdict, *, often: bool) -> Finding:
    if verdict.reading == "other scene":
        return error(
            "scenes mixed",
            name,
            "the two frames show different scenes",
            "copy the frames of this pair again",
        )
    if verdict.reading == "zero":
        make = error if verdict.fits > (1.0 if often else _WORSE) * verdict.still else warning
        what = f"the flow fits the frames no better than no motion ({verdict.fits:.2f}, {verdict.still:.2f})"
        return make("flow does not fit", name, what, _REMEDIES["zero"])
    make = error if often or verdict.best < _CLEAR * verdict.fits else warning
    what = (
        f"{SHOWN_BY_NAME[verdict.reading]} (difference {verdict.fits:.2f}, read that way {verdict.best:.2f})"
    )
    remedy = _REMEDIES.get(verdict.reading, "convert the flow again: x to the right, y down, in pixels")
    return make(f"flow {verdict.reading}", name, what, remedy)
