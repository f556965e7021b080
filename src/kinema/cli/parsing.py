"""From the words on the command line to a checked, frozen config, with one-line errors.

tyro makes the flags from the config's fields and pydantic checks the values. Both explain failures at length;
here each becomes one `UsageError` that names the flag, says what is wrong, and where the help is.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import tyro
from pydantic import BaseModel, ValidationError
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from kinema.cli.help import help_text
from kinema.errors import UsageError

Config = TypeVar("Config", bound=BaseModel)

_LIMITS = {
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "finite_number": "must be a finite number",
}
_KINDS: dict[type, tuple[str, str]] = {
    int: ("INT", "a whole number"),
    float: ("FLOAT", "a number"),
    str: ("TEXT", "text"),
    Path: ("PATH", "a path"),
}


def parse(
    config: type[Config],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    examples: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Config:
    """Build a config from command-line words; ``--help`` prints and leaves with status 0.

    Args:
        config: A frozen pydantic model with ``extra="forbid"``. Field descriptions become the help, short
            names come from ``Annotated[T, tyro.conf.arg(aliases=["-o"])]``, and inputs are
            ``tyro.conf.Positional``.
        argv: The words after the verb. ``--max-side`` and ``--max_side`` are the same.
        prog: What the user typed so far, as in ``kinema flow``.
        description: The sentence at the top of the help.
        examples: Commands for the help.
        groups: Title -> names of fields, for the help; see `help_text`.

    Returns:
        The checked config.

    Raises:
        UsageError: A word is unknown, missing or out of range. The message is one line and names the flag.
    """
    words = list(argv[: argv.index("--")] if "--" in argv else argv)
    if {"-h", "--help"} & set(words):
        print(help_text(config, prog=prog, description=description, examples=examples, groups=groups))
        raise SystemExit(0)
    needed = [f for name, f in _flags(config).items() if config.model_fields[name].is_required()]
    if needed and not argv:  # tyro knows no least number of inputs, and would name the others only
        raise UsageError(f"{_missing(needed)}; see {prog} --help")
    _refuse_values_of_switches(config, words, prog)
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            return tyro.cli(
                config,
                prog=prog,
                description=description,
                args=list(argv),
                # Only `--backward`, no `--no-backward`: every switch of kinema is off unless named.
                config=(tyro.conf.FlagCreatePairsOff,),
                registry=_registry(),
            )
    except ValidationError as error:
        raise usage_error(config, error, prog) from None
    except SystemExit as leave:
        if leave.code in (0, None):
            raise
        # tyro leaves while handling pydantic's error, which is richer than the text that it prints.
        if isinstance(leave.__context__, ValidationError):
            raise usage_error(config, leave.__context__, prog) from None
        raise UsageError(f"{_plain(config, box.getvalue())}; see {prog} --help") from None


def _refuse_values_of_switches(config: type[BaseModel], words: Sequence[str], prog: str) -> None:
    """``--backward=true`` would be told as an unexpected word ``true``."""
    switches = [f for name, f in _flags(config).items() if config.model_fields[name].annotation is bool]
    for word in words:
        flag, equals, _ = word.replace("_", "-").partition("=")
        if equals and flag in switches:
            raise UsageError(f"{flag} takes no value: name it to switch it on; see {prog} --help")


def _registry() -> ConstructorRegistry:
    """How single values are read: ``int | None`` is a number in the help too, with errors in plain words."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def single(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        union = get_origin(info.type) in (Union, types.UnionType)
        kinds = [k for k in get_args(info.type) if k is not type(None)] if union else [info.type]
        if len(kinds) != 1 or kinds[0] not in _KINDS:
            return None
        kind: type = kinds[0]

        def read(words: list[str]) -> object:
            try:
                if kind is Path and not words[0]:
                    raise ValueError
                # The shell replaces no ~ in --out=~/x; Path.expanduser raises where there is no such user.
                return Path(os.path.expanduser(words[0])) if kind is Path else kind(words[0])  # noqa: PTH111
            except ValueError:
                raise ValueError(f"must be {_KINDS[kind][1]} (got {words[0] or 'nothing'})") from None

        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=_KINDS[kind][0],
            instance_from_str=read,
            is_instance=lambda value: value is None or isinstance(value, kind),
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _flags(config: type[BaseModel]) -> dict[str, str]:
    """Field name -> how the user writes it: ``--tile``, or ``INPUT`` for a positional field."""
    flags = {}
    for name, field in config.model_fields.items():
        # tyro keeps its markers in the field's metadata; `arg` has the names that replace the field's own.
        called = {
            key: getattr(m, key)
            for m in field.metadata
            for key in ("name", "metavar")
            if getattr(m, key, None)
        }
        if tyro.conf.Positional in field.metadata:
            flags[name] = called.get("metavar") or name.upper()
        else:
            off = "no-" if field.default is True else ""  # what is on unless named can only be switched off
            flags[name] = "--" + off + (called.get("name") or name).replace("_", "-")
    return flags


