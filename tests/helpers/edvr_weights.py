"""Deterministic weights of EDVR that every implementation can draw anew, and networks that ran with them."""

from __future__ import annotations

import math
import zlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kinema.models.edvr import EDVR

Options = dict[str, int | str]
_TINY: Options = {"features": 16, "offset_groups": 4, "extraction_blocks": 1, "reconstruction_blocks": 1}


class Golden(NamedTuple):
    """A network whose output is known: shape of the input, options over preset m, number of parameters."""

    shape: tuple[int, int, int, int, int]
    options: Options
    parameters: int


GOLDEN: dict[str, Golden] = {
    "M": Golden((1, 5, 3, 16, 24), {}, 3_300_131),
    "M_wotsa": Golden((1, 5, 3, 16, 24), {"fusion": "plain"}, 2_996_259),
    "tiny": Golden((2, 5, 3, 12, 16), {**_TINY, "extraction_blocks": 2, "reconstruction_blocks": 3}, 256_611),
    "tiny_predeblur": Golden((1, 5, 3, 16, 16), {**_TINY, "predeblur": "pyramid"}, 284_723),
    "tiny_hrin": Golden((1, 5, 3, 48, 32), {**_TINY, "predeblur": "pyramid", "scale": 1}, 289_363),
    "tiny_7f": Golden((1, 7, 3, 8, 8), {**_TINY, "offset_groups": 8, "frames": 7}, 306_355),
}
"""By the names of the files with the numbers."""


def edvr_weights(network: EDVR, *, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Weights seeded by the names of BasicSR's state dict, for its networks.

    Args:
        network: its names and shapes count alone; it may live on the meta device.
        dtype: of the weights.

    Returns:
        A state dict.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return {name: torch.from_numpy(_draw(name, shape)).to(dtype) for name, shape in shapes.items()}


def golden_network(name: str, *, dtype: torch.dtype = torch.float64) -> EDVR:
    """One of `GOLDEN` with its weights.

    Args:
        name: which.
        dtype: of the weights.

    Returns:
        The network in evaluation mode.
    """
    with torch.device("meta"):  # nothing is drawn that would be overwritten
        network = EDVR(**GOLDEN[name].options)  # type: ignore[arg-type]
    network.load_state_dict(edvr_weights(network, dtype=dtype), assign=True)
    return network.eval()


def golden_input(name: str, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """What that network saw: noise in [0, 1].

    Args:
        name: which.
        dtype: of the frames.

    Returns:
        (B, T, 3, H, W).
    """
    return torch.from_numpy(np.random.RandomState(7).uniform(0, 1, GOLDEN[name].shape)).to(dtype)


def _draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    if len(shape) == 1:
        return random.uniform(-0.1, 0.1, shape)
    gain = 1.0
    if "conv_offset" in name:
        gain = 20.0  # offsets of a few pixels
    elif name.split(".")[0] in ("feature_extraction", "reconstruction") or "resblock" in name:
        gain = 0.3
    return random.uniform(-1, 1, shape) * math.sqrt(3 / math.prod(shape[1:])) * gain
