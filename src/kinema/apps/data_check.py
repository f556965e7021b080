"""``kinema data check``: the doctor called for one data set or several."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from kinema.apps.data_check_config import DataCheckConfig
from kinema.apps.progress import Progress, Silent
from kinema.data import parse_spec
from kinema.data.checks.finding import Report, Severity
from kinema.data.doctor import check_dataset
from kinema.io.files import check_output, write_json


@dataclass(frozen=True)
class DataCheckResult:
    """What a call found.

    Attributes:
        reports: one for each data set, in the order of the spec.
    """

    reports: tuple[Report, ...]

    def number_of(self, severity: Severity) -> int:
        """Count findings.

        Args:
            severity: of which.

        Returns:
            How many there are in all reports.
        """
        return sum(report.number_of(severity) for report in self.reports)


def run(config: DataCheckConfig, *, progress: Progress | None = None) -> DataCheckResult:
    """Check what the config says. Nothing of the data is changed.

    Args:
        config: the command's arguments.
        progress: told about samples.

    Returns:
        What was found.

    Raises:
        UsageError: when a spec names no family, variant or split.
        InputError: when a path is not there.
        OutputError: when the JSON file cannot be written.
    """
    if config.json_file is not None:
        check_output(config.json_file, overwrite=config.overwrite)
    watcher = progress or Silent()
    reports: list[Report] = []
    for spec in parse_spec(config.spec):

        def begin(total: int, label: str = spec.label) -> None:
            watcher.begin(f"checking {label}", total)

        samples = None if config.full else config.samples
        report = check_dataset(spec, samples=samples, begin=begin, advance=watcher.advance)
        if report.looked_at:
            watcher.end()
        reports.append(report)
    result = DataCheckResult(tuple(reports))
    if config.json_file is not None:
        write_json(config.json_file, _plain(result), overwrite=config.overwrite)
    return result


def _plain(result: DataCheckResult) -> dict[str, object]:
    counts = {f"{name}s": result.number_of(name) for name in ("error", "warning", "note")}
    reports = [asdict(report) for report in result.reports]
    for report in reports:
        for finding in report["findings"]:
            del finding["more"]
    return {**counts, "reports": reports}
