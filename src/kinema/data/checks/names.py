"""Names of files: which belong to a data set, which only nearly do, and which are strangers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from functools import cache
from pathlib import PurePosixPath

from kinema.data.checks.finding import Finding, by_folder, error, note, warning
from kinema.data.checks.tree import Tree
from kinema.io.images import IMAGE_SUFFIXES

_KITTI_BENCHMARK = (
    r"(image_[0-3]|colored_[01])/\d{6}_\d\d\.png",
    r"(flow|disp)_(occ|noc)(_[01])?/\d{6}_10\.png",
    r"calib\w*/\d{6}\.txt",
    r"(viz_\w+|obj_map|disp_refl_\w+)/\d{6}_1\d\.png",
)
_THINGS = (
    r"frames_(clean|final)pass(_webp)?/(TRAIN|TEST)/[ABC]/\d{4}/(left|right)/\d{4}\.(png|webp)",
    r"optical_flow/(TRAIN|TEST)/[ABC]/\d{4}/into_(future|past)/(left|right)/"
    r"OpticalFlowInto(Future|Past)_\d{4}_[LR]\.pfm",
    r"(disparity\w*|object_ids|object_index|material_index|motion_boundaries|camera_data)/.+",
)
_SUBSET = (
    r"(train|val)/image_(clean|final)/(left|right)/\d{7}\.png",
    r"(train|val)/flow/(left|right)/into_(future|past)/\d{7}\.flo",
    r"(train|val)/flow_occlusions/(left|right)/into_(future|past)/\d{7}\.png",
    r"(train|val)/(disparity\w*|depth_boundaries|motion_boundaries\w*|object_ids)/.+",
)
_SINTEL_SCENE = r"[A-Za-z]\w*"
PATTERNS: dict[str, tuple[str, ...]] = {
    "sintel": (
        rf"(clean|final|albedo|occlusions\w*|invalid|flow_viz)/{_SINTEL_SCENE}/frame_\d{{4}}\.png",
        rf"flow/{_SINTEL_SCENE}/frame_\d{{4}}\.flo",
        rf"(depth\w*|camdata\w*|disparities\w*|segmentation\w*|rigidity\w*)/{_SINTEL_SCENE}/frame_\d{{4}}\.\w+",
    ),
    "sintel-flat": (rf"{_SINTEL_SCENE}/frame_\d{{4}}\.(png|flo)",),
    "flyingchairs": (r"\d{5}_(img[12]\.ppm|flow\.flo)",),
    "flyingchairs2": (
        r"\d{7}-((img_[01]|oids_[01]|(occ|mb)_(01|10))\.png|flow_(01|10)\.flo|"
        r"(occ|mb)_weights_(01|10)\.pfm)",
    ),
    "flyingthings": _THINGS,
    "flyingthings_subset": _SUBSET,
    "middlebury": (
        r"(other|eval)-data/\w+/frame\d\d\.png",
        r"other-gt-flow/\w+/flow\d\d\.(flo|png)",
    ),
    "kitti2012": _KITTI_BENCHMARK,
    "kitti2015": _KITTI_BENCHMARK,
    "kitti_stereo": _KITTI_BENCHMARK,
    "kitti_raw": (
        r"\d{4}_\d\d_\d\d/calib_\w+\.txt",
        r"\d{4}_\d\d_\d\d_drive_\d{4}_sync/(image_0[0-3]|oxts|velodyne_points)/(timestamps\w*|dataformat)\.txt",
        r"\d{4}_\d\d_\d\d_drive_\d{4}_sync/image_0[0-3]/data/\d{10}\.(png|jpg)",
        r"\d{4}_\d\d_\d\d_drive_\d{4}_sync/(oxts/data/\d{10}\.txt|velodyne_points/data/\d{10}\.bin)",
        r"\d{4}_\d\d_\d\d_drive_\d{4}_sync/tracklet_labels\.xml",
    ),
    "kitti_odometry": (
        r"sequences/\d\d/(calib|times)\.txt",
        r"sequences/\d\d/image_[0-3]/\d{6}\.(png|jpg)",
        r"sequences/\d\d/(velodyne/\d{6}\.bin|labels/\d{6}\.label)",
        r"poses/\d\d\.txt",
    ),
    "reds": (
        r"(train|val|test)_(sharp|blur)\w*/(X4/)?\d{3}/\d{8}\.png",
        r"images/(\d{3}/(truth|blur4)|(truth|blur4)/\d{3})/\d{8}\.png",
        r"sets/\w+\.json",
        r"\w+\.lmdb/(data\.mdb|lock\.mdb|meta_info\.txt)",
    ),
    "vid4": (r"(GT|BIx4|BDx4)/(calendar|city|foliage|walk)/\w+\.png",),
    "vimeo90k": (r"\d{5}/\d{4}/im[1-7]\.png", r"\w+\.lmdb/(data\.mdb|lock\.mdb|meta_info\.txt)"),
    "snippets": (r"\w+/\w+\.(jpg|png)", r"\w+/\w+_cam\.txt"),
    "posed": (r"images/.+", r"depth/.+\.png", r"K\.txt", r"poses\.txt"),
}
"""By family: the end of the path of every official file, also of parts that kinema does not read."""

FOREIGN = {"kitti2012": r"(?:.*/)?disp_occ_[01]/.+", "kitti2015": r"(?:.*/)?disp_occ/.+"}
"""Files that only the other set of a pair that is easily confused has."""

_TEXTS = frozenset({"", ".txt", ".md", ".pdf", ".html", ".log", ".py", ".m", ".sh", ".rst", ".csv", ".json"})
_SUFFIXES = (".png", ".jpg", ".ppm", ".flo", ".pfm")


def name_findings(tree: Tree, family: str, used: Set[str]) -> Iterator[Finding]:
    """Find names that the reader passes over.

    Args:
        tree: the files.
        family: whose names count; with its variant where that has names of its own. A family without
            patterns takes any name.
        used: names of the files that make up samples.

    Yields:
        Files in the wrong case, with the wrong suffix, and strangers (a note for each folder).
    """
    if family not in PATTERNS:
        return
    right, loose = _compiled(family, 0), _compiled(family, re.IGNORECASE)
    strangers: list[str] = []
    for name in tree.sizes:
        if right.fullmatch(name) or name in used:
            continue
        suffix = PurePosixPath(name).suffix
        if loose.fullmatch(name):
            yield _wrong_case(name, right)
        elif (wanted := _other_suffix(name, right)) is not None:
            yield error(
                "name suffix",
                name,
                f"is a {suffix or 'file without suffix'} where {wanted} is expected; it is not read",
                f"convert it to {wanted}; only renaming helps where the content is {wanted} already",
            )
        elif not _is_text(name, suffix):
            strangers.append(name)
    yield from _strange(strangers, family)


def _is_text(name: str, suffix: str) -> bool:
    """Lists and descriptions lie beside many copies; below the top they are strangers as well."""
    return suffix.lower() in _TEXTS and name.count("/") <= 1


def _wrong_case(name: str, right: re.Pattern[str]) -> Finding:
    better = next((n for n in (_lower_end(name), name.lower()) if right.fullmatch(n)), None)
    advice = f"rename it to {better}" if better else "rename it as the official archive has it"
    return error("name case", name, "capital and small letters differ from the official name", advice)


def _lower_end(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.name.lower()))


def _other_suffix(name: str, right: re.Pattern[str]) -> str | None:
    path = PurePosixPath(name)
    if path.suffix.lower() not in (*IMAGE_SUFFIXES, *_SUFFIXES) or not path.stem:
        return None
    return next((suffix for suffix in _SUFFIXES if right.fullmatch(str(path.with_suffix(suffix)))), None)


def _strange(names: list[str], family: str) -> Iterator[Finding]:
    for folder, inside in by_folder(names).items():
        count = "1 file belongs" if len(inside) == 1 else f"{len(inside)} files belong"
        yield note(
            "stray files",
            inside[0] if len(inside) == 1 else f"{folder}/",
            f"{count} to no part of {family.partition('-')[0]} and is not read"
            if len(inside) == 1
            else f"{count} to no part of {family.partition('-')[0]} and are not read, such as {inside[0]}",
            "nothing, or move it away; if it should be read, compare its name with the layout",
        )


@cache
def _compiled(family: str, flags: int) -> re.Pattern[str]:
    return re.compile(rf"(?:.*/)?(?:{'|'.join(PATTERNS[family])})", flags)


def foreign_files(tree: Tree, family: str) -> Iterator[Finding]:
    """Find signs that this is another data set than was said.

    Args:
        tree: the files.
        family: of the spec.

    Yields:
        One warning.
    """
    pattern = re.compile(FOREIGN.get(family, "(?!)"))
    name = next(filter(pattern.fullmatch, tree.sizes), None)
    if name is not None:
        other = next(other for other in FOREIGN if other != family)
        what = f"is of {other}, not of {family}"
        yield warning("another set", name, what, f"check it as {other}: numbers of the two do not compare")


def broken_links(tree: Tree) -> Iterator[Finding]:
    """Find links that lead nowhere.

    Args:
        tree: the files.

    Yields:
        An error for each.
    """
    for name in tree.broken:
        yield error("broken link", name, "is a link to a file that is not there", "link or copy it again")


def empty_files(tree: Tree, used: Set[str]) -> Iterator[Finding]:
    """Find files without a byte.

    Args:
        tree: the files.
        used: names of the files that make up samples.

    Yields:
        An error for each file that is read, a warning for others; empty texts do not count.
    """
    for name, size in tree.sizes.items():
        if size:
            continue
        if name in used:
            yield error("empty file", name, "has no bytes", "copy or download it again")
        elif not _is_text(name, PurePosixPath(name).suffix):
            yield warning("empty file", name, "has no bytes", "copy or download it again")
