"""Run `kinema` inside the test or as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from kinema.cli.main import main


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


class Command:
    """`kinema WORDS` inside this process, as the entry point runs it."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *words: object) -> Ended:
        self._capture.readouterr()
        status = main([str(word) for word in words])
        caught = self._capture.readouterr()
        return Ended(status, caught.out, caught.err)

    def done(self, *words: object) -> Ended:
        """The same, for commands that must succeed."""
        ended = self(*words)
        assert ended.status == 0, ended.err
        return ended


def process(*words: object, **options: object) -> subprocess.Popen[str]:
    """`python -m kinema WORDS`, started."""
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "kinema", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def tree(folder: Path) -> list[str]:
    """Every file and folder below, hidden ones included, as sorted relative names."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
