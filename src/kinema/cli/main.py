"""The command ``kinema``: which verbs there are, and what becomes of errors and signals.

Nothing heavy is imported here; each verb's module is imported when that verb is called.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NamedTuple

from kinema._version import __version__
from kinema.errors import KinemaError, UsageError


class Verb(NamedTuple):
    """One verb: the module whose ``run(argv) -> int`` does it, and its line in the help."""

    module: str
    help: str


VERBS: dict[str, Verb] = {
    "flow": Verb("kinema.cli.flow", "the motion of every pixel, from images or a video"),
    "evaluate": Verb("kinema.cli.evaluate", "errors against known truth, by a named protocol"),
    "bench": Verb("kinema.cli.bench", "speed and memory of the models on this machine"),
    "doctor": Verb("kinema.cli.doctor", "check this installation: versions, devices, extras, codecs"),
    "demo": Verb("kinema.cli.demo", "render a moving scene, compute its flow, and write a report"),
}

_OK, _BUG, _FIXABLE, _INTERRUPTED, _PIPE_CLOSED, _TERMINATED = 0, 1, 2, 130, 141, 143
_FRAMES_SHOWN = 8


class Terminated(KeyboardInterrupt):
    """SIGTERM, treated like Ctrl-C: what catches `KeyboardInterrupt` to tidy up catches this too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and translate its end into an exit status.

    Code that is interrupted may tell the user what is safe with ``error.add_note("kept 12 files in out")``
    before it lets the `KeyboardInterrupt` go on; the notes are printed.

    Args:
        argv: The words after ``kinema``; the process's own by default.

    Returns:
        0 done; 2 the user can fix it (one line on stderr); 130 interrupted; 143 terminated; 141 the reader of
        our output has gone; 1 a bug (traceback on stderr).
    """
    try:
        with _terminate_like_interrupt():
            status = _dispatch(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
            return status
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else _OK if leave.code is None else _BUG
    except KinemaError as error:
        return _fail(_FIXABLE, f"error: {error}")
    except BrokenPipeError:
        # The reader went away (`kinema ... | head`). Python flushes stdout again at exit: give it a place.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except KeyboardInterrupt as stop:
        ended = _TERMINATED if isinstance(stop, Terminated) else _INTERRUPTED
        kept = getattr(stop, "__notes__", None) or ["finished files are kept, unfinished ones removed"]
        return _fail(ended, f"{'terminated' if ended == _TERMINATED else 'interrupted'}: {'; '.join(kept)}")
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        return _bug(error) if package in ("", "kinema") else _fail(_FIXABLE, _incomplete(package))
    except MemoryError:
        return _fail(_FIXABLE, "error: not enough memory: try smaller tiles or a smaller --max-side")
    except Exception as error:  # noqa: BLE001  the last resort: anything that arrives here is a bug
        return _bug(error)


def _fail(status: int, text: str) -> int:
    with contextlib.suppress(OSError):
        print(f"kinema: {text}", file=sys.stderr, flush=True)
    return status


def _bug(error: Exception) -> int:
    traceback.print_exception(error, limit=-_FRAMES_SHOWN)
    return _fail(_BUG, f"this is a bug in kinema {__version__}: please report it with the lines above")


def _incomplete(package: str) -> str:
    return f"error: the package {package} is not installed here: install kinema again with pip"


def _dispatch(argv: list[str]) -> int:
    if not argv:
        raise UsageError(f"say what to do: {', '.join(VERBS)}; see kinema --help")
    name, *rest = argv
    if name in ("-h", "--help"):
        print(_help())
        return _OK
    if name == "--version":
        print(f"kinema {__version__}")
        return _OK
    if name not in VERBS:
        near = difflib.get_close_matches(name, VERBS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(VERBS)}"
        raise UsageError(f"unknown {'option' if name.startswith('-') else 'command'} {name}: {hint}")
    return int(importlib.import_module(VERBS[name].module).run(rest))


def _help() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:<{width}}  {verb.help}" for name, verb in VERBS.items())
    return (
        "usage: kinema COMMAND [...]\n\n"
        "Motion, depth, camera path and restored video from ordinary video.\n\n"
        f"commands:\n{verbs}\n\n"
        "options:\n  --help     this text; kinema COMMAND --help for the options of one command\n"
        "  --version  the version\n\n"
        "examples:\n  kinema flow clip.mp4 -o flow.mp4\n  kinema flow frame1.png frame2.png -o motion.flo\n"
        "  kinema doctor"
    )


@contextlib.contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    """While it lasts, SIGTERM raises `Terminated` in the main thread: files are tidied up as for Ctrl-C."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Terminated

    if (
        threading.current_thread() is not threading.main_thread()
    ):  # signals can be set in the main thread only
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
