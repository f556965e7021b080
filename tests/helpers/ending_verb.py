"""A verb that ends in the way it is told: for the tests of what the command makes of each ending."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Sequence

from kinema.errors import InputError


def run(argv: Sequence[str]) -> int:
    """End as the first word says."""
    ending = argv[0]
    if ending == "user":
        raise InputError("clip.mp4 is\nempty: choose another file")
    if ending == "memory":
        raise MemoryError
    if ending == "bug":
        raise ZeroDivisionError("deep inside")
    if ending == "package":
        importlib.import_module("no_such_package.part")
    if ending == "module":
        importlib.import_module("kinema.no_such_module")
    if ending == "interrupt":
        raise KeyboardInterrupt
    if ending == "note":
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as stop:
            stop.add_note("kept 3 files in out")
            raise
    if ending == "leave":
        sys.exit(0)
    if ending == "sleep":
        print("ready", flush=True)
        time.sleep(30)
    return 0
