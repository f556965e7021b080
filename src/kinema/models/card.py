"""What a model says about itself: a plain record, readable without importing the model or torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["fp32", "bf16", "fp16"]
"""A floating-point format that a model can compute in."""

Task = Literal["flow", "depth", "pose", "restore"]
"""What a model computes."""


REFINEMENTS = ("tvl1",)
"""What can polish the flow of a model: see `kinema.inference.refine`."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The facts about one model that callers, commands and documentation rely on.

    Attributes:
        name: the name on the command line and in `kinema.load`.
        title: one line for people.
        tasks: what it computes.
        presets: named sets of settings; `default_preset` is one of them.
        default_preset: the preset in use when none is named.
        options: the settings that `kinema.load(options=...)` accepts: name -> int, float, bool or str.
        min_size_hw: the smallest frame (height, width) in pixels.
        stride: heights and widths must be multiples of this; the predictor pads and crops.
        precisions: formats it can compute in; the first is the one used when nothing else is better.
        has_weights: whether weights can be loaded into it.
        works_untrained: whether it is useful without any, as it is built.
        batched: whether a batch gives the same result as its samples one by one.
        warm_start: whether it accepts an initial flow.
        refinement: what polishes the flow of the weights that come with kinema, of `REFINEMENTS`; "none" if
            nothing does.
        value_range: of the image tensors it takes.
        licence: of the code and, where there are any, of the weights.
        paper: authors, title, venue, year.
        notes: known limits and facts that a user should know.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    presets: tuple[str, ...]
    default_preset: str
    options: Mapping[str, type] = field(default_factory=dict)
    min_size_hw: tuple[int, int]
    stride: int
    precisions: tuple[Precision, ...]
    has_weights: bool
    works_untrained: bool = False
    batched: bool = True
    warm_start: bool = False
    refinement: str = "none"
    value_range: str = "RGB in [0, 1]"
    licence: str
    paper: str
    notes: tuple[str, ...] = ()
