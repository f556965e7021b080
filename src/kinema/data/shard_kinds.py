"""How a sample of each kind becomes members of a tar, and how it is read back by the same code as from disk.

A sample that lies in files is a record: a small dataclass of paths and settings. Its files are stored byte
for byte; a JSON member keeps which field each one belongs to. For reading, the record is made again with the
members' names for paths, and the kind's own loader reads it (`kinema.io.files.holding`). A sample without
files of its own, such as a rendered pair or frames of a video, is stored as lossless pictures and ``.flo``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.family import OpenedSet
from kinema.data.footage import FootageDataset
from kinema.data.frames import FrameFiles, FrameWindow, load_window
from kinema.data.sample import FlowDataset, FlowFiles, FlowSample, load_sample
from kinema.data.shard_files import SetFiles
from kinema.errors import InputError, UsageError
from kinema.io.files import holding, read_bytes
from kinema.io.flow import encode_flo, read_flow
from kinema.io.images import encode_image, read_image

FACTS = "json"
"""The member that says what the others are."""


@dataclass(frozen=True)
class RecordKind:
    """Samples that lie in files.

    Attributes:
        record: the dataclass of their paths and settings; it has a field ``name``.
        load: reads one.
    """

    record: type[Any]
    load: Callable[[Any], Any]

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the record's fields."""
        return frozenset(field.name for field in fields(self.record))


RECORD_KINDS: dict[str, RecordKind] = {
    "flow": RecordKind(FlowFiles, load_sample),
    "frames": RecordKind(FrameFiles, load_window),
}
"""By the name in the manifest. A further kind is one line here."""

ARRAYS_KIND = "flow-arrays"
"""Labelled pairs that lie nowhere, stored as arrays."""

WINDOWS_KIND = "frames-arrays"
"""Windows of footage, whose frames may lie in videos, stored as lossless pictures."""

FILES_KIND = "files"
"""Clips, drives and snippets, stored file by file: see `kinema.data.shard_files`."""


def kind_of(dataset: OpenedSet[Any]) -> str:
    """Tell of which kind a data set's samples are.

    Args:
        dataset: opened, not empty.

    Returns:
        A key of `RECORD_KINDS`, `ARRAYS_KIND`, `WINDOWS_KIND` or `FILES_KIND`.

    Raises:
        UsageError: when there is no way yet to store such samples.
    """
    if isinstance(dataset, SetFiles):
        return FILES_KIND
    record = _record(dataset, 0)
    for name, kind in RECORD_KINDS.items():
        if isinstance(record, kind.record):
            return name
    if record is None and isinstance(dataset, FlowDataset):
        return ARRAYS_KIND
    if isinstance(dataset, FootageDataset):
        return WINDOWS_KIND
    raise UsageError(f"--data {dataset.spec}: there is no way to store such samples in shards")


def members_of(dataset: OpenedSet[Any], index: int, kind: str) -> dict[str, bytes]:
    """Read one sample's files, or encode it.

    Args:
        dataset: opened.
        index: of the sample.
        kind: from `kind_of`.

    Returns:
        Content by member, `FACTS` first.

    Raises:
        InputError: when a file cannot be read.
    """
    if isinstance(dataset, SetFiles):
        return {dataset.suffix_of(index): dataset[index]}
    if kind == ARRAYS_KIND:
        return _members_of_arrays(dataset[index])
    if kind == WINDOWS_KIND:
        return _members_of_window(dataset[index])
    return _members_of_record(_record(dataset, index))


def file_bytes(dataset: OpenedSet[Any], index: int) -> int | None:
    """Add up the sizes of a sample's files without reading them.

    Args:
        dataset: opened.
        index: of the sample.

    Returns:
        In bytes; None where the sample lies nowhere, or inside a video.

    Raises:
        InputError: when a file is not there.
    """
    paths = set(dataset.paths_of(index).values())
    if not paths or isinstance(dataset, FootageDataset):
        return None
    try:
        return sum(path.stat().st_size for path in paths)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be looked at: {error.strerror}; check the data") from None


def load_members(kind: str, members: Mapping[str, bytes], *, source: str) -> Any:
    """Make a sample from its members.

    Args:
        kind: from the manifest.
        members: content by member.
        source: the shard and the key, for messages.

    Returns:
        What the data set itself gives, bit for bit.

    Raises:
        InputError: when members are missing or damaged.
    """
    try:
        if kind in _STORED_ARRAYS:
            with holding(_held(members, source)):
                return _STORED_ARRAYS[kind](json.loads(members[FACTS]), source)
        with held_record(kind, members, source=source) as record:
            return RECORD_KINDS[kind].load(record)
    except _MISFITS as error:
        raise _misfit(kind, source, error) from None


