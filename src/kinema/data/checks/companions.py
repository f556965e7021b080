"""Files that must come together: a truth without its frames, frames without their truth."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from kinema.data.checks.finding import Finding, error
from kinema.data.checks.tree import Tree

_Names = frozenset[str]


def companion_findings(tree: Tree, family: str, variant: str | None) -> Iterator[Finding]:
    """Find pairs with a missing part.

    Args:
        tree: the files.
        family: of the data set.
        variant: of the spec.

    Yields:
        An error for each.
    """
    rule = _RULES.get("sintel-flat" if (family, variant) == ("sintel", "flat") else family)
    if rule is not None:
        names = frozenset(tree.sizes)
        yield from rule(names, variant or "clean")


def _missing(place: str, lacks: Sequence[str]) -> Finding:
    shown = " and ".join(PurePosixPath(name).name for name in lacks)
    return error(
        "incomplete pair", place, f"has no {shown}", "copy the missing file; the pair is left out until then"
    )


def _sintel(names: _Names, variant: str) -> Iterator[Finding]:
    flows = _scenes(names, r"((?:.*/)?)flow/([^/]+)/frame_(\d+)\.flo")
    frames = _scenes(names, rf"((?:.*/)?){variant}/([^/]+)/frame_(\d+)\.png")
    yield from _flow_and_frames(
        flows, frames, lambda top, scene: (f"{top}flow/{scene}", f"{top}{variant}/{scene}")
    )


def _sintel_flat(names: _Names, _: str) -> Iterator[Finding]:
    flows = _scenes(names, r"((?:.*/)?)([^/]+)/frame_(\d+)\.flo")
    frames = _scenes(names, r"((?:.*/)?)([^/]+)/frame_(\d+)\.png")
    yield from _flow_and_frames(flows, frames, lambda top, scene: (f"{top}{scene}", f"{top}{scene}"))


_Scenes = dict[tuple[str, str], dict[int, str]]


def _scenes(names: _Names, pattern: str) -> _Scenes:
    found: _Scenes = {}
    compiled = re.compile(pattern)
    for name in names:
        match = compiled.fullmatch(name)
        if match:
            found.setdefault((match[1], match[2]), {})[int(match[3])] = match[3]
    return found


def _flow_and_frames(
    flows: _Scenes, frames: _Scenes, folders: Callable[[str, str], tuple[str, str]]
) -> Iterator[Finding]:
    for place, numbers in sorted(flows.items()):
        truth, pictures = folders(*place)
        present = frames.get(place, {})
        for number, digits in sorted(numbers.items()):
            wanted = {n: f"frame_{n:0{len(digits)}d}.png" for n in (number, number + 1)}
            lacks = [f"{pictures}/{name}" for n, name in wanted.items() if n not in present]
            if lacks:
                yield _missing(f"{truth}/frame_{digits}.flo", lacks)
        for number, digits in sorted(present.items()):
            if number + 1 in present and number not in numbers:
                yield _missing(f"{pictures}/frame_{digits}.png", [f"frame_{digits}.flo"])
    tops = {top for top, _ in flows}
    for top, scene in sorted(place for place in frames if place not in flows and place[0] in tops):
        yield _missing(f"{folders(top, scene)[1]}/", ["true flow"])


def _chairs(names: _Names, _: str) -> Iterator[Finding]:
    yield from _groups(names, r"(.*?)(\d{5})_(img1\.ppm|img2\.ppm|flow\.flo)", "_")


def _chairs2(names: _Names, _: str) -> Iterator[Finding]:
    yield from _groups(names, r"(.*?)(\d{7})-(img_0\.png|img_1\.png|flow_01\.flo|flow_10\.flo)", "-")


def _groups(names: _Names, pattern: str, separator: str) -> Iterator[Finding]:
    """Every sample has all the endings of the pattern."""
    compiled = re.compile(pattern)
    endings = [ending.replace("\\", "") for ending in pattern.rpartition("(")[2].rstrip(")").split("|")]
    found: dict[str, set[str]] = {}
    for name in names:
        match = compiled.fullmatch(name)
        if match:
            found.setdefault(match[1] + match[2], set()).add(match[3])
    for stem, present in sorted(found.items()):
        lacks = [f"{stem}{separator}{ending}" for ending in endings if ending not in present]
        if lacks:
            there = next(ending for ending in endings if ending in present)
            yield _missing(f"{stem}{separator}{there}", lacks)


def _kitti(names: _Names, _: str) -> Iterator[Finding]:
    truths: dict[tuple[str, str], str] = {}
    frames: dict[tuple[str, str], str] = {}
    for name in names:
        match = re.fullmatch(r"(?:.*/)?(flow_occ|image_[02]|colored_0)/(\d{6})_(10|11)\.png", name)
        if match and "testing/" not in name:
            (truths if match[1] == "flow_occ" else frames)[match[2], match[3]] = name
    for (pair, _time), name in sorted(truths.items()):
        lacks = [f"{pair}_{time}.png" for time in ("10", "11") if (pair, time) not in frames]
        if lacks:
            yield _missing(name, [f"frame {name}" for name in lacks])
    for (pair, time), name in sorted(frames.items()):
        if time == "10" and truths and (pair, "11") in frames and (pair, "10") not in truths:
            yield _missing(name, [f"flow_occ/{pair}_10.png"])


def _middlebury(names: _Names, _: str) -> Iterator[Finding]:
    for name in sorted(names):
        match = re.fullmatch(r"(.*?)other-gt-flow/([^/]+)/flow10\.flo", name)
        if match:
            frames = [f"{match[1]}other-data/{match[2]}/frame{number}.png" for number in (10, 11)]
            lacks = [frame for frame in frames if frame not in names]
            if lacks:
                yield _missing(name, lacks)


def _snippets(names: _Names, _: str) -> Iterator[Finding]:
    for name in sorted(names):
        stem = name.rpartition(".")[0]
        if name.endswith((".jpg", ".png")) and f"{stem}_cam.txt" not in names:
            yield _missing(name, [f"{stem}_cam.txt"])
        elif name.endswith("_cam.txt"):
            strip = name.removesuffix("_cam.txt")
            if not {f"{strip}.jpg", f"{strip}.png"} & names:
                yield _missing(name, [f"{strip}.jpg"])


_RULES: dict[str, Callable[[_Names, str], Iterator[Finding]]] = {
    "sintel": _sintel,
    "sintel-flat": _sintel_flat,
    "flyingchairs": _chairs,
    "flyingchairs2": _chairs2,
    "kitti2012": _kitti,
    "kitti2015": _kitti,
    "middlebury": _middlebury,
    "snippets": _snippets,
}
