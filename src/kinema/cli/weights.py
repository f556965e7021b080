"""`kinema weights`: which action is meant, parse, run, say what there is or what was written."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kinema.apps.weights_config import (
    WeightsConvertConfig,
    WeightsInfoConfig,
    WeightsListConfig,
    WeightsPackConfig,
)
from kinema.cli.parsing import parse
from kinema.errors import UsageError

if TYPE_CHECKING:
    from kinema.apps.weights import WeightsInfo, WeightsList, WeightsWritten
    from kinema.weights.card import Score, WeightsCard

_PROG = "kinema weights"


class Action(NamedTuple):
    """One action: what does it, its line in the help, an example."""

    run: Callable[[Sequence[str]], None]
    help: str
    example: str


def run(argv: Sequence[str]) -> int:
    """Run the verb.

    Args:
        argv: the words after `kinema weights`.

    Returns:
        0 when it is done.

    Raises:
        KinemaError: when something must be corrected by the user.
    """
    name, rest = (argv[0], argv[1:]) if argv else ("", [])
    if name in ("-h", "--help", "help"):
        print(_help())
    elif name in ACTIONS:
        ACTIONS[name].run(rest)
    else:
        near = difflib.get_close_matches(name, ACTIONS, n=1)
        said = f"unknown action {name}: did you mean {near[0]}?" if near else f"unknown action {name}:"
        raise UsageError(f"{said if name else 'say what to do:'} {', '.join(ACTIONS)}; see {_PROG} --help")
    return 0


def _list(argv: Sequence[str]) -> None:
    config = parse(
        WeightsListConfig,
        argv,
        prog=f"{_PROG} list",
        description="List the weights that come with kinema.",
        examples=(ACTIONS["list"].example,),
    )
    from kinema.apps import weights  # after parsing: --help and errors come at once

    result = weights.list_weights(config)
    if not config.quiet:
        print("\n".join(_listed(result)))


def _info(argv: Sequence[str]) -> None:
    config = parse(
        WeightsInfoConfig,
        argv,
        prog=f"{_PROG} info",
        description="Say what a file of weights is, whoever wrote it. Nothing in it is executed.",
        examples=(ACTIONS["info"].example, f"{_PROG} info model.ckpt-595000"),
        groups={"what to look at": ("file",)},
    )
    from kinema.apps import weights

    result = weights.info(config)
    if not config.quiet:
        print("\n".join(_told(result)))


def _convert(argv: Sequence[str]) -> None:
    config = parse(
        WeightsConvertConfig,
        argv,
        prog=f"{_PROG} convert",
        description="Write a checkpoint of another project as a file that kinema loads.",
        examples=(
            ACTIONS["convert"].example,
            f"{_PROG} convert pwcnet.ckpt-595000 -o lg.safetensors --from tfoptflow",
        ),
        groups={"what to read and write": ("file", "out", "source")},
    )
    from kinema.apps import weights

    result = weights.convert_weights(config)
    if not config.quiet:
        print(_written(result))
        if result.left_out:
            print(f"left out, for no computation uses them: {_first(result.left_out)}")
        print("note: converted weights keep the licence they came with")


def _pack(argv: Sequence[str]) -> None:
    config = parse(
        WeightsPackConfig,
        argv,
        prog=f"{_PROG} pack",
        description="Write the weights of a training run in half precision, with a card beside them.",
        examples=(ACTIONS["pack"].example,),
        groups={
            "what to read and write": ("file", "out"),
            "what the card says": ("data", "licence", "numbers", "failure"),
        },
    )
    from kinema.apps import weights

    result = weights.pack(config)
    if not config.quiet and result.card is not None:
        print(_written(result))
        if result.card.rounding is not None:
            rounding = result.card.rounding
            print(
                f"rounding: {rounding.largest:.2g} at most ({rounding.tensor}), "
                f"{100 * rounding.relative:.2g} % of the weights' size"
            )
        print(f"card: {result.out.with_suffix('.json')}")


ACTIONS: dict[str, Action] = {
    "list": Action(_list, "the weights that come with kinema", f"{_PROG} list"),
    "info": Action(_info, "what a file of weights is, whoever wrote it", f"{_PROG} info pwc_net.pth.tar"),
    "convert": Action(
        _convert,
        "a checkpoint of another project as kinema's own",
        f"{_PROG} convert pwc_net.pth.tar -o pwcnet.safetensors",
    ),
    "pack": Action(
        _pack,
        "weights of a training run in half precision, with a card",
        f"{_PROG} pack runs/a/last.safetensors -o a.safetensors --data 'rendered scenes' --licence CC0",
    ),
}


def _help() -> str:
    width = max(map(len, ACTIONS))
    lines = [f"  {name:<{width}}  {action.help}" for name, action in ACTIONS.items()]
    examples = [f"  {action.example}" for action in ACTIONS.values()]
    return "\n".join(
        [
            f"usage: {_PROG} ACTION [...]",
            "",
            "Weights: those that come with kinema, and those of others.",
            "",
            "actions:",
            *lines,
            "",
            "examples:",
            *examples,
            "",
            "options:",
            f"  -h, --help  this text; {_PROG} ACTION --help for the options of one action",
        ]
    )


def _listed(result: WeightsList) -> list[str]:
    lines = []
    for weights in result.weights:
        lines.append(f"{weights.model} {weights.preset}: {_size(weights.bytes)}{_made(weights.card)}")
        if weights.intact is False:
            lines.append("  damaged: it is not the file that its card describes; install kinema again")
        lines += [f"  {line}" for line in _scores(weights.card)]
    lines += [f"{model} {preset}: not included, use --weights FILE" for model, preset in result.missing]
    return lines or ["no model here uses weights"]


def _made(card: WeightsCard | None) -> str:
    if card is None:
        return ""
    return f", {card.recipe}, {card.steps} steps, kinema {card.kinema}, {card.licence}"


def _scores(card: WeightsCard | None) -> list[str]:
    return [] if card is None else [_score(score) for score in card.numbers]


def _score(score: Score) -> str:
    """The first number, beside zero flow; a number has its protocol with it."""
    name, value = next(iter(score.metrics.items()), ("nothing", None))
    zero = score.zero_flow.get(name)
    against = "" if zero is None else f" (zero flow {zero:.3f})"
    count = score.counts.get("pairs")
    pairs = "" if count is None else f", {count} pair{'' if count == 1 else 's'}"
    shown = "-" if value is None else f"{value:.3f}"
    return f"{name} {shown}{against} on {score.data}, protocol {score.protocol}{pairs}"


def _told(result: WeightsInfo) -> list[str]:
    said = result.description
    types = ", ".join(f"{count} {name}" for name, count in result.types.items())
    rows = {
        "file": f"{result.path} ({result.kind}, {_size(result.bytes)})",
        "is": said.title,
        "model": None if said.model is None else f"{said.model}, preset {said.preset or 'unknown'}",
        "options": ", ".join(f"{name}={value}" for name, value in said.options.items()),
        "tensors": f"{result.tensors} ({types}), {result.numbers:,} numbers",
        "sha256": result.sha256,
    }
    lines = [f"{name:<8} {text}" for name, text in rows.items() if text]
    lines += [f"header   {name}: {_short(text)}" for name, text in sorted(result.metadata.items())]
    if result.card is not None:
        lines.append(f"card     {_made(result.card).removeprefix(', ')}; data: {result.card.data}")
        lines += [f"         {line}" for line in _scores(result.card)]
        lines += [f"         known failure: {text}" for text in result.card.known_failures]
        if result.intact is False:
            lines.append("         another file: its sha256 is not this one's")
    lines += [f"problem  {said.problem}"] if said.problem else []
    lines += [f"next     {said.next_step}"] if said.next_step else []
    return lines


def _written(result: WeightsWritten) -> str:
    options = "".join(f", {name} {value}" for name, value in result.options.items())
    return (
        f"{result.source} -> {result.model} (preset {result.preset}{options}), {result.tensors} tensors, "
        f"{_size(result.bytes)} -> {result.out}"
    )


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 160 else f"{flat[:160]} ... ({len(flat)} characters)"


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
