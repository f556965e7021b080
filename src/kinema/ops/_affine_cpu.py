"""Views of images and flow on a CPU, compiled by numba: every pixel is read, blended and written once.

Pictures are read as a decoder leaves them, bytes with the colours of a pixel side by side, and written as
networks take them, float32 plane by plane.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kinema.ops._compile import compiled
from kinema.ops._threads import map_rows

_WORK_PER_PIXEL = 32  # about: multiply-adds, for the choice of how many threads

_NONE, _ALL = 1e-6, 1 - 1e-6  # weights below and above which one of two pixels does not take part

_jit = compiled(nogil=True, error_model="numpy")


@_jit
def _taps(position, size):
    """The two pixels around a position on an axis, and the weight of the second; edges are repeated."""
    inside = min(max(position, 0.0), size - 1.0)
    first = int(inside)
    return first, min(first + 1, size - 1), inside - first


@_jit
def _on_picture(px, py, height, width):
    return px >= -0.5 and px <= width - 0.5 and py >= -0.5 and py <= height - 0.5


@_jit
def _image_rows(out, image, view, unit, top, bottom):
    """Rows of one view; a pixel outside the picture by more than half a pixel is 0."""
    height, width, channels = image.shape
    for y in range(top, bottom):
        for x in range(out.shape[2]):
            px = view[0, 0] * x + view[0, 1] * y + view[0, 2]
            py = view[1, 0] * x + view[1, 1] * y + view[1, 2]
            if not _on_picture(px, py, height, width):
                for c in range(channels):
                    out[c, y, x] = 0
                continue
            (left, right, to_right), (above, below, down) = _taps(px, width), _taps(py, height)
            fx, fy = np.float32(to_right), np.float32(down)
            for c in range(channels):
                a, b = np.float32(image[above, left, c]), np.float32(image[below, left, c])
                upper = a + fx * (np.float32(image[above, right, c]) - a)
                lower = b + fx * (np.float32(image[below, right, c]) - b)
                out[c, y, x] = (upper + fy * (lower - upper)) / unit


@_jit
def _blend(values, above, below, down, left, right, to_right):
    a, b = np.float64(values[above, left]), np.float64(values[below, left])
    upper, lower = a + to_right * (values[above, right] - a), b + to_right * (values[below, right] - b)
    return upper + down * (lower - upper)


@_jit
def _all_known(valid, above, below, down, left, right, to_right):
    """Whether every pixel that has a weight is known."""
    a, b = above if down < _ALL else below, below if down > _NONE else above
    c, d = left if to_right < _ALL else right, right if to_right > _NONE else left
    return valid[a, c] and valid[a, d] and valid[b, c] and valid[b, d]


@_jit
def _flow_rows(out, known, lost, flow, valid, hidden, view, back, top, bottom):
    """Rows of the flow between two views: see `kinema.ops.affine.affine_flow`."""
    height, width = valid.shape
    last_y, last_x = out.shape[1] - 1, out.shape[2] - 1
    for y in range(top, bottom):
        for x in range(out.shape[2]):
            px = view[0, 0] * x + view[0, 1] * y + view[0, 2]
            py = view[1, 0] * x + view[1, 1] * y + view[1, 2]
            (left, right, to_right), (above, below, down) = _taps(px, width), _taps(py, height)
            u = _blend(flow[0], above, below, down, left, right, to_right)
            v = _blend(flow[1], above, below, down, left, right, to_right)
            ends = 0 <= px + u <= width - 1 and 0 <= py + v <= height - 1
            # What the views alone do comes apart from the flow: a crop then keeps its values bit for bit.
            still_x = back[0, 0] * px + back[0, 1] * py + back[0, 2] - x
            still_y = back[1, 0] * px + back[1, 1] * py + back[1, 2] - y
            u, v = back[0, 0] * u + back[0, 1] * v + still_x, back[1, 0] * u + back[1, 1] * v + still_y
            ok = _on_picture(px, py, height, width)
            ok = ok and _all_known(valid, above, below, down, left, right, to_right)
            if not ok:
                u, v = 0.0, 0.0
            known[y, x] = ok
            out[0, y, x], out[1, y, x] = u, v
            nearest = hidden[int(np.rint(above + down)), int(np.rint(left + to_right))]
            lost[y, x] = nearest or not (ends and 0 <= x + u <= last_x and 0 <= y + v <= last_y)


def image(source: Tensor, views: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """`kinema.ops.affine.affine_image`, bilinear, of uint8 or float32."""
    b, c, _, _ = source.shape
    out = torch.empty(b, c, *size_hw)
    pixels = source.detach().permute(0, 2, 3, 1).contiguous().numpy()
    results, matrices = out.numpy(), _matrices(views)
    unit = np.float32(255 if source.dtype == torch.uint8 else 1)

    def rows(n: int, top: int, bottom: int) -> None:
        _image_rows(results[n], pixels[n], matrices[n], unit, top, bottom)

    map_rows(rows, b, size_hw[0], _WORK_PER_PIXEL * size_hw[1])
    return out


def flow(
    source: Tensor, valid: Tensor, hidden: Tensor, views: Tensor, back: Tensor, size_hw: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """`kinema.ops.affine.affine_flow` of float32; ``back`` leads from frame 2 to its view."""
    b = source.shape[0]
    out = torch.empty(b, 2, *size_hw)
    known, lost = (torch.empty(b, 1, *size_hw, dtype=torch.bool) for _ in range(2))
    inputs = [tensor.detach().contiguous().numpy() for tensor in (source, valid[:, 0], hidden[:, 0])]
    results = [out.numpy(), known[:, 0].numpy(), lost[:, 0].numpy()]
    there, again = _matrices(views), _matrices(back)

    def rows(n: int, top: int, bottom: int) -> None:
        first, second = [array[n] for array in results], [array[n] for array in inputs]
        _flow_rows(*first, *second, there[n], again[n], top, bottom)

    map_rows(rows, b, size_hw[0], _WORK_PER_PIXEL * size_hw[1])
    return out, known, lost


def _matrices(views: Tensor):
    return views.detach().to(torch.float64).contiguous().numpy()
