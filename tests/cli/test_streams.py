"""Standard output and error that are closed, full, or too narrow for a name; a terminal that goes away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.textures import moving_frames
from kinema.io.flow import read_flow
from kinema.io.images import write_image

pytestmark = pytest.mark.skipif(os.name == "nt", reason="streams and signals of POSIX")
FULL = Path("/dev/full")


@pytest.fixture
def pair(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, image in zip(paths, moving_frames(2, (32, 40)), strict=True):
        write_image(path, image)
    return [*map(str, paths), "--model", "tvnet", "--warps", "1", "--iterations", "2"]


def _shell(redirected: str, *words: object) -> subprocess.CompletedProcess[str]:
    """`kinema WORDS` with the streams as the shell's words say, such as ``>&-`` for a closed one."""
    command = [sys.executable, "-m", "kinema", *map(str, words)]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_closed_streams_change_nothing(tmp_path: Path, pair: list[str]) -> None:
    ended = _shell("<&- >&- 2>&-", "flow", *pair, "-o", tmp_path / "a.flo")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert read_flow(tmp_path / "a.flo").flow.shape == (32, 40, 2)


def test_a_file_never_takes_the_number_of_a_closed_stream() -> None:
    """What libraries print to number 2 would land inside it."""
    look = "import os; from kinema.cli.streams import safe_streams\nwith safe_streams():\n"
    look += "    print(os.open(os.devnull, os.O_RDONLY) > 2)"
    ended = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", sys.executable, "-c", look],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout == "True\n"


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("--help",), ("flow", "--help"), ("--version",)])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_results_that_cannot_be_said_are_an_error(words: tuple[str, ...], unbuffered: str) -> None:
    with FULL.open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "kinema", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert ended.returncode == 2
    assert ended.stderr.startswith("kinema: error: standard output cannot be written: no space left")
    assert ended.stderr.count("\n") == 1


def _python(code: str, redirected: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_messages_that_cannot_be_said_are_dropped() -> None:
    told = (
        "from kinema.cli.streams import safe_streams\nfrom kinema.cli import console\nwith safe_streams():\n"
    )
    told += (
        "    with console.progress('normal') as lines:\n        lines.begin('clip', 1)\n        lines.end()\n"
    )
    ended = _python(told + "    print('done')", "2>/dev/full")
    assert (ended.returncode, ended.stdout) == (0, "done\n")


def test_names_that_the_stream_cannot_show() -> None:
    told = "from kinema.cli.streams import safe_streams\nwith safe_streams(): print('\\xfc\\udcff.flo')"
    assert _python(told, PYTHONIOENCODING="ascii").stdout == "\\xfc\\udcff.flo\n"
    assert _python(told, PYTHONIOENCODING="utf-8").stdout == "\u00fc\\udcff.flo\n"


@pytest.mark.parametrize(("ignored", "status"), [(False, 129), (True, 0)])
def test_a_terminal_that_goes_away(ignored: bool, status: int) -> None:
    """SIGHUP tidies up like Ctrl-C; `nohup` ignores it, and it stays ignored."""
    run = (
        "import sys, os, signal; from kinema.cli import main as m\n"
        "import types; v = types.ModuleType('verb'); sys.modules['verb'] = v\n"
        "v.run = lambda argv: (os.kill(os.getpid(), signal.SIGHUP), 0)[1]\n"
        "m.VERBS['end'] = m.Verb('verb', ''); sys.exit(m.main(['end']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", run],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if ignored else None,
    )
    assert ended.returncode == status
    assert ended.stderr == ("" if ignored else "kinema: terminated: nothing half-written is left\n")
