"""``kinema data list``: which data sets can be read, what they hold, and where they come from."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from kinema.apps.data_list_config import DataListConfig
from kinema.data import FAMILIES
from kinema.data.family import Family, Kind
from kinema.data.sources import SOURCES
from kinema.errors import UsageError
from kinema.io.files import check_output, write_json

KINDS: dict[Kind, str] = {
    "flow": "pairs of frames with true flow",
    "restoration": "clips of low frames with sharp twins",
    "driving": "frames with camera, poses or depth",
    "footage": "frames without truth",
    "any": "whatever was put in",
}
"""In the order in which they are shown."""


@dataclass(frozen=True)
class FamilyFacts:
    """What is told about a family.

    Attributes:
        name: as in a spec.
        kind: what it is for.
        title: one line.
        holds: what a sample is made of.
        counts: official numbers by split or part.
        unit: what is counted.
        size: of the frames.
        source: who publishes it.
        url: its page.
        terms: of use.
        layout: the official tree.
        variants: what can stand after the dash.
        splits: what can stand after the ``@``.
        download: whether `kinema data download` knows addresses.
        spec: an example.
    """

    name: str
    kind: Kind
    title: str
    holds: str
    counts: dict[str, int]
    unit: str
    size: str
    source: str
    url: str
    terms: str
    layout: str
    variants: tuple[str, ...]
    splits: tuple[str, ...]
    download: bool
    spec: str


def run(config: DataListConfig) -> tuple[FamilyFacts, ...]:
    """List what the config asks for.

    Args:
        config: the command's arguments.

    Returns:
        The families, those of one kind together.

    Raises:
        UsageError: when there is no such family.
        OutputError: when the JSON file cannot be written.
    """
    if config.json_file is not None:
        check_output(config.json_file, overwrite=config.overwrite)
    facts = tuple(_facts(family) for kind in KINDS for family in FAMILIES.values() if family.kind == kind)
    if config.family is not None:
        wanted = config.family.replace("-", "_").lower()
        facts = tuple(fact for fact in facts if fact.name == wanted)
        if not facts:
            raise UsageError(f"unknown data set {config.family!r}; choose from {', '.join(FAMILIES)}")
    if config.json_file is not None:
        write_json(config.json_file, [asdict(fact) for fact in facts], overwrite=config.overwrite)
    return facts


def _facts(family: Family) -> FamilyFacts:
    facts = family.facts
    source = SOURCES.get(family.name)
    return FamilyFacts(
        name=family.name,
        kind=family.kind,
        title=family.title,
        holds=facts.holds,
        counts=dict(facts.counts),
        unit=facts.unit,
        size=facts.size,
        source=facts.source,
        url=facts.url,
        terms=facts.terms,
        layout=family.layout,
        variants=family.variants,
        splits=family.splits,
        download=source is not None and bool(source.parts),
        spec=_example(family),
    )


def _example(family: Family) -> str:
    name = f"{family.name}-{family.variants[0]}" if family.variant_needed else family.name
    return name if family.place == "nothing" else f"{name}:PATH"
