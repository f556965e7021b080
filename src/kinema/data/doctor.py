"""The doctor of data sets: everything that can be told about a copy before something is trained on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.data import family_of
from kinema.data.checks import names, sequences
from kinema.data.checks.companions import companion_findings
from kinema.data.checks.driving import check_driving, sampled
from kinema.data.checks.finding import Finding, Report, error, ordered, warning
from kinema.data.checks.flow import check_pairs
from kinema.data.checks.footage import check_sources
from kinema.data.checks.reading import merged, spread, tried
from kinema.data.checks.restoration import check_clips
from kinema.data.checks.text_files import text_findings
from kinema.data.checks.tree import Tree, list_tree
from kinema.data.driving_sample import DrivingDataset
from kinema.data.family import Family, OpenedSet
from kinema.data.footage_clips import find_sources
from kinema.data.frames import FrameDataset
from kinema.data.layout import checked_path
from kinema.data.restoration_sample import RestorationDataset
from kinema.data.sample import FlowDataset
from kinema.data.snippets import SnippetStrips
from kinema.data.spec import DataSpec
from kinema.errors import InputError

SAMPLES = 32
"""How many samples are read when nothing else is asked for."""

_SUSPECTS = 64  # small files that are read beside the sample
_PICTURES = ("image", "low", "sharp", "frame", "before")


@dataclass(frozen=True)
class _Watch:
    """Told about the work: how much there is, and when a piece is done."""

    begin: Callable[[int], None]
    advance: Callable[[], None]


def check_dataset(
    spec: DataSpec,
    *,
    samples: int | None = SAMPLES,
    begin: Callable[[int], None] = lambda _: None,
    advance: Callable[[], None] = lambda: None,
) -> Report:
    """Check a copy of a data set; nothing is changed.

    All files are listed with their sizes. Of their contents a sample is read, spread evenly over the set;
    files that are much smaller than their like are read in any case.

    Args:
        spec: which data set, which part of it, and where.
        samples: how many samples to read; None reads all.
        begin: told how many will be read.
        advance: told after each.

    Returns:
        What was found.

    Raises:
        UsageError: when the family, variant or split is unknown.
        InputError: when the path is no folder, or nothing at all lies there.
    """
    family = family_of(spec)
    path = checked_path(spec, family)
    watch = _Watch(begin, advance)
    if family.kind == "footage":
        return _check_footage(spec, family, path, watch)
    tree = list_tree(path) if family.place == "folder" else Tree(path, {})
    before = [*names.broken_links(tree), *text_findings(tree, spec.name)]
    try:
        opened = family.open(spec, path)
    except InputError as problem:
        return _closed(spec, family, tree, before, problem)
    used, pictures = _files_of(opened, path)
    clips = sequences.clips_of(tree) if spec.name in sequences.CLIP_FAMILIES else {}
    shown = {form: frames for form, frames in clips.items() if frames[0][1] in pictures}
    chosen = _chosen(opened, tree, used, samples)
    watch.begin(len(chosen))
    findings = [
        *before,
        *names.name_findings(tree, _names_family(spec), used.keys()),
        *names.foreign_files(tree, spec.name),
        *names.empty_files(tree, used.keys()),
        *companion_findings(tree, spec.name, spec.variant),
        *sequences.gaps(clips),
        *sequences.copies(tree, shown),
        *_read(opened, chosen, path, whole=samples is None, watch=watch),
    ]
    return _report(spec, family, opened, tree=tree, looked_at=len(chosen), findings=findings)


def _names_family(spec: DataSpec) -> str:
    own = f"{spec.name}-{spec.variant}"
    return own if own in names.PATTERNS else spec.name


def _closed(
    spec: DataSpec, family: Family, tree: Tree, before: Sequence[Finding], problem: InputError
) -> Report:
    """Nothing can be read: say why, with what the names and texts tell."""
    told = [
        *before,
        *names.name_findings(tree, _names_family(spec), frozenset()),
        *names.empty_files(tree, tree.sizes.keys()),
        *companion_findings(tree, spec.name, spec.variant),
    ]
    known = any(f.severity == "error" and f.place and f.place in str(problem) for f in before)
    if not known:
        advice = "compare the folder with the expected tree, and check that the spec names its top"
        told.append(error("cannot be opened", spec.label, str(problem), advice))
    return Report(
        data=spec.label,
        path=spec.path or "",
        unit=family.facts.unit,
        count=0,
        official=None,
        looked_at=0,
        files=len(tree.sizes),
        notes=(),
        findings=ordered(told),
    )


def _report(
    spec: DataSpec,
    family: Family,
    opened: OpenedSet[Any],
    *,
    tree: Tree,
    looked_at: int,
    findings: Sequence[Finding],
) -> Report:
    official = opened.official_count
    found = list(findings)
    if official is not None and len(opened) > official:
        found.append(
            warning(
                "too many",
                spec.label,
                f"{len(opened)} {family.facts.unit} are present, the official part has {official}",
                "files of another set may lie among them",
            )
        )
    return Report(
        data=spec.label,
        path=spec.path or "",
        unit=family.facts.unit,
        count=len(opened),
        official=official,
        looked_at=looked_at,
        files=len(tree.sizes),
        notes=tuple(opened.notes),
        findings=ordered(found),
    )


def _files_of(opened: OpenedSet[Any], root: Path) -> tuple[Mapping[str, list[int]], frozenset[str]]:
    """Names of the files that make up samples, with the samples; and those among them that are pictures."""
    used: dict[str, list[int]] = {}
    pictures: set[str] = set()
    prefix = f"{root.as_posix().rstrip('/')}/"
    for index in range(len(opened)):
        for part, path in opened.paths_of(index).items():
            name = path.as_posix().removeprefix(prefix)
            used.setdefault(name, []).append(index)
            if part.startswith(_PICTURES):
                pictures.add(name)
    return used, frozenset(pictures)


def _chosen(
    opened: OpenedSet[Any], tree: Tree, used: Mapping[str, list[int]], samples: int | None
) -> list[int]:
    if isinstance(opened, DrivingDataset | SnippetStrips):
        even = sampled(opened, samples)
    else:
        even = spread(len(opened), samples)
    present = [name for name in used if name in tree.sizes]
    small = sequences.suspects(tree, present)[:_SUSPECTS]
    return merged(even, [used[name][0] for name in small])


def _read(
    opened: OpenedSet[Any], chosen: Sequence[int], root: Path, *, whole: bool, watch: _Watch
) -> list[Finding]:
    match opened:
        case FlowDataset():
            return check_pairs(opened, chosen, root=root, advance=watch.advance)
        case RestorationDataset() | DrivingDataset() | SnippetStrips() if _in_shards(opened):
            return _just_read(opened, chosen, root, watch)  # its folders were looked at before
        case RestorationDataset():
            return check_clips(opened, chosen, root=root, whole=whole, advance=watch.advance)
        case DrivingDataset() | SnippetStrips():
            return check_driving(opened, chosen, root=root, advance=watch.advance)
    return _just_read(opened, chosen, root, watch)


def _in_shards(opened: OpenedSet[Any]) -> bool:
    return (opened.spec.path or "").startswith("shards:")


def _just_read(opened: OpenedSet[Any], chosen: Sequence[int], root: Path, watch: _Watch) -> list[Finding]:
    """Frames without truth, and whatever shards hold."""
    findings: list[Finding] = []
    for index in chosen:
        sample = tried(
            lambda index=index: opened[index],  # type: ignore[misc]
            name=opened.name_of(index),
            paths=opened.paths_of(index),
            root=root,
            findings=findings,
        )
        if sample is not None and isinstance(opened, FrameDataset) and _repeats(sample.frames):
            advice = "copy the frames again; learning from them teaches no motion"
            what = "its frames are all the same picture"
            findings.append(warning("duplicate frames", sample.name, what, advice))
        watch.advance()
    return findings


def _repeats(frames: Any) -> bool:
    return bool((frames[1:] == frames[:-1]).all())


def _check_footage(spec: DataSpec, family: Family, path: Path, watch: _Watch) -> Report:
    sources = find_sources(path)
    watch.begin(len(sources))
    root = path if path.is_dir() else path.parent
    clips, findings = check_sources(sources, root=root, advance=watch.advance)
    if not sources:
        advice = "name a video, a folder or a quoted pattern"
        findings.append(error("cannot be opened", spec.label, f"no video and no image in {path}", advice))
    frames = sum(clip.frame_count for clip in clips)
    cuts = sum(len(clip.cuts) for clip in clips)
    notes = [f"{len(clips)} of {len(sources)} clips can be read, {frames} frames"]
    notes += [f"{cuts} cuts between scenes"] if cuts else []
    return Report(
        data=spec.label,
        path=spec.path or "",
        unit="clips",
        count=len(clips),
        official=None,
        looked_at=len(sources),
        files=sum(max(len(source.images), 1) for source in sources),
        notes=tuple(notes),
        findings=ordered(findings),
    )
