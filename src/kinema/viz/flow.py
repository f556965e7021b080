"""Flow in colours: the Middlebury colour wheel, a scale that suits a clip, and the legend."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from kinema.errors import InputError, UsageError
from kinema.io.formats.flow_field import FlowField, known_flow
from kinema.viz.pictures import FONT, Picture, checked_scale

__all__ = ["FlowScale", "colour_wheel", "flow_to_rgb", "wheel_legend"]

# How many colours lie between one pure hue and the next: red, yellow, green, cyan, blue, magenta, red.
# More where the eye tells more of them apart.
_SEGMENTS = (15, 6, 4, 11, 13, 6)
_PURE = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))
_BLOCK = 1 << 16  # pixels coloured at once: what they need stays in the cache


@functools.cache
def colour_wheel() -> Picture:
    """The 55 colours of the Middlebury flow code (Baker et al. 2011), from red over yellow to magenta.

    Returns:
        (55, 3) RGB, read only. Row 0 is motion to the right, and the rows go clockwise as seen on the
        screen: down, left, up.
    """
    rows = []
    for segment, count in enumerate(_SEGMENTS):
        start, end = np.array(_PURE[segment]), np.array(_PURE[(segment + 1) % len(_PURE)])
        # As in the published code, the distance from the start of a segment is rounded down.
        rows += [start + np.sign(end - start) * (255 * step // count) for step in range(count)]
    wheel = np.array(rows, np.uint8)
    wheel.flags.writeable = False
    return wheel


def flow_to_rgb(
    flow: np.ndarray, *, max_flow: float | None = None, valid: np.ndarray | None = None
) -> Picture:
    """Colour a flow field as the Middlebury benchmark does: hue is direction, saturation is length.

    With the length r relative to the scale and a colour c of the wheel, interpolated at the direction
    atan2(-v, -u), a channel is floor(255 (1 - r (1 - c))) up to r = 1 and floor(255 * 0.75 c) beyond. As in
    the published C++ program the scale is the largest known length itself (its MATLAB version adds eps, some
    ports 1e-5), and 1 where that is 0. The formula is evaluated with c in 0..255, so that exact values are
    exact; the program's own division by 255 loses one of 255 levels at some of them. -0.0 counts as 0.0.

    Args:
        flow: (H, W, 2), x right and y down, in pixels.
        max_flow: the length with full saturation, in pixels, above 0; longer vectors are darker. None takes
            the largest length in this field.
        valid: (H, W) bool; where False, or where a component is above 1e9 or NaN, the colour is black.

    Returns:
        (H, W, 3) RGB.

    Raises:
        InputError: when the shapes are wrong.
        UsageError: when `max_flow` is not above 0.
    """
    field = _known(flow, valid)
    u, v = (np.ascontiguousarray(field.flow[..., axis]) for axis in (0, 1))
    length = np.sqrt(u * u + v * v)
    scale = checked_scale(max_flow, "max_flow", length)
    picture = np.empty((*length.shape, 3), np.uint8)
    rows = max(1, _BLOCK // max(1, length.shape[1]))
    for top in range(0, length.shape[0], rows):
        block = slice(top, top + rows)
        picture[block] = _wheel_colours(u[block], v[block], length[block] / np.float32(scale))
    picture[~field.valid] = 0
    return picture


def _known(flow: np.ndarray, valid: np.ndarray | None) -> FlowField:
    """The flow in float32, 0 where it is not known."""
    if flow.ndim != 3 or flow.shape[2] != 2:
        raise InputError(f"flow has shape {flow.shape}; it must be (H, W, 2)")
    field = known_flow(flow)
    if valid is None:
        return field
    if valid.shape != field.valid.shape:
        raise InputError(f"valid has shape {valid.shape}, the flow has {field.valid.shape}")
    known = field.valid & valid.astype(bool)
    field.flow[~known] = 0
    return FlowField(field.flow, known)


def _wheel_colours(u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """(H, W, 3) colours of vectors whose length relative to the scale is `radius`."""
    # Adding zero makes 0.0 of -0.0, which would put motion to the right at the other end of the wheel.
    angle = np.arctan2(-(v + np.float32(0)), -u)
    last = len(colour_wheel()) - 1
    place = (angle / np.float32(np.pi) + 1) * np.float32(last / 2)
    row = np.minimum(place.astype(np.int32), last)  # rounding may lead one step beyond the end
    part = place - row
    inside = radius <= 1
    picture = np.empty((*u.shape, 3), np.uint8)
    for channel, (colours, steps) in enumerate(_wheel_steps()):
        colour = colours[row] + part * steps[row]
        picture[..., channel] = np.where(inside, 255 - radius * (255 - colour), np.float32(0.75) * colour)
    return picture


@functools.cache
def _wheel_steps() -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Per channel: the colours of the wheel, and the step from each to the next, around the end."""
    wheel = colour_wheel().astype(np.float32)
    steps = np.roll(wheel, -1, axis=0) - wheel
    return tuple((wheel[:, channel].copy(), steps[:, channel].copy()) for channel in range(3))


