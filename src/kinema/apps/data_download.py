"""``kinema data download``: part after part, each fetched, unpacked and remembered."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kinema.apps.data_download_config import DataDownloadConfig
from kinema.apps.progress import Progress, Silent
from kinema.data.archives import is_archive, unpack, unpacked_size
from kinema.data.download import Remote, arrived, check_room, fetch, human, look
from kinema.data.sources import Part, Source, choose_parts, find_source
from kinema.errors import InputError, UsageError
from kinema.io.files import check_folder, check_output, write_json

RECORD = ".downloads.json"
"""In the folder: which parts are there."""

_MB = 10**6
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartResult:
    """What became of one part.

    Attributes:
        part: its name.
        url: its address.
        size: in bytes; None where nobody says.
        problem: of the address (``--dry-run``); empty when all is well.
        files: how many came out of it.
        there: whether it was there before.
    """

    part: str
    url: str
    size: int | None
    problem: str = ""
    files: int = 0
    there: bool = False


@dataclass(frozen=True)
class DataDownloadResult:
    """What a call did, or would do.

    Attributes:
        family: of the data.
        folder: that was filled; None in a dry run without one.
        page: where the publishers describe the data.
        terms: of use.
        note: what else to know.
        parts: in order.
    """

    family: str
    folder: Path | None
    page: str
    terms: str
    note: str
    parts: tuple[PartResult, ...]


def run(config: DataDownloadConfig, *, progress: Progress | None = None) -> DataDownloadResult:
    """Download what the config says.

    Args:
        config: the command's arguments.
        progress: told about megabytes, of what is fetched and of what is unpacked.

    Returns:
        What was done.

    Raises:
        UsageError: when the family or a part is unknown, or has no address.
        InputError: when a server has no such file, or the archive is damaged or hostile.
        OutputError: when there is no room, or a file is in the way.
        KeyboardInterrupt: when stopped; what has arrived stays, and the same command goes on.
    """
    if config.json_file is not None:
        check_output(config.json_file, overwrite=config.overwrite)
    source = find_source(config.family)
    parts = [_at(part, config.mirror) for part in _chosen(source, config)]
    if config.dry_run:
        results = [_told(part, look(part.url)) for part in parts]
    else:
        results = _download(source, parts, config, progress or Silent())
    result = DataDownloadResult(
        source.family, config.out, source.page, source.terms, source.note, tuple(results)
    )
    if config.json_file is not None:
        write_json(config.json_file, asdict(result), overwrite=config.overwrite)
    return result


def _chosen(source: Source, config: DataDownloadConfig) -> list[Part]:
    """A dry run without parts shows all there are."""
    if config.dry_run and not config.parts and source.parts and not source.groups:
        return list(source.parts)
    return choose_parts(source, config.parts)


def _at(part: Part, mirror: str | None) -> Part:
    return part if mirror is None else replace(part, url=f"{mirror.rstrip('/')}/{part.file}")


def _told(part: Part, remote: Remote) -> PartResult:
    return PartResult(part.name, part.url, remote.size or part.size, remote.problem)


def _download(
    source: Source, parts: Sequence[Part], config: DataDownloadConfig, progress: Progress
) -> list[PartResult]:
    folder = config.out
    if folder is None:
        raise UsageError("--out is missing: name the folder to fill")
    check_folder(folder)
    record = {} if config.overwrite else _read_record(folder)
    wanted = [part for part in parts if f"{source.family}/{part.name}" not in record]
    check_room(folder, _least_room(wanted, folder, keep_archive=config.keep_archive))
    _log.info("%s: terms of use: %s; see %s", source.family, source.terms, source.page)
    results = []
    for part in parts:
        if part not in wanted:
            results.append(PartResult(part.name, part.url, part.size, there=True))
            continue
        try:
            done = _one(source, part, folder, config, progress)
        except KeyboardInterrupt as stop:
            stop.add_note(_note(results, folder, part))
            raise
        results.append(done)
        _remember(folder, source, done)
    return results


def _one(
    source: Source, part: Part, folder: Path, config: DataDownloadConfig, progress: Progress
) -> PartResult:
    archive = folder / part.file
    if config.overwrite or not archive.is_file():
        meter = _Meter(progress, part.file)
        fetch(
            part.url,
            archive,
            sha256=part.sha256,
            advice=f"open {source.page} and put {part.file} into {folder} by hand",
            progress=meter.more,
            told_size=meter.begin,
        )
        meter.end()
    size = archive.stat().st_size
    if not is_archive(part.file):
        return PartResult(part.name, part.url, size, files=1)
    content = unpacked_size(archive)
    check_room(folder, content or 0)
    meter = _Meter(progress, f"unpacking {part.file}")
    meter.begin(content)
    files = unpack(archive, folder, overwrite=config.overwrite, progress=meter.more)
    meter.end()
    if not config.keep_archive:
        archive.unlink()
    return PartResult(part.name, part.url, size, files=files)


class _Meter:
    """Bytes as whole megabytes for a progress that counts steps."""

    def __init__(self, progress: Progress, label: str) -> None:
        self._progress, self._label = progress, label
        self._bytes, self._told = 0, 0
        self._begun = False

    def begin(self, size: int | None) -> None:
        """The whole size is known, or never will be."""
        if not self._begun:
            self._begun = True
            self._progress.begin(self._label, None if size is None else -(-size // _MB))

    def more(self, count: int) -> None:
        """So many more bytes; fewer than none when a download begins anew."""
        self._bytes += count
        steps = -(-self._bytes // _MB) - self._told
        if steps:
            self._told += steps
            self._progress.advance(steps)

    def end(self) -> None:
        """All is done."""
        self.begin(None)
        self._progress.end()


def _least_room(parts: Sequence[Part], folder: Path, *, keep_archive: bool) -> int:
    """What the parts need at least, by the published sizes: pictures hardly shrink in an archive."""
    sizes = [(part.size or 0, is_archive(part.file)) for part in parts]
    unpacked = sum(size for size, packed in sizes if packed)
    archives = [size for size, _ in sizes]
    fetched = sum(archives) if keep_archive else max(archives, default=0)
    return max(unpacked + fetched - sum(arrived(folder / part.file) for part in parts), 0)


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        record = None
    if not isinstance(record, dict):
        raise InputError(f"{path} is damaged: delete it; what is there will be looked at again")
    return record


def _remember(folder: Path, source: Source, done: PartResult) -> None:
    facts = {"url": done.url, "bytes": done.size, "files": done.files}
    write_json(folder / RECORD, {**_read_record(folder), f"{source.family}/{done.part}": facts})


def _note(results: Sequence[PartResult], folder: Path, part: Part) -> str:
    whole = f"{len(results)} parts are whole" if results else "no part is whole yet"
    have = arrived(folder / part.file)
    kept = f", {human(have)} of {part.file} are kept" if have else ""
    return f"{whole}{kept} in {folder}; the same command goes on"
