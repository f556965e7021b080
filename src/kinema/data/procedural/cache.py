"""Rendered pairs on disk, so that training reads instead of rendering: whole files, of bounded size."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from kinema.data.procedural.bank import picture_files
from kinema.data.procedural.pairs import RenderedBatch, render_pair
from kinema.data.procedural.render_config import RenderConfig
from kinema.errors import InputError, UsageError
from kinema.io.checkpoints import save_tensors
from kinema.io.files import reading

STEPS_PER_PIXEL = 128
"""Flow is stored in whole steps: it is off by 1/256 px at most."""

_FORMAT = "1"
_LARGEST = 32767 / STEPS_PER_PIXEL  # pixels; what goes farther is marked as not valid
_VALID, _OCCLUDED, _IN_FRAME = 1, 2, 4
_BYTES_PER_PIXEL = 2 * 3 + 2 * 2 + 1


class RenderCache:
    """The pairs 0, 1, 2, ... of one (config, seed) in a folder, a few dozen to a file.

    Images are stored as they are (8 bits), flow in steps of 1/128 px. Filling goes on where it stopped, in
    one process or several; a file of other scenes in the folder is an error, never mixed in.

    Args:
        folder: made when first filled.
        config: of the scenes.
        seed: of the data set.
        pairs_per_file: how many pairs a file holds.
        max_gib: the files together do not become larger, in 2^30 bytes.

    Raises:
        UsageError: when not even one file fits.
        InputError: when the folder of textures cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        config: RenderConfig,
        seed: int,
        *,
        pairs_per_file: int = 32,
        max_gib: float = 20.0,
    ) -> None:
        self.folder, self.config, self.seed, self.pairs_per_file = folder, config, seed, pairs_per_file
        height, width = config.size_hw
        file_bytes = pairs_per_file * (height * width * _BYTES_PER_PIXEL) + 4096
        self.max_pairs = int(max_gib * 2**30 // file_bytes) * pairs_per_file
        if self.max_pairs == 0:
            raise UsageError(
                f"a cache of {max_gib:g} GiB holds no file of {pairs_per_file} pairs of {height}x{width} "
                f"({file_bytes / 2**30:.2f} GiB): allow more, or fewer pairs to a file"
            )
        self._scenes = _fingerprint(config, seed)
        self._checked: set[int] = set()

    def __len__(self) -> int:
        """How many pairs from 0 on are there without a gap."""
        count = 0
        while self._path(count // self.pairs_per_file).is_file():
            count += self.pairs_per_file
        return min(count, self.max_pairs)

    def fill(
        self,
        count: int,
        *,
        device: torch.device | str = "cpu",
        part: int = 0,
        parts: int = 1,
        progress: Callable[[], None] | None = None,
    ) -> int:
        """Render what is missing of the first pairs.

        Args:
            count: how many pairs there should be; no more are made than fit.
            device: to render on.
            part: of the work that this process does.
            parts: how many processes share the work.
            progress: called after every file.

        Returns:
            How many pairs are there now without a gap.

        Raises:
            InputError: when the folder holds other scenes.
            OutputError: when a file cannot be written.
        """
        files = -(-min(count, self.max_pairs) // self.pairs_per_file)
        for number in range(part, files, parts):
            if self._path(number).is_file():
                self._check(number)
            else:
                self._render(number, device)
            if progress is not None:
                progress()
        return len(self)

    def batch(self, indices: Sequence[int]) -> RenderedBatch:
        """Read pairs.

        Args:
            indices: of pairs that have been rendered.

        Returns:
            As `render_pair` gives them, the flow rounded to 1/128 px; what goes farther than 255.99 px is not
            valid.

        Raises:
            InputError: when a pair is not there, or its file is damaged or holds other scenes.
        """
        if not indices:
            raise UsageError("a batch needs one pair at least")
        images, flows, masks = zip(*(self._read(index) for index in indices), strict=True)
        image, flow, mask = torch.stack(images), torch.stack(flows), torch.stack(masks)[:, None]
        colours = image.to(torch.float32).div_(255)
        return RenderedBatch(
            image1=colours[:, 0],
            image2=colours[:, 1],
            flow=flow.to(torch.float32).div_(STEPS_PER_PIXEL),
            valid=(mask & _VALID) > 0,
            occluded=(mask & _OCCLUDED) > 0,
            in_frame=(mask & _IN_FRAME) > 0,
        )

    def _path(self, number: int) -> Path:
        return self.folder / f"pairs-{number:06d}.safetensors"

    def _render(self, number: int, device: torch.device | str) -> None:
        first = number * self.pairs_per_file
        rendered = render_pair(
            self.config, self.seed, range(first, first + self.pairs_per_file), device=device
        )
        save_tensors(self._path(number), _packed(rendered), metadata={"scenes": self._scenes})

    def _read(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        number, row = divmod(index, self.pairs_per_file)
        path = self._path(number)
        if index < 0 or not path.is_file():
            raise InputError(f"{self.folder}: pair {index} has not been rendered; fill the cache up to it")
        self._check(number)
        try:
            with reading(path), safetensors.safe_open(path, framework="pt", device="cpu") as file:
                image, flow, mask = (file.get_slice(name)[row] for name in ("images", "flow", "masks"))
                return image, flow, mask
        except (safetensors.SafetensorError, ValueError, KeyError, IndexError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it, and fill the cache again") from None

    def _check(self, number: int) -> None:
        """Once per file: is it of these scenes?"""
        if number in self._checked:
            return
        path = self._path(number)
        try:
            with reading(path), safetensors.safe_open(path, framework="pt", device="cpu") as file:
                found = (file.metadata() or {}).get("scenes")
        except (safetensors.SafetensorError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); delete it, and fill the cache again") from None
        if found != self._scenes:
            raise InputError(f"{path} holds other scenes (config, seed or version); choose another folder")
        self._checked.add(number)


def _packed(batch: RenderedBatch) -> dict[str, Tensor]:
    images = torch.stack((batch.image1, batch.image2), dim=1)
    near = (batch.flow.abs() <= _LARGEST).all(dim=1, keepdim=True)
    valid = batch.valid & near
    steps = (batch.flow * STEPS_PER_PIXEL).round().clamp(-32767, 32767) * valid
    masks = valid * _VALID + batch.occluded * _OCCLUDED + batch.in_frame * _IN_FRAME
    return {
        "images": (images * 255).round().to(torch.uint8),
        "flow": steps.to(torch.int16),
        "masks": masks[:, 0].to(torch.uint8),
    }


def _fingerprint(config: RenderConfig, seed: int) -> str:
    pictures = picture_files(config.textures) if config.textures is not None else []
    # A picture that has been replaced gives other textures.
    parts = [_FORMAT, seed, config.model_dump_json(), [(str(p), p.stat().st_size) for p in pictures]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
