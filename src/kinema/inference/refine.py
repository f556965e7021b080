"""Polishing a network's flow: a few variational iterations at full size, from where the network ended.

A network that ends at a quarter of the frames' size knows large motion, but draws borders and small motion
coarsely; TV-L1 (Zach, Pock and Bischof 2007) is exact where motion is small. Started from the network's flow,
it has only the rest to find.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import UsageError
from kinema.models import nearest
from kinema.models.card import REFINEMENTS
from kinema.models.tvnet import TVNet


class TVL1Refinement(nn.Module):
    """TV-L1 at the frames' own size: five warps of fifty iterations.

    Contrast is taken as it is, not stretched as `TVNet` does: in fog, where there is more noise than texture,
    the data term then weighs little and the network's flow stays.
    """

    def __init__(self) -> None:
        super().__init__()
        self.solver = TVNet(scales=1)

    def forward(
        self,
        image1: Float[Tensor, "b 3 h w"],
        image2: Float[Tensor, "b 3 h w"],
        flow: Float[Tensor, "b 2 h w"],
    ) -> Float[Tensor, "b 2 h w"]:
        """Improve a flow.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1].
            image2: (B, 3, H, W) RGB in [0, 1].
            flow: (B, 2, H, W) from frame 1 to frame 2, in pixels.

        Returns:
            (B, 2, H, W) float32.
        """
        as_it_is = image1.new_tensor([[0.0, 255.0]]).expand(image1.shape[0], 2)
        refined: Tensor = self.solver(image1, image2, initial_flow=flow, grey_range=as_it_is).flow
        return refined


def build_refinement(name: str) -> nn.Module:
    """Make a refinement.

    Args:
        name: ``tvl1``.

    Returns:
        It, on the CPU, in float32; called as `TVL1Refinement.forward`.

    Raises:
        UsageError: when there is none of this name.
    """
    if name not in REFINEMENTS:
        raise UsageError(f"there is no refinement {name!r}{nearest(name, REFINEMENTS)}")
    return TVL1Refinement()
