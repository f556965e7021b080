"""Where a sample looks: windows that are placed, zoomed, stretched, turned and mirrored in one step.

A view is a 2x3 matrix from the pixels of the result to the points of the source (`kinema.ops.affine`). All
geometric augmentation is written as views, so that images, flow, masks, depth and intrinsics go through one
resampling and cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.transforms.pairs import FlowPairs
from kinema.ops.affine import affine_flow, affine_image, inverted

View = NDArray[np.float64]
"""(2, 3): source point = A (x, y, 1)."""

Point = Sequence[float] | NDArray[np.float64]
"""(x, y)."""

_ROUNDING = 1e-6  # pixels by which a window may seem not to fit


@dataclass(frozen=True, kw_only=True)
class Framing:
    """A window of the source, but for its place.

    Attributes:
        zoom_xy: enlargement along x and y of the window.
        angle: by which the window is turned in the source, radians, from x towards y; its content turns the
            other way.
        mirrored_xy: whether left and right, top and bottom of the window change places.
    """

    zoom_xy: tuple[float, float] = (1.0, 1.0)
    angle: float = 0.0
    mirrored_xy: tuple[bool, bool] = (False, False)

    def linear(self) -> NDArray[np.float64]:
        """Lead from steps in the window to steps in the source.

        Returns:
            (2, 2).
        """
        steps = [(-1.0 if m else 1.0) / zoom for zoom, m in zip(self.zoom_xy, self.mirrored_xy, strict=True)]
        return rotation(self.angle) @ np.diag(steps)

    def reach_xy(self, size_hw: tuple[int, int]) -> NDArray[np.float64]:
        """How far a window reaches from its centre.

        Args:
            size_hw: height and width of the window in its own pixels.

        Returns:
            (2,): half the sides of the upright box around it, in pixels of the source.
        """
        reach: NDArray[np.float64] = np.abs(self.linear()) @ np.array([size_hw[1], size_hw[0]]) / 2
        return reach


def rotation(angle: float) -> NDArray[np.float64]:
    """A turn from x towards y.

    Args:
        angle: radians.

    Returns:
        (2, 2); exact for 0.
    """
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def centred(framing: Framing, centre_xy: Point, size_hw: tuple[int, int]) -> View:
    """Put the centre of a window at a point of the source.

    Args:
        framing: the window.
        centre_xy: the point.
        size_hw: height and width of the window.

    Returns:
        The view.
    """
    linear = framing.linear()
    middle = np.array([size_hw[1] - 1, size_hw[0] - 1]) / 2
    return np.column_stack((linear, np.asarray(centre_xy) - linear @ middle))


def fitted(framing: Framing, source_hw: tuple[int, int], size_hw: tuple[int, int]) -> Framing:
    """Enlarge what would reach beyond the source until it fits.

    Args:
        framing: the window.
        source_hw: height and width of the source.
        size_hw: height and width of the window.

    Returns:
        The window, with more zoom on both axes alike where that is needed.
    """
    more = float(np.max(2 * framing.reach_xy(size_hw) / np.array([source_hw[1], source_hw[0]])))
    if more <= 1 + _ROUNDING:
        return framing
    return replace(framing, zoom_xy=(framing.zoom_xy[0] * more, framing.zoom_xy[1] * more))


def placed(
    framing: Framing,
    source_hw: tuple[int, int],
    size_hw: tuple[int, int],
    rng: np.random.Generator,
    *,
    margin_xy: tuple[int, int] = (0, 0),
) -> View:
    """Put a window somewhere in the source, all inside; it is enlarged first if it does not fit.

    Args:
        framing: the window.
        source_hw: height and width of the source.
        size_hw: height and width of the window.
        rng: decides where; two numbers are drawn.
        margin_xy: pixels by which the draw may exceed the room, before it is clipped: places at the edges
            become more likely.

    Returns:
        The view. Without a turn it begins at a whole pixel of the zoomed source: what is not zoomed is cut
        out without blending.
    """
    framing = fitted(framing, source_hw, size_hw)
    draw = rng.random(2)
    source, size = np.array([source_hw[1], source_hw[0]]), np.array([size_hw[1], size_hw[0]])
    if framing.angle != 0.0:
        room = np.maximum(source - 2 * framing.reach_xy(size_hw), 0)
        return centred(framing, (source - 1) / 2 + (draw - 0.5) * room, size_hw)
    zoom, margin = np.array(framing.zoom_xy), np.array(margin_xy)
    room = np.floor(np.maximum(source * zoom - size, 0) + _ROUNDING)
    first = np.clip(np.floor(draw * (room + 1 + 2 * margin)) - margin, 0, room)
    return centred(framing, (first + size / 2) / zoom - 0.5, size_hw)


def whole(source_hw: tuple[int, int], size_hw: tuple[int, int]) -> View:
    """Show all of the source, resized.

    Args:
        source_hw: height and width of the source.
        size_hw: height and width of the view.

    Returns:
        The view of `kinema.ops.resize.resize_image` without antialias.
    """
    zoom = size_hw[1] / source_hw[1], size_hw[0] / source_hw[0]
    return centred(Framing(zoom_xy=zoom), ((source_hw[1] - 1) / 2, (source_hw[0] - 1) / 2), size_hw)


def about_centre(
    size_hw: tuple[int, int], *, zoom: float = 1.0, angle: float = 0.0, shift_xy: Point = (0.0, 0.0)
) -> View:
    """Look at a picture of the same size again, a little differently.

    Args:
        size_hw: height and width of picture and view.
        zoom: enlargement around the centre.
        angle: see `Framing`.
        shift_xy: by how many pixels the view's centre is moved.

    Returns:
        The view.
    """
    centre = ((size_hw[1] - 1) / 2 + shift_xy[0], (size_hw[0] - 1) / 2 + shift_xy[1])
    return centred(Framing(zoom_xy=(zoom, zoom), angle=angle), centre, size_hw)


def chained(first: View, second: View) -> View:
    """Look through one view at what another shows.

    Args:
        first: looks at the source.
        second: looks at what the first shows.

    Returns:
        One view that does both.
    """
    linear = first[:, :2] @ second[:, :2]
    return np.column_stack((linear, first[:, :2] @ second[:, 2] + first[:, 2]))


def look(
    pairs: FlowPairs,
    views1: Sequence[View],
    size_hw: tuple[int, int],
    *,
    views2: Sequence[View] | None = None,
) -> FlowPairs:
    """Look at pairs through views; their truth becomes that of what is seen.

    Args:
        pairs: the pairs.
        views1: of frame 1, one per pair.
        size_hw: height and width of the views.
        views2: of frame 2; None where it is seen as frame 1.

    Returns:
        The pairs, with float32 images; see `kinema.ops.affine.affine_flow`. Sparse truth is not blended: each
        known pixel is carried to the pixel nearest to its place, its value changed by the view alone.
    """
    one = as_tensor(views1, pairs.flow.device)
    two = one if views2 is None else as_tensor(views2, pairs.flow.device)
    truth = _carried if pairs.sparse else affine_flow
    flow, valid, hidden = truth(pairs.flow, pairs.valid, pairs.hidden, one, two, size_hw)
    return replace(
        pairs,
        image1=affine_image(pairs.image1, one, size_hw),
        image2=affine_image(pairs.image2, two, size_hw),
        flow=flow,
        valid=valid,
        hidden=hidden,
    )


def as_tensor(views: Sequence[View], device: torch.device) -> Tensor:
    """Views as operators take them.

    Args:
        views: at least one.
        device: where the images are.

    Returns:
        (B, 2, 3) float64.
    """
    return torch.from_numpy(np.stack(views)).to(device)


def seen_intrinsics(K: Float[Tensor, "b 3 3"], views: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b 3 3"]:
    """The intrinsics of cameras that are looked at through views.

    Args:
        K: (B, 3, 3) in pixels of the source.
        views: (B, 2, 3); a turn or a shear gives a skewed camera.

    Returns:
        (B, 3, 3) in pixels of the view.
    """
    rows = inverted(views.double()) @ K.double()
    return torch.cat((rows, K[:, 2:].double()), dim=1).to(K.dtype)


def _carried(
    flow: Tensor, valid: Tensor, hidden: Tensor, views1: Tensor, views2: Tensor, size_hw: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """`affine_flow` for truth at single pixels."""
    there, there2 = (inverted(views).cpu().numpy() for views in (views1, views2))
    truth = [part.cpu().numpy() for part in (flow, valid[:, 0], hidden[:, 0])]
    parts = [
        _carried_one(truth[0][n], truth[1][n], truth[2][n], there[n], there2[n], size_hw)
        for n in range(len(flow))
    ]
    flows, known, lost = (
        torch.from_numpy(np.stack(part)).to(flow.device) for part in zip(*parts, strict=True)
    )
    return flows, known[:, None], lost[:, None]


def _carried_one(
    flow: np.ndarray,
    valid: np.ndarray,
    hidden: np.ndarray,
    there: View,
    there2: View,
    size_hw: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    (full_h, full_w), (height, width) = valid.shape, size_hw
    y, x = np.nonzero(valid)
    points, moved = np.stack((x, y)).astype(np.float64), flow[:, y, x].astype(np.float64)
    places = there[:, :2] @ points + there[:, 2:]
    # What the views alone do comes apart from the flow: a crop then keeps its values bit for bit.
    values = there2[:, :2] @ moved + (there2[:, :2] @ points + there2[:, 2:] - places)
    cells = np.rint(places)
    inside = (cells >= 0).all(0) & (cells[0] < width) & (cells[1] < height)
    ends, seen_ends = points + moved, places + values
    lost = hidden[y, x] | ~_within(ends, (full_h, full_w)) | ~_within(seen_ends, size_hw)
    # Of several in one cell the nearest to its centre is written last, and stays.
    order = np.argsort(-np.square(places - cells).sum(0), kind="stable")
    order = order[inside[order]]
    column, row = cells[:, order].astype(np.int64)
    result = np.zeros((2, height, width), np.float32)
    known, away = np.zeros((height, width), np.bool_), np.zeros((height, width), np.bool_)
    result[:, row, column] = values[:, order]
    known[row, column], away[row, column] = True, lost[order]
    return result, known, away


def _within(points: np.ndarray, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    x, y = points
    inside: NDArray[np.bool_] = (x >= 0) & (x <= size_hw[1] - 1) & (y >= 0) & (y <= size_hw[0] - 1)
    return inside
