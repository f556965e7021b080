"""The pictures of a block of worlds in one table of texels, with halved copies for what is far away."""

from __future__ import annotations

import zlib
from functools import lru_cache
from threading import Lock

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.data.procedural.bank import cut_piece, picture_files
from kinema.data.procedural.patterns import Picture, finished
from kinema.data.procedural.world.config import WorldConfig, WorldFamily
from kinema.data.procedural.world.parts import MATERIALS

MOST_TAPS = 8
"""Reads along the longer side of a pixel's footprint, at most."""

_STREAMS: dict[WorldFamily, int] = {"train": 0, "fog": 1, "night": 2, "corridor": 3}
_WORLDS = 3_000  # the flat scenes use smaller numbers: no random number serves both
_TEXTURES = 1
_SMALLEST = 4  # texels along a side of the last copy


def world_rng(config: WorldConfig, seed: int, *numbers: int) -> np.random.Generator:
    """The random numbers of one thing, whoever asks and whenever.

    Args:
        config: gives the family: families never share numbers.
        seed: of the data set, 0 or more.
        numbers: what for, and which one.

    Returns:
        A generator at its beginning.
    """
    return np.random.default_rng((seed, _STREAMS[config.family], _WORLDS, *numbers))


class Atlas:
    """Pictures of materials by name and variant: painted when first asked for, then kept.

    A picture is a pure function of (config, seed, block, name, variant). Texels hold linear light: the square
    of what a file would hold. That way means over texels, rays and moments are means of light.

    Args:
        config: of the worlds.
        seed: of the data set.
        block: of clips.
        device: where the texels are.
    """

    def __init__(self, config: WorldConfig, seed: int, block: int, device: torch.device) -> None:
        self._config, self._seed, self._block = config, seed, block
        self._files = picture_files(config.textures) if config.textures is not None else []
        self._places: dict[tuple[str, int], tuple[int, int]] = {}
        self._table = torch.zeros((1 << 20, 3), device=device)
        self._used = 0
        self._lock = Lock()

    @property
    def texels(self) -> Tensor:
        """(N, 3) float32, linear light in [0, 1]; all copies of all pictures."""
        return self._table

    def place(self, name: str, variant: int) -> tuple[int, int]:
        """Find a picture, painting it when it is new.

        Args:
            name: of the material.
            variant: any number 0 or more; taken modulo the number of pictures.

        Returns:
            The row of its first texel, and the texels along its side, a power of two.
        """
        key = (name, variant % (self._config.bank_textures * MATERIALS[name].variety))
        with self._lock:
            if key not in self._places:
                self._places[key] = self._add(self._painted(*key))
            return self._places[key]

    def _painted(self, name: str, variant: int) -> Picture:
        key = zlib.crc32(name.encode())
        rng = world_rng(self._config, self._seed, _TEXTURES, self._block, key, variant)
        material = MATERIALS[name]
        if name == "poster" and self._files and rng.random() < self._config.textures_share:
            picture: Picture = cut_piece(self._files[rng.integers(len(self._files))], rng)
        else:
            picture = material.paint(rng)
        ready = np.moveaxis(finished(picture, rng, weak=False), 0, 2)
        linear = np.square(np.clip(ready, 0.02, 0.98))
        size = (material.side, material.side)
        return np.asarray(cv2.resize(linear, size, interpolation=cv2.INTER_AREA), np.float32)

    def _add(self, picture: Picture) -> tuple[int, int]:
        side, first = picture.shape[0], self._used
        copies = []
        level = torch.from_numpy(np.ascontiguousarray(picture))
        while level.shape[0] >= _SMALLEST:
            copies.append(level.reshape(-1, 3))
            half = level.shape[0] // 2
            level = level.view(half, 2, half, 2, 3).mean(dim=(1, 3))
        rows = torch.cat(copies)
        while self._used + len(rows) > len(self._table):
            self._table = torch.cat([self._table, torch.zeros_like(self._table)])
        self._table[first : first + len(rows)] = rows.to(self._table.device)
        self._used += len(rows)
        return first, side


@lru_cache(maxsize=2)
def atlas_of(config: WorldConfig, seed: int, block: int, device: str) -> Atlas:
    """The atlas of a block; the latest ones are kept.

    Args:
        config: of the worlds.
        seed: of the data set.
        block: of clips.
        device: where the texels are.

    Returns:
        The atlas.
    """
    return Atlas(config, seed, block, torch.device(device))


