"""Objectives for optical flow without truth.

`unsupervised_flow_losses` is UFlow's (Jonschkowski et al. 2020, "What matters in unsupervised optical flow"):
warped frame 2 should look like frame 1 where nothing is hidden, and flow should be smooth where the picture
is. It takes the flows of both directions from any network. `kinema.losses.self_supervision` holds the lessons
that a network gives itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from kinema.errors import UsageError
from kinema.losses.appearance import census_loss, photometric_loss, ssim_loss
from kinema.losses.self_supervision import (
    random_shift,
    self_supervision_loss,
    self_supervision_weight,
    student_images,
)
from kinema.ops.census import grey_levels
from kinema.ops.grid import pixel_grid
from kinema.ops.occlusion import OcclusionMethod, estimate_occlusion
from kinema.ops.resize import resize_image
from kinema.ops.robust import RobustNorm
from kinema.ops.smoothness import EdgeWeighting, smoothness
from kinema.ops.variational import forward_gradient
from kinema.ops.warp import backward_warp, in_frame, points_in_frame, sample
from kinema.outputs import TwoWayFlow

__all__ = [
    "Surround",
    "UnsupervisedFlowLosses",
    "UnsupervisedFlowSettings",
    "collapse_report",
    "random_shift",
    "self_supervision_loss",
    "self_supervision_weight",
    "student_images",
    "tvnet_unsupervised_loss",
    "unsupervised_flow_losses",
]

TERMS = ("census", "photometric", "ssim", "smooth1", "smooth2")
"""Names of all terms."""

_LEAST_WEIGHT = 1e-7  # terms that weigh less are not computed


@dataclass(frozen=True, kw_only=True)
class UnsupervisedFlowSettings:
    """What `unsupervised_flow_losses` adds up; the defaults are UFlow's for FlyingChairs and Sintel.

    Attributes:
        census: weight of the census loss.
        photometric: weight of the difference of colours.
        ssim: weight of the structural dissimilarity.
        smooth1: weight of the slopes of the coarse flow.
        smooth2: weight of the change of its slopes (UFlow on KITTI: 2, and ``smooth1`` 0).
        edge_constant: how quickly smoothness gives way to edges.
        edge_weighting: see `kinema.ops.smoothness.edge_weights`.
        photometric_norm: see `kinema.ops.robust.robust_norm`.
        occlusion: what hides a pixel, see `kinema.ops.occlusion.estimate_occlusion`; None for nothing.
            UFlow has ``wang`` for Sintel and FlyingChairs and ``brox`` for KITTI.
        detach_mask: soft masks are weights, and not something to learn from.
        census_radius: of the census window, pixels.
    """

    census: float = 1.0
    photometric: float = 0.0
    ssim: float = 0.0
    smooth1: float = 4.0
    smooth2: float = 0.0
    edge_constant: float = 150.0
    edge_weighting: EdgeWeighting = "exponential"
    photometric_norm: RobustNorm = "robust_l1"
    occlusion: OcclusionMethod | None = "wang"
    detach_mask: bool = True
    census_radius: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot be a setting, before hours of training."""
        names = (
            ("edge_weighting", EdgeWeighting),
            ("photometric_norm", RobustNorm),
            ("occlusion", OcclusionMethod),
        )
        for field, kinds in names:
            value = getattr(self, field)
            if value not in get_args(kinds) and not (field == "occlusion" and value is None):
                raise UsageError(f"{field} {value!r} is unknown: use one of {', '.join(get_args(kinds))}")
        for field in (*TERMS, "edge_constant"):
            if not 0 <= self.weight_of(field) < math.inf:
                raise UsageError(f"{field} is {self.weight_of(field)}: give a finite number, 0 or more")
        if self.census_radius < 1:
            raise UsageError(f"census_radius is {self.census_radius}: give 1 pixel or more")

    def weight_of(self, term: str) -> float:
        """The weight of a term.

        Args:
            term: one of `TERMS`.

        Returns:
            0 or more.
        """
        return float(getattr(self, term))

    def has(self, term: str) -> bool:
        """Whether a term weighs enough to be computed.

        Args:
            term: one of `TERMS`.

        Returns:
            False up to 1e-7.
        """
        return self.weight_of(term) > _LEAST_WEIGHT


@dataclass(frozen=True)
class Surround:
    """The frames that training crops were cut from: what leaves a crop is still found there.

    SMURF's full-image warping (Stone et al. 2021, section 3.4).

    Attributes:
        image1: (B, 3, H2, W2) in [0, 1].
        image2: (B, 3, H2, W2) in [0, 1].
        offset: (y, x) of the crop's first pixel in them; one for all, or (B, 2).
    """

    image1: Float[Tensor, "b 3 _ _"]
    image2: Float[Tensor, "b 3 _ _"]
    offset: tuple[int, int] | Int[Tensor, "b 2"]


