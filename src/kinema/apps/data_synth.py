"""``kinema data synth``: rendered data in an official layout, in one process or several, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from kinema.apps.data_synth_config import DataSynthConfig
from kinema.apps.pool import in_processes
from kinema.apps.progress import Progress, Silent
from kinema.data.synth.folder import SynthFolder
from kinema.data.synth.plan import SynthPlan, plan_synth
from kinema.data.synth.readme import readme
from kinema.data.synth.writers import WRITERS
from kinema.errors import InputError
from kinema.io.files import check_output, write_bytes, write_json


@dataclass(frozen=True)
class DataSynthResult:
    """What was written.

    Attributes:
        layout: which tree.
        folder: where.
        unit: what is counted.
        count: of samples that were asked for; all are there.
        written: by this call.
        there: were there already.
        specs: what reads the folder, as ``--data`` takes it.
        settings: what the files follow from.
    """

    layout: str
    folder: Path
    unit: str
    count: int
    written: int
    there: int
    specs: tuple[str, ...]
    settings: SynthPlan


def run(config: DataSynthConfig, *, progress: Progress | None = None) -> DataSynthResult:
    """Render and write what the config says.

    Args:
        config: the command's arguments.
        progress: told about samples.

    Returns:
        What was done.

    Raises:
        UsageError: when the layout has no such size, count or number of frames.
        InputError: when the folder of textures cannot be used.
        OutputError: when files cannot be written, or the folder holds other ones.
        KeyboardInterrupt: when stopped; whole samples stay, and the same command goes on.
    """
    plan = plan_synth(
        config.layout,
        count=config.count,
        seed=config.seed,
        size_hw=config.size_hw,
        frames=config.frames,
        textures=None if config.textures is None else config.textures.resolve(),
    )
    if plan.textures is not None and not plan.textures.is_dir():
        raise InputError(f"--textures {config.textures}: no such folder")
    if config.json_file is not None:
        check_output(config.json_file, overwrite=config.overwrite)
    folder = SynthFolder(config.out, plan)
    folder.begin(overwrite=config.overwrite)
    _write_shared(folder, max(config.count, folder.count()))
    missing = [index for index in range(config.count) if not folder.is_written(index)]
    _write_samples(folder, missing, config, progress or Silent())
    folder.end()
    result = DataSynthResult(
        layout=plan.layout,
        folder=config.out,
        unit=plan.facts.unit,
        count=config.count,
        written=len(missing),
        there=config.count - len(missing),
        specs=tuple(f"{spec}:{config.out}" for spec in plan.facts.specs),
        settings=plan,
    )
    if config.json_file is not None:
        write_json(config.json_file, asdict(result), overwrite=config.overwrite)
    return result


def _write_shared(folder: SynthFolder, count: int) -> None:
    """What belongs to all samples; small, and written again by every call."""
    plan = folder.plan
    text = readme(plan, count).encode()
    folder.add_shared("readme", lambda part: write_bytes(part / "README.txt", text))
    shared = WRITERS[plan.layout].shared
    if shared is not None:
        folder.add_shared("shared", lambda part: shared(plan, part))


def _write_samples(
    folder: SynthFolder, missing: Sequence[int], config: DataSynthConfig, progress: Progress
) -> None:
    progress.begin(f"{config.layout} -> {config.out}", len(missing))
    task = partial(write_one, folder)
    done = config.count - len(missing)
    try:
        if min(config.processes, len(missing)) > 1:
            processes = min(config.processes, len(missing))
            with closing(in_processes(task, missing, processes=processes)) as finished:
                for _ in finished:
                    done += 1
                    progress.advance()
        else:
            for index in missing:
                task(index)
                done += 1
                progress.advance()
    except KeyboardInterrupt as stop:
        folder.end()
        whole = f"{done} whole {folder.plan.facts.unit}{'' if done == 1 else 's'}"
        stop.add_note(f"kept {whole} in {config.out}; the same command goes on")
        raise
    progress.end()


def write_one(folder: SynthFolder, index: int) -> None:
    """Render and write one sample.

    Args:
        folder: where it goes.
        index: of the sample.
    """
    writer = WRITERS[folder.plan.layout].sample
    folder.add(index, lambda part: writer(folder.plan, index, part))
