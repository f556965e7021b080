"""Programs that kinema is compared with: each in a process and an environment of its own, behind a pipe."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Peer:
    """A running script that answers JSON lines with JSON lines; `folder` is for files that both see."""

    def __init__(self, python: str, script: str, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [python, str(HERE / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer has ended with status {self.process.wait()}: see its lines above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def peer(python: str, script: str) -> Iterator[Peer]:
    """A peer that is stopped at the end."""
    with tempfile.TemporaryDirectory() as folder:
        server = Peer(python, script, Path(folder))
        try:
            yield server
        finally:
            server.process.kill()
            server.process.wait()
