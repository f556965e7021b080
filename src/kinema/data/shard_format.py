"""Tar shards on disk: their names, the index beside each tar, and the manifest of all of them.

A shard is a plain tar in the WebDataset convention: all members of a sample share their name up to the first
dot of its last part, and stand together. The index says where each sample begins and how long it is, so that
one range read fetches it. Nothing in these files depends on the clock, the user or the machine.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, unquote

from kinema.errors import InputError

MANIFEST = "manifest.json"
END_OF_TAR = bytes(2 * tarfile.BLOCKSIZE)

_MANIFEST_FORMAT = "kinema-shards-1"
_INDEX_FORMAT = "kinema-shard-index-1"
_COLUMNS = ["key", "offset", "size", "crc32"]
_PLAIN_NAME = re.compile(r"[\w@+=,-][\w@+=,.-]*")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """Where one sample lies in its tar.

    Attributes:
        key: what the names of its members begin with.
        offset: of its first header, in bytes from the start of the tar.
        size: of all its headers and data, in bytes.
        crc32: of these bytes.
    """

    key: str
    offset: int
    size: int
    crc32: int


@dataclass(frozen=True)
class ShardIndex:
    """What is in one tar.

    Attributes:
        shard: the tar's name.
        size: its length in bytes.
        sha256: of the whole tar, in hexadecimal.
        conversion: which conversion it belongs to, see `conversion_id`.
        entries: its samples in order.
    """

    shard: str
    size: int
    sha256: str
    conversion: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class ShardFacts:
    """One line of the manifest: a tar, its index, and how to tell that they are whole."""

    file: str
    index: str
    samples: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds.

    Attributes:
        name: of the family that was converted.
        variant: of that family.
        split: official part.
        kind: of its samples, see `kinema.data.shard_kinds`.
        official_count: how many samples the official part has.
        notes: what was said about the copy that was converted.
        conversion: see `conversion_id`.
        shards: in order.
        content: where files are stored one by one, which set they make; see `kinema.data.shard_files`.
    """

    name: str
    variant: str | None
    split: str | None
    kind: str
    official_count: int | None
    notes: tuple[str, ...]
    conversion: str
    shards: tuple[ShardFacts, ...]
    content: Mapping[str, Any] | None = None


def key_of(name: str) -> str:
    """Write a sample's name as the key of its members: ASCII, dots and other special characters as ``%2E``.

    Args:
        name: such as ``alley_1/frame_0001``; slashes stay.

    Returns:
        The key; `name_of_key` undoes it.
    """
    return "/".join(quote(part, safe="").replace(".", "%2E").replace("~", "%7E") for part in name.split("/"))


def name_of_key(key: str) -> str:
    """Read a sample's name from its key.

    Args:
        key: from `key_of`.

    Returns:
        The name.
    """
    return unquote(key)


def shard_names(stem: str, number: int) -> tuple[str, str]:
    """Name a shard and its index.

    Args:
        stem: name of the data set.
        number: of the shard, from 0.

    Returns:
        Such as ``sintel-clean@00003.tar`` and ``sintel-clean@00003.index.json``.
    """
    return f"{stem}@{number:05d}.tar", f"{stem}@{number:05d}.index.json"


def conversion_id(
    label: str, kind: str, parts: Iterable[Sequence[str]], content: Mapping[str, Any] | None = None
) -> str:
    """Tell conversions apart: the same data in the same cut have the same number, wherever they lie.

    Args:
        label: of the data, such as ``sintel-clean``.
        kind: of the samples.
        parts: the names of the samples of each shard.
        content: see `Manifest.content`.

    Returns:
        A SHA-256 in hexadecimal.
    """
    digest = hashlib.sha256(json.dumps([_MANIFEST_FORMAT, label, kind]).encode())
    for names in parts:
        digest.update(json.dumps(list(names)).encode())
    if content is not None:
        digest.update(json.dumps(content).encode())
    return digest.hexdigest()


def pack_sample(key: str, members: Mapping[str, bytes]) -> bytes:
    """Write the members of a sample as they stand in the tar.

    Args:
        key: of the sample.
        members: content by the rest of the name, such as ``image1.png``.

    Returns:
        Headers and data, whole blocks. Time, owner and rights are the same for all.
    """
    blocks = []
    for rest, data in members.items():
        header = tarfile.TarInfo(f"{key}.{rest}")
        header.size, header.mode = len(data), 0o644
        blocks += [header.tobuf(tarfile.PAX_FORMAT), data, bytes(-len(data) % tarfile.BLOCKSIZE)]
    return b"".join(blocks)


def unpack_sample(packed: bytes, entry: Entry, *, source: str) -> dict[str, bytes]:
    """Take the bytes of one sample apart.

    Args:
        packed: what lies at the place that the index names.
        entry: the line of the index.
        source: the shard, for messages.

    Returns:
        Content by the rest of the name, such as ``image1.png``.

    Raises:
        InputError: when they are not the bytes that were written.
    """
    if len(packed) != entry.size or zlib.crc32(packed) != entry.crc32:
        raise InputError(
            f"{source} is damaged at {entry.key} (byte {entry.offset}), or its index is another file's; "
            "copy both again"
        )
    prefix = f"{entry.key}."
    try:
        return {name.removeprefix(prefix): data for name, data in _members(packed) if name.startswith(prefix)}
    except (tarfile.TarError, ValueError) as error:
        raise InputError(f"{source} holds no tar members at {entry.key}: {error}; convert again") from None


