"""``kinema doctor``: print the report of `kinema.apps.doctor`."""

from __future__ import annotations

from collections.abc import Sequence

from kinema.apps.doctor import Diagnosis, DoctorConfig
from kinema.apps.doctor import run as diagnose
from kinema.cli.parsing import parse
from kinema.errors import KinemaError


def run(argv: Sequence[str]) -> int:
    """Check this installation and print what was found.

    Args:
        argv: The words after ``kinema doctor``.

    Returns:
        0 when everything that was tried works.

    Raises:
        KinemaError: Something that was tried does not work.
    """
    config = parse(
        DoctorConfig,
        argv,
        prog="kinema doctor",
        description="Check this installation: versions, devices, extras, codecs; and try the main parts.",
    )
    diagnosis = diagnose(config)
    print("\n".join(_lines(diagnosis)))
    if diagnosis.failed:
        failed = f"{len(diagnosis.failed)} of {len(diagnosis.checks)} checks ({', '.join(diagnosis.failed)})"
        raise KinemaError(f"{failed} failed: the lines above say why; a new environment is the usual cure")
    print("\nhealthy: everything that was tried works")
    return 0


def _lines(diagnosis: Diagnosis) -> list[str]:
    return [
        *_table("versions", diagnosis.versions),
        *_table("machine", diagnosis.machine | {"computes on": "; ".join(diagnosis.devices) or "nothing"}),
        *_table("codecs", {name: _codec(uses) for name, uses in diagnosis.codecs.items()}),
        *_table("extras", {name: _extra(name, lacks) for name, lacks in diagnosis.extras.items()}),
        *_table(
            "tried",
            {
                c.name: f"{'ok' if c.passed else 'FAILED'} ({c.seconds:.1f} s) {c.detail}"
                for c in diagnosis.checks
            },
        ),
    ]


def _table(title: str, rows: dict[str, str]) -> list[str]:
    width = max((len(name) for name in rows), default=0)
    return ["", title, *(f"  {name:<{width}}  {value}" for name, value in rows.items())]


def _codec(uses: dict[str, str | None]) -> str:
    return ", ".join(f"{use} {name}" if name else f"cannot {use}" for use, name in uses.items())


def _extra(name: str, lacks: list[str]) -> str:
    return f"pip install 'kinema[{name}]' (lacks {', '.join(lacks)})" if lacks else "installed"
