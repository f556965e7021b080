"""Flow of large frames by overlapping tiles, blended without seams."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from kinema.ops.tiling import Tile, TileMerger

MIN_TILE = 64
"""The smallest side of a tile, in pixels: below it, too little of the scene is seen to find motion."""


def tile_overlap(tile: int) -> int:
    """How many pixels neighbouring tiles share at least.

    Args:
        tile: side of the tiles, in pixels.

    Returns:
        A quarter of the side: pixels near a tile's border, whose motion may lead out of the tile, get little
        weight.
    """
    return tile // 4


def tiled_flow(
    compute: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    image1: Float[Tensor, "b 3 h w"],
    image2: Float[Tensor, "b 3 h w"],
    *,
    tile: int,
    initial_flow: Float[Tensor, "b 2 h w"] | None = None,
) -> Float[Tensor, "b 2 h w"]:
    """Compute flow tile by tile; only one tile's working memory is in use at any time.

    Args:
        compute: gives the flow from (image1, image2, initial flow or None) of one tile.
        image1: RGB in [0, 1].
        image2: RGB in [0, 1].
        tile: side of the tiles, in pixels.
        initial_flow: what a warm start hands on, in pixels; None for nothing.

    Returns:
        Flow of the whole frame, in pixels.
    """

    def crop(image: Tensor, part: Tile) -> Tensor:
        return part.crop(image).contiguous()

    merger = TileMerger((image1.shape[-2], image1.shape[-1]), tile=tile, overlap=tile_overlap(tile))
    for part in merger.tiles:
        start = None if initial_flow is None else crop(initial_flow, part)
        merger.add(part, compute(crop(image1, part), crop(image2, part), start))
    return merger.result()
