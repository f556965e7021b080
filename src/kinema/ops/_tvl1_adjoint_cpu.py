"""The differentiable TV-L1 iterations on a CPU, forward and backward: fused loops compiled by numba.

As in `kinema.ops._tvl1_cpu` (whose text explains time skewing, bands and margins) each core takes a band of
rows, and iteration k of a block works k rows behind iteration k - 1. Three things differ. Difference kernels
and biases may be any. The six maps of a state lie row by row together, (H, 6, W): u1, u2, p11, p12, p21, p22,
so that the backward pass reads one stream per iteration. And a block copies its band, margins included, into
memory of its own and leaves its own rows in the result, so that bands need no talking in between.

Backward, the iterations of a block are run again, all their states kept, and then pulled back in reverse.
With P the gradient of the new dual q = (p + step s) r, where s are the slopes and r = 1 / (1 + step |s|), and
U that of the new flow, one iteration at a row does, in this order:

    P <- P r;  S = P r - r <P, q> s / |s|                   the dual step, at row i
    U <- U + step * adjoint of the forward gradient, of S   needs S of row i - 1
    P <- P + theta * adjoint of the divergence, of U        at row i - 1, needs U of row i
    U <- U + (d rho / d u)                                  at row i - 1; U is now that of the old flow

so that row i - 1 is ready for the iteration before, one row behind: the same skewing as forward. The kernels'
gradients are sums of products; those of tau and theta follow from them, because both only scale kernels.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.ops import _tvl1_adjoint_rows as rows
from kinema.ops._threads import run_all
from kinema.ops._tvl1_cpu import row_bands
from kinema.ops._tvl1_eager import Inputs

Maps = NDArray[np.float32]
Sums = NDArray[np.float64]

BLOCK = 10  # iterations per block at most: margins cost BLOCK rows per band and side
CACHE_BYTES = 768 * 1024  # a block should keep its rows within a core's second-level cache
MAPS_PER_PIXEL = 14
SUMS = 25  # per iteration: three for each of the eight kernels, and between fours the shrinkage limit's
LIMIT = 12

_jit = rows.jit


@_jit
def _forward_block(source, states, data, taps, slopes, scalars, span, every):
    """The iterations of a block from ``source``; ``states`` takes all results, or just the last one.

    ``span`` is first and last row with margins, then those of the band itself; ``taps`` (count, 4, 3) are the
    divergence's, theta within; ``slopes`` (count, 4, 3) the gradient's; ``scalars`` limit, step, epsilon.
    """
    start, stop, top, bottom = span
    limit, step, eps = scalars
    part, zeros = source[start:stop].copy(), np.zeros(source.shape[2], np.float32)
    height, count, last_row = stop - start, taps.shape[0], source.shape[0] - 1
    for front in range(height + count):
        for m in range(min(count, front + 1)):
            r = front - m
            if r < height:
                z, d = part[r], data[start + r]
                above1 = part[r - 1, 3] if r > 0 else zeros
                above2 = part[r - 1, 5] if r > 0 else zeros
                rows.flow_row(
                    z[0], z[1], z[2], z[3], z[4], z[5], above1, above2, d[0], d[1], d[2], d[3],
                    taps[m], limit, eps,
                )  # fmt: skip
            if 0 < r <= height:
                z, below, i = part[r - 1], part[min(r, height - 1)], start + r - 1
                live = np.float32(0 if i == last_row else 1)
                rows.dual_row(z[2], z[3], z[0], below[0], live, slopes[m, :2], step, eps)
                rows.dual_row(z[4], z[5], z[1], below[1], live, slopes[m, 2:], step, eps)
                if top <= i < bottom and (every or m == count - 1):
                    states[m if every else 0, i] = z


@_jit
def _reverse_block(source, result, states, data, gathered, sums, order, scaled, slopes, scalars, span):
    """Pull the gradients of a state, ``source``, back through the iterations in ``order``, to ``result``.

    ``states`` are those before and after each iteration; ``gathered`` (H, 3, W) and ``sums`` (count, SUMS)
    add up what concerns the data term and the parameters; ``scaled`` (count, 8, 3) are the kernels with theta
    or step within; the others are those of `_forward_block`.
    """
    start, stop, top, bottom = span
    limit, step, eps = scalars
    width, height, last_row = source.shape[2], stop - start, source.shape[0] - 1
    part, edge = source[start:stop].copy(), np.empty(width, np.float32)
    zeros = np.zeros((6, width), np.float32)
    lost, sx = np.zeros((3, width), np.float32), np.empty((2, width), np.float32)
    sy = np.zeros((order.shape[0], 2, 2, width), np.float32)  # of even rows and of odd ones
    for front in range(height + order.shape[0]):
        for m in range(min(order.shape[0], front + 1)):
            r, k = front - m, order[m]
            if r < height:
                i = start + r
                rows.reverse_dual(
                    part[r], states[k + 1, i], states[k + 1, min(i + 1, last_row)], np.float32(i < last_row),
                    sy[m, r & 1], sy[m, 1 - (r & 1)], sx, slopes[k], scaled[k, 4:], step, eps,
                    sums[k, 13:], top <= i < bottom,
                )  # fmt: skip
            if 0 < r <= height:
                i = start + r - 1
                own = top <= i < bottom
                rows.reverse_flow(
                    part[r - 1], part[r] if r < height else zeros, states[k, i],
                    states[k, i - 1] if i > 0 else zeros, data[i], gathered[i] if own else lost, edge,
                    scaled[k, :4], limit, eps, sums[k, :13], own,
                )  # fmt: skip
    result[top:bottom] = part[top - start : bottom - start]


class _Solver(NamedTuple):
    """One sample's problem, laid out for the loops.

    Attributes:
        data: (H, 4, W): gradient in x and y, constant, 1 / |gradient|^2.
        scaled: (iterations, 8, 3): taps and bias of the kernels, theta within the divergence's and step
            within the gradient's.
        slopes: (iterations, 4, 3): those of the gradient as they are.
        scalars: shrinkage limit, step, epsilon.
        block: iterations per block.
    """

    data: Maps
    scaled: Maps
    slopes: Maps
    scalars: tuple[np.float32, np.float32, np.float32]
    block: int

    def forward(self, source: Maps, states: Maps, first: int, count: int) -> None:
        """``count`` iterations, at most a block; ``states`` takes all results, or the last if it has one."""
        taps, slopes = self.scaled[first : first + count, :4], self.slopes[first : first + count]
        every = len(states) == count

        def run(*span: int) -> None:
            _forward_block(source, states, self.data, taps, slopes, self.scalars, span, every)

        run_all(run, self._spans())

    def reverse(
        self, source: Maps, states: Maps, gathered: Maps, first: int, order: list[int]
    ) -> tuple[Maps, Sums]:
        """Back through the iterations in ``order``, counted from ``first``: new gradients and sums."""
        spans, result = self._spans(), np.empty_like(source)
        count = len(states) - 1
        sums = np.zeros((len(spans), count, SUMS))
        kernels = self.scaled[first : first + count], self.slopes[first : first + count]

        def run(i: int) -> None:
            _reverse_block(
                source, result, states, self.data, gathered, sums[i], np.array(order), *kernels,
                self.scalars, spans[i],
            )  # fmt: skip

        run_all(run, [(i,) for i in range(len(spans))])
        return result, sums.sum(0)

    def _spans(self) -> list[tuple[int, int, int, int]]:
        """Of each band: first and last row with margins, first and last of its own."""
        h, _, w = self.data.shape
        cuts = row_bands(h, w, self.block)
        return [(max(0, top - self.block), min(h, low + self.block), top, low) for top, low in cuts]

    def blocks(self, iterations: int) -> list[tuple[int, int]]:
        """First iteration and number of iterations of each block."""
        starts = range(0, iterations, self.block)
        return [(first, min(self.block, iterations - first)) for first in starts]


def _solver(inputs: Inputs, sample: int, iterations: int, epsilon: float) -> _Solver:
    tau, lbda, theta = inputs.weights.tolist()
    kernels = _kernels(inputs, iterations)
    g, c = inputs.gradient[sample].numpy(), inputs.constant[sample, 0].numpy()
    h, w = c.shape
    data = np.empty((h, 4, w), np.float32)
    data[:, 0], data[:, 1], data[:, 2] = g[0], g[1], c
    data[:, 3] = 1 / (g[0] ** 2 + g[1] ** 2 + np.float32(epsilon))
    scalars = (np.float32(lbda * theta), np.float32(tau / theta), np.float32(epsilon))
    block = max(2, min(BLOCK, CACHE_BYTES // (4 * MAPS_PER_PIXEL * w)))
    slopes = kernels[:, 4:].astype(np.float32)
    return _Solver(data, (_scale(tau, theta) * kernels).astype(np.float32), slopes, scalars, block)


def _kernels(inputs: Inputs, iterations: int) -> Sums:
    """(iterations, 8, 3): taps and bias, in float64."""
    kernels = np.zeros((iterations, 8, 3))
    kernels[..., :2] = (-1, 1) if inputs.kernels is None else inputs.kernels.numpy()
    kernels[..., 2] = 0 if inputs.biases is None else inputs.biases.numpy()
    return kernels


def forward(inputs: Inputs, iterations: int, epsilon: float, *, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    """`kinema::tvl1_iterations` for float32 on the CPU, with any kernels.

    Args:
        inputs: float32 on the CPU; they stay as they are.
        iterations: how many, >= 1.
        epsilon: see `kinema.ops.variational.tvl1_iterations`.
        keep: whether to hand out the states.

    Returns:
        Flow, dual, and the states before, between and after the iterations, (B, iterations + 1, H, 6, W), or
        none, (B, 0, H, 6, W).
    """
    inputs = _plain(inputs)
    start = _by_rows(*inputs[:2])
    b, h, _, w = start.shape
    kept = torch.from_numpy(np.empty((b, iterations + 1 if keep else 0, h, 6, w), np.float32))
    ends = torch.empty_like(start)
    for n in range(b):
        solver = _solver(inputs, n, iterations, epsilon)
        end = _run(solver, start[n].numpy(), iterations, kept[n].numpy())
        ends[n] = torch.from_numpy(end)
    maps = ends.transpose(1, 2)
    return _copy(maps[:, :2]), _copy(maps[:, 2:]), kept


def _run(solver: _Solver, start: Maps, iterations: int, kept: Maps) -> Maps:
    """All iterations of one sample; ``kept`` takes all states, or none if it is empty."""
    state = start
    if len(kept):
        kept[0] = start
    for first, count in solver.blocks(iterations):
        states = kept[first + 1 : first + 1 + count] if len(kept) else np.empty((1, *start.shape), np.float32)
        solver.forward(state, states, first, count)
        state = states[-1]
    return state


def backward(
    grads: tuple[Tensor, Tensor],
    inputs: Inputs,
    kept: Tensor | None,
    iterations: int,
    adjoint_steps: int,
    epsilon: float,
) -> list[Tensor | None]:
    """`kinema::tvl1_iterations_backward` for float32 on the CPU.

    Args:
        grads: of the flow and the dual.
        inputs: of the forward pass.
        kept: the states that `forward` handed out; None to compute them again, a block at a time.
        iterations: of the forward pass, >= 1.
        adjoint_steps: how many iterations to go back; what exceeds ``iterations`` repeats the first one.
        epsilon: of the forward pass.

    Returns:
        One gradient for each of the `Inputs`, None where that is None.
    """
    inputs = _plain(inputs)
    start, state_grads = _by_rows(*inputs[:2]), _by_rows(*grads)
    b, h, _, w = start.shape
    data_grads, sums = torch.zeros(b, h, 3, w), np.zeros((iterations, SUMS))
    for n in range(b):
        solver = _solver(inputs, n, iterations, epsilon)
        history = _History(solver, start[n].numpy(), iterations, None if kept is None else kept[n].numpy())
        at = state_grads[n].numpy()
        at[...] = _back(solver, history, at, data_grads[n].numpy(), adjoint_steps, sums)
    maps, data_maps = state_grads.transpose(1, 2), data_grads.transpose(1, 2)
    parts = (maps[:, :2], maps[:, 2:], data_maps[:, :2], data_maps[:, 2:])
    return [*map(_copy, parts), *_parameter_grads(inputs, sums)]


def _back(
    solver: _Solver, history: _History, grads: Maps, gathered: Maps, adjoint_steps: int, sums: Sums
) -> Maps:
    """All iterations of one sample, last to first; ``gathered`` and ``sums`` add up."""
    for first, count, states in history.blocks_backward():
        grads, found = solver.reverse(grads, states, gathered, first, [*reversed(range(count))])
        sums[first : first + count] += found
    for done in range(len(sums), adjoint_steps, solver.block):
        again = [0] * min(solver.block, adjoint_steps - done)
        grads, found = solver.reverse(grads, states[:2], gathered, 0, again)
        sums[:1] += found
    return grads


class _History(NamedTuple):
    """The states of one sample: kept, or computed again."""

    solver: _Solver
    start: Maps
    iterations: int
    kept: Maps | None

    def blocks_backward(self) -> Iterator[tuple[int, int, Maps]]:
        """First iteration, number of iterations and states of each block, the last block first."""
        blocks = self.solver.blocks(self.iterations)
        if self.kept is not None:
            for first, count in reversed(blocks):
                yield first, count, self.kept[first : first + count + 1]
            return
        starts = [self.start]
        for first, count in blocks[:-1]:
            states = np.empty((1, *self.start.shape), np.float32)
            self.solver.forward(starts[-1], states, first, count)
            starts.append(states[0])
        room = np.empty((min(self.solver.block, self.iterations) + 1, *self.start.shape), np.float32)
        for first, count in reversed(blocks):
            room[0] = starts.pop()
            self.solver.forward(room[0], room[1 : count + 1], first, count)
            yield first, count, room[: count + 1]


def _parameter_grads(inputs: Inputs, sums: Sums) -> list[Tensor | None]:
    """Gradients of weights, kernels and biases from the `SUMS` of each iteration."""
    tau, lbda, theta = inputs.weights.tolist()
    kernels, scale = _kernels(inputs, len(sums)), _scale(tau, theta)
    first, difference, constant = np.moveaxis(np.delete(sums, LIMIT, 1).reshape(-1, 8, 3), 2, 0)
    # A pair of nearly opposite taps: summing the differences keeps the digits that single sums lose.
    direct = (kernels[..., 0] + kernels[..., 1]) * first + kernels[..., 1] * difference
    direct += kernels[..., 2] * constant
    by_theta, by_step, by_limit = direct[:, :4].sum(), direct[:, 4:].sum(), sums[:, LIMIT].sum()
    weights = (by_step / theta, by_limit * theta, by_theta - by_step * tau / theta**2 + by_limit * lbda)
    taps, biases = scale * np.stack([first, first + difference], 2), scale[:, 0] * constant
    return [
        torch.tensor(weights).to(inputs.weights),
        None if inputs.kernels is None else torch.from_numpy(taps).to(inputs.kernels),
        None if inputs.biases is None else torch.from_numpy(biases).to(inputs.biases),
    ]


def _scale(tau: float, theta: float) -> Sums:
    """(8, 1): what the kernels' results are multiplied by: theta for divergences, the step for slopes."""
    return np.repeat([theta, tau / theta], 4)[:, None]


def _by_rows(flow: Tensor, dual: Tensor) -> Tensor:
    """Two and four maps as (B, H, 6, W)."""
    b, _, h, w = flow.shape
    rows = torch.empty(b, h, 6, w)
    rows[:, :, :2], rows[:, :, 2:] = flow.detach().transpose(1, 2), dual.detach().transpose(1, 2)
    return rows


def _copy(maps: Tensor) -> Tensor:
    """A contiguous copy, also where ``contiguous`` would give a view: an operator's results lie apart."""
    return maps.clone(memory_format=torch.contiguous_format)


def _plain(inputs: Inputs) -> Inputs:
    """The same, apart from autograd, densely laid out: what numpy can read."""
    flow, dual, gradient, constant, weights = (t.detach().contiguous() for t in inputs[:5])
    kernels, biases = (None if t is None else t.detach() for t in inputs[5:])
    return Inputs(flow, dual, gradient, constant, weights, kernels, biases)
