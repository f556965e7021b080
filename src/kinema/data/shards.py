"""``shards:PATH``: data that `kinema data convert` has written, read by index from a folder or an address."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from kinema.data.family import Facts, Family, OpenedSet
from kinema.data.sample import FlowDataset, FlowFiles, FlowSample
from kinema.data.shard_files import SetHead, make_set
from kinema.data.shard_format import (
    MANIFEST,
    Entry,
    Manifest,
    name_of_key,
    parse_index,
    parse_manifest,
    unpack_sample,
)
from kinema.data.shard_kinds import (
    ARRAYS_KIND,
    FILES_KIND,
    RECORD_KINDS,
    WINDOWS_KIND,
    held_record,
    load_members,
)
from kinema.data.shard_store import FolderStore, ShardStore, open_store
from kinema.data.spec import DataSpec
from kinema.errors import InputError

LAYOUT = f"NAME@NNNNN.tar with NAME@NNNNN.index.json beside each, and {MANIFEST}"


class ShardReader:
    """The samples of a folder of shards by number; indexes are read when first needed and stay.

    It can be sent to other processes, and used after a fork and by several threads.

    Args:
        store: where the shards lie.
        manifest: what they hold.
    """

    def __init__(self, store: ShardStore, manifest: Manifest) -> None:
        self.store, self.manifest = store, manifest
        self._ends = list(accumulate(shard.samples for shard in manifest.shards))
        self._entries: dict[int, tuple[Entry, ...]] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store, "manifest": self.manifest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["store"], state["manifest"])  # type: ignore[misc]

    def __len__(self) -> int:
        return self._ends[-1]

    def name(self, number: int) -> str:
        """Tell a sample's name from the index.

        Args:
            number: of the sample, 0 to the length - 1.

        Returns:
            The name that it had in the data set.

        Raises:
            InputError: when the index cannot be read.
        """
        return name_of_key(self._entry(number)[1].key)

    def sample(self, number: int) -> Any:
        """Read one sample.

        Args:
            number: of the sample, 0 to the length - 1.

        Returns:
            What the data set gave, bit for bit.

        Raises:
            InputError: when the shard or its index is damaged or cannot be read.
        """
        members, source = self._members(number)
        return load_members(self.manifest.kind, members, source=source)

    @contextmanager
    def record(self, number: int) -> Iterator[Any]:
        """Give a sample's files names to be read by while the body runs.

        Args:
            number: of the sample, 0 to the length - 1.

        Yields:
            The record that the data set has of the sample, such as `FlowFiles`.

        Raises:
            InputError: when the shard or its index is damaged or cannot be read.
        """
        members, source = self._members(number)
        with held_record(self.manifest.kind, members, source=source) as record:
            yield record

    def file(self, number: int) -> bytes:
        """Read one file of a set that is stored file by file.

        Args:
            number: of the file, 0 to the length - 1.

        Returns:
            Its content.

        Raises:
            InputError: when the shard or its index is damaged or cannot be read.
        """
        members, source = self._members(number)
        if len(members) != 1:
            raise InputError(f"{source}: {len(members)} files where there should be one; convert again")
        return next(iter(members.values()))

    def _members(self, number: int) -> tuple[Mapping[str, bytes], str]:
        shard, entry = self._entry(number)
        file = self.manifest.shards[shard].file
        packed = self.store.read_range(file, entry.offset, entry.size)
        source = f"{self.store.place}/{file}"
        return unpack_sample(packed, entry, source=source), f"{source}/{entry.key}"

    def _entry(self, number: int) -> tuple[int, Entry]:
        shard = bisect_right(self._ends, number)
        entries = self._entries.get(shard)
        if entries is None:
            with self._lock:
                entries = self._entries.setdefault(shard, self._read_index(shard))
        return shard, entries[number - (self._ends[shard - 1] if shard else 0)]

    def _read_index(self, shard: int) -> tuple[Entry, ...]:
        facts = self.manifest.shards[shard]
        source = f"{self.store.place}/{facts.index}"
        index = parse_index(self.store.read(facts.index), source=source)
        found = (index.shard, index.size, index.sha256, index.conversion, len(index.entries))
        told = (facts.file, facts.size, facts.sha256, self.manifest.conversion, facts.samples)
        if found != told:
            raise InputError(f"{source} does not belong to {MANIFEST} beside it; copy both again")
        return index.entries


@dataclass(frozen=True)
class ShardSet(Sequence[Any]):
    """Samples of any kind in shards: opening reads the manifest, an index reads one sample.

    Attributes:
        spec: of the data that were converted; its path says where they are now.
        reader: gets the samples.
        official_count: how many samples the official part has; None where there is no official set.
        notes: what was said about the copy that was converted.
        numbers: which samples, in order.
    """

    spec: DataSpec
    reader: ShardReader
    official_count: int | None
    notes: tuple[str, ...]
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> ShardSet: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return replace(self, numbers=self.numbers[index])
        return self.reader.sample(self.numbers[index])

    def name_of(self, index: int) -> str:
        """Tell a sample's name without reading it.

        Args:
            index: of the sample.

        Returns:
            Its name.
        """
        return self.reader.name(self.numbers[index])

    def paths_of(self, _index: int) -> Mapping[str, Path]:
        """Tell that a sample has no files of its own.

        Returns:
            No file.
        """
        return {}


@dataclass(frozen=True)
class ShardFlow(FlowDataset):
    """Labelled pairs in shards.

    Attributes:
        shards: the same as a set of any kind.
    """

    shards: ShardSet = field(kw_only=True)

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int | slice) -> FlowSample | FlowDataset:  # type: ignore[override]
        if isinstance(index, slice):
            return replace(self, shards=self.shards[index])
        sample: FlowSample = self.shards[index]
        return sample

    def files_of(self, index: int) -> AbstractContextManager[FlowFiles]:
        """Let the files of a pair be read that are no part of its sample: disparity, the frame before.

        Args:
            index: of the pair.

        Returns:
            A context that gives the pair's files, for `load_disparity` and `load_before` inside it.

        Raises:
            InputError: on entering, when the shard is damaged, or holds pairs that never were files.
        """
        return self.shards.reader.record(self.shards.numbers[index])

    def name_of(self, index: int) -> str:
        """Tell a pair's name without reading it.

        Args:
            index: of the pair.

        Returns:
            Its name.
        """
        return self.shards.name_of(index)

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell that a pair has no files of its own.

        Args:
            index: of the pair.

        Returns:
            No file.
        """
        return self.shards.paths_of(index)


