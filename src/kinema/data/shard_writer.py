"""Writing shards: which sample goes where, one tar at a time, and a manifest when all are there."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kinema.data.family import OpenedSet
from kinema.data.shard_files import SetFiles
from kinema.data.shard_format import (
    END_OF_TAR,
    MANIFEST,
    Entry,
    Manifest,
    ShardFacts,
    ShardIndex,
    conversion_id,
    key_of,
    pack_sample,
    parse_index,
    shard_names,
    write_index,
    write_manifest,
)
from kinema.data.shard_kinds import file_bytes, kind_of, members_of
from kinema.errors import InputError, OutputError, UsageError
from kinema.io.files import read_bytes, replacing, write_bytes, writing

SAMPLES_PER_SHARD = 256
"""Where a sample's size is not known before it is made."""

SHARD_BYTES = 2**30
"""Where it is known: a shard's files together are not larger, unless a single sample is."""


@dataclass(frozen=True)
class ShardPlan:
    """Which samples go into which shard: a pure function of the data set's list and the wishes.

    Attributes:
        stem: what the names of the shards begin with.
        kind: of the samples.
        parts: the numbers of the samples of each shard.
        conversion: see `kinema.data.shard_format.conversion_id`.
    """

    stem: str
    kind: str
    parts: tuple[range, ...]
    conversion: str


def plan_shards(
    dataset: OpenedSet[Any],
    *,
    num_shards: int | None = None,
    samples_per_shard: int | None = None,
    shard_bytes: int | None = None,
) -> ShardPlan:
    """Decide which sample goes where.

    Args:
        dataset: opened, not empty.
        num_shards: so many shards of ``floor(N / num_shards)`` samples each, the rest in the last one.
        samples_per_shard: at most so many samples in a shard.
        shard_bytes: at most so many bytes of files in a shard, but one sample at least.

    Returns:
        The plan. Without any wish, shards have up to `SHARD_BYTES`, or `SAMPLES_PER_SHARD` where sizes are
        not known.

    Raises:
        UsageError: more shards than samples, or sizes asked for that are not known.
        InputError: two samples have the same name, or a file is not there.
    """
    count = len(dataset)
    names = [dataset.name_of(index) for index in range(count)]
    _check_unique(names)
    if num_shards is not None:
        parts = _equal_parts(count, num_shards)
    else:
        parts = tuple(_limited_parts(dataset, samples_per_shard, shard_bytes))
    kind = kind_of(dataset)
    label = dataset.spec.label
    stem = label.replace("@", "-")
    parts_names = [names[part.start : part.stop] for part in parts]
    return ShardPlan(stem, kind, parts, conversion_id(label, kind, parts_names, _content(dataset)))


def is_written(plan: ShardPlan, number: int, folder: Path) -> bool:
    """Tell whether a shard is complete: its index is written last.

    Args:
        plan: of this conversion.
        number: of the shard.
        folder: of the shards.

    Returns:
        Whether the tar and its index are there, and are of this conversion.
    """
    return _written(plan, number, folder) is not None


def check_folder_is_ours(plan: ShardPlan, folder: Path) -> None:
    """Refuse to mix conversions in a folder.

    Args:
        plan: of this conversion.
        folder: may be absent.

    Raises:
        OutputError: when it holds shards of another one, or of this one cut in another way.
    """
    ours = {shard_names(plan.stem, number)[1] for number in range(len(plan.parts))}
    for path in sorted(folder.glob("*.index.json")):
        if path.name in ours and _conversion(path) in (plan.conversion, None):  # None: damaged, made again
            continue
        raise OutputError(
            f"{folder} holds shards of another conversion ({path.name}): choose another folder, or add "
            "--overwrite to replace them"
        )


def clear_folder(folder: Path) -> None:
    """Remove the shards of earlier conversions, and nothing else.

    Args:
        folder: may be absent.

    Raises:
        OutputError: when it may not be written to.
    """
    with writing(folder):
        (folder / MANIFEST).unlink(missing_ok=True)  # first: what is left is then no finished conversion
        for index in folder.glob("*.index.json"):
            tar = index.with_name(index.name.removesuffix(".index.json") + ".tar")
            index.unlink(missing_ok=True)
            tar.unlink(missing_ok=True)


