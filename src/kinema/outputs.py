"""What models return: small frozen records of tensors."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class FlowOutput:
    """Optical flow from frame 1 to frame 2, as a flow model computes it.

    Attributes:
        flow: (B, 2, H, W) float32, in pixels of this grid; channel 0 = x to the right, 1 = y down.
            ``frame2`` sampled at ``x + flow(x)`` reconstructs ``frame1``.
        residual: (B, 1, H, W) or None; the model's own data residual, in the units that its card states.
    """

    flow: Float[Tensor, "b 2 h w"]
    residual: Float[Tensor, "b 1 h w"] | None = None