def _members(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file. `tarfile.TarFile` would keep the bytes until garbage is collected."""
    place, long_name = 0, None
    while place < len(packed):
        start = place + tarfile.BLOCKSIZE
        header = tarfile.TarInfo.frombuf(packed[place:start], "utf-8", "surrogateescape")
        data = packed[start : start + header.size]
        place = start + len(data) + -len(data) % tarfile.BLOCKSIZE
        if header.type == tarfile.XHDTYPE:
            long_name = _pax_path(data)
        elif header.isreg():
            yield long_name or header.name, data
            long_name = None


def _pax_path(records: bytes) -> str | None:
    """The record ``path`` of an extended header (POSIX.1-2001, pax): ``LENGTH path=NAME`` and a line end."""
    match = re.search(rb"\d+ path=([^\n]*)\n", records)
    return match[1].decode() if match else None


def write_index(index: ShardIndex) -> bytes:
    """Write an index as JSON, one sample a line.

    Args:
        index: what is in a tar.

    Returns:
        The content of the file.
    """
    facts = {
        "format": _INDEX_FORMAT,
        "shard": index.shard,
        "bytes": index.size,
        "sha256": index.sha256,
        "conversion": index.conversion,
        "columns": _COLUMNS,
    }
    head = json.dumps(facts, indent=1)[:-2]
    rows = ",\n".join(json.dumps([e.key, e.offset, e.size, e.crc32]) for e in index.entries)
    return f'{head},\n "samples": [\n{rows}\n]}}\n'.encode()


def parse_index(data: bytes, *, source: str) -> ShardIndex:
    """Read an index, trusting nothing in it.

    Args:
        data: the content of the file.
        source: its name, for messages.

    Returns:
        What is in the tar; the places follow each other and lie inside it.

    Raises:
        InputError: when it is no index, or damaged.
    """
    try:
        facts = _json(data, _INDEX_FORMAT)
        if facts["columns"] != _COLUMNS:
            raise ValueError("its columns are others")
        entries = tuple(Entry(*row) for row in facts["samples"])
        index = ShardIndex(
            _plain_name(facts["shard"]),
            _count(facts["bytes"]),
            _hex(facts["sha256"]),
            _hex(facts["conversion"]),
            entries,
        )
        place = 0
        for entry in entries:
            if not isinstance(entry.key, str) or _count(entry.offset) < place or _count(entry.size) == 0:
                raise ValueError(f"{entry.key!r} has no place of its own")
            place = entry.offset + entry.size
            _count(entry.crc32)
        if place > index.size:
            raise ValueError("it leads behind the end of the tar")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{source} is no index of a shard, or damaged ({_why(error)}); copy it again"
        ) from None
    return index


def write_manifest(manifest: Manifest) -> bytes:
    """Write a manifest as JSON.

    Args:
        manifest: of a finished conversion.

    Returns:
        The content of the file.
    """
    facts = asdict(manifest)
    if manifest.content is None:
        del facts["content"]
    shards = [
        {"bytes" if key == "size" else key: value for key, value in shard.items()}
        for shard in facts.pop("shards")
    ]
    samples = sum(shard.samples for shard in manifest.shards)
    content = {"format": _MANIFEST_FORMAT, **facts, "samples": samples, "shards": shards}
    return (json.dumps(content, indent=1) + "\n").encode()


def parse_manifest(data: bytes, *, source: str) -> Manifest:
    """Read a manifest, trusting nothing in it.

    Args:
        data: the content of the file.
        source: its name, for messages.

    Returns:
        What the folder holds.

    Raises:
        InputError: when it is no manifest, or damaged.
    """
    try:
        facts = _json(data, _MANIFEST_FORMAT)
        shards = tuple(
            ShardFacts(
                _plain_name(shard["file"]),
                _plain_name(shard["index"]),
                _count(shard["samples"]),
                _count(shard["bytes"]),
                _hex(shard["sha256"]),
            )
            for shard in facts["shards"]
        )
        count, held = facts["official_count"], facts.get("content")
        if held is not None and not isinstance(held, dict):
            raise ValueError("content is no object")
        return Manifest(
            _text(facts["name"]),
            _optional_text(facts["variant"]),
            _optional_text(facts["split"]),
            _text(facts["kind"]),
            None if count is None else _count(count),
            tuple(_text(note) for note in facts["notes"]),
            _hex(facts["conversion"]),
            shards,
            held,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{source} is no manifest of shards, or damaged ({_why(error)})") from None


def _json(data: bytes, form: str) -> dict[str, Any]:
    try:
        facts = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(facts, dict) or facts.get("format") != form:
        raise ValueError(f'it does not say "format": "{form}"')
    return facts


def _plain_name(value: object) -> str:
    """A file's name, never a path: it is joined to the folder or address."""
    name = _text(value)
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no plain file name")
    return name


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
        raise ValueError(f"{value!r} is no count")
    return value


def _hex(value: object) -> str:
    if not _HEX.fullmatch(_text(value)):
        raise ValueError("a SHA-256 is not one")
    return str(value)


def _why(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
