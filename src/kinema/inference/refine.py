"""Polishing a network's flow: a few variational iterations at full size, from where the network ended.

A network that ends at a quarter of the frames' size knows large motion, but draws borders and small motion
coarsely; TV-L1 (Zach, Pock and Bischof 2007) is exact where motion is small. Started from the network's flow,
it has only the rest to find.
"""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.models import nearest
from kinema.models.card import REFINEMENTS
from kinema.outputs import FlowOutput

SCALES = 2
"""The levels that are solved again: the frames' own size and half of it."""


class Refinement(Protocol):
    """What improves a flow by looking at the frames."""

    def __call__(
        self,
        image1: Float[Tensor, "b 3 h w"],
        image2: Float[Tensor, "b 3 h w"],
        *,
        initial_flow: Float[Tensor, "b 2 h w"],
        grey_range: Float[Tensor, "b 2"] | None = None,
    ) -> FlowOutput:
        """Give the improved flow; `grey_range` is that of the whole frames where these are parts."""

    def grey_range(self, image1: Tensor, image2: Tensor) -> Float[Tensor, "b 2"]:
        """Give the darkest and the lightest grey level of both frames."""


def build_refinement(name: str) -> Refinement:
    """Make a refinement, on the CPU, in float32.

    Args:
        name: ``tvl1``.

    Returns:
        It, ready for use.

    Raises:
        UsageError: when there is none of this name.
    """
    if name not in REFINEMENTS:
        raise UsageError(f"there is no refinement {name!r}{nearest(name, REFINEMENTS)}")
    from kinema.models.tvnet import TVNet

    return TVNet(scales=SCALES)
