"""Textures and outlines that the scenes of a block share: drawn when first read, kept while in use.

An entry is a pure function of (config, seed, block, number), so whoever draws it gets the same one.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
import torch
from torch import Tensor

from kinema.data.procedural.outlines import draw_outline
from kinema.data.procedural.patterns import SIDE, draw_texture, finished
from kinema.data.procedural.render_config import RenderConfig
from kinema.errors import InputError
from kinema.io.images import IMAGE_SUFFIXES, read_image, to_unit_float

TEXTURES, OUTLINES, SCENES = 1, 2, 3
"""Streams of random numbers: one never feeds two purposes."""

_FAMILY_STREAMS = {"train": 0, "fog": 1, "low_light": 2, "lens": 3, "strange": 4, "compressed": 5}


def generator(config: RenderConfig, seed: int, stream: int, *numbers: int) -> np.random.Generator:
    """The random numbers of one thing, whoever asks and whenever.

    Args:
        config: gives the family: families never share numbers.
        seed: of the data set, 0 or more.
        stream: what for.
        numbers: which one.

    Returns:
        A generator at its beginning.
    """
    return np.random.default_rng((seed, _FAMILY_STREAMS[config.family], stream, *numbers))


def picture_files(folder: Path) -> list[Path]:
    """List the pictures that textures can be cut from.

    Args:
        folder: searched to any depth.

    Returns:
        Their names in order, at least one.

    Raises:
        InputError: the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise InputError(f"textures {folder}: no such folder")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"textures {folder}: holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


class Bank:
    """Textures and outlines by block and number, the latest ones in memory.

    Args:
        config: of the scenes.
        seed: of the data set.
        device: where tensors are kept.
    """

    def __init__(self, config: RenderConfig, seed: int, device: torch.device) -> None:
        self._config, self._seed, self._device = config, seed, device
        self._files = picture_files(config.textures) if config.textures is not None else []
        self._kept: OrderedDict[tuple[int, int, int], Tensor] = OrderedDict()
        self._limit = config.bank_textures + config.bank_shapes + 32
        self._lock = Lock()

    def texture(self, block: int, number: int) -> Tensor:
        """Read a texture.

        Args:
            block: of scenes.
            number: in the block.

        Returns:
            (3, SIDE, SIDE) float32 RGB in [0, 1].
        """
        return self._get(TEXTURES, block, number)

    def outline(self, block: int, number: int) -> Tensor:
        """Read an outline.

        Args:
            block: of scenes.
            number: in the block.

        Returns:
            (1, TILE, TILE) float32 signed distances in points of the tile, negative inside.
        """
        return self._get(OUTLINES, block, number)

    def _get(self, stream: int, block: int, number: int) -> Tensor:
        key = (stream, block, number)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        rng = generator(self._config, self._seed, stream, block, number)
        array = self._texture(rng) if stream == TEXTURES else self._outline(rng)
        tensor = torch.from_numpy(array).to(self._device)
        with self._lock:
            self._kept[key] = tensor
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        return tensor

    def _texture(self, rng: np.random.Generator) -> np.ndarray:
        config = self._config
        weak = bool(rng.random() < config.weak_share)
        if self._files and rng.random() < config.textures_share:
            return finished(cut_piece(self._files[rng.integers(len(self._files))], rng), rng, weak=weak)
        return draw_texture(rng, alphas=config.spectrum, weak=weak, strange=config.family == "strange")

    def _outline(self, rng: np.random.Generator) -> np.ndarray:
        thin, holes = rng.random(2) < (self._config.thin_share, self._config.hole_share)
        return draw_outline(rng, thin=bool(thin), holes=bool(holes))[None]


def cut_piece(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Cut a square piece out of a picture, half of its shorter side or more, as large as a texture.

    Args:
        path: of the picture.
        rng: draws the piece.

    Returns:
        (SIDE, SIDE, 3) float32 RGB in [0, 1].

    Raises:
        InputError: when the picture cannot be read.
    """
    picture = to_unit_float(read_image(path))
    height, width = picture.shape[:2]
    side = max(1, int(min(height, width) * rng.uniform(0.5, 1.0)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    piece = np.ascontiguousarray(picture[top : top + side, left : left + side])
    method = cv2.INTER_AREA if side > SIDE else cv2.INTER_CUBIC
    return cv2.resize(piece, (SIDE, SIDE), interpolation=method)
