"""``kinema data convert``: a data set as tar shards, in one process or several, resumable."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from kinema.apps.data_convert_config import DataConvertConfig
from kinema.apps.progress import Progress, Silent
from kinema.data import open_dataset, parse_spec
from kinema.data.family import OpenedSet
from kinema.data.shard_files import SetFiles, set_files
from kinema.data.shard_format import shard_names
from kinema.data.shard_writer import (
    ShardPlan,
    check_folder_is_ours,
    clear_folder,
    finish,
    is_written,
    plan_shards,
    write_shard,
)
from kinema.errors import KinemaError, UsageError
from kinema.io.files import check_folder, check_output, write_json
from kinema.processes import follow_parent, interrupts_held

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataConvertResult:
    """What a conversion did.

    Attributes:
        data: what was converted.
        folder: where the shards are.
        samples: in all shards of the conversion.
        files: in all of them, where clips, drives and snippets are stored file by file; else None.
        shards: of the conversion.
        written: by this call.
        there: were there already.
        missing: that others have still to write (``--shard``).
        size: of the shards that are there, in bytes.
        manifest: written when no shard is missing.
    """

    data: str
    folder: Path
    samples: int
    files: int | None
    shards: int
    written: int
    there: int
    missing: int
    size: int
    manifest: Path | None


def run(config: DataConvertConfig, *, progress: Progress | None = None) -> DataConvertResult:
    """Convert what the config says.

    Args:
        config: the command's arguments.
        progress: told about samples.

    Returns:
        What was done. The manifest is there when all shards are.

    Raises:
        UsageError: when the spec or the cut makes no sense.
        InputError: when data cannot be read.
        OutputError: when shards cannot be written, or the folder holds other ones.
        KeyboardInterrupt: when stopped; whole shards stay, and the same command goes on.
    """
    if config.json_file is not None:
        check_output(config.json_file, overwrite=config.overwrite)
    check_folder(config.out)
    dataset = _open(config.spec)
    plan = plan_shards(
        dataset,
        num_shards=config.num_shards,
        samples_per_shard=config.samples_per_shard,
        shard_bytes=config.max_shard_mib * 2**20 if config.max_shard_mib is not None else None,
    )
    if config.overwrite and config.shard is None:
        clear_folder(config.out)
    check_folder_is_ours(plan, config.out)
    wanted = range(len(plan.parts)) if config.shard is None else [config.shard]
    open_ones = [n for n in wanted if config.overwrite or not is_written(plan, n, config.out)]
    _convert(dataset, plan, open_ones, config, progress or Silent())
    result = _result(dataset, plan, config, written=len(open_ones), wanted=len(wanted))
    if config.json_file is not None:
        write_json(config.json_file, asdict(result), overwrite=config.overwrite)
    return result


def _open(text: str) -> OpenedSet[Any]:
    specs = parse_spec(text)
    if len(specs) > 1:
        raise UsageError(f"{text!r} names {len(specs)} data sets; convert each into a folder of its own")
    if specs[0].weight != 1.0:
        raise UsageError(f"{text!r}: a weight is for training mixes; leave it out")
    dataset = open_dataset(specs[0])
    for note in dataset.notes:
        _log.info("%s: %s", specs[0].label, note)
    return set_files(dataset) or dataset


def _convert(
    dataset: OpenedSet[Any],
    plan: ShardPlan,
    numbers: Sequence[int],
    config: DataConvertConfig,
    progress: Progress,
) -> None:
    progress.begin(f"{dataset.spec.label} -> {config.out}", sum(len(plan.parts[n]) for n in numbers))
    processes = min(config.processes, len(numbers))
    done = 0
    try:
        if processes > 1:
            with closing(_in_processes(dataset, plan, numbers, config.out, processes)) as finished:
                for number in finished:
                    done += 1
                    progress.advance(len(plan.parts[number]))
        else:
            for number in numbers:
                write_shard(dataset, plan, number, config.out, after_sample=progress.advance)
                done += 1
    except KeyboardInterrupt as stop:
        kept = len(plan.parts) - len(numbers) + done if config.shard is None else done
        stop.add_note(f"kept {kept} whole shards in {config.out}; the same command goes on")
        raise
    progress.end()


def _result(
    dataset: OpenedSet[Any], plan: ShardPlan, config: DataConvertConfig, *, written: int, wanted: int
) -> DataConvertResult:
    manifest = finish(dataset, plan, config.out)
    paths = [config.out / shard_names(plan.stem, number)[0] for number in range(len(plan.parts))]
    present = [path for n, path in enumerate(paths) if manifest or is_written(plan, n, config.out)]
    return DataConvertResult(
        data=dataset.spec.label,
        folder=config.out,
        samples=dataset.samples if isinstance(dataset, SetFiles) else len(dataset),
        files=len(dataset) if isinstance(dataset, SetFiles) else None,
        shards=len(plan.parts),
        written=written,
        there=wanted - written,
        missing=len(paths) - len(present),
        size=sum(path.stat().st_size for path in present),
        manifest=manifest,
    )


class _StopAsked(Exception):  # noqa: N818  no error
    """The main process asked for an end."""


@dataclass
class _Work:
    """What every worker process is given once."""

    dataset: OpenedSet[Any]
    plan: ShardPlan
    folder: Path
    stop: Event


_work: list[_Work] = []  # of a worker process; one item


def _in_processes(
    dataset: OpenedSet[Any], plan: ShardPlan, numbers: Sequence[int], folder: Path, processes: int
) -> Generator[int, None, None]:
    """Yield the number of each shard when it is written."""
    context = multiprocessing.get_context("spawn")
    work = _Work(dataset, plan, folder, context.Event())
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_worker_starts, initargs=(work,))
    with _ending(pool, work.stop):
        with interrupts_held():
            futures: list[Future[tuple[int, str | None]]] = [pool.submit(_write_one, n) for n in numbers]
        try:
            for future in as_completed(futures):
                number, problem = future.result()
                if problem is not None:
                    raise KinemaError(problem)
                yield number
        except BrokenProcessPool:
            raise KinemaError(
                "a process that writes shards was killed, perhaps for want of memory: try fewer --processes; "
                "the same command goes on"
            ) from None


@contextmanager
def _ending(pool: ProcessPoolExecutor, stop: Event) -> Iterator[None]:
    """Whatever happens, the workers tidy up and end before this one goes on."""
    try:
        yield
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _write_one(number: int) -> tuple[int, str | None]:
    """Runs in a worker. An error is sent as text: not every exception survives the way."""
    work = _work[0]

    def after_sample() -> None:
        if work.stop.is_set():
            raise _StopAsked

    try:
        write_shard(work.dataset, work.plan, number, work.folder, after_sample=after_sample)
    except KinemaError as error:
        return number, str(error)
    except _StopAsked:
        return number, "stopped"
    return number, None


def _worker_starts(work: _Work) -> None:
    follow_parent()
    _work[:] = [work]
