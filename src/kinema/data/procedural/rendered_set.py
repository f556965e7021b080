"""``procedural`` as a labelled data set: rendered when read, nothing on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kinema.data.family import Facts, Family
from kinema.data.procedural.render_config import RESERVED_FAMILIES, RenderConfig, SceneFamily
from kinema.data.sample import FlowDataset, FlowSample
from kinema.data.spec import DataSpec

if TYPE_CHECKING:
    from torch import Tensor

PAIRS = 200
"""How many pairs a data set of rendered scenes has."""

VALIDATION_SEED = 2**40
"""Training takes small seeds: no scene is ever in both."""


@dataclass(frozen=True)
class RenderedDataset(FlowDataset):
    """Rendered pairs as labelled samples.

    Attributes:
        families: which generators draw them, in turn.
        numbers: of the pairs, in order.
    """

    families: tuple[SceneFamily, ...] = ("train",)
    numbers: tuple[int, ...] = tuple(range(PAIRS))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int | slice) -> FlowSample | FlowDataset:  # type: ignore[override]
        if isinstance(index, slice):
            return RenderedDataset(
                self.spec, (), self.official_count, self.notes, self.families, self.numbers[index]
            )
        family, place = self._scene(index)
        config = RenderConfig(family=family, bank_textures=24, bank_shapes=48)
        return rendered_sample(config, VALIDATION_SEED, place)

    def name_of(self, index: int) -> str:
        """Tell a pair's name without rendering it.

        Args:
            index: of the pair.

        Returns:
            Its generator and number.
        """
        return _name(*self._scene(index))

    def paths_of(self, _index: int) -> Mapping[str, Path]:
        """Tell that nothing lies on disk.

        Returns:
            No file.
        """
        return {}

    def _scene(self, index: int) -> tuple[SceneFamily, int]:
        place, turn = divmod(self.numbers[index], len(self.families))
        return self.families[turn], place


def rendered_sample(config: RenderConfig, seed: int, index: int) -> FlowSample:
    """Render one pair as other data sets give theirs.

    Args:
        config: of the scene.
        seed: of the data set.
        index: of the pair.

    Returns:
        The pair with its truth; named by family and number.
    """
    from kinema.data.procedural.pairs import render_pair  # here: listing data sets needs no torch

    batch = render_pair(config, seed, [index])
    return FlowSample(
        name=_name(config.family, index),
        image1=_picture(batch.image1[0]),
        image2=_picture(batch.image2[0]),
        flow=np.ascontiguousarray(batch.flow[0].permute(1, 2, 0).numpy()),
        valid=batch.valid[0, 0].numpy(),
        occluded=batch.occluded[0, 0].numpy(),
        valid_noc=batch.visible[0, 0].numpy(),
    )


def open_rendered(spec: DataSpec, _: Path | None) -> RenderedDataset:
    """Open rendered scenes.

    Args:
        spec: ``@reserved`` takes the reserved families in turn, a family's name that one alone, and no split
            the scenes that training learns from, with a seed of their own.

    Returns:
        `PAIRS` pairs, rendered when read.
    """
    families: dict[str | None, tuple[SceneFamily, ...]] = {"reserved": RESERVED_FAMILIES, None: ("train",)}
    families |= {family: (family,) for family in RESERVED_FAMILIES}
    return RenderedDataset(spec, (), PAIRS, (), families[spec.split])


def _name(family: str, index: int) -> str:
    return f"{family}/{index:06d}"


def _picture(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray((image * 255).round().byte().permute(1, 2, 0).numpy())


FAMILY = Family(
    name="procedural",
    kind="flow",
    title="rendered scenes with exact truth, of the training families or of reserved ones",
    layout="nothing on disk: pairs are rendered when read",
    open=open_rendered,
    facts=Facts(
        holds="rendered pairs with exact flow, hidden and visible pixels",
        counts={"one family or all reserved": PAIRS},
        unit="pairs",
        size="448x384",
        source="rendered by kinema when read",
        url="",
        terms="none: made on the spot",
    ),
    splits=("reserved", *RESERVED_FAMILIES),
    place="nothing",
)
