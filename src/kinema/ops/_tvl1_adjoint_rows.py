"""What one row of an image does in the differentiable TV-L1 iterations on a CPU, compiled by numba.

Arguments are rows of maps, (W,), unless said otherwise; what a function changes it changes in place. Kernels
come as (count, 3): two taps and a bias. The order of the steps is told in `kinema.ops._tvl1_adjoint_cpu`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"

from __future__ import annotations

import numpy as np

from kinema.ops._compile import compiled

# As in `_tvl1_cpu`: results must not depend on addresses. Sums alone may be reordered: they write nothing.
jit = compiled(nogil=True, fastmath={"nnan", "ninf", "nsz", "contract"}, error_model="numpy")
_sums = compiled(nogil=True, fastmath={"nnan", "ninf", "nsz", "contract", "reassoc"}, error_model="numpy")


@jit
def flow_row(u1, u2, p11, p12, p21, p22, p12_above, p22_above, gx, gy, constant, inverse, taps, limit, eps):
    """One flow update: u <- u + clamp(-rho / |g|^2) g + theta div p; ``taps`` hold theta already."""
    a0, a1, b0, b1 = taps[0, 0], taps[0, 1], taps[1, 0], taps[1, 1]
    c0, c1, d0, d1 = taps[2, 0], taps[2, 1], taps[3, 0], taps[3, 1]
    bias1, bias2 = taps[0, 2] + taps[1, 2], taps[2, 2] + taps[3, 2]
    for j in range(1, u1.shape[0]):
        rho = constant[j] + gx[j] * u1[j] + gy[j] * u2[j] + eps
        k = min(max(-rho * inverse[j], -limit), limit)
        div1 = a1 * p11[j] + a0 * p11[j - 1] + b1 * p12[j] + b0 * p12_above[j] + bias1
        div2 = c1 * p21[j] + c0 * p21[j - 1] + d1 * p22[j] + d0 * p22_above[j] + bias2
        u1[j] = u1[j] + k * gx[j] + div1
        u2[j] = u2[j] + k * gy[j] + div2
    rho = constant[0] + gx[0] * u1[0] + gy[0] * u2[0] + eps
    k = min(max(-rho * inverse[0], -limit), limit)
    u1[0] = u1[0] + k * gx[0] + (a1 * p11[0] + b1 * p12[0] + b0 * p12_above[0] + bias1)
    u2[0] = u2[0] + k * gy[0] + (c1 * p21[0] + d1 * p22[0] + d0 * p22_above[0] + bias2)


@jit
def dual_row(px, py, u, u_below, live, taps, step, eps):
    """One component's p <- (p + step s) / (1 + step |s|); ``live`` is 0 in the image's last row, else 1."""
    one, last = np.float32(1), u.shape[0] - 1
    x0, x1, bias_x = taps[0, 0], taps[0, 1], taps[0, 2]
    y0, y1, bias_y = live * taps[1, 0], live * taps[1, 1], live * taps[1, 2]
    for j in range(last):
        ux = x0 * u[j] + x1 * u[j + 1] + bias_x
        uy = y0 * u[j] + y1 * u_below[j] + bias_y
        shrink = one / (one + step * np.sqrt(ux * ux + uy * uy + eps))
        px[j] = (px[j] + step * ux) * shrink
        py[j] = (py[j] + step * uy) * shrink
    uy = y0 * u[last] + y1 * u_below[last] + bias_y
    shrink = one / (one + step * np.sqrt(uy * uy + eps))
    px[last] = px[last] * shrink
    py[last] = (py[last] + step * uy) * shrink


@jit
def slopes_adjoint_row(grad_x, grad_y, qx, qy, u, u_below, live, taps, step, eps, out_x, out_y):
    """Through the dual step: the gradient of q becomes that of p, and ``out`` that of s, over step."""
    one, last = np.float32(1), u.shape[0] - 1
    x0, x1, bias_x = taps[0, 0], taps[0, 1], taps[0, 2]
    y0, y1, bias_y = live * taps[1, 0], live * taps[1, 1], live * taps[1, 2]
    for j in range(last):
        ux = x0 * u[j] + x1 * u[j + 1] + bias_x
        uy = y0 * u[j] + y1 * u_below[j] + bias_y
        norm = np.sqrt(ux * ux + uy * uy + eps)
        stretch = one + step * norm
        both = one / (norm * stretch)
        shrink = both * norm
        along = (grad_x[j] * qx[j] + grad_y[j] * qy[j]) * shrink * both * stretch
        dx, dy = grad_x[j] * shrink, grad_y[j] * shrink
        grad_x[j], grad_y[j] = dx, dy
        out_x[j] = dx - along * ux
        out_y[j] = live * (dy - along * uy)
    uy = y0 * u[last] + y1 * u_below[last] + bias_y
    norm = np.sqrt(uy * uy + eps)
    shrink = one / (one + step * norm)
    along = (grad_x[last] * qx[last] + grad_y[last] * qy[last]) * shrink / norm
    grad_x[last], grad_y[last] = grad_x[last] * shrink, grad_y[last] * shrink
    out_x[last] = np.float32(0)
    out_y[last] = live * (grad_y[last] - along * uy)


@jit
def gradient_adjoint_row(grad_u, sx, sy, sy_above, taps):
    """Add what the slopes of one component say about the flow; ``taps`` hold step already."""
    x0, x1, y0, y1 = taps[0, 0], taps[0, 1], taps[1, 0], taps[1, 1]
    grad_u[0] = grad_u[0] + x0 * sx[0] + y0 * sy[0] + y1 * sy_above[0]
    for j in range(1, grad_u.shape[0]):
        grad_u[j] = grad_u[j] + x0 * sx[j] + x1 * sx[j - 1] + y0 * sy[j] + y1 * sy_above[j]


@jit
def divergence_adjoint_row(grad_x, grad_y, grad_u, grad_u_below, taps):
    """Add what the flow of one component says about its dual; ``taps`` hold theta already."""
    x0, x1, y0, y1 = taps[0, 0], taps[0, 1], taps[1, 0], taps[1, 1]
    last = grad_u.shape[0] - 1
    for j in range(last):
        grad_x[j] = grad_x[j] + x1 * grad_u[j] + x0 * grad_u[j + 1]
        grad_y[j] = grad_y[j] + y1 * grad_u[j] + y0 * grad_u_below[j]
    grad_x[last] = grad_x[last] + x1 * grad_u[last]
    grad_y[last] = grad_y[last] + y1 * grad_u[last] + y0 * grad_u_below[last]


@jit
def shrinkage_adjoint_row(
    grad1, grad2, u1, u2, gx, gy, constant, inverse, sum_gx, sum_gy, sum_c, edge, limit, eps
):
    """Through v = u + clamp(-rho / |g|^2) g; adds up the data term's gradients, ``edge`` is the limit's."""
    zero, two = np.float32(0), np.float32(2)
    for j in range(u1.shape[0]):
        rho = constant[j] + gx[j] * u1[j] + gy[j] * u2[j] + eps
        wished = -rho * inverse[j]
        k = min(max(wished, -limit), limit)
        along = grad1[j] * gx[j] + grad2[j] * gy[j]
        free = wished == k
        grad_rho = -inverse[j] * along if free else zero
        edge[j] = zero if free else (along if wished > zero else -along)
        sum_gx[j] = sum_gx[j] + k * grad1[j] + grad_rho * (u1[j] + two * k * gx[j])
        sum_gy[j] = sum_gy[j] + k * grad2[j] + grad_rho * (u2[j] + two * k * gy[j])
        sum_c[j] = sum_c[j] + grad_rho
        grad1[j] = grad1[j] + grad_rho * gx[j]
        grad2[j] = grad2[j] + grad_rho * gy[j]


@_sums
def products(grad, first, second):
    """Sums over a row of grad * first, grad * (second - first) and grad."""
    a = b = c = np.float32(0)
    for j in range(grad.shape[0]):
        a += grad[j] * first[j]
        b += grad[j] * (second[j] - first[j])
        c += grad[j]
    return a, b, c


@_sums
def total(row):
    """Sum over a row."""
    a = np.float32(0)
    for j in range(row.shape[0]):
        a += row[j]
    return a


@jit
def add_products(sums, grad, first, second):
    """Add `products` to ``sums``, (3,) float64."""
    a, b, c = products(grad, first, second)
    sums[0] += a
    sums[1] += b
    sums[2] += c


@jit
def reverse_dual(p, z, below, live, here, above, sx, slopes, scaled, step, eps, sums, own):
    """Through the dual step and the forward gradient, both components of a row.

    Maps come as (6, W): ``p`` gradients, ``z`` and ``below`` the new state here and a row below. ``here``,
    ``above`` and ``sx`` are (2, W): gradients of the slopes in y, of this row and the one above, and in x;
    ``slopes`` and ``scaled`` (4, 3) kernels without and with step; ``sums`` (12,) of products, where ``own``.
    """
    for c in range(2):
        pair = slice(2 * c, 2 * c + 2)
        slopes_adjoint_row(
            p[2 + 2 * c], p[3 + 2 * c], z[2 + 2 * c], z[3 + 2 * c], z[c], below[c], live,
            slopes[pair], step, eps, sx[c], here[c],
        )  # fmt: skip
        gradient_adjoint_row(p[c], sx[c], here[c], above[c], scaled[pair])
        if own:
            add_products(sums[6 * c : 6 * c + 3], sx[c, :-1], z[c, :-1], z[c, 1:])
            add_products(sums[6 * c + 3 : 6 * c + 6], here[c], z[c], below[c])


@jit
def reverse_flow(p, p_below, z, z_above, data, gathered, edge, scaled, limit, eps, sums, own):
    """Through the divergence and the shrinkage, both components of a row.

    Maps come as (6, W): ``p`` and ``p_below`` gradients here and a row below, ``z`` and ``z_above`` the old
    state here and a row above. ``data`` is (4, W), ``gathered`` (3, W) its gradient's sum, ``edge`` (W,) room
    for the limit's; ``scaled`` (4, 3) kernels with theta; ``sums`` (13,) of products and the limit's.
    """
    for c in range(2):
        divergence_adjoint_row(p[2 + 2 * c], p[3 + 2 * c], p[c], p_below[c], scaled[2 * c : 2 * c + 2])
        if own:
            px, in_x = z[2 + 2 * c], sums[6 * c : 6 * c + 3]
            add_products(in_x, p[c, 1:], px[:-1], px[1:])
            in_x[1] += p[c, 0] * px[0]  # nothing lies in front of the first pixel
            in_x[2] += p[c, 0]
            add_products(sums[6 * c + 3 : 6 * c + 6], p[c], z_above[3 + 2 * c], z[3 + 2 * c])
    shrinkage_adjoint_row(
        p[0], p[1], z[0], z[1], data[0], data[1], data[2], data[3],
        gathered[0], gathered[1], gathered[2], edge, limit, eps,
    )  # fmt: skip
    if own:
        sums[12] += total(edge)
