"""From words to a config: what each mistake says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from tyro.conf import Positional, arg

from kinema.cli.parsing import parse
from kinema.errors import UsageError


class Sample(BaseModel):
    """One field of every kind that the commands use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")] = Field(min_length=1)
    out: Annotated[Path, arg(aliases=("-o",), metavar="OUT")]
    model: Literal["tvnet", "pwcnet"] = Field(default="tvnet", description="Which model.")
    tile: int | None = Field(default=None, ge=16)
    stride: int = Field(default=1, ge=1)
    zoom: float = Field(default=0.5, gt=0, lt=1)
    max_side: int | None = None
    size: str = "64x64"
    json_file: Annotated[Path | None, arg(name="json")] = None
    start: float | None = None
    end: float | None = None
    backward: bool = False
    quiet: Annotated[bool, arg(aliases=("-q",))] = False

    @field_validator("size")
    @classmethod
    def _size(cls, value: str) -> str:
        if "x" not in value:
            raise ValueError(f"--size {value}: write HEIGHTxWIDTH")
        return value

    @model_validator(mode="after")
    def _times(self) -> Sample:
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError("--end must be after --start")
        return self


def _parse(words: str) -> Sample:
    return parse(Sample, words.split(), prog="kinema sample", description="A sample.")


def _error(words: str) -> str:
    with pytest.raises(UsageError) as caught:
        _parse(words)
    return str(caught.value)


def test_everything_arrives_as_its_type():
    config = _parse("a.png b.png -o out --max_side 640 --tile 64 --zoom 0.25 --backward -q --json r.json")
    assert config == Sample(
        inputs=("a.png", "b.png"),
        out=Path("out"),
        max_side=640,
        tile=64,
        zoom=0.25,
        backward=True,
        quiet=True,
        json_file=Path("r.json"),
    )


@pytest.mark.parametrize("words", ["-o x a b", "a b -o x", "a b --out x", "a b --out=x"])
def test_options_may_stand_before_or_after_the_inputs(words):
    assert _parse(words).inputs == ("a", "b")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("a", "--out is missing"),
        ("-o x", "INPUT... is missing"),
        ("a -o", "-o/--out needs a value"),
        ("a -o x --tile -3", "--tile must be at least 16 (got -3)"),
        ("a -o x --stride 0", "--stride must be at least 1 (got 0)"),
        ("a -o x --zoom 1.0", "--zoom must be less than 1 (got 1.0)"),
        ("a -o x --zoom 0", "--zoom must be more than 0 (got 0.0)"),
        ("a -o x --tile big", "--tile must be a whole number (got big)"),
        ("a -o x --stride 1.5", "--stride must be a whole number (got 1.5)"),
        ("a -o x --start soon", "--start must be a number (got soon)"),
        ("a -o x --model raft", "--model cannot be raft: choose tvnet, pwcnet"),
        ("-o x a --tlie 64", "unknown option --tlie (did you mean --tile?)"),
        ("-o x a --max_sid 64", "unknown option --max-sid (did you mean --max-side?)"),
        ("-o x a --jsn r.json", "unknown option --jsn (did you mean --json?)"),
        ("-o x a --json-file r.json", "unknown option --json-file (did you mean --json?)"),
        ("-o x a --no-backward", "unknown option --no-backward (did you mean --backward?)"),
        ("-o x a -z", "unknown option -z"),
        ("a -o x b", "unexpected argument b"),
        ("a -o x --size big", "--size big: write HEIGHTxWIDTH"),
        ("a -o x --start 2 --end 1", "--end must be after --start"),
    ],
)
def test_a_mistake_names_the_flag_and_the_help(words, says):
    assert _error(words).startswith(says)
    assert _error(words).endswith("; see kinema sample --help")


def test_two_missing_words():
    class Two(BaseModel):
        first: int
        second: int

    with pytest.raises(UsageError, match=r"^--first and --second are missing; see kinema two --help$"):
        parse(Two, [], prog="kinema two", description="")


def test_what_is_on_can_be_switched_off():
    class Switched(BaseModel):
        average: bool = True

    assert not parse(Switched, ["--no-average"], prog="kinema two", description="").average
    with pytest.raises(UsageError, match=r"^unknown option --average \(did you mean --no-average\?\)"):
        parse(Switched, ["--average"], prog="kinema two", description="")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("a -o x --backward=true", "--backward takes no value"),
        ("a -o x --ba", "unknown option --ba; see"),
        ("a -o x --backw", "unknown option --backw (did you mean --backward?)"),
        ("a -o x --K 1,2", "unknown option --K; see"),
        ("a -o x --zoom nan", "--zoom must be"),
        ("", "INPUT... and --out are missing"),
    ],
)
def test_hints_are_given_only_where_they_help(words, says):
    assert _error(words).startswith(says)


@given(st.lists(st.text(min_size=1, max_size=8), max_size=5))
def test_any_words_give_a_config_or_one_line(words):
    try:
        said = parse(Sample, ["in.png", "-o", "out", *words], prog="kinema sample", description="").out.name
    except UsageError as error:
        said = str(error)
    except SystemExit as leave:
        said = f"help {leave.code}"
    assert said in ("out", "help 0", "help None") or said.endswith("; see kinema sample --help")
    assert "\n" not in said


def test_help_explains_every_field(capsys):
    with pytest.raises(SystemExit) as leave:
        _parse("--help")
    assert leave.value.code in (0, None)
    out = capsys.readouterr().out
    assert "A sample." in out
    assert "Which model." in out
    for flag in ("--max-side", "--json", "--backward", "-o OUT", "-q"):
        assert flag in out
    assert "--no-backward" not in out
