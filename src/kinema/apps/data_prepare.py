"""``kinema data prepare``: REDS regrouped, snippet strips from KITTI, Sintel laid flat."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from kinema.apps.data_prepare_config import DataPrepareConfig
from kinema.apps.progress import Progress, Silent
from kinema.data import family_of, open_dataset, parse_spec
from kinema.data.driving_sample import DrivingDataset
from kinema.data.layout import checked_path
from kinema.data.placing import How
from kinema.data.prepare_reds import regroup_reds
from kinema.data.prepare_sintel import lay_flat
from kinema.data.prepare_snippets import prepare_snippets
from kinema.data.spec import DataSpec
from kinema.errors import UsageError
from kinema.io.files import check_folder, check_output, write_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataPrepareResult:
    """What a call did.

    Attributes:
        data: what was prepared.
        folder: that was filled.
        placed: clips, strips or files that were written, linked or copied.
        there: those that were there before.
        unit: what `placed` and `there` count.
        lists: files of names that belong to it.
        read_as: the spec that reads the result.
    """

    data: str
    folder: Path
    placed: int
    there: int
    unit: str
    lists: tuple[Path, ...]
    read_as: str


def run(config: DataPrepareConfig, *, progress: Progress | None = None) -> DataPrepareResult:
    """Prepare what the config says. What is there stays; a stopped call goes on when it is repeated.

    Args:
        config: the command's arguments.
        progress: told about clips, snippets or files.

    Returns:
        What was done.

    Raises:
        UsageError: when the family cannot be prepared.
        InputError: when nothing usable lies at the path.
        OutputError: when something is in the way, or nothing can be written.
        KeyboardInterrupt: when stopped; what is there stays.
    """
    if config.json_file is not None:
        check_output(config.json_file, overwrite=config.overwrite)
    makers = {"reds": _reds, "kitti_raw": _snippets, "kitti_odometry": _snippets, "sintel": _flat}
    spec = _spec(config, tuple(makers))
    checked_path(spec, family_of(spec))
    out = config.out if config.out is not None else config.path
    check_folder(out)
    try:
        result = makers[spec.name](spec, config, out, progress or Silent())
    except KeyboardInterrupt as stop:
        stop.add_note(f"what is in {out} stays; the same command goes on")
        raise
    if config.json_file is not None:
        write_json(config.json_file, asdict(result), overwrite=config.overwrite)
    return result


def _spec(config: DataPrepareConfig, known: tuple[str, ...]) -> DataSpec:
    specs = parse_spec(f"{config.family}:{config.path}") if "," not in str(config.path) else []
    if not specs:
        raise UsageError(f"{config.path}: a path with a comma cannot be named; rename the folder, or link it")
    spec = specs[0]
    if spec.name not in known:
        raise UsageError(
            f"{spec.name} is read as it lies, by --data {spec.name}:PATH: not one of {', '.join(known)}"
        )
    return spec


def _how(config: DataPrepareConfig) -> How:
    return "copy" if config.copy_files else "link"


def _reds(spec: DataSpec, config: DataPrepareConfig, out: Path, progress: Progress) -> DataPrepareResult:
    if spec.variant or spec.split:
        raise UsageError(f"{spec.label}: REDS is regrouped as a whole; write reds")
    done = regroup_reds(
        config.path,
        out,
        layout=config.layout,
        how=_how(config),
        overwrite=config.overwrite,
        begin=lambda total: progress.begin("regrouping REDS", total),
        advance=progress.advance,
    )
    progress.end()
    missing = 270 - len(done.clips)
    if missing:
        _log.info("reds: %d of 270 sharp clips are present; the lists name these", len(done.clips))
    return DataPrepareResult("reds", out, done.placed, done.there, "clips", done.lists, f"reds:{out}")


def _snippets(spec: DataSpec, config: DataPrepareConfig, out: Path, progress: Progress) -> DataPrepareResult:
    opened = open_dataset(spec)
    assert isinstance(opened, DrivingDataset)
    for note in opened.notes:
        _log.info("%s: %s", spec.label, note)
    dataset = opened.snippets(config.frames, gaps=config.gaps).resized(
        config.size_hw, intrinsics=config.intrinsics
    )
    progress.begin(f"{spec.label} -> {out}", len(dataset))
    done = prepare_snippets(
        dataset,
        out,
        suffix=".jpg" if config.strips == "jpg" else ".png",
        val_share=config.val_share,
        seed=config.seed,
        threads=config.threads,
        advance=progress.advance,
    )
    progress.end()
    lists = (out / "train.txt", out / "val.txt")
    read_as = f"snippets@train:{out}"
    return DataPrepareResult(spec.label, out, done.written, done.there, "snippets", lists, read_as)


def _flat(spec: DataSpec, config: DataPrepareConfig, out: Path, progress: Progress) -> DataPrepareResult:
    if spec.variant == "flat":
        raise UsageError("sintel-flat is flat already; name what to lay flat: sintel-clean or sintel-final")
    placed, there = lay_flat(
        open_dataset(spec),
        out,
        how=_how(config),
        begin=lambda total: progress.begin(f"{spec.label} -> {out}", total),
        advance=progress.advance,
    )
    progress.end()
    split = "@test" if spec.split == "test" else ""
    return DataPrepareResult(spec.label, out, placed, there, "files", (), f"sintel-flat{split}:{out}")
