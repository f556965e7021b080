"""The command itself: which verbs there are, and what becomes of errors, signals and closed pipes."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kinema._version import __version__
from kinema.cli.main import VERBS, Verb, main

ENDING = Verb("helpers.ending_verb", "ends as it is told")
RUN_ENDING = (
    "import sys; from kinema.cli import main as m; m.VERBS['end'] = m.Verb('helpers.ending_verb', ''); "
    "sys.exit(m.main(['end', *sys.argv[1:]]))"
)
HEAVY = ("torch", "numpy", "tyro", "pydantic", "rich", "cv2", "av", "numba")


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(VERBS, "end", ENDING)
    return lambda how: main(["end", how])


def _start(*argv: str) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    return subprocess.Popen(
        [sys.executable, *argv], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_help_names_every_verb(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for name, verb in VERBS.items():
        assert f"  {name} " in out
        assert verb.help in out


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from kinema.cli.main import main; status = main(['--help']); "
        f"print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr); sys.exit(status)"
    )
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        process = _start("-c", code)
        _, err = process.communicate(timeout=20)
        seconds.append(time.perf_counter() - begin)
        assert (process.returncode, err.strip()) == (0, "[]")
    assert min(seconds) < 0.5  # the least of three: other programs may be busy


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_its_own_help_without_torch(verb):
    code = (
        f"import sys; from kinema.cli.main import main; status = main([{verb!r}, '--help']); "
        "print('torch' in sys.modules, file=sys.stderr); sys.exit(status)"
    )
    process = _start("-c", code)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (0, "False")
    assert f"usage: kinema {verb}" in out


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_can_be_run(verb):
    assert callable(importlib.import_module(VERBS[verb].module).run)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kinema {__version__}\n"


def test_module_is_the_command():
    process = _start("-m", "kinema", "--version")
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, f"kinema {__version__}\n", "")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["flow", "--help"]),
        (["flwo"], ["unknown command flwo", "did you mean flow?"]),
        (["zzzz"], ["unknown command zzzz", "flow", "doctor"]),
        (["--verison"], ["unknown option --verison: did you mean --version?"]),
        (["--K"], ["unknown option --K: there are"]),
    ],
)
def test_wrong_words_are_one_line_and_status_2(argv, words, capsys):
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("kinema: error: ")
    assert captured.err.count("\n") == 1
    assert all(word in captured.err for word in words)


def test_an_error_of_the_user_is_one_line(ending, capsys):
    assert ending("user") == 2
    assert capsys.readouterr().err == "kinema: error: clip.mp4 is empty: choose another file\n"


def test_no_memory_says_what_to_try(ending, capsys):
    assert ending("memory") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "--max-side" in err


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"
        ),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory"),
    ],
)
def test_memory_that_torch_lacks_is_told_like_any(error, monkeypatch, capsys):
    """torch has no type of its own for a processor without memory, and is not imported here."""

    def run(argv):
        raise error

    monkeypatch.setattr(importlib, "import_module", lambda name: type("verb", (), {"run": staticmethod(run)}))
    assert main(["flow"]) == 2
    assert capsys.readouterr().err.startswith("kinema: error: not enough memory")


def test_a_missing_package_is_a_broken_installation(ending, capsys):
    assert ending("package") == 2
    err = capsys.readouterr().err
    assert err.startswith("kinema: error: the package no_such_package is not installed")
    assert err.count("\n") == 1


def test_a_missing_module_of_ours_is_a_bug(ending, capsys):
    assert ending("module") == 1
    assert "this is a bug" in capsys.readouterr().err


def test_a_bug_shows_its_place_and_says_so(ending, capsys):
    assert ending("bug") == 1
    err = capsys.readouterr().err
    assert 'raise ZeroDivisionError("deep inside")' in err
    assert err.splitlines()[-1].startswith("kinema: this is a bug")


@pytest.mark.parametrize(
    ("how", "says"), [("interrupt", "nothing half-written is left"), ("note", "kept 3 files in out")]
)
def test_interrupt_says_what_was_kept(how, says, ending, capsys):
    assert ending(how) == 130
    err = capsys.readouterr().err
    assert err.startswith("kinema: interrupted: ")
    assert says in err
    assert err.count("\n") == 1


def test_leaving_quietly_is_success(ending):
    assert ending("leave") == 0


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(number, status):
    process = _start("-c", RUN_ENDING, "sleep")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == status
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_the_signal_handler_is_given_back():
    before = signal.getsignal(signal.SIGTERM)
    main(["--version"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_main_works_outside_the_main_thread():
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(main(["--version"])))
    thread.start()
    thread.join()
    assert statuses == [0]


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_closed_pipe_is_quiet():
    process = _start("-m", "kinema", "--help")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(timeout=20) == 141
    assert err == ""
