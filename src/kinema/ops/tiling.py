"""Cut a large image into overlapping tiles and blend the results without seams.

All tiles of a layout have the same size, are spread evenly and cover the image exactly. The blending weights
of all tiles sum to one at every pixel, so a network that does nothing gives the image back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError

Ramp = Literal["linear", "raised"]


@dataclass(frozen=True)
class Tile:
    """A rectangle of whole pixels inside an image.

    Attributes:
        top: first row.
        left: first column.
        height: number of rows.
        width: number of columns.
    """

    top: int
    left: int
    height: int
    width: int

    def crop(self, image: Tensor) -> Tensor:
        """The part of an image (..., H, W) under this tile, as a view."""
        return image[..., self.top : self.top + self.height, self.left : self.left + self.width]


def tiles(size_hw: tuple[int, int], tile: int, overlap: int) -> list[Tile]:
    """The tiles that cover an image, row by row.

    Args:
        size_hw: height and width of the image.
        tile: side of the square tiles in pixels; along an axis that is shorter, tiles are as long as the
            image.
        overlap: smallest number of pixels that neighbours share; spreading evenly may make it larger.

    Returns:
        At least one tile; all of the same size.

    Raises:
        UsageError: if the size or the tile is not positive, or the overlap is negative or not smaller than
            the tile.
    """
    if min(size_hw) < 1:
        raise UsageError(f"a size must be at least 1x1 pixel, not {size_hw[0]}x{size_hw[1]}")
    if tile < 1:
        raise UsageError(f"a tile must be at least 1 pixel, not {tile}")
    if not 0 <= overlap < tile:
        raise UsageError(
            f"the overlap of tiles must be at least 0 and less than the tile ({tile}), not {overlap}"
        )
    rows = _starts(size_hw[0], tile, overlap)
    columns = _starts(size_hw[1], tile, overlap)
    height, width = min(tile, size_hw[0]), min(tile, size_hw[1])
    return [Tile(top, left, height, width) for top in rows for left in columns]


def ramp_weights(
    tile: Tile,
    layout: Sequence[Tile],
    *,
    ramp: Ramp = "raised",
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "h w"]:
    """The blending weights of one tile: falling towards sides with a neighbour, 1 where it is alone.

    Args:
        tile: one of the tiles of ``layout``.
        layout: what `tiles` returned.
        ramp: ``"linear"``, or ``"raised"`` for a raised cosine (no kink at the ends of the ramp).
        device: where to put the result.
        dtype: a floating type.

    Returns:
        (height, width) of the tile, above 0 up to 1; over all tiles they sum to 1 at every pixel.
    """
    rows = sorted({(other.top, other.height) for other in layout})
    columns = sorted({(other.left, other.width) for other in layout})
    down = _axis_weights((tile.top, tile.height), rows, ramp)
    across = _axis_weights((tile.left, tile.width), columns, ramp)
    return (down[:, None] * across).to(device=device, dtype=dtype)


class TileMerger:
    """Collects tile results into one image; holds that image and nothing else.

    Example::

        merger = TileMerger((h, w), tile=512, overlap=64)
        for tile in merger.tiles:
            merger.add(tile, network(tile.crop(image)))
        result = merger.result()
    """

    def __init__(self, size_hw: tuple[int, int], *, tile: int, overlap: int, ramp: Ramp = "raised") -> None:
        """Lay out the tiles.

        Args:
            size_hw: height and width of the image.
            tile: see `tiles`.
            overlap: see `tiles`.
            ramp: see `ramp_weights`.

        Raises:
            UsageError: as `tiles`.
        """
        self.size_hw = size_hw
        self.tiles = tiles(size_hw, tile, overlap)
        self._ramp: Ramp = ramp
        self._missing = set(self.tiles)
        self._total: Tensor | None = None

    def add(self, tile: Tile, values: Float[Tensor, "b c h w"]) -> None:
        """Add the result of one tile, in any order, each tile once.

        Args:
            tile: one of ``self.tiles``.
            values: (B, C, tile.height, tile.width); the first one sets batch, channels, type and device.

        Raises:
            UsageError: if the tile is not of this layout or was added before, or the values have another
                size.
        """
        if tile not in self._missing:
            raise UsageError(f"{tile} is not one of the tiles that are still to be added")
        if tuple(values.shape[-2:]) != (tile.height, tile.width):
            raise UsageError(f"{tile} got values of {values.shape[-2]}x{values.shape[-1]} pixels")
        if self._total is None:
            self._total = values.new_zeros(*values.shape[:2], *self.size_hw)
        weights = ramp_weights(tile, self.tiles, ramp=self._ramp, device=values.device, dtype=values.dtype)
        tile.crop(self._total).add_(values * weights)
        self._missing.remove(tile)

    def result(self) -> Float[Tensor, "b c h w"]:
        """The blended image.

        Returns:
            (B, C, H, W) in the type of the values.

        Raises:
            UsageError: if tiles are missing.
        """
        if self._total is None or self._missing:
            raise UsageError(f"{len(self._missing)} of {len(self.tiles)} tiles have not been added")
        return self._total


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles along one axis, evenly spread from 0 to length - tile."""
    if tile >= length:
        return [0]
    count = math.ceil((length - overlap) / (tile - overlap))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def _axis_weights(span: tuple[int, int], spans: Sequence[tuple[int, int]], ramp: Ramp) -> Tensor:
    """Weights along one axis for the tile at ``span`` (start, length), normalised over all, in float64."""
    start, length = span
    position = torch.arange(start, start + length, dtype=torch.float64)
    total = torch.stack([_window(position, other, spans, ramp) for other in spans]).sum(dim=0)
    return _window(position, span, spans, ramp) / total


def _window(position: Tensor, span: tuple[int, int], spans: Sequence[tuple[int, int]], ramp: Ramp) -> Tensor:
    """0 outside the span; rising over what it shares with the tile before, falling over the next."""
    start, length = span
    end = start + length
    before = max((s + n - start for s, n in spans if s < start), default=0)
    after = max((end - s for s, n in spans if s > start), default=0)
    rising = (position - start + 0.5) / max(before, 1) if before else torch.ones_like(position)
    falling = (end - position - 0.5) / max(after, 1) if after else torch.ones_like(position)
    window = torch.minimum(rising, falling).clamp(0, 1)
    if ramp == "raised":
        window = torch.sin(window * (math.pi / 2)).square()
    return torch.where((position >= start) & (position < end), window, 0.0)