class FlowScale:
    """The scale of the colours over a clip: a robust maximum that rises quickly, falls slowly, never jumps.

    With a scale per frame a video flickers; with the scale of the whole clip it cannot be streamed. This one
    starts at the first frame's peak (a bit more than a high percentile of the lengths, and at least 1 pixel,
    so that noise does not look like motion) and follows the logarithm of later peaks. Equal frames keep it
    constant to the last bit.

    Args:
        max_flow: a scale to keep instead, in pixels; None follows the motion.

    Raises:
        UsageError: when `max_flow` is not above 0.
    """

    FLOOR = 1.0
    """The smallest scale, in pixels."""
    PERCENTILE, MARGIN = 99.5, 1.1
    """The peak is this percentile of the lengths, times the margin."""
    SAMPLES = 1 << 16
    """About how many pixels of a frame are looked at, on a regular grid."""
    SHARE = 0.2
    """Of the way to the new peak, per frame."""
    RISE, FALL = 1.25, 1.05
    """The largest factor per frame."""

    def __init__(self, max_flow: float | None = None) -> None:
        self._fixed = None if max_flow is None else checked_scale(max_flow, "max_flow", np.empty(0))
        self._current: float | None = None

    def update(self, flow: np.ndarray, *, valid: np.ndarray | None = None) -> float:
        """Take the next frame into account.

        Args:
            flow: (H, W, 2), in pixels; unknown values are left out.
            valid: (H, W) bool, the pixels to look at.

        Returns:
            The scale for this frame, in pixels: the `max_flow` of `flow_to_rgb`.

        Raises:
            InputError: when the flow has a wrong shape.
        """
        if self._fixed is not None:
            return self._fixed
        peak = self._peak(flow, valid)
        if self._current is None:
            self._current = peak
        elif peak is not None:
            step = self.SHARE * math.log(peak / self._current)
            self._current *= math.exp(min(max(step, -math.log(self.FALL)), math.log(self.RISE)))
        return self.FLOOR if self._current is None else self._current

    def _peak(self, flow: np.ndarray, valid: np.ndarray | None) -> float | None:
        """A frame's robust maximum; None when nothing in it is known."""
        stride = max(1, round(math.sqrt(flow.shape[0] * flow.shape[1] / self.SAMPLES)))
        field = _known(flow[::stride, ::stride], None if valid is None else valid[::stride, ::stride])
        if not field.valid.any():
            return None
        length = np.hypot(*field.flow[field.valid].T)
        return max(self.FLOOR, self.MARGIN * float(np.percentile(length, self.PERCENTILE)))


def wheel_legend(size: int, *, max_flow: float) -> Picture:
    """Draw the colour wheel with the length that full saturation stands for.

    Args:
        size: side of the square picture, in pixels, 48 or more.
        max_flow: the scale, in pixels.

    Returns:
        (size, size, 3) RGB: a disc on white, from no motion in its middle to `max_flow` at its rim, and the
        number below.

    Raises:
        UsageError: when the size is too small or the scale not above 0.
    """
    if size < 48:
        raise UsageError(f"a legend of {size} pixels is too small to read; the least is 48")
    scale = checked_scale(max_flow, "max_flow", np.empty(0))
    text_height = size // 7
    side = size - text_height
    offsets = ((np.arange(4 * side) + 0.5) / (2 * side) - 1).astype(np.float32) * 1.04
    field = np.stack(np.meshgrid(offsets, offsets), axis=-1)
    fine = flow_to_rgb(field, max_flow=1.0)
    fine[np.hypot(field[..., 0], field[..., 1]) > 1] = 255
    disc = np.asarray(cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA), np.uint8)  # smooth rim
    legend = np.full((size, size, 3), 255, np.uint8)
    left = (size - side) // 2
    legend[:side, left : left + side] = _with_axes(disc)
    number = f"{scale:.3g}" if scale < 1000 else f"{scale:.0f}"
    _write(legend, f"{number} px", centre=(size // 2, size - text_height // 2), height=text_height * 0.62)
    return legend


def _with_axes(disc: Picture) -> Picture:
    """Thin lines along x and y."""
    middle, end = disc.shape[0] // 2, disc.shape[0]
    margin = round(0.02 * end)
    lines = disc.copy()
    cv2.line(lines, (margin, middle), (end - 1 - margin, middle), (90, 90, 90), 1)
    cv2.line(lines, (middle, margin), (middle, end - 1 - margin), (90, 90, 90), 1)
    return np.asarray(cv2.addWeighted(disc, 0.65, lines, 0.35, 0), np.uint8)


def _write(
    picture: Picture,
    text: str,
    *,
    centre: tuple[int, int],
    height: float,
    colour: tuple[int, int, int] = (40, 40, 40),
) -> None:
    """Write text around a point (x, y), capitals `height` pixels high, smaller where it would not fit."""
    text = text.encode("ascii", "replace").decode()  # OpenCV's letters
    (width, base), _ = cv2.getTextSize(text, FONT, 1.0, 1)
    scale = min(height / max(base, 22), 0.94 * picture.shape[1] / max(width, 1))
    thickness = max(1, round(scale * 1.7))
    (width, tall), _ = cv2.getTextSize(text, FONT, scale, thickness)
    place = (centre[0] - width // 2, centre[1] + tall // 2)
    cv2.putText(picture, text, place, FONT, scale, colour, thickness, cv2.LINE_AA)
