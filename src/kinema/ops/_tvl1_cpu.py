"""The TV-L1 iterations on a CPU: fused loops compiled by numba, without a compiler on the user's machine.

Two ideas make it fast. *Fusion*: one pass over a row does shrinkage, divergence and primal update, a second
one the dual update, so that eleven maps are read once instead of some forty times. *Time skewing*: iteration
k works k rows behind iteration k - 1, so that a block of iterations runs over rows that are still in the
cache. Row r of iteration k needs rows r - 1 and r of the dual and rows r and r + 1 of the flow of iteration k
- 1, all of which are done by then, and nothing that iteration k - 1 still needs has been overwritten: the
update is in place.

Several cores take bands of rows. A band carries one row of its neighbour per iteration of the block as a
margin: what the missing rows beyond spoil creeps inwards by one row per iteration and never reaches the band
itself, so the result does not depend on the number of bands. Own threads over kernels that release the
interpreter lock are used instead of numba's parallel loops, whose runtimes abort the process when two Python
threads call them or after a fork.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.ops._compile import compiled
from kinema.ops._threads import run_all

Maps = NDArray[np.float32]

BLOCK = 10  # iterations per block at most: margins cost BLOCK rows per band and side
CACHE_BYTES = 512 * 1024  # a block should keep its rows within a core's second-level cache
MAPS_PER_PIXEL = 10
MIN_BAND_PIXELS = 16_384  # below it, handing a band to another thread costs more than it saves

# No reassociation and no approximate reciprocals: a vectorised loop and the scalar one that stands in for it,
# where arrays seem to overlap, would round differently: results would depend on addresses. It costs nothing.
_jit = compiled(nogil=True, fastmath={"nnan", "ninf", "nsz", "contract"}, error_model="numpy")


@_jit
def _primal_row(
    u1, u2, p11, p12, p21, p22, p12_above, p22_above, gx, gy, constant, inverse, limit, theta, epsilon
):
    for j in range(1, u1.shape[0]):
        rho = constant[j] + gx[j] * u1[j] + gy[j] * u2[j] + epsilon
        k = min(max(-rho * inverse[j], -limit), limit)
        div1 = p11[j] - p11[j - 1] + p12[j] - p12_above[j]
        div2 = p21[j] - p21[j - 1] + p22[j] - p22_above[j]
        u1[j] = u1[j] + k * gx[j] + theta * div1
        u2[j] = u2[j] + k * gy[j] + theta * div2
    rho = constant[0] + gx[0] * u1[0] + gy[0] * u2[0] + epsilon
    k = min(max(-rho * inverse[0], -limit), limit)
    u1[0] = u1[0] + k * gx[0] + theta * (p11[0] + p12[0] - p12_above[0])
    u2[0] = u2[0] + k * gy[0] + theta * (p21[0] + p22[0] - p22_above[0])


@_jit
def _dual_row(u, u_below, px, py, step, epsilon):
    one = np.float32(1)
    last = u.shape[0] - 1
    for j in range(last):
        ux = u[j + 1] - u[j]
        uy = u_below[j] - u[j]
        shrink = one / (one + step * np.sqrt(ux * ux + uy * uy + epsilon))
        px[j] = (px[j] + step * ux) * shrink
        py[j] = (py[j] + step * uy) * shrink
    uy = u_below[last] - u[last]
    shrink = one / (one + step * np.sqrt(uy * uy + epsilon))
    px[last] = px[last] * shrink
    py[last] = (py[last] + step * uy) * shrink


@_jit
def _block(u, p, gx, gy, constant, inverse, zeros, iterations, first, step, limit, theta, epsilon):
    """A block of iterations over a band, in place; the first block of a solve also fills ``inverse``."""
    height = u.shape[1]
    one = np.float32(1)
    for front in range(height + iterations):
        if first and front < height:
            for j in range(u.shape[2]):
                inverse[front, j] = one / (gx[front, j] ** 2 + gy[front, j] ** 2 + epsilon)
        for k in range(min(iterations, front + 1)):
            r = front - k
            if r < height:
                above1 = p[1, r - 1] if r > 0 else zeros
                above2 = p[3, r - 1] if r > 0 else zeros
                _primal_row(
                    u[0, r], u[1, r], p[0, r], p[1, r], p[2, r], p[3, r], above1, above2,
                    gx[r], gy[r], constant[r], inverse[r], limit, theta, epsilon,
                )  # fmt: skip
            if 0 < r <= height:
                below = min(r, height - 1)
                _dual_row(u[0, r - 1], u[0, below], p[0, r - 1], p[1, r - 1], step, epsilon)
                _dual_row(u[1, r - 1], u[1, below], p[2, r - 1], p[3, r - 1], step, epsilon)


@_jit
def _linearise_rows(first, stack, flow, gradient, constant, top, bottom):
    """Sample (image, d/dx, d/dy) of frame 2 at x + flow bilinearly; form the data term, off outside."""
    height, width = first.shape
    zero = np.float32(0)
    for i in range(top, bottom):
        for j in range(width):
            u, v = flow[0, i, j], flow[1, i, j]
            x, y = np.float32(j) + u, np.float32(i) + v
            if not (x >= 0 and x <= width - 1 and y >= 0 and y <= height - 1):
                gradient[0, i, j] = zero
                gradient[1, i, j] = zero
                constant[i, j] = zero
                continue
            x0, y0 = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            wx, wy = x - np.float32(x0), y - np.float32(y0)
            w11 = wx * wy
            w10, w01 = wy - w11, wx - w11
            w00 = np.float32(1) - wx - w10
            i00, i01, i10, i11 = stack[y0, x0], stack[y0, x1], stack[y1, x0], stack[y1, x1]
            image = w00 * i00[0] + w01 * i01[0] + w10 * i10[0] + w11 * i11[0]
            gx = w00 * i00[1] + w01 * i01[1] + w10 * i10[1] + w11 * i11[1]
            gy = w00 * i00[2] + w01 * i01[2] + w10 * i10[2] + w11 * i11[2]
            gradient[0, i, j] = gx
            gradient[1, i, j] = gy
            constant[i, j] = image - gx * u - gy * v - first[i, j]


def linearise(first: Tensor, stack: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """`kinema.ops.variational.linearise_at` for float32 tensors on the CPU; no gradient."""
    b, _, h, w = flow.shape
    gradient, constant = torch.empty(b, 2, h, w), torch.empty(b, 1, h, w)
    corners = stack.detach().movedim(1, -1).contiguous().numpy()  # one pixel's three values lie together
    frame, at = first.detach().contiguous().numpy(), flow.detach().contiguous().numpy()
    g, c = gradient.numpy(), constant.numpy()
    bands = row_bands(h, w, 1)

    def run(n: int, band: tuple[int, int]) -> None:
        _linearise_rows(frame[n, 0], corners[n], at[n], g[n], c[n, 0], *band)

    for n in range(b):
        run_all(run, [(n, band) for band in bands])
    return gradient, constant


def iterate(
    flow: Tensor,
    dual: Tensor,
    gradient: Tensor,
    constant: Tensor,
    iterations: int,
    tau: float,
    lbda: float,
    theta: float,
    epsilon: float,
) -> tuple[Tensor, Tensor]:
    """`kinema.ops.variational.tvl1_iterations` for float32 on the CPU; the inputs stay as they are."""
    states = [t.detach().contiguous() for t in (flow, dual)]
    results = [torch.empty_like(t) for t in states]
    g = gradient.detach().contiguous().numpy()
    c = constant.detach().contiguous().numpy()
    scalars = tuple(np.float32(x) for x in (tau / theta, lbda * theta, theta, epsilon))
    for b in range(flow.shape[0]):
        old, new = [t[b].numpy() for t in states], [t[b].numpy() for t in results]
        _solve(old, new, (g[b, 0], g[b, 1], c[b, 0]), iterations, scalars)
    return results[0], results[1]


def _solve(
    old: list[Maps], new: list[Maps], data: tuple[Maps, ...], iterations: int, scalars: tuple[np.float32, ...]
) -> None:
    """All iterations of one sample, from the states (flow, dual) in ``old`` to those in ``new``."""
    height, width = data[0].shape
    block = max(2, min(BLOCK, CACHE_BYTES // (4 * MAPS_PER_PIXEL * width)))
    bands = row_bands(height, width, block)
    rows = [slice(max(0, top - block), min(height, bottom + block)) for top, bottom in bands]
    parts: list[list[Maps]] = [[] for _ in bands]
    inverse, zeros = np.empty((height, width), np.float32), np.zeros(width, np.float32)

    def run(i: int, start: int) -> None:
        r = rows[i]
        if start == 0:
            parts[i] = [state[:, r].copy() for state in old]
        count = min(block, iterations - start)
        maps = [m[r] for m in (*data, inverse)]
        _block(*parts[i], *maps, zeros, count, start == 0, *scalars)
        if start + count == iterations:
            top, bottom = bands[i]
            for state, part in zip(new, parts[i], strict=True):
                state[:, top:bottom] = part[:, top - r.start : bottom - r.start]

    for start in range(0, max(1, iterations), block):
        if start:
            _exchange_margins(parts, rows, bands)
        run_all(run, [(i, start) for i in range(len(bands))])


def _exchange_margins(parts: list[list[Maps]], rows: list[slice], bands: list[tuple[int, int]]) -> None:
    """Replace the spoilt margin rows of each band by its neighbours' good ones."""
    for i in range(len(parts) - 1):
        cut, row_u, row_l = bands[i][1], rows[i], rows[i + 1]
        for upper, lower in zip(parts[i], parts[i + 1], strict=True):
            upper[:, cut - row_u.start :] = lower[:, cut - row_l.start : row_u.stop - row_l.start]
            lower[:, : cut - row_l.start] = upper[:, row_l.start - row_u.start : cut - row_u.start]


def row_bands(height: int, width: int, block: int) -> list[tuple[int, int]]:
    """Contiguous row ranges, one per thread, each at least twice as high as its margin."""
    count = min(torch.get_num_threads(), height * width // MIN_BAND_PIXELS, height // (2 * block))
    count = max(1, count)
    edges = [height * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))
