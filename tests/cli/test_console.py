"""What a long command says: lines away from a terminal, a bar on one, nothing when quiet."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from kinema.cli import console
from kinema.cli.console import progress, set_up_logging, verbosity

THREE_STEPS = (
    "from kinema.cli.console import progress\n"
    "with progress('normal') as bar:\n"
    "    bar.begin('clip [1].mp4', 3)\n"
    "    for _ in range(3): bar.advance()\n"
    "    bar.end()\n"
)


@pytest.fixture(autouse=True)
def logging_as_it_was():
    logger = logging.getLogger("kinema")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def test_quiet_wins():
    assert verbosity(quiet=False, verbose=False) == "normal"
    assert verbosity(quiet=False, verbose=True) == "verbose"
    assert verbosity(quiet=True, verbose=True) == "quiet"


@pytest.mark.parametrize(
    ("level", "shown"),
    [("quiet", ["e"]), ("normal", ["i", "w", "e"]), ("verbose", ["d", "i", "w", "e"])],
)
def test_log_levels(level, shown, capsys):
    set_up_logging(level)
    logger = logging.getLogger("kinema.some.module")
    logger.debug("d")
    logger.info("i")
    logger.warning("w")
    logger.error("e")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(": ")[-1] for line in captured.err.splitlines()] == shown


def test_setting_up_twice_says_things_once(capsys):
    set_up_logging("normal")
    set_up_logging("normal")
    logging.getLogger("kinema").info("once")
    assert capsys.readouterr().err == "kinema: once\n"


def test_lines_come_now_and_then(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with progress("normal", unit="pairs") as told:
        told.begin("clip.mp4", 40)
        for _ in range(40):
            now += 1.0
            told.advance()
        told.end()
    lines = capsys.readouterr().err.splitlines()
    # The first after 5 s, then every 15 s, and the end; one pair a second.
    assert lines == [
        "kinema: clip.mp4: 5/40 pairs, 1/s, 35 s left",
        "kinema: clip.mp4: 20/40 pairs, 1/s, 20 s left",
        "kinema: clip.mp4: 35/40 pairs, 1/s, 5 s left",
        "kinema: clip.mp4: 40/40 pairs, 1/s, took 40.0 s",
    ]


def test_the_last_line_comes_once(monkeypatch, capsys):
    """The last step may fall on the moment of a line: the end alone tells it."""
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with progress("normal", unit="pairs") as told:
        told.begin("tvnet on middlebury", 4)
        for _ in range(4):
            now += 1.5
            told.advance()
        told.end()
    assert capsys.readouterr().err == "kinema: tvnet on middlebury: 4/4 pairs, 0.667/s, took 6.0 s\n"


def test_lines_without_a_total(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: now)
    with progress("normal") as told:
        told.begin("stream", None)
        now = 10.0
        told.advance(20)
    assert capsys.readouterr().err == "kinema: stream: 20 frames, 2/s\n"


def test_quiet_says_nothing(capsys):
    with progress("quiet") as told:
        told.begin("clip", 1)
        told.advance()
        told.end()
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals of POSIX")
def test_a_terminal_gets_a_bar():
    import pty

    leader, follower = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", THREE_STEPS], stderr=follower, env=env)
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 4096):
            shown += part
    except OSError:  # Linux reports the closed terminal as an input/output error
        pass
    os.close(leader)
    assert process.wait(timeout=20) == 0
    text = shown.decode()
    assert "clip [1].mp4" in text  # square brackets are not markup
    assert "/3" in text
    assert "clip [1].mp4: 3 done" in text