@contextmanager
def held_record(kind: str, members: Mapping[str, bytes], *, source: str) -> Iterator[Any]:
    """Make a sample's record; while the body runs, its files can be read by the names that it gives them.

    Args:
        kind: of `RECORD_KINDS`.
        members: content by member.
        source: the shard and the key, for messages.

    Yields:
        The record, such as `FlowFiles`.

    Raises:
        InputError: when members are missing or damaged.
    """
    try:
        known = RECORD_KINDS[kind]
        record = known.record(**_record_fields(json.loads(members[FACTS]), known.names, members, source))
    except _MISFITS as error:
        raise _misfit(kind, source, error) from None
    with holding(_held(members, source)):
        yield record


_MISFITS = (KeyError, TypeError, ValueError, AttributeError)


def _misfit(kind: str, source: str, error: Exception) -> InputError:
    return InputError(f"{source}: its members are not those of kind {kind!r} ({error}); convert again")


def _held(members: Mapping[str, bytes], source: str) -> dict[Path, bytes]:
    return {Path(f"{source}.{member}"): data for member, data in members.items()}


def _record(dataset: OpenedSet[Any], index: int) -> Any:
    files = getattr(dataset, "files", ())
    return files[index] if files else None


def _members_of_record(record: Any) -> dict[str, bytes]:
    """The record's files, each once; the JSON tells which field is which."""
    facts: dict[str, object] = {}
    members: dict[str, bytes] = {FACTS: b""}
    names: dict[Path, str] = {}

    def stored(path: Path, part: str) -> str:
        if path not in names:
            names[path] = f"{part}{path.suffix.lower()}"
            members[names[path]] = read_bytes(path)
        return names[path]

    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Path):
            facts[field.name] = {"file": stored(value, field.name)}
        elif isinstance(value, tuple) and value and all(isinstance(path, Path) for path in value):
            facts[field.name] = {"files": [stored(p, f"{field.name}{i:03d}") for i, p in enumerate(value)]}
        elif value is not None:
            facts[field.name] = value
    members[FACTS] = _json(facts)
    return members


def _record_fields(
    facts: Mapping[str, Any], known: frozenset[str], members: Mapping[str, bytes], source: str
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in facts.items():
        if name not in known:
            raise ValueError(f"no field {name!r} is known: a newer version wrote this")
        if isinstance(value, dict):
            paths = tuple(_member(part, members, source) for part in value.get("files", [value.get("file")]))
            values[name] = paths if "files" in value else paths[0]
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return values


def _member(part: str, members: Mapping[str, bytes], source: str) -> Path:
    if part not in members:
        raise ValueError(f"{part!r} is missing")
    return Path(f"{source}.{part}")


def _members_of_arrays(sample: FlowSample) -> dict[str, bytes]:
    parts = {f.name: getattr(sample, f.name) for f in fields(sample) if f.name not in ("name", "flow")}
    arrays = {part: value for part, value in parts.items() if isinstance(value, np.ndarray)}
    masks = [part for part, value in arrays.items() if value.dtype == np.bool_]
    whole = np.ones(sample.valid.shape, bool)  # what is not valid comes back as well
    members = {
        FACTS: _json({"name": sample.name, "masks": masks, "images": sorted(set(arrays) - set(masks))}),
        "flow.flo": encode_flo(sample.flow, whole, name=sample.name),
    }
    for part, value in arrays.items():
        picture = np.where(value, np.uint8(255), np.uint8(0)) if part in masks else value
        members[f"{part}.png"] = encode_image(picture, ".png", name=f"{sample.name}, {part}")
    return members


def _arrays_sample(facts: Mapping[str, Any], source: str) -> FlowSample:
    images = {part: read_image(Path(f"{source}.{part}.png")) for part in facts["images"]}
    masks = {part: read_image(Path(f"{source}.{part}.png"))[..., 0] > 0 for part in facts["masks"]}
    flow = read_flow(Path(f"{source}.flow.flo")).flow
    return FlowSample(name=str(facts["name"]), flow=flow, **images, **masks)


def _members_of_window(sample: FrameWindow) -> dict[str, bytes]:
    named = {f"frame{place:03d}.png": frame for place, frame in enumerate(sample.frames)}
    members = {FACTS: _json({"name": sample.name, "frames": list(named)})}
    for member, frame in named.items():
        members[member] = encode_image(frame, ".png", name=f"{sample.name}, {member}")
    return members


def _window(facts: Mapping[str, Any], source: str) -> FrameWindow:
    frames = [read_image(Path(f"{source}.{member}")) for member in facts["frames"]]
    return FrameWindow(name=str(facts["name"]), frames=np.stack(frames))


def _json(facts: Mapping[str, object]) -> bytes:
    return json.dumps(facts, sort_keys=True).encode()


_STORED_ARRAYS: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
    ARRAYS_KIND: _arrays_sample,
    WINDOWS_KIND: _window,
}