def write_shard(
    dataset: OpenedSet[Any],
    plan: ShardPlan,
    number: int,
    folder: Path,
    *,
    after_sample: Callable[[], None],
) -> None:
    """Write one tar and then its index: both whole or not at all.

    Args:
        dataset: opened.
        plan: of this conversion.
        number: of the shard.
        folder: of the shards; made if needed.
        after_sample: called after every sample; what it raises stops the shard.

    Raises:
        InputError: when a sample's files cannot be read.
        OutputError: when the shard cannot be written.
    """
    tar_name, index_name = shard_names(plan.stem, number)
    _remove_leftovers(folder, plan.stem, number)
    with writing(folder):
        (folder / index_name).unlink(missing_ok=True)  # of a tar that is no longer there, or another
    entries: list[Entry] = []
    digest = hashlib.sha256()
    with replacing(folder / tar_name) as temporary, temporary.open("wb") as tar:
        place = 0
        for packed in _packed_samples(dataset, plan, number, entries):
            tar.write(packed)
            digest.update(packed)
            place += len(packed)
            after_sample()
        tar.write(END_OF_TAR)
        digest.update(END_OF_TAR)
        size = place + len(END_OF_TAR)
    index = ShardIndex(tar_name, size, digest.hexdigest(), plan.conversion, tuple(entries))
    write_bytes(folder / index_name, write_index(index))


def finish(dataset: OpenedSet[Any], plan: ShardPlan, folder: Path) -> Path | None:
    """Write the manifest if every shard is there.

    Args:
        dataset: that was converted.
        plan: of this conversion.
        folder: of the shards.

    Returns:
        The manifest; None while shards are missing.

    Raises:
        OutputError: when it cannot be written.
    """
    found = [_written(plan, number, folder) for number in range(len(plan.parts))]
    shards = [
        ShardFacts(
            index.shard, shard_names(plan.stem, number)[1], len(index.entries), index.size, index.sha256
        )
        for number, index in enumerate(found)
        if index is not None
    ]
    if len(shards) < len(found):
        return None
    spec = dataset.spec
    manifest = Manifest(
        name=spec.name,
        variant=spec.variant,
        split=spec.split,
        kind=plan.kind,
        official_count=dataset.official_count,
        notes=tuple(dataset.notes),
        conversion=plan.conversion,
        shards=tuple(shards),
        content=_content(dataset),
    )
    path = folder / MANIFEST
    write_bytes(path, write_manifest(manifest))
    return path


def _content(dataset: OpenedSet[Any]) -> Mapping[str, Any] | None:
    return dataset.content if isinstance(dataset, SetFiles) else None


def _packed_samples(
    dataset: OpenedSet[Any], plan: ShardPlan, number: int, entries: list[Entry]
) -> Iterator[bytes]:
    place = 0
    for index in plan.parts[number]:
        key = key_of(dataset.name_of(index))
        packed = pack_sample(key, members_of(dataset, index, plan.kind))
        entries.append(Entry(key, place, len(packed), zlib.crc32(packed)))
        place += len(packed)
        yield packed


def _equal_parts(count: int, num_shards: int) -> tuple[range, ...]:
    if num_shards > count:
        raise UsageError(
            f"--num-shards {num_shards}: there are {count} samples only; ask for {count} at most"
        )
    each = count // num_shards
    starts = [each * number for number in range(num_shards)]
    return tuple(range(start, stop) for start, stop in zip(starts, [*starts[1:], count], strict=True))


def _limited_parts(
    dataset: OpenedSet[Any], samples_per_shard: int | None, shard_bytes: int | None
) -> Iterator[range]:
    known = file_bytes(dataset, 0) is not None
    if shard_bytes is not None and not known:
        raise UsageError(
            f"--max-shard-mib: the samples of {dataset.spec.label} have no size before they are made; use "
            "--samples-per-shard"
        )
    if samples_per_shard is None and shard_bytes is None:
        samples_per_shard, shard_bytes = (None, SHARD_BYTES) if known else (SAMPLES_PER_SHARD, None)
    start, size = 0, 0
    for index in range(len(dataset)):
        more = (file_bytes(dataset, index) or 0) if shard_bytes is not None else 0
        is_full = samples_per_shard is not None and index - start >= samples_per_shard
        is_large = shard_bytes is not None and size + more > shard_bytes
        if index > start and (is_full or is_large):
            yield range(start, index)
            start, size = index, 0
        size += more
    yield range(start, len(dataset))


def _check_unique(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"two samples are called {name}: shards need names that differ")
        seen.add(name)


def _written(plan: ShardPlan, number: int, folder: Path) -> ShardIndex | None:
    tar_name, index_name = shard_names(plan.stem, number)
    path = folder / index_name
    try:
        index = parse_index(read_bytes(path), source=str(path))
        size = (folder / tar_name).stat().st_size
    except (InputError, OSError):
        return None
    whole = index.conversion == plan.conversion and index.shard == tar_name and size == index.size
    return index if whole and len(index.entries) == len(plan.parts[number]) else None


def _conversion(path: Path) -> str | None:
    try:
        return parse_index(read_bytes(path), source=str(path)).conversion
    except InputError:
        return None


def _remove_leftovers(folder: Path, stem: str, number: int) -> None:
    """Temporary files of a process that was killed while it wrote this very shard."""
    first = shard_names(stem, number)[0].removesuffix(".tar")
    for path in folder.glob(f".{first}.*"):  # the names that `replacing` gives
        with writing(path):
            path.unlink(missing_ok=True)