@dataclass(frozen=True)
class UnsupervisedFlowLosses:
    """What `unsupervised_flow_losses` found.

    Attributes:
        terms: the terms that have a weight, each the mean over both directions, not weighted.
        total: their weighted sum.
        visible: (B, 1, H, W), 0 to 1: which pixels of frame 1 were compared.
        visible_backward: (B, 1, H, W), 0 to 1: which pixels of frame 2 were compared.
        occluded_share: (2,) mean of what was taken as hidden, for each direction.
        valid_share: (2,) share of pixels whose flow stays in the picture, for each direction.
    """

    terms: dict[str, Float[Tensor, ""]]
    total: Float[Tensor, ""]
    visible: Float[Tensor, "b 1 h w"]
    visible_backward: Float[Tensor, "b 1 h w"]
    occluded_share: Float[Tensor, "2"]
    valid_share: Float[Tensor, "2"]


def unsupervised_flow_losses(
    image1: Float[Tensor, "b 3 h w"],
    image2: Float[Tensor, "b 3 h w"],
    flows: TwoWayFlow,
    *,
    settings: UnsupervisedFlowSettings,
    occlusion_active: bool = True,
    surround: Surround | None = None,
) -> UnsupervisedFlowLosses:
    """How badly flow explains a pair of frames, both ways (UFlow, section 3).

    Census, photometric and SSIM losses look at the full grid, smoothness at the coarse one. Their sums over
    visible pixels are divided by the number of visible pixels of the batch. The frames that are fetched from
    get no gradient.

    Args:
        image1: (B, 3, H, W) in [0, 1], without changes of colour: the network may see others.
        image2: (B, 3, H, W) in [0, 1].
        flows: of both directions.
        settings: weights and methods.
        occlusion_active: False, at the start of training, takes nothing as hidden.
        surround: larger pictures around the frames to fetch from; what leaves the frames but not these counts
            as visible.

    Returns:
        The terms, their weighted sum, and what was compared. Finite where the flow is, on black frames too.

    Raises:
        UsageError: when sizes do not fit.
    """
    _check_sizes(image1, image2, flows)
    images = torch.cat((image1, image2)).detach()
    flow = torch.cat((flows.flow, flows.backward))
    sources, points = _sources(image1, image2, flow, surround)
    valid = points_in_frame(points, (sources.shape[-2], sources.shape[-1]))
    hidden = _hidden(flow, settings, inside_only=surround is not None) if occlusion_active else None
    visible = valid if hidden is None else (1 - hidden) * valid
    terms = _appearance_terms(images, sources, points, visible, settings)
    terms |= _smoothness_terms(images, torch.cat((flows.coarse, flows.coarse_backward)), settings)
    total = sum((settings.weight_of(name) * term for name, term in terms.items()), start=flow.new_zeros(()))
    seen, seen_backward = visible.detach().chunk(2)
    shares = torch.zeros_like(valid) if hidden is None else hidden.detach()
    return UnsupervisedFlowLosses(
        terms, total, seen, seen_backward, shares.view(2, -1).mean(1), valid.view(2, -1).mean(1)
    )


def _check_sizes(image1: Tensor, image2: Tensor, flows: TwoWayFlow) -> None:
    size = image1.shape[-2:]
    for name, other in (("image2", image2), ("flow", flows.flow), ("backward", flows.backward)):
        if other.shape[-2:] != size or len(other) != len(image1):
            raise UsageError(
                f"{name} is {tuple(other.shape)} and image1 {tuple(image1.shape)}: give one batch of one size"
            )


def _sources(
    image1: Tensor, image2: Tensor, flow: Tensor, surround: Surround | None
) -> tuple[Tensor, Tensor]:
    """The pictures to fetch from, frame 2 first, and where each pixel of frame 1, then 2, is in them."""
    grid = pixel_grid((flow.shape[-2], flow.shape[-1]), device=flow.device, dtype=flow.dtype)
    if surround is None:
        return torch.cat((image2, image1)).detach(), grid + flow
    offset = torch.as_tensor(surround.offset, device=flow.device, dtype=flow.dtype).flip(-1)
    offset = offset.expand(len(image1), 2).repeat(2, 1)[..., None, None]
    return torch.cat((surround.image2, surround.image1)).detach(), grid + flow + offset


