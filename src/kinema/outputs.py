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


@dataclass(frozen=True)
class PyramidFlowOutput(FlowOutput):
    """Flow, and the estimates of all levels that training supervises.

    Attributes:
        pyramid: (B, 2, h, w) per level, coarsest first; sizes, levels and unit are the network's own.
    """

    pyramid: tuple[Float[Tensor, "b 2 _ _"], ...] = ()


@dataclass(frozen=True)
class ScaledFlowOutput(FlowOutput):
    """Flow, and the estimates of all scales in pixels of their own grids.

    Attributes:
        scales: (B, 2, h, w) per scale, finest first; the first is ``flow``.
    """

    scales: tuple[Float[Tensor, "b 2 _ _"], ...] = ()


@dataclass(frozen=True)
class DepthOutput:
    """How far things are, as a depth model sees them.

    Attributes:
        inverse_depth: (B, 1, h, w) float32 per scale, above 0, finest first (H x W, then half of it, ...):
            1 / z in the camera, in units that the model's card states.
    """

    inverse_depth: tuple[Float[Tensor, "b 1 _ _"], ...]

    @property
    def depth(self) -> Float[Tensor, "b 1 h w"]:
        """(B, 1, H, W) z in the camera, above 0."""
        return 1 / self.inverse_depth[0]


@dataclass(frozen=True)
class PoseOutput:
    """How the camera moved between frames.

    Attributes:
        T_source_from_target: (B, S, 4, 4) float32, for each source in order of time; translation in the unit
            of the same model's depth.
    """

    T_source_from_target: Float[Tensor, "b s 4 4"]


@dataclass(frozen=True)
class SnippetOutput:
    """Depth of all frames of a snippet, and how the camera moved.

    Attributes:
        inverse_depth: (B, N, 1, h, w) per scale, finest first, frames in order of time; see `DepthOutput`.
        pose: of the sources, that is of all frames but the target.
    """

    inverse_depth: tuple[Float[Tensor, "b n 1 _ _"], ...]
    pose: PoseOutput


@dataclass(frozen=True)
class TwoWayFlow:
    """What learning without labels looks at: the flows of both directions from one pass over both frames.

    Attributes:
        flow: (B, 2, H, W) float32, frame 1 to 2, pixels of the full grid.
        backward: (B, 2, H, W) float32, frame 2 to 1, pixels of the full grid.
        coarse: (B, 2, h, w) float32, the network's own finest estimate of ``flow`` before it is enlarged, in
            pixels of this small grid.
        coarse_backward: (B, 2, h, w) float32, as ``coarse``, frame 2 to 1.
    """

    flow: Float[Tensor, "b 2 h w"]
    backward: Float[Tensor, "b 2 h w"]
    coarse: Float[Tensor, "b 2 _ _"]
    coarse_backward: Float[Tensor, "b 2 _ _"]


@dataclass(frozen=True)
class RestoreOutput:
    """A restored frame, as a restoration model computes it.

    Attributes:
        frame: (B, 3, s H, s W) RGB, s being the model's scale; in [0, 1] but for what overshoots.
    """

    frame: Float[Tensor, "b 3 _ _"]
