"""TVNet: TV-L1 optical flow unrolled into layers (Fan et al., CVPR 2018; Zach, Pock and Bischof 2007).

The network is the TV-L1 solver itself: a pyramid, at each level a few warps, at each warp a fixed number of
primal-dual iterations. It is useful before anything is trained. Two presets:

``corrected`` (default)
    Edge-replicating smoothing, exact pixel warps, the data term switched off outside the frame, an
    antialiased pyramid, flow rescaled by the true size ratio, a 5x5 median after each warp; as many levels as
    leave 16 pixels on the short side.
``reference``
    The published network, number for number, its border defects included: integer grey levels, zero-padded
    smoothing, corner-aligned pyramid without antialiasing, displacements shrunk by (W - 1) / W, exact
    doubling between levels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import InputError, UsageError
from kinema.ops.resize import resize_flow, resize_image
from kinema.ops.variational import (
    DataTerm,
    central_gradient,
    data_residual,
    linearise,
    linearise_at,
    median_filter,
    tvl1_iterations,
    tvl1_iterations_reference,
)
from kinema.ops.warp import backward_warp
from kinema.outputs import FlowOutput

Preset = Literal["corrected", "reference"]
ChannelOrder = Literal["bgr", "rgb"]
Kernels = Literal["fixed", "per_iteration"]

MIN_SIDE = 3
COARSEST_SIDE = 16
STOP_INTERVAL = 10  # iterations between two looks at the early stop

# Pixel-integrated Gaussian of sigma 0.8 on 5x5 pixels, as the six rounded constants of the published code.
_A, _B, _C, _D, _E, _F = 0.219833, 0.110656, 0.0557, 0.01386, 0.006976, 0.000874
_SMOOTHING = (
    (_F, _E, _D, _E, _F),
    (_E, _C, _B, _C, _E),
    (_D, _B, _A, _B, _D),
    (_E, _C, _B, _C, _E),
    (_F, _E, _D, _E, _F),
)


@dataclass(frozen=True)
class Settings:
    """The numbers of a preset.

    Attributes:
        scales: pyramid levels at most; None for as many as leave `COARSEST_SIDE` pixels.
        warps: linearisations per level.
        iterations: primal-dual iterations per warp.
        median: side of the median window after each warp; 1 for none.
        epsilon: squared grey-level gradient that counts as zero.
    """

    scales: int | None
    warps: int
    iterations: int
    median: int
    epsilon: float = 1e-12


PRESETS: dict[str, Settings] = {
    "corrected": Settings(scales=None, warps=5, iterations=50, median=5),
    "reference": Settings(scales=5, warps=5, iterations=50, median=1),
}


class TVNet(nn.Module):
    """TV-L1 optical flow as a network of fixed depth.

    Args:
        preset: see the module's text.
        scales: pyramid levels at most, >= 1 (None: the preset's).
        warps: linearisations per level, >= 1 (None: the preset's).
        iterations: iterations per warp, >= 1 (None: the preset's).
        tau: dual step, in (0, 0.25].
        lbda: weight of the data term, > 0, for grey levels in 0..255.
        theta: coupling of data and smoothness, > 0.
        zoom: size ratio of neighbouring levels, in (0, 1).
        median: odd side of the median window after each warp (None: the preset's; 1: none).
        stop_below: end the iterations of a warp when the mean change per iteration falls below this many
            pixels (root mean square over the sample); 0 runs them all. Ignored while gradients are recorded.
        kernels: ``per_iteration`` makes the 2-tap difference kernels parameters, (scales, warps, iterations,
            8, 2), as the published network does; it needs an explicit number of scales.
        channel_order: of the ``reference`` preset: ``bgr`` weighs channels as the published code does on
            images read in BGR order, which is the right luminance; ``rgb`` is what results when it is fed
            RGB.

    Raises:
        UsageError: for a value out of range.
    """

    smoothing: Tensor
    kernels: nn.Parameter | None

    def __init__(
        self,
        preset: Preset = "corrected",
        *,
        scales: int | None = None,
        warps: int | None = None,
        iterations: int | None = None,
        tau: float = 0.25,
        lbda: float = 0.15,
        theta: float = 0.3,
        zoom: float = 0.5,
        median: int | None = None,
        stop_below: float = 0.0,
        kernels: Kernels = "fixed",
        channel_order: ChannelOrder = "bgr",
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("preset", preset, PRESETS),
            ("kernels", kernels, get_args(Kernels)),
            ("channel_order", channel_order, get_args(ChannelOrder)),
        ):
            if value not in known:
                raise UsageError(f"{name} {value!r} of tvnet is unknown: use {' or '.join(known)}")
        default = PRESETS[preset]
        self.faithful = preset == "reference"
        self.scales = default.scales if scales is None else scales
        self.warps = default.warps if warps is None else warps
        self.iterations = default.iterations if iterations is None else iterations
        self.median = default.median if median is None else median
        self.epsilon = default.epsilon
        self.tau, self.lbda, self.theta, self.zoom = tau, lbda, theta, zoom
        self.stop_below = stop_below
        self.channel_order = channel_order
        self._check()
        self.register_buffer("smoothing", torch.tensor(_SMOOTHING)[None, None], persistent=False)
        if kernels == "per_iteration":
            if self.scales is None:
                raise UsageError("kernels='per_iteration' needs the number of scales: pass scales=N")
            shape = (self.scales, self.warps, self.iterations, 8, 1)
            self.kernels = nn.Parameter(torch.tensor([-1.0, 1.0]).repeat(shape))
        else:
            self.register_parameter("kernels", None)

    def _check(self) -> None:
        for name in ("scales", "warps", "iterations"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1 (got {value})")
        for name, low, high in (("tau", 0.0, 0.25), ("lbda", 0.0, math.inf), ("theta", 0.0, math.inf)):
            if not low < getattr(self, name) <= high:
                raise UsageError(f"{name} must lie in ({low:g}, {high:g}] (got {getattr(self, name)})")
        if not 0 < self.zoom < 1:
            raise UsageError(f"zoom must lie between 0 and 1 (got {self.zoom})")
        if self.median < 1 or self.median % 2 == 0:
            raise UsageError(f"median must be an odd window side, 1 for none (got {self.median})")
        if self.stop_below < 0:
            raise UsageError(f"stop_below must not be negative (got {self.stop_below})")

    def forward(
        self,
        image1: Float[Tensor, "b 3 h w"],
        image2: Float[Tensor, "b 3 h w"],
        *,
        initial_flow: Float[Tensor, "#b 2 h0 w0"] | None = None,
        grey_range: Float[Tensor, "b 2"] | None = None,
    ) -> FlowOutput:
        """Flow from frame 1 to frame 2.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1]; H, W >= 3.
            image2: (B, 3, H, W) RGB in [0, 1].
            initial_flow: where the coarsest level starts; any size, in pixels of its own grid; None for zero.
            grey_range: darkest and lightest grey level that are stretched to 0..255, per sample; None takes
                those of the two frames. Parts of a larger frame need the range of the whole: see the method.

        Returns:
            The flow, and as residual the data term's ``rho`` before the last iteration's update, in
            normalised grey levels.

        Raises:
            InputError: when a side is under 3 pixels.
        """
        h, w = image1.shape[-2:]
        if min(h, w) < MIN_SIDE:
            raise InputError(f"images of {h}x{w} pixels are too small: tvnet needs at least 3x3")
        first, second = self._prepare(image1, image2, grey_range)
        sizes = self.level_sizes((h, w))
        flow = self._start(first, initial_flow, sizes[-1])
        residual = first
        for level in range(len(sizes) - 1, -1, -1):
            frames = (self._resample(first, sizes[level]), self._resample(second, sizes[level]))
            flow, residual = self._solve_level(frames[0], frames[1], flow, level)
            if level:
                flow = self._to_finer(flow, sizes[level - 1])
        return FlowOutput(flow=flow, residual=residual)

    def clip(
        self, frames: Float[Tensor, "b t 3 h w"], *, warm_start: bool = True
    ) -> Float[Tensor, "b t-1 2 h w"]:
        """Flow between all neighbouring frames of clips.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1], T >= 2.
            warm_start: each pair starts from the flow of the pair before.

        Returns:
            (B, T - 1, 2, H, W): from frame t to frame t + 1.

        Raises:
            InputError: for fewer than two frames.
        """
        if frames.shape[1] < 2:
            raise InputError(f"a clip needs at least two frames (got {frames.shape[1]})")
        flows: list[Tensor] = []
        for t in range(frames.shape[1] - 1):
            start = flows[-1] if warm_start and flows else None
            flows.append(self(frames[:, t], frames[:, t + 1], initial_flow=start).flow)
        return torch.stack(flows, 1)

    def level_sizes(self, size_hw: tuple[int, int]) -> list[tuple[int, int]]:
        """Sizes (h, w) of the pyramid's levels, finest first."""
        h, w = size_hw
        shrink = math.log(1 / self.zoom)
        if self.faithful:
            count = math.floor(1 + math.log(math.hypot(h, w) / 4) / shrink)
        else:
            count = math.floor(1 + math.log(max(1.0, min(h, w) / COARSEST_SIDE)) / shrink + 1e-9)
        count = max(1, count if self.scales is None else min(count, self.scales))
        ratios = [self.zoom**s for s in range(count)]
        return [(max(1, int(h * r + 0.5)), max(1, int(w * r + 0.5))) for r in ratios]

    def grey_range(
        self, image1: Float[Tensor, "b 3 h w"], image2: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b 2"]:
        """The darkest and the lightest grey level of both frames: what tiles of a large frame have in common.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1].
            image2: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B, 2) in 0..255, the `grey_range` of `forward`.
        """
        frames = torch.stack([self._grey(image1), self._grey(image2)], 1).flatten(1)
        return torch.stack([frames.amin(1), frames.amax(1)], 1)

    def _prepare(
        self, image1: Tensor, image2: Tensor, grey_range: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Grey levels, jointly stretched to 0..255 per sample, and lightly smoothed."""
        frames = torch.stack([self._grey(image1), self._grey(image2)], 1)
        limits = self.grey_range(image1, image2) if grey_range is None else grey_range
        low, high = limits.to(frames)[:, :, None, None, None, None].unbind(1)
        spread = torch.where(high > low, high - low, torch.full_like(high, 255.0))
        frames = torch.where(high > low, 255 * (frames - low) / spread, frames)
        first, second = frames.unbind(1)
        return self._smooth(first), self._smooth(second)

    def _grey(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) luminance in 0..255; the reference has integers, which stop gradients to the image."""
        red, green, blue = (255 * image[:, c : c + 1] for c in range(3))
        if not self.faithful:
            return 0.299 * red + 0.587 * green + 0.114 * blue
        if self.channel_order == "rgb":
            red, blue = blue, red
        return (0.114 * blue.round() + 0.587 * green.round() + 0.299 * red.round()).floor()

    def _smooth(self, image: Tensor) -> Tensor:
        kernel = self.smoothing.to(image.dtype)
        if self.faithful:
            return F.conv2d(image, kernel, padding=2)
        return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), kernel / kernel.sum())

    def _start(self, first: Tensor, initial_flow: Tensor | None, size_hw: tuple[int, int]) -> Tensor:
        batch = first.shape[0]
        if initial_flow is None:
            return first.new_zeros((batch, 2, *size_hw))
        flow = initial_flow.to(first).expand(batch, -1, -1, -1)
        return resize_flow(flow, size_hw)

    def _resample(self, image: Tensor, size_hw: tuple[int, int]) -> Tensor:
        """A pyramid level, always made from the full-size frame."""
        if image.shape[-2:] == size_hw:
            return image
        if self.faithful:
            return resize_image(image, size_hw, antialias=False, sampling="corner_aligned")
        return resize_image(image, size_hw, antialias=True)

    def _to_finer(self, flow: Tensor, size_hw: tuple[int, int]) -> Tensor:
        if self.faithful:
            return resize_flow(flow, size_hw, sampling="corner_aligned", factor=1 / self.zoom)
        return resize_flow(flow, size_hw)

    def _solve_level(self, first: Tensor, second: Tensor, flow: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """All warps of one level; the dual variable lives on from warp to warp."""
        b, _, h, w = first.shape
        dual = first.new_zeros((b, 4, h, w))
        gradient = central_gradient(second)
        residual = first
        for warp in range(self.warps):
            data = self._linearise(first, second, gradient, flow)
            last = level == 0 and warp == self.warps - 1
            flow, dual = self._iterate(flow, dual, data, self.iterations - last, (level, warp, 0))
            if last:
                residual = data_residual(data, flow, epsilon=self.epsilon)
                flow, dual = self._iterate(flow, dual, data, 1, (level, warp, self.iterations - 1))
            flow = median_filter(flow, self.median)
        return flow, residual

    def _linearise(self, first: Tensor, second: Tensor, gradient: Tensor, flow: Tensor) -> DataTerm:
        if not self.faithful:
            return linearise_at(first, second, flow, gradient2=gradient)
        warped = backward_warp(torch.cat([second, gradient], 1), flow, border="tvnet")
        return linearise(warped[:, :1], warped[:, 1:], flow, first)

    def _iterate(
        self, flow: Tensor, dual: Tensor, data: DataTerm, count: int, position: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        """``count`` iterations from (level, warp, iteration) on, by the path that the settings allow."""
        settings = {"tau": self.tau, "lbda": self.lbda, "theta": self.theta, "epsilon": self.epsilon}
        if self.kernels is not None:
            level, warp, start = position
            kernels = self.kernels[level, warp, start : start + count]
            return tvl1_iterations_reference(flow, dual, data, iterations=count, kernels=kernels, **settings)
        if self.stop_below == 0 or (torch.is_grad_enabled() and flow.requires_grad):
            return tvl1_iterations(flow, dual, data, iterations=count, **settings)
        return self._iterate_until_still(flow, dual, data, count, settings)

    def _iterate_until_still(
        self, flow: Tensor, dual: Tensor, data: DataTerm, count: int, settings: dict[str, float]
    ) -> tuple[Tensor, Tensor]:
        """Blocks of iterations until every sample has settled; a settled one stays: batches do not mix."""
        moving = torch.ones_like(flow[:, :1, :1, :1], dtype=torch.bool)
        for start in range(0, count, STOP_INTERVAL):
            n = min(STOP_INTERVAL, count - start)
            new_flow, new_dual = tvl1_iterations(flow, dual, data, iterations=n, **settings)
            change = (new_flow - flow).square().sum(1, keepdim=True).mean((2, 3), keepdim=True).sqrt() / n
            flow, dual = torch.where(moving, new_flow, flow), torch.where(moving, new_dual, dual)
            moving = moving & (change >= self.stop_below)
            if not bool(moving.any()):
                break
        return flow, dual