def open_shards(spec: DataSpec, _path: Path) -> OpenedSet[Any]:
    """Open shards where they lie; only the manifest is read.

    Args:
        spec: its path is the folder or address that holds the manifest.

    Returns:
        The data set that was converted, under its own name.

    Raises:
        UsageError: when the kind of address is unknown.
        InputError: when there is no manifest, it is damaged, or of a kind that this version does not know.
        MissingExtraError: when the address needs a package that is not installed.
    """
    store = open_store(spec.path or ".")
    source = f"{store.place}/{MANIFEST}"
    _check_finished(store, spec)
    manifest = parse_manifest(store.read(MANIFEST), source=source)
    if manifest.kind not in (*RECORD_KINDS, ARRAYS_KIND, WINDOWS_KIND, FILES_KIND):
        raise InputError(
            f"{source}: samples of kind {manifest.kind!r} are not known; a newer kinema wrote them"
        )
    if not manifest.shards or not all(shard.samples for shard in manifest.shards):
        raise InputError(f"{source} lists no samples; convert again")
    reader = ShardReader(store, manifest)
    told = DataSpec(manifest.name, manifest.variant, manifest.split, f"shards:{store.place}", spec.weight)
    if manifest.kind == FILES_KIND:
        head = SetHead(told, manifest.official_count, manifest.notes)
        content = manifest.content or {}
        return make_set(head, content, reader.file, root=Path(store.place), count=len(reader))
    shards = ShardSet(told, reader, manifest.official_count, manifest.notes, range(len(reader)))
    if manifest.kind in ("flow", ARRAYS_KIND):
        return ShardFlow(told, (), manifest.official_count, manifest.notes, shards=shards)
    return shards


def _check_finished(store: ShardStore, spec: DataSpec) -> None:
    """In a folder more can be said than that a file is missing."""
    if not isinstance(store, FolderStore):
        return
    folder = Path(store.place)
    if not folder.is_dir():
        raise InputError(f"--data {spec}: no such folder: {folder}")
    if not (folder / MANIFEST).is_file():
        tars = len(list(folder.glob("*@*.tar")))
        if tars:
            raise InputError(f"{folder} holds {tars} shards but no {MANIFEST}: convert them to the end first")
        raise InputError(f"{folder} holds no shards: expected {LAYOUT}")


FAMILY = Family(
    name="shards",
    kind="any",
    title="any data set converted by kinema data convert, in a folder or behind an address",
    layout=LAYOUT,
    open=open_shards,
    facts=Facts(
        holds="what was converted",
        counts={},
        unit="samples",
        size="",
        source="written by kinema data convert",
        url="",
        terms="those of the data that were converted",
    ),
    place="anything",
)