def usage_error(config: type[BaseModel], error: ValidationError, prog: str) -> UsageError:
    """The first problem that pydantic found, in one line.

    Args:
        config: Whose fields are the flags.
        error: What pydantic says.
        prog: What the user typed so far.

    Returns:
        The error to raise; it names the flag.
    """
    first = error.errors(include_url=False)[0]
    where = [str(part) for part in first["loc"]]
    flag = _flags(config).get(where[0], "--" + where[0].replace("_", "-")) if where else ""
    if first["type"] == "value_error":
        # Written by us in a validator: it already says what is wrong, perhaps with the flag.
        text = first["msg"].removeprefix("Value error, ")
        text = text if flag in text else f"{flag}: {text}"
    elif first["type"] in ("too_short", "missing"):
        text = f"{flag} is missing"
    else:
        limit = _LIMITS.get(first["type"])
        text = (
            limit.format(**_plain_numbers(first.get("ctx", {})))
            if limit
            else first["msg"][0].lower() + first["msg"][1:]
        )
        text = (
            f"{flag} {text} (got {first['input']})" if limit else f"{flag}: {text} (got {first['input']!r})"
        )
    return UsageError(f"{text.strip()}; see {prog} --help")


def _plain_numbers(values: Mapping[str, object]) -> dict[str, object]:
    """0 and not 0.0: limits as people write them."""
    return {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in values.items()}


def _plain(config: type[BaseModel], box: str) -> str:
    """The box of text by tyro text as one sentence; texts that are not known here are only flattened."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip().strip("│|").strip() for line in box.splitlines()]
    text = " ".join(line for line in lines[1:-1] if not re.fullmatch(r"[─-]*", line))
    text = re.split(r"For full helptext|Argument helptext:", text)[0].strip()
    flags = list(_flags(config).values())
    if match := re.match(r"Unrecognized options: (\S+)", text):
        return _unknown(match[1].rstrip(","), flags)
    if match := re.match(r"Missing value for argument '(.+?)'", text):
        return f"{match[1]} needs a value"
    if match := re.match(r"invalid choice '(.*)' for argument '(.+?)'. Expected one of \((.*?),?\)", text):
        return f"{match[2]} cannot be {match[1]!r}: choose {match[3]}".replace("'", "")
    if match := re.match(r"Error parsing (\S+): (.*)", text):
        return f"{match[1]} {match[2]}"
    if text.startswith("Missing from"):
        return _missing([f for f in flags if re.search(rf"(?<!\S){re.escape(f)}(?!\S)", text)])
    return text or "the options cannot be understood"


def _missing(flags: list[str]) -> str:
    return " and ".join(flags) + (" is missing" if len(flags) == 1 else " are missing")


def _unknown(word: str, flags: list[str]) -> str:
    """What to say about a word that belongs to no field."""
    if not word.startswith("-"):
        return f"unexpected argument {word}: write all inputs together, before or after the options"
    name = word.split("=")[0].replace("_", "-")
    # Without the dashes, which all flags share: --K is not like --out. A part of a name is like the name.
    names = {flag.strip("-"): flag for flag in flags if flag.startswith("--")}
    near = [n for n in names if len(name) > 4 and n.startswith(name.strip("-"))]
    near = near or difflib.get_close_matches(name.strip("-"), names, n=1, cutoff=0.6)
    return f"unknown option {name}" + (f" (did you mean {names[near[0]]}?)" if near else "")
