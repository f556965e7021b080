"""Files for the servers of Sintel and KITTI: the flow of their test parts, laid out as they want."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kinema.data import FrameDataset, open_dataset
from kinema.data.spec import DataSpec
from kinema.errors import UsageError

PARTS = "sintel-clean@test, sintel-final@test, kitti2015@testing, kitti2012@testing"
"""What can be submitted."""


@dataclass(frozen=True)
class SubmissionPart:
    """One part of a submission.

    Attributes:
        spec: the test part.
        dataset: its pairs of frames.
        files: one for each pair, in its order.
        hint: what to do with the folder, in one sentence.
    """

    spec: DataSpec
    dataset: FrameDataset
    files: tuple[Path, ...]
    hint: str


def is_test_part(spec: DataSpec) -> bool:
    """Tell whether a spec names frames whose truth a server keeps.

    Args:
        spec: what was asked for.

    Returns:
        True for the parts in `PARTS`.
    """
    if spec.name == "sintel":
        return spec.split == "test" and spec.variant in ("clean", "final")
    return spec.name in ("kitti2012", "kitti2015") and spec.variant is None and spec.split == "testing"


def plan_submission(specs: list[DataSpec], folder: Path) -> list[SubmissionPart]:
    """Decide where every flow goes; nothing is computed or written.

    Args:
        specs: test parts of one benchmark.
        folder: where the files will be.

    Returns:
        One part per spec.

    Raises:
        UsageError: when a spec is no test part, or the specs belong to several benchmarks.
        InputError: when nothing usable lies at a path.
    """
    for spec in specs:
        if not is_test_part(spec):
            raise UsageError(
                f"--submission: {spec.label} is no test part that a server scores; choose from {PARTS}"
            )
    benchmarks = sorted({spec.name for spec in specs})
    if len(benchmarks) > 1 or len({spec.label for spec in specs}) < len(specs):
        raise UsageError(
            f"--submission: one folder holds one submission, and each part once; --data names "
            f"{', '.join(spec.label for spec in specs)}"
        )
    return [_part(spec, folder) for spec in specs]


def _part(spec: DataSpec, folder: Path) -> SubmissionPart:
    dataset = open_dataset(spec)
    if not isinstance(dataset, FrameDataset):  # only for the type: the families give no other
        raise UsageError(f"--submission: {spec.label} is no set of frames")
    names = [dataset.name_of(index) for index in range(len(dataset))]
    files = tuple(folder / _file(spec, name) for name in names)
    return SubmissionPart(spec, dataset, files, _hint(spec, folder))


def _file(spec: DataSpec, name: str) -> Path:
    if spec.name == "sintel":
        scene, _, frame = name.partition("/")
        return Path(spec.variant or "", scene, f"{frame.replace('frame_', 'frame')}.flo")
    return Path("flow" if spec.name == "kitti2015" else "", f"{Path(name).name}.png")


def _hint(spec: DataSpec, folder: Path) -> str:
    if spec.name == "sintel":
        return (
            f"pack it with the bundler of the Sintel archive: bundler {folder}/clean {folder}/final out.lzma"
        )
    inside = "flow" if spec.name == "kitti2015" else "*.png"
    return f"pack it: cd {folder} && zip -r {spec.name}.zip {inside}"
