"""The help: every option of every verb, with range and default, in lines that fit."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, Field
from tyro.conf import Positional, arg

from kinema.apps.bench_config import BenchConfig
from kinema.apps.demo_config import DemoConfig
from kinema.apps.evaluate_config import EvaluateConfig
from kinema.apps.flow_config import FlowConfig
from kinema.cli import flow
from kinema.cli.help import help_text
from kinema.cli.main import main


class Sample(BaseModel):
    """One field of every kind."""

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")] = Field(
        min_length=1, description="What to read."
    )
    out: Annotated[str, arg(aliases=("-o",), metavar="OUT")] = Field(description="Where to write.")
    tile: int | None = Field(default=None, ge=64, description="Side in pixels.")
    frames: int = Field(default=12, ge=2, le=240, description="How many.")
    seed: int = Field(default=0, ge=0, description="Another scene.")
    rate: float = Field(default=20.0, gt=0, description="How fast.")
    backward: bool = Field(default=False, description="Both ways.")
    average: bool = Field(default=True, description="Average the weights.")


def test_every_kind_of_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = help_text(
        Sample,
        prog="kinema sample",
        description="A sample.",
        examples=("kinema sample a -o b",),
        groups={"files": ("inputs", "out"), "size": ("tile",)},
    )
    assert text.splitlines() == [
        "usage: kinema sample INPUT... -o OUT [OPTIONS]",
        "",
        "A sample.",
        "",
        "examples:",
        "  kinema sample a -o b",
        "",
        "files:",
        "  INPUT...              What to read.",
        "  -o, --out OUT         Where to write. (required)",
        "",
        "size:",
        "  --tile N              Side in pixels. (64 or more)",
        "",
        "options:",
        "  --frames N            How many. (2 to 240; default: 12)",
        "  --seed N              Another scene. (0 or more; default: 0)",
        "  --rate X              How fast. (more than 0; default: 20)",
        "  --backward            Both ways.",
        "  --no-average          Do without this: Average the weights.",
        "  -h, --help            This text.",
    ]


@pytest.mark.parametrize(
    ("verb", "config"),
    [("flow", FlowConfig), ("evaluate", EvaluateConfig), ("bench", BenchConfig), ("demo", DemoConfig)],
)
@pytest.mark.parametrize("columns", [20, 80, 300])
def test_every_option_of_every_verb(
    verb: str,
    config: type[BaseModel],
    columns: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    for name, field in config.model_fields.items():
        assert field.description
        flag = f"--{name}".replace("_", "-").replace("--json-file", "--json")
        if Positional not in field.metadata:
            assert f"{flag} " in out or f"{flag}\n" in out
    assert "None" not in out
    lines = [line for line in out.splitlines() if not line.startswith("  kinema ")]  # commands are not broken
    assert max(map(len, lines)) <= max(min(columns, 100), 60)


def test_groups_name_each_field_once() -> None:
    grouped = [name for names in flow._GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(FlowConfig.model_fields) - set(grouped) == {"quiet", "verbose"}
    assert set(grouped) <= set(FlowConfig.model_fields)
