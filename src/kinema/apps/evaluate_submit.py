"""What `kinema evaluate --submission` does: the flow of a benchmark's test part, in its server's files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kinema.apps.evaluate_model import FlowModel
from kinema.apps.progress import Progress
from kinema.apps.versions import versions
from kinema.errors import InputError, OutputError
from kinema.evaluation.processes import Processes
from kinema.evaluation.submission import SubmissionPart
from kinema.io.files import check_folder
from kinema.io.flow import write_flow


@dataclass(frozen=True, kw_only=True)
class SubmissionResult:
    """What was written for a server; there are no numbers, since the truth is kept there.

    Attributes:
        model: that computed the flow.
        data: on what: label and path.
        folder: holds the submission.
        counts: pairs, and how many the official part has.
        seconds: mean time of the model for a pair.
        settings: of the model.
        notes: a partial copy; what to do with the folder.
    """

    model: str
    data: str
    folder: Path
    counts: Mapping[str, object]
    seconds: float
    settings: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Turn the result into plain JSON values.

        Returns:
            The keys that every result has; no protocol and no metrics.
        """
        return {
            "protocol": None,
            "model": self.model,
            "data": self.data,
            "metrics": {},
            "counts": dict(self.counts),
            "versions": versions(),
            "settings": dict(self.settings),
            "submission": str(self.folder),
            "seconds_per_pair": self.seconds,
            "notes": list(self.notes),
        }


def check_submission(parts: Sequence[SubmissionPart], folder: Path, *, overwrite: bool) -> None:
    """Say before the work what writing would say after it.

    Args:
        parts: what is to be written.
        folder: where.
        overwrite: whether existing files may be replaced.

    Raises:
        OutputError: when the folder cannot be written to, or a file exists.
    """
    check_folder(folder)
    taken = [file for part in parts for file in part.files if file.exists()]
    if taken and not overwrite:
        raise OutputError(
            f"{taken[0]} exists ({len(taken)} of the files to be written do); add --overwrite to replace "
            "them, or choose another --submission"
        )


def submit(
    model: FlowModel,
    part: SubmissionPart,
    folder: Path,
    *,
    processes: Processes,
    progress: Progress,
) -> SubmissionResult:
    """Compute and write the flow of one part, each pair in one of the processes.

    Args:
        model: computes the flow.
        part: what is to be written.
        folder: holds the submission.
        processes: who computes.
        progress: told about every pair.

    Returns:
        What was done.

    Raises:
        InputError: when a frame cannot be read, or the flow of a pair is not a number.
        OutputError: when a file cannot be written.
    """
    progress.begin(f"{model.name} on {part.spec.label}", len(processes.share(len(part.files))))

    def write_mine() -> object:
        times = []
        for index in processes.share(len(part.files)):
            times.append(_write(model, part, index))
            progress.advance()
        return times

    times = [seconds for own in processes.agree(write_mine) for seconds in (own[1:] or own)]
    progress.end()
    count, official = len(part.files), part.dataset.official_count
    whole = official is None or count >= official
    notes = (
        () if whole else (f"{count} of {official} official pairs are present: the server wants all of them",)
    )
    return SubmissionResult(
        model=model.name,
        data=str(part.spec),
        folder=folder,
        counts={"pairs": count, "official_pairs": official},
        seconds=sum(times) / len(times),
        settings=model.settings,
        notes=(*notes, *part.dataset.notes, part.hint),
    )


def _write(model: FlowModel, part: SubmissionPart, index: int) -> float:
    window = part.dataset[index]
    start = time.perf_counter()
    flow = model.flow(window.frames[0], window.frames[1])
    seconds = time.perf_counter() - start
    try:
        write_flow(part.files[index], flow)
    except InputError as error:
        raise InputError(f"{model.name} on {window.name}: {error}") from None
    return seconds
