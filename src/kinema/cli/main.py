"""The command ``kinema``: which verbs there are, and what becomes of errors and signals.

Nothing heavy is imported here; each verb's module is imported when that verb is called.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NamedTuple

from kinema._version import __version__
from kinema.cli.streams import give_up_output, safe_streams
from kinema.errors import KinemaError, UsageError


class Verb(NamedTuple):
    """One verb: the module whose ``run(argv) -> int`` does it, and its line in the help."""

    module: str
    help: str


VERBS: dict[str, Verb] = {
    "flow": Verb("kinema.cli.flow", "the motion of every pixel, from images or a video"),
    "evaluate": Verb("kinema.cli.evaluate", "errors against known truth, by a named protocol"),
    "train": Verb("kinema.cli.train", "train a network by a recipe, or go on with a run"),
    "adapt": Verb("kinema.cli.adapt", "train a network on your own footage, without labels"),
    "data": Verb("kinema.cli.data", "data sets: list, check, prepare, download, convert to shards"),
    "weights": Verb("kinema.cli.weights", "weights: list them, look at a file, convert those of others"),
    "bench": Verb("kinema.cli.bench", "speed and memory of the models on this machine"),
    "doctor": Verb("kinema.cli.doctor", "check this installation: versions, devices, extras, codecs"),
    "demo": Verb("kinema.cli.demo", "render a moving scene, compute its flow, and write a report"),
}

_OK, _BUG, _FIXABLE, _INTERRUPTED, _PIPE_CLOSED, _SIGNALLED = 0, 1, 2, 130, 141, 128
_FRAMES_SHOWN = 8
_NO_MEMORY = "not enough memory: use smaller frames (of flow also --tile 512, or a smaller --max-side)"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, treated like Ctrl-C: what catches `KeyboardInterrupt` to tidy up catches this too.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and translate its end into an exit status.

    Code that is interrupted may tell the user what is safe with ``error.add_note("kept 12 files in out")``
    before it lets the `KeyboardInterrupt` go on; the notes are printed.

    Args:
        argv: The words after ``kinema``; the process's own by default.

    Returns:
        0 done; 2 the user can fix it (one line on stderr); 130 interrupted; 143 terminated; 129 the terminal
        was closed; 141 the reader of our output has gone; 1 a bug (traceback on stderr).
    """
    with safe_streams():
        try:
            with _signals_interrupt():
                status = _status_of(list(sys.argv[1:] if argv is None else argv))
                sys.stdout.flush()
                return status
        except BaseException as error:  # noqa: BLE001  every end of the command has its status
            return _ended(error)


def _status_of(argv: list[str]) -> int:
    try:
        return _dispatch(argv)
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else _OK if leave.code is None else _BUG


def _ended(error: BaseException) -> int:
    """Tell the user about an end that is not the usual one, and find its status."""
    match error:
        case KinemaError():
            return _fail(_FIXABLE, f"error: {error}")
        case BrokenPipeError():  # the reader went away (`kinema ... | head`)
            give_up_output()
            return _PIPE_CLOSED
        case Terminated():
            return _fail(_SIGNALLED + error.number, f"terminated: {_kept(error)}")
        case KeyboardInterrupt():
            return _fail(_INTERRUPTED, f"interrupted: {_kept(error)}")
        case ModuleNotFoundError(name=str(name)) if name.split(".")[0] != "kinema":
            return _fail(_FIXABLE, _incomplete(name.split(".")[0]))
        case _ if _is_out_of_memory(error):
            return _fail(_FIXABLE, f"error: {_NO_MEMORY}")
    return _bug(error)


def _kept(stop: BaseException) -> str:
    return "; ".join(getattr(stop, "__notes__", None) or ["nothing half-written is left"])


def _is_out_of_memory(error: BaseException) -> bool:
    """Python's own, an accelerator's (`torch.OutOfMemoryError`), or torch's on a CPU, which has no type."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and (
            type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator: can't allocate" in str(error)
        )
    )


def _fail(status: int, text: str) -> int:
    print(f"kinema: {text}", file=sys.stderr, flush=True)
    return status


def _bug(error: BaseException) -> int:
    traceback.print_exception(error, limit=-_FRAMES_SHOWN)
    return _fail(_BUG, f"this is a bug in kinema {__version__}: please report it with the lines above")


def _incomplete(package: str) -> str:
    return f"error: the package {package} is not installed here: install kinema again with pip"


def _dispatch(argv: list[str]) -> int:
    if not argv:
        raise UsageError(f"say what to do: {', '.join(VERBS)}; see kinema --help")
    name, *rest = argv
    if name in ("-h", "--help", "help"):
        print(_help())
        return _OK
    if name == "--version":
        print(f"kinema {__version__}")
        return _OK
    if name not in VERBS:
        near = difflib.get_close_matches(name, [*VERBS, "--help", "--version"], n=1, cutoff=0.6)
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
def _signals_interrupt() -> Iterator[None]:
    """While it lasts, SIGTERM and SIGHUP raise `Terminated` in the main thread: files are tidied up."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # signals can be set in the main thread only
        for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            # What somebody ignores on purpose stays ignored: `nohup kinema ...` survives its terminal.
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
