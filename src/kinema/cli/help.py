"""The text of ``kinema VERB --help``, made from the fields of the verb's config."""

from __future__ import annotations

import shutil
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

import tyro
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_METAVARS: dict[object, str] = {int: "N", float: "X", str: "NAME", Path: "PATH"}
_COLUMN = 22
_UNLIMITED = 1e6  # a limit from here on only keeps nonsense out: it says nothing to a reader


def help_text(
    config: type[BaseModel],
    *,
    prog: str,
    description: str,
    examples: Sequence[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Explain every field of a config as an option.

    Args:
        config: its field descriptions are the explanations; limits and defaults follow from the fields.
        prog: What the user typed so far, as in ``kinema flow``.
        description: The sentence at the top.
        examples: Commands, without explanation.
        groups: Title -> names of fields, in order; fields in no group come last, under ``options``.

    Returns:
        Lines no longer than the terminal, 100 at most.
    """
    width = min(max(shutil.get_terminal_size().columns, 60), 100)
    named = dict(groups or {})
    rest = [name for name in config.model_fields if not any(name in names for names in named.values())]
    named["options"] = [*named.pop("options", ()), *rest]
    parts = [textwrap.fill(f"usage: {prog} {_usage(config)}", width), textwrap.fill(description, width)]
    if examples:
        parts.append("\n".join(["examples:", *(f"  {example}" for example in examples)]))
    for title, names in named.items():
        lines = [line for name in names for line in _entry(name, config.model_fields[name], width)]
        if title == "options":
            lines += _two_columns("-h, --help", "This text.", width)
        parts.append("\n".join([f"{title}:", *lines]))
    return "\n\n".join(parts)


def _usage(config: type[BaseModel]) -> str:
    words = [_head(name, field) for name, field in config.model_fields.items() if _is_positional(field)]
    for name, field in config.model_fields.items():
        if field.is_required() and not _is_positional(field):
            words.append(_head(name, field).split(", ")[0].split(" ")[0] + " " + _metavar(name, field))
    return " ".join([*words, "[OPTIONS]"])


def _entry(name: str, field: FieldInfo, width: int) -> list[str]:
    notes = [*_limits(field), *_default(field)]
    text = (
        ("Do without this: " if field.default is True else "")
        + (field.description or "")
        + (f" ({'; '.join(notes)})" if notes else "")
    )
    return _two_columns(_head(name, field), text, width)


def _two_columns(head: str, text: str, width: int) -> list[str]:
    wrapped = textwrap.wrap(text, width - _COLUMN - 2, break_on_hyphens=False) or [""]
    first = f"  {head:<{_COLUMN - 2}}  {wrapped[0]}" if len(head) <= _COLUMN - 2 else None
    lines = [first, *wrapped[1:]] if first else [f"  {head}", *wrapped]
    indent = " " * (_COLUMN + 2)
    return [line if line.startswith("  ") else indent + line for line in lines]


def _head(name: str, field: FieldInfo) -> str:
    """``-o, --out OUT``, ``--backward``, or ``INPUT...``."""
    if _is_positional(field):
        return _metavar(name, field)
    off = "no-" if field.default is True else ""  # tyro's name for what is on unless named
    flag = "--" + off + (_told(field, "name") or name).replace("_", "-")
    aliases = next((m.aliases for m in field.metadata if getattr(m, "aliases", None)), ())
    head = ", ".join([*aliases, flag])
    return head if _kinds(field) == [bool] else f"{head} {_metavar(name, field)}"


def _metavar(name: str, field: FieldInfo) -> str:
    kind = _kinds(field)[0]
    if told := _told(field, "metavar"):
        return told
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return _METAVARS.get(kind, name.upper())


def _told(field: FieldInfo, key: str) -> str | None:
    return next((str(getattr(m, key)) for m in field.metadata if getattr(m, key, None)), None)


def _is_positional(field: FieldInfo) -> bool:
    return tyro.conf.Positional in field.metadata


def _kinds(field: FieldInfo) -> list[object]:
    """The types that a field may have, without None."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return [kind for kind in get_args(annotation) if kind is not type(None)]
    return [annotation]


def _limits(field: FieldInfo) -> Iterator[str]:
    limits = {
        key: getattr(m, key) for m in field.metadata for key in ("ge", "gt", "le", "lt") if hasattr(m, key)
    }
    low, high = limits.get("ge"), limits.get("le")
    high = None if high is None or high >= _UNLIMITED else high
    if low is not None:
        yield f"{low:g} or more" if high is None else f"{low:g} to {high:g}"
    if "gt" in limits:
        yield f"more than {limits['gt']:g}" + ("" if high is None else f", at most {high:g}")
    if "lt" in limits:
        yield f"less than {limits['lt']:g}"


def _default(field: FieldInfo) -> Iterator[str]:
    if field.is_required():
        if not _is_positional(field):
            yield "required"
    elif field.default is True:
        return
    elif field.default or (field.default == 0 and field.default is not False):  # nothing is no news, 0 is
        default = field.default
        yield f"default: {default:g}" if isinstance(default, float) else f"default: {default}"