def read_texels(
    texels: Tensor, first: Tensor, side: Tensor, points: tuple[Tensor, Tensor], footprint: Tensor
) -> Tensor:
    """Read pictures, each at its point, averaged over the footprint of a pixel.

    The footprint is an ellipse: reads along its longer axis, each of them trilinear at the scale of the
    shorter one. Past its end a picture goes on as in a mirror.

    Args:
        texels: (M, 3), see `Atlas.texels`.
        first: (N,) int32 rows where pictures begin.
        side: (N,) float32 texels along their sides.
        points: u and v, (N,) each, in texels; texel centres are whole numbers and a half.
        footprint: (4, N): how u, u, v, v change per pixel to the right, down, right, down; in texels.

    Returns:
        (N, 3) linear light.
    """
    (u, v), (long_u, long_v, minor, ratio) = points, _ellipse(footprint)
    result = torch.empty((len(u), 3), device=u.device)
    taps = 1
    while taps <= MOST_TAPS:
        chosen = ratio > taps / 1.5 if taps > 1 else torch.ones_like(ratio, dtype=torch.bool)
        if taps < MOST_TAPS:
            chosen = chosen & (ratio <= 2 * taps / 1.5)
        rows = chosen.nonzero()[:, 0]
        if len(rows):
            picked = [values.index_select(0, rows) for values in (u, v, long_u, long_v, minor, side)]
            result[rows] = _along(texels, first.index_select(0, rows), picked, taps)
        taps *= 2
    return result


def _ellipse(footprint: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The longer half axis (u, v), the length of the shorter axis, and the ratio of both, of J's ellipse."""
    ux, uy, vx, vy = footprint
    a, b, c = ux * ux + uy * uy, ux * vx + uy * vy, vx * vx + vy * vy
    middle, spread = 0.5 * (a + c), torch.sqrt((0.5 * (a - c)) ** 2 + b * b)
    major = (middle + spread).clamp_min(1e-12).sqrt()
    minor = (ux * vy - uy * vx).abs() / major
    # Of the two ways to write the eigenvector, the one that does not vanish.
    first = a >= c
    along_u = torch.where(first, middle + spread - c, b)
    along_v = torch.where(first, b, middle + spread - a)
    norm = torch.rsqrt((along_u * along_u + along_v * along_v).clamp_min(1e-20))
    round_ = spread < 1e-6 * middle
    along_u = torch.where(round_, torch.ones_like(major), along_u * norm)
    along_v = torch.where(round_, torch.zeros_like(major), along_v * norm)
    minor = torch.maximum(minor, major / MOST_TAPS)
    return along_u * major, along_v * major, minor, major / minor


def _along(texels: Tensor, first: Tensor, picked: list[Tensor], taps: int) -> Tensor:
    u, v, long_u, long_v, minor, side = picked
    # One read covers what the others leave: as long as wide.
    width = torch.maximum(minor, torch.hypot(long_u, long_v) / taps)
    level = torch.log2(width.clamp_min(1e-6)).clamp_min(0)
    level = torch.minimum(level, torch.log2(side) - float(np.log2(_SMALLEST)))
    whole = level.floor()
    spots = [(tap + 0.5) / taps - 0.5 for tap in range(taps)]
    parts, weights = [], []
    for step, share in ((0, 1 - (level - whole)), (1, level - whole)):
        scale = torch.exp2(-torch.minimum(whole + step, torch.log2(side) - float(np.log2(_SMALLEST))))
        here = side * scale
        # Texels of all larger copies: side^2 (1 + 1/4 + ...) = (side^2 - here^2) 4 / 3.
        base = first + ((side * side - here * here) * (4.0 / 3.0)).round().int()
        for spot in spots:
            rows, portions = _bilinear(base, here, scale, (u + spot * long_u, v + spot * long_v))
            parts += rows
            weights += [portion * share for portion in portions]
    rows_, weights_ = torch.stack(parts, dim=1), torch.stack(weights, dim=1).div_(taps)
    return F.embedding_bag(rows_, texels, per_sample_weights=weights_, mode="sum")


def _bilinear(
    base: Tensor, here: Tensor, scale: Tensor, points: tuple[Tensor, Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Rows and weights of the four texels around each point in copies that begin at rows ``base``."""
    u, v = points[0] * scale - 0.5, points[1] * scale - 0.5
    left, top = u.floor(), v.floor()
    right, below = u - left, v - top
    columns = [_mirrored(left, here), _mirrored(left + 1, here)]
    lines = [_mirrored(top, here) * here, _mirrored(top + 1, here) * here]
    rows = [(line + column).int().add_(base) for line in lines for column in columns]
    weights = [(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right]
    return rows, weights


def _mirrored(index: Tensor, side: Tensor) -> Tensor:
    """Fold whole numbers into 0 .. side - 1; the outermost texel comes twice."""
    folded = torch.remainder(index, 2 * side)
    return torch.minimum(folded, 2 * side - 1 - folded)
