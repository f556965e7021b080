"""What a data set family is, and what every opened data set has, whatever its samples are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from kinema.data.spec import DataSpec

Kind = Literal["flow", "footage", "restoration", "driving", "any"]
"""What a family is for: pairs with true flow; frames alone; frames with a better twin; frames with camera; or
whatever was put in."""

Place = Literal["folder", "anything", "nothing"]
"""What the path of a spec is: an existing folder; a file, folder or pattern; or not given at all."""

SampleT_co = TypeVar("SampleT_co", covariant=True)


@runtime_checkable
class OpenedSet(Protocol[SampleT_co]):
    """A data set after opening: folders have been listed, no sample has been read, nothing is kept."""

    @property
    def spec(self) -> DataSpec:
        """What was asked for."""
        ...

    @property
    def official_count(self) -> int | None:
        """How many samples the official part has; None where there is no official set."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about the copy found: what is missing, which files stand in for which."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> SampleT_co:
        """Read one sample; `IndexError` past the end, so that a loop over the set ends."""
        ...

    def name_of(self, index: int) -> str:
        """Tell a sample's name without reading it.

        Args:
            index: of the sample.

        Returns:
            A name that is unique in the set, such as ``alley_1/frame_0002``.
        """
        ...

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell which files make up a sample, without looking at them.

        Args:
            index: of the sample.

        Returns:
            The files by part, such as ``image1`` or ``flow``; empty where nothing lies on disk.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What `kinema data list` tells about a family, in words of our own.

    Attributes:
        holds: what a sample is made of, such as ``pairs with dense flow, occlusion and invalid masks``.
        counts: official number of samples by split or part, such as ``{"training": 1041, "test": 552}``;
            empty where nothing is official.
        unit: what is counted: ``pairs``, ``clips``, ``frames``.
        size: the size of the frames, such as ``1024x436``; empty where it varies freely.
        source: who publishes it, by name.
        url: the official home page; empty where there is none.
        terms: the terms of use in one short line; ``not stated`` where the home page states none.
    """

    holds: str
    counts: Mapping[str, int]
    unit: str
    size: str
    source: str
    url: str
    terms: str


@dataclass(frozen=True, kw_only=True)
class Family:
    """A data set family: what can be asked of it, how it is opened, and where it comes from.

    Attributes:
        name: as written in a spec.
        kind: what it is for.
        title: one line for people.
        layout: the official tree, in one line.
        open: opens a spec whose variant and split have been checked, at the path it names.
        facts: what `kinema data list` tells.
        variants: what can stand after the dash in a spec; empty when there are none.
        other_variants: a pattern that further variants match as a whole, such as ``[0-9]+``.
        variant_needed: whether one of the variants must be given.
        splits: official parts that can be asked for.
        place: what the path of a spec must be.
    """

    name: str
    kind: Kind
    title: str
    layout: str
    open: Callable[[DataSpec, Path], OpenedSet[Any]]
    facts: Facts
    variants: tuple[str, ...] = ()
    other_variants: str = ""
    variant_needed: bool = False
    splits: tuple[str, ...] = ()
    place: Place = "folder"

    def knows_variant(self, variant: str) -> bool:
        """Tell whether a variant can be asked for.

        Args:
            variant: what stands after the dash.

        Returns:
            True when it is named or matches the pattern.
        """
        return variant in self.variants or re.fullmatch(self.other_variants or "(?!)", variant) is not None
