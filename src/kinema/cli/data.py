"""``kinema data``: which action is meant. Each action is a module of its own, imported when it is called."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import NamedTuple

from kinema.errors import UsageError

_PROG = "kinema data"


class Action(NamedTuple):
    """One action: the module whose ``run(argv) -> int`` does it, its line in the help, an example."""

    module: str
    help: str
    example: str


ACTIONS: dict[str, Action] = {
    "list": Action(
        "kinema.cli.data_list",
        "which data sets can be read, what they hold, where they come from",
        "kinema data list kitti_raw",
    ),
    "check": Action(
        "kinema.cli.data_check",
        "what is wrong with a copy, before training on it",
        "kinema data check sintel-clean:/data/sintel",
    ),
    "synth": Action(
        "kinema.cli.data_synth",
        "rendered data with exact truth, in the layout of a published set",
        "kinema data synth --layout sintel --count 4 -o rendered/sintel",
    ),
    "prepare": Action(
        "kinema.cli.data_prepare",
        "REDS regrouped, snippets from KITTI, flat Sintel: what other programs read",
        "kinema data prepare reds /data/reds",
    ),
    "convert": Action(
        "kinema.cli.data_convert",
        "a data set as tar shards, for fast or remote reading",
        "kinema data convert sintel-clean:/data/sintel -o /data/shards/sintel-clean",
    ),
    "download": Action(
        "kinema.cli.data_download",
        "a published data set, resumable, unpacked and checked",
        "kinema data download reds train_sharp val_sharp -o /data/reds",
    ),
}


def run(argv: Sequence[str]) -> int:
    """Run the verb.

    Args:
        argv: the words after ``kinema data``.

    Returns:
        The status of the action; 0 when it is done.

    Raises:
        KinemaError: when something must be corrected by the user.
    """
    name, rest = (argv[0], list(argv[1:])) if argv else ("", [])
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name not in ACTIONS:
        near = difflib.get_close_matches(name, ACTIONS, n=1)
        said = f"unknown action {name}: did you mean {near[0]}?" if near else f"unknown action {name}:"
        raise UsageError(f"{said if name else 'say what to do:'} {', '.join(ACTIONS)}; see {_PROG} --help")
    return int(importlib.import_module(ACTIONS[name].module).run(rest))


def _help() -> str:
    width = max(map(len, ACTIONS))
    actions = "\n".join(f"  {name:<{width}}  {action.help}" for name, action in ACTIONS.items())
    examples = "\n".join(f"  {action.example}" for action in ACTIONS.values())
    return (
        f"usage: {_PROG} ACTION [...]\n\n"
        "Data sets: what there is, whether yours is whole, and in which form it is read.\n\n"
        f"actions:\n{actions}\n\n"
        f"options:\n  -h, --help  this text; {_PROG} ACTION --help for the options of one action\n\n"
        f"examples:\n{examples}"
    )
