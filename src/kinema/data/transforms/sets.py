"""The named sets of augmentation for pairs, and how one is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kinema.data.transforms.flownet2 import disentangled, flownet2, pwcnet_plus_kitti, pwcnet_plus_sintel
from kinema.data.transforms.pairs import FlowPairs, Generators, with_float_images
from kinema.data.transforms.raft import raft_chairs, raft_kitti, raft_sintel, raft_things, smurf
from kinema.data.transforms.tfoptflow import tfoptflow_heavy
from kinema.data.transforms.uflow import adapt, uflow, uflow_all, uflow_scaled, uflow_sintel
from kinema.data.transforms.views import Framing, look, placed
from kinema.errors import UsageError


class Augmentation(Protocol):
    """What happens to pairs before a network learns from them.

    Settings only: it is copied to the worker processes. All that is drawn comes from the sample's own
    generator.
    """

    def geometric(
        self, pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators, *, step: int
    ) -> FlowPairs:
        """Choose where to look, and cut that out.

        Args:
            pairs: of any size; frames that are too small are enlarged.
            size_hw: height and width of the samples.
            rngs: one per pair.
            step: of the training: some sets grow stronger.

        Returns:
            The pairs in float32, with the truth of what is seen.
        """

    def photometric(self, pairs: FlowPairs, rngs: Generators, *, step: int) -> FlowPairs:
        """Change colours, add noise, cover patches; nothing moves.

        Args:
            pairs: of `geometric`.
            rngs: one per pair.
            step: of the training.

        Returns:
            The pairs; `hidden` grows where patches are covered.
        """


@dataclass(frozen=True)
class CropOnly:
    """A window at a random place, and nothing else."""

    def geometric(
        self, pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators, *, step: int
    ) -> FlowPairs:
        """See `Augmentation.geometric`."""
        return look(pairs, [placed(Framing(), pairs.size_hw, size_hw, rng) for rng in rngs], size_hw)

    def photometric(self, pairs: FlowPairs, rngs: Generators, *, step: int) -> FlowPairs:
        """See `Augmentation.photometric`."""
        return with_float_images(pairs)


def crop_only() -> CropOnly:
    """A window at a random place, and nothing else.

    Returns:
        The set.
    """
    return CropOnly()


SETS: dict[str, Callable[[], Augmentation]] = {
    "crop": crop_only,
    "flownet2": flownet2,
    "pwcnet-plus-sintel": pwcnet_plus_sintel,
    "pwcnet-plus-kitti": pwcnet_plus_kitti,
    "disentangled": disentangled,
    "tfoptflow-heavy": tfoptflow_heavy,
    "raft-chairs": raft_chairs,
    "raft-things": raft_things,
    "raft-sintel": raft_sintel,
    "raft-kitti": raft_kitti,
    "uflow": uflow,
    "uflow-sintel": uflow_sintel,
    "uflow-all": uflow_all,
    "uflow-scaled": uflow_scaled,
    "smurf": smurf,
    "adapt": adapt,
}
"""Every named set; the docstring of its function gives the source's numbers."""


def named_set(name: str) -> Augmentation:
    """Look a set up.

    Args:
        name: one of `SETS`.

    Returns:
        The set.

    Raises:
        UsageError: when there is none of that name.
    """
    if name not in SETS:
        raise UsageError(f"unknown augmentation {name!r}; choose from {', '.join(SETS)}")
    return SETS[name]()


def augment(
    pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators, *, by: Augmentation, step: int = 0
) -> FlowPairs:
    """Apply a set whole.

    Args:
        pairs: of any size.
        size_hw: height and width of the samples.
        rngs: one per pair.
        by: the set.
        step: of the training.

    Returns:
        The samples.
    """
    return by.photometric(by.geometric(pairs, size_hw, rngs, step=step), rngs, step=step)
