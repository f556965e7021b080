"""KITTI optical flow, 2012 and 2015: pairs with truth, test pairs, and the frames around them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from kinema.data.family import Facts, Family
from kinema.data.frames import FrameDataset, FrameFiles
from kinema.data.layout import first_root, incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec

MULTIVIEW_FRAMES = range(21)
"""Frames of each scene in the multi-view extension; 10 and 11 are the labelled pair."""

WITHOUT_NEIGHBOURS = (range(9), range(13, 21))
"""What UFlow learns from: frames 9 to 12 lie too near to the labelled pair."""

# Colour first. image_2 is the colour folder's name in the 2015 set, and copies often use it for 2012 as well.
_IMAGE_FOLDERS = ("colored_0", "image_2", "image_0")
_TRUTH = re.compile(r"(\d{6})_10\.png")
_FRAME = re.compile(r"(\d{6})_(\d{2})\.png")


@dataclass(frozen=True)
class _Year:
    """What differs between the two benchmarks.

    Attributes:
        counts: official pairs by part.
        truths: folder of each file that lies beside the flow, by its name in `FlowFiles`.
        sign_of_other: a folder that only the other benchmark has.
        calibration: folders with a text file per pair.
        layout: the official tree.
    """

    counts: Mapping[str, int]
    truths: Mapping[str, str]
    sign_of_other: str
    calibration: tuple[str, ...]
    layout: str

    def layout_of(self, spec: DataSpec) -> str:
        if spec.variant is not None:
            return "{training,testing}/{colored_0 or image_2 or image_0}/NNNNNN_{00..20}.png"
        if spec.split == "testing":
            return "testing/{colored_0 or image_2 or image_0}/NNNNNN_{10,11}.png"
        return self.layout


YEAR_2012 = _Year(
    {"training": 194, "testing": 195},
    {"noc": "flow_noc", "disparity": "disp_occ", "disparity_noc": "disp_noc"},
    "disp_occ_0",
    ("calib", "calib_cam_to_cam"),
    "training/{colored_0 or image_0}/NNNNNN_{10,11}.png with training/{flow_occ,flow_noc}/NNNNNN_10.png",
)
YEAR_2015 = _Year(
    {"training": 200, "testing": 200},
    {
        "noc": "flow_noc",
        "disparity": "disp_occ_0",
        "disparity_noc": "disp_noc_0",
        "disparity2": "disp_occ_1",
    },
    "disp_occ",
    ("calib_cam_to_cam", "calib"),
    "training/{image_2 or image_0}/NNNNNN_{10,11}.png with training/{flow_occ,flow_noc}/NNNNNN_10.png",
)


def open_kitti(year: _Year, spec: DataSpec, path: Path) -> FlowDataset | FrameDataset:
    """Open KITTI pairs.

    Args:
        year: which benchmark.
        spec: no variant for the pairs from frame 10 to 11: ``@training``, as no split, has truth,
            ``@testing`` has none. Variant ``multiview`` for neighbouring frames of the multi-view extension,
            without truth and without frames 9 to 12 (see `WITHOUT_NEIGHBOURS`), ``multiview-full`` for all of
            its frames; of ``@training``, ``@testing``, or both parts.
        path: the folder that holds ``training`` and ``testing``, or one of these itself.

    Returns:
        The pairs; labelled ones also with the flow of visible pixels, the frame before, disparity and
        calibration where these are present. The grey camera's frames serve where colour is absent, and a note
        says so.

    Raises:
        InputError: when no pair is complete.
    """
    if spec.variant is not None:
        return _open_multiview(year, spec, path)
    if spec.split == "testing":
        return _open_unlabelled(year, spec, path, {"testing": (range(10, 12),)})
    root = _root(path, "training", needed="flow_occ")
    if root is None:
        raise nothing_usable(spec, path, year.layout_of(spec))
    usable: list[FlowFiles] = []
    incomplete: list[str] = []
    pictures = _pictures(root)
    beside = {part: (folder, list_names(root / folder)) for part, folder in year.truths.items()}
    for truth in sorted(filter(_TRUTH.fullmatch, list_names(root / "flow_occ"))):
        folder = _folder_with(pictures, truth, truth.replace("_10.", "_11."))
        if folder is None:
            incomplete.append(Path(truth).stem)
            continue
        usable.append(_pair(year, root, truth, folder, pictures[folder], beside))
    if not usable:
        raise nothing_usable(spec, path, year.layout_of(spec), reason="no true flow has both its frames")
    notes = [*incomplete_note(incomplete), *_notes(usable)]
    if (root / year.sign_of_other).is_dir():
        notes.append(f"{year.sign_of_other} belongs to the other KITTI benchmark: is this {spec.name}?")
    return FlowDataset(spec, tuple(usable), year.counts["training"], tuple(notes))


def _pair(
    year: _Year,
    root: Path,
    truth: str,
    folder: str,
    present: set[str],
    beside: Mapping[str, tuple[str, set[str]]],
) -> FlowFiles:
    images = root / folder
    before = truth.replace("_10.", "_09.")
    found = {part: root / name / truth if truth in names else None for part, (name, names) in beside.items()}
    calibrations = (root / name / f"{truth[:6]}.txt" for name in year.calibration)
    return FlowFiles(
        name=Path(truth).stem,
        flow=root / "flow_occ" / truth,
        image1=images / truth,
        image2=images / truth.replace("_10.", "_11."),
        before=images / before if before in present else None,
        noc=found["noc"],
        disparity=found["disparity"],
        disparity_noc=found["disparity_noc"],
        disparity2=found.get("disparity2"),
        calibration=next((file for file in calibrations if file.is_file()), None),
    )


def _open_multiview(year: _Year, spec: DataSpec, path: Path) -> FrameDataset:
    runs = (MULTIVIEW_FRAMES,) if spec.variant == "multiview-full" else WITHOUT_NEIGHBOURS
    parts = ("training", "testing") if spec.split is None else (spec.split,)
    return _open_unlabelled(year, spec, path, dict.fromkeys(parts, runs))


def _open_unlabelled(
    year: _Year, spec: DataSpec, path: Path, parts: Mapping[str, tuple[range, ...]]
) -> FrameDataset:
    files: list[FrameFiles] = []
    for part, runs in parts.items():
        root = _root(path, part)
        if root is not None:
            files += _windows(root, part, runs)
    if not files:
        raise nothing_usable(spec, path, year.layout_of(spec))
    official = sum(year.counts[part] * sum(len(run) - 1 for run in runs) for part, runs in parts.items())
    return FrameDataset(spec, tuple(files), official, _grey_note([one.images[0] for one in files]))


def _windows(root: Path, part: str, runs: tuple[range, ...]) -> Iterator[FrameFiles]:
    """Neighbouring frames of every scene, from one folder per pair."""
    pictures = _pictures(root)
    scenes = sorted(
        {match[1] for names in pictures.values() for match in map(_FRAME.fullmatch, names) if match}
    )
    for scene in scenes:
        for first, second in (pair for run in runs for pair in pairwise(run)):
            names = [f"{scene}_{number:02d}.png" for number in (first, second)]
            folder = _folder_with(pictures, *names)
            if folder is not None:
                images = tuple(root / folder / name for name in names)
                yield FrameFiles(f"{part}/{scene}_{first:02d}", images)


def _root(path: Path, part: str, needed: str = "") -> Path | None:
    nested = [f"{top}/{part}" for top in ("data_stereo_flow", "data_scene_flow", "data_scene_flow_multiview")]
    root = first_root(path, (part, *nested), needed=(needed,))
    if root is not None or path.name in {"training", "testing"} - {part}:
        return root
    has_frames = any((path / folder).is_dir() for folder in _IMAGE_FOLDERS)
    return first_root(path, ("",), needed=(needed,)) if has_frames or needed else None


def _pictures(root: Path) -> dict[str, set[str]]:
    return {folder: list_names(root / folder) for folder in _IMAGE_FOLDERS}


def _folder_with(pictures: Mapping[str, set[str]], *names: str) -> str | None:
    return next((folder for folder, present in pictures.items() if present.issuperset(names)), None)


def _notes(usable: list[FlowFiles]) -> tuple[str, ...]:
    notes = [*_grey_note([files.image1 for files in usable if files.image1 is not None])]
    without_noc = sum(files.noc is None for files in usable)
    if without_noc:
        notes.append(f"{without_noc} of {len(usable)} pairs have no flow_noc")
    return tuple(notes)


def _grey_note(images: list[Path]) -> tuple[str, ...]:
    grey = Counter(image.parent.name for image in images)["image_0"]
    return (f"{grey} of {len(images)} pairs are read from the grey camera (image_0)",) if grey else ()


def _family(name: str, year: _Year, benchmark: str, holds: str) -> Family:
    opener: Callable[[DataSpec, Path], FlowDataset | FrameDataset] = partial(open_kitti, year)
    training, testing = year.counts["training"], year.counts["testing"]
    return Family(
        name=name,
        kind="flow",
        title=f"KITTI flow {name[5:]}, {training} training pairs with truth, {testing} test pairs without",
        layout=year.layout,
        open=opener,
        facts=Facts(
            holds=holds,
            counts={**year.counts, "multiview": 15 * (training + testing)},
            unit="pairs",
            size="about 1242x375",
            source="KITTI Vision Benchmark Suite",
            url=f"https://www.cvlibs.net/datasets/kitti/{benchmark}",
            terms="CC BY-NC-SA 3.0: not for commercial use",
        ),
        variants=("multiview", "multiview-full"),
        splits=("training", "testing"),
    )


FAMILY_2012 = _family(
    "kitti2012",
    YEAR_2012,
    "eval_stereo_flow.php?benchmark=flow",
    "pairs with sparse measured flow and disparity, static scenes; frames around them without truth",
)
FAMILY_2015 = _family(
    "kitti2015",
    YEAR_2015,
    "eval_scene_flow.php?benchmark=flow",
    "pairs with sparse measured flow and disparity, moving cars too; frames around them without truth",
)
