"""What `kinema flow` refuses before any work: places that cannot be written to, files that must be kept."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kinema.apps.flow_config import FlowConfig
from kinema.apps.flow_plan import ClipPlan, kinds
from kinema.errors import OutputError, UsageError
from kinema.io.files import check_output, user_path
from kinema.io.images import IMAGE_SUFFIXES
from kinema.io.video import VIDEO_SUFFIXES

_FRAMES = IMAGE_SUFFIXES | VIDEO_SUFFIXES


def check_places(plans: Sequence[ClipPlan], config: FlowConfig) -> None:
    """Check that every file can be written and that none is lost by it.

    Args:
        plans: where the files go.
        config: what is read, and whether files may be replaced.

    Raises:
        UsageError: when two of the outputs have one name, or results would mix with the frames.
        OutputError: when a file exists and `overwrite` is not set, is an input, or cannot be written.
    """
    inputs = _input_files(config.inputs)
    written: dict[str, Path] = {}
    for plan in plans:
        for sample, single in _samples(plan, config):
            check_output(sample, overwrite=config.overwrite or not single)
            for path in [sample] if single else _numbered_alike(sample, plan.clip.length):
                if os.path.realpath(path) in inputs:
                    raise OutputError(f"{path} is also an input: write somewhere else")
                check_output(path, overwrite=config.overwrite)
            written[os.path.realpath(sample)] = sample
        _check_not_mixed(plan, config)
    if config.json_file is not None:
        place = os.path.realpath(config.json_file)
        if place in inputs or place in written:
            kind = "an input" if place in inputs else "written with --out"
            raise UsageError(f"--json {config.json_file} is also {kind}: choose another name")
        check_output(config.json_file, overwrite=config.overwrite)


def _samples(plan: ClipPlan, config: FlowConfig) -> Iterator[tuple[Path, bool]]:
    """One file of each kind, and whether it is the only one."""
    for fmt in plan.formats:
        for kind in kinds(fmt, config):
            yield plan.path(fmt, kind, 0), fmt == "video" or plan.file is not None


def _numbered_alike(sample: Path, length: int | None) -> list[Path]:
    """Files that would be replaced: named like `sample`, numbered like a pair to come."""
    if not sample.parent.is_dir():
        return []
    pattern = re.compile(r"(\d{6,})" + re.escape(sample.name[6:]))
    found = [(pattern.fullmatch(path.name), path) for path in sorted(sample.parent.iterdir())]
    return [path for match, path in found if match and (length is None or int(match[1]) < length - 1)]


def _input_files(inputs: Sequence[str]) -> frozenset[str]:
    """Every file that may be read, behind all links; too many do no harm."""
    found: set[str] = set()
    for text in inputs:
        path = user_path(text)
        if path.is_dir():
            found |= {os.path.realpath(entry) for entry in path.iterdir() if entry.suffix.lower() in _FRAMES}
        elif path.exists():
            found.add(os.path.realpath(path))
        else:
            names = glob.iglob(str(path), recursive=True)  # noqa: PTH207  as io.clips finds them
            found |= {os.path.realpath(name) for name in names if Path(name).suffix.lower() in _FRAMES}
    return frozenset(found)


def _check_not_mixed(plan: ClipPlan, config: FlowConfig) -> None:
    """Results among the frames of a folder or pattern would be taken for frames the next time."""
    if plan.file is not None or not plan.folder.is_dir():
        return
    pictures = [sample.name for sample, _ in _samples(plan, config) if sample.suffix in _FRAMES]
    for text in config.inputs:
        path = user_path(text)
        folder, name = (path, "*") if path.is_dir() else (path.parent, path.name)
        if path.is_file() or not folder.is_dir() or not folder.samefile(plan.folder):
            continue
        if fnmatch.filter(pictures, name):
            raise UsageError(
                f"--out {config.out}: the frames of {text} are there too, and the results would be taken for "
                "frames the next time; name another folder"
            )
