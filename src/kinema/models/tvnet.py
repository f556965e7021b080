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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from kinema.errors import InputError, UsageError
from kinema.models.tvnet_frames import TVNetFrames
from kinema.models.tvnet_parameters import (
    LearnedConstants,
    LearnedKernels,
    LearnedStart,
    Place,
    completed,
    learned_levels,
)
from kinema.models.tvnet_settings import (
    MIN_SIDE,
    PRESETS,
    Biases,
    ChannelOrder,
    Constants,
    KernelNorm,
    Kernels,
    Learned,
    Preset,
    Start,
    check_choice,
    check_numbers,
    level_sizes,
)
from kinema.ops.resize import resize_flow
from kinema.ops.variational import (
    DataTerm,
    Unrolling,
    central_gradient,
    data_residual,
    linearise,
    linearise_at,
    median_filter,
    tvl1_iterations,
)
from kinema.ops.warp import backward_warp
from kinema.outputs import FlowOutput

STOP_INTERVAL = 10  # iterations between two looks at the early stop


@dataclass(frozen=True)
class _Solver:
    """The learned parts at the values of one forward pass: computed once, used at every warp.

    Attributes:
        constants: rows of (tau, lambda, theta): numbers, or tensors while gradients are recorded.
        kernels: (rows, 8, 2); None for (-1, 1).
        biases: (rows, 8); None for none.
    """

    constants: Sequence[Sequence[float | Tensor]]
    kernels: Tensor | None = None
    biases: Tensor | None = None


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
        constants: whether ``tau``, ``lbda`` and ``theta`` are learned, from the numbers given: see
            `kinema.models.tvnet_settings.Learned`, as for the four that follow.
        kernels: whether the 2-tap difference kernels are; ``per_iteration``, as published, needs an explicit
            number of scales.
        kernel_norm: whether learned kernels are kept stable (None: the preset's).
        biases: whether learned kernels have biases.
        start: whether the flow that the coarsest level starts from is.
        map_height: of a learned ``map`` of starting flow, in pixels of its own; it is resized to the coarsest
            level, whatever that is.
        map_width: of the same.
        channel_order: of the ``reference`` preset: ``bgr`` weighs channels as the published code does on
            images read in BGR order, which is the right luminance; ``rgb`` is what results when it is fed
            RGB.

    Attributes:
        unrolling: how gradients go back through the iterations of a warp; it changes no flow.
        differentiates_positions: whether they also go back through the place where frame 2 is sampled, from
            each warp to the one before, as published. What the sampled gradients of the image do there is
            mostly noise, which grows from warp to warp; without it learning is stable. It changes no flow.

    Raises:
        UsageError: for a value out of range.
    """

    constants: LearnedConstants | None
    kernels: LearnedKernels | None
    start: LearnedStart | None

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
        constants: Constants = "fixed",
        kernels: Kernels = "fixed",
        kernel_norm: KernelNorm | None = None,
        biases: Biases = "none",
        start: Start = "none",
        map_height: int | None = None,
        map_width: int | None = None,
        channel_order: ChannelOrder = "bgr",
    ) -> None:
        super().__init__()
        check_choice("preset", preset, tuple(PRESETS))
        check_choice("channel_order", channel_order, get_args(ChannelOrder))
        default = PRESETS[preset]
        self.faithful = preset == "reference"
        self.scales = default.scales if scales is None else scales
        self.warps = default.warps if warps is None else warps
        self.iterations = default.iterations if iterations is None else iterations
        self.median = default.median if median is None else median
        self.epsilon = default.epsilon
        self.tau, self.lbda, self.theta, self.zoom = tau, lbda, theta, zoom
        self.stop_below = stop_below
        check_numbers(
            counts={"scales": self.scales, "warps": self.warps, "iterations": self.iterations},
            constants={"tau": tau, "lbda": lbda, "theta": theta},
            zoom=zoom,
            median=self.median,
            stop_below=stop_below,
        )
        self.frames = TVNetFrames(faithful=self.faithful, channel_order=channel_order)
        norm = default.kernel_norm if kernel_norm is None else kernel_norm
        learned = Learned(constants=constants, kernels=kernels, kernel_norm=norm, biases=biases, start=start)
        self._add_learned(learned, (map_height, map_width))
        self.unrolling, self.differentiates_positions = Unrolling(), True

    def _add_learned(self, learned: Learned, map_hw: tuple[int | None, int | None]) -> None:
        self.constants = self.kernels = self.start = None
        if learned.constants != "fixed":
            levels = learned_levels(self.scales) if learned.constants == "per_warp" else 0
            first = self.tau, self.lbda, self.theta
            self.constants = LearnedConstants(first, levels=levels, warps=self.warps)
        if learned.kernels != "fixed":
            self.kernels = LearnedKernels(
                self._kernel_shape() if learned.kernels == "per_iteration" else None,
                limited=learned.kernel_norm == "bounded",
                biases=learned.biases,
            )
        height, width = map_hw if learned.start == "map" else (1, 1)
        if not (height and width and height > 0 and width > 0):
            raise UsageError("start='map' needs its size: pass map_height=H and map_width=W")
        if learned.start != "none":
            self.start = LearnedStart((height, width))

    def _kernel_shape(self) -> tuple[int, int, int]:
        if self.scales is None:
            raise UsageError("kernels='per_iteration' needs the number of scales: pass scales=N")
        return self.scales, self.warps, self.iterations

    def complete_state(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Begin from a sibling that has learned less, or in another size: see `completed`.

        Args:
            tensors: the sibling's state.

        Returns:
            A state for this network; tensors that it has no place for are handed on.
        """
        return completed(self.state_dict(), tensors)

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
            initial_flow: where the coarsest level starts; any size, in pixels of its own grid; None for what
                was learned, or zero.
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
        first, second = self.frames(image1, image2, grey_range)
        sizes, solver = self.level_sizes((h, w)), self._solver()
        flow = self._first_flow(first, initial_flow, sizes[-1])
        residual = first
        for level in range(len(sizes) - 1, -1, -1):
            one, two = (self.frames.resample(frame, sizes[level]) for frame in (first, second))
            flow, residual = self._solve_level(one, two, flow, level, solver)
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
        return level_sizes(size_hw, scales=self.scales, zoom=self.zoom, faithful=self.faithful)

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
        found: Tensor = self.frames.grey_range(image1, image2)
        return found

    def _solver(self) -> _Solver:
        """The learned parts, as they are now."""
        rows: Sequence[Sequence[float | Tensor]] = [(self.tau, self.lbda, self.theta)]
        if self.constants is not None:
            values = self.constants()
            # Numbers where no gradient is asked for: the fused loops take them as they are.
            rows = [row.unbind() for row in values] if values.requires_grad else values.tolist()
        if self.kernels is None:
            return _Solver(rows)
        return _Solver(rows, *self.kernels())

    def _first_flow(self, first: Tensor, initial_flow: Tensor | None, size_hw: tuple[int, int]) -> Tensor:
        batch = first.shape[0]
        if initial_flow is not None:
            return resize_flow(initial_flow.to(first).expand(batch, -1, -1, -1), size_hw)
        if self.start is not None:
            learned: Tensor = self.start(size_hw)
            return learned.to(first).expand(batch, -1, -1, -1)
        return first.new_zeros((batch, 2, *size_hw))

    def _to_finer(self, flow: Tensor, size_hw: tuple[int, int]) -> Tensor:
        if self.faithful:
            return resize_flow(flow, size_hw, sampling="corner_aligned", factor=1 / self.zoom)
        return resize_flow(flow, size_hw)

    def _solve_level(
        self, first: Tensor, second: Tensor, flow: Tensor, level: int, solver: _Solver
    ) -> tuple[Tensor, Tensor]:
        """All warps of one level; the dual variable lives on from warp to warp."""
        b, _, h, w = first.shape
        dual = first.new_zeros((b, 4, h, w))
        gradient = central_gradient(second)
        residual = first
        for warp in range(self.warps):
            around = flow if self.differentiates_positions else flow.detach()
            data = self._linearise(first, second, gradient, around)
            last = level == 0 and warp == self.warps - 1
            place = Place(level, warp, 0, self.iterations - last)
            flow, dual = self._iterate(flow, dual, data, place, solver)
            if last:
                residual = data_residual(data, flow, epsilon=self.epsilon)
                place = Place(level, warp, self.iterations - 1, 1)
                flow, dual = self._iterate(flow, dual, data, place, solver)
            flow = median_filter(flow, self.median)
        return flow, residual

    def _linearise(self, first: Tensor, second: Tensor, gradient: Tensor, flow: Tensor) -> DataTerm:
        if not self.faithful:
            return linearise_at(first, second, flow, gradient2=gradient)
        warped = backward_warp(torch.cat([second, gradient], 1), flow, border="tvnet")
        return linearise(warped[:, :1], warped[:, 1:], flow, first)

    def _iterate(
        self, flow: Tensor, dual: Tensor, data: DataTerm, place: Place, solver: _Solver
    ) -> tuple[Tensor, Tensor]:
        """Some iterations of one warp, by the path that the settings allow."""
        recorded = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (flow, *data, *self.parameters())
        )
        if self.stop_below == 0 or recorded:
            return self._run(flow, dual, data, place, solver)
        return self._iterate_until_still(flow, dual, data, place, solver)

    def _run(
        self, flow: Tensor, dual: Tensor, data: DataTerm, place: Place, solver: _Solver
    ) -> tuple[Tensor, Tensor]:
        row = self.constants.row(place.level, place.warp) if self.constants is not None else 0
        tau, lbda, theta = solver.constants[row]
        kernels, biases = solver.kernels, solver.biases
        if self.kernels is not None and kernels is not None:
            rows = self.kernels.rows(place)
            kernels = kernels[rows] if self.kernels.shape else kernels[0]
            biases = None if biases is None else biases[rows] if self.kernels.shape else biases[0]
        return tvl1_iterations(
            flow,
            dual,
            data,
            iterations=place.length,
            tau=tau,
            lbda=lbda,
            theta=theta,
            epsilon=self.epsilon,
            kernels=kernels,
            biases=biases,
            unrolling=self._unrolling_at(place),
        )

    def _unrolling_at(self, place: Place) -> Unrolling:
        """Of a part of a warp's iterations: a truncated gradient sees those at the warp's end."""
        unrolling = self.unrolling
        if unrolling.mode == "implicit" and unrolling.steps is None:
            return replace(unrolling, steps=self.iterations)
        if unrolling.mode != "truncated" or unrolling.steps is None:
            return unrolling
        after = self.iterations - place.begin - place.length
        return replace(unrolling, steps=min(place.length, max(0, unrolling.steps - after)))

    def _iterate_until_still(
        self, flow: Tensor, dual: Tensor, data: DataTerm, place: Place, solver: _Solver
    ) -> tuple[Tensor, Tensor]:
        """Blocks of iterations until every sample has settled; a settled one stays: batches do not mix."""
        moving = torch.ones_like(flow[:, :1, :1, :1], dtype=torch.bool)
        for start in range(0, place.length, STOP_INTERVAL):
            n = min(STOP_INTERVAL, place.length - start)
            part = place._replace(begin=place.begin + start, length=n)
            new_flow, new_dual = self._run(flow, dual, data, part, solver)
            change = (new_flow - flow).square().sum(1, keepdim=True).mean((2, 3), keepdim=True).sqrt() / n
            flow, dual = torch.where(moving, new_flow, flow), torch.where(moving, new_dual, dual)
            moving = moving & (change >= self.stop_below)
            if not bool(moving.any()):
                break
        return flow, dual
