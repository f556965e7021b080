"""From decoded pictures to RGB arrays and back: colour matrix, range, depth, rotation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import av
import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

__all__ = ["UPRIGHT", "Orientation", "RgbReader", "RgbWriter", "bit_depth", "orientation_of"]

# Accurate rounding and full chroma interpolation cost a few milliseconds and keep flat colours within one
# level.
_ACCURATE = 0x2 | 0x2000 | 0x40000  # SWS_BILINEAR, SWS_FULL_CHR_H_INT, SWS_ACCURATE_RND of libswscale
# AVCOL_SPC_RGB (meaningless on a YUV picture), UNSPECIFIED, RESERVED
_UNSPECIFIED_MATRIX = frozenset({0, 2, 3})
_BT709 = 1  # the same number for matrix, primaries and transfer in ITU-T H.273


@dataclass(frozen=True)
class Orientation:
    """How stored pictures are turned for display, by the container's display matrix, in quarter turns.

    Attributes:
        transpose: rows and columns are exchanged first.
        flip_x: then left and right are exchanged.
        flip_y: then top and bottom are exchanged.
    """

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def degrees(self) -> int:
        """The turn in degrees clockwise: 0, 90, 180 or 270 (a mirror image is not expressed)."""
        if self.transpose:
            return 90 if self.flip_x else 270
        return 180 if self.flip_x and self.flip_y else 0

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn a stored picture upright.

        Args:
            image: (H, W, 3).

        Returns:
            (H', W', 3), contiguous.
        """
        if self.transpose:
            image = image.swapaxes(0, 1)
        if self.flip_x:
            image = image[:, ::-1]
        if self.flip_y:
            image = image[::-1]
        return np.ascontiguousarray(image)

    def size_hw(self, stored_hw: tuple[int, int]) -> tuple[int, int]:
        """Size of the upright picture from the stored one."""
        return stored_hw[::-1] if self.transpose else stored_hw


UPRIGHT = Orientation()


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """The display matrix that the container attached to a frame, rounded to quarter turns.

    Args:
        frame: a decoded frame.

    Returns:
        Its orientation; upright without a matrix, or with one that is not made of quarter turns and mirrors.
    """
    side_data = cast("Mapping[Type, Buffer]", frame.side_data)  # its stub lists motion vectors only
    matrix = side_data.get(Type.DISPLAYMATRIX)
    if matrix is not None and len(bytes(matrix)) == 36:
        return _from_matrix(np.frombuffer(bytes(matrix), np.int32))
    return UPRIGHT


def _from_matrix(matrix: np.ndarray) -> Orientation:
    """Nine fixed-point numbers a b u c d v x y w: the point (p, q) goes to (a p + c q, b p + d q)."""
    a, b, c, d = (int(matrix[index]) for index in (0, 1, 3, 4))
    straight, turned = min(abs(a), abs(d)), min(abs(b), abs(c))
    if straight > max(abs(b), abs(c)):
        return Orientation(flip_x=a < 0, flip_y=d < 0)
    if turned > max(abs(a), abs(d)):
        return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)
    return UPRIGHT


def bit_depth(frame: av.VideoFrame) -> int:
    """Bits per colour sample of a decoded frame: 8, 10, 12, ..."""
    return max((component.bits for component in frame.format.components), default=8)


class RgbReader:
    """Turns decoded frames into RGB arrays.

    The frame's own tags decide on matrix (bt601, bt709, bt2020, ...) and range. An untagged picture is taken
    as players take it: limited range, bt709 when it is wider than 1279 or higher than 576 pixels, bt601
    below. High dynamic range is not tone mapped, interlaced fields are not separated, alpha is dropped, grey
    is replicated.

    Args:
        dtype: ``"uint8"``, or ``"uint16"`` for 0..65535 with all bits of 10-bit and deeper video.
    """

    def __init__(self, dtype: Literal["uint8", "uint16"]) -> None:
        self._dtype = dtype
        self._scaler = VideoReformatter()

    def read(self, frame: av.VideoFrame) -> np.ndarray:
        """Convert one frame.

        Args:
            frame: a decoded frame of any pixel format.

        Returns:
            (H, W, 3) RGB of the reader's dtype, as stored (not yet turned upright).
        """
        deep = self._dtype == "uint16" and bit_depth(frame) > 8
        rgb = self._scaler.reformat(
            frame,
            format="rgb48le" if deep else "rgb24",
            src_colorspace=_assumed_matrix(frame),
            interpolation=_ACCURATE,
        ).to_ndarray()
        if self._dtype == "uint16" and not deep:
            return rgb.astype(np.uint16) * np.uint16(257)  # 255 becomes 65535; the scaler would give 65280
        return rgb


def _assumed_matrix(frame: av.VideoFrame) -> Colorspace | None:
    if frame.format.is_rgb or frame.colorspace not in _UNSPECIFIED_MATRIX:
        return None
    high_definition = frame.width >= 1280 or frame.height > 576
    return Colorspace.ITU709 if high_definition else Colorspace.ITU601


class RgbWriter:
    """Turns RGB arrays into frames for an encoder: bt709, limited range, or RGB as it is.

    Args:
        pix_fmt: the encoder's pixel format: ``yuv420p``, ``yuv444p`` or ``bgr0``.
    """

    def __init__(self, pix_fmt: str) -> None:
        self._pix_fmt = pix_fmt
        self._scaler = VideoReformatter()

    def frame(self, image: np.ndarray) -> av.VideoFrame:
        """Convert one picture.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            A frame with its colour tags set; its time is not.
        """
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        if self._pix_fmt == "bgr0":
            return self._scaler.reformat(frame, format=self._pix_fmt)
        return self._scaler.reformat(
            frame,
            format=self._pix_fmt,
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=_ACCURATE,
        )

    def tag(self, context: av.VideoCodecContext) -> None:
        """Write the colour tags that match the conversion into an encoder."""
        if self._pix_fmt != "bgr0":
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = ColorRange.MPEG