def _hidden(flow: Tensor, settings: UnsupervisedFlowSettings, *, inside_only: bool) -> Tensor | None:
    """(2 B, 1, H, W), 0 to 1; None where nothing hides."""
    if settings.occlusion in (None, "none"):
        return None
    opposite = flow.roll(len(flow) // 2, 0)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not settings.detach_mask):
        hidden = estimate_occlusion(flow, opposite, method=settings.occlusion)
    # What leaves the crop is in sight outside of it; only the crop's own flow could not tell.
    return hidden * in_frame(flow) if inside_only else hidden


def _appearance_terms(
    images: Tensor, sources: Tensor, points: Tensor, visible: Tensor, settings: UnsupervisedFlowSettings
) -> dict[str, Tensor]:
    """Every picture is fetched from once: grey where that is enough, since fetching is linear."""
    terms: dict[str, Tensor] = {}
    colour = settings.has("photometric") or settings.has("ssim")
    warped = sample(sources, points) if colour else None
    if settings.has("census"):
        found = sample(grey_levels(sources), points) if warped is None else grey_levels(warped)
        radius = settings.census_radius
        terms["census"] = census_loss(grey_levels(images), found, visible, radius=radius, passes=2)
    if warped is not None and settings.has("photometric"):
        norm = settings.photometric_norm
        terms["photometric"] = photometric_loss(images, warped, visible, norm=norm, passes=2)
    if warped is not None and settings.has("ssim"):
        terms["ssim"] = ssim_loss(images, warped, visible, passes=2)
    return terms


def _smoothness_terms(images: Tensor, flow: Tensor, settings: UnsupervisedFlowSettings) -> dict[str, Tensor]:
    orders: tuple[tuple[str, Literal[1, 2]], ...] = (("smooth1", 1), ("smooth2", 2))
    wanted = [(name, order) for name, order in orders if settings.has(name)]
    if not wanted:
        return {}
    small = resize_image(images, (flow.shape[-2], flow.shape[-1]), antialias=False, mode="area")
    return {
        name: smoothness(
            flow,
            small,
            order=order,
            edge_constant=settings.edge_constant,
            weighting=settings.edge_weighting,
        )
        for name, order in wanted
    }


def collapse_report(
    losses: UnsupervisedFlowLosses,
    flows: TwoWayFlow,
    *,
    image1: Float[Tensor, "b 3 h w"],
    image2: Float[Tensor, "b 3 h w"],
    hidden_above: float = 0.9,
    still_below: float = 1e-3,
    static_below: float = 1e-4,
) -> tuple[str, ...]:
    """Name what is wrong with a step of training without labels; its loss alone would not tell.

    - ``non_finite``: a loss or a flow is NaN or infinite.
    - ``all_occluded``: nearly everything is taken as hidden, which makes the loss small.
    - ``all_outside``: the flow of nearly every pixel leaves the picture.
    - ``static_frames``: both frames are the same; there is nothing to learn from them.
    - ``zero_flow``: the flow is zero although the frames differ.

    Args:
        losses: of the step.
        flows: of the step.
        image1: (B, 3, H, W) in [0, 1].
        image2: (B, 3, H, W) in [0, 1].
        hidden_above: share of hidden (leaving) pixels in both directions.
        still_below: mean length of the flow, pixels, in both directions.
        static_below: mean difference of the frames.

    Returns:
        Names in this order; empty when all is well.
    """
    lengths = torch.stack([f.detach().norm(dim=1).mean() for f in (flows.flow, flows.backward)])
    finite = torch.stack((losses.total.detach(), *(term.detach() for term in losses.terms.values())))
    static = (image1 - image2).abs().mean() < static_below
    found = {
        "non_finite": ~(finite.isfinite().all() & lengths.isfinite().all()),
        "all_occluded": (losses.occluded_share > hidden_above).all(),
        "all_outside": (1 - losses.valid_share > hidden_above).all(),
        "static_frames": static,
        "zero_flow": (lengths < still_below).all() & ~static,
    }
    told = torch.stack(list(found.values())).tolist()  # one wait for the device
    return tuple(name for name, wrong in zip(found, told, strict=True) if wrong)


def tvnet_unsupervised_loss(
    image1: Float[Tensor, "b c h w"],
    image2: Float[Tensor, "b c h w"],
    flow: Float[Tensor, "b 2 h w"],
    *,
    lbda: float = 0.15,
) -> Float[Tensor, ""]:
    """The published TVNet's label-free loss: the TV-L1 energy of the flow on the raw colour frames.

    ``lbda * mean|I2(x + u) - I1| + mean(|u1x| + |u1y| + |u2x| + |u2y|)`` with forward differences, frames in
    0..255 and the published sampler's border rule. The published code lets the optimiser train the difference
    kernels inside this loss; here they are fixed.

    Args:
        image1: (B, C, H, W) in [0, 1].
        image2: (B, C, H, W) in [0, 1].
        flow: (B, 2, H, W) pixels.
        lbda: weight of the photometric term.

    Returns:
        A scalar.
    """
    warped = backward_warp(255 * image2, flow, border="tvnet")
    photometric = (warped - 255 * image1).abs().mean()
    slopes = forward_gradient(flow[:, :1]).abs() + forward_gradient(flow[:, 1:]).abs()
    return lbda * photometric + slopes.sum(1).mean()
